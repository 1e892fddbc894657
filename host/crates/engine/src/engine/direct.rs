//! The way straight to the origin, as requests lease it: a member that is in no pool, so that attempts are told, remembered and
//! banned as those through members are.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use proxywhirl_core::event::Topic;
use proxywhirl_core::lease::Lease;
use proxywhirl_core::symbol::Symbol;
use proxywhirl_core::{Anonymity, Endpoint, Member, MemberId, Outcome, Timestamp};
use tokio::time::{Instant, sleep_until};

use super::waiting::{Draw, shed};
use super::{Attempt, Engine, NoLease};
use crate::limits::{Limited, NoWait};
use crate::strategy::{Way, registrable};

/// How long it is not looked without news whether a site has room again: what nobody tells of, such as another limit, is seen
/// after so long. Not in tests, which would not see that news was lost.
const LOOK: Duration = if cfg!(test) { Duration::from_hours(1) } else { Duration::from_secs(1) };

/// After how long others are asked again who share a limit and have refused.
const AGAIN: Duration = Duration::from_millis(100);

/// A token that is due sooner is waited for so long.
const SOON: Duration = Duration::from_millis(10);

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
    /// The way straight to the origin, for an attempt; none when the request has tried it, or it is banned at this site. While the
    /// site is at its limit, that is waited for, until then or as long as requests may wait, or not at all without a time; whoever
    /// waits in the line for a member has its turn by itself.
    ///
    /// # Errors
    /// When the site is at its limit for longer.
    pub async fn acquire_direct(
        &self,
        attempt: &Attempt<'_>,
        until: Option<Instant>,
    ) -> Result<Option<Lease>, NoLease> {
        let began = Instant::now();
        let until = until.map(|until| until.min(began + self.room.rules().wait));
        let mut freed = None;
        loop {
            let now = self.clock.now();
            if attempt.tried.contains(&self.direct.id) || self.is_direct_banned(attempt) {
                return Ok(None);
            }
            let turn = match self.straight(attempt, now).await {
                ControlFlow::Break(lease) => return Ok(lease),
                ControlFlow::Continue(turn) => turn,
            };
            // In a tier below the last one, that is nobody, and not told.
            let Some(until) = until else { return Ok(None) };
            if Instant::now() >= until || self.no_waits.is_cancelled() {
                let limited = Limited::Site(registrable(attempt.target).into());
                let shed = shed(limited, NoWait::Waited(began.elapsed()), Some(turn));
                return Err(self.turned_away(attempt, shed, self.now()));
            }
            // Whoever gives a place back from now on tells so; before that, somebody may have.
            let Some(freed) = &freed else {
                freed = Some(self.room.sites.freed(attempt.target, now));
                continue;
            };
            tokio::select! {
                () = freed.notified() => {}
                () = self.no_waits.cancelled() => {}
                () = sleep_until(until.min(Instant::now() + turn.clamp(SOON, LOOK))) => {}
            }
        }
    }

    /// Whether the way straight to the origin is banned at this site.
    #[must_use]
    pub fn is_direct_banned(&self, attempt: &Attempt<'_>) -> bool {
        // It is no member: the share of those that may be banned does not protect it.
        let all = (self.clock.now(), usize::MAX);
        self.bans.of(attempt.target, attempt.session, all).contains(&self.direct.id)
    }

    /// Takes the way straight to the origin now, or says how long it may be until the site has room.
    async fn straight(&self, attempt: &Attempt<'_>, now: Timestamp) -> ControlFlow<Option<Lease>, Duration> {
        let lease = || Lease::take(Arc::clone(&self.direct), &self.breaker.load(), now);
        let drawn =
            self.within_site(attempt, now, || lease().map_or(Draw::Nobody, |lease| Draw::Lease(lease, Way::Direct)));
        let lease = match drawn {
            Draw::Lease(lease, _) => lease,
            Draw::Site(outlook) => return ControlFlow::Continue(outlook.wait(0, now).unwrap_or(LOOK)),
            Draw::Nobody | Draw::Rejected(_) => return ControlFlow::Break(None),
        };
        if let Some(others) = self.room.others()
            && !self.is_granted(others, &lease, attempt).await
        {
            return ControlFlow::Continue(AGAIN);
        }
        self.history.picked(attempt, &self.direct.endpoint, Way::Direct, now, self.clock.now());
        self.tell(Topic::ProxySelected, &lease, attempt, |_| {});
        ControlFlow::Break(Some(lease))
    }
}
