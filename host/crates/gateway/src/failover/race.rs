//! Attempts of a request beside and after each other: who is asked next, who is overtaken, and who is answered first.

use std::future::Future;
use std::time::Duration;

use proxywhirl_core::select::Stick;
use proxywhirl_core::{Fault, Kind, Side, Stage};
use proxywhirl_engine::Attempt;
use tokio::time::Instant;

use super::hedge::Hedge;
use super::running::Running;
use super::trial::{Evidence, served_by};
use super::{Failover, Repeat, Trial, Upstream, Won};
use crate::session::presence;

/// Members that cannot be asked for a target at all, and do not count: SOCKS 4 knows no IPv6, and with SOCKS 5 the gateway may not
/// know the name.
const MOST_UNSAID: usize = 32;

/// Attempts that go to whose turn it is. Those after them go to who does well at the site: of a list that is mostly dead, many in a row
/// may be.
const IN_TURN: u32 = 2;

/// What part of a request's time an attempt may be silent for at the most, until another one may begin.
const SHARE: u32 = 3;

/// How long who has only got a head may be silent at the most, until another one may be asked too. A dial is a part of it.
const HEAD: Duration = Duration::from_secs(2);

/// The same of a stranger that is not the first: where one after the other is silent, the origin may wait for the body, which has to
/// go to somebody soon. That is no long time to be silent, and says nothing of it.
const HEAD_OF_NEXT: Duration = Duration::from_secs(1);

/// When a request that is silent, and found nobody else to ask, looks again.
const AGAIN: Duration = Duration::from_secs(1);

