//! Rests between the probes of a request.
//!
//! Where all that is left is out of use, a request probes one after the other. It has few attempts for that, and who is down now may be up
//! in a moment: one that has probed in vain lets some time go by, in which it or another request may find somebody who works.

use std::time::Duration;

use proxywhirl_core::lease::Lease;
use proxywhirl_engine::{Attempt, NoLease};
use tokio::time::{Instant, sleep};

use super::Failover;

/// How long a request rests before its second probe; twice as long before each further one.
const REST: Duration = Duration::from_millis(100);

/// How often that doubles at the most.
const DOUBLINGS: u32 = 3;

impl Failover<'_> {
    /// A member in its turn, for a request that has probed in vain: somebody who is in use, or after a rest whoever there is.
    pub(super) async fn rested(&self, attempt: &Attempt<'_>) -> Result<Lease, NoLease> {
        if let Some(lease) = self.engine.acquire_in_use(attempt, self.deadline).await? {
            return Ok(lease);
        }
        let rest = REST * (1 << self.probes.saturating_sub(1).min(DOUBLINGS));
        // Who would begin at the end of its time would come to nothing.
        if Instant::now() + rest < self.deadline {
            sleep(rest).await;
        }
        self.engine.acquire_in_turn(attempt, self.deadline).await
    }
}
