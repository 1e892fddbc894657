//! `proxywhirl demo`.

use std::collections::BTreeMap;

use proxywhirl_tests::{proxywhirl, run};

/// The rows of a table by their first column, which ends where two spaces begin.
fn rows(table: &str) -> BTreeMap<&str, Vec<&str>> {
    let cells = |line| str::split(line, "  ").map(str::trim).filter(|cell| !cell.is_empty()).collect::<Vec<_>>();
    table.lines().map(cells).filter(|cells| !cells.is_empty()).map(|cells| (cells[0], cells[1..].to_vec())).collect()
}

fn number(cells: &[&str], column: usize) -> u64 {
    cells[column].split(' ').next().unwrap().parse().unwrap_or_else(|_| panic!("{cells:?}"))
}

#[test]
fn the_demonstration_answers_every_request_and_its_summary_adds_up() {
    let ran = run(&mut proxywhirl(["demo", "--once"]));
    assert_eq!(ran.code, Some(0), "{}\n{}", ran.stdout, ran.stderr);
    let (summary, proxies) = ran.stdout.split_once("PROXY IN THE POOL").unwrap();
    let summary = rows(summary);
    let count = |name: &str| number(&summary[name], 0);
    let accounted = ["rejected", "duplicates", "dead in the check", "alive, in the pool"].map(count);
    assert_eq!(accounted.iter().sum::<u64>(), count("entries in the lists"), "{}", ran.stdout);
    assert!(accounted.iter().all(|count| *count > 0), "it shows nothing of it: {}", ran.stdout);
    let because: u64 =
        summary.iter().filter(|(name, _)| name.starts_with("because:")).map(|(_, cells)| number(cells, 0)).sum();
    assert_eq!(because, count("rejected"));
    assert_eq!((count("requests sent"), count("answered")), (120, 120));
    let ways = ["HTTP", "HTTPS by CONNECT", "HTTPS by SOCKS5"].map(count);
    assert_eq!(ways.iter().sum::<u64>(), 120);
    assert!(count("failovers") > 0);
    // Below the table's header: the proxies.
    let proxies = rows(proxies.split_once('\n').unwrap().1);
    assert_eq!(proxies.len() as u64, count("alive, in the pool"));
    let served: u64 = proxies.values().map(|cells| number(cells, 1)).sum();
    assert_eq!(served, 120, "{}", ran.stdout);
    assert!(proxies.values().any(|cells| cells[0] == "dead" && number(cells, 2) > 0), "nobody died: {}", ran.stdout);
}

#[test]
fn the_demonstration_is_as_large_as_one_likes() {
    for upstreams in ["2", "3", "24"] {
        let ran = run(&mut proxywhirl(["demo", "--once", "--upstreams", upstreams, "--requests", "30"]));
        assert_eq!(ran.code, Some(0), "{upstreams}: {}\n{}", ran.stdout, ran.stderr);
        let (summary, _) = ran.stdout.split_once("PROXY IN THE POOL").unwrap();
        assert_eq!(number(&rows(summary)["answered"], 0), 30);
    }
}
