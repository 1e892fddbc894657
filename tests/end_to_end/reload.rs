//! Changes while the gateway runs: by command, by signal, by a file that changes. No request fails, and what is broken
//! changes nothing.

mod hanging;
mod serving;

use std::fs;
use std::path::Path;

use proxywhirl_guests::Guest;
use proxywhirl_tests::{Load, folder, wait_until};
use serde_json::json;

use super::control::Commanded;

/// A strategy that asks to be asked and always chooses the first member.
fn mine() -> Guest {
    Guest::strategy("mine").with("select", "i32.const 0")
}

/// The same; the number makes it another build.
fn build(number: u32) -> Vec<u8> {
    mine().extra(&format!("(func $build (result i32) i32.const {number})")).build()
}

/// Replaces a file at once, as `plugin add` and good editors do.
fn replace(path: &Path, bytes: impl AsRef<[u8]>) {
    let temporary = path.with_extension("new");
    fs::write(&temporary, bytes).unwrap();
    fs::rename(&temporary, path).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_swaps_under_load_fail_no_request() {
    let gateway = Commanded::start(&[]).await;
    let load = Load::start(&gateway.served.address, &gateway.world.origin().http_url("/ip"), 8, 400);
    let names = ["random", "weighted", "round-robin"];
    for swap in 0..100 {
        let body = json!({ "name": names[swap % names.len()] }).to_string();
        let ran = gateway.ask(&["-d", &body, "-w", " %{http_code}"], "/v1/strategy");
        assert!(ran.stdout.ends_with(" 200"), "swap {swap}: {ran:?}\n{}", gateway.served.log());
    }
    wait_until("some more requests", || load.answered() > 200);
    let loaded = load.stop();
    assert_eq!((loaded.answered, loaded.failures.as_slice()), (loaded.sent, [].as_slice()), "{}", gateway.served.log());
    assert_eq!(gateway.get("/v1/strategy")["name"], names[99 % names.len()]);
    assert_eq!(gateway.served.stop().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strategy_is_set_by_command_and_what_is_wrong_changes_nothing() {
    let gateway = Commanded::start(&[]).await;
    let ran = gateway.command(&["strategy", "set", "random", "--json"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let set: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&set["before"], &set["name"]), (&"round-robin".into(), &"random".into()));
    for (words, code, told) in [
        (&["strategy", "set", "nobody"][..], 2, "no strategy named nobody"),
        (&["strategy", "set", "weighted", "-o", "colour=blue"], 2, "'colour' not allowed"),
        (&["strategy", "set", "weighted", "--options", "[1]"], 2, "weighted"),
    ] {
        let ran = gateway.command(words);
        assert_eq!(ran.code, Some(code), "{words:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(told), "{words:?}: {}", ran.stderr);
    }
    let show = gateway.command(&["strategy", "show"]);
    assert!(show.stdout.contains("strategy  random") && show.stdout.contains("set by    a command"), "{show:?}");
    assert_eq!(gateway.request().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_plugin_is_taken_over_and_a_broken_one_is_not() {
    let folder = folder();
    let plugins = folder.path().join("plugins");
    fs::create_dir(&plugins).unwrap();
    let file = plugins.join("mine.wasm");
    fs::write(&file, build(1)).unwrap();
    let gateway = Commanded::start_in(folder, &["--plugins", plugins.to_str().unwrap(), "--strategy", "mine"]).await;
    let first = gateway.digest();
    assert_eq!(first.len(), 64, "{}", gateway.served.log());

    let whole = build(2);
    replace(&file, &whole[..whole.len() / 2]);
    gateway.served.wait_for_log("ends in the middle");
    assert_eq!((gateway.digest(), gateway.request().code), (first.clone(), Some(0)));

    let faulty = mine().with("configure", "unreachable").build();
    replace(&file, faulty);
    gateway.served.wait_for_log("plugin not taken over");
    assert_eq!((gateway.digest(), gateway.request().code), (first.clone(), Some(0)));

    replace(&file, whole);
    wait_until("the new build", || gateway.digest() != first);
    assert_eq!(gateway.request().code, Some(0));
    assert_eq!(gateway.served.stop().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_asks_for_more_is_stopped_until_that_is_accepted() {
    let folder = folder();
    let plugins = folder.path().join("plugins");
    fs::create_dir(&plugins).unwrap();
    let file = plugins.join("mine.wasm");
    fs::write(&file, build(1)).unwrap();
    let directory = plugins.to_str().unwrap().to_owned();
    let gateway = Commanded::start_in(folder, &["--plugins", &directory, "--strategy", "mine", "--no-watch"]).await;
    let first = gateway.digest();
    assert_eq!(gateway.command(&["plugin", "lock", "--plugins", &directory]).code, Some(0));

    let greedy = "(import \"proxywhirl:plugin/clock@0.1.0\" \"now\" (func $now (result i64)))";
    replace(&file, mine().import(greedy).build());
    let ran = gateway.command(&["reload"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.stdout.contains("asks for more than was accepted: import proxywhirl:plugin/clock"), "{ran:?}");
    assert_eq!((gateway.digest(), gateway.request().code), (first.clone(), Some(0)));

    let ran = gateway.command(&["plugin", "lock", "mine", "--plugins", &directory]);
    assert_eq!(ran.code, Some(3), "without --accept it stays refused: {ran:?}");
    assert!(ran.stderr.contains("--accept"), "{ran:?}");
    let ran = gateway.command(&["plugin", "lock", "mine", "--accept", "--plugins", &directory]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let ran = gateway.command(&["reload"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(gateway.digest() != first, "{ran:?}\n{}", gateway.served.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_configuration_is_taken_over_and_a_broken_one_is_not() {
    let folder = folder();
    let config = folder.path().join("proxywhirl.toml");
    fs::write(&config, "[strategy]\nname = \"round-robin\"\n").unwrap();
    let gateway = Commanded::start_in(folder, &["--config", config.to_str().unwrap()]).await;
    let name = || gateway.get("/v1/strategy")["name"].as_str().unwrap_or_default().to_owned();

    replace(&config, "[strategy]\nname = \"random\"\nspeed = 3\n");
    gateway.served.wait_for_log("unknown key strategy.speed");
    replace(&config, "[strategy]\nname = \"nobody\"\n");
    gateway.served.wait_for_log("no strategy named nobody");
    assert_eq!(name(), "round-robin");
    wait_until("it is told", || {
        gateway.get("/v1/status")["refused"].as_str().is_some_and(|why| why.contains("nobody"))
    });

    replace(&config, "[fetch]\npages = 2\n[strategy]\nname = \"random\"\n[[hooks]]\nname = \"log-events\"\n");
    wait_until("the strategy of the file", || name() == "random");
    assert!(gateway.get("/v1/status")["refused"].is_null());
    wait_until("what needs a restart", || gateway.get("/v1/status")["needs_restart"] == json!(["fetch"]));
    assert_eq!(gateway.request().code, Some(0));
    gateway.served.wait_for_log("request-complete");
    let hook = |name: &str| {
        let plugins = gateway.get("/v1/plugins");
        plugins.as_array().unwrap().iter().any(|row| row["name"] == name && !row["status"].is_null())
    };
    assert!(hook("log-events"));
    replace(&config, "[strategy]\nname = \"random\"\n");
    wait_until("the end of the hook", || !hook("log-events"));
    assert_eq!(gateway.get("/v1/status")["needs_restart"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_has_become_empty_is_taken_over_by_command_alone() {
    let folder = folder();
    let config = folder.path().join("proxywhirl.toml");
    let rules = "[access]\ndeny = [\"127.0.0.1\"]\n";
    fs::write(&config, rules).unwrap();
    let gateway = Commanded::start_in(folder, &["--config", config.to_str().unwrap()]).await;
    let is_denied = || gateway.request().code == Some(22);
    let told = || gateway.served.log().matches("proxywhirl.toml: is empty, and was not: ").count();
    assert!(is_denied(), "{}", gateway.served.log());
    // As a full disk leaves it, or an editor that was interrupted.
    fs::write(&config, "").unwrap();
    wait_until("it is told", || told() == 1);
    wait_until("it is told in the status too", || {
        gateway.get("/v1/status")["refused"].as_str().is_some_and(|why| why.contains("`proxywhirl reload`"))
    });
    gateway.served.hang_up();
    wait_until("it is told again", || told() == 2);
    assert!(is_denied(), "the rules stay: {}", gateway.served.log());
    // Who asks for it has it.
    let ran = gateway.command(&["reload"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "changed: access\n"), "{ran:?}");
    assert!(gateway.get("/v1/status")["refused"].is_null());
    assert_eq!(gateway.request().code, Some(0), "{}", gateway.served.log());
    replace(&config, rules);
    wait_until("the rules of the file", is_denied);
    // White space and comments say nothing either.
    replace(&config, "# deny = []\n\n");
    wait_until("it is told once more", || told() == 3);
    assert!(is_denied(), "{}", gateway.served.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_has_come_is_read_at_once_and_one_that_is_gone_is_a_source_no_more() {
    let folder = folder();
    let [config, one, other] = ["proxywhirl.toml", "one.txt", "other.txt"].map(|name| folder.path().join(name));
    fs::write(&one, "192.0.2.1:80\n").unwrap();
    fs::write(&other, "192.0.2.2:80\n192.0.2.3:80\n").unwrap();
    fs::write(&config, "").unwrap();
    let gateway = Commanded::start_in(folder, &["--config", config.to_str().unwrap(), "--no-watch"]).await;
    let source = |name: &str, list: &Path| {
        format!("[[sources]]\nname = \"{name}\"\nlocation = \"{}\"\ntrust = true\n", list.display())
    };
    let members = || gateway.get("/v1/status")["members"].as_u64().unwrap();
    let before = members();
    let reload = |text: String| {
        fs::write(&config, text).unwrap();
        let ran = gateway.command(&["reload"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran.stdout
    };
    let told = reload(source("new", &one));
    assert!(told.contains("source new has come") && !told.contains("needs a restart"), "{told}");
    wait_until("it is read", || members() == before + 1);
    assert_eq!(gateway.command(&["refresh", "new"]).code, Some(0));
    // The same name for another list.
    assert!(reload(source("new", &other)).contains("source new"));
    wait_until("that is read", || members() == before + 3);
    assert!(reload(String::new()).contains("source new is gone"));
    let ran = gateway.command(&["refresh", "new"]);
    assert!(ran.code == Some(2) && ran.stderr.contains("there is no source \"new\""), "{ran:?}");
    assert_eq!(members(), before + 3, "who is a member stays one");
    // One that would have to be proven, and there is nothing to prove it with.
    fs::write(&config, source("free", &one).replace("trust = true", "")).unwrap();
    let ran = gateway.command(&["reload"]);
    assert!(ran.code == Some(2) && ran.stderr.contains("no judge"), "{ran:?}");
    assert_eq!(gateway.request().code, Some(0), "{}", gateway.served.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_has_the_configuration_read_again() {
    let folder = folder();
    let config = folder.path().join("proxywhirl.toml");
    fs::write(&config, "").unwrap();
    let gateway = Commanded::start_in(folder, &["--config", config.to_str().unwrap(), "--no-watch"]).await;
    replace(&config, "[strategy]\nname = \"weighted\"\n");
    gateway.served.hang_up();
    wait_until("the strategy of the file", || gateway.get("/v1/strategy")["name"] == "weighted");
    replace(&config, "[strategy\n");
    let ran = gateway.command(&["reload"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("proxywhirl.toml:1:"), "{ran:?}");
    assert_eq!(gateway.get("/v1/strategy")["name"], "weighted");
    assert_eq!(gateway.request().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_set_by_command_stays_until_the_file_names_another_one() {
    let folder = folder();
    let config = folder.path().join("proxywhirl.toml");
    fs::write(&config, "[strategy]\nname = \"round-robin\"\n").unwrap();
    let gateway = Commanded::start_in(folder, &["--config", config.to_str().unwrap(), "--no-watch"]).await;
    assert_eq!(gateway.command(&["strategy", "set", "random"]).code, Some(0));
    let ran = gateway.command(&["reload"]);
    assert_eq!((ran.code, ran.stdout.trim()), (Some(0), "nothing has changed"));
    assert_eq!(gateway.get("/v1/strategy")["set_by"], "command");
    replace(&config, "[strategy]\nname = \"weighted\"\n");
    assert_eq!(gateway.command(&["reload"]).code, Some(0));
    let strategy = gateway.get("/v1/strategy");
    assert_eq!((&strategy["name"], &strategy["set_by"]), (&"weighted".into(), &"configuration".into()));
}
