//! What a seed stands for: how many proxies, how they are picked, when breakers open, how often things go wrong.

use std::time::Duration;

use proxywhirl_core::breaker::BreakerConfig;
use proxywhirl_core::select::random::Random;
use proxywhirl_core::select::{Mode, Stickiness};

/// The circumstances of one run.
pub(crate) struct Scenario {
    /// How the plan picks.
    pub(crate) mode: Mode,
    /// Whether the plan names members with weights, or says "everyone".
    pub(crate) listed: bool,
    /// How sessions stick; none when they go wherever their hash points.
    pub(crate) sessions: Option<Stickiness>,
    /// How many requests of a hundred demand a label.
    pub(crate) filtered: usize,
    /// How many proxies there are, in the pool or out of it.
    pub(crate) proxies: usize,
    /// When breakers open and close.
    pub(crate) breaker: BreakerConfig,
    /// How many requests come while there is trouble.
    pub(crate) requests: u32,
    /// The mean time between two requests.
    pub(crate) pause: Duration,
    /// All further chance.
    pub(crate) random: Random,
}

impl Scenario {
    /// Eight seeds in a row are the four modes, over everyone and over a list.
    pub(crate) fn of(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mode = [Mode::Cycle, Mode::Draw, Mode::Affinity, Mode::LeastLoaded][usize::try_from(seed % 4).unwrap()];
        let cooldown = seconds(&mut random, 1, 10);
        let sessions = Stickiness {
            idle: (random.below(2) == 0).then(|| seconds(&mut random, 1, 20)),
            lifetime: (random.below(2) == 0).then(|| seconds(&mut random, 10, 60)),
            strict: random.below(3) == 0,
            capacity: 1_000,
        };
        Self {
            mode,
            listed: seed / 4 % 2 == 1,
            sessions: (seed / 8 % 2 == 1).then_some(sessions),
            filtered: if seed / 16 % 2 == 1 { 20 } else { 0 },
            proxies: 2 + random.below(11),
            breaker: BreakerConfig {
                failures: 1 + u32::try_from(random.below(5)).unwrap(),
                min_success: [0.0, 0.3, 0.6][random.below(3)],
                samples: 1 + u32::try_from(random.below(60)).unwrap(),
                cooldown,
                cooldown_max: cooldown + seconds(&mut random, 0, 30),
                successes: 1 + u32::try_from(random.below(3)).unwrap(),
            },
            requests: 3_000,
            pause: Duration::from_millis(20 + random.below(200) as u64),
            random,
        }
    }
}

/// A span between so many seconds and so many, to the microsecond.
pub(crate) fn seconds(random: &mut Random, from: u64, to: u64) -> Duration {
    let range = usize::try_from((to - from) * 1_000_000).unwrap();
    Duration::from_secs(from) + Duration::from_micros(random.below(range + 1) as u64)
}
