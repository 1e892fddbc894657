#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;

use crate::ingest::gather::{Gathered, Gatherer, SourceReport};
use crate::ingest::tests::{Fake, parsers};
use crate::source::tests::{answer, server};
use crate::source::{Fetcher, FetcherConfig, Follow, Limits, Manners, Source};

/// Serves `/n`: one proxy, and what `named` says of page n.
async fn site(named: impl Fn(u32) -> String + Send + 'static) -> SocketAddr {
    server(move |head| {
        let path = head.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
        match path.parse::<u32>() {
            Ok(page) => answer("", format!("1.1.{}.{}:80\n{}", page / 256, page % 256, named(page)).as_bytes()),
            Err(_) => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec(),
        }
    })
    .await
}

async fn gather(addr: SocketAddr, follow: Follow, limits: Limits) -> (Gathered, SourceReport) {
    let manners = Manners { pause: std::time::Duration::ZERO, ..Manners::default() };
    let config = FetcherConfig { limits, manners, ignore_system_proxy: true, ..FetcherConfig::default() };
    let gatherer = Gatherer::new(Fetcher::new(config), parsers([Fake::lines("text", 10)]), false);
    let source = Source { follow, ..Source::new(format!("http://{addr}/0").parse().unwrap()) };
    let gathered = gatherer.gather(&[source], &|_| ()).await;
    let report = gathered.sources.first().unwrap().clone();
    (gathered, report)
}

#[tokio::test]
async fn pages_are_followed_to_their_end_each_once() {
    let addr = site(|page| match page {
        0 => "follow /1\nfollow 2#top\nfollow /0".to_owned(),
        1 => "follow ./2\nfollow /1".to_owned(),
        _ => "follow /0\nfollow /2#end".to_owned(),
    })
    .await;
    let (gathered, report) = gather(addr, Follow::SameOrigin, Limits::default()).await;
    assert_eq!((gathered.candidates.len(), report.pages, report.follow.len()), (3, 3, 0));
    assert_eq!((report.candidates, report.new, report.incomplete), (3, 3, None));
}

#[tokio::test]
async fn a_chain_without_end_is_cut() {
    let addr = site(|page| format!("follow /{}", page + 1)).await;
    let (gathered, report) = gather(addr, Follow::SameOrigin, Limits { pages: 10, ..Limits::default() }).await;
    assert_eq!((gathered.candidates.len(), report.pages), (10, 10));
    assert_eq!(report.follow, [format!("http://{addr}/10")]);
}

#[tokio::test]
async fn all_pages_together_are_capped() {
    let addr = site(|page| format!("follow /{}\n{}", page + 1, "x".repeat(1000))).await;
    let (gathered, report) = gather(addr, Follow::SameOrigin, Limits { bytes: 5000, ..Limits::default() }).await;
    assert_eq!(gathered.candidates.len(), 4);
    assert_eq!(report.incomplete.unwrap(), "all pages together are larger than 5000 bytes");
}

#[tokio::test]
async fn another_origin_is_asked_only_if_the_source_says_so() {
    let elsewhere = site(|_| String::new()).await;
    let addr = site(move |_| format!("follow http://{elsewhere}/7\nfollow javascript:alert(1)")).await;
    let (gathered, report) = gather(addr, Follow::SameOrigin, Limits::default()).await;
    assert_eq!((gathered.candidates.len(), report.follow), (1, vec![format!("http://{elsewhere}/7")]));
    let (gathered, _) = gather(addr, Follow::Any, Limits::default()).await;
    assert_eq!(gathered.candidates.len(), 2);
    let addr = site(|_| "follow /1".to_owned()).await;
    let (gathered, report) = gather(addr, Follow::No, Limits::default()).await;
    assert_eq!((gathered.candidates.len(), report.follow.len()), (1, 1));
}

#[tokio::test]
async fn a_page_that_fails_costs_itself() {
    let addr = site(|page| if page == 0 { "follow /gone\nfollow /1".to_owned() } else { String::new() }).await;
    let (gathered, report) = gather(addr, Follow::SameOrigin, Limits::default()).await;
    assert_eq!(gathered.candidates.len(), 2);
    assert!(report.incomplete.unwrap().ends_with("/gone): the server answered 404 Not Found"));
    assert_eq!(report.error, None);
}
