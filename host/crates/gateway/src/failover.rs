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
//! - A fault that may be the origin's is held back until the request ends: if another upstream then served it, the
//!   origin is innocent, and the first upstream pays. If nobody else was asked, it pays when it fails there again, and
//!   others have served that origin meanwhile ([`Engine::doubt`]).
//!
//! - A member that is the gateway of many exits, each attempt through another one of them, is asked again, unless it is the
//!   gateway itself that fails.
//! - A request that is hedged asks another member as soon as the first one is slower than it nearly always is ([`hedge`]).
//! - Where there are tiers, attempts go through them from the first to the last ([`escalation`]).
//! - A member that refuses its login is asked again, when nobody else is left and its login is another one by now ([`renewal`]).
//! - A member that is not the first one is asked within the retry budget only ([`budget`]), so that a pool that is down
//!   is not asked five times as much.
//!
//! Where members or sites have limits, an attempt waits for its turn when no other one is under way.
//!
//! Every lease is settled once, or dropped, which is neutral.

pub(crate) mod budget;
pub(crate) mod escalation;
pub(crate) mod hedge;
mod renewal;
mod suspects;
mod trial;
mod upstream;

use std::future::{Future, pending};
use std::pin::Pin;
use std::time::Duration;

use proxywhirl_core::fault::Retry;
use proxywhirl_core::live::Until;
use proxywhirl_core::select::Stick;
use proxywhirl_core::symbol::Symbol;
use proxywhirl_core::{Endpoint, Fault, Host, Kind, MemberId, Side, Stage};
use proxywhirl_engine::{Attempt, Engine, NoLease};
use tokio::time::{Instant, sleep_until};

use crate::bans::Case;
use crate::config::GatewayConfig;
use crate::explained::Explained;
use crate::session::presence::{self, Leaving};
use crate::wanted::Wanted;
use budget::RetryBudget;
use escalation::{Climb, Escalation};
use hedge::{Hedge, Hedging};
use renewal::Refusal;
use suspects::Suspect;
pub(crate) use trial::{Evidence, Trial, Verdict, Won};
pub(crate) use upstream::{Alike, Filled, Upstream};

/// Members that cannot be asked for a target at all, and do not count: SOCKS 4 knows no IPv6, and with SOCKS 5 the gateway may not
/// know the name.
const MOST_UNSAID: usize = 32;

/// What part of a request's time an attempt may be silent for at the most, until another one may begin.
const SHARE: u32 = 3;

/// When a request that is silent, and found nobody else to ask, looks again.
const AGAIN: Duration = Duration::from_secs(1);

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
    /// What its attempts wait for, where that is measured.
    waits: Option<Until>,
    hedge: Hedge,
    /// How many attempts were begun.
    attempts: usize,
    /// How many of them came to nothing before anybody was dialled: the member's protocol cannot say what was asked for, or the
    /// gateway does not find the name.
    unsaid: usize,
    /// How many of them failed without being at fault for sure.
    reached: usize,
    /// Who is not asked again.
    tried: Vec<MemberId>,
    suspects: Vec<Suspect>,
    /// Who has refused a login.
    refusals: Vec<Refusal>,
    /// Whether an attempt was not made because the budget was used up.
    is_denied: bool,
    /// Whether its session has begun with it: there is nothing yet to stay with.
    begins_session: bool,
    /// The one that went furthest.
    fault: Option<Box<Fault>>,
}

/// An attempt that is under way.
struct Running<A> {
    trial: Trial,
    future: Pin<Box<A>>,
}

impl<A: Future> Running<A> {
    /// Waits for the answer; for ever when there is nobody to wait for.
    async fn answer(slot: &mut Option<Self>) -> A::Output {
        match slot {
            Some(running) => running.future.as_mut().await,
            None => pending().await,
        }
    }
}

/// Whether an attempt may wait when those that it could use are at their limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// It may not: it was only to help another one that is under way.
    Now,
    /// It may, in its turn.
    Wait,
    /// It may not, because it is made in another tier then.
    GoOn,
}

impl Turn {
    const fn unless(is_another_under_way: bool) -> Self {
        if is_another_under_way { Self::Now } else { Self::Wait }
    }
}

