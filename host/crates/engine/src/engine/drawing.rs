//! How a request gets a member: who is drawn, and what is told when nobody is left.

use std::sync::Arc;

use proxywhirl_core::event::Topic;
use proxywhirl_core::lease::Lease;
use proxywhirl_core::member::mix;
use proxywhirl_core::select::{Outlook, Refusals, Wish};
use proxywhirl_core::{Member, MemberId, Timestamp};

use super::waiting::Draw;
use super::{Attempt, Engine, NoLease};
use crate::events::PoolEmptyPayload;
use crate::limits::room::Holding;
use crate::strategy::{Ask, Choice, Way};

/// How often a pick is tried again when another request took the probe of the member that was picked.
pub(super) const RACES: usize = 16;

impl Engine {
    /// Chooses a member for an attempt. Never waits: see [`Engine::acquire_in_turn`] for where there are limits.
    ///
    /// # Errors
    /// What took how many, when nobody is left; the strategy's fault, when the user wants no other answer than its own.
    pub fn acquire(&self, attempt: &Attempt<'_>) -> Result<Lease, NoLease> {
        let now = self.clock.now();
        self.acquire_at(attempt, now).map_err(|why| self.turned_away(attempt, why, now))
    }

    /// The same for an attempt that is made elsewhere when there is nobody: that is not told, and not counted.
    ///
    /// # Errors
    /// As [`Engine::acquire`].
    pub fn acquire_or_go_on(&self, attempt: &Attempt<'_>) -> Result<Lease, NoLease> {
        self.acquire_at(attempt, self.clock.now())
    }

    fn acquire_at(&self, attempt: &Attempt<'_>, now: Timestamp) -> Result<Lease, NoLease> {
        match self.draw(attempt, now) {
            Draw::Lease(lease, way) => Ok(self.handed(attempt, lease, way, now)),
            Draw::Rejected(why) => Err(why),
            Draw::Nobody | Draw::Site(_) => Err(NoLease::Nobody(self.refusals(attempt, now).0)),
        }
    }

    /// Takes a member for an attempt, if there is one now. Tells nobody.
    pub(super) fn draw(&self, attempt: &Attempt<'_>, now: Timestamp) -> Draw {
        self.within_site(attempt, now, || self.draw_at_site(attempt, now))
    }

    /// Takes what a draw takes together with a place at the site, and a token of it, where that has a limit.
    pub(super) fn within_site(&self, attempt: &Attempt<'_>, now: Timestamp, draw: impl FnOnce() -> Draw) -> Draw {
        let is_limited = self.room.rules().is_on;
        let permit = match is_limited.then(|| self.room.sites.enter(attempt.target, now)).transpose() {
            Ok(permit) => permit.flatten(),
            Err(outlook) => return Draw::Site(outlook),
        };
        match (draw(), permit) {
            (Draw::Lease(lease, way), permit) if is_limited => {
                let room = Arc::clone(&self.room);
                Draw::Lease(lease.holding(Box::new(Holding { permit, room })), way)
            }
            (draw @ (Draw::Nobody | Draw::Rejected(_)), Some(permit)) => {
                permit.unused();
                draw
            }
            (draw, _) => draw,
        }
    }

    /// Draws among those who are not avoided.
    pub(super) fn draw_member(&self, attempt: &Attempt<'_>, avoided: &[MemberId], now: Timestamp) -> Draw {
        self.draw_unless(attempt, avoided, now, |_| false)
    }

    /// The same; nobody when whoever was drawn is shunned, of whom neither breaker nor limit hears.
    pub(super) fn draw_unless(
        &self,
        attempt: &Attempt<'_>,
        avoided: &[MemberId],
        now: Timestamp,
        shuns: impl Fn(&Member) -> bool,
    ) -> Draw {
        let snapshot = self.snapshot.load();
        let ask = ask_of(attempt);
        self.with_wish(attempt, avoided, (now, snapshot.len()), |wish| {
            for _ in 0..RACES {
                let wish = Wish { seed: mix(self.measures.draw()), ..*wish };
                match self.selector.choose(&snapshot, &wish, &ask) {
                    Choice::Member(member, _) if shuns(member) => break,
                    Choice::Member(member, way) => {
                        if let Some(lease) = Lease::take(Arc::clone(member), &self.breaker.load(), now) {
                            return Draw::Lease(lease, way);
                        }
                    }
                    Choice::Nobody => break,
                    Choice::Rejected(plugin, fault) => return Draw::Rejected(NoLease::Plugin { plugin, fault }),
                }
            }
            Draw::Nobody
        })
    }

