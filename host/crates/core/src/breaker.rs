//! Circuit breaker: keeps requests away from a member that fails again and again.
//!
//! It opens after a number of faults in a row, because a member that has died is to be left at once; and at a low rate of
//! success among the last outcomes, because a run misses a partial outage. One that is known to fail now and then needs a
//! longer run, one that would come about by chance once in a million requests: a member that fails every fifth time is slow
//! to be given up, and does not flap.
//!
//! It lets one probe through when its cooldown is over (before it, and several, where nobody else is left:
//! [`Breaker::relent`]), and closes when enough probes in a row succeeded; a failed probe opens it for twice as long, up to
//! a limit. What it knew of the rate it then forgets: whoever comes back is new. See Nygard, "Release It!", and the circuit
//! breaker of linkerd.
//!
//! What no fault of a request shows, such as a member that reads along, has it [quarantined](Breaker::quarantine) from outside.
//!
//! Only the member that was chosen is asked to [`Breaker::admit`]: asking all of them would use up
//! the probe of those that are then not chosen, and they would never recover.

use std::time::Duration;

use crate::time::Timestamp;
use crate::window::Window;

/// Chances that a run of faults comes about without anything having changed: one in so many requests.
const SURPRISE: f64 = 1e6;

/// Outcomes before the run from which a rate of faults is told; below that, every member is taken for a good one.
const KNOWN: u32 = 20;

/// A run is never longer than so many times the least.
const PATIENCE: u32 = 4;

/// When a breaker opens and closes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BreakerConfig {
    /// Faults in a row that open it; at least 1. Up to four times as many for a member that fails now and then.
    pub failures: u32,
    /// The share of the last outcomes that must have gone well, from 0 to 1: it opens below that, once there are
    /// [`BreakerConfig::samples`] of them. 0 for never.
    pub min_success: f32,
    /// Outcomes from which that share is told, 1 to 100.
    pub samples: u32,
    /// How long it stays open the first time.
    pub cooldown: Duration,
    /// How long it stays open at the most: each failed probe doubles the cooldown.
    pub cooldown_max: Duration,
    /// Successes in a row that close it again; at least 1.
    pub successes: u32,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            failures: 5,
            min_success: 0.3,
            samples: 30,
            cooldown: Duration::from_secs(5),
            cooldown_max: Duration::from_secs(60),
            successes: 2,
        }
    }
}

/// What a breaker lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Everything; this many faults came in a row.
    Closed {
        /// Faults since the last success.
        faults: u32,
    },
    /// Nothing until the time is over.
    Open {
        /// When the first probe may go.
        until: Timestamp,
        /// How long it is open this time; where it is in [quarantine](Breaker::quarantine), how long it was open last.
        cooldown: Duration,
    },
    /// One probe at a time, unless it [relents](Breaker::relent).
    HalfOpen {
        /// Whether a probe is under way that nobody else may go beside.
        probing: bool,
        /// Probes that succeeded in a row.
        successes: u32,
        /// How long it was open before.
        cooldown: Duration,
    },
}

/// How ready a breaker is to let a probe through before its time, the readiest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Readiness {
    /// It lets everything through.
    Closed,
    /// Its last probe went well.
    Answered,
    /// Its next probe is due then.
    Due(Timestamp),
    /// A probe is under way, and none has gone well.
    Probing,
}

/// What happens to a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// Its member was chosen for a request.
    Admit,
    /// A request that was admitted went well.
    Success,
    /// A request that was admitted failed by the member's fault.
    Failure,
    /// A request that was admitted ended, and says nothing about the member.
    Neutral,
}

/// The breaker of one member. In 32 bytes, because a million members have one each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Breaker {
    /// When the first probe may go, or might have gone, after it opened last. What was admitted before that says
    /// nothing about the member as it is now, however late it ends.
    since: Timestamp,
    /// The last outcomes since it closed last.
    window: Window,
    /// In the upper two bits the [`Phase`]; below the faults in a row while it is closed, the successes while it is
    /// half-open, and 1 while it is open in quarantine.
    standing: u32,
    /// How long it is open, or was, in milliseconds.
    cooldown: u32,
}

/// The state, without its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Closed,
    Open,
    HalfOpen,
    Probing,
}

