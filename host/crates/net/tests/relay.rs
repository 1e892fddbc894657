//! Tunnels and bodies between real TCP connections, which the kernel copies where it can.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use proxywhirl_net::Stream;
use proxywhirl_net::http1::{CopyError, HeadError};
use proxywhirl_net::relay::{End, pass, relay};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Two ends of a TCP connection.
async fn connected() -> (TcpStream, TcpStream) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    (near.unwrap(), far.unwrap().0)
}

#[tokio::test]
async fn what_the_kernel_copies_arrives_whole_both_ways() {
    const LENGTH: usize = 20_000_000;
    let pattern = |seed: usize| (0..LENGTH).map(|at| ((at / 7 + seed) % 251) as u8).collect::<Vec<_>>();
    let (mut client, mut ours) = connected().await;
    let (theirs, mut upstream) = connected().await;
    let mut theirs = Stream::Tcp(theirs);
    let exchange = async |stream: &mut TcpStream, bytes: Vec<u8>| {
        let (mut read, mut write) = stream.split();
        let send = async {
            write.write_all(&bytes).await.unwrap();
            write.shutdown().await.unwrap();
        };
        let mut received = Vec::new();
        tokio::join!(read.read_to_end(&mut received), send).0.unwrap();
        received
    };
    // The last end is heard when the connections are dropped.
    let relaying = async move { relay(&mut ours, &mut theirs, Some(Duration::from_secs(20)), || {}).await };
    let (relayed, at_client, at_upstream) =
        tokio::join!(tokio::spawn(relaying), exchange(&mut client, pattern(1)), exchange(&mut upstream, pattern(2)),);
    let relayed = relayed.unwrap();
    assert!(at_client == pattern(2) && at_upstream == pattern(1));
    assert_eq!((relayed.up, relayed.down), (LENGTH as u64, LENGTH as u64));
    assert!(matches!(relayed.end, End::Closed), "{relayed:?}");
}

/// Passes a body on from one connection to another, with something behind it.
async fn passed(sent: usize, length: u64) -> (Result<(), CopyError>, usize, usize) {
    let (mut peer, mut from) = connected().await;
    let (mut to, mut taker) = connected().await;
    let send = async {
        peer.write_all(&vec![7; sent]).await.unwrap();
        drop(peer);
    };
    let pass = async {
        let result =
            pass(&mut from, &mut to, Vec::new(), length, Duration::from_secs(20), |_, _, _| std::task::Poll::Pending)
                .await;
        drop(to);
        let mut left = Vec::new();
        from.read_to_end(&mut left).await.unwrap();
        (result, left.len())
    };
    let mut taken = Vec::new();
    let (taking, (result, left), ()) = tokio::join!(taker.read_to_end(&mut taken), pass, send);
    taking.unwrap();
    (result, taken.len(), left)
}

#[tokio::test]
async fn a_body_is_passed_on_to_its_end_and_no_further() {
    for length in [0, 1, 70_000, 10_000_000] {
        let (result, taken, left) = passed(length + 5, length as u64).await;
        result.unwrap();
        assert_eq!((taken, left), (length, 5));
    }
    let (result, taken, _) = passed(3_000_000, 3_000_001).await;
    assert!(matches!(result, Err(CopyError::Read(HeadError::Closed))), "{result:?}");
    assert_eq!(taken, 3_000_000);
}

#[tokio::test]
async fn a_side_that_takes_no_more_ends_what_the_kernel_copies() {
    let (mut client, mut ours) = connected().await;
    let (mut theirs, mut upstream) = connected().await;
    let sending = async {
        let piece = vec![1; 1 << 20];
        while upstream.write_all(&piece).await.is_ok() {}
    };
    let leaving = async {
        let mut some = vec![0; 5_000_000];
        client.read_exact(&mut some).await.unwrap();
        drop(client);
    };
    let relaying = async {
        let relayed = relay(&mut ours, &mut theirs, Some(Duration::from_secs(20)), || {}).await;
        drop((ours, theirs));
        relayed
    };
    let (relayed, (), ()) = tokio::join!(relaying, leaving, sending);
    assert!(matches!(relayed.end, End::Client(_)), "{relayed:?}");
    assert!(relayed.down >= 5_000_000, "{relayed:?}");
}
