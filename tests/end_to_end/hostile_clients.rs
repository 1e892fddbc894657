//! Seven hundred hostile clients at once, and hostile upstreams with them: those who mean well are served, and memory
//! stays where it was. What each of them is answered is tested in the gateway's own package.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use proxywhirl_tests::{Load, Served, file, folder, wait_until};
use proxywhirl_world::{Behaviour, Protocol, UpstreamOptions, World, WorldPlan};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const RATE: u32 = 200;

/// What resident memory may grow by: hostile clients are 700, and each may hold a head of 64 KiB.
const GROWTH: u64 = 80 << 20;

/// Each of them, so many at a time, again and again.
const CROWD: [(Hostility, usize); 8] = [
    (Hostility::EndlessHead, 100),
    (Hostility::Drip, 300),
    (Hostility::BadChunks, 50),
    (Hostility::Smuggler, 50),
    (Hostility::CutSocks, 50),
    (Hostility::Injection, 50),
    (Hostility::Noise, 50),
    (Hostility::Vanishes, 50),
];

#[derive(Debug, Clone, Copy)]
enum Hostility {
    /// A head of 10 MB.
    EndlessHead,
    /// A byte of a head now and then.
    Drip,
    /// Chunks that are none.
    BadChunks,
    /// A length and chunks.
    Smuggler,
    /// A greeting, a login or a request of SOCKS 5, cut off anywhere.
    CutSocks,
    /// Line ends in a user name.
    Injection,
    /// Anything.
    Noise,
    /// Asks for much, and is gone.
    Vanishes,
}

