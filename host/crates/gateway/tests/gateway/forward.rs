//! Forwarded requests: bodies, heads and connections come through as they should.

use std::time::Duration;

use proxywhirl_world::{Behaviour, Protocol, pattern};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::clients::{Client, answer, body, exchange, get, rest, status};
use crate::scene::{Scene, Then, origin, read_head, scripted, serving, tunnelled, upstream};

const SWITCH: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

#[tokio::test]
async fn each_request_of_a_connection_gets_the_next_upstream() {
    let origin = origin().await;
    let mut upstreams = Vec::new();
    for protocol in Protocol::ALL.into_iter().filter(|protocol| *protocol != Protocol::Https) {
        upstreams.push(upstream(protocol, Behaviour::Healthy).await);
    }
    let urls: Vec<_> = upstreams.iter().map(|upstream| upstream.url()).collect();
    let scene = Scene::new(&urls).await;
    let mut client = scene.client().await;
    for _ in 0..20 {
        let request = format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", origin.http_url("/bytes/3"));
        client.write_all(request.as_bytes()).await.unwrap();
        let (head, body) = answer(&mut client).await;
        assert_eq!((status(&head), body.len()), (200, 3), "{head}");
        assert!(!head.contains("Connection: close"), "{head}");
    }
    for upstream in &upstreams {
        assert_eq!(upstream.counters().requests(), 4, "{}", upstream.url());
    }
}

#[tokio::test]
async fn requests_that_come_in_one_packet_are_answered_in_turn() {
    let origin = origin().await;
    let good = upstream(Protocol::Http, Behaviour::Healthy).await;
    let scene = Scene::new(&[good.url()]).await;
    let mut client = scene.client().await;
    let one =
        |length: usize| format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", origin.http_url(&format!("/bytes/{length}")));
    client.write_all((one(1) + &one(2) + &one(3)).as_bytes()).await.unwrap();
    for length in 1..=3 {
        assert_eq!(answer(&mut client).await.1.len(), length);
    }
}

#[tokio::test]
async fn the_origin_sees_the_client_and_no_proxy() {
    let origin = origin().await;
    for protocol in [Protocol::Http, Protocol::Socks5] {
        let good = upstream(protocol, Behaviour::Healthy).await;
        let scene = Scene::new(&[good.url()]).await;
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: other\r\nX-One: 1\r\nProxy-Authorization: Basic c2VjcmV0\r\nProxy-Connection: \
             keep-alive\r\nConnection: X-Two, close\r\nX-Two: 2\r\n\r\n",
            origin.http_url("/headers")
        );
        let reply = exchange(&mut scene.client().await, &request).await;
        assert_eq!(status(&reply), 200, "{reply}");
        let seen = body(&reply).to_ascii_lowercase();
        assert!(seen.contains("x-one"), "{seen}");
        assert!(seen.contains(&origin.http_addr().to_string()), "{seen}");
        for hidden in ["proxy-", "c2vjcmv0", "x-two", "via", "forwarded", "\"other\""] {
            assert!(!seen.contains(hidden), "{hidden} in {seen}");
        }
    }
}

