//! What the tests of strategies stand on. Only off WebAssembly.
//!
//! [`Pool`] plays the host: members join and leave, uses are told, time passes, and requests pick from
//! the strategy's plans as `strategy.wit` says. So a test can check where requests go, and not only
//! what a plan looks like:
//!
//! ```
//! # use proxywhirl_plugin_sdk::strategy::{Mode, Moment, Plan, Strategy, Table, View};
//! # use proxywhirl_plugin_sdk::{Description, NoOptions};
//! # struct Anybody;
//! # impl Strategy for Anybody {
//! #     type Options = NoOptions;
//! #     fn describe() -> Description { Description::new("anybody", "0.1.0", "Anybody.") }
//! #     fn new(_: NoOptions) -> Result<Self, String> { Ok(Self) }
//! #     fn plan(&mut self, _: &Table, _: &View, _: Moment) -> Plan { Plan::everyone(Mode::Draw) }
//! # }
//! use proxywhirl_plugin_sdk::testing::{Pool, member};
//!
//! let mut pool = Pool::<Anybody>::new("{}").unwrap();
//! for slot in 0..4 {
//!     pool.join(member(slot, u64::from(slot)));
//! }
//! let picks = pool.picks(10_000);
//! assert!(picks.fit(&[(0, 1.0), (1, 1.0), (2, 1.0), (3, 1.0)]));
//! ```

mod picker;
mod picks;
mod pool;

pub use picker::Wish;
pub use picks::Picks;
pub use pool::Pool;

use crate::strategy::Member;
use crate::{Anonymity, Scheme, Slot};

/// A member that was never tried, without tags and country. Its identity is told apart from its
/// slot and its place in the order of joining, so that a test notices when one is taken for another.
#[must_use]
pub const fn member(slot: Slot, joined: u64) -> Member {
    Member {
        slot,
        id: joined + 1_000_000,
        joined,
        scheme: Scheme::Http,
        anonymity: Anonymity::Unknown,
        country: 0,
        tags: Vec::new(),
        latency: 0,
        successes: 0,
        failures: 0,
    }
}

/// A sequence of random numbers that follows from a seed: SplitMix64
/// (<https://doi.org/10.1145/2714064.2660195>).
#[derive(Debug, Clone)]
struct Chance(u64);

impl Chance {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// From 0 (inclusive) to 1 (exclusive).
    fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

const fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}
