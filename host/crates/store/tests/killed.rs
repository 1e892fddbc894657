//! A process that saves all the time is killed (`kill -9`) again and again, wherever it is: what it has kept is what it has
//! said to be saved, or one save more, and never something in between.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use proxywhirl_core::live::{Health, Statistics};
use proxywhirl_core::store::{Changes, Store, StoredMember, StoredSession};
use proxywhirl_core::verdict::Anonymity;
use proxywhirl_core::{MemberId, Timestamp};
use proxywhirl_store::StoreUrl;

/// How often each store is killed.
const KILLS: u32 = 200;

/// From what the moments follow, as far as processes let them.
const SEED: u64 = 0x0005_EED5;

/// Says to this program that it is the one that is to be killed, and where its store is.
const VICTIM: &str = "PROXYWHIRL_TEST_VICTIM";

/// Members that every save changes: more than a page of the disk, so that a save can be cut.
const CHANGED: u64 = 100;

/// For how many saves a member stays that each save brings.
const STAY: u64 = 5;

fn member(port: u64, save: u64) -> StoredMember {
    StoredMember {
        endpoint: format!("http://user:{save}@192.0.2.1:{port}").parse().unwrap(),
        tags: std::iter::once("source:test".parse().unwrap()).collect(),
        country: None,
        anonymity: Anonymity::Unknown,
        added: Timestamp::from_micros(1),
        statistics: Statistics { successes: save, ..Statistics::default() },
        health: Health::Healthy,
    }
}

fn session(save: u64) -> StoredSession {
    let at = Timestamp::from_micros(1_000_000 + save);
    StoredSession { session: save % 3, member: MemberId(save), began: at, used: at, life: 0 }
}

/// The port of the member that comes with a save.
fn newcomer(save: u64) -> u64 {
    1_000 + save % 50_000
}

/// What one save changes.
fn changes(save: u64) -> Changes {
    let mut upserts: Vec<_> = (1..=CHANGED).map(|port| member(port, save)).collect();
    upserts.push(member(newcomer(save), save));
    let left = save.checked_sub(STAY).map(|old| member(newcomer(old), old).endpoint.key());
    Changes { upserts, removed: left.into_iter().collect(), sessions: vec![session(save)], ..Changes::default() }
}

/// Which save a store is at; none for an empty one.
///
/// # Panics
/// When it is at none.
fn found(store: &mut dyn Store) -> Option<u64> {
    let members = store.load().unwrap();
    let save = members.first()?.statistics.successes;
    let stays = (save.saturating_sub(STAY - 1).max(1)..=save).map(|old| member(newcomer(old), old));
    let expected: Vec<_> = (1..=CHANGED).map(|port| member(port, save)).chain(stays).collect();
    assert!(members == expected, "after save {save}: {} members", members.len());
    let sessions = (save.saturating_sub(2).max(1)..=save).map(session).collect::<Vec<_>>();
    assert_eq!(store.load_sessions().unwrap(), sessions, "after save {save}");
    Some(save)
}

/// Saves until it is killed, and says each save that is done.
fn be_killed(url: &str) -> ! {
    let mut opened = url.parse::<StoreUrl>().unwrap().open().unwrap();
    let mut save = found(&mut *opened.store).unwrap_or(0);
    let mut out = std::io::stdout();
    loop {
        save += 1;
        opened.store.save(&changes(save)).unwrap();
        writeln!(out, "saved {save}").and_then(|()| out.flush()).unwrap();
    }
}

/// Starts a process that saves, kills it, and tells the last save that it said to be done.
fn kill_one(test: &str, url: &str, random: &mut fastrand::Rng) -> Option<u64> {
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(VICTIM, url)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut said = || lines.find_map(|line| line.strip_prefix("saved ").map(|save| save.parse::<u64>().unwrap()));
    let mut last = None;
    for _ in 0..random.u32(0..4) {
        last = said();
    }
    // Some moment of the save that is under way.
    std::thread::sleep(Duration::from_micros(random.u64(0..8_000)));
    victim.kill().unwrap();
    victim.wait().unwrap();
    // What it had said by then is in the pipe.
    while let Some(save) = said() {
        last = Some(save);
    }
    last
}

fn survives(test: &str, scheme: &str, name: &str) {
    if let Ok(url) = std::env::var(VICTIM) {
        be_killed(&url);
    }
    let folder = tempfile::tempdir().unwrap();
    let url = format!("{scheme}:{}", folder.path().join(name).display());
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut before = 0;
    for kill in 0..KILLS {
        let said = kill_one(test, &url, &mut random).unwrap_or(before);
        let mut opened = url.parse::<StoreUrl>().unwrap().open().unwrap();
        let kept = found(&mut *opened.store).unwrap_or(0);
        assert!(kept == said || kept == said + 1, "kill {kill}: {said} was said to be saved, and {kept} is kept");
        before = kept;
    }
    assert!(before > u64::from(KILLS), "{before} saves in all: it was hardly ever killed while it saved");
}

#[test]
fn sqlite_survives_200_kills() {
    survives("sqlite_survives_200_kills", "sqlite", "pool.db");
}

#[test]
fn json_survives_200_kills() {
    survives("json_survives_200_kills", "file", "pool.json");
}

#[test]
fn compressed_json_survives_200_kills() {
    survives("compressed_json_survives_200_kills", "file", "pool.json.gz");
}

#[test]
fn json_lines_survive_200_kills() {
    survives("json_lines_survive_200_kills", "file", "pool.jsonl");
}