/// Bits for what is counted in a row: more than a billion are not told apart.
const COUNT_BITS: u32 = 30;
const COUNT_MAX: u32 = (1 << COUNT_BITS) - 1;

/// How it stands in quarantine: open, with 1 in place of a count.
const QUARANTINED: u32 = (Phase::Open as u32) << COUNT_BITS | 1;

impl Breaker {
    /// A closed one, to which nothing that was admitted before is news.
    #[must_use]
    pub fn closed_since(now: Timestamp) -> Self {
        Self { since: now, ..Self::default() }
    }

    /// What it lets through.
    #[must_use]
    pub const fn state(&self) -> State {
        let cooldown = Duration::from_millis(self.cooldown as u64);
        let count = self.standing & COUNT_MAX;
        match self.phase() {
            Phase::Closed => State::Closed { faults: count },
            Phase::Open => State::Open { until: self.since, cooldown },
            Phase::HalfOpen => State::HalfOpen { probing: false, successes: count, cooldown },
            Phase::Probing => State::HalfOpen { probing: true, successes: count, cooldown },
        }
    }

    const fn phase(&self) -> Phase {
        match self.standing >> COUNT_BITS {
            0 => Phase::Closed,
            1 => Phase::Open,
            2 => Phase::HalfOpen,
            _ => Phase::Probing,
        }
    }

    fn enter(&mut self, state: State) {
        let (phase, count, cooldown) = match state {
            State::Closed { faults } => (Phase::Closed, faults, Duration::ZERO),
            State::Open { until, cooldown } => {
                self.since = until;
                (Phase::Open, 0, cooldown)
            }
            State::HalfOpen { probing: false, successes, cooldown } => (Phase::HalfOpen, successes, cooldown),
            State::HalfOpen { probing: true, successes, cooldown } => (Phase::Probing, successes, cooldown),
        };
        self.standing = (phase as u32) << COUNT_BITS | count.min(COUNT_MAX);
        self.cooldown = millis(cooldown);
    }

    /// The last outcomes since it closed last.
    #[must_use]
    pub const fn window(&self) -> Window {
        self.window
    }

    /// Asks to let a request through, for the member that was chosen. True admits it, and then
    /// [`Breaker::record`] must follow, once.
    pub fn admit(&mut self, config: &BreakerConfig, now: Timestamp) -> bool {
        // Of one that was admitted before it was let through, nobody would hear: see `record`.
        if self.phase() == Phase::HalfOpen && now < self.since {
            return false;
        }
        let before = self.state();
        let (state, admitted) = step(before, Input::Admit, self.window, config, now);
        if state != before {
            self.enter(state);
        }
        admitted
    }

    /// Has a probe before its time, since nobody else is left: it is half-open now, if it was open. Its pause does not grow when that
    /// one fails as well. If a probe is under way, another one may go beside it. Nothing happens in [quarantine](Breaker::quarantine).
    pub fn relent(&mut self, now: Timestamp) {
        match self.state() {
            State::Open { cooldown, .. } if !self.is_quarantined() => {
                self.enter(State::HalfOpen { probing: false, successes: 0, cooldown: cooldown / 2 });
                self.since = now;
            }
            State::HalfOpen { successes, cooldown, .. } => {
                self.enter(State::HalfOpen { probing: false, successes, cooldown });
            }
            State::Open { .. } | State::Closed { .. } => {}
        }
    }

    /// How ready it is to [relent](Breaker::relent); none in [quarantine](Breaker::quarantine).
    #[must_use]
    pub fn readiness(&self) -> Option<Readiness> {
        match self.state() {
            State::Closed { .. } => Some(Readiness::Closed),
            State::HalfOpen { successes: 1.., .. } => Some(Readiness::Answered),
            State::Open { until, .. } => (!self.is_quarantined()).then_some(Readiness::Due(until)),
            State::HalfOpen { successes: 0, .. } => Some(Readiness::Probing),
        }
    }

    /// Keeps everything out until then, and no shorter than it would by itself, whatever becomes of what was admitted before, and also
    /// where nobody else is left.
    pub fn quarantine(&mut self, until: Timestamp) {
        self.since = until.max(self.since);
        self.standing = QUARANTINED;
    }

    /// Whether it is in [quarantine](Breaker::quarantine).
    #[must_use]
    pub const fn is_quarantined(&self) -> bool {
        self.standing == QUARANTINED
    }