impl Hostility {
    /// Talks to the gateway, and returns what it was answered. Whatever fails is the end of it.
    async fn talk(self, turn: usize, gateway: &str, url: &str) -> std::io::Result<Vec<u8>> {
        let mut client = TcpStream::connect(gateway).await?;
        match self {
            Self::EndlessHead => {
                client.write_all(b"GET http://127.0.0.1/ HTTP/1.1\r\nA: ").await?;
                let junk = vec![b'a'; 100_000];
                for _ in 0..100 {
                    client.write_all(&junk).await?;
                }
            }
            Self::Drip => {
                for byte in format!("GET {url} HTTP/1.1\r\nHost: x\r\nA: {}\r\n", "b".repeat(40)).bytes() {
                    client.write_all(&[byte]).await?;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                // It is never done.
                return Ok(Vec::new());
            }
            Self::BadChunks => {
                let chunks = ["zz\r\n", "-1\r\n", "5\r\nhello!!\r\n", "FFFFFFFFFFFFFFFFFF\r\n"][turn % 4];
                let head = format!("POST {url} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
                client.write_all(head.as_bytes()).await?;
            }
            Self::Smuggler => {
                let both =
                    "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n";
                client.write_all(format!("POST {url} HTTP/1.1\r\nHost: x\r\n{both}").as_bytes()).await?;
            }
            Self::CutSocks => {
                let whole = b"\x05\x02\x00\x02\x01\x04anna\x01x\x05\x01\x00\x03\x0cexample.test\x00\x50";
                client.write_all(&whole[..turn % whole.len()]).await?;
            }
            Self::Injection => {
                // "anna\r\nX-Injected: 1", in base64 and as SOCKS says it.
                if turn.is_multiple_of(2) {
                    let field = "Proxy-Authorization: Basic YW5uYQ0KWC1JbmplY3RlZDogMTp4";
                    client.write_all(format!("GET {url} HTTP/1.1\r\nHost: x\r\n{field}\r\n\r\n").as_bytes()).await?;
                } else {
                    client.write_all(b"\x05\x01\x02\x01\x13anna\r\nX-Injected: 1\x01x").await?;
                }
            }
            Self::Noise => {
                let mut noise = vec![[4, 5, 0x16, b'G', b'C', 0, 0xff][turn % 7]];
                noise.extend((0..500).map(|n: usize| u8::try_from((n * 131 + turn * 31) % 251).unwrap()));
                client.write_all(&noise).await?;
            }
            Self::Vanishes => {
                client.write_all(format!("GET {url}bytes/100000000 HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await?;
                client.read_exact(&mut [0; 1_000]).await?;
                return Ok(Vec::new());
            }
        }
        client.shutdown().await?;
        let mut reply = Vec::new();
        client.take(100_000).read_to_end(&mut reply).await?;
        Ok(reply)
    }

    /// Whether that is what it deserves.
    fn is_right(self, reply: &[u8]) -> bool {
        let refused = |statuses: &[&str]| {
            // A reset may have overtaken the reply.
            let is = |status: &str| reply.starts_with(format!("HTTP/1.1 {status} ").as_bytes());
            reply.is_empty() || statuses.iter().any(|status| is(status))
        };
        match self {
            Self::EndlessHead => refused(&["431"]),
            Self::BadChunks | Self::Smuggler => refused(&["400"]),
            Self::Injection => refused(&["407"]) || reply == b"\x05\x02\x01\x01",
            Self::CutSocks => reply.first().is_none_or(|first| *first == 5),
            Self::Drip | Self::Noise | Self::Vanishes => true,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_that_means_harm_is_of_no_account() {
    let bad = [Behaviour::HeaderBomb, Behaviour::GarbageReply, Behaviour::GarbageAfterConnect];
    let mut upstreams: Vec<_> = (0..3).map(|_| UpstreamOptions::new(Protocol::Http)).collect();
    upstreams.extend(bad.into_iter().map(|behaviour| UpstreamOptions::new(Protocol::Http).behaviour(behaviour)));
    let world = World::start(WorldPlan::new(upstreams)).await.unwrap();
    let folder = folder();
    let list = file(&folder, "list", world.proxies().join("\n"));
    let served = Served::start(["--proxies", &list]);
    let url = world.origin().http_url("/");
    let load = Load::start(&served.address, &url, 10, RATE);
    wait_until("a hundred requests are answered", || load.answered() > 100);
    let before = served.resident();

    let (stop, talks, wrong) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut crowd = tokio::task::JoinSet::new();
    for (hostility, count) in CROWD {
        for first in 0..count {
            let (stop, talks, wrong) = (Arc::clone(&stop), Arc::clone(&talks), Arc::clone(&wrong));
            let (gateway, url) = (served.address.clone(), url.clone());
            crowd.spawn(async move {
                let mut turn = first;
                while !stop.load(Relaxed) {
                    let talk = tokio::time::timeout(Duration::from_secs(30), hostility.talk(turn, &gateway, &url));
                    // Who is reset has been refused; a gateway that answers nobody any more fails the load.
                    if let Ok(Ok(reply)) = talk.await
                        && !hostility.is_right(&reply)
                    {
                        eprintln!("{hostility:?}: {}", String::from_utf8_lossy(&reply));
                        wrong.fetch_add(1, Relaxed);
                    }
                    talks.fetch_add(1, Relaxed);
                    turn += 1;
                    // So that they are a crowd and not a load: this machine has few processors.
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            });
        }
    }
    let mut most = before;
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        most = most.max(served.resident());
    }
    stop.store(true, Relaxed);
    crowd.join_all().await;
    let loaded = load.stop();
    println!("{} hostile talks, {} of {} requests answered", talks.load(Relaxed), loaded.answered, loaded.sent);
    println!("resident memory: {} MB before, {} MB at the most", before >> 20, most >> 20);
    assert!(talks.load(Relaxed) > 700);
    assert_eq!(wrong.load(Relaxed), 0);
    assert_eq!(loaded.answered, loaded.sent, "{:?}\n{}", loaded.failures, served.log());
    assert!(most < before + GROWTH, "resident memory grew from {before} to {most} bytes");
    assert!(!served.log().contains("panicked"), "{}", served.log());
}

/// An origin that sends without end, and counts what it could send.
async fn endless() -> (String, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, sent) = (listener.local_addr().unwrap(), Arc::new(AtomicU64::new(0)));
    let counted = Arc::clone(&sent);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let sent = Arc::clone(&counted);
            tokio::spawn(async move {
                let piece = vec![b'x'; 64 * 1024];
                client.read_u8().await?;
                client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n").await?;
                loop {
                    sent.fetch_add(client.write(&piece).await? as u64, Relaxed);
                }
                #[allow(unreachable_code, reason = "what the block returns")]
                std::io::Result::Ok(())
            });
        }
    });
    (address.to_string(), sent)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_slowly_slows_the_sender_and_costs_no_memory() {
    let world = World::start(WorldPlan::new(vec![UpstreamOptions::new(Protocol::Http)])).await.unwrap();
    let folder = folder();
    let served = Served::start(["--proxies", &file(&folder, "list", world.proxies().join("\n"))]);
    let (origin, sent) = endless().await;
    let before = served.resident();
    let mut clients = Vec::new();
    for n in 0..20 {
        let mut client = TcpStream::connect(&served.address).await.unwrap();
        let get = format!("GET http://{origin}/ HTTP/1.1\r\nHost: x\r\n\r\n");
        if n % 2 == 0 {
            client.write_all(get.as_bytes()).await.unwrap();
        } else {
            client.write_all(format!("CONNECT {origin} HTTP/1.1\r\n\r\n").as_bytes()).await.unwrap();
            let mut reply = [0; 19];
            client.read_exact(&mut reply).await.unwrap();
            assert!(reply.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&reply));
            client.write_all(get.replace(&format!("http://{origin}"), "").as_bytes()).await.unwrap();
        }
        clients.push(client);
    }
    // What the buffers of all sockets on the way take in; then it stands still.
    let mut last = 0;
    wait_until("the sender waits", || {
        std::thread::sleep(Duration::from_millis(500));
        let now = sent.load(Relaxed);
        let waits = now > 0 && now == last;
        last = now;
        waits
    });
    let stalled = served.resident();
    // It goes on as soon as somebody reads, and as far as somebody reads.
    let mut piece = vec![0; 1 << 20];
    for client in &mut clients {
        for _ in 0..20 {
            client.read_exact(&mut piece).await.unwrap();
        }
    }
    let read = served.resident();
    assert!(sent.load(Relaxed) > last, "the sender has not gone on");
    println!(
        "{} MB sent to 20 who do not read; resident {} MB, {} MB, {} MB",
        last >> 20,
        before >> 20,
        stalled >> 20,
        read >> 20
    );
    assert!(stalled.max(read) < before + (16 << 20), "from {before} to {stalled} and {read}");
}
