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
//!   way to the next, and the oldest, which has waited longest, stays.
//! - A fault that may be the origin's is held back until the request ends: if another upstream then served it, the
//!   origin is innocent, and the first upstream pays.
//!
//! - A member that is not the first one is asked within the retry budget only ([`budget`]), so that a pool that is down
//!   is not asked five times as much.
//!
//! Where members or sites have limits, an attempt waits for its turn when no other one is under way.
//!
//! Every lease is settled once, or dropped, which is neutral.

pub(crate) mod budget;
mod trial;

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use proxywhirl_core::fault::{Hurt, Retry};
use proxywhirl_core::symbol::Symbol;
use proxywhirl_core::{Endpoint, Fault, Host, Kind, MemberId, Outcome, Side, Stage};
use proxywhirl_engine::{Attempt, Engine, NoLease};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::bans::Case;
use crate::config::GatewayConfig;
use crate::wanted::Wanted;
use budget::RetryBudget;
pub(crate) use trial::{Evidence, Trial, Won};

/// Whether a request may be sent again once an upstream has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Only when the origin cannot have seen it.
    Unseen,
    /// After a fault: it is idempotent, and its body is at hand.
    AfterFault,
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
}

/// A request on its way through upstreams.
pub(crate) struct Failover<'g> {
    engine: &'g Engine,
    config: &'g GatewayConfig,
    budget: &'g RetryBudget,
    request: u64,
    target: &'g str,
    site: Symbol,
    wanted: Wanted,
    deadline: Instant,
    tried: Vec<MemberId>,
    suspects: Vec<Suspect>,
    fault: Option<Fault>,
}

/// A use whose blame depends on how the request ends.
struct Suspect {
    trial: Trial,
    charge: Charge,
}

enum Charge {
    /// It failed, by its own fault or by the origin's.
    Failed(Fault),
    /// It was silent for so long when it was given up.
    Silent(Duration),
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
}

