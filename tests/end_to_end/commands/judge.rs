//! `proxywhirl judge`.

use proxywhirl_tests::{Served, curl};

#[test]
fn a_judge_answers_whoever_asks_and_stops_when_it_is_told() {
    let judge = Served::judge();
    let url = format!("http://{}/judge?nonce=of-mine", judge.address);
    let ran = curl(["--fail", "--header", "X-Forwarded-For: 203.0.113.9", &url]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stdout.contains("127.0.0.1"), "it does not say who asked: {}", ran.stdout);
    assert!(ran.stdout.contains("of-mine"), "it does not answer this request: {}", ran.stdout);
    assert!(ran.stdout.contains("203.0.113.9"), "it does not say what a proxy told: {}", ran.stdout);
    let (code, log) = judge.stop();
    assert_eq!(code, Some(0), "{log}");
    assert_ne!(curl([&url]).code, Some(0), "it still listens");
}
