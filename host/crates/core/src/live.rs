//! What changes in a member at every request: counters, latency, breaker.
//!
//! It lives in atomics that all snapshots share, so that a request publishes nothing. What picks read of it is copied to
//! the member's seat on the pool's board, as long as the member has one.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::breaker::{Breaker, BreakerConfig, Input, State};
use crate::ewma::Ewma;
use crate::outcome::Outcome;
use crate::pool::board::{GATE_CLOSED, GATE_SHUT, Load, Seat};
use crate::tail::Tail;
use crate::time::Timestamp;

/// How much longer than three times the usual somebody may take: a TCP segment that was lost is sent again after one
/// second at the latest (RFC 6298).
const GRACE: Duration = Duration::from_secs(2);

/// How a member does, in one word for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Health {
    /// It was never used.
    Unknown,
    /// Its last use went well.
    Healthy,
    /// Its last use failed, and its breaker is still closed.
    Degraded,
    /// Its breaker is open or half-open.
    Unhealthy,
}

impl Health {
    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
        }
    }
}

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

/// The live state of a member.
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
    /// The breaker as it is read without the lock: [`GATE_CLOSED`], [`GATE_SHUT`] while its one probe is under way, or
    /// the time in microseconds from which a probe may go. Written under the lock only.
    gate: AtomicU64,
    /// Where picks read of it; none outside of a pool.
    seat: Option<Seat>,
}

#[derive(Debug, Default)]
struct Guarded {
    breaker: Breaker,
    /// Whether the seat is somebody else's by now, or will be.
    has_left: bool,
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

    /// Takes a seat, before anybody else knows of this.
    pub(crate) fn sit(&mut self, seat: Seat) {
        self.seat = Some(seat);
    }

    /// Gives the seat back: from now on nobody is picked there.
    pub(crate) fn vacate(&self) {
        let mut guarded = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        guarded.has_left = true;
        if let Some(seat) = &self.seat {
            seat.set_gate(GATE_SHUT);
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

    /// Whether the breaker would let a request through now. Asks nothing of it: see [`Live::admit`].
    #[must_use]
    pub fn is_admissible(&self, now: Timestamp) -> bool {
        self.gate.load(Ordering::Relaxed) <= now.as_micros()
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
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner).breaker
    }

    /// Asks the breaker of the member that was chosen, and counts the use as in flight. When it says true, then
    /// [`Live::record`] must follow, once, and [`Live::leave`].
    pub fn admit(&self, config: &BreakerConfig, now: Timestamp) -> bool {
        let admitted =
            self.gate.load(Ordering::Relaxed) == GATE_CLOSED || self.with_breaker(|breaker| breaker.admit(config, now));
        if admitted {
            self.in_flight.fetch_add(1, Ordering::Relaxed);
            self.tell(Load::join);
            self.last_used.store(now.as_micros(), Ordering::Relaxed);
        }
        admitted
    }

    /// Ends a use that was admitted: it is not in flight any more.
    pub fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.tell(|load| load.leave(self.in_flight()));
    }

    /// Takes what became of a use that was admitted, and when that was. True when the breaker changed its state.
    pub fn record(&self, outcome: &Outcome, admitted: Timestamp, config: &BreakerConfig, now: Timestamp) -> bool {
        let input = match outcome {
            Outcome::Success { latency } => {
                self.successes.fetch_add(1, Ordering::Relaxed);
                self.latency.record(*latency, now);
                let quantum = self.latency.get().map_or(0, Load::quantum);
                self.tell(|load| load.latency = quantum);
                Input::Success
            }
            Outcome::Failure(_) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                Input::Failure
            }
            Outcome::Neutral => Input::Neutral,
        };
        self.with_breaker(|breaker| {
            let before = std::mem::discriminant(&breaker.state());
            breaker.record(input, admitted, config, now);
            before != std::mem::discriminant(&breaker.state())
        })
    }

    /// Tells picks of a changed load.
    fn tell(&self, change: impl Fn(&mut Load)) {
        if let Some(seat) = &self.seat {
            seat.update(change);
        }
    }

    fn with_breaker<T>(&self, change: impl FnOnce(&mut Breaker) -> T) -> T {
        let mut guarded = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = change(&mut guarded.breaker);
        let gate = match guarded.breaker.state() {
            State::Closed { .. } => GATE_CLOSED,
            State::Open { until, .. } => until.as_micros(),
            State::HalfOpen { probing: true, .. } => GATE_SHUT,
            // Any time but zero: a probe may go, and it has to ask.
            State::HalfOpen { probing: false, .. } => 1,
        };
        // Most outcomes change nothing.
        if self.gate.swap(gate, Ordering::Relaxed) != gate
            && !guarded.has_left
            && let Some(seat) = &self.seat
        {
            seat.set_gate(gate);
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::{Fault, Kind, Side, Stage};

    #[test]
    fn the_gate_follows_the_breaker() {
        let (live, config) = (Live::default(), BreakerConfig { failures: 2, ..BreakerConfig::default() });
        let mut now = Timestamp::from_micros(1_000);
        let failure = Outcome::Failure(Fault::new(Side::Upstream, Stage::Connect, Kind::Refused, ""));
        assert_eq!(live.health(), Health::Unknown);
        for health in [Health::Degraded, Health::Unhealthy] {
            assert!(live.admit(&config, now));
            live.record(&failure, now, &config, now);
            live.leave();
            assert_eq!(live.health(), health);
        }
        assert!(!live.is_admissible(now));
        assert!(!live.admit(&config, now));
        now = now + config.cooldown;
        assert!(live.is_admissible(now));
        assert!(live.admit(&config, now));
        assert!(!live.is_admissible(now), "one probe is enough");
        assert_eq!(live.in_flight(), 1);
        live.record(&Outcome::Success { latency: Duration::from_millis(3) }, now, &config, now);
        assert_eq!(live.in_flight(), 1, "what was reported may still be in flight");
        live.leave();
        assert!(live.is_admissible(now));
        assert_eq!(live.in_flight(), 0);
        assert_eq!(live.statistics().failures, 2);
    }
}
