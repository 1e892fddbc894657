//! What a use of a member came to: the one message that goes back to the pool.

use std::time::Duration;

use crate::fault::Fault;

/// The result of one use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The upstream did its part; the origin's status does not matter.
    Success {
        /// From the start of the dial to the first byte of the answer, or to the tunnel's opening.
        latency: Duration,
    },
    /// The upstream failed, and nobody else can have been at fault.
    Failure(Fault),
    /// It failed, and it does not count against the upstream.
    Neutral,
}
