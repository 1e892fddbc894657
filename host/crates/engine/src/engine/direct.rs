//! The way straight to the origin, as requests lease it: a member that is in no pool, so that attempts are told, remembered and
//! banned as those through members are.

use std::sync::Arc;

use proxywhirl_core::event::Topic;
use proxywhirl_core::lease::Lease;
use proxywhirl_core::symbol::Symbol;
use proxywhirl_core::{Anonymity, Endpoint, Member, MemberId, Outcome, Timestamp};

use super::{Attempt, Engine};
use crate::strategy::Way;

/// What stands for it.
pub(super) fn member() -> Member {
    let endpoint = Arc::new(Endpoint::direct());
    Member {
        id: MemberId::of(&endpoint.key()),
        // It has no place in the table, and no strategy hears of it.
        slot: u32::MAX,
        generation: 0,
        joined: 0,
        added: Timestamp::default(),
        endpoint,
        labels: Arc::default(),
        country: None,
        country_symbol: Symbol::NONE,
        anonymity: Anonymity::Unknown,
        live: Arc::default(),
    }
}

/// Takes what came of a use. A failure is the origin's, so that no breaker opens: one origin that is down must not close the
/// way to all others.
pub(super) fn record(lease: &mut Lease, outcome: &Outcome, now: Timestamp) {
    let outcome = if matches!(outcome, Outcome::Failure(_)) { &Outcome::Neutral } else { outcome };
    lease.report(outcome, now);
}

impl Engine {
    /// The way straight to the origin, for an attempt; none when the request has tried it, or it is banned at this site.
    pub fn acquire_direct(&self, attempt: &Attempt<'_>) -> Option<Lease> {
        let (now, id) = (self.clock.now(), self.direct.id);
        // It is no member: the share of those that may be banned does not protect it.
        let is_banned = || self.bans.of(attempt.target, attempt.session, (now, usize::MAX)).contains(&id);
        if attempt.tried.contains(&id) || is_banned() {
            return None;
        }
        let lease = Lease::take(Arc::clone(&self.direct), &self.breaker.load(), now)?;
        self.history.picked(attempt, &self.direct.endpoint, Way::Direct, now, self.clock.now());
        self.tell(Topic::ProxySelected, &lease, attempt, |_| {});
        Some(lease)
    }
}
