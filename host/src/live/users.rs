//! Who uses how much of what it may.

use proxywhirl_gateway::access::Usage;

use super::Live;
use crate::control::api::UserRow;

impl Live {
    /// The users, by their names, and what of their limits is used.
    pub async fn users(&self) -> Vec<UserRow> {
        let access = self.entrances.access();
        let usage = access.usage(self.engine()).await;
        let now = self.engine().now();
        let row = |usage: Usage| {
            let refused = usage.refused();
            let Usage { user, limits, open, bytes, left } = usage;
            UserRow {
                name: user,
                open,
                concurrency: limits.concurrency,
                bytes,
                quota: limits.quota,
                period_ends: left.map(|left| (now + left).as_micros()),
                rate: limits.rate,
                refused,
            }
        };
        usage.into_iter().map(row).collect()
    }
}
