//! Which upstreams a request is tried through, when another one is asked, and who pays for what failed.
//!
//! One policy for forwarded requests, CONNECT and SOCKS. The client has not been answered while it runs, so every fault
//! can still be made good:
//!
//! - A fault before the origin can have seen the request leads to the next member at once. A later one does so only for
//!   a request that does no harm when it is sent twice ([`Repeat`]).
//! - A request that may be sent twice and stays unanswered is **overtaken**: another upstream is asked too, while the
//!   first stays open, because silence may be a dead upstream or a slow origin, and nobody can tell which. Whoever
//!   answers first wins. Two attempts are open at most; when the younger one is silent for too long as well, it gives
//!   way to the next, and the oldest, which has waited longest, stays. A session moves when the other one has served it.
//! - A request that holds its body back until somebody asks for it is overtaken in the same way. When nobody else is left, it is for
//!   one of those who are silent to have the body ([`resort`]).
//! - A fault that may be the origin's is held back until the request ends: if another upstream then served it, the
//!   origin is innocent, and the first upstream pays. If nobody else was asked, it pays when it fails there again, and
//!   others have served that origin meanwhile ([`Engine::doubt`]); if nobody could be, also when it fails at one site
//!   after the other ([`Engine::doubt_across`]).
//!
//! - A member that is the gateway of many exits, each attempt through another one of them, is asked again, unless it is the
//!   gateway itself that fails.
//! - A request that is hedged asks another member as soon as the first one is slower than it nearly always is ([`hedge`]).
//! - Where there are tiers, attempts go through them from the first to the last ([`escalation`]).
//! - A member that refuses its login is asked again, when nobody else is left and its login is another one by now ([`renewal`]).
//! - A member that is not the first one is asked within the retry budget only ([`budget`]), so that a pool that is down
//!   is not asked five times as much.
//!
//! - Where all that is left is out of use, probes of a request come at intervals ([`rest`]).
//!
//! Where members or sites have limits, an attempt waits for its turn when no other one is under way.
//!
//! Every lease is settled once, or dropped, which is neutral.

pub(crate) mod budget;
pub(crate) mod escalation;
pub(crate) mod hedge;
mod race;
mod renewal;
mod resort;
mod rest;
mod running;
mod suspects;
mod trial;
mod upstream;

use std::sync::Arc;

use proxywhirl_core::fault::Retry;
use proxywhirl_core::symbol::Symbol;
use proxywhirl_core::{Endpoint, Fault, Host, MemberId};
use proxywhirl_engine::{Engine, SessionUse};
use tokio::time::Instant;

use crate::alarms::Alarms;
use crate::bans::Case;
use crate::config::GatewayConfig;
use crate::explained::Explained;
use crate::session::presence::Leaving;
use crate::wanted::Wanted;
use budget::RetryBudget;
use escalation::{Climb, Escalation};
use hedge::{Hedge, Hedging};
pub(crate) use race::late;
use renewal::Refusal;
pub(crate) use resort::Resort;
use suspects::Suspect;
pub(crate) use suspects::silence;
pub(crate) use trial::{Author, Evidence, Trial, Verdict, Won};
pub(crate) use upstream::{Alike, Filled, Upstream};

/// Whether a request may be sent again once an upstream has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Only when the origin cannot have seen it.
    Unseen,
    /// After a fault: it is idempotent, and its body is at hand.
    AfterFault,
    /// After a fault: nothing but a tunnel is asked for, which may be asked for twice at a time.
    Dial,
    /// Also while the first attempt is unanswered: it is idempotent and has no body.
    Overtake,
    /// The same: nothing but its head is sent, which no origin acts on. That no answer comes says little of a member, and how long
    /// one takes says nothing of others.
    Head,
}

impl Repeat {
    fn allows(self, retry: Retry) -> bool {
        match retry {
            Retry::Never => false,
            Retry::IfIdempotent => self != Self::Unseen,
            Retry::Always => true,
        }
    }
}

/// What all requests share.
#[derive(Clone, Copy)]
pub(crate) struct Means<'g> {
    pub(crate) engine: &'g Engine,
    pub(crate) config: &'g GatewayConfig,
    pub(crate) budget: &'g RetryBudget,
    pub(crate) hedging: &'g Hedging,
    pub(crate) escalation: Option<&'g Escalation>,
}

