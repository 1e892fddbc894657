//! From what requests pick: the plans in force, and what answers when they do not.
//!
//! Immutable: the strategy's thread puts a new one in place of the old one, and a request that has begun goes on with the
//! one that it has. A plan is looked up by what is most particular: the request's view, its site, everybody. Whichever it
//! is, the pick is masked by the request's own filter, so a view or a site without a plan costs shares, never rightness.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proxywhirl_core::plugin::{PluginIdentity, Request};
use proxywhirl_core::pool::Snapshot;
use proxywhirl_core::select::sessions::Sessions;
use proxywhirl_core::select::{Filter, Outlook, Picker, Refusals, TierSight, Wish};
use proxywhirl_core::symbol::Symbol;
use proxywhirl_core::{Member, MemberId, Timestamp};

use super::shards::{Answer, Shards};
use super::{Beside, Shared, is_faulted};
use crate::supervisor::Ward;

/// What is particular about a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask<'a> {
    /// 1 for the first try.
    pub(crate) attempt: u32,
    /// The site, if the strategy tells sites apart.
    pub(crate) site: Symbol,
    /// The members that it may use, if not all.
    pub(crate) filter: Option<&'a Arc<Filter>>,
    /// The strategy beside the one in force by which it gets its member.
    pub(crate) by: Option<&'a Beside>,
    /// The sessions, where they are not those of who is asked.
    pub(crate) sessions: Option<&'a Sessions>,
}

/// Whom a request gets.
#[derive(Debug)]
pub(crate) enum Choice<'s> {
    /// This member, picked so.
    Member(&'s Arc<Member>, Way),
    /// Nobody is eligible.
    Nobody,
    /// The strategy has faulted, and the user wants no answer then but its own.
    Rejected(PluginIdentity, Option<Box<str>>),
}

/// How a member is picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// By the strategy's plan for everybody.
    Plan,
    /// By its plan for the request's site.
    SitePlan,
    /// By its plan for the request's filter.
    ViewPlan,
    /// By the strategy itself, which was asked.
    Select,
    /// Whatever the strategy says: the request has failed elsewhere, and this one has just served the site.
    Proven,
    /// In turn: there is no strategy.
    InTurn,
    /// Not at all: it is the way without a member.
    Direct,
    /// In turn: the strategy could not say.
    Fallback(Reason),
}

impl Way {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::SitePlan => "site-plan",
            Self::ViewPlan => "view-plan",
            Self::Select => "select",
            Self::Proven => "proven",
            Self::InTurn => "in-turn",
            Self::Direct => "direct",
            Self::Fallback(Reason::NoPlan) => "fallback-no-plan",
            Self::Fallback(Reason::Stale) => "fallback-stale",
            Self::Fallback(Reason::Busy) => "fallback-busy",
            Self::Fallback(Reason::Fault) => "fallback-fault",
            Self::Fallback(Reason::Ineligible) => "fallback-ineligible",
        }
    }
}

/// The plan for a request.
struct Planned<'s> {
    plan: &'s Picker,
    way: Way,
}

/// The plan of a view.
#[derive(Debug, Clone)]
pub(super) struct Viewed {
    /// The view's number.
    pub(super) id: u32,
    /// When a request last came with its filter, in microseconds. Written by requests.
    pub(super) used: Arc<AtomicU64>,
    /// Its plan; none until there is one.
    pub(super) plan: Option<Arc<Picker>>,
}

/// From what requests pick.
#[derive(Debug, Clone, Default)]
pub(super) struct Selection {
    /// The strategy in force; none when there is none.
    pub(super) ward: Option<Arc<Ward>>,
    /// Whether a request fails when the strategy cannot answer.
    pub(super) rejects: bool,
    /// The plan for everybody; none until there is one.
    pub(super) plan: Option<Arc<Picker>>,
    /// The plans for sites; none while there are none, so that a request that belongs to none looks nowhere.
    pub(super) sites: Option<Arc<HashMap<Symbol, Arc<Picker>>>>,
    /// The plans for views, by the filter that makes them.
    pub(super) views: Arc<HashMap<Arc<Filter>, Viewed>>,
    /// The instances to ask for each request, when a plan says so.
    pub(super) shards: Option<Arc<Shards>>,
    /// Which session was given which member.
    pub(super) sessions: Arc<Sessions>,
    /// What was picked from before the swap that is on probation: serves where the newcomer faults.
    pub(super) previous: Option<Arc<Selection>>,
}

