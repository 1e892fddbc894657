//! What is wrong with files.

use std::path::PathBuf;

use proxywhirl_core::plugin::PluginKind;
use proxywhirl_guests::Guest;

use super::{config, library, write};
use crate::manifest::Manifest;
use crate::{LoadError, Origin, PluginError, Plugins, PluginsConfig};

/// A guest that carries its manifest and traps as soon as it is instantiated.
fn with_manifest(name: &str) -> Vec<u8> {
    let manifest = Manifest {
        name: name.to_owned(),
        version: "2.0.0".to_owned(),
        kind: "strategy".to_owned(),
        contract: "0.1.0".to_owned(),
        summary: "never run".to_owned(),
        options_schema: "{}".to_owned(),
        capabilities: Vec::new(),
        sources: "00ff".to_owned(),
    };
    let mut component = Guest::strategy("other").extra("(func $die unreachable) (start $die)").build();
    manifest.append_to(&mut component).unwrap();
    component
}

#[test]
fn a_component_without_a_manifest_is_asked() {
    let library = library(&[("some-file.wasm", Guest::hook("bell").build())]);
    let list = library.list();
    assert_eq!((list.len(), &*list[0].name, list[0].kind), (1, "bell", Some(PluginKind::Hook)));
    assert_eq!((&*list[0].version, &*list[0].summary), ("1.0.0", "a guest for tests"));
    assert_eq!(list[0].digest.len(), 64);
    assert!(list[0].imports.is_empty() && list[0].size > 500);
}

#[test]
fn a_component_with_a_manifest_is_listed_without_being_run() {
    let library = library(&[("a.wasm", with_manifest("fast"))]);
    let list = library.list();
    assert_eq!((&*list[0].name, &*list[0].version, &*list[0].sources), ("fast", "2.0.0", "00ff"));
    assert_eq!(list[0].problem, None);
    assert!(library.strategy("fast", "").is_err(), "it traps when it is run");
}

#[test]
fn a_bad_file_is_reported_and_keeps_no_other_from_loading() {
    let good = Guest::strategy("good").build();
    let library = library(&[
        ("a-text.wasm", b"1.2.3.4:8080\n".to_vec()),
        ("b-module.wasm", wat::parse_str("(module)").unwrap()),
        ("c-empty.wasm", Vec::new()),
        ("d-good.wasm", good.clone()),
        ("e-foreign.wasm", wat::parse_str("(component)").unwrap()),
        ("f-ignored.txt", good),
    ]);
    let reasons: Vec<_> = library
        .problems()
        .iter()
        .map(|problem| (problem.file.file_name().unwrap().to_str().unwrap().to_owned(), problem.reason.clone()))
        .collect();
    let files: Vec<&str> = reasons.iter().map(|(file, _)| file.as_str()).collect();
    assert_eq!(files, ["a-text.wasm", "b-module.wasm", "c-empty.wasm", "e-foreign.wasm"]);
    assert!(library.problems().iter().all(|problem| !problem.hint.is_empty()));
    assert!(library.strategy("good", "").is_ok());
    let listed: Vec<_> = library.list().into_iter().map(|it| (it.name, it.problem.is_some())).collect();
    assert_eq!(listed[0], ("good".to_owned(), false));
    assert_eq!((listed.len(), listed[1].clone()), (5, ("a-text".to_owned(), true)));
}

#[test]
fn a_file_cut_anywhere_is_a_problem_and_never_a_panic() {
    let whole = with_manifest("fast");
    for length in (0..whole.len()).step_by(97).chain((0..whole.len()).step_by(1_024)) {
        let library = library(&[("cut.wasm", whole[..length].to_vec())]);
        assert_eq!(library.problems().len(), 1, "at {length} of {} bytes", whole.len());
    }
}

#[test]
fn a_file_with_one_byte_changed_never_panics() {
    let whole = Guest::strategy("guest").build();
    let directory = tempfile::tempdir().unwrap();
    for at in (0..whole.len()).step_by(61) {
        let mut changed = whole.clone();
        changed[at] ^= 0x55;
        write(directory.path(), "changed.wasm", &changed);
        let config = PluginsConfig { directory: Some(directory.path().to_owned()), ..config() };
        let library = Plugins::load(config).unwrap();
        for plugin in library.list().iter().filter(|plugin| plugin.problem.is_none()) {
            if let Ok(factory) = library.strategy(&plugin.name, "")
                && let Ok(mut strategy) = factory.instance()
            {
                drop(strategy.plan(
                    &proxywhirl_core::plugin::View::default(),
                    proxywhirl_core::time::Timestamp::from_micros(0),
                    0,
                ));
            }
        }
    }
}