    /// Closes it, if it is in [quarantine](Breaker::quarantine); true when it was. What had opened it before is forgotten.
    pub fn release(&mut self, now: Timestamp) -> bool {
        let is_quarantined = self.is_quarantined();
        if is_quarantined {
            *self = Self::closed_since(now);
        }
        is_quarantined
    }

    /// Takes what became of a request that was admitted, and when that was. A request that was admitted before the
    /// breaker opened is no news: it must neither decide in place of the probe nor make room for a second one.
    pub fn record(&mut self, input: Input, admitted: Timestamp, config: &BreakerConfig, now: Timestamp) {
        if admitted < self.since {
            return;
        }
        match input {
            Input::Success => self.window.record(true),
            Input::Failure => self.window.record(false),
            Input::Admit | Input::Neutral => {}
        }
        let was_closed = self.phase() == Phase::Closed;
        self.enter(step(self.state(), input, self.window, config, now).0);
        if self.phase() == Phase::Closed && !was_closed {
            self.window = Window::default();
        }
    }
}

/// The whole machine. The second part of the answer says whether a request is let through.
fn step(state: State, input: Input, window: Window, config: &BreakerConfig, now: Timestamp) -> (State, bool) {
    match (state, input) {
        (State::Closed { .. }, Input::Admit) => (state, true),
        (State::Closed { .. }, Input::Success) => (State::Closed { faults: 0 }, false),
        (State::Closed { .. }, Input::Neutral) => (state, false),
        (State::Closed { faults }, Input::Failure) => {
            let faults = faults.saturating_add(1);
            if faults < run_of_surprise(window, config) && !is_failing(window, config) {
                (State::Closed { faults }, false)
            } else {
                (open(config.cooldown, now), false)
            }
        }
        (State::Open { until, cooldown }, Input::Admit) if now >= until => {
            (State::HalfOpen { probing: true, successes: 0, cooldown }, true)
        }
        // Whatever ends now was admitted before it opened.
        (State::Open { .. }, _) => (state, false),
        (State::HalfOpen { probing: true, .. }, Input::Admit) => (state, false),
        (State::HalfOpen { probing: false, successes, cooldown }, Input::Admit) => {
            (State::HalfOpen { probing: true, successes, cooldown }, true)
        }
        (State::HalfOpen { successes, cooldown, .. }, Input::Success) => {
            let successes = successes.saturating_add(1);
            if successes < config.successes {
                (State::HalfOpen { probing: false, successes, cooldown }, false)
            } else {
                (State::Closed { faults: 0 }, false)
            }
        }
        (State::HalfOpen { cooldown, .. }, Input::Failure) => {
            let most = config.cooldown_max.max(config.cooldown);
            let cooldown = cooldown.saturating_mul(2).clamp(config.cooldown, most);
            (open(cooldown, now), false)
        }
        (State::HalfOpen { successes, cooldown, .. }, Input::Neutral) => {
            (State::HalfOpen { probing: false, successes, cooldown }, false)
        }
    }
}

/// Open for so long, in whole milliseconds, and seven weeks at the most.
fn open(cooldown: Duration, now: Timestamp) -> State {
    let cooldown = Duration::from_millis(u64::from(millis(cooldown)));
    State::Open { until: now + cooldown, cooldown }
}

fn millis(span: Duration) -> u32 {
    u32::try_from(span.as_millis()).unwrap_or(u32::MAX)
}

/// How many faults in a row are more than chance.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Clamped, and the cast does that too.
fn run_of_surprise(window: Window, config: &BreakerConfig) -> u32 {
    // The run itself is what is to be explained.
    let before = window.len() - window.run();
    if before < KNOWN {
        return config.failures;
    }
    let fault_rate = 1.0 - f64::from(window.successes()) / f64::from(before);
    let run = SURPRISE.ln() / -fault_rate.ln();
    (run.ceil() as u32).clamp(config.failures, config.failures.saturating_mul(PATIENCE))
}

