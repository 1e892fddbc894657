//! What changes in a member at every request: counters, latency, breaker, and what its limit leaves.
//!
//! It lives in atomics that all snapshots share, so that a request publishes nothing. What picks read of it is copied to
//! the member's seat on the pool's board, as long as the member has one.

mod health;
mod limiter;

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::breaker::{Breaker, BreakerConfig, Input, State};
use crate::ewma::Ewma;
use crate::outcome::Outcome;
use crate::pool::board::{Block, GATE_CLOSED, GATE_SHUT, Load, Seat};
use crate::shared::Finding;
use crate::tail::Tail;
use crate::time::Timestamp;
pub use health::Health;
use limiter::Limiter;
pub use limiter::Room;

/// How much longer than three times the usual somebody may take: a TCP segment that was lost is sent again after one
/// second at the latest (RFC 6298).
const GRACE: Duration = Duration::from_secs(2);

/// The statistics of a member, to be kept over a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Uses that ended well.
    pub successes: u64,
    /// Uses that failed by the member's fault.
    pub failures: u64,
    /// EWMA of the latency; none when it was never measured.
    pub latency: Option<Duration>,
    /// When it was last used; zero when never.
    pub last_used: Timestamp,
}

/// What a use waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Until {
    /// That its tunnel is open: dial and handshake.
    Tunnel,
    /// The first byte of the answer to a forwarded request.
    Answer,
}

/// What keeps requests away from a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// Its breaker is open, or half-open with a probe under way that nobody else may go beside.
    Breaker,
    /// It is used as much as it may be, and nothing else is wrong with it.
    Limit,
}

/// The live state of a member. In 112 bytes, because a million members have one each.
#[derive(Debug, Default)]
pub struct Live {
    /// Leases that are held now.
    in_flight: AtomicU32,
    successes: AtomicU64,
    failures: AtomicU64,
    last_used: AtomicU64,
    latency: Ewma,
    tunnels: Tail,
    answers: Tail,
    /// The truth about the breaker. Held for a few instructions, never across an `.await`.
    breaker: Mutex<Guarded>,
    /// The breaker as it is read without the lock: [`GATE_CLOSED`], [`GATE_SHUT`] while a probe is under way that nobody
    /// else may go beside, or the time in microseconds from which a probe may go. Written under the lock only.
    gate: AtomicU64,
    /// [`IS_LIMITED`] and [`HAS_LEFT`], which are written under the lock only, [`IS_UNSAVED`] and [`IS_CLAIMED`].
    standing: AtomicU8,
    /// Where picks read of it, which is its [`Seat`]; none outside of a pool.
    block: Option<Arc<Block>>,
    place: u16,
    generation: u8,
}

/// It has a limit; whoever uses one that has none takes no lock.
const IS_LIMITED: u8 = 1;

/// The seat is somebody else's by now, or will be.
const HAS_LEFT: u8 = 2;

/// Its statistics have changed since they were saved.
const IS_UNSAVED: u8 = 4;

/// Somebody waits for it longer than others, or has since it failed last: see [`Live::claim_patience`].
const IS_CLAIMED: u8 = 8;

/// One use of so many may claim that.
const CLAIMED: u64 = 4;

#[derive(Debug, Default)]
struct Guarded {
    breaker: Breaker,
    /// On the heap, because most have none, and what a request touches of a member is to be small.
    limiter: Option<Box<Limiter>>,
}

impl Live {
    /// The live state of a member that was known before.
    #[must_use]
    pub fn restored(statistics: &Statistics) -> Self {
        Self {
            successes: AtomicU64::new(statistics.successes),
            failures: AtomicU64::new(statistics.failures),
            last_used: AtomicU64::new(statistics.last_used.as_micros()),
            latency: Ewma::restored(statistics.latency, statistics.last_used),
            ..Self::default()
        }
    }

    /// Adds what was known before of a member that was used already: a store that could not be reached is read late.
    pub fn absorb(&self, before: &Statistics) {
        self.successes.fetch_add(before.successes, Ordering::Relaxed);
        self.failures.fetch_add(before.failures, Ordering::Relaxed);
        self.last_used.fetch_max(before.last_used.as_micros(), Ordering::Relaxed);
    }

    /// Takes a seat, before anybody else knows of this.
    pub(crate) fn sit(&mut self, seat: Seat) {
        let Seat { block, place, generation } = seat;
        (self.block, self.place, self.generation) = (Some(block), place, generation);
    }

    /// Gives the seat back: from now on nobody is picked there.
    pub(crate) fn vacate(&self) {
        let _locked = self.guarded();
        self.standing.fetch_or(HAS_LEFT, Ordering::Relaxed);
        if let Some(block) = &self.block {
            block.set_gate(self.place.into(), GATE_SHUT);
        }
    }

