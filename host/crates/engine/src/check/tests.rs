#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proxywhirl_core::Tags;
use proxywhirl_net::{DialerConfig, TlsConfig};
use proxywhirl_world::{Anonymity as Told, Behaviour, Protocol, TestCa, Upstream, UpstreamOptions, closed_port};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::judge::{Judge, JudgeConfig};
use super::*;

/// A judge, a certificate authority, and a checker that knows both.
struct Court {
    ca: TestCa,
    judge: JoinHandle<()>,
    checker: Checker,
}

impl Drop for Court {
    fn drop(&mut self) {
        self.judge.abort();
    }
}

impl Court {
    /// With the time for one check.
    async fn with(timeout: Duration) -> Self {
        let ca = TestCa::new().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = JudgeUrl::from(listener.local_addr().unwrap());
        let judge = Judge::new(JudgeConfig::default(), Clock::default());
        let judge = tokio::spawn(judge.serve(listener, std::future::pending()));
        let tls = TlsConfig { extra_ca_pem: Some(ca.ca_pem().into_bytes()), ..TlsConfig::default() };
        let dialer = Dialer::new(DialerConfig { connect_timeout: timeout, tls }).unwrap();
        let config = CheckerConfig {
            timeout,
            concurrency: 4,
            own_addresses: vec!["127.0.0.1".parse().unwrap()],
            ..CheckerConfig::new(dialer, Some(url), Clock::default())
        };
        Self { ca, judge, checker: Checker::new(config) }
    }

    async fn patient() -> Self {
        Self::with(Duration::from_secs(20)).await
    }

    fn options(&self, protocol: Protocol) -> UpstreamOptions {
        let mut options = UpstreamOptions::new(protocol);
        if protocol == Protocol::Https {
            options.tls = Some(self.ca.server_config(&[]).unwrap());
        }
        options
    }

    async fn check(&self, upstream: &Upstream, level: Level) -> Checked {
        self.checker.check(candidate(&upstream.url()), level).await
    }
}

fn candidate(url: &str) -> Candidate {
    let endpoint = url.parse().unwrap();
    Candidate { endpoint, tags: Tags::default(), country: None, anonymity: Anonymity::Unknown, line: 1 }
}

#[tokio::test]
async fn all_six_protocols_reach_the_judge_with_credentials() {
    let court = Court::patient().await;
    for protocol in Protocol::ALL {
        let upstream = Upstream::start(court.options(protocol).credentials("user", "p@ss:word")).await.unwrap();
        let checked = court.check(&upstream, Level::Http).await;
        assert_eq!(checked.verdict.fault, None, "{protocol}");
        assert_eq!(checked.verdict.passed, Some(Level::Http), "{protocol}");
        assert!(checked.verdict.latency.is_some(), "{protocol}");
        let verified = checked.into_verified().unwrap();
        assert_eq!(verified.candidate().endpoint.to_url(), upstream.url());
    }
}

#[tokio::test]
async fn wrong_credentials_are_the_upstream_s_refusal() {
    let court = Court::patient().await;
    for protocol in [Protocol::Http, Protocol::Socks5] {
        let upstream = Upstream::start(court.options(protocol).credentials("user", "right")).await.unwrap();
        let checked = court.checker.check(candidate(&upstream.url().replace("right", "wrong")), Level::Http).await;
        let fault = checked.verdict.fault.clone().unwrap();
        assert_eq!((fault.side, fault.stage, fault.kind), (Side::Upstream, Stage::Auth, Kind::Unauthorized));
        assert_eq!(checked.verdict.passed, Some(Level::Tcp));
        assert!(checked.into_verified().is_err());
    }
}

#[tokio::test]
async fn a_proxy_that_answers_200_to_anything_fails() {
    let court = Court::patient().await;
    for protocol in Protocol::ALL {
        let upstream = Upstream::start(court.options(protocol).behaviour(Behaviour::AlwaysOk)).await.unwrap();
        let verdict = court.check(&upstream, Level::Http).await.verdict;
        let fault = verdict.fault.expect("it lies");
        assert_eq!((fault.side, fault.kind), (Side::Upstream, Kind::Protocol), "{protocol}: {fault}");
        assert_eq!(verdict.passed, Some(Level::Tcp), "{protocol}");
        assert_eq!(court.check(&upstream, Level::Tcp).await.verdict.fault, None, "{protocol}");
    }
}

#[tokio::test]
async fn every_misbehaviour_fails_and_says_how() {
    let court = Court::patient().await;
    for (behaviour, kinds) in [
        (Behaviour::CloseAfterHead, &[Kind::Closed, Kind::Reset][..]),
        (Behaviour::GarbageReply, &[Kind::Protocol]),
        (Behaviour::HeaderBomb, &[Kind::TooLarge, Kind::Protocol]),
    ] {
        for protocol in Protocol::ALL {
            let upstream = Upstream::start(court.options(protocol).behaviour(behaviour)).await.unwrap();
            let verdict = court.check(&upstream, Level::Http).await.verdict;
            let fault = verdict.fault.unwrap_or_else(|| panic!("{protocol} {behaviour} passed"));
            assert_eq!(fault.side, Side::Upstream, "{protocol} {behaviour}: {fault}");
            assert!(kinds.contains(&fault.kind), "{protocol} {behaviour}: {fault}");
            assert_eq!(verdict.passed, Some(Level::Tcp), "{protocol} {behaviour}: {fault}");
        }
    }
}

