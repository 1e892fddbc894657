//! Leases where there are limits: who has to wait, and who is served when.

use std::ops::ControlFlow;
use std::sync::{Arc, Weak};
use std::time::Duration;

use proxywhirl_core::select::{Outlook, Wish};
use proxywhirl_core::symbol::Symbol;
use proxywhirl_core::{Lease, Member, Timestamp};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::drawing::ask_of;
use super::{Attempt, Engine, NoLease};
use crate::limits::line::{Place, Standing as LineStanding};
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

/// How many of a class probe at once at the most, where all whom they wait for are out of use.
const PROBES: usize = 16;

/// When to come again, if nobody can say when there is room.
const SOON: Duration = Duration::from_secs(1);

/// Whom an attempt may be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whom {
    /// Who is in use, or whose probe is due; and who is probed before its time for others.
    InUse,
    /// Where there is nobody of those, who is probed before its time.
    Anybody,
}

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
        let found = self.acquire_among(Whom::Anybody, attempt, until).await;
        found.map_err(|why| self.turned_away(attempt, why, self.now()))
    }

    /// The same for an attempt that probes nobody before its time. None where it gets nobody, and would if it did: nobody is told of
    /// that.
    ///
    /// # Errors
    /// As [`Engine::acquire_in_turn`].
    pub async fn acquire_in_use(&self, attempt: &Attempt<'_>, until: Instant) -> Result<Option<Lease>, NoLease> {
        match self.acquire_among(Whom::InUse, attempt, until).await {
            Ok(lease) => Ok(Some(lease)),
            Err(NoLease::Nobody(_)) if self.readiest(attempt, self.now()).is_some() => Ok(None),
            // Who was out of use when this looked may be in use by now.
            Err(NoLease::Nobody(_)) => self.acquire_in_turn(attempt, until).await.map(Some),
            Err(why) => Err(self.turned_away(attempt, why, self.now())),
        }
    }

    /// That it gets nobody is told by the caller.
    async fn acquire_among(&self, whom: Whom, attempt: &Attempt<'_>, until: Instant) -> Result<Lease, NoLease> {
        if let Some(others) = self.room.others() {
            return Box::pin(self.granted_in_turn(others, whom, attempt, until)).await;
        }
        match self.at_once(whom, attempt) {
            ControlFlow::Break(found) => found.map(|(lease, way)| {
                let began = lease.taken();
                self.handed(attempt, lease, way, began)
            }),
            // On the heap: few wait, and the others have no room for it.
            ControlFlow::Continue(situation) => {
                Box::pin(async {
                    let (lease, way) = self.wait(whom, attempt, situation, (until, false)).await?;
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
        whom: Whom,
        attempt: &Attempt<'_>,
        until: Instant,
    ) -> Result<Lease, NoLease> {
        let began = Instant::now();
        let until = until.min(began + self.room.rules().wait);
        let mut is_back = false;
        loop {
            let (lease, way) = match self.at_once(whom, attempt) {
                ControlFlow::Break(found) => found?,
                ControlFlow::Continue(situation) => self.wait(whom, attempt, situation, (until, is_back)).await?,
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

    /// Chooses a member, or says that there is none; or what the attempt has to wait for.
    fn at_once(&self, whom: Whom, attempt: &Attempt<'_>) -> ControlFlow<Handed, Situation> {
        if self.room.is_anybody_waiting() {
            if self.room.has_news(self.now()) {
                self.serve_waiting();
            }
            // One that has tried some looks itself: it may have nobody left whom others wait for.
            if attempt.tried.is_empty() {
                let class = self.class_of(attempt);
                let known = self.known_situation(attempt, &class);
                if let Some(situation) = known.filter(|known| self.is_worth_waiting(attempt, &class, known)) {
                    return ControlFlow::Continue(situation);
                }
            }
        }
        let (mut look, mut relented) = (1, 0);
        loop {
            let now = self.now();
            match self.draw(attempt, now) {
                Draw::Lease(lease, way) => return ControlFlow::Break(Ok((lease, way))),
                Draw::Rejected(why) => return ControlFlow::Break(Err(why)),
                Draw::Site(outlook) => {
                    if let Some(nobody) = self.nobody_left(whom, attempt, now) {
                        return ControlFlow::Break(Err(nobody));
                    }
                    let limited = Limited::Site(registrable(attempt.target).into());
                    return ControlFlow::Continue(Situation::new(limited, outlook, now));
                }
                Draw::Nobody => {
                    let (refusals, outlook) = self.refusals(attempt, now);
                    let limited = Limited::Members(refusals);
                    if refusals.limited > 0 {
                        return ControlFlow::Continue(Situation::new(limited, outlook, now));
                    }
                    // The probe may be another one's by then.
                    let may_probe = whom == Whom::Anybody && refusals.breaker > 0 && relented < LOOKS;
                    if may_probe && self.relent(attempt, now) {
                        relented += 1;
                        continue;
                    }
                    // Somebody seems to be there: out of the plan, or given back since the draw.
                    if refusals.unplanned == 0 || !self.room.rules().is_on || look == LOOKS {
                        return ControlFlow::Break(Err(NoLease::Nobody(refusals)));
                    }
                }
            }
            look += 1;
        }
    }

    /// Why there would be nobody for an attempt that has tried some, however much room its site had; none when there is somebody.
    fn nobody_left(&self, whom: Whom, attempt: &Attempt<'_>, now: Timestamp) -> Option<NoLease> {
        if attempt.tried.is_empty() {
            return None;
        }
        let refusals = self.refusals(attempt, now).0;
        let may_probe = whom == Whom::Anybody && refusals.breaker > 0;
        (!refusals.leave_somebody() && !may_probe).then_some(NoLease::Nobody(refusals))
    }

    /// Whether an attempt waits in turn with those of its class, of which this is known. Where all whom they wait for are out of use by
    /// now, they probe first.
    fn is_worth_waiting(&self, attempt: &Attempt<'_>, class: &Class, situation: &Situation) -> bool {
        match &situation.limited {
            Limited::Site(_) => true,
            Limited::Members(refusals) if refusals.leave_somebody() => true,
            Limited::Members(_) => self.probe_in_line(attempt, class) && self.room.line().standing(class).is_some(),
        }
    }

    /// Has members probed before their time by those who wait, up to [`PROBES`] for a class, who came first before the others; false when
    /// there is nobody to probe.
    fn probe_in_line(&self, attempt: &Attempt<'_>, class: &Class) -> bool {
        let waiting = || self.room.line().standing(class).map_or(0, LineStanding::len);
        let mut left = waiting();
        for probed in 0..PROBES {
            if !self.relent(attempt, self.now()) {
                return probed > 0;
            }
            self.serve_waiting();
            let before = std::mem::replace(&mut left, waiting());
            if left == 0 || left >= before {
                break;
            }
        }
        true
    }

    /// Says how much may be asked of whom from now on.
    pub async fn limit(&self, limits: LimitsConfig) {
        self.room.limit(&limits, self.now());
        self.writer.limit(limits.members).await;
        self.room.stir();
    }

    /// What others of the attempt's class wait for; none when nobody of it waits.
    fn known_situation(&self, attempt: &Attempt<'_>, class: &Class) -> Option<Situation> {
        let known = self.room.line().standing(class).map(|standing| standing.situation.clone())?;
        let now = self.now();
        if now.since(known.at) <= FRESH {
            return Some(known);
        }
        let situation = self.situation(attempt, now);
        self.room.line().learn(class, |known| *known = situation.clone().after(known));
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
        Situation::new(limited, outlook, now)
    }

    /// Stands in the line until it is served; `is_back` when it has been there, and was refused by others when it was served.
    async fn wait(
        &self,
        whom: Whom,
        attempt: &Attempt<'_>,
        situation: Situation,
        (until, is_back): (Instant, bool),
    ) -> Handed {
        if !is_back {
            self.room.limited(&situation.limited);
        }
        let began = Instant::now();
        let until = until.min(began + self.room.rules().wait);
        let (hand, handed) = oneshot::channel();
        let Situation { limited, outlook, at, .. } = situation.clone();
        let wait = until.saturating_duration_since(began);
        let class = self.class_of(attempt);
        if let Err((why, ahead)) = self.join(attempt, &class, situation, (hand, wait, is_back)) {
            return Err(shed(limited, why, outlook.wait(ahead, at)));
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
            if answer.is_some() || look == until || !self.may_hope(whom, attempt, &class) {
                break answer;
            }
        };
        let answer = match waited {
            Some(answer) => answer.ok(),
            None if place.leave() => None,
            // It was served at this moment.
            None => handed.await.ok(),
        };
        match answer {
            Some(Ok(handed)) => {
                self.room.served(began.elapsed());
                Ok(handed)
            }
            Some(Err(why)) => Err(why),
            None => Err(self.waited(attempt, began.elapsed(), self.now())),
        }
    }

    /// Whether an attempt that waits has somebody left to wait for, wherever the limit is. Where all are out of use by now, those of its
    /// class probe them. One of each class looks, as many may wait, and no further than to the first who will have room.
    fn may_hope(&self, whom: Whom, attempt: &Attempt<'_>, class: &Class) -> bool {
        let now = self.now();
        let known = self.room.line().standing(class).map(|standing| standing.situation.hoped);
        if known.is_some_and(|hoped| now.since(hoped) < LOOK_BACK) {
            return true;
        }
        let may_hope = self.sees(attempt, now, |wish, member| wish.waits_for(member))
            || match whom {
                Whom::Anybody => self.probe_in_line(attempt, class),
                Whom::InUse => false,
            }
            // Whom the next plan may have.
            || (self.readiest(attempt, now).is_none() && self.sees(attempt, now, |wish, member| wish.admits(member)));
        if may_hope {
            self.room.line().learn(class, |situation| situation.hoped = now);
        }
        may_hope
    }

    /// Whether there is a member for an attempt of which this holds, in the plan or not.
    fn sees(&self, attempt: &Attempt<'_>, now: Timestamp, holds: fn(&Wish<'_>, &Member) -> bool) -> bool {
        let snapshot = self.snapshot.load();
        self.with_wish(attempt, &[], (now, snapshot.len()), |wish| {
            let own = self.selector.stays_with(wish, &ask_of(attempt));
            snapshot.iter().any(|member| own.is_none_or(|own| member.id == own) && holds(wish, member))
        })
    }

    /// Stands in the line; why it may not, and how many of its class are there.
    fn join(
        &self,
        attempt: &Attempt<'_>,
        class: &Class,
        situation: Situation,
        (hand, wait, is_back): (oneshot::Sender<Handed>, Duration, bool),
    ) -> Result<(), (NoWait, usize)> {
        let Attempt { whose, target, site, .. } = *attempt;
        let mut line = self.room.line();
        let (ahead, situation) = match line.standing(class) {
            Some(standing) => (standing.ahead(whose), situation.after(&standing.situation)),
            None => (0, situation),
        };
        let refusal = self.room.refusal(&line, ahead, &situation.outlook, wait, situation.at);
        // Whoever comes back has its place, however many have come meanwhile.
        if let Some(why) = refusal.filter(|why| !is_back || !matches!(why, NoWait::Full(_))) {
            let greedy = if let NoWait::Full(_) = why { line.make_room(whose) } else { None };
            let Some((waiter, Situation { limited, .. })) = greedy else { return Err((why, ahead)) };
            // Who has left meanwhile has made room as well.
            drop(waiter.hand.send(Err(shed(limited, why, None))));
        }
        let waiter = Waiter { whose, target: target.into(), site, hand };
        line.join(place_of(attempt), class.clone(), situation, waiter);
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
        if refusals.leave_somebody() {
            shed(limited, NoWait::Waited(wait), outlook.wait(0, now))
        } else {
            // Those who were at their limit have failed, or left.
            NoLease::Nobody(refusals)
        }
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

/// That an attempt is sent away, and when it may come again, if that is known.
pub(super) fn shed(limited: Limited, why: NoWait, turn: Option<Duration>) -> NoLease {
    NoLease::Shed(Shed { limited, why, retry_after: turn.unwrap_or(SOON) })
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