/// Whether an attempt may wait when those that it could use are at their limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
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
    /// An attempt came to an end, which was the first choice or was overtaken.
    Ended((Trial, Result<T, Fault>)),
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
impl Failover<'_> {
    /// Tries one member after the other until one is answered.
    pub(crate) async fn run<T, F, A>(&mut self, repeat: Repeat, attempt: F) -> Result<Won<T>, Fault>
    where
        T: Evidence,
        F: Fn(Upstream) -> A,
        A: Future<Output = Result<T, Fault>>,
    {
        (self.repeat, self.hedge) = (repeat, self.hedge_of(repeat));
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
        // Of how long an attempt takes that is under way already, nothing is learned.
        (self.repeat, self.hedge) = (Repeat::Unseen, Hedge::Never);
        let waiting = waiting.map(|(trial, future)| Running::new(trial, future));
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
        match &result {
            Ok(won) => self.judge_by(won.answer.verdict(), &won.trial, won.latency),
            Err(_) => self.judge_unserved(None, repeat),
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
        T: Evidence,
        F: Fn(Upstream) -> A,
        A: Future<Output = Result<T, Fault>>,
    {
        let mut patience = self.next_look(repeat, overtaken.as_ref(), current.as_ref());
        let (mut deadline, mut is_attended) = (self.deadline, true);
        // One for all: each costs as much as a pick.
        let mut limit = self.alarms.attempts.at(deadline);
        while current.is_some() || overtaken.is_some() {
            let slow = self.hedge_at(overtaken.as_ref(), current.as_ref());
            let alarm = [patience, slow].into_iter().flatten().fold(deadline, Instant::min);
            limit.set(alarm);
            // What follows is on the heap where it waits: most requests are answered by the first who is asked.
            let event = tokio::select! {
                // The oldest has waited longest.
                biased;
                ended = Running::answer(&mut overtaken) => Event::Ended(ended),
                ended = Running::answer(&mut current) => Event::Ended(ended),
                () = self.leaving.left(), if is_attended => Event::Left,
                () = &mut limit => Event::at(alarm, deadline, patience),
            };
            let (trial, answer) = match event {
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
                    patience = Box::pin(self.overtake((&mut overtaken, &mut current), repeat, attempt)).await;
                    continue;
                }
                Event::Slow => {
                    if let Some(hedge) = Box::pin(self.begin_hedge(attempt)).await {
                        patience = self.patience(repeat, Some(&hedge));
                        overtaken = current.replace(hedge);
                    }
                    continue;
                }
                Event::Ended(ended) => ended,
            };
            match answer {
                Ok(answer) => {
                    self.give_up(overtaken);
                    self.give_up(current);
                    let latency = self.won(&trial, answer.held());
                    return Ok(Won { latency, trial, answer });
                }
                Err(fault) => {
                    let again = repeat.allows(fault.consequence().retry);
                    self.fail(trial, fault);
                    if current.is_none() && again {
                        let turn = Turn::unless(overtaken.is_some());
                        current = Box::pin(self.after_fault(attempt, turn)).await;
                        patience = self.next_look(repeat, overtaken.as_ref(), current.as_ref());
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
        // A body that is held back has to go to somebody before the time is over.
        let is_last = self.resort.is_some() && Instant::now() + self.hurried(AGAIN) >= self.deadline;
        let next = if is_last { None } else { self.next(attempt, Turn::Now).await };
        let Some(next) = next else {
            return self.look_again(current.as_ref());
        };
        let patience = self.patience(repeat, Some(&next));
        let silent = current.replace(next);
        match overtaken {
            None => *overtaken = silent,
            Some(_) => self.give_up(silent),
        }
        patience
    }

    /// Until when the current attempt may be silent; where there is none, because nobody else was left beside one that is silent, when
    /// the request looks again.
    fn next_look<A>(
        &self,
        repeat: Repeat,
        overtaken: Option<&Running<A>>,
        current: Option<&Running<A>>,
    ) -> Option<Instant> {
        match (overtaken, current) {
            // Of a body that was held back, it is decided by now who has it.
            (Some(_), None) if self.resort.is_none() => self.look_again(current),
            _ => self.patience(repeat, current),
        }
    }

    /// When a request that is silent, and found nobody else to ask, looks again. A body that is held back goes to one of those who are
    /// silent then.
    fn look_again<A>(&self, current: Option<&Running<A>>) -> Option<Instant> {
        match self.resort.as_deref().filter(|_| !self.leaving.has_left()) {
            // It is there already, or a moment later.
            Some(resort) => {
                let youngest = current.and_then(Running::trial).map(|trial| trial.upstream.number);
                resort.leave_to(youngest).then(|| Instant::now() + self.hurried(AGAIN) / 2)
            }
            None if self.leaving.has_left() => None,
            // At their limits now, or out of the budget: that passes.
            None => self.number().map(|_| Instant::now() + AGAIN),
        }
    }

    /// Leaves a body that is held back to whoever is under way: nobody else is asked.
    pub(super) fn leave_body(&self) {
        if let Some(resort) = &self.resort {
            resort.leave_to(None);
        }
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
        late(self.time())
    }

    /// How long the request may take until it is answered.
    pub(crate) fn time(&self) -> Duration {
        self.wanted.deadline.unwrap_or(self.config.request_deadline)
    }

    /// Learns from the attempt that was answered; how long it took.
    pub(super) fn won(&self, trial: &Trial, held: Duration) -> Duration {
        if trial.upstream.number > 1 && !trial.hedge {
            self.budget.give_back(self.target);
        }
        let latency = trial.began.elapsed().saturating_sub(held);
        if let Some(until) = self.repeat.measures() {
            self.hedging.answered(trial, until, latency);
        }
        latency
    }

    /// Begins an attempt with the next member; none when the attempts are used up or nobody is left.
    pub(super) async fn next<F, A>(&mut self, attempt: &F, turn: Turn) -> Option<Running<A>>
    where
        F: Fn(Upstream) -> A,
    {
        let number = self.number()?;
        if number > 1 && !self.budget.withdraw(self.newest_request(), self.target, Instant::now()) {
            // Once for a request: it may look again each second.
            if !std::mem::replace(&mut self.is_denied, true) {
                self.engine.retry_denied();
            }
            return None;
        }
        let running = self.begin(number, false, attempt, turn).await;
        if running.is_none() && number > 1 {
            self.budget.give_back(self.target);
        }
        running
    }

    /// The number of the next attempt; none when they are used up.
    pub(super) fn number(&self) -> Option<u32> {
        (self.counted() <= self.most()).then(|| u32::try_from(self.attempts).unwrap_or(u32::MAX).saturating_add(1))
    }

    /// The number of the next attempt, as far as they count: what was not even dialled is none, as long as that does not go on for
    /// ever.
    fn counted(&self) -> u32 {
        u32::try_from(self.attempts - self.unsaid.min(MOST_UNSAID)).unwrap_or(u32::MAX).saturating_add(1)
    }

    fn most(&self) -> u32 {
        self.wanted.attempts.unwrap_or(self.config.attempts)
    }

    /// Begins an attempt; none when nobody is left.
    pub(super) async fn begin<F, A>(&mut self, number: u32, hedge: bool, attempt: &F, turn: Turn) -> Option<Running<A>>
    where
        F: Fn(Upstream) -> A,
    {
        if self.leaving.has_left() {
            self.note(presence::left());
            return None;
        }
        // As long as it may be the origin that fails, or what was asked for, a session stays where it is.
        let beside = turn == Turn::Now || self.is_reached || self.unsaid > 0;
        let lease = self.acquire(number, (hedge, beside), turn).await?;
        let upstream = self.upstream(lease.member(), number);
        self.attempts += 1;
        if !upstream.is_another_exit {
            self.tried.push(lease.member().id);
        }
        let own = upstream.clone();
        let tier = u16::try_from(self.climb.tier).unwrap_or(u16::MAX);
        let is_patient = self.claims_patience(lease.member());
        // Of others, nobody asks.
        let served = if self.begins_session { served_by(lease.member()) } else { 0 };
        if let (Some(session), None) = (self.wanted.session, &self.in_use) {
            self.in_use = self.engine.use_session(session).map(Box::new);
        }
        let trial = Trial { lease, upstream, began: Instant::now(), hedge, beside, tier, is_patient, served };
        Some(Running::new(trial, attempt(own)))
    }

    pub(super) fn describe(&self, number: u32) -> Attempt<'_> {
        // Who gets a body had better be known to do well, and gets no second one.
        let in_turn = if self.repeat == Repeat::Head { 1 } else { IN_TURN };
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
            is_late: number > 1 && (number > in_turn || self.counted() >= self.most() || self.doubts_an_answer()),
            is_once: self.is_once(),
            is_unproven: self.is_unproven,
            hedge: false,
            tier: None,
            by: self.wanted.by.as_ref(),
        }
    }

    /// Whether nobody else has the request as long as its member is silent. In a session, one that may be sent again after a fault stays
    /// with its member all the same.
    const fn is_once(&self) -> bool {
        match self.repeat {
            Repeat::Unseen | Repeat::Head => true,
            Repeat::AfterFault => self.wanted.session.is_none(),
            Repeat::Dial | Repeat::Overtake => false,
        }
    }

    /// When the attempt has been silent for long enough that another one may begin. A dial has a limit of its own, unless there is
    /// less time than that.
    fn patience<A>(&self, repeat: Repeat, running: Option<&Running<A>>) -> Option<Instant> {
        let trial = running?.trial()?;
        let is_next_stranger = trial.upstream.number > 1 && trial.member().live.latency().is_none();
        let most = if repeat == Repeat::Head && is_next_stranger { HEAD_OF_NEXT } else { Duration::MAX };
        let patience = self.patience_with(trial).min(self.hurried(most));
        let is_overtaken = match repeat {
            Repeat::Overtake | Repeat::Head => true,
            Repeat::Dial => patience < self.config.connect_timeout,
            Repeat::Unseen | Repeat::AfterFault => false,
        };
        is_overtaken.then(|| trial.began + patience)
    }

    /// How long an attempt may be silent: what its member may be, and no more than a share of the time that the request has.
    pub(super) fn patience_with(&self, trial: &Trial) -> Duration {
        let most = self.config.connect_timeout;
        let stranger = self.repeat.waits().and_then(|until| self.hedging.patience_with_stranger(trial, until));
        self.hurried(match (self.repeat, stranger) {
            (Repeat::Head, Some(patience)) => patience.min(most).min(HEAD),
            // Half of that, and it gets the body.
            (Repeat::Head, None) => trial.patience(HEAD),
            (_, Some(patience)) => patience.min(most),
            (_, None) => trial.patience(most),
        })
    }

    /// Whether an attempt that was silent for so long had the time of one that gives way, where a body is held back.
    pub(super) fn may_give_way(&self, silent: Duration) -> bool {
        self.resort.is_some() && silent >= self.hurried(HEAD_OF_NEXT)
    }

    /// A patience that is no more than a share of the time that the request has.
    pub(crate) fn hurried(&self, patience: Duration) -> Duration {
        patience.min(self.time() / SHARE)
    }
}

/// What a request ends with that has used up this time.
pub(crate) fn late(time: Duration) -> Fault {
    let detail = format!("nobody answered within {} s", time.as_secs_f64());
    Fault::new(Side::Ours, Stage::FirstByte, Kind::Timeout, detail)
}
