#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::ingest::gather::{Gatherer, SourceReport};
use crate::ingest::tests::{Fake, parsers};
use crate::source::drift::Drift;
use crate::source::tests::{answer, server};
use crate::source::{Cache, Fetcher, FetcherConfig, Manners, Source};

/// A list of as many entries as it is told.
async fn list() -> (Source, Arc<AtomicU32>) {
    let length = Arc::new(AtomicU32::new(100));
    let told = Arc::clone(&length);
    let addr = server(move |_| {
        let lines: Vec<_> = (0..told.load(Ordering::Relaxed)).map(|n| format!("1.1.1.{n}:80")).collect();
        answer("", lines.join("\n").as_bytes())
    })
    .await;
    (Source::new(format!("http://{addr}/list").parse().unwrap()), length)
}

async fn run(folder: &Path, drift: Drift, source: &Source) -> (usize, SourceReport) {
    let manners = Manners { pause: std::time::Duration::ZERO, ..Manners::default() };
    let cache = Some(Cache::new(folder.to_owned()));
    let config = FetcherConfig { cache, manners, ignore_system_proxy: true, ..FetcherConfig::default() };
    let gatherer = Gatherer::new(Fetcher::new(config), parsers([Fake::lines("text", 10)]), false).with_drift(drift);
    let mut gathered = gatherer.gather(std::slice::from_ref(source), &|_| ()).await;
    (gathered.candidates.len(), gathered.sources.pop().unwrap())
}

#[tokio::test]
async fn the_last_good_list_stays_in_force_while_a_source_is_odd() {
    let folder = tempfile::tempdir().unwrap();
    let (source, length) = list().await;
    for n in 0..6 {
        length.store(100 + n, Ordering::Relaxed);
        assert_eq!(run(folder.path(), Drift::Keep, &source).await.1.drift, None);
    }
    length.store(2, Ordering::Relaxed);
    let (found, report) = run(folder.path(), Drift::Keep, &source).await;
    let drift = report.drift.unwrap();
    assert_eq!((found, drift.kept, report.candidates), (105, true, 105));
    assert_eq!(drift.reason, "2 well-formed entries, usually 103");
    let (found, report) = run(folder.path(), Drift::Warn, &source).await;
    assert_eq!((found, report.drift.unwrap().kept), (2, false));
    let (found, report) = run(folder.path(), Drift::Off, &source).await;
    assert_eq!((found, report.drift), (2, None));
    length.store(99, Ordering::Relaxed);
    let (found, report) = run(folder.path(), Drift::Keep, &source).await;
    assert_eq!((found, report.drift), (99, None), "it is as usual again");
}

#[tokio::test]
async fn a_list_that_nobody_can_read_any_more_is_odd_too() {
    let folder = tempfile::tempdir().unwrap();
    let (mut source, _length) = list().await;
    for _ in 0..5 {
        assert_eq!(run(folder.path(), Drift::Keep, &source).await.0, 100);
    }
    source.parser = Some("gone".to_owned());
    let (found, report) = run(folder.path(), Drift::Keep, &source).await;
    assert_eq!(found, 0, "the last good list needs the parser too");
    assert!(report.error.is_some() && !report.drift.unwrap().kept);
}

#[tokio::test]
async fn damaged_memory_is_as_if_there_were_none() {
    let folder = tempfile::tempdir().unwrap();
    let (source, length) = list().await;
    for _ in 0..6 {
        run(folder.path(), Drift::Keep, &source).await;
    }
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        std::fs::write(entry.unwrap().path(), b"{}\n\xff").unwrap();
    }
    length.store(1, Ordering::Relaxed);
    let (found, report) = run(folder.path(), Drift::Keep, &source).await;
    assert_eq!((found, report.drift), (1, None));
}