/// A request on its way through upstreams.
pub(crate) struct Failover<'g> {
    engine: &'g Engine,
    config: &'g GatewayConfig,
    budget: &'g RetryBudget,
    hedging: &'g Hedging,
    escalation: Option<&'g Escalation>,
    climb: Climb,
    request: u64,
    target: &'g str,
    site: Symbol,
    wanted: Wanted,
    deadline: Instant,
    /// Whether its client is there.
    leaving: &'g Leaving,
    /// What its waits are limited with.
    alarms: &'g Alarms,
    /// What its attempts may wait for, and whether it is learned from them how long that takes.
    repeat: Repeat,
    hedge: Hedge,
    /// How many attempts were begun.
    attempts: usize,
    /// How many of them came to nothing before anybody was dialled: the member's protocol cannot say what was asked for, or the
    /// gateway does not find the name.
    unsaid: usize,
    /// Whether one of them failed without being at fault for sure.
    is_reached: bool,
    /// How many of them failed at a member that is out of use.
    probes: u32,
    /// Whether one of them waited for a stranger longer than others do.
    was_patient: bool,
    /// Who is not asked again.
    tried: Vec<MemberId>,
    suspects: Vec<Suspect>,
    /// Who has refused a login.
    refusals: Vec<Refusal>,
    /// What those wait for who are silent, where its body is held back.
    resort: Option<Arc<Resort>>,
    /// Whether an attempt was not made because the budget was used up.
    is_denied: bool,
    /// Whether it was answered with what its upstream may have made up.
    is_unproven: bool,
    /// Whether its session has begun with it: there is nothing yet to stay with.
    begins_session: bool,
    /// That its session is in use.
    in_use: Option<Box<SessionUse>>,
    /// The one that went furthest.
    fault: Option<Box<Fault>>,
}

impl<'g> Failover<'g> {
    /// The request that began then, of a client that may leave.
    pub(crate) fn new(
        means: Means<'g>,
        (request, began, leaving, alarms): (u64, Instant, &'g Leaving, &'g Alarms),
        target: &'g str,
        wanted: Wanted,
    ) -> Self {
        let Means { engine, config, budget, hedging, escalation } = means;
        let deadline = began + wanted.deadline.unwrap_or(config.request_deadline);
        let site = engine.site(target);
        let (tried, suspects, refusals) = (Vec::new(), Vec::new(), Vec::new());
        let climb = escalation.map_or_else(Climb::default, |escalation| escalation.begin(target, &wanted));
        let (repeat, hedge, fault) = (Repeat::Unseen, Hedge::Never, None);
        let begins_session = wanted.session.is_some_and(|session| engine.begins_session(session));
        Self {
            engine,
            config,
            budget,
            hedging,
            escalation,
            climb,
            request,
            target,
            site,
            wanted,
            deadline,
            leaving,
            alarms,
            repeat,
            hedge,
            attempts: 0,
            unsaid: 0,
            is_reached: false,
            probes: 0,
            was_patient: false,
            tried,
            suspects,
            refusals,
            resort: None,
            is_denied: false,
            is_unproven: false,
            begins_session,
            in_use: None,
            fault,
        }
    }

    /// The request as rules about bans see it.
    pub(crate) const fn case<'a>(&self, host: &'a Host) -> Case<'a>
    where
        'g: 'a,
    {
        Case {
            engine: self.engine,
            rules: self.config.bans.as_slice(),
            request: self.request,
            target: self.target,
            host,
            session: self.wanted.session,
        }
    }

    /// The request's number.
    pub(crate) const fn request(&self) -> u64 {
        self.request
    }

    /// Whether its client is there.
    pub(crate) const fn leaving(&self) -> &'g Leaving {
        self.leaving
    }

    /// What its waits are limited with.
    pub(crate) const fn alarms(&self) -> &'g Alarms {
        self.alarms
    }

    /// Holds its body back: what an attempt waits for that is silent, and so has not asked for it.
    pub(crate) fn resort(&mut self) -> Arc<Resort> {
        Arc::clone(self.resort.get_or_insert_default())
    }

    /// That its session is in use, for what goes on when the request has been answered.
    pub(crate) const fn take_use(&mut self) -> Option<Box<SessionUse>> {
        self.in_use.take()
    }

    /// When it is to be answered.
    pub(crate) const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The number of the newest request, whichever it is: budgets count those of now.
    fn newest_request(&self) -> u64 {
        self.request.max(self.engine.last_request())
    }

    /// Host and port of the origin.
    pub(crate) const fn target(&self) -> &str {
        self.target
    }

    /// What the client hears of its request, if it asks.
    pub(crate) fn explained(&self, upstream: Option<&Endpoint>) -> Option<Explained> {
        Explained::of(self.config, &self.wanted, upstream, self.attempts())
    }

    /// How many attempts were begun.
    pub(crate) const fn attempts(&self) -> usize {
        self.attempts
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
