//! The examples in other languages, and what `plugin new` makes: built by the real binary with the tools that
//! the languages' own package managers bring, and then at work.
//!
//! A tool that is missing fails the test with the command that installs it. Toolchains and components are kept
//! in the cache of these tests, so only the first run pays for them.

use std::path::{Path, PathBuf};

use proxywhirl_tests::{Ran, Served, curl, file, folder, proxywhirl, run};
use proxywhirl_world::{Protocol, UpstreamOptions, World, WorldPlan};

const KINDS: [&str; 3] = ["strategy", "parser", "hook"];

/// The folder of examples.
fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/examples")
}

/// Builds, without the limit of other commands: each tool has one of its own, and the first run installs them.
fn build(project: &Path, out: &Path) -> Ran {
    let mut command = proxywhirl(["plugin", "build"]);
    let ran: Ran = command.arg(project).arg("--out").arg(out).output().unwrap().into();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    ran
}

/// One example, in a folder of plugins, compiled: what compiles for seconds must not do so while a gateway starts.
fn example(name: &str) -> tempfile::TempDir {
    let plugins = folder();
    build(&examples().join(name), plugins.path());
    let mut test = proxywhirl(["plugin", "test", "--component"]);
    test.arg(plugins.path().join(format!("{name}.wasm"))).arg(examples().join(name));
    let ran: Ran = test.output().unwrap().into();
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    plugins
}

fn fetch(plugins: &tempfile::TempDir, parser: &str, document: &Path) -> Ran {
    run(proxywhirl(["fetch", "--format", "text", "--parser", parser, "--plugins"]).arg(plugins.path()).arg(document))
}

fn lines(ran: &Ran) -> Vec<&str> {
    ran.stdout.lines().collect()
}

#[test]
fn a_parser_in_python_reads_an_ini_file() {
    let ran = fetch(&example("ini"), "ini", &examples().join("ini/tests/basic.input.ini"));
    assert_eq!(
        lines(&ran),
        ["http://203.0.113.7:8080", "socks5://alice:s%25cret@proxy.example:1080"],
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("2 rejected"), "{}", ran.stderr);
}

#[test]
fn a_parser_in_javascript_reads_tables() {
    let document = examples().join("markdown-table/tests/basic.input.md");
    let ran = fetch(&example("markdown-table"), "markdown-table", &document);
    let expected = ["http://203.0.113.7:8080", "socks5://198.51.100.20:1080", "https://proxy.example:3128"];
    assert_eq!(lines(&ran), expected, "{}", ran.stderr);
}

/// Sends requests through a gateway with a strategy, over these lists of upstreams; how many requests each upstream got.
async fn spread(plugins: &tempfile::TempDir, strategy: &str, lists: &[usize], requests: usize) -> Vec<u64> {
    let upstreams = (0..lists.iter().sum()).map(|_| UpstreamOptions::new(Protocol::Http)).collect();
    let world = World::start(WorldPlan::new(upstreams)).await.unwrap();
    let (folder, proxies) = (folder(), world.proxies());
    let mut arguments = vec!["--strategy".to_owned(), strategy.to_owned()];
    arguments.extend(["--plugins".to_owned(), plugins.path().display().to_string()]);
    let mut rest = &proxies[..];
    for (number, size) in lists.iter().enumerate() {
        let (own, others) = rest.split_at(*size);
        rest = others;
        arguments.extend(["--proxies".to_owned(), file(&folder, &format!("list-{number}.txt"), own.join("\n"))]);
    }
    let served = Served::start(&arguments);
    let one = format!(
        "url = \"{}\"\nproxy = \"{}\"\noutput = \"/dev/null\"\nwrite-out = \"%{{http_code}}\\n\"\n",
        world.origin().http_url("/"),
        served.proxy("http")
    );
    let ran = curl(["--config".to_owned(), file(&folder, "curl", one.repeat(requests))]);
    assert_eq!(ran.stdout.lines().filter(|line| *line == "200").count(), requests, "{}\n{}", ran.stderr, served.log());
    assert!(!served.log().contains("faulted"), "{}", served.log());
    world.upstreams().iter().map(|upstream| upstream.counters().requests()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strategy_in_c_decides_for_each_request() {
    let counts = spread(&example("sampled"), "sampled", &[10], 400).await;
    // By chance alone, the most used of ten would be far ahead of the least used.
    let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
    assert!(most - least <= 12, "{counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strategy_in_python_gives_each_source_its_share() {
    let counts = spread(&example("fair-sources"), "fair-sources", &[9, 1], 400).await;
    // Half of them, within five standard deviations; without the strategy it would be 40.
    assert!((150..=250).contains(&counts[9]), "{counts:?}");
}

/// What `plugin new` makes, without an edit: it builds, behaves, and passes its own tests.
fn new_ones_work(language: &str) {
    let place = folder();
    for kind in KINDS {
        let name = format!("new-{kind}-{language}");
        let made = run(proxywhirl(["plugin", "new", kind, &name, "--lang", language]).current_dir(place.path()));
        assert_eq!(made.code, Some(0), "{}", made.stderr);
        let project = place.path().join(&name);
        build(&project, &project.join("dist"));
        // A million calls of an interpreter take minutes, and say no more here than some thousands.
        for (command, options) in [("check", &["--calls", "20000", "--patience", "10s"][..]), ("test", &[])] {
            let ran: Ran = proxywhirl(["plugin", command]).args(options).arg(&project).output().unwrap().into();
            assert_eq!(ran.code, Some(0), "{command} {name}: {}{}", ran.stdout, ran.stderr);
        }
    }
}

#[test]
fn what_is_new_works_in_rust() {
    new_ones_work("rust");
}

#[test]
fn what_is_new_works_in_c() {
    new_ones_work("c");
}

#[test]
fn what_is_new_works_in_javascript() {
    new_ones_work("javascript");
}

#[test]
fn what_is_new_works_in_python() {
    new_ones_work("python");
}

#[test]
fn what_has_not_changed_is_not_built_again() {
    let (place, out) = (folder(), folder());
    let made = run(proxywhirl(["plugin", "new", "parser", "mine", "--lang", "c"]).current_dir(place.path()));
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let project = place.path().join("mine");
    assert!(!build(&project, out.path()).stderr.contains("unchanged"));
    assert!(build(&project, out.path()).stderr.contains("mine is unchanged"));
    let source = project.join("plugin.c");
    std::fs::write(&source, std::fs::read_to_string(&source).unwrap() + "\n// changed\n").unwrap();
    assert!(!build(&project, out.path()).stderr.contains("unchanged"));
    std::fs::write(&source, "int oops = ;\n").unwrap();
    let ran: Ran = proxywhirl(["plugin", "build"]).arg(&project).output().unwrap().into();
    assert_eq!(ran.code, Some(3));
    assert!(ran.stderr.contains("clang failed") && ran.stderr.contains("plugin.c:1"), "{}", ran.stderr);
}

#[test]
fn a_name_that_is_none_and_a_folder_that_is_there_are_refused() {
    let place = folder();
    let new = |name: &str| run(proxywhirl(["plugin", "new", "hook", name, "--lang", "c"]).current_dir(place.path()));
    let bad = new("../up");
    assert_eq!(bad.code, Some(2));
    assert!(bad.stderr.contains("the name \"../up\" is not [a-z][a-z0-9-]{0,63}"), "{}", bad.stderr);
    std::fs::create_dir(place.path().join("mine")).unwrap();
    let there = new("mine");
    assert_eq!(there.code, Some(3));
    assert!(there.stderr.contains("mine is there already"), "{}", there.stderr);
}