impl Selection {
    /// Chooses a member that is eligible.
    pub(super) fn choose<'s>(
        &self,
        shared: &Shared,
        snapshot: &'s Snapshot,
        wish: &Wish<'_>,
        ask: &Ask<'_>,
    ) -> Choice<'s> {
        if let Some(filter) = ask.filter
            && self.ward.is_some()
            && !self.views.contains_key(filter)
        {
            shared.want_view(filter);
        }
        let (view, plan) = self.plan_for(ask, wish.now);
        let Some(plan) = plan else {
            return match &self.ward {
                // Before its first plan, a strategy that has not faulted only needs a moment.
                Some(_) if is_faulted(shared) => self.instead(shared, snapshot, wish, ask, Reason::NoPlan),
                Some(_) => self.fall_back(shared, snapshot, wish, ask, Reason::NoPlan),
                None => in_turn(shared, snapshot, wish, self.sessions_of(ask), Way::InTurn),
            };
        };
        let Planned { plan, way } = plan;
        if plan.asks_per_request() {
            return self.ask(shared, snapshot, wish, ask, view);
        }
        if let Some(member) = at(snapshot, plan.pick(snapshot, wish, self.sessions_of(ask))) {
            return Choice::Member(member, way);
        }
        // A plan that leaves somebody out is obeyed, but not one that could not be renewed when the pool changed; a
        // session that must not move is obeyed even then.
        if plan.is_strict(wish) || !is_faulted(shared) {
            return Choice::Nobody;
        }
        self.instead(shared, snapshot, wish, ask, Reason::Stale)
    }

    /// Why nobody was left.
    pub(super) fn refusals(&self, snapshot: &Snapshot, wish: &Wish<'_>, ask: &Ask<'_>) -> (Refusals, Outlook) {
        match self.plan_of_host(ask, wish.now) {
            Some(plan) => plan.refusals(snapshot, wish, self.sessions_of(ask)),
            None => {
                let mut outlook = Outlook::default();
                snapshot.iter().filter(|member| wish.waits_for(member)).for_each(|member| outlook.add(&member.live));
                (Refusals::count(snapshot, wish), outlook)
            }
        }
    }

    /// Of those whom their breakers keep from a request, the one that is to let a probe through first. Obeys a plan as far as
    /// [`Selection::choose`] does.
    pub(super) fn readiest<'s>(
        &self,
        shared: &Shared,
        snapshot: &'s Snapshot,
        wish: &Wish<'_>,
        ask: &Ask<'_>,
    ) -> Option<&'s Arc<Member>> {
        if let Some(plan) = self.plan_of_host(ask, wish.now) {
            let planned = plan.readiest(snapshot, wish, self.sessions_of(ask));
            if planned.is_some() || plan.is_strict(wish) || !is_faulted(shared) {
                return planned;
            }
        }
        match &self.previous {
            Some(previous) if is_faulted(shared) => previous.readiest(shared, snapshot, wish, ask),
            Some(_) | None => wish.readiest(snapshot, |_| true),
        }
    }

    /// Whom a request must stay with, where the host knows that.
    pub(super) fn stays_with(&self, wish: &Wish<'_>, ask: &Ask<'_>) -> Option<MemberId> {
        self.plan_of_host(ask, wish.now)?.stays_with(wish, self.sessions_of(ask))
    }

    /// The plan from which the host picks for a request; none where the strategy itself is asked.
    fn plan_of_host(&self, ask: &Ask<'_>, now: Timestamp) -> Option<&Picker> {
        self.plan_for(ask, now).1.map(|planned| planned.plan).filter(|plan| !plan.asks_per_request())
    }

    /// What a pick would find, tier by tier, how, and whether sessions stick.
    pub(super) fn look(
        &self,
        shared: &Shared,
        snapshot: &Snapshot,
        wish: &Wish<'_>,
        ask: &Ask<'_>,
    ) -> (Way, Vec<TierSight>, bool) {
        let (plan, way) = match (self.plan_for(ask, wish.now), &self.ward) {
            ((_, Some(Planned { plan, .. })), _) if plan.asks_per_request() => (plan, Way::Select),
            ((_, Some(Planned { plan, way })), _) => (plan, way),
            ((_, None), Some(_)) => (&shared.fallback, Way::Fallback(Reason::NoPlan)),
            ((_, None), None) => (&shared.fallback, Way::InTurn),
        };
        (way, plan.look(snapshot, wish), plan.stickiness().is_some())
    }

    /// The plan for a request, and the number of its view.
    fn plan_for(&self, ask: &Ask<'_>, now: Timestamp) -> (u32, Option<Planned<'_>>) {
        let view = ask.filter.and_then(|filter| self.views.get(filter));
        if let Some(view) = view {
            // Relaxed: only who was used longest ago is read from it.
            view.used.store(now.as_micros(), Ordering::Relaxed);
            if let Some(plan) = &view.plan {
                return (view.id, Some(Planned { plan, way: Way::ViewPlan }));
            }
        }
        let site = self.sites.as_ref().and_then(|sites| sites.get(&ask.site));
        let planned = site.zip(Some(Way::SitePlan)).or(self.plan.as_ref().zip(Some(Way::Plan)));
        (view.map_or(0, |view| view.id), planned.map(|(plan, way)| Planned { plan, way }))
    }

    /// Asks the plugin for a member.
    fn ask<'s>(
        &self,
        shared: &Shared,
        snapshot: &'s Snapshot,
        wish: &Wish<'_>,
        ask: &Ask<'_>,
        view: u32,
    ) -> Choice<'s> {
        let session = wish.session.unwrap_or(0);
        let Ask { attempt, site, .. } = *ask;
        let request = Request { view, site, session, attempt, now: wish.now, seed: wish.seed };
        let Some(shards) = &self.shards else { return self.instead(shared, snapshot, wish, ask, Reason::Fault) };
        match shards.select(&request, snapshot, shared) {
            Answer::Member(member) if wish.admits(member) => Choice::Member(member, Way::Select),
            Answer::Member(_) => self.fall_back(shared, snapshot, wish, ask, Reason::Ineligible),
            Answer::Nobody => Choice::Nobody,
            Answer::Busy => self.fall_back(shared, snapshot, wish, ask, Reason::Busy),
            Answer::Faulted => self.instead(shared, snapshot, wish, ask, Reason::Fault),
        }
    }

    /// What answers when the strategy has faulted: what was in force before while it is on probation, and then what the
    /// user wants.
    fn instead<'s>(
        &self,
        shared: &Shared,
        snapshot: &'s Snapshot,
        wish: &Wish<'_>,
        ask: &Ask<'_>,
        reason: Reason,
    ) -> Choice<'s> {
        match (&self.previous, &self.ward) {
            (Some(previous), _) => previous.choose(shared, snapshot, wish, ask),
            (None, Some(ward)) if self.rejects => Choice::Rejected(ward.identity(), ward.last_fault()),
            (None, _) => self.fall_back(shared, snapshot, wish, ask, reason),
        }
    }

    fn fall_back<'s>(
        &self,
        shared: &Shared,
        snapshot: &'s Snapshot,
        wish: &Wish<'_>,
        ask: &Ask<'_>,
        reason: Reason,
    ) -> Choice<'s> {
        shared.fallbacks.count(reason);
        in_turn(shared, snapshot, wish, self.sessions_of(ask), Way::Fallback(reason))
    }

    fn sessions_of<'a>(&'a self, ask: &Ask<'a>) -> &'a Sessions {
        ask.sessions.unwrap_or(&self.sessions)
    }
}

