//! What the drift guard remembers of a source between two runs: its history, and its last good list, in
//! the directory of the cache.

use std::sync::Arc;

use proxywhirl_core::Scheme;
use proxywhirl_core::plugin::Document;
use serde::{Deserialize, Serialize};

use super::History;
use crate::source::cache::{self, Cache, Kept};
use crate::source::{Location, Source};

/// The largest history: a few dozen shapes.
const MAX_HISTORY: u64 = 64 * 1024;

/// The memory of one source.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    cache: Cache,
    history: String,
    list: String,
    cap: u64,
}

/// What stands before a document's bytes.
#[derive(Serialize, Deserialize)]
struct Head {
    url: String,
    content_type: String,
    options: String,
    length: usize,
}

impl Memory {
    /// The memory of a source that is fetched from a URL; files are the user's own, and change as they like.
    pub(crate) fn of(source: &Source, cache: Option<&Cache>, cap: u64) -> Option<Self> {
        let Location::Http(url) = &source.location else { return None };
        let name = |kind| cache::name(kind, url, &source.headers);
        Some(Self { cache: cache?.clone(), history: name("drift"), list: name("good"), cap })
    }

    /// What it was like; nothing when that cannot be read. Blocks.
    pub(crate) fn history(&self) -> History {
        let kept = self.cache.load(&self.history, MAX_HISTORY);
        kept.and_then(|kept| serde_json::from_slice(&kept.body).ok()).unwrap_or_default()
    }

    /// Remembers what it was like. Blocks.
    pub(crate) fn remember(&self, history: &History) {
        if let Ok(body) = serde_json::to_vec(history) {
            self.cache.store(&self.history, &Kept { body, ..Kept::default() });
        }
    }

    /// The documents of the last good list. Blocks.
    pub(crate) fn list(&self, scheme: Scheme) -> Option<Vec<Document>> {
        let kept = self.cache.load(&self.list, self.cap)?;
        let mut rest = kept.body.as_slice();
        let mut documents = Vec::new();
        while !rest.is_empty() {
            let end = rest.iter().position(|byte| *byte == b'\n')?;
            let head: Head = serde_json::from_slice(rest.get(..end)?).ok()?;
            let body = rest.get(end + 1..end + 1 + head.length)?;
            rest = rest.get(end + 1 + head.length..)?;
            documents.push(Document {
                url: head.url,
                content_type: head.content_type,
                body: Arc::from(body),
                options: head.options,
                default_scheme: scheme,
            });
        }
        Some(documents)
    }

    /// Keeps the documents of a good list. Blocks.
    pub(crate) fn keep(&self, documents: &[Document]) {
        let mut body = Vec::new();
        for document in documents {
            let head = Head {
                url: document.url.clone(),
                content_type: document.content_type.clone(),
                options: document.options.clone(),
                length: document.body.len(),
            };
            let Ok(head) = serde_json::to_vec(&head) else { return };
            body.extend_from_slice(&head);
            body.push(b'\n');
            body.extend_from_slice(&document.body);
        }
        self.cache.store(&self.list, &Kept { body, ..Kept::default() });
    }
}