impl<'g> Failover<'g> {
    pub(crate) fn new(means: Means<'g>, request: u64, target: &'g str, wanted: Wanted) -> Self {
        let Means { engine, config, budget } = means;
        let deadline = Instant::now() + wanted.deadline.unwrap_or(config.request_deadline);
        let site = engine.site(target);
        let (tried, suspects) = (Vec::new(), Vec::new());
        Self { engine, config, budget, request, target, site, wanted, deadline, tried, suspects, fault: None }
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
        }
    }

    /// How many attempts were begun.
    pub(crate) fn attempts(&self) -> usize {
        self.tried.len()
    }

    /// Tries one member after the other until one is answered.
    pub(crate) async fn run<T, F, A>(&mut self, repeat: Repeat, attempt: F) -> Result<Won<T>, Fault>
    where
        T: Evidence,
        F: Fn(Arc<Endpoint>) -> A,
        A: Future<Output = Result<T, Fault>>,
    {
        let first = self.next(&attempt, Turn::Wait).await;
        self.race_in_time(None, first, repeat, &attempt).await
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
        F: Fn(Arc<Endpoint>) -> A,
        A: Future<Output = Result<T, Fault>>,
    {
        self.deadline += pause;
        let waiting = waiting.map(|(trial, future)| Running { trial, future: Box::pin(future) });
        let next = self.next(&attempt, Turn::unless(waiting.is_some())).await;
        self.race_in_time(waiting, next, Repeat::Overtake, &attempt).await
    }

    async fn race_in_time<T, F, A>(
        &mut self,
        overtaken: Option<Running<A>>,
        current: Option<Running<A>>,
        repeat: Repeat,
        attempt: &F,
    ) -> Result<Won<T>, Fault>
    where
        T: Evidence,
        F: Fn(Arc<Endpoint>) -> A,
        A: Future<Output = Result<T, Fault>>,
    {
        let result = match timeout_at(self.deadline, self.race(overtaken, current, repeat, attempt)).await {
            Ok(result) => result,
            Err(_) => {
                let limit = self.wanted.deadline.unwrap_or(self.config.request_deadline);
                let detail = format!("nobody answered within {} s", limit.as_secs_f64());
                Err(Fault::new(Side::Ours, Stage::FirstByte, Kind::Timeout, detail))
            }
        };
        self.judge(result.as_ref().ok().filter(|won| won.answer.acquits_origin()).map(|won| won.latency));
        result
    }

    /// Gives the lease of an attempt back with what became of it.
    pub(crate) fn settle(&self, trial: Trial, outcome: &Outcome) {
        let Trial { lease, number, .. } = trial;
        self.engine.settle(lease, outcome, &self.describe(number));
    }

    /// Says that an attempt went well, which goes on being in use as long as the trial is kept.
    pub(crate) fn succeed(&self, trial: &mut Trial, latency: Duration) {
        self.engine.report(&mut trial.lease, &Outcome::Success { latency }, &self.describe(trial.number));
    }

    /// Settles an attempt that won and then failed: no other one can prove the origin innocent any more.
    pub(crate) fn settle_fault(&self, trial: Trial, fault: &Fault) {
        let outcome = match fault.consequence().hurt {
            Hurt::Yes => Outcome::Failure(fault.clone()),
            Hurt::No | Hurt::IfOthersSucceed => Outcome::Neutral,
        };
        self.settle(trial, &outcome);
    }

    async fn race<T, F, A>(
        &mut self,
        mut overtaken: Option<Running<A>>,
        mut current: Option<Running<A>>,
        repeat: Repeat,
        attempt: &F,
    ) -> Result<Won<T>, Fault>
    where
        F: Fn(Arc<Endpoint>) -> A,
        A: Future<Output = Result<T, Fault>>,
    {
        let mut patience = self.patience(repeat, current.as_ref());
        while current.is_some() || overtaken.is_some() {
            let event = tokio::select! {
                // The oldest has waited longest.
                biased;
                answer = Running::answer(&mut overtaken) => Event::Overtaken(answer),
                answer = Running::answer(&mut current) => Event::Current(answer),
                () = until(patience) => Event::Silence,
            };
            let (ended, answer) = match event {
                Event::Silence => {
                    let next = self.next(attempt, Turn::Now).await;
                    patience = self.patience(repeat, next.as_ref());
                    if next.is_some() {
                        let silent = std::mem::replace(&mut current, next);
                        match overtaken {
                            None => overtaken = silent,
                            Some(_) => self.give_up(silent),
                        }
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
                    if trial.number > 1 {
                        self.budget.give_back();
                    }
                    return Ok(Won { latency: trial.began.elapsed(), trial, answer });
                }
                Err(fault) => {
                    let again = repeat.allows(fault.consequence().retry);
                    self.fail(trial, fault);
                    if current.is_none() && again {
                        current = self.next(attempt, Turn::unless(overtaken.is_some())).await;
                        patience = self.patience(repeat, current.as_ref());
                    }
                }
            }
        }
        Err(self.fault.take().unwrap_or_else(|| Fault::new(Side::Ours, Stage::Select, Kind::Exhausted, "no attempts")))
    }

    /// Begins an attempt with the next member; none when the attempts are used up or nobody is left.
    async fn next<F, A>(&mut self, attempt: &F, turn: Turn) -> Option<Running<A>>
    where
        F: Fn(Arc<Endpoint>) -> A,
    {
        let number = u32::try_from(self.tried.len()).unwrap_or(u32::MAX).saturating_add(1);
        if number > self.wanted.attempts.unwrap_or(self.config.attempts) {
            return None;
        }
        if number > 1 && !self.budget.withdraw(self.request, Instant::now()) {
            self.engine.retry_denied();
            return None;
        }
        let lease = match turn {
            Turn::Now => self.engine.acquire(&self.describe(number)),
            Turn::Wait => self.engine.acquire_in_turn(&self.describe(number), self.deadline).await,
        };
        let lease = match lease {
            Ok(lease) => lease,
            Err(nobody) => {
                if number > 1 {
                    self.budget.give_back();
                }
                self.note(no_lease(&nobody));
                return None;
            }
        };
        self.tried.push(lease.member().id);
        let trial = Trial { lease, number, began: Instant::now() };
        let future = Box::pin(attempt(Arc::clone(trial.endpoint())));
        Some(Running { trial, future })
    }

    fn describe(&self, number: u32) -> Attempt<'_> {
        Attempt {
            request: self.request,
            number,
            target: self.target,
            site: self.site,
            session: self.wanted.session,
            stick: self.wanted.stick,
            filter: self.wanted.filter.as_ref(),
            tried: &self.tried,
        }
    }

    /// When the attempt has been silent for long enough that another one may begin.
    fn patience<A>(&self, repeat: Repeat, running: Option<&Running<A>>) -> Option<Instant> {
        let running = running.filter(|_| repeat == Repeat::Overtake)?;
        let patience = running.trial.patience(self.config.connect_timeout);
        Some(running.trial.began + patience)
    }

    /// Takes the fault of an attempt: settles it, or holds it back until the request ends.
    pub(crate) fn fail(&mut self, trial: Trial, fault: Fault) {
        let hurt = fault.consequence().hurt;
        if hurt != Hurt::Yes {
            self.engine.excuse(&trial.lease, &fault, &self.describe(trial.number));
        }
        self.note(fault.clone());
        match hurt {
            Hurt::Yes => self.settle(trial, &Outcome::Failure(fault)),
            Hurt::No => self.settle(trial, &Outcome::Neutral),
            Hurt::IfOthersSucceed => self.suspects.push(Suspect { trial, charge: Charge::Failed(fault) }),
        }
    }

    /// Ends an attempt that was not answered while another one was, or that has to make room.
    fn give_up<A>(&mut self, running: Option<Running<A>>) {
        if let Some(Running { trial, future }) = running {
            drop(future);
            let silent = trial.began.elapsed();
            self.suspects.push(Suspect { trial, charge: Charge::Silent(silent) });
        }
    }

    /// Settles who was held back, now that it is known whether another upstream was answered, and how soon.
    fn judge(&mut self, winner: Option<Duration>) {
        for Suspect { trial, charge } in std::mem::take(&mut self.suspects) {
            match (charge, winner) {
                (_, None) => self.settle(trial, &Outcome::Neutral),
                // It was told when it happened.
                (Charge::Failed(fault), Some(_)) => {
                    self.engine.convict(trial.lease, fault, &self.describe(trial.number))
                }
                (Charge::Silent(silent), Some(latency)) => self.settle(trial, &verdict(silent, latency)),
            }
        }
    }

    /// Keeps the fault that went furthest: it says most about why the request failed.
    fn note(&mut self, fault: Fault) {
        if self.fault.as_ref().is_none_or(|kept| kept.stage <= fault.stage) {
            self.fault = Some(fault);
        }
    }
}

/// What it comes to for the client that there is no member.
fn no_lease(nobody: &NoLease) -> Fault {
    let fault = |kind| Fault::new(Side::Ours, Stage::Select, kind, nobody.to_string());
    match nobody {
        NoLease::Nobody(_) | NoLease::Plugin { .. } => fault(Kind::Exhausted),
        NoLease::Shed(shed) => fault(Kind::Limited).with_retry_after(shed.retry_after),
    }
}

/// What a member's silence comes to when another one was answered: a fault when that took less than half of the time,
/// because then the origin was not slow.
fn verdict(silent: Duration, latency: Duration) -> Outcome {
    if latency.saturating_mul(2) >= silent {
        return Outcome::Neutral;
    }
    let detail =
        format!("silent for {:.1} s; another was answered in {:.1} s", silent.as_secs_f64(), latency.as_secs_f64());
    Outcome::Failure(Fault::new(Side::Upstream, Stage::FirstByte, Kind::Timeout, detail))
}

/// Waits until then; for ever when there is no such time.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
