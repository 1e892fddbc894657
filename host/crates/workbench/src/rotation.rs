//! A pool, a strategy and the picks from its plans, in one thread and on a clock that only we move.
//!
//! It does what the engine does between a change of the pool and a lease: tells the strategy what changed, asks it for
//! plans (for the whole pool, for what requests are bound to, for sites), makes them ready and picks from them; all of
//! it with the engine's own parts from the core. What the engine adds are threads, restarts and a fallback: here a
//! fault ends the run, because an author wants to see it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proxywhirl_core::plugin::{Observation, PluginFault, Request, Strategy, StrategyFactory, View};
use proxywhirl_core::pool::{Admission, Admitted};
use proxywhirl_core::select::random::Random;
use proxywhirl_core::select::sessions::Sessions;
use proxywhirl_core::select::{Filter, Picker, Plan, PlanError, Stick, Wish};
use proxywhirl_core::symbol::Symbol;
use proxywhirl_core::{EndpointKey, Member, MemberId, Pool, Snapshot, Timestamp};
use proxywhirl_wasm::PluginError;

use crate::subject::Loaded;

/// Rows of one call of `apply`, as in the engine.
pub(crate) const ROWS: usize = 10_000;

/// Why a run cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stopped {
    /// The plugin does not take its options, or does not start.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// It broke a limit, trapped or answered nonsense.
    #[error("{}", with_scene(.0))]
    Fault(#[from] PluginFault),
    /// Its plan cannot be picked from.
    #[error("its plan is nonsense: {0}")]
    Plan(#[from] PlanError),
    /// It named a slot at which nobody is.
    #[error("select answered slot {0}, at which there is no member")]
    Slot(u32),
}

impl From<Stopped> for String {
    fn from(stopped: Stopped) -> Self {
        stopped.to_string()
    }
}

/// A fault with what the guest said last.
pub(crate) fn with_scene(fault: &PluginFault) -> String {
    let mut text = fault.to_string();
    for line in &fault.scene.log {
        text.push_str("\nit logged: ");
        text.push_str(line);
    }
    for frame in fault.scene.backtrace.iter().take(8) {
        text.push_str("\nin ");
        text.push_str(frame);
    }
    text
}

/// What a request asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask<'a> {
    /// Number of what it is bound to, from [`Rotation::view`].
    pub(crate) view: u32,
    pub(crate) site: Symbol,
    pub(crate) session: Option<u64>,
    pub(crate) tried: &'a [MemberId],
}

/// A plan and what is picked from.
struct Made {
    plan: Plan,
    picker: Picker,
}

/// A strategy at work on a pool.
pub(crate) struct Rotation<'a> {
    loaded: &'a Loaded,
    strategy: Box<dyn Strategy>,
    pool: Pool,
    snapshot: Snapshot,
    /// Whether the strategy knows the snapshot before the last change.
    synced: bool,
    /// What requests are bound to; the view of number 0 is the whole pool.
    views: Vec<Filter>,
    sessions: Sessions,
    plans: BTreeMap<(u32, Symbol), Made>,
    random: Random,
    refresh: Option<Timestamp>,
}

impl<'a> Rotation<'a> {
    /// A strategy with an empty pool, of which it has not been told.
    pub(crate) fn new(loaded: &'a Loaded, options: &str, seed: u64) -> Result<Self, Stopped> {
        let strategy = factory(loaded, options)?.instance()?;
        Ok(Self {
            loaded,
            strategy,
            pool: Pool::new(Arc::clone(&loaded.symbols), Pool::DEFAULT_CAPACITY),
            snapshot: Snapshot::default(),
            synced: false,
            views: vec![Filter::default()],
            sessions: Sessions::default(),
            plans: BTreeMap::new(),
            random: Random::new(seed),
            refresh: None,
        })
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.loaded.clock.now()
    }

    pub(crate) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    pub(crate) fn strategy(&mut self) -> &mut dyn Strategy {
        &mut *self.strategy
    }

    pub(crate) fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// Takes somebody into the pool; the change is told by [`Rotation::publish`].
    pub(crate) fn join(&mut self, admission: Admission) -> Option<Arc<Member>> {
        match self.pool.admit(admission, self.loaded.clock.now()) {
            Admitted::New(member) | Admitted::Merged(member) | Admitted::Known(member) => Some(member),
            Admitted::Full | Admitted::Stranger => None,
        }
    }

    /// Puts somebody out of the pool; the change is told by [`Rotation::publish`].
    pub(crate) fn leave(&mut self, key: &EndpointKey) -> bool {
        self.pool.remove(key).is_some()
    }

    /// The member of a key.
    pub(crate) fn find(&self, key: &EndpointKey) -> Option<&Arc<Member>> {
        self.pool.find(key)
    }

    /// Tells the strategy what changed in the pool, and asks it for its plans.
    pub(crate) fn publish(&mut self) -> Result<(), Stopped> {
        let (snapshot, delta) = self.pool.publish();
        self.snapshot = snapshot;
        if self.synced {
            let rows: Vec<_> = delta.upserts.iter().filter_map(|slot| self.snapshot.get(*slot).cloned()).collect();
            self.teach(&rows, &delta.removed, false)?;
        } else {
            self.teach_all()?;
        }
        self.replan()
    }

    fn teach_all(&mut self) -> Result<(), Stopped> {
        let rows: Vec<_> = self.snapshot.iter().cloned().collect();
        self.teach(&rows, &[], true)?;
        self.synced = true;
        Ok(())
    }

    fn teach(&mut self, rows: &[Arc<Member>], removed: &[u32], reset: bool) -> Result<(), Stopped> {
        let epoch = self.snapshot.epoch();
        let (first, rest) = rows.split_at(rows.len().min(ROWS));
        self.strategy.apply(epoch, reset, first, removed)?;
        for chunk in rest.chunks(ROWS) {
            self.strategy.apply(epoch, false, chunk, &[])?;
        }
        Ok(())
    }

