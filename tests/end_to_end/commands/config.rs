//! `proxywhirl config`, and how every command finds its configuration.

use std::path::Path;
use std::process::Command;

use proxywhirl_tests::{Ran, Served, curl, file, folder, proxywhirl, run, wait_until};
use proxywhirl_world::{Protocol, UpstreamOptions, World, WorldPlan};
use tempfile::TempDir;

use super::{json, run_in, transcript};
use crate::ingress::clients::python;

/// `proxywhirl config` in a folder that is the home of its user too.
fn config(folder: &TempDir, words: &[&str], variables: &[(&str, &str)]) -> Ran {
    let words = [&["config"], words].concat();
    let mut command = proxywhirl(words);
    command.current_dir(folder.path()).env("HOME", folder.path()).env_remove("XDG_CONFIG_HOME");
    run(command.envs(variables.iter().copied()))
}

/// A text in which the folder is called by no name.
fn anywhere(folder: &TempDir, text: &str) -> String {
    text.replace(&format!("{}/", folder.path().display()), "FOLDER/")
}

/// What `config show` says of keys of `[gateway]`, and where that was said.
fn shown(folder: &TempDir, words: &[&str], variables: &[(&str, &str)]) -> [(serde_json::Value, String); 2] {
    let ran = config(folder, &[&["show", "--origin", "--json"], words].concat(), variables);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let rows = json(&ran);
    ["gateway.attempts", "gateway.drain"].map(|key| {
        let row = &rows[key];
        (row["value"].clone(), anywhere(folder, row["origin"].as_str().unwrap()))
    })
}

