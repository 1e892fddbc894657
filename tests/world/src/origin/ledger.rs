//! What an origin knows: who asked for what, and the documents that were published on it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::json::Object;

/// Different paths and peers that are told apart; the rest is in the total only.
const MAX_KEYS: usize = 10_000;
/// Documents under `/lists/`.
const MAX_DOCUMENTS: usize = 1_000;

/// A published document.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) content_type: String,
    pub(super) bytes: Vec<u8>,
}

/// Written by every session of the origin, read by its handle.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    total: AtomicU64,
    tallies: Mutex<Tallies>,
    documents: Mutex<HashMap<String, Arc<Document>>>,
}

#[derive(Debug, Default)]
struct Tallies {
    paths: HashMap<String, u64>,
    peers: HashMap<IpAddr, u64>,
}

impl Ledger {
    pub(super) fn record(&self, path: &str, peer: IpAddr) {
        // The counters order nothing: a test reads them after it has its answer.
        self.total.fetch_add(1, Ordering::Relaxed);
        let mut tallies = lock(&self.tallies);
        let Tallies { paths, peers } = &mut *tallies;
        if let Some(count) = paths.get_mut(path) {
            *count += 1;
        } else if paths.len() < MAX_KEYS {
            paths.insert(path.to_owned(), 1);
        }
        if let Some(count) = peers.get_mut(&peer) {
            *count += 1;
        } else if peers.len() < MAX_KEYS {
            peers.insert(peer, 1);
        }
    }

    pub(super) fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    pub(super) fn by_path(&self, path: &str) -> u64 {
        lock(&self.tallies).paths.get(path).copied().unwrap_or(0)
    }

    pub(super) fn by_peer(&self, peer: IpAddr) -> u64 {
        lock(&self.tallies).peers.get(&peer).copied().unwrap_or(0)
    }

    pub(super) fn publish(&self, name: &str, content_type: &str, bytes: Vec<u8>) {
        let mut documents = lock(&self.documents);
        if documents.len() >= MAX_DOCUMENTS && !documents.contains_key(name) {
            return;
        }
        let document = Document { content_type: content_type.to_owned(), bytes };
        documents.insert(name.to_owned(), Arc::new(document));
    }

    pub(super) fn document(&self, name: &str) -> Option<Arc<Document>> {
        lock(&self.documents).get(name).cloned()
    }

    pub(super) fn to_json(&self) -> String {
        let tallies = lock(&self.tallies);
        let mut paths: Vec<_> = tallies.paths.iter().collect();
        paths.sort();
        let mut peers: Vec<_> = tallies.peers.iter().collect();
        peers.sort();
        let paths = paths.into_iter().fold(Object::new(), |object, (path, count)| object.number(path, *count));
        let peers =
            peers.into_iter().fold(Object::new(), |object, (peer, count)| object.number(&peer.to_string(), *count));
        Object::new().number("requests", self.total()).raw("paths", &paths.end()).raw("peers", &peers.end()).end()
    }
}

/// A panic elsewhere leaves counters that are still counters.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
