//! Bad input: each gets a clear error with its place, the right exit code, and nothing is lost.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use proxywhirl_tests::{file, folder, proxywhirl, run};
use proxywhirl_world::closed_port;
use tempfile::TempDir;

use super::{run_in, transcript};

/// A folder with a list of one proxy.
fn with_list() -> TempDir {
    let folder = folder();
    file(&folder, "list.txt", "http://127.0.0.1:8080\n");
    folder
}

/// What the binary says, in a folder, to arguments that cannot be meant.
fn refusal(folder: &TempDir, arguments: &[&str]) -> String {
    // Without the log of what went well before.
    let ran = run(proxywhirl(arguments).env("PROXYWHIRL_LOG", "warn").current_dir(folder.path()));
    assert_eq!(ran.stdout, "", "an error is no data");
    transcript(&ran)
}

/// What `serve` says to a configuration.
fn configured(text: &str) -> String {
    let folder = with_list();
    file(&folder, "proxywhirl.toml", text);
    refusal(&folder, &["serve", "--config", "proxywhirl.toml", "--listen", "127.0.0.1:0", "--proxies", "list.txt"])
}

#[test]
fn a_configuration_that_cannot_be_meant_is_refused_with_its_place() {
    insta::assert_snapshot!(configured("[gateway]\nattempts = 3\nconnect_timeot = \"5s\"\n"), @"
    error: configuration proxywhirl.toml:3:1: unknown key gateway.connect_timeot

    hint: did you mean connect_timeout?
    exit code 2
    ");
    insta::assert_snapshot!(configured("listne = \"127.0.0.1:0\"\n"), @"
    error: configuration proxywhirl.toml:1:1: unknown key listne

    hint: did you mean listen?
    exit code 2
    ");
    insta::assert_snapshot!(configured("[gatway]\nattempts = 3\n"), @"
    error: configuration proxywhirl.toml:1:2: unknown key gatway

    hint: did you mean gateway?
    exit code 2
    ");
    insta::assert_snapshot!(configured("[[sources]]\nname = \"own\"\nlocation = \"list.txt\"\ntrusted = true\n"), @"
    error: configuration proxywhirl.toml:4:1: unknown key sources[0].trusted

    hint: did you mean trust?
    exit code 2
    ");
    insta::assert_snapshot!(configured("[gateway]\nattempts = 0\n"), @"
    error: configuration proxywhirl.toml:2:12: gateway.attempts must be at least 1

    hint: for example attempts = 5  # proxies that a request tries at the most
    exit code 2
    ");
    insta::assert_snapshot!(configured("[gateway]\nattempts = 5000000000\n"), @"
    error: configuration proxywhirl.toml:2:12: gateway.attempts: 5000000000 is not a whole number from 1 to 4294967295

    hint: for example attempts = 5  # proxies that a request tries at the most
    exit code 2
    ");
    insta::assert_snapshot!(configured("[check]\nlevel = \"deep\"\n"), @r#"
    error: configuration proxywhirl.toml:2:9: check.level "deep" is none of format, dns, tcp, protocol, http, tls, anonymity, target

    hint: for example level = "http"  # format, dns, tcp, protocol, http, tls, anonymity or target
    exit code 2
    "#);
    insta::assert_snapshot!(configured("[gateway]\nattempts = \"three\"\n"), @r#"
    error: configuration proxywhirl.toml:2:12: gateway.attempts: "three" is not a whole number from 1 to 4294967295

    hint: for example attempts = 5  # proxies that a request tries at the most
    exit code 2
    "#);
    insta::assert_snapshot!(configured("[gateway]\nconnect_timeout = \"5 parsecs\"\n"), @r#"
    error: configuration proxywhirl.toml:2:19: gateway.connect_timeout: "5 parsecs" is not a duration such as "5s" or "1m 30s"

    hint: for example connect_timeout = "5s"  # dial, TLS and handshake with a proxy; then the next is tried
    exit code 2
    "#);
    insta::assert_snapshot!(configured("[gateway\nattempts = 3\n"), @"
    error: configuration proxywhirl.toml:1:9: unclosed table, expected `]`
    exit code 2
    ");
    insta::assert_snapshot!(refusal(&with_list(), &["serve", "--config", "nowhere.toml"]), @"
    error: configuration nowhere.toml: cannot be read: No such file or directory (os error 2)
    exit code 2
    ");
}

#[test]
fn a_port_that_is_none_is_rejected_with_its_line() {
    let folder = folder();
    file(&folder, "list.txt", "http://192.0.2.1:0\nhttp://192.0.2.2:70000\n192.0.2.3:99999\n");
    insta::assert_snapshot!(refusal(&folder, &["fetch", "list.txt"]), @r#"
    list.txt (text): 3 entries, 0 well formed, 3 rejected
      3 × port N is not in 1..65535
      line 1: port 0 is not in 1..65535 ("http://192.0.2.1:0")
      line 2: port 70000 is not in 1..65535 ("http://192.0.2.2:70000")
      line 3: port 99999 is not in 1..65535 ("192.0.2.3:99999")
    0 different proxies, 0 duplicates, 3 rejected
    exit code 1
    "#);
    insta::assert_snapshot!(refusal(&folder, &["check", "list.txt", "--level", "tcp"]), @r#"
    list.txt (text): 3 entries, 0 well formed, 3 rejected
      3 × port N is not in 1..65535
      line 1: port 0 is not in 1..65535 ("http://192.0.2.1:0")
      line 2: port 70000 is not in 1..65535 ("http://192.0.2.2:70000")
      line 3: port 99999 is not in 1..65535 ("192.0.2.3:99999")
    0 different proxies, 0 duplicates, 3 rejected
    0 checked: 0 alive, 0 dead
    exit code 1
    "#);
    insta::assert_snapshot!(refusal(&folder, &["serve", "--listen", "127.0.0.1:0", "--proxies", "list.txt"]), @r#"
    list.txt (text): 3 entries, 0 well formed, 3 rejected
      3 × port N is not in 1..65535
      line 1: port 0 is not in 1..65535 ("http://192.0.2.1:0")
      line 2: port 70000 is not in 1..65535 ("http://192.0.2.2:70000")
      line 3: port 99999 is not in 1..65535 ("192.0.2.3:99999")
    error: no proxy was found, so there is nothing to serve

    hint: `proxywhirl fetch` shows what is in a list, and what is wrong with its lines
    exit code 1
    "#);
    insta::assert_snapshot!(refusal(&folder, &["pool", "add", "--db", "pool.db", "192.0.2.1:0"]), @r#"
      1 × port N is not in 1..65535
      line 1: port 0 is not in 1..65535 ("192.0.2.1:0")
    0 added, 0 known already, 1 rejected
    exit code 1
    "#);
    let imported = refusal(&folder, &["pool", "import", "--db", "pool.db", "list.txt"]);
    assert!(imported.ends_with("0 added, 0 known already, 3 rejected\nexit code 1"), "{imported}");
    assert!(!folder.path().join("pool.db").exists(), "no store is made for nothing");
}

#[test]
fn plugins_that_cannot_be_had_are_named() {
    let folder = with_list();
    let serve = |arguments: &[&str]| {
        refusal(&folder, &[&["serve", "--listen", "127.0.0.1:0", "--proxies", "list.txt"], arguments].concat())
    };
    insta::assert_snapshot!(serve(&["--plugins", "nowhere"]), @"
    error: the plugins directory nowhere cannot be read: No such file or directory (os error 2)

    hint: make the directory, or leave --plugins out: the bundled plugins need none
    exit code 3
    ");
    insta::assert_snapshot!(refusal(&folder, &["plugin", "list", "--plugins", "nowhere"]), @"
    error: the plugins directory nowhere cannot be read: No such file or directory (os error 2)

    hint: make the directory, or leave --plugins out: the bundled plugins need none
    exit code 3
    ");
    insta::assert_snapshot!(serve(&["--strategy", "fastest"]), @"
    error: no strategy named fastest; there are: composite, cost-aware, geo, least-loaded, least-used, performance, random, round-robin, session, thompson, weighted

    hint: `proxywhirl plugin list` shows which plugins there are
    exit code 2
    ");
    insta::assert_snapshot!(serve(&["--strategy", "weighted", "--strategy-options", "{\"colour\": \"blue\"}"]), @"
    error: options of weighted: additionalProperties 'colour' not allowed

    hint: `proxywhirl plugin info NAME` shows the options that a plugin takes
    exit code 2
    ");
    insta::assert_snapshot!(serve(&["--strategy", "weighted", "--strategy-options", "{\"colour\":"]), @r#"
    error: invalid value '{"colour":' for '--strategy-options <JSON>': EOF while parsing a value at line 1 column 10

    For more information, try '--help'.
    exit code 2
    "#);
    insta::assert_snapshot!(refusal(&folder, &["fetch", "list.txt", "--parser", "xml"]), @"
    error: no parser named xml; there are: clash, csv, html-table, json, pac, proxychains, squid, text
    exit code 2
    ");
    file(&folder, "hooks.toml", "[[hooks]]\nname = \"bell\"\n");
    insta::assert_snapshot!(serve(&["--config", "hooks.toml"]), @"
    error: no hook named bell; there are: log-events, webhook

    hint: `proxywhirl plugin list` shows which plugins there are
    exit code 2
    ");
}

#[test]
fn a_plugin_file_that_is_not_wasm_is_told_and_the_gateway_serves_without_it() {
    let folder = with_list();
    fs::create_dir(folder.path().join("plugins")).unwrap();
    fs::write(folder.path().join("plugins/notes.wasm"), "not wasm").unwrap();
    let ran = run_in(&folder, &["fetch", "list.txt", "--plugins", "plugins"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "http://127.0.0.1:8080\n"));
    assert!(ran.stderr.contains("plugins/notes.wasm") && ran.stderr.contains("not WebAssembly"), "{}", ran.stderr);
}

/// A database that is ours.
fn database(folder: &TempDir) {
    let ran = run_in(folder, &["pool", "add", "--db", "pool.db", "http://192.0.2.1:80"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
}

/// What `pool list` and `serve` say to a database, which is the same.
fn stored(folder: &TempDir, db: &str) -> String {
    let listed = refusal(folder, &["pool", "list", "--db", db]);
    let served = refusal(folder, &["serve", "--listen", "127.0.0.1:0", "--proxies", "list.txt", "--db", db]);
    if listed == served { listed } else { format!("pool list: {listed}\n\nserve: {served}") }
}

/// A file that nobody else may read, as databases are.
fn private(folder: &TempDir, name: &str, content: &[u8]) {
    let path = file(folder, name, content);
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_database_that_cannot_be_used_is_left_as_it_is() {
    let folder = with_list();
    insta::assert_snapshot!(stored(&folder, "nowhere/pool.db"), @"
    pool list: error: database nowhere/pool.db does not exist

    hint: `proxywhirl pool add --db FILE PROXY` makes one, and so does `proxywhirl serve --db FILE`
    exit code 4

    serve: error: database nowhere/pool.db: there is no folder nowhere; make it with `mkdir -p nowhere`
    exit code 4
    ");
    private(&folder, "noise.db", &[0x5a; 8_192]);
    insta::assert_snapshot!(stored(&folder, "noise.db"), @"
    error: database noise.db: file is not a database; name another file with --db, or move this one away
    exit code 4
    ");
    assert_eq!(fs::read(folder.path().join("noise.db")).unwrap(), [0x5a; 8_192]);
    private(&folder, "other.db", b"");
    let other = rusqlite::Connection::open(folder.path().join("other.db")).unwrap();
    other.execute_batch("CREATE TABLE recipes (name TEXT); INSERT INTO recipes VALUES ('pie')").unwrap();
    insta::assert_snapshot!(stored(&folder, "other.db"), @"
    error: database other.db: belongs to another program; name another file with --db
    exit code 4
    ");
    let pies: u32 = other.query_row("SELECT count(*) FROM recipes", [], |row| row.get(0)).unwrap();
    assert_eq!(pies, 1);
}

#[test]
fn a_database_with_damaged_pages_is_named() {
    let folder = with_list();
    database(&folder);
    let path = folder.path().join("pool.db");
    let mut bytes = fs::read(&path).unwrap();
    // All but the first page, which says what the file is.
    bytes[4_096..].fill(0x5a);
    private(&folder, "pool.db", &bytes);
    insta::assert_snapshot!(stored(&folder, "pool.db"), @"
    error: database pool.db: corrupt (*** in database main ***
    Tree 7 page 7: btreeInitPage() returns error code 11); move it away to begin with an empty pool, or try `sqlite3 FILE .recover` to save what is left
    exit code 4
    ");
    assert_eq!(fs::read(&path).unwrap().len(), bytes.len());
}

#[test]
fn a_database_that_somebody_keeps_locked_is_named() {
    let folder = with_list();
    database(&folder);
    let holder = rusqlite::Connection::open(folder.path().join("pool.db")).unwrap();
    holder.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE").unwrap();
    insta::assert_snapshot!(refusal(&folder, &["pool", "list", "--db", "pool.db"]), @"
    error: database pool.db: locked by another process for more than 5s; end what uses it, or name another file with --db
    exit code 4
    ");
}

#[test]
fn an_address_that_cannot_be_listened_at_is_named() {
    let folder = with_list();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let serve = |address: &str| refusal(&folder, &["serve", "--proxies", "list.txt", "--listen", address]);
    insta::assert_snapshot!(serve(&address).replace(&address, "ADDRESS"), @"
    error: cannot listen at ADDRESS: Address already in use (os error 98)

    hint: another program listens there: choose another address, or port 0 for a free one
    exit code 4
    ");
    insta::assert_snapshot!(serve("127.0.0.1:70000"), @"
    error: cannot listen at 127.0.0.1:70000: invalid port value

    hint: an address is HOST:PORT, such as 127.0.0.1:8080 or [::1]:8080
    exit code 2
    ");
    insta::assert_snapshot!(serve("somewhere"), @"
    error: cannot listen at somewhere: invalid socket address

    hint: an address is HOST:PORT, such as 127.0.0.1:8080 or [::1]:8080
    exit code 2
    ");
    let judge = refusal(&folder, &["judge", "--listen", &address]);
    insta::assert_snapshot!(judge.replace(&address, "ADDRESS"), @"
    error: cannot listen at ADDRESS: Address already in use (os error 98)

    hint: another program listens there: choose another address, or port 0 for a free one
    exit code 4
    ");
}

#[test]
fn proxies_that_are_not_there_are_named() {
    let folder = with_list();
    file(&folder, "nothing.txt", "# nothing\n");
    file(&folder, "letter.txt", "Dear reader,\nthere is no proxy here.\n");
    let serve = |list: &str| refusal(&folder, &["serve", "--listen", "127.0.0.1:0", "--proxies", list]);
    insta::assert_snapshot!(serve("missing.txt"), @"
    error: source missing.txt: cannot be read: No such file or directory (os error 2)
    exit code 3
    ");
    insta::assert_snapshot!(serve("nothing.txt"), @"
    nothing.txt (text): 0 entries, 0 well formed, 0 rejected
    error: no proxy was found, so there is nothing to serve

    hint: `proxywhirl fetch` shows what is in a list, and what is wrong with its lines
    exit code 1
    ");
    insta::assert_snapshot!(serve("letter.txt"), @r#"
    letter.txt (text): 2 entries, 0 well formed, 2 rejected
      2 × white space inside
      line 1: white space inside ("Dear reader,")
      line 2: white space inside ("there is no proxy here.")
    error: no proxy was found, so there is nothing to serve

    hint: `proxywhirl fetch` shows what is in a list, and what is wrong with its lines
    exit code 1
    "#);
    insta::assert_snapshot!(serve("ftp://192.0.2.1/list"), @r#"
    error: "ftp://192.0.2.1/list" is no source: nothing fetches ftp://; use http, https, a file, - for standard input, or a proxy's own URL
    exit code 2
    "#);
    insta::assert_snapshot!(refusal(&folder, &["serve"]), @"
    error: there is nothing to serve: no proxies, no sources, no database

    hint: name a list with --proxies FILE, or try `proxywhirl demo`
    exit code 2
    ");
    insta::assert_snapshot!(refusal(&folder, &["get", "http://192.0.2.1/"]), @"
    error: the pool is empty: no proxy to send the request through

    hint: name proxies with --proxies FILE or --proxies http://host:port, or a database with --db FILE
    exit code 1
    ");
    insta::assert_snapshot!(refusal(&folder, &["get", "http://192.0.2.1/", "--proxies", "missing.txt"]), @"
    error: source missing.txt: cannot be read: No such file or directory (os error 2)
    exit code 3
    ");
    insta::assert_snapshot!(refusal(&folder, &["get", "gopher://192.0.2.1/", "--proxies", "list.txt"]), @r#"
    error: "gopher://192.0.2.1/" is no http:// or https:// URL
    exit code 2
    "#);
    insta::assert_snapshot!(refusal(&folder, &["fetch", "missing.txt"]), @"
    error: source missing.txt: cannot be read: No such file or directory (os error 2)
    exit code 3
    ");
}

#[test]
fn a_pool_that_is_nowhere_is_asked_for() {
    let folder = folder();
    // Without the gateways of other tests.
    let alone = run(proxywhirl(["pool", "list"]).env("XDG_RUNTIME_DIR", folder.path()).current_dir(folder.path()));
    insta::assert_snapshot!(transcript(&alone), @"
    error: which store?

    hint: name it: --db FILE, or PROXYWHIRL_DB, or a configuration with [store] url
    exit code 2
    ");
}

#[test]
fn a_judge_that_cannot_judge_is_named() {
    let folder = with_list();
    let port = closed_port().unwrap();
    let address = port.addr().to_string();
    let check = |judge: &str| refusal(&folder, &["check", "list.txt", "--timeout", "2s", "--judge", judge]);
    insta::assert_snapshot!(check(&format!("http://{address}/")).replace(&address, "ADDRESS"), @"
    list.txt (text): 1 entry, 1 well formed, 0 rejected
    1 different proxy, 0 duplicates, 0 rejected
    error: the judge http://ADDRESS/ does not answer: origin refused at connect: judge ADDRESS: Connection refused (os error 111)

    hint: start one with `proxywhirl judge`, or check less with level protocol or tcp
    exit code 3
    ");
    insta::assert_snapshot!(check("https://192.0.2.1/"), @"
    list.txt (text): 1 entry, 1 well formed, 0 rejected
    1 different proxy, 0 duplicates, 0 rejected
    error: not a judge's URL: it begins with http://, because proxies are asked to forward the request in the open

    hint: a judge is http://HOST:PORT/, where `proxywhirl judge` runs
    exit code 2
    ");
}

#[test]
fn who_names_nothing_is_told_all_ways_to_name_it() {
    let folder = folder();
    for (arguments, question, ways) in [
        (&["pool", "add", "--db", "pool.db"][..], "which proxies?", &["PROXY", "--from"][..]),
        (&["pool", "remove", "--db", "pool.db"], "which proxies?", &["PROXY", "--tag"]),
        (&["bans", "lift"], "which bans?", &["--site", "--proxy", "--all"]),
        (
            &["credentials", "set", "--username", "me"],
            "whose login?",
            &["NAME", "--tag", "--source", "--host", "--proxy"],
        ),
        (&["credentials", "unset"], "whose login?", &["NAME", "--tag", "--source", "--host", "--proxy"]),
        (&["fetch"], "which lists?", &["SOURCE", "--catalogue"]),
    ] {
        let told = refusal(&folder, arguments);
        let hint = told.strip_prefix(&format!("error: {question}\n\nhint: "));
        let hint = hint.and_then(|rest| rest.strip_suffix("\nexit code 2"));
        assert!(hint.is_some_and(|hint| ways.iter().all(|way| hint.contains(way))), "{arguments:?}: {told}");
    }
    assert!(!folder.path().join("pool.db").exists());
}

#[test]
fn what_has_no_effect_on_a_check_is_refused() {
    let folder = with_list();
    insta::assert_snapshot!(refusal(&folder, &["fetch", "list.txt", "--check", "tcp", "--anonymity", "elite"]), @"
    error: --anonymity has no effect at level tcp

    hint: `proxywhirl check --level anonymity` goes that far
    exit code 2
    ");
    insta::assert_snapshot!(refusal(&folder, &["fetch", "list.txt", "--timeout", "5s"]), @"
    error: --timeout has no effect without a check

    hint: say how far to check with --check
    exit code 2
    ");
    insta::assert_snapshot!(refusal(&folder, &["fetch", "list.txt", "--judge", "http://127.0.0.1:1/"]), @"
    error: --judge has no effect without a check

    hint: say how far to check with --check
    exit code 2
    ");
    let judge = ["check", "list.txt", "--level", "protocol", "--judge", "http://127.0.0.1:1/"];
    insta::assert_snapshot!(refusal(&folder, &judge), @"
    error: --judge has no effect at level protocol

    hint: `proxywhirl check --level http` goes that far
    exit code 2
    ");
    let target = ["check", "list.txt", "--target", "http://127.0.0.1:1/", "--expect-body", "x"];
    insta::assert_snapshot!(refusal(&folder, &target), @"
    error: --target has no effect at level http

    hint: `proxywhirl check --level target` goes that far
    exit code 2
    ");
}

#[test]
fn remote_proxies_need_a_judge_that_they_reach() {
    let folder = folder();
    file(&folder, "list.txt", "http://127.0.0.1:8080\nhttp://192.0.2.1:8080\n");
    insta::assert_snapshot!(refusal(&folder, &["check", "list.txt"]), @"
    list.txt (text): 2 entries, 2 well formed, 0 rejected
    2 different proxies, 0 duplicates, 0 rejected
    error: levels from http on need a judge that the proxies reach, and http://192.0.2.1:8080 is not on this machine

    hint: run `proxywhirl judge --listen 0.0.0.0:8081` on a machine that they reach and add --judge http://THAT-MACHINE:8081/, or check less with --level protocol
    exit code 2
    ");
    insta::assert_snapshot!(refusal(&folder, &["fetch", "list.txt", "--check", "http"]), @"
    list.txt (text): 2 entries, 2 well formed, 0 rejected
    2 different proxies, 0 duplicates, 0 rejected
    error: levels from http on need a judge that the proxies reach, and http://192.0.2.1:8080 is not on this machine

    hint: run `proxywhirl judge --listen 0.0.0.0:8081` on a machine that they reach and add --judge http://THAT-MACHINE:8081/, or check less with --level protocol
    exit code 2
    ");
    file(&folder, "proxywhirl.toml", "[[sources]]\nname = \"found\"\nlocation = \"list.txt\"\n");
    insta::assert_snapshot!(
        refusal(&folder, &["serve", "--config", "proxywhirl.toml", "--listen", "127.0.0.1:0"]), @r#"
    error: there are sources that are not trusted, and no judge to check what they name

    hint: set check.judge to a `proxywhirl judge` that the proxies reach, or check.level = "tcp", or trust = true
    exit code 2
    "#
    );
}