/// Whether too few of the last outcomes went well.
fn is_failing(window: Window, config: &BreakerConfig) -> bool {
    window.len() >= config.samples.max(1)
        && window.success_rate().is_some_and(|rate| rate < f64::from(config.min_success))
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::select::random::Random;

    const CONFIG: BreakerConfig = BreakerConfig {
        failures: 3,
        min_success: 0.3,
        samples: 30,
        cooldown: Duration::from_secs(5),
        cooldown_max: Duration::from_secs(15),
        successes: 2,
    };

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn opened() -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..CONFIG.failures {
            breaker.record(Input::Failure, at(0), &CONFIG, at(0));
        }
        breaker
    }

    #[test]
    fn what_was_admitted_before_a_breaker_was_closed_anew_is_no_news() {
        let mut breaker = Breaker::closed_since(at(5));
        for _ in 0..100 {
            breaker.record(Input::Failure, at(4), &CONFIG, at(6));
        }
        assert_eq!(breaker.state(), State::Closed { faults: 0 });
        breaker.record(Input::Failure, at(5), &CONFIG, at(6));
        assert_eq!(breaker.state(), State::Closed { faults: 1 });
    }

    #[test]
    fn it_is_in_the_state_that_it_entered() {
        assert_eq!(size_of::<Breaker>(), 32);
        let (mut breaker, until, cooldown) = (Breaker::default(), at(7), Duration::from_millis(u32::MAX.into()));
        for state in [
            State::Closed { faults: COUNT_MAX },
            State::Open { until, cooldown },
            State::HalfOpen { probing: false, successes: 1, cooldown },
            State::HalfOpen { probing: true, successes: COUNT_MAX, cooldown },
            State::Closed { faults: 0 },
        ] {
            breaker.enter(state);
            assert_eq!(breaker.state(), state);
        }
        breaker.enter(State::Closed { faults: u32::MAX });
        assert_eq!(breaker.state(), State::Closed { faults: COUNT_MAX });
    }

    #[test]
    fn one_error_kills_nobody() {
        let mut breaker = Breaker::default();
        for _ in 0..100 {
            breaker.record(Input::Failure, at(0), &CONFIG, at(0));
            breaker.record(Input::Success, at(0), &CONFIG, at(0));
            assert!(breaker.admit(&CONFIG, at(0)));
        }
    }

    #[test]
    fn half_open_admits_exactly_one_probe() {
        let mut breaker = opened();
        assert!(!breaker.admit(&CONFIG, at(4)));
        assert!(breaker.admit(&CONFIG, at(5)));
        assert!(!breaker.admit(&CONFIG, at(5)));
    }

    #[test]
    fn a_probe_that_says_nothing_gives_its_place_back() {
        let mut breaker = opened();
        assert!(breaker.admit(&CONFIG, at(5)));
        breaker.record(Input::Neutral, at(5), &CONFIG, at(6));
        assert!(breaker.admit(&CONFIG, at(6)));
    }

    #[test]
    fn coming_back_needs_successes() {
        let mut breaker = opened();
        assert!(breaker.admit(&CONFIG, at(5)));
        breaker.record(Input::Success, at(5), &CONFIG, at(5));
        assert!(matches!(breaker.state(), State::HalfOpen { probing: false, successes: 1, .. }));
        assert!(breaker.admit(&CONFIG, at(5)));
        breaker.record(Input::Success, at(5), &CONFIG, at(5));
        assert_eq!(breaker.state(), State::Closed { faults: 0 });
    }

    #[test]
    fn a_failed_probe_doubles_the_cooldown_up_to_its_limit() {
        let mut breaker = opened();
        let mut now = at(5);
        for expected in [10, 15, 15] {
            assert!(breaker.admit(&CONFIG, now));
            breaker.record(Input::Failure, now, &CONFIG, now);
            let State::Open { until, .. } = breaker.state() else { unreachable!() };
            assert_eq!(until.since(now), Duration::from_secs(expected));
            now = until;
        }
    }

    #[test]
    fn one_in_quarantine_stays_there_until_its_time_or_until_it_is_released() {
        let mut breaker = Breaker::default();
        breaker.quarantine(at(100));
        for input in [Input::Success, Input::Failure, Input::Neutral] {
            breaker.record(input, at(0), &CONFIG, at(50));
        }
        assert!(!breaker.admit(&CONFIG, at(99)), "what was admitted before it says nothing");
        breaker.relent(at(99));
        assert!(breaker.is_quarantined() && !breaker.admit(&CONFIG, at(99)), "also where nobody else is left");
        let mut released = breaker;
        assert!(released.release(at(50)) && !released.release(at(50)));
        assert_eq!(released, Breaker::closed_since(at(50)));
        assert!(breaker.admit(&CONFIG, at(100)));
        assert!(!breaker.is_quarantined() && !breaker.release(at(100)), "the probe decides");
        breaker.record(Input::Failure, at(100), &CONFIG, at(100));
        assert_eq!(breaker.state(), State::Open { until: at(105), cooldown: CONFIG.cooldown });
    }

    #[test]
    fn one_that_faults_have_opened_is_not_released_and_opens_no_sooner_in_quarantine() {
        let mut breaker = opened();
        assert!(!breaker.is_quarantined() && !breaker.release(at(1)));
        breaker.quarantine(at(2));
        assert_eq!(breaker.state(), State::Open { until: at(5), cooldown: CONFIG.cooldown });
        assert!(!breaker.admit(&CONFIG, at(4)));
        let mut released = breaker;
        assert!(released.release(at(4)) && released.admit(&CONFIG, at(4)));
        assert!(breaker.admit(&CONFIG, at(5)));
        breaker.record(Input::Failure, at(5), &CONFIG, at(5));
        assert_eq!(breaker.state(), State::Open { until: at(15), cooldown: CONFIG.cooldown * 2 });
    }

    #[test]
    fn where_nobody_else_is_left_a_probe_goes_before_its_time_and_others_beside_it() {
        let mut breaker = opened();
        assert_eq!(breaker.readiness(), Some(Readiness::Due(at(5))));
        breaker.relent(at(1));
        assert!(!breaker.admit(&CONFIG, at(0)), "nobody would hear of it");
        assert!(breaker.admit(&CONFIG, at(1)) && !breaker.admit(&CONFIG, at(1)));
        assert_eq!(breaker.readiness(), Some(Readiness::Probing));
        breaker.relent(at(2));
        assert!(breaker.admit(&CONFIG, at(2)) && !breaker.admit(&CONFIG, at(2)));
        let mut failed = breaker;
        breaker.record(Input::Success, at(2), &CONFIG, at(3));
        assert_eq!(breaker.readiness(), Some(Readiness::Answered));
        breaker.record(Input::Success, at(1), &CONFIG, at(3));
        assert_eq!(breaker.state(), State::Closed { faults: 0 });
        failed.record(Input::Failure, at(1), &CONFIG, at(3));
        failed.record(Input::Success, at(2), &CONFIG, at(4));
        assert_eq!(failed.state(), State::Open { until: at(8), cooldown: CONFIG.cooldown }, "its pause does not grow");
        let order = [Readiness::Closed, Readiness::Answered, Readiness::Due(at(1)), Readiness::Due(at(2))];
        assert!(order.is_sorted() && order.iter().all(|readiness| *readiness < Readiness::Probing));
    }

    #[test]
    fn what_was_admitted_before_it_opened_is_no_news() {
        for late in [Input::Success, Input::Failure, Input::Neutral] {
            let mut breaker = opened();
            assert!(breaker.admit(&CONFIG, at(5)));
            let probing = breaker;
            breaker.record(late, at(0), &CONFIG, at(6));
            assert_eq!(breaker, probing, "{late:?} decided in place of the probe");
            for _ in 0..CONFIG.successes {
                breaker.record(Input::Success, at(5), &CONFIG, at(6));
                assert!(breaker.admit(&CONFIG, at(6)));
            }
            for _ in 0..CONFIG.failures {
                breaker.record(late, at(0), &CONFIG, at(7));
            }
            assert_eq!(breaker.state(), State::Closed { faults: 0 });
        }
    }

    /// Outcomes of a member that fails with this chance, one a second; how often its breaker opened.
    fn openings(chance: f64, requests: u64, seed: u64) -> u32 {
        let (mut breaker, mut random, mut openings) = (Breaker::default(), Random::new(seed), 0);
        let config = BreakerConfig::default();
        for second in 0..requests {
            if breaker.admit(&config, at(second)) {
                let input = if random.unit() < chance { Input::Failure } else { Input::Success };
                let was_open = matches!(breaker.state(), State::Open { .. });
                breaker.record(input, at(second), &config, at(second));
                openings += u32::from(!was_open && matches!(breaker.state(), State::Open { .. }));
            }
        }
        openings
    }

    #[test]
    fn one_that_fails_every_fifth_time_does_not_flap() {
        // With five in a row it would open 25 times for each of these.
        let openings: Vec<_> = (0..20).map(|seed| openings(0.2, 100_000, seed)).collect();
        assert!(openings.iter().sum::<u32>() <= 2, "{openings:?}");
    }

    #[test]
    fn one_that_dies_is_left_after_five_faults_and_after_twenty_whatever_it_was_before() {
        let config = BreakerConfig::default();
        for (good_of, most) in [(u64::MAX, 5), (5, 12), (2, 20)] {
            let mut breaker = Breaker::default();
            for n in 1..=100 {
                let input = if n % good_of == 0 { Input::Failure } else { Input::Success };
                breaker.record(input, at(n), &config, at(n));
            }
            // Ends on a success.
            breaker.record(Input::Success, at(100), &config, at(100));
            let faults = (1..100).find(|n| {
                breaker.record(Input::Failure, at(100 + n), &config, at(100 + n));
                matches!(breaker.state(), State::Open { .. })
            });
            assert!(faults.is_some_and(|faults| (5..=most).contains(&faults)), "{faults:?}");
        }
    }

    #[test]
    fn a_low_rate_opens_it_without_a_run() {
        let (mut breaker, config) = (Breaker::default(), BreakerConfig::default());
        let opened = (1..100).find(|n| {
            let input = if n % 5 == 0 { Input::Success } else { Input::Failure };
            breaker.record(input, at(*n), &config, at(*n));
            matches!(breaker.state(), State::Open { .. })
        });
        assert_eq!(opened, Some(31));
        assert_eq!(openings(0.9, 1_000, 1).min(3), 3, "it goes on trying");
    }

    proptest! {
        /// Whoever relents, and whatever an older clock it is asked by: it always opens up again.
        #[test]
        fn it_is_never_shut_for_good(steps in prop::collection::vec((0..5usize, 0..20u64, any::<usize>()), 1..200)) {
            let (mut breaker, mut now, mut under_way) = (Breaker::default(), 0, Vec::new());
            for (input, pause, which) in steps {
                now += pause;
                let older = at(now.saturating_sub(which as u64 % 4));
                match input {
                    0 if breaker.admit(&CONFIG, older) => under_way.push(older),
                    1 => breaker.relent(at(now)),
                    2.. if !under_way.is_empty() => {
                        let input = [Input::Success, Input::Failure, Input::Neutral][input - 2];
                        let admitted = under_way.swap_remove(which % under_way.len());
                        breaker.record(input, admitted, &CONFIG, at(now));
                    }
                    _ => {}
                }
            }
            for admitted in under_way {
                breaker.record(Input::Neutral, admitted, &CONFIG, at(now));
            }
            prop_assert!(breaker.admit(&CONFIG, at(now + 1_000)));
        }

        /// Whatever ends in whatever order, however late: never two probes at once, and it always opens up again.
        #[test]
        fn at_most_one_probe_is_under_way(steps in prop::collection::vec((0..4usize, 0..20u64, any::<usize>()), 1..200)) {
            let mut breaker = Breaker::default();
            let mut now = 0;
            // When each was admitted that has not ended, and whether it is a probe of the present half-open time.
            let mut under_way: Vec<(Timestamp, bool)> = Vec::new();
            for (input, pause, which) in steps {
                now += pause;
                if input == 0 {
                    if breaker.admit(&CONFIG, at(now)) {
                        under_way.push((at(now), matches!(breaker.state(), State::HalfOpen { .. })));
                    }
                } else if !under_way.is_empty() {
                    let input = [Input::Success, Input::Failure, Input::Neutral][input - 1];
                    let (admitted, _) = under_way.swap_remove(which % under_way.len());
                    breaker.record(input, admitted, &CONFIG, at(now));
                    if !matches!(breaker.state(), State::HalfOpen { .. }) {
                        under_way.iter_mut().for_each(|(_, is_probe)| *is_probe = false);
                    }
                }
                prop_assert!(under_way.iter().filter(|(_, is_probe)| *is_probe).count() <= 1);
            }
            for (admitted, _) in under_way {
                breaker.record(Input::Neutral, admitted, &CONFIG, at(now));
            }
            prop_assert!(breaker.admit(&CONFIG, at(now + 1_000)));
        }
    }
}
