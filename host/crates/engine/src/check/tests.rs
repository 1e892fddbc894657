#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::StreamExt;
use proxywhirl_net::{DialerConfig, TlsConfig};
use proxywhirl_world::{
    Anonymity as Told, Behaviour, Origin, Protocol, TestCa, Upstream, UpstreamOptions, closed_port,
};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::judge::{Judge, JudgeConfig, JudgeTls};
use super::target::Expected;
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
        let judge = Judge::new(JudgeConfig::default(), Clock::default()).with_tls(JudgeTls::self_signed().unwrap());
        let judge = tokio::spawn(judge.serve(listener, std::future::pending()));
        let tls = TlsConfig { extra_ca_pem: Some(ca.ca_pem().into_bytes()), ..TlsConfig::default() };
        let trusted = proxywhirl_net::tls::client_config(&tls).unwrap();
        let dialer = Dialer::new(DialerConfig { connect_timeout: timeout, tls }).unwrap();
        let usual = CheckerConfig::new(dialer, vec![url], trusted, Clock::default());
        let config = CheckerConfig { allow_private: true, timeout, concurrency: 4, ..usual };
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
    Candidate { line: 1, ..url.parse::<Endpoint>().unwrap().into() }
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
async fn where_requests_fill_in_the_login_each_check_has_a_session_of_its_own() {
    let court = Court::patient().await;
    let vendor = Upstream::start(court.options(Protocol::Http).any_login()).await.unwrap();
    let url = format!("http://me-{{session}}[-{{country}}]:word@{}", vendor.addr());
    for _ in 0..2 {
        let checked = court.checker.check(candidate(&url), Level::Tls).await;
        assert_eq!((checked.verdict.fault, checked.verdict.passed), (None, Some(Level::Tls)));
        assert_eq!(checked.candidate.endpoint, url.parse().unwrap(), "the candidate stays what it is");
    }
    let logins = vendor.logins();
    let [(first, _), (tunnelled, _), (second, _), _] = logins.as_slice() else { panic!("{logins:?}") };
    assert_eq!((first, first.len()), (tunnelled, "me-".len() + 10));
    assert_ne!(first, second);
}

#[tokio::test]
async fn chains_are_checked_like_others_and_a_fault_names_its_hop() {
    let court = Court::patient().await;
    let first = Upstream::start(court.options(Protocol::Socks5).credentials("user", "right")).await.unwrap();
    let last = Upstream::start(court.options(Protocol::Http)).await.unwrap();
    let chain = format!("{} -> {}", first.url(), last.url());
    for level in [Level::Dns, Level::Tcp, Level::Protocol, Level::Tls] {
        let verdict = court.checker.check(candidate(&chain), level).await.verdict;
        assert_eq!((verdict.fault, verdict.passed), (None, Some(level)));
    }
    let verdict = court.checker.check(candidate(&chain.replace("right", "wrong")), Level::Http).await.verdict;
    let fault = verdict.fault.unwrap();
    assert!(fault.detail.starts_with(&format!("hop 1 of 2, socks5://{}: ", first.addr())), "{fault}");
    assert_eq!(fault.stage, Stage::Auth);
}

