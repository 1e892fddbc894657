//! Leases where there are limits: who has to wait, and who is served when.

use std::ops::ControlFlow;
use std::sync::{Arc, Weak};
use std::time::Duration;

use proxywhirl_core::select::Outlook;
use proxywhirl_core::symbol::Symbol;
use proxywhirl_core::{Lease, Member, Timestamp};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::drawing::ask_of;
use super::{Attempt, Engine, NoLease};
use crate::limits::line::Place;
use crate::limits::room::{Class, Handed, Room, Situation, Standing, Waiter};
use crate::limits::{Limited, LimitsConfig, NoWait, Shared, Shed};
use crate::strategy::{Way, registrable};

/// How long those who wait are not looked at without news: what nobody tells of, such as a plan that was made anew, is seen
/// after so long.
/// Not in tests, which would not see that news was lost.
const LOOK: Duration = if cfg!(test) { Duration::from_hours(1) } else { Duration::from_secs(1) };

/// How often a request that waits looks whether it still waits for anybody: who leaves the pool, or is banned, tells only that there
/// is news.
const LOOK_BACK: Duration = Duration::from_secs(1);

/// How long what a class waits for is believed: a look goes through the whole pool.
const FRESH: Duration = Duration::from_millis(100);

/// How often a request looks why it got nobody, when it seems that it could have got somebody: in between, another request
/// may have had a member and given it back.
const LOOKS: usize = 4;

/// When to come again, if nobody can say when there is room.
const SOON: Duration = Duration::from_secs(1);

/// What a request gets at once.
pub(super) enum Draw {
    /// A member.
    Lease(Lease, Way),
    /// Its site is at its limit.
    Site(Outlook),
    /// Nobody is eligible.
    Nobody,
    /// Its strategy has faulted, and nobody else answers for it.
    Rejected(NoLease),
}

impl Engine {
    /// Chooses a member for an attempt; where that has to wait for a limit, until `until` or as long as requests may wait.
    /// Those that came before it are served first.
    ///
    /// # Errors
    /// As [`Engine::acquire`], and when it has waited in vain or may not wait.
    pub async fn acquire_in_turn(&self, attempt: &Attempt<'_>, until: Instant) -> Result<Lease, NoLease> {
        self.acquire_among((attempt, true), until).await
    }

    /// The same for an attempt that probes nobody before its time: where only breakers keep it from everybody, it gets nobody, of which
    /// nobody is told.
    ///
    /// # Errors
    /// As [`Engine::acquire_in_turn`].
    pub async fn acquire_in_use(&self, attempt: &Attempt<'_>, until: Instant) -> Result<Lease, NoLease> {
        self.acquire_among((attempt, false), until).await
    }

