//! Plans for less than everybody: for the busiest sites, and for views.
//!
//! They are made after the plan for everybody, a few at a time; until a site or a view has its own, the one for everybody
//! serves it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proxywhirl_core::plugin::{PluginFault, View};
use proxywhirl_core::select::{Filter, Picker};
use proxywhirl_core::symbol::Symbol;

use super::driver::{Current, Driver};
use super::selection::Viewed;
use super::swap::nonsense;

/// Sites with a plan of their own at the most.
const SITES: usize = 256;

/// Sites times members at the most: what their plans may weigh.
const SITE_ROWS: usize = 4_000_000;

/// How long plans for sites and views are made before the agenda is looked at again.
const ROUND: Duration = Duration::from_millis(20);

/// A plan that is to be renewed after that for everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// That of a site.
    Site(Symbol),
    /// That of a view, by its number.
    View(u32),
}

impl Driver {
    /// Makes views of filters that requests came with.
    pub(super) fn meet(&mut self, filters: Vec<Arc<Filter>>) {
        let now = self.clock.now();
        let made: Vec<u32> =
            filters.into_iter().filter_map(|filter| self.views.add(filter, &self.snapshot, now)).collect();
        if !made.is_empty() {
            let views = self.viewed();
            self.publish(|selection| selection.views = views);
            self.unplanned.extend(made.into_iter().map(Scope::View));
        }
    }

    /// Chooses the sites that get plans of their own: the busiest.
    pub(super) fn choose_sites(&mut self) {
        if !self.tells_sites_apart {
            return;
        }
        let most = (SITE_ROWS / self.snapshot.len().max(1)).min(SITES);
        let busiest = self.shared.sites.busiest(most);
        let new: Vec<Symbol> = busiest.iter().filter(|site| !self.sites.contains(site)).copied().collect();
        if self.sites.iter().any(|site| !busiest.contains(site)) {
            self.publish(|selection| {
                let kept = selection.sites.iter().flat_map(|sites| sites.iter());
                let kept = kept.filter(|(site, _)| busiest.contains(site));
                selection.sites = Some(Arc::new(kept.map(|(site, plan)| (*site, Arc::clone(plan))).collect()));
            });
        }
        self.sites = busiest;
        self.unplanned.extend(new.into_iter().map(Scope::Site));
    }

    /// Makes some of the plans for sites and views that are to be made.
    pub(super) fn plan_more(&mut self) {
        if self.unplanned.is_empty() {
            return;
        }
        self.work(|driver, current| {
            let began = Instant::now();
            let mut sites = HashMap::new();
            let result = loop {
                let Some(scope) = driver.unplanned.pop_front() else { break Ok(()) };
                let planned = match scope {
                    Scope::Site(site) => driver.plan_site(current, site).map(|plan| sites.extend(plan)),
                    Scope::View(id) => driver.plan_view(current, id),
                };
                if planned.is_err() || began.elapsed() >= ROUND {
                    break planned;
                }
            };
            let views = driver.viewed();
            driver.publish(|selection| {
                if !sites.is_empty() {
                    let mut all = selection.sites.as_deref().cloned().unwrap_or_default();
                    all.extend(sites);
                    selection.sites = Some(Arc::new(all));
                }
                selection.views = views;
            });
            result
        });
        if !self.current.as_ref().is_some_and(|current| current.ward.may_be_called()) {
            // After the restart all plans are made anew.
            self.unplanned.clear();
        }
    }

    fn plan_site(&self, current: &mut Current, site: Symbol) -> Result<Option<(Symbol, Arc<Picker>)>, PluginFault> {
        let Some(planner) = current.planner.as_mut().filter(|planner| planner.is_synced) else { return Ok(None) };
        if !self.sites.contains(&site) {
            return Ok(None);
        }
        let plan = self.planned(planner, &View { site, ..View::default() })?;
        let previous = self.shared.selection.load().sites.as_ref().and_then(|sites| sites.get(&site).cloned());
        let picker = Picker::compile(&plan, &self.snapshot, previous.as_deref())
            .map_err(|error| nonsense(current.factory.identity(), &error.to_string()))?;
        Ok(self.fits(&picker).then(|| (site, Arc::new(picker))))
    }

    /// Whether the plan of a site or a view can be used: one that wants each request to be asked about can be only when
    /// the plan for everybody does as well, for which instances are kept.
    fn fits(&self, picker: &Picker) -> bool {
        !picker.asks_per_request() || self.shared.selection.load().shards.is_some()
    }

    fn plan_view(&mut self, current: &mut Current, id: u32) -> Result<(), PluginFault> {
        let Some(planner) = current.planner.as_mut().filter(|planner| planner.is_synced) else { return Ok(()) };
        let Some(view) = self.views.find(id) else { return Ok(()) };
        let members = std::mem::take(&mut view.members);
        let asked = View { id, site: Symbol::NONE, members: Some(&members) };
        let (now, seed) = (self.clock.now(), fastrand::u64(..));
        let planned = planner.strategy.plan(&asked, now, seed);
        let shards = self.shared.selection.load().shards.clone();
        let shown = shards.map_or(Ok(()), |shards| shards.show(&asked, now, seed));
        let previous = view.plan.clone();
        let compiled = planned.and_then(|plan| {
            Picker::compile_view(&plan, &self.snapshot, &members, previous.as_deref())
                .map_err(|error| nonsense(current.factory.identity(), &error.to_string()))
        });
        view.members = members;
        let picker = compiled?;
        let fits = self.fits(&picker);
        if let Some(view) = self.views.find(id) {
            view.plan = fits.then(|| Arc::new(picker));
        }
        shown
    }

    /// The views as requests see them.
    pub(super) fn viewed(&self) -> Arc<HashMap<Arc<Filter>, Viewed>> {
        Arc::new(self.views.iter().map(|view| (Arc::clone(&view.filter), view.viewed())).collect())
    }
}