#[test]
fn a_directory_that_is_not_there_is_an_error() {
    let config = PluginsConfig { directory: Some(PathBuf::from("/nowhere/at/all")), ..config() };
    let error = Plugins::load(config).err().unwrap();
    assert!(matches!(error, LoadError::Directory { .. }));
    assert_eq!(error.to_string(), "the plugins directory /nowhere/at/all cannot be read");
}

#[test]
fn a_file_stands_in_for_the_bundled_plugin_of_its_name() {
    let bundled: &'static [u8] = with_manifest("fast").leak();
    let other: &'static [u8] = with_manifest("slow").leak();
    let bundle: &'static [_] = vec![("fast.wasm", bundled), ("slow.wasm", other)].leak();
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "mine.wasm", &Guest::strategy("fast").build());
    let library =
        Plugins::load(PluginsConfig { bundle, directory: Some(directory.path().to_owned()), ..config() }).unwrap();
    let list = library.list();
    assert_eq!(list.len(), 2);
    assert_eq!((&*list[0].name, &*list[0].version, list[0].overrides), ("fast", "1.0.0", true));
    assert_eq!((&*list[1].name, list[1].overrides), ("slow", false));
    assert_eq!(list[1].origin, Origin::Bundled("slow.wasm".to_owned()));
    assert!(library.strategy("fast", "").is_ok());
}

#[test]
fn of_files_with_the_same_name_none_is_taken_and_both_are_named() {
    let library = library(&[
        ("a.wasm", Guest::strategy("twin").build()),
        ("b.wasm", Guest::hook("twin").build()),
        ("c.wasm", Guest::strategy("twin").build()),
        ("d.wasm", Guest::strategy("single").build()),
    ]);
    let problems: Vec<String> = library.problems().iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert!(problems[0].contains("a.wasm: twin is also the name of") && problems[0].ends_with("b.wasm"));
    assert!(problems[1].contains("b.wasm: ") && problems[1].ends_with("a.wasm"));
    let Err(PluginError::Unknown { known, .. }) = library.strategy("twin", "") else { panic!("must be unknown") };
    assert_eq!(known, ["single"]);
}

#[test]
fn what_is_asked_for_by_a_wrong_name_or_kind_says_what_there_is() {
    let library = library(&[("a.wasm", Guest::strategy("fast").build()), ("b.wasm", Guest::hook("bell").build())]);
    let error = library.strategy("bell", "").err().unwrap();
    assert_eq!(error.to_string(), "no strategy named bell; there are: fast");
}

#[test]
fn compiled_code_is_taken_from_the_cache_and_a_bad_cache_only_costs_time() {
    let home = tempfile::tempdir().unwrap();
    let plugins = home.path().join("plugins");
    std::fs::create_dir(&plugins).unwrap();
    write(&plugins, "a.wasm", &Guest::strategy("fast").build());
    let cache = home.path().join("cache");
    let load = || {
        let config = PluginsConfig { directory: Some(plugins.clone()), cache: Some(cache.clone()), ..config() };
        Plugins::load(config).unwrap()
    };
    assert!(load().strategy("fast", "").is_ok());
    let code = std::fs::read_dir(&cache).unwrap().next().unwrap().unwrap().path();
    let written = std::fs::metadata(&code).unwrap().modified().unwrap();
    assert!(load().strategy("fast", "").is_ok());
    assert_eq!(std::fs::metadata(&code).unwrap().modified().unwrap(), written, "compiled twice");
    std::fs::remove_file(&code).unwrap();
    std::fs::write(&code, "broken").unwrap();
    assert!(load().strategy("fast", "").is_ok());
    assert!(std::fs::metadata(&code).unwrap().len() > 1_000, "not repaired");

    std::fs::remove_dir_all(&cache).unwrap();
    std::fs::write(&cache, "a file").unwrap();
    let library = load();
    assert!(library.problems()[0].reason.starts_with("cannot be used to cache compiled code"));
    assert!(library.strategy("fast", "").is_ok());
}

#[cfg(unix)]
#[test]
fn a_file_that_is_no_file_is_not_opened() {
    let directory = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/dev/zero", directory.path().join("endless.wasm")).unwrap();
    std::fs::create_dir(directory.path().join("directory.wasm")).unwrap();
    let config = PluginsConfig { directory: Some(directory.path().to_owned()), ..config() };
    let library = Plugins::load(config).unwrap();
    assert_eq!(library.problems().len(), 2);
    assert!(library.problems().iter().all(|problem| problem.reason == "not a regular file"));
}