#[tokio::test]
async fn wrong_credentials_are_the_upstream_s_refusal() {
    let court = Court::patient().await;
    for protocol in [Protocol::Http, Protocol::Socks5] {
        let upstream = Upstream::start(court.options(protocol).credentials("user", "right")).await.unwrap();
        let checked = court.checker.check(candidate(&upstream.url().replace("right", "wrong")), Level::Http).await;
        let fault = checked.verdict.fault.clone().unwrap();
        assert_eq!((fault.side, fault.stage, fault.kind), (Side::Upstream, Stage::Auth, Kind::Unauthorized));
        assert_eq!(checked.verdict.passed, Some(Level::Protocol));
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
        assert_eq!((fault.side, fault.kind), (Side::Upstream, Kind::Unexpected), "{protocol}: {fault}");
        assert_eq!(verdict.passed, Some(Level::Protocol), "{protocol}");
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
async fn a_closed_port_passes_the_format_and_its_name() {
    let court = Court::patient().await;
    let port = closed_port().unwrap();
    for level in Level::ALL {
        let checked = court.checker.check(candidate(&format!("http://{}", port.addr())), level).await;
        assert_eq!(checked.verdict.passed, Some(level.min(Level::Dns)));
        assert_eq!(checked.verdict.fault.map(|fault| fault.kind), (level > Level::Dns).then_some(Kind::Refused));
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
}

#[tokio::test]
async fn a_field_that_nobody_knows_tells_of_a_proxy_too_and_one_on_this_machine_is_measured_by_what_it_says() {
    let court = Court::patient().await;
    for (told, seen) in [
        (Told::Elite, Anonymity::Elite),
        (Told::Marked, Anonymity::Anonymous),
        (Told::Transparent, Anonymity::Transparent),
    ] {
        let upstream = Upstream::start(court.options(Protocol::Http).anonymity(told)).await.unwrap();
        let verdict = court.check(&upstream, Level::Http).await.verdict;
        assert_eq!((verdict.anonymity, verdict.exit), (seen, Some("127.0.0.1".parse().unwrap())));
    }
}

#[tokio::test]
async fn without_a_judge_no_proxy_is_to_blame() {
    let court = Court::patient().await;
    assert_eq!(court.checker.meet_judges().await, Ok(()));
    let port = closed_port().unwrap();
    let gone = CheckerConfig { judges: vec![port.addr().into()], ..CheckerConfig::clone(&court.checker.config) };
    let fault = Checker::new(gone).meet_judges().await.unwrap_err();
    assert_eq!((fault.side, fault.stage), (Side::Origin, Stage::Connect));
    let none = CheckerConfig { judges: Vec::new(), ..CheckerConfig::clone(&court.checker.config) };
    let upstream = Upstream::start(court.options(Protocol::Http)).await.unwrap();
    let verdict = Checker::new(none).check(candidate(&upstream.url()), Level::Http).await.verdict;
    assert_eq!(verdict.fault.map(|fault| fault.side), Some(Side::Ours));
}

#[tokio::test]
async fn checks_wait_while_no_judge_answers_and_go_on_with_one_that_does() {
    let court = Court::patient().await;
    let place = closed_port().unwrap();
    let address = place.addr();
    let config = CheckerConfig { judges: vec![address.into()], ..CheckerConfig::clone(&court.checker.config) };
    let checker = Checker::new(config);
    let upstream = Upstream::start(court.options(Protocol::Http)).await.unwrap();
    let url = upstream.url();
    let check = tokio::spawn(async move { checker.check(candidate(&url), Level::Http).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!check.is_finished(), "nobody is declared dead for a judge that is not there");
    drop(place);
    let judge = Judge::new(JudgeConfig::default(), Clock::default());
    let listener = TcpListener::bind(address).await.unwrap();
    let serving = tokio::spawn(judge.serve(listener, std::future::pending()));
    assert_eq!(check.await.unwrap().verdict.fault, None);
    serving.abort();
}

#[tokio::test]
async fn tls_through_it_is_the_judge_s_or_it_fails() {
    let court = Court::patient().await;
    for protocol in Protocol::ALL {
        let upstream = Upstream::start(court.options(protocol)).await.unwrap();
        let verdict = court.check(&upstream, Level::Tls).await.verdict;
        assert_eq!((verdict.fault, verdict.passed), (None, Some(Level::Tls)), "{protocol}");
        let resigning = Upstream::start(court.options(protocol).behaviour(Behaviour::ResignTls)).await.unwrap();
        let verdict = court.check(&resigning, Level::Tls).await.verdict;
        let fault = verdict.fault.unwrap();
        if protocol.scheme().starts_with("http") {
            assert_eq!((fault.stage, fault.kind), (Stage::Tls, Kind::Certificate), "{protocol}: {fault}");
            let blames = "somebody on the way answers TLS in place of 127.0.0.1: ";
            assert!(fault.detail.starts_with(blames), "{protocol}: {fault}");
            assert_eq!(verdict.passed, Some(Level::Http), "{protocol}: in the open it serves");
        }
    }
    for (behaviour, kind) in
        [(Behaviour::GarbageAfterConnect, Kind::Tls), (Behaviour::RefuseConnect(403), Kind::Denied)]
    {
        let upstream = Upstream::start(court.options(Protocol::Http).behaviour(behaviour)).await.unwrap();
        let verdict = court.check(&upstream, Level::Tls).await.verdict;
        assert_eq!(verdict.passed, Some(Level::Http), "{behaviour}");
        assert_eq!(verdict.fault.map(|fault| fault.kind), Some(kind), "{behaviour}");
    }
}

#[tokio::test]
async fn a_judge_that_was_started_anew_is_known_by_its_new_certificate() {
    let mut court = Court::patient().await;
    let upstream = Upstream::start(court.options(Protocol::Http)).await.unwrap();
    assert_eq!(court.check(&upstream, Level::Tls).await.verdict.fault, None);
    court.judge.abort();
    assert!((&mut court.judge).await.unwrap_err().is_cancelled());
    let listener = TcpListener::bind(court.checker.config.judges[0].target().authority()).await.unwrap();
    let anew = Judge::new(JudgeConfig::default(), Clock::default()).with_tls(JudgeTls::self_signed().unwrap());
    court.judge = tokio::spawn(anew.serve(listener, std::future::pending()));
    assert_eq!(court.check(&upstream, Level::Tls).await.verdict.fault, None);
}

#[tokio::test]
async fn the_least_anonymity_is_a_level() {
    let court = Court::patient().await;
    let config = CheckerConfig { anonymity: Anonymity::Anonymous, ..CheckerConfig::clone(&court.checker.config) };
    let checker = Checker::new(config);
    for (told, passes) in [(Told::Elite, true), (Told::Anonymous, true), (Told::Transparent, false)] {
        let upstream = Upstream::start(court.options(Protocol::Http).anonymity(told)).await.unwrap();
        let verdict = checker.check(candidate(&upstream.url()), Level::Anonymity).await.verdict;
        assert_eq!(verdict.is_alive(), passes, "{told:?}");
        assert_eq!(verdict.passed, Some(if passes { Level::Anonymity } else { Level::Tls }), "{told:?}");
    }
}

#[tokio::test]
async fn a_protocol_that_was_only_guessed_is_found_out() {
    let court = Court::patient().await;
    for protocol in [Protocol::Http, Protocol::Socks5, Protocol::Socks4, Protocol::Https] {
        let upstream = Upstream::start(court.options(protocol)).await.unwrap();
        let guess = format!("http://{}", upstream.addr());
        let said = court.checker.check(candidate(&guess), Level::Http).await;
        assert_eq!(said.verdict.is_alive(), protocol == Protocol::Http, "{protocol}: what a list says is not changed");
        let guessed = Candidate { is_guess: true, ..candidate(&guess) };
        let checked = court.checker.check(guessed, Level::Http).await;
        assert_eq!(checked.verdict.fault, None, "{protocol}");
        assert_eq!(checked.candidate.endpoint.scheme.as_str(), protocol.scheme(), "{protocol}");
        assert_eq!(checked.verdict.protocol, Some(checked.candidate.endpoint.scheme));
    }
}

#[tokio::test]
async fn a_protocol_is_told_without_a_judge() {
    let court = Court::patient().await;
    let config = CheckerConfig { judges: Vec::new(), ..CheckerConfig::clone(&court.checker.config) };
    let checker = Checker::new(config);
    for protocol in Protocol::ALL {
        let upstream = Upstream::start(court.options(protocol)).await.unwrap();
        let verdict = checker.check(candidate(&upstream.url()), Level::Protocol).await.verdict;
        assert_eq!((verdict.fault, verdict.passed), (None, Some(Level::Protocol)), "{protocol}");
        let garbage = Upstream::start(court.options(protocol).behaviour(Behaviour::GarbageReply)).await.unwrap();
        let verdict = checker.check(candidate(&garbage.url()), Level::Protocol).await.verdict;
        assert_eq!(verdict.passed, Some(Level::Tcp), "{protocol}");
    }
}

#[tokio::test]
async fn a_target_answers_as_the_user_expects_or_the_proxy_fails() {
    let court = Court::patient().await;
    let origin = Origin::start(&court.ca).await.unwrap();
    let upstream = Upstream::start(court.options(Protocol::Http)).await.unwrap();
    let check = async |path: &str, expected: Expected| {
        let target = TargetCheck::new(&origin.http_url(path), expected).unwrap();
        let config = CheckerConfig { target: Some(target), ..CheckerConfig::clone(&court.checker.config) };
        Checker::new(config).check(candidate(&upstream.url()), Level::Target).await.verdict
    };
    let body = |pattern: &str| Expected { body: Some(pattern.parse().unwrap()), ..Expected::default() };
    assert_eq!(check("/", Expected::default()).await.passed, Some(Level::Target));
    let status = Expected { status: "404,418".parse().unwrap(), ..Expected::default() };
    assert!(!check("/", status).await.is_alive());
    let verdict = check("/", body("no such words")).await;
    assert_eq!(
        (verdict.passed, verdict.fault.map(|fault| fault.kind)),
        (Some(Level::Anonymity), Some(Kind::Unexpected))
    );
    let field =
        Expected { headers: vec![("Content-Type".to_owned(), "^text/".parse().unwrap())], ..Expected::default() };
    check("/", field).await;
    let missing = Expected { headers: vec![("X-Not-There".to_owned(), ".".parse().unwrap())], ..Expected::default() };
    assert!(!check("/", missing).await.is_alive());
}

#[tokio::test]
async fn a_target_whose_certificate_is_not_trusted_may_be_itself() {
    let court = Court::patient().await;
    let upstream = Upstream::start(court.options(Protocol::Http)).await.unwrap();
    let visit = async |origin: &Origin| {
        let target = TargetCheck::new(&origin.https_url("/").unwrap(), Expected::default()).unwrap();
        let config = CheckerConfig { target: Some(target), ..CheckerConfig::clone(&court.checker.config) };
        Checker::new(config).check(candidate(&upstream.url()), Level::Target).await.verdict
    };
    let verdict = visit(&Origin::start(&court.ca).await.unwrap()).await;
    assert_eq!((verdict.fault, verdict.passed), (None, Some(Level::Target)));
    let verdict = visit(&Origin::start(&TestCa::new().unwrap()).await.unwrap()).await;
    let fault = verdict.fault.unwrap();
    assert_eq!((fault.kind, verdict.passed), (Kind::Certificate, Some(Level::Anonymity)), "{fault}");
    assert!(
        fault.detail.contains("or its own certificate is not trusted here (--proxy-cacert or upstream.ca_file "),
        "{fault}"
    );
}

#[tokio::test]
async fn what_a_stranger_s_list_may_not_name_is_refused_once_its_name_is_resolved() {
    let court = Court::patient().await;
    let upstream = Upstream::start(court.options(Protocol::Http)).await.unwrap();
    let named = format!("http://localhost:{}", upstream.addr().port());
    assert!(court.checker.check(candidate(&named), Level::Http).await.verdict.is_alive());
    let config = CheckerConfig { allow_private: false, ..CheckerConfig::clone(&court.checker.config) };
    let strict = Checker::new(config);
    for level in [Level::Dns, Level::Tcp, Level::Http] {
        let verdict = strict.check(candidate(&named), level).await.verdict;
        let fault = verdict.fault.unwrap();
        assert_eq!((fault.stage, fault.kind, verdict.passed), (Stage::Resolve, Kind::Denied, Some(Level::Format)));
        let vouched = Candidate { tags: "source:user".parse().into_iter().collect(), ..candidate(&named) };
        assert!(strict.check(vouched, level).await.verdict.is_alive());
    }
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
