//! Plugins whose files and settings change while the host runs.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proxywhirl_core::plugin::{FaultCause, OnFault, PluginKind, Request, Strategy};
use proxywhirl_core::symbol::Symbol;
use proxywhirl_core::time::Timestamp;
use proxywhirl_guests::{Guest, LOOP};

use super::{config, write};
use crate::{Change, LimitOverrides, LoadProblem, PluginSettings, Plugins, PluginsConfig};

fn load(directory: &Path) -> Plugins {
    Plugins::load(PluginsConfig { directory: Some(directory.to_owned()), ..config() }).unwrap()
}

/// A strategy that always answers that slot.
fn choosing(slot: u32) -> Vec<u8> {
    Guest::strategy("fast").with("select", &format!("(i32.const {slot})")).build()
}

fn select(strategy: &mut dyn Strategy) -> Option<u32> {
    let now = Timestamp::from_micros(1);
    strategy.select(&Request { view: 0, site: Symbol::NONE, session: 0, attempt: 1, now, seed: 0 }).unwrap()
}

fn chosen(library: &Plugins) -> Option<u32> {
    select(&mut *library.strategy("fast", "").unwrap().instance().unwrap())
}

/// Kind of change by name: new, other, gone or broken.
fn told(changes: &[Change]) -> Vec<(String, &'static str)> {
    let what = |change: &Change| match (&change.before, &change.after, &change.problem) {
        (_, _, Some(_)) => "broken",
        (None, Some(_), None) => "new",
        (Some(_), None, None) => "gone",
        _ => "other",
    };
    changes.iter().map(|change| (change.name.clone(), what(change))).collect()
}

fn as_told(told: &[(&str, &'static str)]) -> Vec<(String, &'static str)> {
    told.iter().map(|(name, what)| ((*name).to_owned(), *what)).collect()
}

#[test]
fn what_changes_in_the_directory_is_in_force_after_a_refresh_and_told_once() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "fast.wasm", &choosing(1));
    let library = load(directory.path());
    assert_eq!(library.refresh(), []);
    let mut running = library.strategy("fast", "").unwrap().instance().unwrap();

    write(directory.path(), "fast.wasm", &choosing(2));
    write(directory.path(), "bell.wasm", &Guest::hook("bell").build());
    assert_eq!(chosen(&library), Some(1), "nothing changes by itself");
    let changes = library.refresh();
    assert_eq!(told(&changes), as_told(&[("bell", "new"), ("fast", "other")]));
    assert_eq!((changes[0].kind, changes[1].kind), (Some(PluginKind::Hook), Some(PluginKind::Strategy)));
    assert_eq!(changes[1].after.as_deref(), Some(&*library.info("fast").unwrap().digest));
    assert_eq!(library.refresh(), []);
    assert_eq!((chosen(&library), select(&mut *running)), (Some(2), Some(1)), "what runs goes on as it is");

    fs::remove_file(directory.path().join("fast.wasm")).unwrap();
    assert_eq!(told(&library.refresh()), as_told(&[("fast", "gone")]));
    assert!(library.info("fast").is_none() && library.strategy("fast", "").is_err());
}

#[test]
fn a_file_that_is_half_written_changes_nothing_until_it_is_whole() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "fast.wasm", &choosing(1));
    let library = load(directory.path());
    let (old, new) = (library.info("fast").unwrap().digest, choosing(2));
    write(directory.path(), "fast.wasm", &new[..new.len() / 2]);
    let changes = library.refresh();
    assert_eq!(told(&changes), as_told(&[("fast", "broken")]));
    assert_eq!((changes[0].before.as_deref(), changes[0].after.as_deref()), (Some(&*old), Some(&*old)));
    assert_eq!(library.refresh(), [], "told once");
    let info = library.info("fast").unwrap();
    assert!(info.problem.is_none() && info.stale.unwrap().reason.contains("ends in the middle"));
    assert_eq!(library.problems().len(), 1);
    assert_eq!(chosen(&library), Some(1));

    write(directory.path(), "fast.wasm", &new);
    assert_eq!(told(&library.refresh()), as_told(&[("fast", "other")]));
    assert_eq!((chosen(&library), library.problems()), (Some(2), vec![]));
}

