//! Rows for the tests of strategies. Only off WebAssembly.

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
