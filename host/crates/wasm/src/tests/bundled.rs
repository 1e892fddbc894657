//! The components of `plugins/dist`, which the binary embeds.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use proxywhirl_core::Member;
use proxywhirl_core::candidate::Candidate;
use proxywhirl_core::endpoint::{Endpoint, Scheme};
use proxywhirl_core::event::{Event, Topic};
use proxywhirl_core::plugin::{Document, FaultCause, PluginKind, View};
use proxywhirl_core::pool::{Admission, Pool};
use proxywhirl_core::time::Timestamp;

use super::config;
use crate::build::source_digest;
use crate::{LimitOverrides, PluginInfo, PluginSettings, Plugins, PluginsConfig};

const KINDS: [(PluginKind, &str); 3] =
    [(PluginKind::Strategy, "strategies"), (PluginKind::Parser, "parsers"), (PluginKind::Hook, "hooks")];

fn plugins() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../plugins")
}

/// The bundle, with the limits of production: these are what users run.
fn bundle() -> Plugins {
    let directory = plugins().join("dist");
    assert!(directory.is_dir(), "no {}; run `proxywhirl plugin build plugins`", directory.display());
    let limits = crate::KindLimits::default();
    let library = Plugins::load(PluginsConfig { directory: Some(directory), limits, ..config() }).unwrap();
    assert_eq!(library.problems(), []);
    library
}

/// The crates of a kind, which are named like their plugins.
fn crates(folder: &str) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(plugins().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let crates = entries.filter(|path| path.join("Cargo.toml").is_file());
    crates.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), path)).collect()
}

#[test]
fn every_plugin_is_bundled_and_none_is_stale() {
    let list = bundle().list();
    let mut found = 0;
    for (kind, folder) in KINDS {
        for (name, directory) in crates(folder) {
            let plugin = list.iter().find(|plugin| plugin.name == name);
            let plugin = plugin.unwrap_or_else(|| panic!("{name} is not in plugins/dist; build it"));
            assert_eq!(plugin.kind, Some(kind), "{name}");
            assert_eq!(
                plugin.sources,
                source_digest(&directory).unwrap(),
                "{name} is stale; run `proxywhirl plugin build plugins`"
            );
            found += 1;
        }
    }
    assert_eq!(found, list.len(), "plugins/dist holds a plugin that has no crate");
}

#[test]
fn the_bundled_plugins_reach_nothing_but_the_contract() {
    for plugin in bundle().list() {
        let foreign: Vec<_> = plugin.imports.iter().filter(|it| !it.starts_with("proxywhirl:plugin/")).collect();
        assert!(foreign.is_empty(), "{} imports {foreign:?}", plugin.name);
        assert!(!plugin.summary.is_empty(), "{} has no summary", plugin.name);
    }
}

/// None, or the first example of the schema when it requires some.
fn options(plugin: &PluginInfo) -> String {
    let schema: serde_json::Value = serde_json::from_str(&plugin.options_schema).unwrap();
    if schema.get("required").is_none() { String::new() } else { schema["examples"][0].to_string() }
}

#[test]
fn every_bundled_plugin_runs_with_its_defaults() {
    let library = bundle();
    let document = Document {
        url: "https://lists.example/proxies".to_owned(),
        content_type: String::new(),
        body: b"1.2.3.4:8080\nnot a proxy\n5.6.7.8:3128\n".as_slice().into(),
        options: "{}".to_owned(),
        default_scheme: Scheme::Http,
    };
    for plugin in library.list() {
        match plugin.kind.unwrap() {
            PluginKind::Strategy => {
                let mut strategy = library.strategy(&plugin.name, &options(&plugin)).unwrap().instance().unwrap();
                strategy.apply(1, true, &[], &[]).unwrap();
                strategy.observe(&[]).unwrap();
                strategy.plan(&View::default(), Timestamp::from_micros(1), 2).unwrap();
            }
            PluginKind::Parser => {
                library.parser(&plugin.name).unwrap().sniff(&document).unwrap();
            }
            PluginKind::Hook => {
                let payload = r#"{"proxy":"http://1.2.3.4:8080"}"#.into();
                let event = Event { sequence: 1, at: Timestamp::from_micros(1), topic: Topic::ProxyAdded, payload };
                library.hook(&plugin.name, &options(&plugin)).unwrap().handle(&[event]).unwrap();
            }
        }
    }
    let parsed = library.parser("text").unwrap().parse(&document).unwrap();
    let found: Vec<_> =
        parsed.entries.iter().map(|entry| (entry.host.as_ref().unwrap().to_string(), entry.line)).collect();
    assert_eq!(found, [("1.2.3.4".to_owned(), 1), ("5.6.7.8".to_owned(), 3)]);
    assert_eq!(parsed.rejected, 1);
}

