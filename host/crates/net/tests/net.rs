//! The dialer against upstreams of all six protocols on loopback, healthy and not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::time::Duration;

use bytes::BytesMut;
use proxywhirl_core::{Endpoint, Fault, Kind, Side, Stage};
use proxywhirl_net::http1::{
    BodyLength, Headers, MAX_HEAD, RequestHead, ResponseHead, copy_body, read_response, strip_hop_by_hop,
};
use proxywhirl_net::relay::{End, relay};
use proxywhirl_net::{Dialer, DialerConfig, RequestForm, Stream, Target, TlsConfig};
use proxywhirl_world::{Behaviour, Hosts, Origin, Protocol, TestCa, Upstream, UpstreamOptions, self_signed_server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

/// Far above what anything here takes; what hangs fails.
const PATIENCE: Duration = Duration::from_secs(30);

struct Loopback {
    ca: TestCa,
    origin: Origin,
    hosts: Hosts,
}

impl Loopback {
    async fn start() -> Self {
        let ca = TestCa::new().unwrap();
        let origin = Origin::start(&ca).await.unwrap();
        let hosts = Hosts::new().with_port("origin.test", 80, origin.http_addr());
        Self { ca, origin, hosts }
    }

    /// An upstream of this protocol that trusts everybody, unless the options are changed.
    async fn upstream(&self, protocol: Protocol, change: impl FnOnce(UpstreamOptions) -> UpstreamOptions) -> Upstream {
        let options = UpstreamOptions::new(protocol).hosts(self.hosts.clone());
        let options = options.tls(self.ca.server_config(&[]).unwrap());
        Upstream::start(change(options)).await.unwrap()
    }

    fn dialer(&self, connect_timeout: Duration) -> Dialer {
        let tls = TlsConfig { verify: true, extra_ca_pem: Some(self.ca.ca_pem().into_bytes()) };
        Dialer::new(DialerConfig { connect_timeout, tls }).unwrap()
    }

    /// The origin by its address: what every protocol can name.
    fn origin_address(&self) -> Target {
        self.origin.http_addr().to_string().parse().unwrap()
    }
}

fn endpoint(upstream: &Upstream) -> Endpoint {
    upstream.url().parse().unwrap()
}

fn origin_name() -> Target {
    "origin.test:80".parse().unwrap()
}

/// Sends a request and reads its answer.
async fn get(
    stream: &mut Stream,
    target: String,
    authorization: Option<proxywhirl_core::Secret>,
    body_into: &mut Vec<u8>,
) -> ResponseHead {
    let mut headers = Headers::new();
    headers.append("Host", "origin.test").unwrap();
    headers.append("Connection", "close").unwrap();
    strip_hop_by_hop(&mut headers);
    if let Some(authorization) = authorization {
        headers.set("Proxy-Authorization", authorization.expose()).unwrap();
    }
    let head = RequestHead { method: "GET".into(), target, minor_version: 1, headers };
    let mut bytes = Vec::new();
    head.write_to(&mut bytes);
    stream.write_all(&bytes).await.unwrap();
    stream.flush().await.unwrap();
    let mut buffer = BytesMut::new();
    let answer = read_response(stream, &mut buffer, MAX_HEAD).await.unwrap();
    let length = answer.body("GET").unwrap();
    copy_body(stream, &mut buffer, body_into, length).await.unwrap();
    answer
}

async fn through_tunnel(stream: &mut Stream, path: &str) -> (u16, Vec<u8>) {
    let mut body = Vec::new();
    let answer = get(stream, path.to_owned(), None, &mut body).await;
    (answer.status, body)
}

#[tokio::test]
async fn every_protocol_carries_a_tunnel_with_and_without_credentials() {
    let loopback = Loopback::start().await;
    let dialer = loopback.dialer(PATIENCE);
    for protocol in Protocol::ALL {
        for credentials in [None, Some(("us er", "p:@ß")), Some(("session-1", ""))] {
            let upstream = loopback.upstream(protocol, |options| match credentials {
                Some((user, password)) => options.credentials(user, password),
                None => options,
            });
            let upstream = upstream.await;
            let mut stream = dialer.tunnel(&endpoint(&upstream), &loopback.origin_address()).await.unwrap();
            let (status, body) = through_tunnel(&mut stream, "/bytes/100000").await;
            assert_eq!((status, body.len()), (200, 100_000), "{protocol} {credentials:?}");
        }
    }
}

#[tokio::test]
async fn chains_of_any_protocols_carry_tunnels_and_plain_requests() {
    let loopback = Loopback::start().await;
    let dialer = loopback.dialer(PATIENCE);
    for first in Protocol::ALL {
        for last in Protocol::ALL {
            let hops = [first, Protocol::Https, last]
                .map(|protocol| loopback.upstream(protocol, |options| options.credentials("us er", "p:@")));
            let hops = futures_util::future::join_all(hops).await;
            let chain = hops.iter().map(Upstream::url).collect::<Vec<_>>().join(" -> ");
            let chain: Endpoint = chain.parse().unwrap();
            let mut stream = dialer.tunnel(&chain, &loopback.origin_address()).await.unwrap();
            let (status, body) = through_tunnel(&mut stream, "/bytes/100000").await;
            assert_eq!((status, body.len()), (200, 100_000), "{chain}");
            for (hop, next) in [(0, hops[1].addr()), (1, hops[2].addr()), (2, loopback.origin.http_addr())] {
                assert_eq!(hops[hop].seen(), [format!("CONNECT {next}")], "{chain}");
            }
            let mut forward = dialer.forward(&chain, &loopback.origin_address()).await.unwrap();
            let (target, authorization) = match forward.form {
                RequestForm::Absolute { proxy_authorization } => (loopback.origin.http_url("/ip"), proxy_authorization),
                RequestForm::Origin => ("/ip".to_owned(), None),
            };
            assert_eq!(get(&mut forward.stream, target, authorization, &mut Vec::new()).await.status, 200, "{chain}");
        }
    }
}

#[tokio::test]
async fn the_fault_of_a_chain_names_the_hop_and_is_no_fault_of_the_origin() {
    let loopback = Loopback::start().await;
    let dialer = loopback.dialer(PATIENCE);
    let healthy = loopback.upstream(Protocol::Http, |options| options).await;
    let refusing =
        loopback.upstream(Protocol::Socks5h, |options| options.behaviour(Behaviour::RefuseConnect(503))).await;
    let named = |number: usize, hop: &Upstream| format!("hop {number} of 2, {}: ", hop.url());
    let dial =
        async |chain: String| dialer.tunnel(&chain.parse().unwrap(), &loopback.origin_address()).await.unwrap_err();

    let fault = dial(format!("{} -> {}", refusing.url(), healthy.url())).await;
    assert_eq!((fault.side, fault.stage), (Side::Upstream, Stage::Connect));
    assert!(fault.detail.starts_with(&named(1, &refusing)), "{fault}");

    let fault = dial(format!("{} -> {}", healthy.url(), refusing.url())).await;
    assert_eq!((fault.side, fault.stage), (Side::Origin, Stage::Handshake));
    assert!(fault.detail.starts_with(&named(2, &refusing)), "{fault}");

    let fault = dial(format!("{} -> http://127.0.0.1:1", healthy.url())).await;
    assert_eq!((fault.side, fault.stage, fault.kind), (Side::Upstream, Stage::Connect, Kind::Denied));
    assert!(fault.detail.starts_with(&named(1, &healthy)), "{fault}");

    let fault = dial(format!("http://u:hunter2@127.0.0.1:1 -> {}", healthy.url())).await;
    assert_eq!((fault.stage, fault.kind), (Stage::Connect, Kind::Refused));
    assert!(fault.detail.starts_with("hop 1 of 2, http://127.0.0.1:1: "), "{fault}");

    // It speaks no TLS.
    let fault = dial(format!("{} -> {}", healthy.url(), healthy.url().replace("http", "https"))).await;
    assert_eq!((fault.side, fault.stage), (Side::Upstream, Stage::Tls));
    assert!(fault.detail.starts_with("hop 2 of 2, https://"), "{fault}");
}

#[tokio::test]
async fn no_hop_of_a_stranger_s_chain_is_private() {
    let loopback = Loopback::start().await;
    let (first, last) =
        (loopback.upstream(Protocol::Socks5h, |it| it).await, loopback.upstream(Protocol::Http, |it| it).await);
    let chain: Endpoint = format!("{} -> {}", first.url(), last.url()).parse().unwrap();
    let strict = loopback.dialer(PATIENCE).public_only();
    let fault = strict.tunnel(&chain, &loopback.origin_address()).await.unwrap_err();
    assert_eq!((fault.stage, fault.kind), (Stage::Resolve, Kind::Denied));
    assert!(first.seen().is_empty() && last.seen().is_empty());
}

#[tokio::test]
async fn a_plain_request_goes_to_http_proxies_in_absolute_form_and_through_others_in_origin_form() {
    let loopback = Loopback::start().await;
    let dialer = loopback.dialer(PATIENCE);
    for protocol in Protocol::ALL {
        let upstream = loopback.upstream(protocol, |options| options.credentials("user", "word")).await;
        let mut forward = dialer.forward(&endpoint(&upstream), &loopback.origin_address()).await.unwrap();
        let (target, authorization) = match forward.form {
            RequestForm::Absolute { proxy_authorization } => {
                assert!(matches!(protocol, Protocol::Http | Protocol::Https) && proxy_authorization.is_some());
                (loopback.origin.http_url("/chunked/70000"), proxy_authorization)
            }
            RequestForm::Origin => ("/chunked/70000".to_owned(), None),
        };
        let mut body = Vec::new();
        let answer = get(&mut forward.stream, target, authorization, &mut body).await;
        assert_eq!(answer.body("GET").unwrap(), BodyLength::Chunked);
        assert_eq!(answer.status, 200, "{protocol}");
        assert!(body.len() > 70_000 && body.ends_with(b"0\r\n\r\n"), "{protocol}");
    }
}

#[tokio::test]
async fn names_are_resolved_where_the_protocol_says() {
    let loopback = Loopback::start().await;
    let dialer = loopback.dialer(PATIENCE);
    for protocol in [Protocol::Http, Protocol::Https, Protocol::Socks4a, Protocol::Socks5h] {
        let upstream = loopback.upstream(protocol, |options| options).await;
        let mut stream = dialer.tunnel(&endpoint(&upstream), &origin_name()).await.unwrap();
        assert_eq!(through_tunnel(&mut stream, "/ip").await.0, 200);
        assert_eq!(upstream.seen(), ["CONNECT origin.test:80"], "{protocol}");
    }
    for protocol in [Protocol::Socks4, Protocol::Socks5] {
        let upstream = loopback.upstream(protocol, |options| options).await;
        let port = loopback.origin.http_addr().port();
        let target = format!("localhost:{port}").parse().unwrap();
        let mut stream = dialer.tunnel(&endpoint(&upstream), &target).await.unwrap();
        assert_eq!(through_tunnel(&mut stream, "/ip").await.0, 200);
        assert_eq!(upstream.seen(), [format!("CONNECT 127.0.0.1:{port}")], "{protocol}");

        let fault = dialer.tunnel(&endpoint(&upstream), &"no.such.invalid:80".parse().unwrap()).await.unwrap_err();
        assert_eq!((fault.side, fault.stage, fault.kind), (Side::Origin, Stage::Resolve, Kind::NotFound));
    }
}

#[tokio::test]
async fn an_upstream_is_found_by_its_name_too() {
    let loopback = Loopback::start().await;
    let dialer = loopback.dialer(PATIENCE);
    for protocol in [Protocol::Http, Protocol::Https] {
        let upstream = loopback.upstream(protocol, |options| options).await;
        let named = format!("{protocol}://localhost:{}", upstream.addr().port());
        dialer.tunnel(&named.parse().unwrap(), &origin_name()).await.unwrap();
    }
    let fault = dialer.connect(&"http://no.such.invalid:80".parse().unwrap()).await.unwrap_err();
    assert_eq!((fault.side, fault.stage, fault.kind), (Side::Upstream, Stage::Resolve, Kind::NotFound));
}

#[tokio::test]
async fn credentials_that_are_wrong_or_missing_are_unauthorized() {
    let loopback = Loopback::start().await;
    let dialer = loopback.dialer(PATIENCE);
    for protocol in Protocol::ALL {
        let upstream = loopback.upstream(protocol, |options| options.credentials("user", "word")).await;
        for userinfo in ["", "other:word@", "user:wrong@"] {
            if userinfo == "user:wrong@" && matches!(protocol, Protocol::Socks4 | Protocol::Socks4a) {
                continue;
            }
            let endpoint: Endpoint = format!("{protocol}://{userinfo}{}", upstream.addr()).parse().unwrap();
            let fault = dialer.tunnel(&endpoint, &loopback.origin_address()).await.unwrap_err();
            let found = (fault.side, fault.stage, fault.kind);
            assert_eq!(found, (Side::Upstream, Stage::Auth, Kind::Unauthorized), "{protocol} {userinfo}: {fault}");
            let code = fault.code.unwrap();
            assert!(!matches!(protocol, Protocol::Http | Protocol::Https) || code == 407, "{fault}");
            assert!(!fault.to_string().contains("wrong"), "{fault}");
        }
    }
}

#[tokio::test]
async fn socks4_cannot_name_ipv6_and_the_upstream_is_not_even_dialled() {
    let loopback = Loopback::start().await;
    let dialer = loopback.dialer(PATIENCE);
    for protocol in [Protocol::Socks4, Protocol::Socks4a] {
        let upstream = loopback.upstream(protocol, |options| options.behaviour(Behaviour::Dead)).await;
        let fault = dialer.tunnel(&endpoint(&upstream), &"[::1]:80".parse().unwrap()).await.unwrap_err();
        assert_eq!((fault.side, fault.kind), (Side::Upstream, Kind::Unsupported));
    }
}

/// What an upstream that behaves so makes of a tunnel: a fault, or a tunnel.
type Expected = Option<(Side, Stage, Kind, Option<u16>)>;

fn expected(protocol: Protocol, behaviour: Behaviour) -> Expected {
    let http = matches!(protocol, Protocol::Http | Protocol::Https);
    let socks4 = matches!(protocol, Protocol::Socks4 | Protocol::Socks4a);
    let upstream = |stage, kind, code| Some((Side::Upstream, stage, kind, code));
    match behaviour {
        Behaviour::RefuseConnect(status) | Behaviour::AnswerStatus(status) if http => {
            upstream(Stage::Handshake, Kind::Denied, Some(status))
        }
        Behaviour::RefuseConnect(_) | Behaviour::AnswerStatus(_) if socks4 => {
            upstream(Stage::Handshake, Kind::Denied, Some(91))
        }
        Behaviour::RefuseConnect(_) | Behaviour::AnswerStatus(_) => {
            Some((Side::Origin, Stage::Handshake, Kind::Refused, Some(5)))
        }
        Behaviour::Flaky { .. } | Behaviour::CloseAfterHead => upstream(Stage::Handshake, Kind::Closed, None),
        Behaviour::Silent if protocol == Protocol::Https => upstream(Stage::Tls, Kind::Timeout, None),
        Behaviour::Silent => upstream(Stage::Handshake, Kind::Timeout, None),
        Behaviour::GarbageReply => upstream(Stage::Handshake, Kind::Protocol, None),
        Behaviour::HeaderBomb if http => upstream(Stage::Handshake, Kind::TooLarge, None),
        Behaviour::Dead => upstream(Stage::Connect, Kind::Refused, None),
        Behaviour::Healthy
        | Behaviour::Slow(_)
        | Behaviour::Sluggish { .. }
        | Behaviour::CloseAfterConnect
        | Behaviour::StallAfterConnect
        | Behaviour::GarbageAfterConnect
        | Behaviour::ResignTls
        | Behaviour::AlwaysOk
        | Behaviour::HeaderBomb => None,
    }
}

#[tokio::test]
async fn every_misbehaviour_is_the_fault_that_it_is() {
    let loopback = Loopback::start().await;
    for protocol in Protocol::ALL {
        let upstream = loopback.upstream(protocol, |options| options).await;
        for behaviour in [
            Behaviour::Healthy,
            Behaviour::Slow(Duration::from_millis(50)),
            Behaviour::Flaky { every: 1 },
            Behaviour::RefuseConnect(503),
            Behaviour::AnswerStatus(503),
            Behaviour::CloseAfterHead,
            Behaviour::Silent,
            Behaviour::CloseAfterConnect,
            Behaviour::StallAfterConnect,
            Behaviour::GarbageAfterConnect,
            Behaviour::ResignTls,
            Behaviour::GarbageReply,
            Behaviour::AlwaysOk,
            Behaviour::HeaderBomb,
            Behaviour::Dead,
        ] {
            upstream.set_behaviour(behaviour).await.unwrap();
            // Only who is silent is waited for to the end.
            let connect_timeout = if behaviour == Behaviour::Silent { Duration::from_millis(300) } else { PATIENCE };
            let dialer = loopback.dialer(connect_timeout);
            let (endpoint, target) = (endpoint(&upstream), loopback.origin_address());
            let tunnel = timeout(PATIENCE, dialer.tunnel(&endpoint, &target)).await.expect("a bounded handshake");
            let found = tunnel.as_ref().err().map(|fault: &Fault| (fault.side, fault.stage, fault.kind, fault.code));
            assert_eq!(found, expected(protocol, behaviour), "{protocol} {behaviour}: {tunnel:?}");
        }
    }
}

#[tokio::test]
async fn the_certificate_of_an_https_upstream_is_verified_unless_that_is_switched_off() {
    let loopback = Loopback::start().await;
    let upstream = loopback.upstream(Protocol::Https, |options| options).await;
    let dialer = |verify| {
        let tls = TlsConfig { verify, extra_ca_pem: None };
        Dialer::new(DialerConfig { connect_timeout: PATIENCE, tls }).unwrap()
    };
    let fault = dialer(true).connect(&endpoint(&upstream)).await.unwrap_err();
    assert_eq!((fault.side, fault.stage, fault.kind), (Side::Upstream, Stage::Tls, Kind::Certificate));
    assert!(fault.detail.contains(&upstream.addr().to_string()), "{fault}");
    let mut stream = dialer(false).tunnel(&endpoint(&upstream), &origin_name()).await.unwrap();
    assert_eq!(through_tunnel(&mut stream, "/ip").await.0, 200);
}

#[tokio::test]
async fn a_certificate_that_says_it_is_an_authoritys_is_taken_where_it_is_the_users_own() {
    let loopback = Loopback::start().await;
    let upstream = async |tls| loopback.upstream(Protocol::Https, |options| options.tls(tls)).await;
    let connect = async |upstream: &Upstream, trusted: &str| {
        let tls = TlsConfig { verify: true, extra_ca_pem: Some(trusted.into()) };
        let dialer = Dialer::new(DialerConfig { connect_timeout: PATIENCE, tls }).unwrap();
        dialer.connect(&endpoint(upstream)).await.map(|_| ()).map_err(|fault| fault.detail.to_string())
    };
    let (tls, own) = self_signed_server("127.0.0.1", 2999).unwrap();
    let right = upstream(tls).await;
    assert_eq!(connect(&right, &own).await, Ok(()));
    let (_, other) = self_signed_server("127.0.0.1", 2999).unwrap();
    assert!(connect(&right, &other).await.unwrap_err().contains("CaUsedAsEndEntity"));
    let (tls, own) = self_signed_server("elsewhere.test", 2999).unwrap();
    let elsewhere = connect(&upstream(tls).await, &own).await.unwrap_err();
    assert!(elsewhere.contains("not valid for name"), "{elsewhere}");
    let (tls, own) = self_signed_server("127.0.0.1", 2020).unwrap();
    let over = connect(&upstream(tls).await, &own).await.unwrap_err();
    assert!(over.contains("expired"), "{over}");
}

#[tokio::test]
async fn an_upstream_that_speaks_no_tls_is_a_tls_fault() {
    let loopback = Loopback::start().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint: Endpoint = format!("https://{}", listener.local_addr().unwrap()).parse().unwrap();
    for (answer, kind) in [(&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], Kind::Tls), (b"", Kind::Closed)] {
        let peer = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut hello = [0; 1024];
            assert!(stream.read(&mut hello).await.unwrap() > 0);
            stream.write_all(answer).await.unwrap();
            stream.shutdown().await.unwrap();
            drop(stream.read_to_end(&mut Vec::new()).await);
        };
        let dialer = loopback.dialer(PATIENCE);
        let (result, ()) = timeout(PATIENCE, async { tokio::join!(dialer.connect(&endpoint), peer) }).await.unwrap();
        let fault = result.unwrap_err();
        assert_eq!((fault.stage, fault.kind), (Stage::Tls, kind), "{fault}");
    }
}