enum Event<T> {
    /// The attempt that is the first choice now came to an end.
    Current(Result<T, Fault>),
    /// The attempt that was overtaken came to an end.
    Overtaken(Result<T, Fault>),
    /// The current attempt has been silent for too long.
    Silence,
    /// The current attempt takes longer than its member nearly always does.
    Slow,
    /// The client has left.
    Left,
    /// The request has used up its time.
    Deadline,
}

impl<T> Event<T> {
    /// What it is that the alarm was set for.
    fn at(alarm: Instant, deadline: Instant, patience: Option<Instant>) -> Self {
        if alarm == deadline {
            Self::Deadline
        } else if patience == Some(alarm) {
            Self::Silence
        } else {
            Self::Slow
        }
    }
}

impl<'g> Failover<'g> {
    /// The request that began then, of a client that may leave.
    pub(crate) fn new(
        means: Means<'g>,
        (request, began, leaving): (u64, Instant, &'g Leaving),
        target: &'g str,
        wanted: Wanted,
    ) -> Self {
        let Means { engine, config, budget, hedging, escalation } = means;
        let deadline = began + wanted.deadline.unwrap_or(config.request_deadline);
        let site = engine.site(target);
        let (tried, suspects, refusals) = (Vec::new(), Vec::new(), Vec::new());
        let climb = escalation.map_or_else(Climb::default, |escalation| escalation.begin(target, &wanted));
        let (waits, hedge, fault) = (None, Hedge::Never, None);
        let begins_session = wanted.session.is_some_and(|session| !engine.knows_session(session));
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
            waits,
            hedge,
            attempts: 0,
            unsaid: 0,
            reached: 0,
            tried,
            suspects,
            refusals,
            is_denied: false,
            begins_session,
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

    /// Tries one member after the other until one is answered.
    pub(crate) async fn run<T, F, A>(&mut self, repeat: Repeat, attempt: F) -> Result<Won<T>, Fault>
    where
        T: Evidence,
        F: Fn(Upstream) -> A,
        A: Future<Output = Result<T, Fault>>,
    {
        (self.waits, self.hedge) = (repeat.waits(), self.hedge_of(repeat));
        let first = self.next(&attempt, Turn::Wait).await;
        self.race_and_judge(None, first, repeat, &attempt).await
    }

    /// Goes on after an answer that turned out to be none, or not yet one: `waiting` is who may still answer. `pause` is
    /// how long the client has let the request rest.
    pub(crate) async fn go_on<T, F, A>(
        &mut self,
        waiting: Option<(Trial, A)>,
        pause: Duration,
        attempt: F,
    ) -> Result<Won<T>, Fault>
    where
        T: Evidence,
        F: Fn(Upstream) -> A,
        A: Future<Output = Result<T, Fault>>,
    {
        self.deadline += pause;
        (self.waits, self.hedge) = (None, Hedge::Never);
        let waiting = waiting.map(|(trial, future)| Running { trial, future: Box::pin(future) });
        let next = self.next(&attempt, Turn::unless(waiting.is_some())).await;
        self.race_and_judge(waiting, next, Repeat::Overtake, &attempt).await
    }

    async fn race_and_judge<T, F, A>(
        &mut self,
        overtaken: Option<Running<A>>,
        current: Option<Running<A>>,
        repeat: Repeat,
        attempt: &F,
    ) -> Result<Won<T>, Fault>
    where
        T: Evidence,
        F: Fn(Upstream) -> A,
        A: Future<Output = Result<T, Fault>>,
    {
        let result = self.race(overtaken, current, repeat, attempt).await;
        self.count_hedge(result.as_ref().ok().map(|won| &won.trial));
        match result.as_ref().map(|won| (won.answer.verdict(), won)) {
            Ok((Verdict::Served, won)) => {
                self.judge(Some((&won.trial, won.latency)));
                self.tier_served(&won.trial);
            }
            Ok((Verdict::Doubtful, _)) => self.judge(None),
            Err(_) => self.judge_unserved(),
            Ok((Verdict::Unheard, _)) => {}
        }
        result
    }

    async fn race<T, F, A>(
        &mut self,
        mut overtaken: Option<Running<A>>,
        mut current: Option<Running<A>>,
        repeat: Repeat,
        attempt: &F,
    ) -> Result<Won<T>, Fault>
    where
        F: Fn(Upstream) -> A,
        A: Future<Output = Result<T, Fault>>,
    {
        let mut patience = self.patience(repeat, current.as_ref());
        let (mut deadline, mut is_attended) = (self.deadline, true);
        while current.is_some() || overtaken.is_some() {
            let slow = self.hedge_at(overtaken.as_ref(), current.as_ref());
            // One timer for all: each costs as much as a pick.
            let alarm = [patience, slow].into_iter().flatten().fold(deadline, Instant::min);
            let event = tokio::select! {
                // The oldest has waited longest.
                biased;
                answer = Running::answer(&mut overtaken) => Event::Overtaken(answer),
                answer = Running::answer(&mut current) => Event::Current(answer),
                () = self.leaving.left(), if is_attended => Event::Left,
                () = sleep_until(alarm) => Event::at(alarm, deadline, patience),
            };
            let (ended, answer) = match event {
                Event::Left => {
                    // What is under way may show that its member is dead, and has the time of a dial for that.
                    is_attended = false;
                    deadline = deadline.min(Instant::now() + self.config.connect_timeout);
                    continue;
                }
                Event::Deadline => {
                    self.time_out(overtaken);
                    self.time_out(current);
                    return Err(if is_attended { self.nobody_in_time() } else { presence::left() });
                }
                Event::Silence => {
                    patience = self.overtake((&mut overtaken, &mut current), repeat, attempt).await;
                    continue;
                }
                Event::Slow => {
                    if let Some(hedge) = self.begin_hedge(attempt).await {
                        patience = self.patience(repeat, Some(&hedge));
                        overtaken = current.replace(hedge);
                    }
                    continue;
                }
                Event::Overtaken(answer) => (overtaken.take(), answer),
                Event::Current(answer) => (current.take(), answer),
            };
            let Some(Running { trial, .. }) = ended else { continue };
            match answer {
                Ok(answer) => {
                    self.give_up(overtaken);
                    self.give_up(current);
                    let latency = self.won(&trial);
                    return Ok(Won { latency, trial, answer });
                }
                Err(fault) => {
                    let again = repeat.allows(fault.consequence().retry);
                    self.fail(trial, fault);
                    if current.is_none() && again {
                        current = self.after_fault(attempt, Turn::unless(overtaken.is_some())).await;
                        patience = self.patience(repeat, current.as_ref());
                    }
                }
            }
        }
        Err(self.furthest_fault())
    }

    /// Begins another attempt beside one that is silent for too long; until when that one may be silent, or when to look again.
    async fn overtake<F, A>(
        &mut self,
        (overtaken, current): (&mut Option<Running<A>>, &mut Option<Running<A>>),
        repeat: Repeat,
        attempt: &F,
    ) -> Option<Instant>
    where
        F: Fn(Upstream) -> A,
    {
        let Some(next) = self.next(attempt, Turn::Now).await else {
            // At their limits now, or out of the budget: that passes.
            return self.number().map(|_| Instant::now() + AGAIN);
        };
        let patience = self.patience(repeat, Some(&next));
        let silent = current.replace(next);
        match overtaken {
            None => *overtaken = silent,
            Some(_) => self.give_up(silent),
        }
        patience
    }

    /// The fault that went furthest, and whether that was all.
    fn furthest_fault(&mut self) -> Fault {
        let nobody_asked = || Fault::new(Side::Ours, Stage::Select, Kind::Exhausted, "no attempts");
        let mut fault = self.fault.take().map_or_else(nobody_asked, |fault| *fault);
        if std::mem::take(&mut self.is_denied) {
            fault.detail = format!("{}; the retry budget is used up (gateway.retry)", fault.detail).into();
        }
        fault
    }

    fn nobody_in_time(&self) -> Fault {
        let limit = self.wanted.deadline.unwrap_or(self.config.request_deadline);
        let detail = format!("nobody answered within {} s", limit.as_secs_f64());
        Fault::new(Side::Ours, Stage::FirstByte, Kind::Timeout, detail)
    }

    /// Learns from the attempt that was answered; how long it took.
    fn won(&self, trial: &Trial) -> Duration {
        if trial.number > 1 && !trial.hedge {
            self.budget.give_back(self.target);
        }
        let latency = trial.began.elapsed();
        if let Some(until) = self.waits {
            self.hedging.answered(trial, until, latency);
        }
        latency
    }

    /// Begins an attempt with the next member; none when the attempts are used up or nobody is left.
    async fn next<F, A>(&mut self, attempt: &F, turn: Turn) -> Option<Running<A>>
    where
        F: Fn(Upstream) -> A,
    {
        let number = self.number()?;
        if number > 1 && !self.budget.withdraw(self.newest_request(), self.target, Instant::now()) {
            self.engine.retry_denied();
            self.is_denied = true;
            return None;
        }
        let running = self.begin(number, false, attempt, turn).await;
        if running.is_none() && number > 1 {
            self.budget.give_back(self.target);
        }
        running
    }

    /// The number of the next attempt; none when they are used up.
    fn number(&self) -> Option<u32> {
        let number_of = |count: usize| u32::try_from(count).unwrap_or(u32::MAX).saturating_add(1);
        // What was not even dialled is no attempt, as long as that does not go on for ever.
        let counted = number_of(self.attempts - self.unsaid.min(MOST_UNSAID));
        (counted <= self.wanted.attempts.unwrap_or(self.config.attempts)).then(|| number_of(self.attempts))
    }

    /// Begins an attempt; none when nobody is left.
    async fn begin<F, A>(&mut self, number: u32, hedge: bool, attempt: &F, turn: Turn) -> Option<Running<A>>
    where
        F: Fn(Upstream) -> A,
    {
        if self.leaving.has_left() {
            self.note(presence::left());
            return None;
        }
        // As long as it may be the origin that fails, or what was asked for, a session stays where it is.
        let beside = turn == Turn::Now || self.reached > 0 || self.unsaid > 0;
        let lease = self.acquire(number, (hedge, beside), turn).await?;
        let upstream = self.upstream(lease.member());
        self.attempts += 1;
        if !upstream.is_another_exit {
            self.tried.push(lease.member().id);
        }
        let future = Box::pin(attempt(upstream.clone()));
        let trial = Trial { lease, upstream, number, began: Instant::now(), hedge, beside, tier: self.climb.tier };
        Some(Running { trial, future })
    }

    fn describe(&self, number: u32) -> Attempt<'_> {
        Attempt {
            request: self.request,
            whose: self.wanted.whose,
            number,
            target: self.target,
            site: self.site,
            session: self.wanted.session,
            stick: if number > 1 && self.begins_session {
                Stick { strict: Some(false), ..self.wanted.stick }
            } else {
                self.wanted.stick
            },
            filter: self.wanted.filter.as_ref(),
            tried: &self.tried,
            hedge: false,
            tier: None,
        }
    }

    /// When the attempt has been silent for long enough that another one may begin. A dial has a limit of its own, unless the request
    /// has less time than that.
    fn patience<A>(&self, repeat: Repeat, running: Option<&Running<A>>) -> Option<Instant> {
        let running = running?;
        let patience = self.patience_with(&running.trial);
        let is_overtaken = match repeat {
            Repeat::Overtake => true,
            Repeat::Dial => patience < running.trial.patience(self.config.connect_timeout),
            Repeat::Unseen | Repeat::AfterFault => false,
        };
        is_overtaken.then(|| running.trial.began + patience)
    }

    /// How long an attempt may be silent: what its member may be, and no more than a share of the time that the request has.
    fn patience_with(&self, trial: &Trial) -> Duration {
        self.hurried(trial.patience(self.config.connect_timeout))
    }

    /// A patience that is no more than a share of the time that the request has.
    pub(crate) fn hurried(&self, patience: Duration) -> Duration {
        patience.min(self.wanted.deadline.unwrap_or(self.config.request_deadline) / SHARE)
    }
}

/// When to ask again for what a ban, a session or the members that there are do not allow: that takes a while to change.
const LASTING: Duration = Duration::from_mins(1);

/// What it comes to for the client that there is no member.
fn no_lease(nobody: &NoLease) -> Fault {
    let fault = |kind| Fault::new(Side::Ours, Stage::Select, kind, nobody.to_string());
    match nobody {
        NoLease::Nobody(refusals) if refusals.will_last() => fault(Kind::Exhausted).with_retry_after(LASTING),
        NoLease::Nobody(_) | NoLease::Plugin { .. } => fault(Kind::Exhausted),
        NoLease::Shed(shed) => fault(Kind::Limited).with_retry_after(shed.retry_after),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