#[tokio::test]
async fn a_silent_proxy_costs_the_timeout_and_no_more() {
    let court = Court::with(Duration::from_millis(500)).await;
    for protocol in Protocol::ALL {
        let upstream = Upstream::start(court.options(protocol).behaviour(Behaviour::Silent)).await.unwrap();
        let verdict = court.check(&upstream, Level::Http).await.verdict;
        let fault = verdict.fault.expect("it never answers");
        assert_eq!(fault.kind, Kind::Timeout, "{protocol}: {fault}");
        assert_eq!(verdict.passed, Some(Level::Tcp), "{protocol}: {fault}");
    }
}

#[tokio::test]
async fn a_closed_port_passes_the_format_only() {
    let court = Court::patient().await;
    let port = closed_port().unwrap();
    for level in Level::ALL {
        let checked = court.checker.check(candidate(&format!("http://{}", port.addr())), level).await;
        assert_eq!(checked.verdict.passed, Some(Level::Format));
        assert_eq!(checked.verdict.fault.map(|fault| fault.kind), (level != Level::Format).then_some(Kind::Refused));
    }
}

#[tokio::test]
async fn an_https_proxy_that_nobody_vouches_for_passes_tcp() {
    let court = Court::patient().await;
    let stranger = TestCa::new().unwrap();
    let mut options = court.options(Protocol::Https);
    options.tls = Some(stranger.server_config(&[]).unwrap());
    let upstream = Upstream::start(options).await.unwrap();
    assert_eq!(court.check(&upstream, Level::Tcp).await.verdict.passed, Some(Level::Tcp));
    assert!(court.check(&upstream, Level::Tcp).await.verdict.is_alive());
    let verdict = court.check(&upstream, Level::Http).await.verdict;
    assert_eq!(verdict.fault.map(|fault| fault.stage), Some(Stage::Tls));
}

#[tokio::test]
async fn what_a_proxy_tells_the_judge_is_its_anonymity() {
    let court = Court::patient().await;
    for (told, seen) in [
        (Told::Elite, Anonymity::Elite),
        (Told::Anonymous, Anonymity::Anonymous),
        (Told::Transparent, Anonymity::Transparent),
    ] {
        let options = court.options(Protocol::Http).anonymity(told).egress("127.0.0.9".parse().unwrap());
        let upstream = Upstream::start(options).await.unwrap();
        assert_eq!(court.check(&upstream, Level::Http).await.candidate.anonymity, seen);
    }
    let same_address = Upstream::start(court.options(Protocol::Http)).await.unwrap();
    let mut claimed = candidate(&same_address.url());
    claimed.anonymity = Anonymity::Elite;
    let checked = court.checker.check(claimed, Level::Http).await;
    assert_eq!(checked.candidate.anonymity, Anonymity::Elite, "what was not seen leaves the claim");
}

#[tokio::test]
async fn the_judge_can_be_asked_without_a_proxy() {
    let court = Court::patient().await;
    assert_eq!(court.checker.ask_judge_directly().await.unwrap().peer, "127.0.0.1".parse::<IpAddr>().unwrap());
    let port = closed_port().unwrap();
    let gone = CheckerConfig { judge: Some(port.addr().into()), ..CheckerConfig::clone(&court.checker.config) };
    let fault = Checker::new(gone).ask_judge_directly().await.unwrap_err();
    assert_eq!((fault.side, fault.stage), (Side::Origin, Stage::Connect));
    let none = CheckerConfig { judge: None, ..CheckerConfig::clone(&court.checker.config) };
    let upstream = Upstream::start(court.options(Protocol::Http)).await.unwrap();
    let verdict = Checker::new(none).check(candidate(&upstream.url()), Level::Http).await.verdict;
    assert_eq!(verdict.fault.map(|fault| fault.side), Some(Side::Ours));
}

#[tokio::test]
async fn many_are_checked_a_few_at_a_time_and_each_once() {
    let court = Court::patient().await;
    let good = Upstream::start(court.options(Protocol::Http).behaviour(Behaviour::Slow(Duration::from_millis(20))));
    let good = good.await.unwrap();
    let dead = closed_port().unwrap();
    let (taken, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counts = (Arc::clone(&taken), Arc::clone(&done));
    let urls = (1..=40).map(move |line| {
        // Taken from the list only when there is room.
        let ahead = counts.0.fetch_add(1, Ordering::SeqCst) - counts.1.load(Ordering::SeqCst);
        assert!(ahead <= 4, "{ahead} at the same time");
        let url = if line % 4 == 0 { format!("http://{}", dead.addr()) } else { good.url() };
        Candidate { line, ..candidate(&url) }
    });
    let mut checks = std::pin::pin!(court.checker.check_all(urls, Level::Http));
    let (mut lines, mut alive) = (HashSet::new(), 0);
    while let Some(checked) = checks.next().await {
        done.fetch_add(1, Ordering::SeqCst);
        assert_eq!(checked.verdict.is_alive(), checked.candidate.line % 4 != 0);
        assert!(lines.insert(checked.candidate.line));
        alive += u32::from(checked.verdict.is_alive());
    }
    assert_eq!((lines.len(), alive), (40, 30));
}

#[tokio::test]
async fn checks_run_in_a_task_of_their_own() {
    let court = Court::patient().await;
    let checker = court.checker.clone();
    let run =
        tokio::spawn(
            async move { checker.check_all(vec![candidate("http://1.2.3.4:80")], Level::Format).count().await },
        );
    assert_eq!(run.await.unwrap(), 1);
}
