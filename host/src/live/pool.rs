//! Proxies that a user puts into the pool, or takes out of it, while the gateway runs.

use std::time::Duration;

use proxywhirl_core::{Candidate, EndpointKey, Member};
use proxywhirl_engine::Admissions;

use super::{Live, blocking};
use crate::control::api::{Added, Removed};
use crate::exit::Failure;
use crate::pattern::Pattern;

/// How often it is looked whether all that is stored is there.
const LOADING: Duration = Duration::from_millis(100);

impl Live {
    /// Takes proxies in, as what the user vouches for; those that were taken out before, too.
    pub async fn add_to_pool(&self, candidates: Vec<Candidate>) -> Added {
        let Admissions { new, merged, known, full, .. } = self.service.let_in(candidates).await;
        tracing::info!(pool.new = new, pool.known = merged + known, "proxies added by command");
        Added { added: new, known: merged + known, full, problem: self.unsaved() }
    }

    /// Takes out those that are meant, or that have one of these tags. Whoever goes through one of them goes on.
    ///
    /// # Errors
    /// When looking who is meant has panicked.
    pub async fn remove_from_pool(&self, patterns: Vec<Pattern>, tags: Vec<String>) -> Result<Removed, Failure> {
        // Before, somebody who is meant may be missing.
        while self.engine().is_loading() {
            tokio::time::sleep(LOADING).await;
        }
        let snapshot = self.engine().snapshot();
        let is_meant = move |member: &Member| {
            let key = member.endpoint.key();
            let is_named = patterns.iter().any(|pattern| pattern.matches(&key));
            (is_named || tags.iter().any(|tag| member.tags().contains(tag))).then_some(key)
        };
        // A large pool takes a while, in which others want the thread.
        let keys: Vec<EndpointKey> =
            blocking(move || snapshot.iter().filter_map(|member| is_meant(member)).collect()).await?;
        let (removed, kept_out) = self.engine().keep_out(keys).await;
        tracing::info!(pool.removed = removed, "proxies taken out by command");
        if removed > 0 {
            // It may have been the only one of a listener.
            self.filled();
        }
        Ok(Removed { removed, left: self.engine().snapshot().len(), kept_out, problem: self.unsaved() })
    }

    /// Why the pool cannot be saved.
    fn unsaved(&self) -> Option<String> {
        self.engine().store_trouble().map(|trouble| trouble.error)
    }
}