#[test]
fn a_file_cut_at_every_kilobyte_never_replaces_what_is_in_force() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "fast.wasm", &choosing(1));
    let library = load(directory.path());
    let padded = Guest::strategy("fast").extra(&format!("(data (i32.const 4096) \"{}\")", "x".repeat(40_000))).build();
    for length in (0..padded.len()).step_by(1_024) {
        write(directory.path(), "fast.wasm", &padded[..length]);
        assert!(library.refresh().iter().all(|change| change.before == change.after), "at {length}");
    }
    assert_eq!(chosen(&library), Some(1));
}

#[test]
fn of_two_files_of_one_name_the_one_in_force_stays() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "fast-1.wasm", &choosing(1));
    let library = load(directory.path());
    write(directory.path(), "fast-0.wasm", &choosing(2));
    let changes = library.refresh();
    assert_eq!(told(&changes), as_told(&[("fast", "broken")]));
    assert!(changes[0].problem.as_ref().unwrap().reason.contains("fast-1.wasm"), "{changes:?}");
    assert_eq!(chosen(&library), Some(1));
    fs::remove_file(directory.path().join("fast-1.wasm")).unwrap();
    assert_eq!(told(&library.refresh()), as_told(&[("fast", "other")]));
    assert_eq!(chosen(&library), Some(2));
}

#[test]
fn a_file_that_goes_gives_way_to_the_bundled_plugin_of_its_name() {
    let bundled: &'static [u8] = choosing(7).leak();
    let bundle: &'static [_] = vec![("fast.wasm", bundled)].leak();
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "mine.wasm", &choosing(1));
    let library =
        Plugins::load(PluginsConfig { bundle, directory: Some(directory.path().to_owned()), ..config() }).unwrap();
    assert_eq!((chosen(&library), library.info("fast").unwrap().overrides), (Some(1), true));
    fs::remove_file(directory.path().join("mine.wasm")).unwrap();
    assert_eq!(told(&library.refresh()), as_told(&[("fast", "other")]));
    assert_eq!((chosen(&library), library.info("fast").unwrap().overrides), (Some(7), false));
}

#[test]
fn a_directory_that_cannot_be_read_changes_nothing() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("plugins");
    fs::create_dir(&directory).unwrap();
    write(&directory, "fast.wasm", &choosing(1));
    let library = load(&directory);
    fs::rename(&directory, home.path().join("elsewhere")).unwrap();
    let changes = library.refresh();
    assert_eq!(told(&changes), as_told(&[("", "broken")]));
    assert_eq!((chosen(&library), library.refresh()), (Some(1), vec![]));
    fs::rename(home.path().join("elsewhere"), &directory).unwrap();
    assert_eq!((library.refresh(), library.problems()), (vec![], vec![]));
}

#[test]
fn settings_hold_for_the_next_instance_and_only_for_their_plugin() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "loop.wasm", &Guest::strategy("loop").with("select", LOOP).build());
    write(directory.path(), "fast.wasm", &choosing(1));
    let library = load(directory.path());
    let factory = library.strategy("loop", "").unwrap();
    assert_eq!(factory.on_fault(), OnFault::Fallback);
    let limits = LimitOverrides { select: Some(Duration::from_millis(3)), ..LimitOverrides::default() };
    let settings = PluginSettings { limits, on_fault: OnFault::Reject, ..PluginSettings::default() };
    assert!(library.set_settings("loop", settings.clone()) && !library.set_settings("loop", settings.clone()));
    assert_eq!((library.settings("loop"), factory.on_fault()), (settings, OnFault::Reject));
    let now = Timestamp::from_micros(1);
    let request = Request { view: 0, site: Symbol::NONE, session: 0, attempt: 1, now, seed: 0 };
    let fault = factory.instance().unwrap().select(&request).unwrap_err();
    assert_eq!((fault.cause, &*fault.detail), (FaultCause::Deadline, "ran longer than 3ms"));
    assert_eq!(library.info("loop").unwrap().limits.unwrap().select, Duration::from_millis(3));
    assert_eq!(library.info("fast").unwrap().limits.unwrap().select, Duration::from_millis(100));
}

