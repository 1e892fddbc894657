//! `proxywhirl pool`.

use proxywhirl_tests::{file, folder, proxywhirl, run_with_input};

use super::{json, run_in, transcript};

#[test]
fn a_pool_is_filled_from_arguments_and_lists() {
    let folder = folder();
    file(&folder, "list.txt", "http://192.0.2.1:80\nsocks5://192.0.2.3:1080\nnonsense\n");
    let pool = |arguments: &[&str]| {
        let ran = run_in(&folder, &[&["pool"], arguments, &["--db", "pool.db"]].concat());
        transcript(&ran)
    };
    insta::assert_snapshot!(pool(&["add", "http://user:hunter2@192.0.2.2:8080", "192.0.2.1:80", "--tag", "own"]), @"
    2 added, 0 known already, 0 rejected
    exit code 0
    ");
    insta::assert_snapshot!(pool(&["add", "--from", "list.txt", "--tag", "listed"]), @r#"
      1 × no port
      line 3: no port ("nonsense")
    1 added, 1 known already, 1 rejected
    exit code 0
    "#);
}

#[test]
fn a_pool_is_looked_at_and_emptied() {
    let folder = folder();
    file(&folder, "list.txt", "http://192.0.2.1:80\nsocks5://192.0.2.3:1080\n");
    let pool = |arguments: &[&str]| {
        let ran = run_in(&folder, &[&["pool"], arguments, &["--db", "pool.db"]].concat());
        transcript(&ran)
    };
    assert!(pool(&["add", "http://user:hunter2@192.0.2.2:8080", "192.0.2.1:80", "--tag", "own"]).ends_with("code 0"));
    assert!(pool(&["add", "--from", "list.txt", "--tag", "listed"]).ends_with("code 0"));
    insta::assert_snapshot!(pool(&["list"]), @"
    PROXY                           TAGS                                                  COUNTRY  OK  FAILED  LATENCY  USED
    http://user:***@192.0.2.2:8080  own source:inline source:user                         -        0   0       -        never
    http://192.0.2.1:80             listed own source:inline source:list.txt source:user  -        0   0       -        never
    socks5://192.0.2.3:1080         listed source:list.txt source:user                    -        0   0       -        never
    3 proxies
    exit code 0
    ");
    insta::assert_snapshot!(pool(&["list", "--tag", "listed"]), @"
    PROXY                    TAGS                                                  COUNTRY  OK  FAILED  LATENCY  USED
    http://192.0.2.1:80      listed own source:inline source:list.txt source:user  -        0   0       -        never
    socks5://192.0.2.3:1080  listed source:list.txt source:user                    -        0   0       -        never
    2 proxies
    exit code 0
    ");
    insta::assert_snapshot!(pool(&["list", "--tag", "nobody"]), @"
    0 proxies
    exit code 1
    ");
    insta::assert_snapshot!(pool(&["stats"]), @"
    WHAT                 COUNT
    proxies              3
    never used           3
    uses that went well  0
    uses that failed     0
    protocol http        2
    protocol socks5      1
    source inline        2
    source list.txt      2
    source user          3
    exit code 0
    ");
    insta::assert_snapshot!(pool(&["remove", "192.0.2.2:8080", "203.0.113.9:1"]), @"
    1 removed, 2 left
    exit code 0
    ");
    insta::assert_snapshot!(pool(&["remove", "203.0.113.9:1"]), @"
    0 removed, 2 left
    exit code 1
    ");
    insta::assert_snapshot!(pool(&["remove", "--tag", "listed"]), @"
    2 removed, 0 left
    exit code 0
    ");
    insta::assert_snapshot!(pool(&["list"]), @"
    0 proxies
    exit code 1
    ");
}

#[test]
fn scripts_get_json_and_passwords_only_when_they_ask() {
    let folder = folder();
    let added = run_in(&folder, &["pool", "add", "--db", "pool.db", "http://user:hunter2@192.0.2.2:8080"]);
    assert_eq!(added.code, Some(0), "{}", added.stderr);
    let listed = run_in(&folder, &["pool", "list", "--db", "pool.db", "--json"]);
    assert!(!listed.stdout.contains("hunter2") && !listed.stderr.contains("hunter2"));
    let row = json(&listed)[0].clone();
    assert_eq!((&row["url"], &row["successes"]), (&"http://user:***@192.0.2.2:8080".into(), &0.into()));
    assert!(row["last_used_at"].is_null() && row["added_at"].as_str().unwrap().ends_with('Z'), "{row}");
    let shown = run_in(&folder, &["pool", "list", "--db", "pool.db", "--json", "--show-passwords"]);
    assert_eq!(json(&shown)[0]["url"], "http://user:hunter2@192.0.2.2:8080");
    let stats = json(&run_in(&folder, &["pool", "stats", "--db", "pool.db", "--json"]));
    assert_eq!((&stats["members"], &stats["never_used"]), (&1.into(), &1.into()), "{stats}");
    assert_eq!(stats["by_scheme"], serde_json::json!({ "http": 1 }));
}

#[test]
fn a_list_comes_from_standard_input_too() {
    let folder = folder();
    let mut command = proxywhirl(["pool", "add", "--db", "pool.db", "--from", "-"]);
    let ran = run_with_input(command.current_dir(folder.path()), "192.0.2.1:80\n192.0.2.2:80\n");
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(json(&run_in(&folder, &["pool", "list", "--db", "pool.db", "--json"])).as_array().unwrap().len(), 2);
}

#[test]
fn a_list_is_imported_from_a_pipe_too() {
    let folder = folder();
    for (number, pipe) in ["-", "/dev/stdin"].into_iter().enumerate() {
        let mut command = proxywhirl(["pool", "import", "--db", &format!("{number}.db"), pipe]);
        let ran = run_with_input(command.current_dir(folder.path()), "192.0.2.1:80\n192.0.2.2:80\n");
        assert!(ran.stderr.ends_with("2 added, 0 known already, 0 rejected\n"), "{pipe}: {}", ran.stderr);
        assert_eq!(ran.code, Some(0), "{pipe}");
    }
}

#[test]
fn a_list_may_be_imported_that_is_larger_than_a_source() {
    let folder = folder();
    let comment = format!("#{}\n", "x".repeat(65_535));
    file(&folder, "list.txt", format!("192.0.2.1:80\n{}192.0.2.2:80\n", comment.repeat(1_025)));
    let ran = run_in(&folder, &["pool", "import", "--db", "pool.db", "list.txt"]);
    assert!(ran.stderr.ends_with("2 added, 0 known already, 0 rejected\n"), "{}", ran.stderr);
}