    async fn acquire_among(&self, (attempt, probes): (&Attempt<'_>, bool), until: Instant) -> Result<Lease, NoLease> {
        if let Some(others) = self.room.others() {
            return Box::pin(self.granted_in_turn(others, (attempt, probes), until)).await;
        }
        match self.at_once(attempt, probes) {
            ControlFlow::Break(found) => found.map(|(lease, way)| {
                let began = lease.taken();
                self.handed(attempt, lease, way, began)
            }),
            // On the heap: few wait, and the others have no room for it.
            ControlFlow::Continue(situation) => {
                Box::pin(async {
                    let (lease, way) = self.wait(attempt, situation, until, false).await?;
                    Ok(self.handed(attempt, lease, way, self.now()))
                })
                .await
            }
        }
    }

    /// The same where others have to grant it too: whoever they refuse looks for somebody else, or waits again in its place.
    async fn granted_in_turn(
        &self,
        others: &Shared,
        (attempt, probes): (&Attempt<'_>, bool),
        until: Instant,
    ) -> Result<Lease, NoLease> {
        let began = Instant::now();
        let until = until.min(began + self.room.rules().wait);
        let mut is_back = false;
        loop {
            let (lease, way) = match self.at_once(attempt, probes) {
                ControlFlow::Break(found) => found?,
                ControlFlow::Continue(situation) => self.wait(attempt, situation, until, is_back).await?,
            };
            if self.is_granted(others, &lease, attempt).await {
                return Ok(self.handed(attempt, lease, way, self.now()));
            }
            drop(lease);
            is_back = true;
            if Instant::now() >= until {
                return Err(self.waited(attempt, began.elapsed(), self.now()));
            }
        }
    }

    /// Chooses a member, or says that there is none; or what the attempt has to wait for. It probes somebody before its time only if it
    /// may.
    fn at_once(&self, attempt: &Attempt<'_>, probes: bool) -> ControlFlow<Handed, Situation> {
        if self.room.is_anybody_waiting() {
            if self.room.has_news(self.now()) {
                self.serve_waiting();
            }
            // One that has tried some looks itself: it may have nobody left whom others wait for.
            if attempt.tried.is_empty()
                && let Some(situation) = self.known_situation(attempt)
            {
                return ControlFlow::Continue(situation);
            }
        }
        let (mut look, mut relented) = (1, 0);
        loop {
            let now = self.now();
            match self.draw(attempt, now) {
                Draw::Lease(lease, way) => return ControlFlow::Break(Ok((lease, way))),
                Draw::Rejected(why) => return ControlFlow::Break(Err(self.turned_away(attempt, why, now))),
                Draw::Site(outlook) => {
                    if let Some(nobody) = self.nobody_left(attempt, now) {
                        return ControlFlow::Break(Err(self.turned_away(attempt, nobody, now)));
                    }
                    let limited = Limited::Site(registrable(attempt.target).into());
                    return ControlFlow::Continue(Situation { limited, outlook, at: now });
                }
                Draw::Nobody => {
                    let (refusals, outlook) = self.refusals(attempt, now);
                    let limited = Limited::Members(refusals);
                    if refusals.limited > 0 {
                        return ControlFlow::Continue(Situation { limited, outlook, at: now });
                    }
                    if refusals.breaker > 0 && !probes {
                        return ControlFlow::Break(Err(NoLease::Nobody(refusals)));
                    }
                    // The probe may be another one's by then.
                    if refusals.breaker > 0 && relented < LOOKS && self.relent(attempt, now) {
                        relented += 1;
                        continue;
                    }
                    // Somebody seems to be there: out of the plan, or given back since the draw.
                    if refusals.unplanned == 0 || !self.room.rules().is_on || look == LOOKS {
                        let nobody = NoLease::Nobody(refusals);
                        return ControlFlow::Break(Err(self.turned_away(attempt, nobody, now)));
                    }
                }
            }
            look += 1;
        }
    }

    /// Why there would be nobody for an attempt that has tried some, however much room its site had; none when there is somebody.
    fn nobody_left(&self, attempt: &Attempt<'_>, now: Timestamp) -> Option<NoLease> {
        if attempt.tried.is_empty() {
            return None;
        }
        let refusals = self.refusals(attempt, now).0;
        (refusals.limited + refusals.unplanned == 0).then_some(NoLease::Nobody(refusals))
    }

    /// Says how much may be asked of whom from now on.
    pub async fn limit(&self, limits: LimitsConfig) {
        self.room.limit(&limits, self.now());
        self.writer.limit(limits.members).await;
        self.room.stir();
    }

    /// What others of the attempt's class wait for; none when nobody of it waits.
    fn known_situation(&self, attempt: &Attempt<'_>) -> Option<Situation> {
        let class = self.class_of(attempt);
        let known = self.room.line().standing(&class).map(|standing| standing.situation.clone())?;
        let now = self.now();
        if now.since(known.at) <= FRESH {
            return Some(known);
        }
        let situation = self.situation(attempt, now);
        self.room.line().learn(&class, situation.clone());
        Some(situation)
    }

    /// What an attempt waits for.
    fn situation(&self, attempt: &Attempt<'_>, now: Timestamp) -> Situation {
        let (limited, outlook) = if let Some(outlook) = self.room.sites.outlook(attempt.target, now) {
            (Limited::Site(registrable(attempt.target).into()), outlook)
        } else {
            let (refusals, outlook) = self.refusals(attempt, now);
            (Limited::Members(refusals), outlook)
        };
        Situation { limited, outlook, at: now }
    }

    /// Stands in the line until it is served; `is_back` when it has been there, and was refused by others when it was served.
    async fn wait(&self, attempt: &Attempt<'_>, situation: Situation, until: Instant, is_back: bool) -> Handed {
        if !is_back {
            self.room.limited(&situation.limited);
        }
        let began = Instant::now();
        let until = until.min(began + self.room.rules().wait);
        let (hand, handed) = oneshot::channel();
        let Situation { limited, outlook, at } = situation.clone();
        let wait = until.saturating_duration_since(began);
        if let Err((why, ahead)) = self.join(attempt, situation, hand, (wait, is_back)) {
            return Err(self.shed(attempt, limited, why, outlook.wait(ahead, at)));
        }
        let place = Standing { room: &self.room, place: place_of(attempt) };
        // What came free since this request looked was not told to it: it looks once more.
        self.serve_waiting();
        let mut handed = handed;
        let waited = loop {
            let look = until.min(Instant::now() + LOOK_BACK);
            let answer = tokio::select! {
                biased;
                answer = timeout_at(look, &mut handed) => answer.ok(),
                () = self.no_waits.cancelled() => break None,
            };
            if answer.is_some() || look == until || self.waits_for_nobody(attempt) {
                break answer;
            }
        };
        let answer = match waited {
            Some(answer) => answer.ok(),
            None if place.leave() => None,
            // It was served at this moment.
            None => handed.await.ok(),
        };
        let now = self.now();
        match answer {
            Some(Ok(handed)) => {
                self.room.served(began.elapsed());
                Ok(handed)
            }
            Some(Err(why)) => Err(self.turned_away(attempt, why, now)),
            None => Err(self.waited(attempt, began.elapsed(), now)),
        }
    }

    /// Whether an attempt that waits has nobody left to wait for, wherever the limit is. Looks no further than to the first one, as many
    /// may wait.
    fn waits_for_nobody(&self, attempt: &Attempt<'_>) -> bool {
        let snapshot = self.snapshot.load();
        self.with_wish(attempt, &[], (self.now(), snapshot.len()), |wish| {
            let own = self.selector.stays_with(wish, &ask_of(attempt));
            let may_go_to = |member: &Member| own.is_none_or(|own| member.id == own);
            !snapshot.iter().any(|member| may_go_to(member) && wish.hopes_for(member))
        })
    }

    /// Stands in the line; why it may not, and how many of its class are there.
    fn join(
        &self,
        attempt: &Attempt<'_>,
        situation: Situation,
        hand: oneshot::Sender<Handed>,
        (wait, is_back): (Duration, bool),
    ) -> Result<(), (NoWait, usize)> {
        let class = self.class_of(attempt);
        let Attempt { whose, target, site, .. } = *attempt;
        let mut line = self.room.line();
        let ahead = line.standing(&class).map_or(0, |standing| standing.ahead(whose));
        let refusal = self.room.refusal(&line, ahead, &situation.outlook, wait, situation.at);
        // Whoever comes back has its place, however many have come meanwhile.
        if let Some(why) = refusal.filter(|why| !is_back || !matches!(why, NoWait::Full(_))) {
            let greedy = if let NoWait::Full(_) = why { line.make_room(whose) } else { None };
            let Some((waiter, Situation { limited, .. })) = greedy else { return Err((why, ahead)) };
            let shed = NoLease::Shed(Shed { limited, why, retry_after: SOON });
            // Who has left meanwhile has made room as well.
            drop(waiter.hand.send(Err(shed)));
        }
        let waiter = Waiter { whose, target: target.into(), site, hand };
        line.join(place_of(attempt), class, situation, waiter);
        self.room.counted(&line);
        Ok(())
    }

    /// What becomes of an attempt that has waited in vain.
    fn waited(&self, attempt: &Attempt<'_>, wait: Duration, now: Timestamp) -> NoLease {
        let Situation { limited, outlook, .. } = self.situation(attempt, now);
        let refusals = match &limited {
            Limited::Members(refusals) => *refusals,
            Limited::Site(_) => self.refusals(attempt, now).0,
        };
        if refusals.limited + refusals.unplanned == 0 {
            // Those who were at their limit have failed, or left.
            return self.turned_away(attempt, NoLease::Nobody(refusals), now);
        }
        self.shed(attempt, limited, NoWait::Waited(wait), outlook.wait(0, now))
    }

    pub(super) fn shed(&self, attempt: &Attempt<'_>, limited: Limited, why: NoWait, turn: Option<Duration>) -> NoLease {
        self.room.shed(why);
        let shed = NoLease::Shed(Shed { limited, why, retry_after: turn.unwrap_or(SOON) });
        self.history.nobody(attempt, &shed, self.now());
        shed
    }

    /// Serves those who wait and for whom somebody is there.
    pub(super) fn serve_waiting(&self) {
        let served = {
            let mut line = self.room.line();
            self.room.look();
            let now = self.now();
            let mut again = now + LOOK;
            let served = line.serve(|class, place, waiter| match self.draw(&class.attempt(place, waiter), now) {
                Draw::Lease(lease, way) => Some(Ok((lease, way))),
                Draw::Rejected(why) => Some(Err(why)),
                Draw::Nobody => None,
                Draw::Site(outlook) => {
                    again = outlook.wait(0, now).map_or(again, |wait| again.min(now + wait));
                    None
                }
            });
            if line.len() > 0 {
                again = self.snapshot.load().next_open(now).map_or(again, |open| again.min(open));
            }
            self.room.looked(&line, again);
            served
        };
        for (waiter, somebody) in served {
            // Who has left meanwhile gives it back, which is news for the others.
            drop(waiter.hand.send(somebody));
        }
    }

    fn class_of(&self, attempt: &Attempt<'_>) -> Class {
        let is_told_apart = attempt.site != Symbol::NONE
            || !self.bans.is_empty()
            || self.sites.passes_over_anybody()
            || self.room.sites.is_limited(attempt.target);
        Class::of(attempt, is_told_apart.then(|| registrable(attempt.target)))
    }
}

/// Where an attempt stands in the line: whose it is, and its place among those.
const fn place_of(attempt: &Attempt<'_>) -> (u64, Place) {
    (attempt.whose, (attempt.request, attempt.number))
}

/// Serves those who wait whenever there is news, and when something is due.
pub(super) async fn attend(room: Arc<Room>, engine: Weak<Engine>, clock: crate::Clock, stop: CancellationToken) {
    loop {
        let due = room.due().map(|due| due.since(clock.now()));
        tokio::select! {
            () = stop.cancelled() => break,
            () = room.stirred() => {}
            () = sleep(due.unwrap_or_default()), if due.is_some() => {}
        }
        if !room.has_news(clock.now()) {
            continue;
        }
        let Some(engine) = engine.upgrade() else { break };
        engine.serve_waiting();
    }
    // Whoever still waits hears that nobody comes.
    room.line().clear();
}