#[test]
fn the_first_file_that_is_found_is_the_configuration() {
    let folder = folder();
    let attempts = |words: &[&str], variables: &[(&str, &str)]| shown(&folder, words, variables)[0].1.clone();
    assert_eq!(attempts(&[], &[]), "default");
    let make = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    // Each goes before those that were there already.
    make(".config/proxywhirl/proxywhirl.json", "{\"gateway\": {\"attempts\": 1}}");
    assert_eq!(attempts(&[], &[]), "FOLDER/.config/proxywhirl/proxywhirl.json:1");
    make(".config/proxywhirl/proxywhirl.toml", "\n[gateway]\nattempts = 2\n");
    assert_eq!(attempts(&[], &[]), "FOLDER/.config/proxywhirl/proxywhirl.toml:3");
    make("proxywhirl.yml", "gateway:\n  attempts: 3\n");
    assert_eq!(attempts(&[], &[]), "proxywhirl.yml:2");
    make("proxywhirl.toml", "gateway.attempts = 4\n");
    assert_eq!(attempts(&[], &[]), "proxywhirl.toml:1");
    make("other.toml", "[gateway]\nattempts = 5\n");
    assert_eq!(attempts(&[], &[("PROXYWHIRL_CONFIG", "other.toml")]), "other.toml:2");
    make("named.toml", "[gateway]\nattempts = 6\n");
    assert_eq!(attempts(&["--config", "named.toml"], &[("PROXYWHIRL_CONFIG", "other.toml")]), "named.toml:2");
    // The user's own, if it is said where that is.
    std::fs::remove_file(folder.path().join("proxywhirl.toml")).unwrap();
    std::fs::remove_file(folder.path().join("proxywhirl.yml")).unwrap();
    make("xdg/proxywhirl/proxywhirl.toml", "[gateway]\nattempts = 7\n");
    let xdg = folder.path().join("xdg");
    assert_eq!(attempts(&[], &[("XDG_CONFIG_HOME", xdg.to_str().unwrap())]), "FOLDER/xdg/proxywhirl/proxywhirl.toml:2");
    let ran = config(&folder, &["check", "--config", "nowhere.toml"], &[]);
    insta::assert_snapshot!(transcript(&ran), @"
    error: configuration nowhere.toml: cannot be read: No such file or directory (os error 2)
    exit code 2
    ");
}

#[test]
fn the_environment_goes_before_dot_env_and_that_before_the_file() {
    let folder = folder();
    file(&folder, "proxywhirl.toml", "[gateway]\nattempts = 3\ndrain = \"3s\"\n");
    let said = |value: serde_json::Value, origin: &str| (value, origin.to_owned());
    let of_file = [said(3.into(), "proxywhirl.toml:2"), said("3s".into(), "proxywhirl.toml:3")];
    assert_eq!(shown(&folder, &[], &[]), of_file);
    file(
        &folder,
        ".env",
        "# ours and others'\nOTHER=1\nPROXYWHIRL_GATEWAY_ATTEMPTS=4\nexport PROXYWHIRL_GATEWAY_DRAIN=\"4s\"\n",
    );
    let of_dot_env = [
        said(4.into(), "variable PROXYWHIRL_GATEWAY_ATTEMPTS in .env"),
        said("4s".into(), "variable PROXYWHIRL_GATEWAY_DRAIN in .env"),
    ];
    assert_eq!(shown(&folder, &[], &[]), of_dot_env);
    let of_both = [said(5.into(), "environment variable PROXYWHIRL_GATEWAY_ATTEMPTS"), of_dot_env[1].clone()];
    assert_eq!(shown(&folder, &[], &[("PROXYWHIRL_GATEWAY_ATTEMPTS", "5")]), of_both);
    let ran = config(&folder, &["check"], &[]);
    insta::assert_snapshot!(transcript(&ran), @"
    proxywhirl.toml: no mistakes; 0 keys set
    environment: 2 keys set
    exit code 0
    ");
    file(&folder, ".env", "PROXYWHIRL_GATEWAY_ATTEMPTS 4\n");
    let ran = config(&folder, &["check"], &[]);
    insta::assert_snapshot!(transcript(&ran), @"
    error: configuration .env:1:1: this line is no NAME=VALUE

    hint: a value with spaces, quotes or # in it has single quotes around it
    exit code 2
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_goes_before_everything() {
    let (world, folder) = (world().await, folder());
    file(&folder, "list", &world.proxies()[0]);
    file(&folder, "proxywhirl.yaml", "listen: 192.0.2.1:1\nsources:\n  - {name: own, location: list, trust: true}\n");
    // Where the file and the variable say, nobody could listen.
    let mut command = proxywhirl(["serve", "--listen", "127.0.0.1:0"]);
    let served = Served::of(command.current_dir(folder.path()).env("PROXYWHIRL_LISTEN", "192.0.2.2:1"));
    assert!(served.address.starts_with("127.0.0.1:"), "{}", served.address);
    let ran = curl(["--fail", "--proxy", &served.proxy("http"), &world.origin().http_url("/ip")]);
    assert_eq!(ran.code, Some(0), "{ran:?}\n{}", served.log());
    let mut command = proxywhirl(["serve"]);
    let served = Served::of(command.current_dir(folder.path()).env("PROXYWHIRL_LISTEN", "127.0.0.1:0"));
    assert!(served.address.starts_with("127.0.0.1:"), "{}", served.address);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_gateway_keeps_to_all_of_it() {
    let (world, folder) = (world().await, folder());
    file(&folder, "list", &world.proxies()[0]);
    let write = |explain: bool, wait: &str| {
        let sources = "[[sources]]\nname = \"own\"\nlocation = \"list\"\ntrust = true\n";
        let new = file(&folder, "new", format!("gateway.explain = {explain}\nlimits.wait = \"{wait}\"\n{sources}"));
        std::fs::rename(new, folder.path().join("proxywhirl.toml")).unwrap();
    };
    write(false, "1s");
    let start = |variables: &[(&str, &str)], words: &[&str]| {
        let words = [&["serve", "--listen", "127.0.0.1:0"], words].concat();
        Served::of(proxywhirl(words).current_dir(folder.path()).envs(variables.iter().copied()))
    };
    let url = world.origin().http_url("/ip");
    let explains = |served: &Served| {
        let ran = curl(["--fail", "--include", "--proxy", &served.proxy("http"), &url]);
        assert_eq!(ran.code, Some(0), "{ran:?}\n{}", served.log());
        ran.stdout.to_ascii_lowercase().contains("proxywhirl-upstream: ")
    };
    let socket = folder.path().join("run/control.sock").to_string_lossy().into_owned();
    let served = start(&[], &["--control", "off"]);
    let always = start(&[("PROXYWHIRL_GATEWAY_EXPLAIN", "true")], &["--no-watch", "--control", &socket]);
    assert!(!explains(&served) && explains(&always));
    // The file that was found is watched, and so is .env.
    write(true, "2s");
    wait_until("what the file says", || explains(&served));
    file(&folder, ".env", "PROXYWHIRL_GATEWAY_EXPLAIN=false\n");
    wait_until("what .env says", || !explains(&served));
    // What is set in the environment stays, whatever the file says.
    let ran = run(proxywhirl(["reload"]).env("PROXYWHIRL_CONTROL", &socket));
    assert_eq!((ran.code, ran.stdout.trim()), (Some(0), "changed: limits"), "{ran:?}");
    assert!(explains(&always));
}

#[test]
fn secrets_are_not_shown() {
    let folder = folder();
    file(
        &folder,
        "proxywhirl.toml",
        "[[sources]]\nname = \"own\"\nlocation = \"https://anna:s3cret@lists.example/\"\nusername = \"anna\"\n\
         password = \"s3cret\"\nheaders = { Authorization = \"Bearer s3cret\" }\n\
         [browser]\nproxy = \"http://anna:s3cret@proxy.example:3128\"\n[strategy.options]\napi_token = \"s3cret\"\n",
    );
    let users = "[{\"name\": \"bob\", \"password_env\": \"PROXYWHIRL_BOB\"}]";
    let variables = [("PROXYWHIRL_USERS", users), ("PROXYWHIRL_BOB", "s3cret")];
    for words in [&["show", "--origin"][..], &["show", "--origin", "--json"], &["check"], &["check", "--json"]] {
        let ran = config(&folder, words, &variables);
        // No strategy has such an option, which is told without its value, and there is nothing to prove the source with.
        let told = match words {
            ["check"] => (Some(2), "error: 2 mistakes\n"),
            ["check", ..] => (Some(2), ""),
            _ => (Some(0), ""),
        };
        assert_eq!((ran.code, ran.stderr.as_str()), told, "{words:?}");
        assert!(!ran.stdout.contains("s3cret"), "{}", ran.stdout);
        if words == ["show", "--origin"] {
            let said: Vec<&str> = ran.stdout.lines().filter(|line| !line.ends_with("# default")).collect();
            insta::assert_snapshot!(said.join("\n"), @r#"
            browser.proxy = "http://anna:***@proxy.example:3128"         # proxywhirl.toml:8
            sources = [{ headers = { Authorization = "***" }, location = "https://anna:***@lists.example/", name = "own", password = "***", username = "anna" }]  # proxywhirl.toml:1
            strategy.options = { api_token = "***" }                     # proxywhirl.toml:9
            users = [{ name = "bob", password_env = "PROXYWHIRL_BOB" }]  # environment variable PROXYWHIRL_USERS
            "#);
        }
    }
}

#[test]
fn the_first_file_is_made_by_a_command() {
    let folder = folder();
    let ran = config(&folder, &["check"], &[]);
    insta::assert_snapshot!(anywhere(&folder, &transcript(&ran)), @"
    there is no configuration file, and none is needed
    looked for proxywhirl.toml, .yaml, .yml and .json here, in FOLDER/.config/proxywhirl, in /etc/proxywhirl
    exit code 0
    ");
    insta::assert_snapshot!(transcript(&config(&folder, &["init"], &[])), @"
    proxywhirl.toml is written; nothing in it is set yet
    exit code 0
    ");
    insta::assert_snapshot!(transcript(&config(&folder, &["check"], &[])), @"
    proxywhirl.toml: no mistakes; 0 keys set
    exit code 0
    ");
    insta::assert_snapshot!(transcript(&config(&folder, &["init"], &[])), @"
    error: proxywhirl.toml is there already

    hint: --force writes over it
    exit code 2
    ");
    let made = std::fs::read_to_string(folder.path().join("proxywhirl.toml")).unwrap();
    file(&folder, "proxywhirl.toml", "");
    assert_eq!(config(&folder, &["init", "--force"], &[]).code, Some(0));
    assert_eq!(std::fs::read_to_string(folder.path().join("proxywhirl.toml")).unwrap(), made);
    assert_eq!(config(&folder, &["init", "-"], &[]).stdout, made);
    // Taking off the mark of a key sets it.
    file(&folder, "proxywhirl.toml", made.replace("# attempts = 5 ", "attempts = 6 "));
    assert_eq!(shown(&folder, &[], &[])[0].0, 6);
    let ran = config(&folder, &["init", "nowhere/proxywhirl.toml"], &[]);
    assert_eq!(ran.code, Some(4), "{ran:?}");
}

#[test]
fn the_schema_is_of_what_is_documented() {
    let folder = folder();
    let schema = file(&folder, "schema.json", config(&folder, &["schema"], &[]).stdout);
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/docs/configuration.md");
    let program = "import json, jsonschema, sys, tomllib\n\
                   schema = json.load(open(sys.argv[1]))\n\
                   jsonschema.Draft202012Validator.check_schema(schema)\n\
                   text = open(sys.argv[2]).read()\n\
                   if '```toml' in text: text = text.split('```toml\\n')[1].split('```')[0]\n\
                   for error in jsonschema.Draft202012Validator(schema).iter_errors(tomllib.loads(text)):\n\
                   \x20   print(error.json_path)\n";
    let validate = |text: &str| run(Command::new(python()).args(["-c", program, &schema, text]));
    let ran = validate(page.to_str().unwrap());
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (Some(0), "", ""));
    let wrong =
        file(&folder, "wrong.toml", "[gateway]\nattemps = 3\nretry_status = 502\n[[sources]]\nname = \"own\"\n");
    let ran = validate(&wrong);
    insta::assert_snapshot!(ran.stdout, @"
    $.gateway
    $.gateway.retry_status
    $.sources[0]
    ");
}

#[test]
fn every_mistake_is_told_with_its_place_and_what_helps() {
    let folder = folder();
    for (name, text) in [
        ("mistakes.toml", include_str!("config/mistakes.toml")),
        ("mistakes.yaml", include_str!("config/mistakes.yaml")),
        ("mistakes.json", include_str!("config/mistakes.json")),
    ] {
        file(&folder, name, text);
        let ran = config(&folder, &["check", "--config", name], &[]);
        assert!(!transcript(&ran).contains("123456"), "a password is told");
        insta::assert_snapshot!(name, transcript(&ran));
        let told = json(&config(&folder, &["check", "--json", "--config", name], &[]));
        let told = told["mistakes"].as_array().unwrap();
        assert!(told.iter().all(|row| row["line"].is_u64() && row["column"].is_u64()), "{told:#?}");
        assert_eq!(ran.stderr, format!("error: {} mistakes\n", told.len()));
        assert!(name != "mistakes.toml" || told.len() >= 20, "{}", told.len());
    }
    let ran = run_in(&folder, &["serve", "--config", "mistakes.toml"]);
    insta::assert_snapshot!(transcript(&ran), @"
    error: configuration mistakes.toml:2:1: unknown key listne

    hint: did you mean listen?
    `proxywhirl config check` tells all 34 mistakes
    exit code 2
    ");
}

#[test]
fn of_one_table_all_mistakes_are_told_that_do_not_follow_from_each_other() {
    let folder = folder();
    let text = include_str!("config/many.toml");
    let name = file(&folder, "many.toml", text);
    let ran = config(&folder, &["check", "--json", "--config", &name], &[]);
    let rows = json(&ran)["mistakes"].as_array().unwrap().clone();
    let told: Vec<u64> = rows.iter().map(|row| row["line"].as_u64().unwrap()).collect();
    let lines = (1..).zip(text.lines());
    let wrong: Vec<u64> = lines.filter(|(_, line)| line.ends_with("#!")).map(|(number, _)| number).collect();
    assert_eq!(told, wrong, "{rows:#?}");
    // What is one of several is told by its place among them, whatever else is wrong.
    let messages: Vec<&str> = rows.iter().map(|row| row["message"].as_str().unwrap()).collect();
    assert!(messages.iter().any(|message| message.starts_with("limits.proxies[1]: rate 0 ")), "{messages:#?}");
    let of = |line: &str| {
        let row = text.lines().position(|other| other.starts_with(line)).unwrap() as u64 + 1;
        rows.iter().find(|told| told["line"] == row).unwrap().clone()
    };
    assert_eq!(
        of("attempts = \"three\"")["message"],
        "gateway.attempts: \"three\" is not a whole number from 1 to 4294967295"
    );
    assert_eq!(of("connect_timeout = -5")["hint"], "did you mean \"5s\"?");
    // Nor is what would be too long proposed.
    assert!(of("request_deadline = ")["hint"].as_str().unwrap().starts_with("for example request_deadline = "));
}

#[test]
fn what_is_named_and_not_there_is_a_warning() {
    let folder = folder();
    file(
        &folder,
        "proxywhirl.toml",
        "[upstream]\nca_file = \"ca.pem\"\n[geo]\ndatabases = [\"proxywhirl.toml\"]\n\
         [[sources]]\nname = \"own\"\nlocation = \"own.txt\"\nparser = \"texxt\"\ntrust = true\n\
         [[listeners]]\naddress = \"127.0.0.1:0\"\ntls = { certificate = \"a.pem\", key = \"proxywhirl.toml\" }\n",
    );
    insta::assert_snapshot!(transcript(&config(&folder, &["check"], &[])), @r#"
    proxywhirl.toml: no mistakes; 4 keys set
    warning: upstream.ca_file: ca.pem is not there
    warning: source "own": own.txt is not there
    warning: listener "127.0.0.1:0": a.pem is not there
    warning: no parser named texxt is bundled, and there is no plugins.directory; did you mean text?
    exit code 0
    "#);
    let told = json(&config(&folder, &["check", "--json"], &[]));
    assert_eq!((told["warnings"].as_array().unwrap().len(), told["mistakes"].as_array().unwrap().len()), (4, 0));
}

#[test]
fn a_strategy_that_is_not_there_is_told_as_serve_tells_it() {
    let folder = folder();
    file(&folder, "proxywhirl.toml", "[strategy]\nname = \"round-robbin\"\n");
    let why = "no strategy named round-robbin; there are: composite, ";
    let told = config(&folder, &["check"], &[]);
    let mistake = format!("proxywhirl.toml:2:8: strategy.name: {why}");
    assert!(told.code == Some(2) && told.stdout.starts_with(&mistake), "{told:?}");
    let served = run_in(&folder, &["serve", "--listen", "127.0.0.1:0", "--proxies", "192.0.2.1:80"]);
    assert!(served.code == told.code && served.stderr.starts_with(&format!("error: {why}")), "{served:?}");
    let told = config(&folder, &["check", "--plugins", "nowhere"], &[]);
    let warning = "warning: plugins.directory: nowhere is not there\n";
    assert_eq!((told.code, told.stderr.as_str()), (Some(0), warning), "it may be in there");
}

#[test]
fn mistakes_in_variables_are_told_like_those_in_files() {
    let folder = folder();
    file(&folder, "proxywhirl.toml", "[gateway]\nattempts = 0\ndrain = \"soon\"\n");
    file(&folder, ".env", "PROXYWHIRL_HOOKS='[{\"nam\": \"x\"}]'\nPROXYWHIRL_BANS=captcha\n");
    let variables = [
        ("PROXYWHIRL_GATEWAY_DRAIN", "5"),
        ("PROXYWHIRL_GATEWAY_HEDGE_ALWAYS", "perhaps"),
        ("PROXYWHIRL_CHECK_LEVEL", "deep"),
        ("PROXYWHIRL_POOL_CAPACTY", "10"),
        ("PROXYWHIRL_SOURCES", "own.txt"),
        ("PROXYWHIRL_HISTORY_REQUESTS", "many"),
    ];
    insta::assert_snapshot!(transcript(&config(&folder, &["check"], &variables)), @r#"
    proxywhirl.toml:2:12: gateway.attempts must be at least 1
        for example attempts = 5  # proxies that a request tries at the most
    variable PROXYWHIRL_BANS in .env: bans: this is not a list of tables, written as JSON
        for example PROXYWHIRL_BANS='[{"name":"captcha"}]'  # when a site has refused a proxy, and what follows; see below [default: none]
    environment variable PROXYWHIRL_CHECK_LEVEL: check.level "deep" is none of format, dns, tcp, protocol, http, tls, anonymity, target
        for example PROXYWHIRL_CHECK_LEVEL=http  # format, dns, tcp, protocol, http, tls, anonymity or target
    environment variable PROXYWHIRL_GATEWAY_DRAIN: gateway.drain: "5" is not a duration such as "5s" or "1m 30s"
        for example PROXYWHIRL_GATEWAY_DRAIN=10s  # how long open connections may go on when the gateway stops
    environment variable PROXYWHIRL_GATEWAY_HEDGE_ALWAYS: gateway.hedge.always: "perhaps" is not true or false
        for example PROXYWHIRL_GATEWAY_HEDGE_ALWAYS=false  # also for requests that do not ask for it
    environment variable PROXYWHIRL_HISTORY_REQUESTS: history.requests: "many" is not a whole number from 0 to 1000000
        for example PROXYWHIRL_HISTORY_REQUESTS=10000  # that are remembered, for `proxywhirl requests` and `explain`; 0 for none
    variable PROXYWHIRL_HOOKS in .env: unknown key hooks[0].nam
        did you mean name?
    environment variable PROXYWHIRL_SOURCES: sources: this is not a list of tables, written as JSON
        for example PROXYWHIRL_SOURCES=[{"location":"own.txt","name":"own"}]  # where proxies come from [default: nowhere]
    warning: the variable PROXYWHIRL_POOL_CAPACTY sets nothing: there is no such key; did you mean PROXYWHIRL_POOL_CAPACITY?
    error: 8 mistakes
    exit code 2
    "#);
}

#[test]
fn what_cannot_be_read_is_told_alone() {
    let folder = folder();
    for (name, text) in [
        ("a.toml", "listen = 127.0.0.1:8080\nattemps = 3\n"),
        ("b.toml", "[gateway\nattempts = 3\n"),
        ("c.toml", "[gateway]\nattempts = 3\nattempts = 4\n"),
        ("d.yaml", "gateway:\n\tattempts: 3\n"),
        ("e.yaml", "gateway:\n  attempts: 3\n  attempts: 4\n"),
        ("f.json", "{\"gateway\": {\"attempts\": 3,}}\n"),
        ("g.yaml", "- gateway\n"),
    ] {
        file(&folder, name, text);
    }
    let told: Vec<String> = ["a.toml", "b.toml", "c.toml", "d.yaml", "e.yaml", "f.json", "g.yaml"]
        .iter()
        .map(|name| config(&folder, &["check", "--config", name], &[]).stderr)
        .collect();
    insta::assert_snapshot!(told.join(""), @r#"
    error: configuration a.toml:1:15: invalid float, expected nothing

    hint: a text has quotes: listen = "…"
    error: configuration b.toml:1:9: unclosed table, expected `]`
    error: configuration c.toml:3:1: duplicate key
    error: configuration d.yaml:2:2: tabs disallowed within this context (block indentation)
    error: configuration e.yaml:3:3: duplicate mapping key: attempts
    error: configuration f.json:1:28: trailing comma
    error: configuration g.yaml: it has to be a table of keys and values
    "#);
    let told = json(&config(&folder, &["check", "--json", "--config", "b.toml"], &[]));
    assert_eq!(told["mistakes"][0]["place"], "b.toml:1:9");
}

#[test]
fn a_pipe_is_read_and_one_that_nobody_writes_to_is_given_up() {
    let folder = folder();
    let pipe = folder.path().join("pipe.toml");
    assert_eq!(run(Command::new("mkfifo").arg(&pipe)).code, Some(0));
    let check = || config(&folder, &["check", "--config", "pipe.toml"], &[]);
    let told = check();
    let why = "error: the configuration was not read within 10s: its file, or one that it names, hangs, as a pipe that nobody";
    assert!(told.code == Some(4) && told.stderr.starts_with(why), "{told:?}");
    let writes = std::thread::spawn(move || std::fs::write(pipe, "gateway.attempts = 3\n"));
    let told = check();
    assert_eq!((told.code, told.stdout.as_str()), (Some(0), "pipe.toml: no mistakes; 1 key set\n"));
    writes.join().unwrap().unwrap();
}

async fn world() -> World {
    World::start(WorldPlan::new(vec![UpstreamOptions::new(Protocol::Http)])).await.unwrap()
}
