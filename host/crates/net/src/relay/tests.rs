//! What comes out of tunnels and bodies, over connections of the system and in memory.

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::TcpListener;

use super::*;
use crate::http1::HeadError;

/// A tunnel between two in-memory connections: the client's end, the upstream's end, and its result.
fn tunnel(idle: Option<Duration>) -> (DuplexStream, DuplexStream, tokio::task::JoinHandle<Relayed>) {
    let (client, mut ours) = duplex(64);
    let (mut theirs, upstream) = duplex(64);
    let relayed = tokio::task::spawn(async move { relay(&mut ours, &mut theirs, idle, || {}).await });
    (client, upstream, relayed)
}

#[tokio::test]
async fn a_direction_goes_on_when_the_other_has_ended() {
    let (mut client, mut upstream, relayed) = tunnel(None);
    client.write_all(b"request").await.unwrap();
    client.shutdown().await.unwrap();
    let mut request = String::new();
    upstream.read_to_string(&mut request).await.unwrap();
    assert_eq!(request, "request");
    upstream.write_all(b"an answer").await.unwrap();
    drop(upstream);
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "an answer");
    let relayed = relayed.await.unwrap();
    assert_eq!((relayed.up, relayed.down), (7, 9));
    assert!(matches!(relayed.end, End::Closed));
}

#[tokio::test]
async fn an_answer_is_delivered_though_the_request_is_not_taken() {
    let (mut client, mut ours) = duplex(1024);
    let (mut theirs, mut upstream) = duplex(1024);
    upstream.write_all(b"413").await.unwrap();
    drop(upstream);
    client.write_all(&[0; 1000]).await.unwrap();
    let relayed = relay(&mut ours, &mut theirs, None, || {}).await;
    assert!(matches!(relayed.end, End::Upstream(_)), "{relayed:?}");
    drop(ours);
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert_eq!((&*answer, relayed.down), ("413", 3));
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_is_idle_only_when_nothing_moves_either_way() {
    let (mut client, mut upstream, relayed) = tunnel(Some(Duration::from_secs(10)));
    let start = Instant::now();
    for _ in 0..5 {
        sleep(Duration::from_secs(7)).await;
        upstream.write_all(b"x").await.unwrap();
        client.read_u8().await.unwrap();
    }
    let relayed = relayed.await.unwrap();
    assert!(matches!(relayed.end, End::Idle));
    assert_eq!((relayed.down, start.elapsed().as_secs()), (5, 45));
}

/// Two TCP connections: the client's end, ours of it, ours of the other, and the upstream's end.
async fn connections() -> [TcpStream; 4] {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (client, upstream) = (TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap());
    let (ours, theirs) = (listener.accept().await.unwrap().0, listener.accept().await.unwrap().0);
    [client, ours, theirs, upstream]
}

#[tokio::test]
async fn peers_are_probed_once_a_tunnel_is_quiet_and_not_before() {
    let [client, mut ours, theirs, mut upstream] = connections().await;
    let mut theirs = Stream::Tcp(theirs);
    let is_probed = |stream: &TcpStream| socket2::SockRef::from(stream).keepalive().unwrap();
    tokio::time::pause();
    for (quiet_for, expected) in [(QUIET - Duration::from_secs(1), false), (QUIET + Duration::from_secs(1), true)] {
        upstream.write_all(b"x").await.unwrap();
        let relayed = tokio::time::timeout(quiet_for, relay(&mut ours, &mut theirs, Some(QUIET * 10), || {})).await;
        assert!(relayed.is_err(), "it goes on");
        assert_eq!((is_probed(&ours), is_probed(theirs.tcp())), (expected, expected), "{quiet_for:?}");
    }
    drop(client);
}

#[tokio::test]
async fn both_sides_hear_the_end_though_one_of_them_hears_it_when_the_connections_are_dropped() {
    for is_client_first in [true, false] {
        let [mut client, mut ours, mut theirs, mut upstream] = connections().await;
        let relayed = tokio::spawn(async move { relay(&mut ours, &mut theirs, None, || {}).await });
        let (first, last) = if is_client_first { (&mut client, &mut upstream) } else { (&mut upstream, &mut client) };
        first.write_all(b"last words").await.unwrap();
        first.shutdown().await.unwrap();
        let mut heard = String::new();
        last.read_to_string(&mut heard).await.unwrap();
        last.write_all(b"answer").await.unwrap();
        last.shutdown().await.unwrap();
        let mut answer = String::new();
        first.read_to_string(&mut answer).await.unwrap();
        assert_eq!((&*heard, &*answer), ("last words", "answer"));
        assert!(matches!(relayed.await.unwrap().end, End::Closed));
    }
}

#[tokio::test(start_paused = true)]
async fn who_stalls_a_body_is_named() {
    let limit = Duration::from_secs(10);
    let (mut from, mut peer) = duplex(1024);
    let (mut to, taker) = duplex(16);
    peer.write_all(&[1; 64]).await.unwrap();
    let stalled = pass(&mut from, &mut to, Vec::new(), 100, limit, |_, _, _| std::task::Poll::Pending).await;
    assert!(matches!(stalled, Err(CopyError::Write(error)) if error.kind() == io::ErrorKind::TimedOut));
    drop((to, taker));
    let stalled =
        pass(&mut from, &mut duplex(1024).0, Vec::new(), 100, limit, |_, _, _| std::task::Poll::Pending).await;
    assert!(matches!(stalled, Err(CopyError::Read(HeadError::Io(error))) if error.kind() == io::ErrorKind::TimedOut));
}

#[tokio::test]
async fn what_is_at_hand_goes_first_and_does_not_wait_for_what_does_not_come() {
    const BODY: usize = 300_000;
    for is_there in [true, false] {
        let [mut client, mut ours, theirs, mut upstream] = connections().await;
        let mut theirs = Stream::Tcp(theirs);
        let body: Vec<u8> = (0..BODY).map(|at| (at % 251) as u8).collect();
        if is_there {
            upstream.write_all(&body[..BODY / 10]).await.unwrap();
            theirs.tcp().readable().await.unwrap();
        }
        let passing = tokio::spawn(async move {
            pass(&mut theirs, &mut ours, b"head".to_vec(), BODY as u64, Duration::from_secs(20), |_, _, _| {
                std::task::Poll::Pending
            })
            .await
        });
        let mut head = [0; 4];
        client.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"head");
        let rest = if is_there { &body[BODY / 10..] } else { &body };
        let sending = upstream.write_all(rest);
        let mut received = vec![0; BODY];
        let (sent, read) = tokio::join!(sending, client.read_exact(&mut received));
        sent.unwrap();
        read.unwrap();
        assert!(received == body, "{is_there}");
        assert!(passing.await.unwrap().is_ok());
    }
}