    /// Makes all plans anew, those that there are and the one for the whole pool.
    pub(crate) fn replan(&mut self) -> Result<(), Stopped> {
        let mut wanted: Vec<(u32, Symbol)> = self.plans.keys().copied().collect();
        if wanted.is_empty() {
            wanted.push((0, Symbol::NONE));
        }
        for (view, site) in wanted {
            self.make(view, site)?;
        }
        let (refresh, sessions) = self.plan().map_or((None, None), |plan| (plan.refresh, plan.sessions));
        if let Some(wanted) = sessions.filter(|wanted| wanted.capacity != self.sessions.capacity()) {
            self.sessions = self.sessions.resized(wanted.capacity);
        }
        self.refresh = refresh.map(|span| self.now() + span);
        Ok(())
    }

    /// Asks for one plan, and puts it in force.
    fn make(&mut self, view: u32, site: Symbol) -> Result<(), Stopped> {
        let members = self.members(view);
        let seed = self.random.bits();
        let asked = View { id: view, site, members: members.as_deref() };
        let plan = self.strategy.plan(&asked, self.loaded.clock.now(), seed)?;
        let previous = self.plans.get(&(view, site)).map(|made| &made.picker);
        let picker = match &members {
            None => Picker::compile(&plan, &self.snapshot, previous)?,
            Some(view) => Picker::compile_view(&plan, &self.snapshot, view, previous)?,
        };
        self.plans.insert((view, site), Made { plan, picker });
        Ok(())
    }

    /// The slots of a view; none for the whole pool.
    fn members(&self, view: u32) -> Option<Vec<u32>> {
        let filter = self.views.get(view as usize).filter(|filter| !filter.is_empty())?;
        Some(self.snapshot.iter().filter(|member| filter.admits(member)).map(|member| member.slot).collect())
    }

    /// The number of what requests are bound to.
    pub(crate) fn view(&mut self, filter: &Filter) -> u32 {
        let known = self.views.iter().position(|view| view == filter);
        let at = known.unwrap_or_else(|| {
            self.views.push(filter.clone());
            self.views.len() - 1
        });
        u32::try_from(at).unwrap_or(0)
    }

    /// The plan for the whole pool.
    pub(crate) fn plan(&self) -> Option<&Plan> {
        self.plans.get(&(0, Symbol::NONE)).map(|made| &made.plan)
    }

    /// The plan of a site, or the one for all when sites have none of their own.
    pub(crate) fn plan_for(&mut self, site: Symbol) -> Result<Option<&Plan>, Stopped> {
        let key = self.key(0, site)?;
        Ok(self.plans.get(&key).map(|made| &made.plan))
    }

    /// Which plan a request is served from; it is made if there is none yet.
    fn key(&mut self, view: u32, site: Symbol) -> Result<(u32, Symbol), Stopped> {
        let per_site = self.plan().is_some_and(|plan| plan.per_site);
        let key = (view, if per_site { site } else { Symbol::NONE });
        if !self.plans.contains_key(&key) {
            self.make(key.0, key.1)?;
        }
        Ok(key)
    }

    /// Tells the strategy how uses went, and makes new plans if it wants that.
    pub(crate) fn observe(&mut self, observations: &[Observation]) -> Result<(), Stopped> {
        if self.strategy.observe(observations)? { self.replan() } else { Ok(()) }
    }

    /// Lets time pass, and makes new plans if they are due.
    pub(crate) fn pass(&mut self, span: Duration) -> Result<(), Stopped> {
        self.loaded.clock.pass(span);
        if self.refresh.is_some_and(|due| due <= self.now()) { self.replan() } else { Ok(()) }
    }

    /// Picks a member that is eligible, or nobody.
    pub(crate) fn pick(&mut self, ask: &Ask<'_>) -> Result<Option<Arc<Member>>, Stopped> {
        let key = self.key(ask.view, ask.site)?;
        let seed = self.random.bits();
        let now = self.loaded.clock.now();
        let filter = self.views.get(ask.view as usize).filter(|filter| !filter.is_empty());
        let wish = Wish { now, tried: ask.tried, filter, session: ask.session, stick: Stick::default(), seed };
        let Some(made) = self.plans.get(&key) else { return Ok(None) };
        if !made.picker.asks_per_request() {
            let slot = made.picker.pick(&self.snapshot, &wish, &self.sessions);
            return Ok(slot.and_then(|slot| self.snapshot.get(slot)).cloned());
        }
        let request = Request {
            view: ask.view,
            site: ask.site,
            session: ask.session.unwrap_or(0),
            attempt: u32::try_from(ask.tried.len()).unwrap_or(u32::MAX).saturating_add(1),
            now,
            seed,
        };
        let Some(slot) = self.strategy.select(&request)? else { return Ok(None) };
        let member = self.snapshot.get(slot).ok_or(Stopped::Slot(slot))?;
        Ok(wish.admits(member).then(|| Arc::clone(member)))
    }

    /// Puts a new instance in the place of the old one; whether it took over what that had learned.
    pub(crate) fn swap(&mut self, options: &str) -> Result<bool, Stopped> {
        let state = self.strategy.save()?;
        self.strategy = factory(self.loaded, options)?.instance()?;
        let taken = match state {
            Some(state) => self.strategy.restore(&state)?,
            None => false,
        };
        self.synced = false;
        self.teach_all()?;
        self.replan()?;
        Ok(taken)
    }
}

fn factory(loaded: &Loaded, options: &str) -> Result<Arc<dyn StrategyFactory>, PluginError> {
    loaded.plugins.strategy(loaded.name(), options)
}