#[test]
fn a_gate_decides_about_files_before_they_run_and_not_about_the_bundle() {
    let bundled: &'static [u8] = choosing(7).leak();
    let bundle: &'static [_] = vec![("fast.wasm", bundled)].leak();
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "bell.wasm", &Guest::hook("bell").wants("kv").build());
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let own = Arc::clone(&asked);
    let gate: crate::Gate = Arc::new(move |info| {
        own.lock().unwrap().push(info.name.clone());
        if info.capabilities.is_empty() {
            return Ok(());
        }
        Err(LoadProblem { file: "x".into(), reason: "asks for more".to_owned(), hint: "run it".to_owned() })
    });
    let config = PluginsConfig { bundle, gate: Some(gate), directory: Some(directory.path().to_owned()), ..config() };
    let library = Plugins::load(config).unwrap();
    assert_eq!(*asked.lock().unwrap(), ["bell"]);
    let problem = library.info("bell").unwrap().problem.unwrap();
    assert_eq!((&*problem.reason, problem.file), ("asks for more", directory.path().join("bell.wasm")));
    write(directory.path(), "bell.wasm", &Guest::hook("bell").build());
    assert_eq!(told(&library.refresh()), as_told(&[("bell", "new")]));
    write(directory.path(), "bell.wasm", &Guest::hook("bell").wants("metrics").build());
    assert_eq!(told(&library.refresh()), as_told(&[("bell", "broken")]));
    assert!(library.hook("bell", "").is_ok(), "the one that was let in is still in force");
}

#[test]
fn one_file_is_looked_at_without_being_taken() {
    let directory = tempfile::tempdir().unwrap();
    let library = load(directory.path());
    let elsewhere = tempfile::tempdir().unwrap();
    write(elsewhere.path(), "a.wasm", &choosing(1));
    write(elsewhere.path(), "b.wasm", b"text");
    assert_eq!(library.probe(&elsewhere.path().join("a.wasm")).unwrap().name, "fast");
    assert_eq!(library.probe(&elsewhere.path().join("b.wasm")).unwrap_err().reason, "not WebAssembly");
    assert!(library.probe(&elsewhere.path().join("c.wasm")).unwrap_err().reason.starts_with("cannot be read"));
    assert_eq!(library.list(), []);
}

#[test]
fn everything_is_compiled_ahead_and_what_cannot_be_is_told() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("plugins");
    fs::create_dir(&directory).unwrap();
    for n in 0..5 {
        let name: &'static str = format!("p{n}").leak();
        write(&directory, &format!("{name}.wasm"), &Guest::strategy(name).build());
    }
    let cache = Some(home.path().join("cache"));
    let compile = || {
        let library =
            Plugins::load(PluginsConfig { directory: Some(directory.clone()), cache: cache.clone(), ..config() });
        let told: Mutex<Vec<(String, usize, bool)>> = Mutex::default();
        let faults = library.unwrap().compile_all(&|it| {
            assert_eq!(it.total, 5);
            told.lock().unwrap().push((it.name.to_owned(), it.done, it.cached));
        });
        assert_eq!(faults, []);
        let mut told = told.into_inner().unwrap();
        told.sort_by_key(|(_, done, _)| *done);
        assert_eq!(told.iter().map(|(_, done, _)| *done).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        told.sort();
        assert_eq!(told.iter().map(|(name, ..)| &**name).collect::<Vec<_>>(), ["p0", "p1", "p2", "p3", "p4"]);
        told.iter().filter(|(.., cached)| *cached).count()
    };
    // Each was asked for its description, and so compiled, when it was loaded.
    assert_eq!((compile(), compile()), (0, 5));
}
