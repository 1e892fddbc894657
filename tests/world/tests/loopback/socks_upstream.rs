use std::net::{IpAddr, SocketAddr};

use proxywhirl_world::{Destinations, Hosts, Origin, Protocol, TestCa, Upstream, UpstreamOptions, closed_port};

use crate::client::{Client, bounded};

const GET_IP: &str = "GET /ip HTTP/1.1\r\nHost: o\r\n\r\n";

async fn origin() -> Origin {
    Origin::start(&TestCa::new().unwrap()).await.unwrap()
}

async fn upstream(options: UpstreamOptions) -> Upstream {
    Upstream::start(options).await.unwrap()
}

fn octets(addr: SocketAddr) -> Vec<u8> {
    match addr.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

pub(crate) fn socks4(addr: SocketAddr, user: &str) -> Vec<u8> {
    let port = addr.port().to_be_bytes().to_vec();
    [vec![4, 1], port, octets(addr), user.into(), vec![0]].concat()
}

fn socks4a(name: &str, port: u16) -> Vec<u8> {
    let port = port.to_be_bytes().to_vec();
    [vec![4, 1], port, vec![0, 0, 0, 1, 0], name.into(), vec![0]].concat()
}

fn socks5_request(addr: SocketAddr) -> Vec<u8> {
    let kind = if addr.is_ipv4() { 1 } else { 4 };
    [vec![5, 1, 0, kind], octets(addr), addr.port().to_be_bytes().to_vec()].concat()
}

fn socks5_named(name: &str, port: u16) -> Vec<u8> {
    let length = u8::try_from(name.len()).unwrap();
    [vec![5, 1, 0, 3, length], name.into(), port.to_be_bytes().to_vec()].concat()
}

/// Greets without credentials, asks, and gives back the client with the reply's code.
pub(crate) async fn socks5(upstream: &Upstream, request: &[u8]) -> (Client, u8) {
    let mut client = Client::connect(upstream.addr()).await;
    client.say([5, 1, 0]).await;
    assert_eq!(client.hear_exactly(2).await, [5, 0]);
    client.say(request).await;
    let reply = client.hear_exactly(10).await;
    assert_eq!((reply[0], reply[2], reply[3]), (5, 0, 1));
    (client, reply[1])
}

pub(crate) fn socks5_connect(addr: SocketAddr) -> Vec<u8> {
    socks5_request(addr)
}

#[tokio::test]
async fn socks4_takes_addresses_and_rejects_the_form_of_4a() {
    let origin = origin().await;
    let upstream = upstream(UpstreamOptions::new(Protocol::Socks4)).await;
    let mut client = Client::connect(upstream.addr()).await;
    // The request for the origin may follow at once.
    client.say([socks4(origin.http_addr(), "me"), GET_IP.into()].concat()).await;
    assert_eq!(client.hear_exactly(2).await, [0, 0x5a]);
    client.hear_exactly(6).await;
    assert_eq!(client.hear_response().await.1, "127.0.0.1\n");

    let mut client = Client::connect(upstream.addr()).await;
    client.say(socks4a("localhost", origin.http_addr().port())).await;
    assert_eq!(client.hear_all().await, [0, 0x5b, 0, 0, 0, 0, 0, 0]);
    assert_eq!(upstream.counters().requests(), 1);
}

#[tokio::test]
async fn names_are_resolved_by_the_upstream_in_4a_and_5() {
    let origin = origin().await;
    let hosts = Hosts::new().with("origin.test", origin.http_addr());
    let port = origin.http_addr().port();

    let four = upstream(UpstreamOptions::new(Protocol::Socks4a).hosts(hosts.clone())).await;
    let mut client = Client::connect(four.addr()).await;
    client.say(socks4a("origin.test", 80)).await;
    assert_eq!(client.hear_exactly(8).await[1], 0x5a);
    client.say(GET_IP).await;
    assert_eq!(client.hear_response().await.1, "127.0.0.1\n");
    assert_eq!(four.seen(), ["CONNECT origin.test:80"]);

    for protocol in [Protocol::Socks5, Protocol::Socks5h] {
        let five = upstream(UpstreamOptions::new(protocol).hosts(hosts.clone())).await;
        for request in [socks5_named("origin.test", 80), socks5_named("any.name.test", port)] {
            let (mut client, code) = socks5(&five, &request).await;
            assert_eq!(code, 0);
            client.say(GET_IP).await;
            assert_eq!(client.hear_response().await.1, "127.0.0.1\n");
        }
        assert_eq!(five.counters().tunnels, 2);
    }
}

#[tokio::test]
async fn an_upstream_for_addresses_only_takes_no_names() {
    let origin = origin().await;
    let options = UpstreamOptions::new(Protocol::Socks5).destinations(Destinations::AddressesOnly);
    let upstream = upstream(options).await;
    let (_, code) = socks5(&upstream, &socks5_named("localhost", origin.http_addr().port())).await;
    assert_eq!(code, 8);
    let (_, code) = socks5(&upstream, &socks5_request(origin.http_addr())).await;
    assert_eq!(code, 0);
}

#[tokio::test]
async fn each_failure_of_socks5_has_its_own_code() {
    let upstream = upstream(UpstreamOptions::new(Protocol::Socks5)).await;
    let closed = closed_port().unwrap();
    let mut bind = socks5_request(closed.addr());
    bind[1] = 2;
    let mut odd_address = socks5_request(closed.addr());
    odd_address[3] = 9;
    for (request, expected) in [
        (socks5_request(closed.addr()), 5),
        (socks5_named("no.such.invalid", 80), 4),
        (socks5_request("192.0.2.1:80".parse().unwrap()), 2),
        (bind, 7),
        (odd_address, 8),
        (socks5_named("a.test", 0), 1),
    ] {
        let (_, code) = socks5(&upstream, &request).await;
        assert_eq!(code, expected, "{request:?}");
    }
    assert_eq!(upstream.counters().requests(), 0);
}

#[tokio::test]
async fn socks5_wants_its_password() {
    let origin = origin().await;
    let upstream = upstream(UpstreamOptions::new(Protocol::Socks5).credentials("user", "secret")).await;
    let mut client = Client::connect(upstream.addr()).await;
    client.say([5, 1, 0]).await;
    assert_eq!(client.hear_all().await, [5, 0xff]);

    let mut client = Client::connect(upstream.addr()).await;
    client.say(b"\x05\x02\x00\x02\x01\x04user\x05wrong").await;
    assert_eq!(client.hear_all().await, [5, 2, 1, 1]);

    let mut client = Client::connect(upstream.addr()).await;
    client.say(b"\x05\x02\x00\x02\x01\x04user\x06secret").await;
    client.say(socks5_request(origin.http_addr())).await;
    assert_eq!(client.hear_exactly(4).await, [5, 2, 1, 0]);
    assert_eq!(client.hear_exactly(10).await[1], 0);
    let counters = upstream.counters();
    assert_eq!((counters.auth_failures, counters.tunnels), (2, 1));
}

#[tokio::test]
async fn socks4_wants_its_user_id() {
    let origin = origin().await;
    let upstream = upstream(UpstreamOptions::new(Protocol::Socks4).credentials("user", "")).await;
    let mut client = Client::connect(upstream.addr()).await;
    client.say(socks4(origin.http_addr(), "nobody")).await;
    assert_eq!(client.hear_all().await[..2], [0, 0x5d]);
    let mut client = Client::connect(upstream.addr()).await;
    client.say(socks4(origin.http_addr(), "user")).await;
    assert_eq!(client.hear_exactly(8).await[1], 0x5a);
    assert_eq!(upstream.counters().auth_failures, 1);
}

#[tokio::test]
async fn what_is_no_socks_ends_the_connection_without_a_word() {
    for protocol in [Protocol::Socks4a, Protocol::Socks5] {
        let upstream = upstream(UpstreamOptions::new(protocol)).await;
        let mut client = Client::connect(upstream.addr()).await;
        client.say("GET / HTTP/1.1\r\nHost: x\r\n\r\n\0").await;
        assert_eq!(client.hear_all().await, b"");
        // A user id without an end.
        let mut client = Client::connect(upstream.addr()).await;
        client.say([vec![4, 1, 0, 80, 127, 0, 0, 1], vec![b'x'; 300]].concat()).await;
        assert_eq!(bounded(client.hear_all()).await, b"");
    }
}
