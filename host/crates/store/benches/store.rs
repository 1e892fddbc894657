//! What it costs to keep a pool: a save of what changed, a load of all, and the first page, after which a gateway serves.
//!
//! The folder is `TMPDIR`: a disk that is slow to say that something is on it (fsync) is most of what a save in a file costs.
#![allow(missing_docs, clippy::unwrap_used)]

use std::time::Duration;

use divan::{Bencher, counter::ItemsCount};
use proxywhirl_core::live::{Health, Statistics};
use proxywhirl_core::store::{Changes, StoredMember};
use proxywhirl_core::verdict::Anonymity;
use proxywhirl_core::{Endpoint, Host, Scheme, Timestamp};
use proxywhirl_store::{Opened, StoreUrl};
use proxywhirl_tests::RedisServer;
use tempfile::TempDir;

fn main() {
    divan::main();
}

fn member(number: u32, uses: u64) -> StoredMember {
    StoredMember {
        endpoint: Endpoint {
            scheme: Scheme::Http,
            host: Host::V4((0x0b00_0000 + number).into()),
            port: 8_080,
            credentials: None,
            via: None,
        },
        tags: std::iter::once("source:list".parse().unwrap()).collect(),
        country: "DE".parse().ok(),
        anonymity: Anonymity::Elite,
        added: Timestamp::from_micros(1_750_000_000_000_000),
        statistics: Statistics {
            successes: uses,
            failures: uses / 10,
            latency: Some(Duration::from_millis(120)),
            last_used: Timestamp::from_micros(1_750_000_000_000_000 + uses),
        },
        health: Health::Healthy,
    }
}

/// A store with members in it.
struct Kept {
    _folder: TempDir,
    url: StoreUrl,
    opened: Option<Opened>,
}

impl Kept {
    fn new(url: &str, members: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = url.parse::<StoreUrl>().unwrap().within(folder.path());
        let mut opened = url.open().unwrap();
        for begin in (0..members).step_by(100_000) {
            let upserts = (begin..members.min(begin + 100_000)).map(|number| member(number, 1)).collect();
            opened.store.save(&Changes { upserts, ..Changes::default() }).unwrap();
        }
        Self { _folder: folder, url, opened: Some(opened) }
    }

    /// Changes of members all over the store.
    fn changes(members: u32, changed: u32, uses: u64) -> Changes {
        let updates = (0..changed).map(|number| member(number * (members / changed), uses)).collect();
        Changes { updates, ..Changes::default() }
    }

    fn save(mut self, bencher: Bencher<'_, '_>, members: u32, changed: u32) {
        let mut uses = 1;
        bencher
            .counter(ItemsCount::new(changed))
            .with_inputs(|| {
                uses += 1;
                Self::changes(members, changed, uses)
            })
            .bench_local_refs(|changes| self.opened.as_mut().unwrap().store.save(changes).unwrap());
    }
}

const FILES: [&str; 4] = ["sqlite:pool.db", "file:pool.json", "file:pool.json.gz", "file:pool.jsonl"];

/// A pool of 100, of which all have changed.
#[divan::bench(args = FILES)]
fn save_100_of_100(bencher: Bencher<'_, '_>, url: &str) {
    Kept::new(url, 100).save(bencher, 100, 100);
}

/// A pool of 100, opened and read.
#[divan::bench(args = FILES)]
fn load_100(bencher: Bencher<'_, '_>, url: &str) {
    let mut kept = Kept::new(url, 100);
    kept.opened = None;
    bencher.bench_local(|| kept.url.open().unwrap().store.load().unwrap().len());
}

#[divan::bench(args = [100_000])]
fn sqlite_save_100_of(bencher: Bencher<'_, '_>, members: u32) {
    Kept::new("sqlite:pool.db", members).save(bencher, members, 100);
}

#[divan::bench(args = [100_000, 1_000_000], sample_count = 30)]
fn sqlite_save_1000_of(bencher: Bencher<'_, '_>, members: u32) {
    Kept::new("sqlite:pool.db", members).save(bencher, members, 1_000);
}

/// After this, the first requests are served.
#[divan::bench(args = [100_000, 1_000_000], sample_count = 10)]
fn sqlite_open_and_first_page_of(bencher: Bencher<'_, '_>, members: u32) {
    let mut kept = Kept::new("sqlite:pool.db", members);
    kept.opened = None;
    bencher.bench_local(|| kept.url.open().unwrap().store.page(None, 5_000).unwrap().members.len());
}

#[divan::bench(args = [100_000], sample_count = 10)]
fn sqlite_load(bencher: Bencher<'_, '_>, members: u32) {
    let mut kept = Kept::new("sqlite:pool.db", members);
    bencher.bench_local(|| kept.opened.as_mut().unwrap().store.load().unwrap().len());
}

/// A server on this machine that puts on its disk what it has once a second, as most do.
fn server() -> RedisServer {
    RedisServer::start(["--appendfsync", "everysec"])
}

#[divan::bench(args = [100, 1_000], sample_count = 30)]
fn redis_save_of_100_000(bencher: Bencher<'_, '_>, changed: u32) {
    let server = server();
    Kept::new(&server.url(), 100_000).save(bencher, 100_000, changed);
}

#[divan::bench(sample_count = 10)]
fn redis_open_and_first_page_of_100_000(bencher: Bencher<'_, '_>) {
    let server = server();
    let kept = Kept::new(&server.url(), 100_000);
    bencher.bench_local(|| kept.url.open().unwrap().store.page(None, 5_000).unwrap().members.len());
}

#[divan::bench(sample_count = 10)]
fn redis_load_100_000(bencher: Bencher<'_, '_>) {
    let server = server();
    let mut kept = Kept::new(&server.url(), 100_000);
    bencher.bench_local(|| kept.opened.as_mut().unwrap().store.load().unwrap().len());
}
