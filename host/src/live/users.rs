//! Who uses how much of what it may.

use proxywhirl_core::Timestamp;
use proxywhirl_gateway::access::Usage;

use super::Live;
use crate::control::api::UserRow;

impl Live {
    /// The users, by their names, and what of their limits is used.
    pub async fn users(&self) -> Vec<UserRow> {
        let access = self.entrances.access();
        let usage = access.usage(self.engine()).await;
        let now = self.engine().now();
        usage.into_iter().map(|usage| row(usage, now)).collect()
    }

    /// The same of the user of this name alone: in a server, each is asked for by itself.
    pub async fn user(&self, name: &str) -> Option<UserRow> {
        let access = self.entrances.access();
        let usage = access.usage_of(name, self.engine()).await?;
        Some(row(usage, self.engine().now()))
    }
}

fn row(usage: Usage, now: Timestamp) -> UserRow {
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
}