#[tokio::test]
async fn what_comes_before_an_upgrade_is_passed_on_and_the_upgrade_with_it() {
    const EARLY: &[u8] = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\nX-Hop: 1\r\nConnection: X-Hop\r\n\r\n";
    let switches = tunnelled(&[EARLY, SWITCH], Then::Echo).await;
    let scene = Scene::new(&[&switches.url]).await;
    let mut client = scene.client().await;
    let request = "GET http://shop.test/ HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    client.write_all(request.as_bytes()).await.unwrap();
    let head = read_head(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 103 ") && head.contains("Link: ") && !head.contains("X-Hop"), "{head}");
    let head = read_head(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("Upgrade: websocket\r\n"), "{head}");
    client.write_all(b"hello").await.unwrap();
    let mut echo = [0; 5];
    client.read_exact(&mut echo).await.unwrap();
    assert_eq!(&echo, b"hello");
}

#[tokio::test]
async fn what_follows_an_interim_response_is_doubted_as_any_answer() {
    const EARLY: &[u8] = b"HTTP/1.1 103 Early Hints\r\n\r\n";
    let origin = origin().await;
    for (says, then) in
        [(&[EARLY, b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"][..], Then::Hold), (&[EARLY][..], Then::Close)]
    {
        let broken = scripted(says, then).await;
        let good = upstream(Protocol::Http, Behaviour::Healthy).await;
        let scene = Scene::new(&[broken.url.clone(), good.url()]).await;
        for _ in 0..4 {
            let reply = Client::Get.ask(scene.addr, origin.http_addr(), "/bytes/10").await;
            assert_eq!(status(&reply), 200, "{reply}");
        }
        assert!(scene.failures(&broken.url) > 0);
    }
}

#[tokio::test]
async fn a_proxy_has_served_when_it_has_begun_to_answer_and_not_when_the_stream_is_over() {
    let streams = scripted(&[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nevent\r\n"], Then::Hold).await;
    let scene = Scene::new(&[&streams.url]).await;
    let mut client = scene.client().await;
    let head = "POST http://shop.test/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.write_all(format!("{head}5\r\nhello\r\n").as_bytes()).await.unwrap();
    // Not there at once, so that it streams.
    tokio::time::sleep(Duration::from_millis(300)).await;
    client.write_all(b"0\r\n\r\n").await.unwrap();
    read_head(&mut client).await;
    let served = async {
        while scene.member(&streams.url).statistics.successes == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), served).await.unwrap();
    drop(client);
    let statistics = scene.member(&streams.url).statistics;
    assert_eq!((statistics.successes, statistics.failures), (1, 0));
}

#[tokio::test]
async fn a_request_that_may_go_no_further_is_answered_here() {
    let origin = origin().await;
    let good = upstream(Protocol::Http, Behaviour::Healthy).await;
    let scene = Scene::new(&[good.url()]).await;
    let url = origin.http_url("/headers");
    let ask = async |method: &str, fields: &str| {
        let request = format!("{method} {url} HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
        let mut client = scene.client().await;
        client.write_all(request.as_bytes()).await.unwrap();
        rest(&mut client).await
    };
    let secrets = "Authorization: Basic c2VjcmV0\r\nCookie: s3cr3t\r\nProxy-Authorization: Basic c2VjcmV0Og==\r\n";
    let reply = ask("TRACE", &format!("Max-Forwards: 0\r\nX-One: 1\r\n{secrets}")).await;
    assert!(reply.starts_with("HTTP/1.1 200 ") && reply.contains("Content-Type: message/http"), "{reply}");
    assert!(reply.contains(&format!("TRACE {url} HTTP/1.1\r\n")) && reply.contains("X-One: 1"), "{reply}");
    assert!(!reply.contains("c2VjcmV0") && !reply.contains("s3cr3t"), "{reply}");
    let options = ask("OPTIONS", "Max-Forwards: 0\r\n").await;
    assert!(options.starts_with("HTTP/1.1 200 ") && options.contains("\r\nAllow: "), "{options}");
    let smuggling = ask("OPTIONS", "Max-Forwards: 0\r\nContent-Length: 5\r\n").await;
    assert_eq!(status(&smuggling), 400, "{smuggling}");
    assert_eq!(good.counters().requests(), 0, "nobody was asked");
    for (field, gets) in [("Max-Forwards: 7", Some("max-forwards,6")), ("Max-Forwards: x", None)] {
        let reply = exchange(
            &mut scene.client().await,
            &format!("OPTIONS {url} HTTP/1.1\r\nHost: x\r\n{field}\r\nConnection: close\r\n\r\n"),
        )
        .await;
        match gets {
            Some(gets) => assert!(
                body(&reply).to_ascii_lowercase().replace(['"', ' '], "").contains(&gets.replace(' ', "")),
                "{reply}"
            ),
            None => assert_eq!(status(&reply), 400, "{reply}"),
        }
    }
}

#[tokio::test]
async fn a_status_without_a_body_has_none_whatever_its_head_says() {
    let lies = scripted(&[b"HTTP/1.1 204 No Content\r\nContent-Length: 500\r\n\r\n"], Then::Hold).await;
    let scene = Scene::new(&[&lies.url]).await;
    let mut client = scene.client().await;
    for _ in 0..2 {
        client.write_all(b"GET http://shop.test/ HTTP/1.1\r\n\r\n").await.unwrap();
        let head = read_head(&mut client).await;
        assert!(head.starts_with("HTTP/1.1 204 ") && !head.to_ascii_lowercase().contains("content-length"), "{head}");
    }
    assert_eq!(scene.failures(&lies.url), 0);
}

#[tokio::test]
async fn bodies_of_every_framing_come_through_whole() {
    let origin = origin().await;
    let good = upstream(Protocol::Http, Behaviour::Healthy).await;
    let scene = Scene::new(&[good.url()]).await;
    let expected = pattern(0, 300_000);
    let mut client = scene.client().await;
    client.write_all(get(origin.http_addr(), "/bytes/300000").as_bytes()).await.unwrap();
    assert_eq!(answer(&mut client).await.1, expected);

    // To HTTP/1.0 the framing of chunks is taken off.
    let mut client = scene.client().await;
    let request = format!("GET {} HTTP/1.0\r\n\r\n", origin.http_url("/chunked/300000"));
    client.write_all(request.as_bytes()).await.unwrap();
    let head = read_head(&mut client).await;
    assert!(!head.to_ascii_lowercase().contains("transfer-encoding"), "{head}");
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).await.unwrap();
    assert_eq!(bytes, expected);

    let mut client = scene.client().await;
    client.write_all(get(origin.http_addr(), "/chunked/10").as_bytes()).await.unwrap();
    let head = read_head(&mut client).await;
    assert!(head.to_ascii_lowercase().contains("transfer-encoding: chunked"), "{head}");
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).await.unwrap();
    assert!(bytes.ends_with(b"\r\n0\r\n\r\n"), "{bytes:?}");
}

#[tokio::test]
async fn trailers_that_cannot_be_there_do_not_cost_the_body_and_others_come_through() {
    const CHUNKS: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n";
    for (says, end) in [
        (&[CHUNKS, b"X-Sum: 5\r\n\r\n"][..], "0\r\nX-Sum: 5\r\n\r\n"),
        (&[CHUNKS, b"X-Sum: 5\r\nContent-Length: 3\r\n\r\n"][..], "0\r\n\r\n"),
        (&[CHUNKS, b"Transfer-Encoding: chunked\r\n\r\n"][..], "0\r\n\r\n"),
    ] {
        let odd = scripted(says, Then::Hold).await;
        let scene = Scene::new(&[&odd.url]).await;
        let mut client = scene.client().await;
        client.write_all(b"GET http://shop.test/ HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        assert_eq!(status(&read_head(&mut client).await), 200);
        let expected = format!("5\r\nhello\r\n{end}");
        let mut body = vec![0; expected.len()];
        client.read_exact(&mut body).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&body), expected);
        // Nothing follows, and the connection goes on.
        client.write_all(b"OPTIONS http://shop.test/ HTTP/1.1\r\nHost: x\r\nMax-Forwards: 0\r\n\r\n").await.unwrap();
        assert_eq!(status(&read_head(&mut client).await), 200);
        assert_eq!(scene.failures(&odd.url), 0);
    }
}

#[tokio::test]
async fn answers_without_a_body_leave_the_connection_usable() {
    let origin = origin().await;
    let good = upstream(Protocol::Http, Behaviour::Healthy).await;
    let scene = Scene::new(&[good.url()]).await;
    let mut client = scene.client().await;
    for (method, path, expected) in [
        ("HEAD", "/bytes/10", 200),
        ("GET", "/status/204", 204),
        ("GET", "/status/304", 304),
        ("HEAD", "/chunked/9", 200),
    ] {
        let request = format!("{method} {} HTTP/1.1\r\nHost: x\r\n\r\n", origin.http_url(path));
        client.write_all(request.as_bytes()).await.unwrap();
        let head = read_head(&mut client).await;
        assert_eq!(status(&head), expected, "{head}");
    }
    client.write_all(get(origin.http_addr(), "/bytes/4").as_bytes()).await.unwrap();
    assert_eq!(answer(&mut client).await.1.len(), 4);
}

#[tokio::test]
async fn an_upload_streams_with_a_length_and_in_chunks() {
    let origin = origin().await;
    for protocol in [Protocol::Http, Protocol::Socks5] {
        let good = upstream(protocol, Behaviour::Healthy).await;
        let scene = Scene::new(&[good.url()]).await;
        let mut client = scene.client().await;
        let url = origin.http_url("/upload");
        let body = vec![b'x'; 1_000_000];
        let head = format!("POST {url} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
        client.write_all(head.as_bytes()).await.unwrap();
        client.write_all(&body).await.unwrap();
        let (head, reply) = answer(&mut client).await;
        assert_eq!(status(&head), 200, "{head}");
        assert!(String::from_utf8(reply).unwrap().contains("1000000"));

        // The same connection goes on: the upload was complete.
        let head = format!("POST {url} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.write_all(head.as_bytes()).await.unwrap();
        for _ in 0..100 {
            client.write_all(b"2710\r\n").await.unwrap();
            client.write_all(&body[..10_000]).await.unwrap();
            client.write_all(b"\r\n").await.unwrap();
        }
        client.write_all(b"0\r\n\r\n").await.unwrap();
        let (head, reply) = answer(&mut client).await;
        assert_eq!(status(&head), 200, "{head}");
        assert!(String::from_utf8(reply).unwrap().contains("1000000"));
    }
}

#[tokio::test]
async fn a_client_that_expects_to_be_told_to_go_on_is_told() {
    let origin = origin().await;
    let good = upstream(Protocol::Http, Behaviour::Healthy).await;
    let scene = Scene::new(&[good.url()]).await;
    for length in [10, 100_000] {
        let mut client = scene.client().await;
        let head = format!(
            "PUT {} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\nExpect: 100-continue\r\n\r\n",
            origin.http_url("/echo")
        );
        client.write_all(head.as_bytes()).await.unwrap();
        assert_eq!(read_head(&mut client).await, "HTTP/1.1 100 Continue\r\n\r\n");
        // Longer than a small body is waited for.
        tokio::time::sleep(Duration::from_millis(200)).await;
        client.write_all(&vec![b'x'; length]).await.unwrap();
        let (head, _) = answer(&mut client).await;
        assert_eq!(status(&head), 200, "{head}");
    }
}

#[tokio::test]
async fn an_answer_that_comes_before_the_body_ends_is_passed_on_and_ends_the_connection() {
    let refuses = scripted(&[b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nno\n"], Then::Echo).await;
    let scene = Scene::new(&[&refuses.url]).await;
    let mut client = scene.client().await;
    client
        .write_all(b"POST http://example.test/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\nbeginning")
        .await
        .unwrap();
    let (head, body) = answer(&mut client).await;
    assert_eq!((status(&head), body.as_slice()), (413, &b"no\n"[..]));
    assert!(head.contains("\r\nConnection: close\r\n"), "{head}");
    assert_eq!(rest(&mut client).await, "");
}

#[tokio::test]
async fn interim_answers_are_passed_on_but_not_to_http_1_0() {
    let hints = scripted(
        &[
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        ],
        Then::Close,
    )
    .await;
    let scene = Scene::new(&[&hints.url]).await;
    let request = |version| format!("GET http://example.test/ HTTP/{version}\r\nHost: x\r\nConnection: close\r\n\r\n");
    let reply = exchange(&mut scene.client().await, &request("1.1")).await;
    assert!(reply.starts_with("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\n"), "{reply}");
    let reply = exchange(&mut scene.client().await, &request("1.0")).await;
    assert!(reply.starts_with("HTTP/1.1 200 OK\r\n") && reply.ends_with("\r\n\r\nok"), "{reply}");
}

#[tokio::test]
async fn an_upgrade_becomes_a_relay() {
    let socket = tunnelled(
        &[b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello"],
        Then::Echo,
    )
    .await;
    let scene = Scene::new(&[&socket.url]).await;
    let mut client = scene.client().await;
    let request =
        b"GET http://example.test/ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly,";
    client.write_all(request).await.unwrap();
    let head = read_head(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("Upgrade: websocket\r\n"), "{head}");
    client.write_all(b"late").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(rest(&mut client).await, "helloearly,late");

    let reply = exchange(&mut scene.client().await, "GET http://example.test/ HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(status(&reply), 502, "nobody asked for an upgrade: {reply}");
    for (protocols, answered) in [("telnet", 502), ("telnet, WebSocket", 101)] {
        let fields = format!("Host: x\r\nConnection: Upgrade\r\nUpgrade: {protocols}\r\n\r\n");
        let mut client = scene.client().await;
        client.write_all(format!("GET http://example.test/ HTTP/1.1\r\n{fields}").as_bytes()).await.unwrap();
        assert_eq!(status(&read_head(&mut client).await), answered, "{protocols}");
    }
}

/// An origin that goes on in WebSocket alone, or a proxy that opens no tunnels and forwards to one all that it is asked.
async fn switches(mut stream: TcpStream) {
    let head = read_head(&mut stream).await;
    let answer: &[u8] = if head.starts_with("CONNECT ") {
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
    } else if head.contains("\r\nUpgrade: websocket\r\n") {
        SWITCH
    } else {
        b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n"
    };
    stream.write_all(answer).await.unwrap();
}

/// What comes of asking an origin for WebSocket.
async fn ask_for_websocket(scene: &Scene, origin: &str) -> u16 {
    let mut client = scene.client().await;
    let request = format!("GET {origin}/ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    status(&read_head(&mut client).await)
}

#[tokio::test]
async fn an_upgrade_goes_in_a_tunnel_through_a_proxy_that_takes_it_off_what_it_forwards() {
    let origin = serving(switches).await;
    let strips = upstream(Protocol::Http, Behaviour::Healthy).await;
    let scene = Scene::new(&[strips.url()]).await;
    assert_eq!(ask_for_websocket(&scene, &origin.url).await, 101);
}

#[tokio::test]
async fn a_proxy_that_opens_no_tunnel_for_an_upgrade_forwards_it_and_is_not_blamed() {
    let origin = serving(switches).await;
    let (refuses, good) = (serving(switches).await, upstream(Protocol::Http, Behaviour::Healthy).await);
    let scene = Scene::new(&[refuses.url.clone(), good.url()]).await;
    for _ in 0..4 {
        assert_eq!(ask_for_websocket(&scene, &origin.url).await, 101);
    }
    let statistics = scene.member(&refuses.url).statistics;
    assert!(statistics.successes > 0 && statistics.failures == 0, "{statistics:?}");
}

/// The same proxy, where it hangs up on who asks for a tunnel.
async fn hangs_up(mut stream: TcpStream, resets: bool) {
    let mut first = [0];
    stream.peek(&mut first).await.unwrap();
    if first != *b"C" {
        return switches(stream).await;
    }
    read_head(&mut stream).await;
    if resets {
        stream.set_zero_linger().unwrap();
    }
}

#[tokio::test]
async fn a_proxy_that_hangs_up_on_a_tunnel_for_an_upgrade_forwards_it_and_is_not_blamed() {
    for resets in [false, true] {
        let proxy = serving(move |stream| hangs_up(stream, resets)).await;
        let scene = Scene::new(&[&proxy.url]).await;
        assert_eq!(ask_for_websocket(&scene, "http://shop.test").await, 101, "{resets}");
        let statistics = scene.member(&proxy.url).statistics;
        assert_eq!((statistics.successes, statistics.failures), (1, 0), "{resets}");
    }
}

#[tokio::test]
async fn an_upgrade_that_a_proxy_cannot_but_take_off_is_tried_elsewhere() {
    let origin = serving(switches).await;
    let strips = upstream(Protocol::Http, Behaviour::RefuseConnect(403)).await;
    let good = upstream(Protocol::Socks5, Behaviour::Healthy).await;
    let scene = Scene::new(&[strips.url(), good.url()]).await;
    for _ in 0..4 {
        assert_eq!(ask_for_websocket(&scene, &origin.url).await, 101);
    }
    assert!(strips.counters().requests() > 0);
    assert_eq!(scene.failures(&strips.url()), 0);
    let alone = Scene::new(&[strips.url()]).await;
    assert_eq!(ask_for_websocket(&alone, &origin.url).await, 426, "the origin's answer, where nobody has another one");
}

#[tokio::test]
async fn an_answer_until_close_ends_the_clients_connection_too() {
    let old = scripted(&[b"HTTP/1.0 200 OK\r\n\r\n", b"first ", b"second"], Then::Close).await;
    let scene = Scene::new(&[&old.url]).await;
    let reply = exchange(&mut scene.client().await, "GET http://example.test/ HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(reply.starts_with("HTTP/1.1 200 OK\r\nConnection: close\r\n"), "{reply}");
    assert_eq!(body(&reply), "first second");
}

#[tokio::test]
async fn an_http_1_0_client_may_keep_its_connection() {
    let origin = origin().await;
    let good = upstream(Protocol::Http, Behaviour::Healthy).await;
    let scene = Scene::new(&[good.url()]).await;
    let mut client = scene.client().await;
    for _ in 0..2 {
        let request = format!("GET {} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", origin.http_url("/bytes/5"));
        client.write_all(request.as_bytes()).await.unwrap();
        let (head, body) = answer(&mut client).await;
        assert!(head.contains("\r\nConnection: keep-alive\r\n"), "{head}");
        assert_eq!(body.len(), 5);
    }
}

#[tokio::test]
async fn an_upstream_over_tls_serves_as_well() {
    let origin = origin().await;
    let ca = proxywhirl_world::TestCa::new().unwrap();
    let mut options = proxywhirl_world::UpstreamOptions::new(Protocol::Https);
    options.tls = Some(ca.server_config(&[]).unwrap());
    let good = proxywhirl_world::Upstream::start(options).await.unwrap();
    let scene = Scene::new(&[good.url()]).await;
    for client in Client::ALL {
        let reply = client.ask(scene.addr, origin.http_addr(), "/bytes/10").await;
        assert_eq!((status(&reply), body(&reply).len()), (200, 10), "{client:?} {reply}");
    }
}

#[tokio::test]
async fn an_answer_that_was_cut_does_not_look_whole_to_a_client_that_waits_for_the_end_of_the_connection() {
    const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    for (says, is_whole) in [(&[CHUNKED, b"0\r\n\r\n"][..], true), (&[CHUNKED][..], false)] {
        let upstream = scripted(says, Then::Close).await;
        let scene = Scene::new(&[&upstream.url]).await;
        let mut client = scene.client().await;
        client.write_all(b"GET http://shop.test/ HTTP/1.0\r\n\r\n").await.unwrap();
        assert!(read_head(&mut client).await.starts_with("HTTP/1.1 200 "));
        let mut body = Vec::new();
        let end = tokio::time::timeout(Duration::from_secs(20), client.read_to_end(&mut body)).await.unwrap();
        assert_eq!(end.is_ok(), is_whole, "{end:?} {body:?}");
        assert!(!is_whole || body == b"hello", "{body:?}");
    }
}

#[tokio::test]
async fn a_407_is_the_proxys_when_it_says_what_it_wants_and_may_be_the_origins_otherwise() {
    const BARE: &[u8] = b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n";
    const ASKS: &[u8] = b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n";
    for (says, failures) in [(&[BARE][..], 0), (&[ASKS][..], 1)] {
        let proxies = [scripted(says, Then::Hold).await, scripted(says, Then::Hold).await];
        let scene = Scene::new(&proxies.each_ref().map(|proxy| &proxy.url)).await;
        let reply =
            exchange(&mut scene.client().await, "GET http://shop.test/ HTTP/1.1\r\nConnection: close\r\n\r\n").await;
        assert_eq!(status(&reply), 502, "{reply}");
        assert_eq!(proxies.each_ref().map(|proxy| scene.failures(&proxy.url)), [failures; 2]);
    }
}
