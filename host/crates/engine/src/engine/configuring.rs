//! What can be changed while the engine runs.

use std::sync::Arc;

use proxywhirl_core::breaker::BreakerConfig;
use proxywhirl_core::pool::Relabelling;

use super::Engine;
use crate::sites::SitesConfig;

/// What can be changed while an engine runs; [`EngineConfig`](super::EngineConfig) says what each means.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tuning {
    /// When a member is kept away from requests: for leases that are taken from now on.
    pub breaker: BreakerConfig,
    /// How many members the pool may have; nobody is put out.
    pub capacity: usize,
    /// The largest share of the members that may be banned at one site; who is banned stays so.
    pub ban_share: f32,
    /// What is remembered of members at sites, and when one is passed over there.
    pub sites: SitesConfig,
    /// How many requests are remembered; the last ones stay.
    pub history: usize,
}

impl Engine {
    /// Changes how the engine works. Returns when all of it is in force.
    pub async fn tune(&self, tuning: &Tuning) {
        self.breaker.store(Arc::new(tuning.breaker));
        self.bans.limit(tuning.ban_share);
        self.sites.tune(tuning.sites);
        self.history.resize(tuning.history);
        self.writer.resize(tuning.capacity).await;
    }

    /// Says what sources say of their members by tags, where that has changed; how many members have other tags by that, which are
    /// saved then.
    pub async fn relabel(&self, relabelling: Relabelling) -> usize {
        self.writer.relabel(relabelling).await
    }
}
