//! `proxywhirl sources`, the catalogue, and pages that need a browser.

use proxywhirl_tests::{file, folder, proxywhirl, run};
use proxywhirl_world::{World, WorldPlan};

use super::{json, run_in, transcript};

const CONFIG: &str = "\
# what this gateway is for
listen = \"127.0.0.1:0\" # a free port

[[sources]]
name = \"own\" # by hand
location = \"own.txt\"
trust = true
";

#[test]
fn the_catalogue_is_listed_and_nothing_of_it_is_on_by_itself() {
    let folder = folder();
    insta::assert_snapshot!(transcript(&run_in(&folder, &["sources", "list"])), @"
    no source is on

    hint: `proxywhirl sources list --all` shows the catalogue, `sources add` turns one on
    exit code 1
    ");
    let rows = json(&run_in(&folder, &["sources", "list", "--all", "--json"]));
    let rows = rows.as_array().unwrap();
    assert!(rows.len() > 100);
    assert!(rows.iter().all(|row| row["on"] == false && row["trust"] == false && row["origin"] == "catalogue"));
    let table = run_in(&folder, &["sources", "list", "--all"]);
    assert!(table.stdout.starts_with("NAME") && table.stdout.contains("geonode-http"), "{}", table.stdout);
}

#[test]
fn adding_and_removing_leaves_the_rest_of_the_file_as_it_was() {
    let folder = folder();
    file(&folder, "proxywhirl.toml", CONFIG);
    let config = ["--config", "proxywhirl.toml"];
    let typed = |words: &[&str]| run_in(&folder, &[&["sources"], words, &config].concat());
    let read = || std::fs::read_to_string(folder.path().join("proxywhirl.toml")).unwrap();
    let added =
        typed(&["add", "https://lists.example/all.txt", "--name", "mine", "--interval", "30m", "--tag", "paid"]);
    assert_eq!(added.code, Some(0), "{}", added.stderr);
    assert_eq!(typed(&["add", "tag:socks5"]).code, Some(0));
    insta::assert_snapshot!(read(), @r#"
    # what this gateway is for
    listen = "127.0.0.1:0" # a free port

    [[sources]]
    name = "own" # by hand
    location = "own.txt"
    trust = true

    [[sources]]
    name = "mine"
    location = "https://lists.example/all.txt"
    interval = "30m"
    tags = ["paid"]

    [catalogue]
    enable = ["tag:socks5"]
    "#);
    let rows = json(&typed(&["list", "--json"]));
    let names: Vec<_> = rows.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert!(names.starts_with(&["own", "mine"]) && names.contains(&"geonode-socks5"), "{names:?}");
    assert_eq!(typed(&["remove", "mine"]).code, Some(0));
    assert_eq!(typed(&["remove", "tag:socks5"]).code, Some(0));
    assert!(read().starts_with(CONFIG), "{}", read());
    insta::assert_snapshot!(transcript(&typed(&["remove", "mine"])), @r#"
    error: proxywhirl.toml has no source "mine"

    hint: `proxywhirl sources list` shows which are on; catalogue.disable turns off one of many
    exit code 1
    "#);
}

#[test]
fn a_name_that_is_mistyped_is_no_file_and_what_serve_wants_besides_is_told() {
    let folder = folder();
    file(&folder, "proxywhirl.toml", CONFIG);
    let typed = |source: &str| transcript(&run_in(&folder, &["sources", "add", source, "--config", "proxywhirl.toml"]));
    insta::assert_snapshot!(typed("geonode-htp"), @r#"
    error: there is no file of that name beside proxywhirl.toml, and the catalogue has no source "geonode-htp"; did you mean "geonode-http"?

    hint: `proxywhirl sources list --all` shows the catalogue; a file that is yet to come is written ./NAME
    exit code 2
    "#);
    assert_eq!(std::fs::read_to_string(folder.path().join("proxywhirl.toml")).unwrap(), CONFIG);
    insta::assert_snapshot!(typed("geonode-http"), @r#"
    proxywhirl.toml: geonode-http of the catalogue is on
    warning: `serve` does not start like this: there are sources that are not trusted, and no judge to check what they name: set check.judge to a `proxywhirl judge` that the proxies reach, or check.level = "tcp", or trust = true
    exit code 0
    "#);
    file(&folder, "list", "127.0.0.1:1\n");
    assert!(typed("list").contains("source list added") && typed("./later").contains("source later added"));
}

#[test]
fn a_change_that_would_break_the_file_is_not_made() {
    let folder = folder();
    file(&folder, "proxywhirl.toml", CONFIG);
    let typed = |words: &[&str]| transcript(&run_in(&folder, &[words, &["--config", "proxywhirl.toml"]].concat()));
    insta::assert_snapshot!(typed(&["sources", "add", "other.txt", "--name", "own"]), @r#"
    error: configuration proxywhirl.toml:9:1: there are two sources named "own"
    exit code 2
    "#);
    insta::assert_snapshot!(typed(&["sources", "add", "https://lists.example/a", "--render", "js"]), @r#"
    error: configuration proxywhirl.toml:12:10: source "lists.example": render "js" is none of static, javascript, auto

    hint: for example render = "static"  # javascript: a browser makes the list; auto: if nothing is found without one
    exit code 2
    "#);
    assert_eq!(std::fs::read_to_string(folder.path().join("proxywhirl.toml")).unwrap(), CONFIG);
    file(&folder, "proxywhirl.toml", "[fetch]\nretrys = 1\n");
    insta::assert_snapshot!(typed(&["sources", "list"]), @"
    error: configuration proxywhirl.toml:2:1: unknown key fetch.retrys

    hint: did you mean retries?
    exit code 2
    ");
    file(&folder, "proxywhirl.toml", "[catalogue]\nenable = [\"geonode-htp\"]\n");
    insta::assert_snapshot!(typed(&["sources", "list"]), @r#"
    error: configuration proxywhirl.toml:2:11: catalogue.enable: the catalogue has no source "geonode-htp"; did you mean "geonode-http"?

    hint: for example enable = ["tag:github", "geonode-http"]  # names, tag:TAG or "all" [default: none]
    exit code 2
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_source_is_tested_and_its_report_is_json_too() {
    let world = World::start(WorldPlan::default()).await.unwrap();
    world.origin().publish("some.txt", "text/plain", "192.0.2.1:80\n192.0.2.1:80\nnothing here\n");
    let url = world.origin().http_url("/lists/some.txt");
    let ran = run(&mut proxywhirl(["sources", "test", &url]));
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "http://192.0.2.1:80\n"), "{}", ran.stderr);
    assert!(ran.stderr.contains("3 entries, 2 well formed, 1 rejected (1 new, "), "{}", ran.stderr);
    let report = json(&run(&mut proxywhirl(["sources", "test", &url, "--json"])));
    assert_eq!((&report["found"], &report["different"], &report["duplicates"]), (&2.into(), &1.into(), &1.into()));
    let source = &report["sources"][0];
    assert_eq!((&source["new"], &source["pages"], &source["rejected"]), (&1.into(), &1.into(), &1.into()));
    assert_eq!(source["rejections"][0], "line 3: white space inside (\"nothing here\")");
    assert!(source["time_ms"].as_f64().is_some_and(|time| time > 0.0));
}

const SCRIPTED: &str = "<!doctype html><table id=t><tr><th>IP<th>Port</table><script>setTimeout(() => { \
    for (let n = 1; n <= 20; n++) t.insertRow().innerHTML = `<td>192.0.2.${n}</td><td>8080</td>`; }, 300)</script>";

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_a_script_makes_is_rendered_if_the_user_says_so_or_nothing_else_is_found() {
    let world = World::start(WorldPlan::default()).await.unwrap();
    world.origin().publish("table", "text/html", SCRIPTED);
    let url = world.origin().http_url("/lists/table");
    for words in [&["--render", "auto"][..], &["--render", "javascript", "--wait-for", "tr:nth-child(21)"]] {
        let ran = run(proxywhirl(["fetch", &url, "--parser", "html-table"]).args(words));
        assert_eq!((ran.code, ran.stdout.lines().count()), (Some(0), 20), "{}", ran.stderr);
        assert!(ran.stderr.contains("(rendered, "), "{}", ran.stderr);
    }
    let without = run(&mut proxywhirl(["fetch", &url, "--parser", "html-table"]));
    assert_eq!((without.code, without.stdout.as_str()), (Some(1), ""), "{}", without.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_browser_a_page_that_needs_one_costs_itself() {
    let world = World::start(WorldPlan::healthy(2)).await.unwrap();
    world.origin().publish("table", "text/html", SCRIPTED);
    let url = world.origin().http_url("/lists/table");
    let folder = folder();
    let ran = run(proxywhirl(["fetch", "--render", "auto", &url, &world.complete_list()]).env("PATH", folder.path()));
    assert_eq!((ran.code, ran.stdout.lines().count()), (Some(0), 2), "{}", ran.stderr);
    assert!(ran.stderr.contains("there is no Chromium here (hint: run `apt-get install chromium`)"), "{}", ran.stderr);
}

/// Whether any process was started with this text in its arguments.
fn is_running(text: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    lines.into_iter().any(|line| String::from_utf8_lossy(&line).contains(&format!("--user-data-dir={text}")))
}

/// Waits for something, half a minute at the most.
async fn within_reason(is_so: impl Fn() -> bool) -> bool {
    for _ in 0..300 {
        if is_so() {
            return true;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_the_browser_when_we_are_killed() {
    let world = World::start(WorldPlan::default()).await.unwrap();
    world.origin().publish("table", "text/html", SCRIPTED);
    let (folder, url) = (folder(), world.origin().http_url("/lists/table"));
    let place = folder.path().to_str().unwrap();
    let mut command = proxywhirl(["fetch", "--render", "javascript", "--wait-for", "#never", &url]);
    command.env("TMPDIR", place).stderr(std::process::Stdio::null());
    let mut child = command.spawn().unwrap();
    assert!(within_reason(|| is_running(place)).await, "no browser was started");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(within_reason(|| !is_running(place)).await, "processes are left");
    assert!(within_reason(|| std::fs::read_dir(place).unwrap().count() == 0).await, "a profile is left");
}