#[test]
fn options_outside_a_bundled_plugins_schema_are_refused_by_name() {
    let error = bundle().strategy("round-robin", r#"{"strat":1}"#).err().unwrap().to_string();
    assert!(error.starts_with("options of round-robin: ") && error.contains("strat"), "{error}");
}

/// Members of a pool, in the order of joining.
fn members(count: usize) -> Vec<Arc<Member>> {
    let mut pool = Pool::new(Arc::default(), count);
    for number in 0..count {
        let url = format!("http://10.{}.{}.{}:80", number >> 16 & 255, number >> 8 & 255, number & 255);
        let candidate = Candidate::from(url.parse::<Endpoint>().unwrap());
        pool.admit(Admission::Vouched(Box::new(candidate)), Timestamp::from_micros(1));
    }
    pool.iter().cloned().collect()
}

#[test]
fn a_table_has_memory_for_each_member_unless_the_user_says_how_much() {
    let all = members(100_000);
    let weighted = |memory: Option<usize>| {
        let mut config = PluginsConfig { directory: Some(plugins().join("dist")), ..config() };
        config.limits.strategy.call = Duration::from_secs(30);
        let limits = LimitOverrides { memory, ..LimitOverrides::default() };
        config.settings.insert("weighted".to_owned(), PluginSettings { limits, ..PluginSettings::default() });
        let library = Plugins::load(config).unwrap();
        let mut strategy = library.strategy("weighted", "").unwrap().instance().unwrap();
        let applied = all.chunks(10_000).try_for_each(|page| strategy.apply(1, false, page, &[]));
        applied.map(|()| library.memory("weighted").unwrap()).map_err(|fault| fault.cause)
    };
    // Of the 8 MiB that all strategies of these tests have, this needs more.
    let taken = weighted(None).unwrap();
    assert!((8 << 20..(8 << 20) + 256 * 100_000).contains(&taken), "{taken}");
    assert_eq!(weighted(Some(8 << 20)), Err(FaultCause::Memory));
}

#[test]
fn a_parser_has_memory_for_each_byte_of_the_document_unless_the_user_says_how_much() {
    let lines: Vec<String> = (0..60_000)
        .map(|n| format!("http://user{n}:p%40{n}@10.0.{}.{}:{}", n >> 8 & 255, n & 255, 1_024 + n % 60_000))
        .collect();
    let document = Document {
        url: "list.txt".to_owned(),
        content_type: String::new(),
        body: lines.join("\r\n").into_bytes().into(),
        options: "{}".to_owned(),
        default_scheme: Scheme::Http,
    };
    let text = |memory: Option<usize>| {
        let mut config = PluginsConfig { directory: Some(plugins().join("dist")), ..config() };
        config.limits.parser = crate::Limits { memory: 16 << 20, ..crate::KindLimits::default().parser };
        let limits = LimitOverrides { memory, ..LimitOverrides::default() };
        config.settings.insert("text".to_owned(), PluginSettings { limits, ..PluginSettings::default() });
        let parsed = Plugins::load(config).unwrap().parser("text").unwrap().parse(&document);
        parsed.map(|parsed| parsed.entries.len()).map_err(|fault| fault.cause)
    };
    assert_eq!(text(None), Ok(lines.len()));
    assert_eq!(text(Some(16 << 20)), Err(FaultCause::Memory));
}

#[test]
fn a_plan_for_everybody_takes_no_memory_for_members() {
    let library = bundle();
    let all = members(100_000);
    for name in ["round-robin", "random", "session", "least-loaded"] {
        let mut strategy = library.strategy(name, "").unwrap().instance().unwrap();
        for page in all.chunks(1_000) {
            strategy.apply(1, false, page, &[]).unwrap();
        }
        let taken = library.memory(name).unwrap();
        assert!(taken < 2 << 20, "{name}: {taken}");
        assert!(strategy.plan(&View::default(), Timestamp::from_micros(1), 2).is_ok());
    }
}