    /// Where only breakers keep an attempt from everybody: lets the next probe go before its time, and where all have one under way, another
    /// one beside it. So an outage of all ends with the first requests after it, and a pool that is down costs a request what its probes
    /// cost. False when there is none.
    pub(super) fn relent(&self, attempt: &Attempt<'_>, now: Timestamp) -> bool {
        self.readiest(attempt, now).inspect(|member| member.live.relent(now)).is_some()
    }

    /// Of those whom their breakers keep from an attempt, the one that is to let a probe through first. Looks at the whole pool.
    pub(super) fn readiest(&self, attempt: &Attempt<'_>, now: Timestamp) -> Option<Arc<Member>> {
        let snapshot = self.snapshot.load();
        self.with_wish(attempt, &[], (now, snapshot.len()), |wish| {
            self.selector.readiest(&snapshot, wish, &ask_of(attempt)).map(Arc::clone)
        })
    }

    /// What an attempt wants of a pick that avoids these members, now and of so many.
    pub(super) fn with_wish<T>(
        &self,
        attempt: &Attempt<'_>,
        avoided: &[MemberId],
        (now, members): (Timestamp, usize),
        then: impl FnOnce(&Wish<'_>) -> T,
    ) -> T {
        let filter = attempt.admitted().map(|filter| &**filter);
        let mut shut_out = self.bans.of(attempt.target, attempt.session, (now, members));
        shut_out.extend_from_slice(avoided);
        let tried = if shut_out.is_empty() {
            attempt.tried
        } else {
            shut_out.extend_from_slice(attempt.tried);
            &shut_out
        };
        let mut stick = attempt.stick;
        stick.renew |= attempt.session.is_some_and(|session| self.bans.wants_rotation(session));
        then(&Wish { now, tried, filter, session: attempt.session, stick, seed: 0 })
    }

    /// What took how many, for an attempt that gets nobody, and when it may get somebody. Looks at the whole pool.
    pub(super) fn refusals(&self, attempt: &Attempt<'_>, now: Timestamp) -> (Refusals, Outlook) {
        self.refusals_among(attempt, &[], now)
    }

    /// The same for a pick that avoids these members: they count as banned.
    pub(super) fn refusals_among(
        &self,
        attempt: &Attempt<'_>,
        avoided: &[MemberId],
        now: Timestamp,
    ) -> (Refusals, Outlook) {
        let snapshot = self.snapshot.load();
        let (mut refusals, outlook) = self.with_wish(attempt, avoided, (now, snapshot.len()), |wish| {
            self.selector.refusals(&snapshot, wish, &ask_of(attempt))
        });
        // Not the way straight to the origin, which is no member, nor who has left meanwhile.
        let tried = snapshot.iter().filter(|member| attempt.tried.contains(&member.id)).count();
        refusals.banned = refusals.tried.saturating_sub(tried);
        refusals.tried -= refusals.banned;
        (refusals, outlook)
    }

    /// Tells that an attempt has got a member. `began` is when it asked.
    pub(super) fn handed(&self, attempt: &Attempt<'_>, lease: Lease, way: Way, began: Timestamp) -> Lease {
        if let Some(session) = attempt.session {
            self.bans.takes_rotation(session);
        }
        self.history.picked(attempt, &lease.member().endpoint, way, began, self.clock.now());
        self.tell(Topic::ProxySelected, &lease, attempt, |_| {});
        lease
    }

    /// Tells that an attempt gets nobody, and why.
    pub(super) fn turned_away(&self, attempt: &Attempt<'_>, why: NoLease, now: Timestamp) -> NoLease {
        match &why {
            NoLease::Nobody(refusals) => {
                self.measures.nobody_left();
                self.bus.publish(Topic::PoolEmpty, now, || PoolEmptyPayload {
                    request: attempt.request,
                    target: attempt.target,
                    members: refusals.members,
                    tried: refusals.tried,
                    banned: refusals.banned,
                    filter: refusals.filter,
                    breaker: refusals.breaker,
                    limited: refusals.limited,
                    session: refusals.session,
                    unplanned: refusals.unplanned,
                });
            }
            NoLease::Plugin { .. } => self.measures.rejected(),
            NoLease::Shed(shed) => self.room.shed(shed.why),
        }
        self.history.nobody(attempt, &why, now);
        why
    }
}

/// What is particular about an attempt.
pub(super) fn ask_of<'a>(attempt: &Attempt<'a>) -> Ask<'a> {
    Ask { attempt: attempt.number, site: attempt.site, filter: attempt.admitted(), by: attempt.by, sessions: None }
}
