//! Proxies that a user puts into the pool, or takes out of it, while the gateway runs.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use proxywhirl_core::{Candidate, EndpointKey, Tags};
use proxywhirl_engine::{Admissions, TakenOut};

use super::{Live, blocking};
use crate::control::api::{Added, Removed};
use crate::exit::Failure;
use crate::pattern::Patterns;

/// How often it is looked whether all that is stored is there.
const LOADING: Duration = Duration::from_millis(100);

impl Live {
    /// Waits until all that is stored is there.
    pub async fn loaded(&self) {
        while self.engine().is_loading() {
            tokio::time::sleep(LOADING).await;
        }
    }

    /// Takes proxies in, as what the user vouches for; those that were taken out before, too.
    pub async fn add_to_pool(&self, candidates: Vec<Candidate>) -> Added {
        let Admissions { new, merged, known, full, .. } = self.service.let_in(candidates).await;
        tracing::info!(pool.new = new, pool.known = merged + known, "proxies added by command");
        Added { added: new, known: merged + known, full, problem: self.unsaved() }
    }

    /// Takes out those that are meant, or that have one of these tags, and keeps out those of them that are still to be proven. Whoever
    /// goes through one of them goes on.
    ///
    /// # Errors
    /// When looking who is meant has panicked.
    pub async fn remove_from_pool(&self, patterns: Patterns, tags: Vec<String>) -> Result<Removed, Failure> {
        // Before, somebody who is meant may be missing.
        self.loaded().await;
        let tags: HashSet<String> = tags.into_iter().collect();
        let is_meant = move |key: &EndpointKey, labels: &Tags| {
            patterns.matches(key) || labels.iter().any(|tag| tags.contains(tag.as_str()))
        };
        let keeper = Arc::clone(self.service.keeper());
        // A large pool takes a while, in which others want the thread.
        let meant = blocking(move || keeper.meant(is_meant)).await?;
        let TakenOut { removed, kept_out, unproven } = self.service.keeper().take_out(meant).await;
        tracing::info!(pool.removed = removed, "proxies taken out by command");
        if removed > 0 {
            // It may have been the only one of a listener.
            self.filled();
        }
        let left = self.engine().snapshot().len();
        Ok(Removed { removed, left, kept_out, unproven, problem: self.unsaved() })
    }

    /// Why the pool cannot be saved.
    fn unsaved(&self) -> Option<String> {
        self.engine().store_trouble().map(|trouble| trouble.error)
    }
}
