//! What sources say of their proxies by tags, and what they said before: over reloads and restarts.

use std::collections::BTreeMap;
use std::sync::Arc;

use proxywhirl_core::Timestamp;
use proxywhirl_core::kv::{KeyValues, KvError, KvWrite};
use proxywhirl_core::pool::Relabelling;
use proxywhirl_core::pool::relabel::Said;
use proxywhirl_core::tag::{Tag, Tags};
use proxywhirl_engine::ingest::tag_of;

use super::service::Service;
use crate::config::SourceSettings;

/// Whose key it is: no plugin can have this name.
const OWNER: &str = "host/sources";

/// What each source says, by its tag, as JSON.
const KEY: &str = "tags";

/// What sources said last, by their tags `source:NAME`: of those that are gone as well, whose proxies may still be there.
pub(super) type Known = BTreeMap<String, Vec<String>>;

impl Service {
    /// Takes from the members of sources the tags that these give no more, and gives them those that are new. What sources say is
    /// remembered where the pool is kept, so that it is compared with what they said before a restart as well.
    pub async fn relabel(&self, sources: &[SourceSettings]) {
        let mut said = self.said().lock().await;
        let now = self.engine().now();
        let known = match said.as_mut() {
            Some(known) => known,
            None => said.insert(self.recall(now).await),
        };
        let (relabelling, is_news) = compare(known, sources);
        if !relabelling.is_empty() {
            self.keeper().relabel(&relabelling);
            let members = self.engine().relabel(relabelling).await;
            tracing::info!(pool.relabelled = members, "sources give other tags");
        }
        // Not before the members are saved: whoever ends between the two does it once more.
        if is_news {
            self.remember(known.clone(), now).await;
        }
    }

    async fn recall(&self, now: Timestamp) -> Known {
        let keys = Arc::clone(self.key_values());
        let read = tokio::task::spawn_blocking(move || read(keys.as_ref(), now)).await;
        read.unwrap_or_else(|error| Err(KvError::Unavailable(error.to_string()))).unwrap_or_else(|error| {
            tracing::warn!(error = %error, "what sources said of their proxies cannot be read");
            Known::new()
        })
    }

    async fn remember(&self, known: Known, now: Timestamp) {
        let keys = Arc::clone(self.key_values());
        let written = tokio::task::spawn_blocking(move || write(keys.as_ref(), &known, now)).await;
        if let Err(error) = written.unwrap_or_else(|error| Err(KvError::Unavailable(error.to_string()))) {
            tracing::warn!(error = %error, "what sources say of their proxies cannot be saved");
        }
    }
}

/// What has changed, and whether there is anything to remember that was not known.
fn compare(known: &mut Known, sources: &[SourceSettings]) -> (Relabelling, bool) {
    let mut is_news = false;
    let mut has_changed = false;
    let mut said = Vec::new();
    for source in sources {
        let Some(tag) = tag_of(&source.name) else { continue };
        let words: Vec<String> = source.tags.iter().map(ToString::to_string).collect();
        let before = known.get(tag.as_str()).cloned();
        if before.as_ref().is_some_and(|before| *before != words) || (before.is_none() && !words.is_empty()) {
            known.insert(tag.to_string(), words.clone());
            is_news = true;
            has_changed |= before.is_some();
        }
        let gone = before.unwrap_or_default().into_iter().filter(|word| !words.contains(word));
        let gave: Tags = gone.filter_map(|word| word.parse::<Tag>().ok()).collect();
        said.push(Said { source: tag, gives: source.tags.clone(), gave });
    }
    (if has_changed { Relabelling::new(said) } else { Relabelling::default() }, is_news)
}

fn read(keys: &dyn KeyValues, now: Timestamp) -> Result<Known, KvError> {
    let Some(entry) = keys.get(OWNER, KEY, now)? else { return Ok(Known::new()) };
    serde_json::from_slice(&entry.value).map_err(|error| KvError::Unavailable(error.to_string()))
}

fn write(keys: &dyn KeyValues, known: &Known, now: Timestamp) -> Result<(), KvError> {
    let value = serde_json::to_vec(known).map_err(|error| KvError::Unavailable(error.to_string()))?;
    keys.set(OWNER, KEY, &KvWrite { value: &value, expires: None, quota: u64::MAX }, now).map(|_| ())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn source(name: &str, tags: &str) -> SourceSettings {
        let tags = tags.split_whitespace().map(|word| word.parse::<Tag>().unwrap()).collect();
        SourceSettings { name: name.to_owned(), tags, ..SourceSettings::at("list.txt") }
    }

    #[test]
    fn only_a_source_that_was_known_can_say_something_else() {
        let mut known = Known::new();
        let (relabelling, is_news) = compare(&mut known, &[source("a", "paid"), source("b", "")]);
        assert!(relabelling.is_empty() && is_news);
        let (relabelling, is_news) = compare(&mut known, &[source("a", "paid"), source("b", "")]);
        assert!(relabelling.is_empty() && !is_news);
        // Gone, and back with other words.
        assert!(compare(&mut known, &[]).0.is_empty());
        let (relabelling, is_news) = compare(&mut known, &[source("a", "cheap"), source("b", "")]);
        let tags: Tags = ["source:a", "paid"].into_iter().map(|word| word.parse::<Tag>().unwrap()).collect();
        assert_eq!(relabelling.of(&tags).unwrap().to_string(), "cheap,source:a");
        assert!(is_news);
    }
}