#[tokio::test]
async fn a_relayed_tunnel_delivers_everything_and_counts_it() {
    let loopback = Loopback::start().await;
    let dialer = loopback.dialer(PATIENCE);
    for protocol in [Protocol::Http, Protocol::Https, Protocol::Socks5h] {
        let upstream = loopback.upstream(protocol, |options| options).await;
        let mut tunnel = dialer.tunnel(&endpoint(&upstream), &origin_name()).await.unwrap();
        let (mut client, mut ours) = tokio::io::duplex(1000);
        let request = b"GET /bytes/300000 HTTP/1.1\r\nHost: origin.test\r\nConnection: close\r\n\r\n";
        let talk = async {
            client.write_all(request).await.unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            drop(client);
            answer
        };
        let both = async {
            tokio::join!(
                async {
                    let relayed = relay(&mut ours, &mut tunnel, Some(PATIENCE), || {}).await;
                    drop(ours);
                    relayed
                },
                talk
            )
        };
        let (relayed, answer) = timeout(PATIENCE, both).await.unwrap();
        assert!(answer.len() > 300_000, "{protocol}");
        assert_eq!((relayed.up, relayed.down), (request.len() as u64, answer.len() as u64));
        assert!(matches!(relayed.end, End::Closed), "{protocol}: {relayed:?}");
    }
}