/// The next of everybody.
fn in_turn<'s>(shared: &Shared, snapshot: &'s Snapshot, wish: &Wish<'_>, sessions: &Sessions, way: Way) -> Choice<'s> {
    at(snapshot, shared.fallback.pick(snapshot, wish, sessions))
        .map_or(Choice::Nobody, |member| Choice::Member(member, way))
}

/// Who is at the slot that was picked.
fn at(snapshot: &Snapshot, slot: Option<u32>) -> Option<&Arc<Member>> {
    snapshot.get(slot?)
}

/// Why the fallback answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The strategy has made no plan yet.
    NoPlan,
    /// Nobody is left in a plan that could not be renewed.
    Stale,
    /// Every instance was busy.
    Busy,
    /// The instance has faulted.
    Fault,
    /// It named somebody who is not eligible.
    Ineligible,
}

/// How often the fallback answered instead of a strategy, by reason.
#[derive(Debug)]
pub(super) struct Fallbacks {
    no_plan: metrics::Counter,
    stale: metrics::Counter,
    busy: metrics::Counter,
    fault: metrics::Counter,
    ineligible: metrics::Counter,
}

impl Default for Fallbacks {
    fn default() -> Self {
        let counter = |reason: &'static str| metrics::counter!("proxywhirl_fallbacks_total", "reason" => reason);
        Self {
            no_plan: counter("no-plan"),
            stale: counter("stale"),
            busy: counter("busy"),
            fault: counter("fault"),
            ineligible: counter("ineligible"),
        }
    }
}

impl Fallbacks {
    fn count(&self, reason: Reason) {
        match reason {
            Reason::NoPlan => &self.no_plan,
            Reason::Stale => &self.stale,
            Reason::Busy => &self.busy,
            Reason::Fault => &self.fault,
            Reason::Ineligible => &self.ineligible,
        }
        .increment(1);
    }
}