    /// What is worth keeping over a restart.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        // Relaxed: each number is right by itself, and nobody needs them from the same instant.
        Statistics {
            successes: self.successes.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            latency: self.latency.get(),
            last_used: Timestamp::from_micros(self.last_used.load(Ordering::Relaxed)),
        }
    }

    /// Whether a use has ended since this was asked last: its statistics, read from now on, are to be saved. A use that
    /// ends in the meantime is in them, or is found by the next one who asks.
    #[must_use]
    pub fn take_unsaved(&self) -> bool {
        // Most have none, and of those nothing is written.
        self.standing.load(Ordering::Relaxed) & IS_UNSAVED != 0
            && self.standing.fetch_and(!IS_UNSAVED, Ordering::Acquire) & IS_UNSAVED != 0
    }

    /// What was taken could not be saved.
    pub fn leave_unsaved(&self) {
        self.standing.fetch_or(IS_UNSAVED, Ordering::Release);
    }

    /// Leases that are held now.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// EWMA of the latency; none when it was never measured.
    #[must_use]
    pub fn latency(&self) -> Option<Duration> {
        self.latency.get()
    }

    /// The 95th percentile of how long it takes.
    #[must_use]
    pub const fn tail(&self, until: Until) -> &Tail {
        match until {
            Until::Tunnel => &self.tunnels,
            Until::Answer => &self.answers,
        }
    }

    /// The share of the last 100 outcomes since its breaker closed last that went well; none without any.
    #[must_use]
    pub fn success_rate(&self) -> Option<f64> {
        self.breaker().window().success_rate()
    }

    /// How long to wait for it: three times its usual latency and two seconds more, and never more than `most`. One that
    /// was never measured may take all of that.
    #[must_use]
    pub fn patience(&self, most: Duration) -> Duration {
        self.latency().map_or(most, |latency| (3 * latency + GRACE).min(most))
    }

    /// Whether a use may wait longer for it than others that begin meanwhile. It may for one that was never measured, each fourth time
    /// that it has failed; whoever asks first does, and nobody else until it has failed again.
    #[must_use]
    pub fn claim_patience(&self) -> bool {
        // Relaxed: who misses a failure of this moment waits once more.
        self.failures.load(Ordering::Relaxed) % CLAIMED == CLAIMED - 1
            && self.latency().is_none()
            && self.standing.fetch_or(IS_CLAIMED, Ordering::Relaxed) & IS_CLAIMED == 0
    }

    /// What would keep a request away from it now. Asks nothing of breaker and limit: see [`Live::admit`].
    #[must_use]
    pub fn obstacle(&self, now: Timestamp) -> Option<Obstacle> {
        if self.gate.load(Ordering::Relaxed) > now.as_micros() {
            Some(Obstacle::Breaker)
        } else if !self.has_room(now) {
            Some(Obstacle::Limit)
        } else {
            None
        }
    }

    /// Whether its limit lets one more through, whatever its breaker does.
    #[must_use]
    pub fn has_room(&self, now: Timestamp) -> bool {
        !self.is_limited() || self.room_of(&self.guarded()) <= now.as_micros()
    }

    /// Whether nothing would.
    #[must_use]
    pub fn is_admissible(&self, now: Timestamp) -> bool {
        self.obstacle(now).is_none()
    }

    /// How it does, in one word.
    #[must_use]
    pub fn health(&self) -> Health {
        let statistics = self.statistics();
        match self.breaker().state() {
            State::Open { .. } | State::HalfOpen { .. } => Health::Unhealthy,
            State::Closed { faults: 1.. } => Health::Degraded,
            State::Closed { faults: 0 } if statistics.successes + statistics.failures == 0 => Health::Unknown,
            State::Closed { faults: 0 } => Health::Healthy,
        }
    }

    /// What the breaker lets through.
    #[must_use]
    pub fn breaker(&self) -> Breaker {
        self.guarded().breaker
    }

    /// Asks the breaker of the member that was chosen, and counts the use as in flight. When it says true, then
    /// [`Live::record`] must follow, once, and [`Live::leave`].
    pub fn admit(&self, config: &BreakerConfig, now: Timestamp) -> bool {
        if self.is_limited() {
            return self.admit_within(config, now);
        }
        let admitted = self.passes(config, now);
        if admitted {
            self.join(now);
        }
        admitted
    }

    /// Lets a probe through before its time: see [`Breaker::relent`].
    pub fn relent(&self, now: Timestamp) {
        self.with_breaker(|breaker| breaker.relent(now));
    }

    /// Keeps everybody out until then: see [`Breaker::quarantine`]. True when its breaker changed its state.
    pub fn quarantine(&self, until: Timestamp) -> bool {
        self.with_breaker(|breaker| {
            let was_open = matches!(breaker.state(), State::Open { .. });
            breaker.quarantine(until);
            !was_open
        })
    }

    /// Lets everybody through again, if it is in quarantine: see [`Breaker::release`]. True when it was.
    pub fn release(&self, now: Timestamp) -> bool {
        self.with_breaker(|breaker| breaker.release(now))
    }

    /// When its breaker lets the next one through that it does not let through now; none when that is not for a time to say.
    #[must_use]
    pub fn opens_at(&self) -> Option<Timestamp> {
        let gate = self.gate.load(Ordering::Relaxed);
        (gate != GATE_CLOSED && gate != GATE_SHUT).then(|| Timestamp::from_micros(gate))
    }

    /// The same for a use that no limit counts, because it is over already.
    pub fn admit_uncounted(&self, config: &BreakerConfig, now: Timestamp) -> bool {
        let admitted = self.passes(config, now);
        if admitted {
            self.join(now);
        }
        admitted
    }

    /// Asks the breaker.
    fn passes(&self, config: &BreakerConfig, now: Timestamp) -> bool {
        self.gate.load(Ordering::Relaxed) == GATE_CLOSED || self.with_breaker(|breaker| breaker.admit(config, now))
    }

    fn join(&self, now: Timestamp) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.tell(Load::join);
        self.last_used.store(now.as_micros(), Ordering::Relaxed);
    }

    /// Ends a use that was admitted: it is not in flight any more.
    pub fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.tell(|load| load.leave(self.in_flight()));
        if self.is_limited() {
            // After the count, so that of several who leave at once the last one says what is left.
            self.publish(&self.guarded());
        }
    }

    /// Takes what became of a use that was admitted, and when that was. True when the breaker changed its state.
    pub fn record(&self, outcome: &Outcome, admitted: Timestamp, config: &BreakerConfig, now: Timestamp) -> bool {
        let input = match outcome {
            Outcome::Success { latency } => {
                self.successes.fetch_add(1, Ordering::Relaxed);
                self.took(*latency, now);
                Input::Success
            }
            Outcome::Failure(_) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                self.standing.fetch_and(!IS_CLAIMED, Ordering::Relaxed);
                Input::Failure
            }
            Outcome::Neutral => Input::Neutral,
        };
        self.leave_unsaved();
        self.judge(input, admitted, config, now)
    }

    /// Takes what another gateway has found, by a use that it counts itself. True when the breaker changed its state. Nothing
    /// happens while the breaker lets nobody through.
    pub fn hear(&self, finding: Finding, config: &BreakerConfig, now: Timestamp) -> bool {
        if !self.passes(config, now) {
            return false;
        }
        let input = match finding {
            Finding::Alive(latency) => {
                latency.into_iter().for_each(|latency| self.took(latency, now));
                Input::Success
            }
            Finding::Dead | Finding::Intercepts(_) => Input::Failure,
        };
        self.judge(input, now, config, now)
    }

    fn took(&self, latency: Duration, now: Timestamp) {
        self.latency.record(latency, now);
        let quantum = self.latency.get().map_or(0, Load::quantum);
        self.tell(|load| load.latency = quantum);
    }

    fn judge(&self, input: Input, admitted: Timestamp, config: &BreakerConfig, now: Timestamp) -> bool {
        self.with_breaker(|breaker| {
            let before = std::mem::discriminant(&breaker.state());
            breaker.record(input, admitted, config, now);
            before != std::mem::discriminant(&breaker.state())
        })
    }

    /// Forgets the faults that there were, and those of uses that are under way: what they come of is over. True when the
    /// breaker was not closed. One in quarantine is there for no fault, and stays.
    pub fn forgive(&self, now: Timestamp) -> bool {
        self.with_breaker(|breaker| {
            if breaker.is_quarantined() {
                return false;
            }
            !matches!(std::mem::replace(breaker, Breaker::closed_since(now)).state(), State::Closed { .. })
        })
    }

    /// Tells picks of a changed load.
    fn tell(&self, change: impl Fn(&mut Load)) {
        if let Some(block) = &self.block {
            block.update(self.place.into(), self.generation, change);
        }
    }

    fn with_breaker<T>(&self, change: impl FnOnce(&mut Breaker) -> T) -> T {
        let mut guarded = self.guarded();
        let answer = change(&mut guarded.breaker);
        self.publish(&guarded);
        answer
    }

    fn guarded(&self) -> MutexGuard<'_, Guarded> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells who does not take the lock what breaker and limit let through.
    fn publish(&self, guarded: &Guarded) {
        let gate = match guarded.breaker.state() {
            State::Closed { .. } => GATE_CLOSED,
            State::Open { until, .. } => until.as_micros(),
            State::HalfOpen { probing: true, .. } => GATE_SHUT,
            // Any time but zero: a probe may go, and it has to ask.
            State::HalfOpen { probing: false, .. } => 1,
        };
        // Most outcomes change nothing.
        let is_changed = self.gate.load(Ordering::Relaxed) != gate;
        if is_changed {
            // Nobody else writes: the lock is held.
            self.gate.store(gate, Ordering::Relaxed);
        }
        if is_changed || guarded.limiter.is_some() {
            self.show(guarded);
        }
    }

    /// Tells picks what breaker and limit let through.
    fn show(&self, guarded: &Guarded) {
        let gate = self.gate.load(Ordering::Relaxed).max(self.room_of(guarded));
        if self.standing.load(Ordering::Relaxed) & HAS_LEFT == 0
            && let Some(block) = &self.block
            && block.gate(self.place.into()) != gate
        {
            block.set_gate(self.place.into(), gate);
        }
    }
}

#[cfg(test)]
mod tests;