#[tokio::test]
async fn an_end_that_comes_too_early_is_told_behind_what_was_at_hand() {
    let [mut client, mut ours, theirs, upstream] = connections().await;
    let mut theirs = Stream::Tcp(theirs);
    drop(upstream);
    theirs.tcp().readable().await.unwrap();
    let passed = pass(&mut theirs, &mut ours, b"head".to_vec(), 300_000, Duration::from_secs(20), |_, _, _| {
        std::task::Poll::Pending
    })
    .await;
    assert!(matches!(passed, Err(CopyError::Read(HeadError::Closed))), "{passed:?}");
    drop(ours);
    let mut head = String::new();
    client.read_to_string(&mut head).await.unwrap();
    assert_eq!(head, "head");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn all_bytes_arrive_in_order_both_ways(up in 0..300_000_usize, down in 0..300_000_usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let pattern = |length: usize| (0..length).map(|at| (at % 251) as u8).collect::<Vec<_>>();
        runtime.block_on(async {
            let (client, upstream, relayed) = tunnel(None);
            let exchange = async |stream: DuplexStream, bytes: Vec<u8>| {
                let (mut read, mut write) = tokio::io::split(stream);
                let send = async {
                    write.write_all(&bytes).await.unwrap();
                    write.shutdown().await.unwrap();
                };
                let mut received = Vec::new();
                let (result, ()) = tokio::join!(read.read_to_end(&mut received), send);
                result.unwrap();
                received
            };
            let (at_client, at_upstream) =
                tokio::join!(exchange(client, pattern(up)), exchange(upstream, pattern(down)));
            assert!(at_upstream == pattern(up) && at_client == pattern(down));
            let relayed = relayed.await.unwrap();
            assert_eq!((relayed.up, relayed.down), (up as u64, down as u64));
        });
    }
}

#[tokio::test(start_paused = true)]
async fn who_sends_no_more_has_left_when_nothing_comes_for_it_either() {
    for drips in [false, true] {
        let (mut client, mut ours) = tokio::io::duplex(64);
        let (mut theirs, mut upstream) = tokio::io::duplex(64);
        let is_gone = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let told = std::sync::Arc::clone(&is_gone);
        let gone = move || told.store(true, std::sync::atomic::Ordering::Relaxed);
        let relaying = tokio::spawn(async move { relay(&mut ours, &mut theirs, Some(QUIET), gone).await });
        client.shutdown().await.unwrap();
        for _ in 0..10 {
            tokio::time::sleep(MOMENT / 2).await;
            if drips {
                upstream.write_all(b"x").await.unwrap();
                client.read_exact(&mut [0]).await.unwrap();
            }
        }
        assert_eq!(is_gone.load(std::sync::atomic::Ordering::Relaxed), !drips);
        drop(upstream);
        assert!(matches!(relaying.await.unwrap().end, End::Closed));
    }
}
