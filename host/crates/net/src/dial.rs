//! Opening TCP to an upstream.
//!
//! A name may have addresses that do not answer; the next one is tried when the last has failed or has been silent
//! for a quarter of a second, and the first that answers wins (Happy Eyeballs, RFC 8305).

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use proxywhirl_core::address;
use proxywhirl_core::{Endpoint, Fault, Host, Kind, Side, Stage};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout_at};

use crate::fault;
use crate::resolve::{Resolver, literal};

/// The head start of an address before the next one is tried as well (RFC 8305 §5).
const HEAD_START: Duration = Duration::from_millis(250);

/// How long a connection is silent before its peer is probed: NAT tables forget TCP after two minutes at the earliest.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Waits for a part of the way until the deadline; then it is a timeout of this side and stage.
pub(crate) fn within<T>(
    deadline: Instant,
    side: Side,
    stage: Stage,
    part: impl Future<Output = Result<T, Fault>>,
) -> impl Future<Output = Result<T, Fault>> {
    // No `async` block: it would have room for the part twice, as what it was given and as what it waits for.
    timeout_at(deadline, part)
        .map(move |result| result.unwrap_or_else(|_| Err(Fault::new(side, stage, Kind::Timeout, "no answer in time"))))
}

/// The addresses of an upstream; when `public_only`, none that only this machine or its networks reach.
pub(crate) async fn addresses(
    resolver: &Resolver,
    upstream: &Endpoint,
    public_only: bool,
    deadline: Instant,
) -> Result<Vec<SocketAddr>, Fault> {
    let addresses = lookup(resolver, Side::Upstream, &upstream.host, upstream.port, deadline).await?;
    let private = |address: &SocketAddr| address::private_ip(address.ip());
    match addresses.iter().find_map(private).filter(|_| public_only) {
        Some(class) => {
            let words = format!("{} has an address that a stranger's list may not name: {class}", upstream.host);
            Err(Fault::new(Side::Upstream, Stage::Resolve, Kind::Denied, words))
        }
        None => Ok(addresses),
    }
}

/// The addresses of an upstream, or of an origin.
pub(crate) async fn lookup(
    resolver: &Resolver,
    side: Side,
    host: &Host,
    port: u16,
    deadline: Instant,
) -> Result<Vec<SocketAddr>, Fault> {
    if let Some(address) = literal(host, port) {
        return Ok(vec![address]);
    }
    // In a box: most upstreams are named by their addresses, and take no room for it.
    let looked_up = Box::pin(async {
        let found = resolver.resolve(host, port).await;
        found.map_err(|error| Fault::new(side, Stage::Resolve, Kind::NotFound, format!("{host}: {error}")))
    });
    within(deadline, side, Stage::Resolve, looked_up).await
}

/// Connects to the first of some addresses that answers.
pub(crate) async fn tcp(addresses: Vec<SocketAddr>, deadline: Instant) -> Result<TcpStream, Fault> {
    within(deadline, Side::Upstream, Stage::Connect, first(addresses)).await
}

/// Lets the system notice a peer that is gone without a word: a tunnel may be silent for hours and be well.
pub(crate) fn keep_alive(stream: &TcpStream) {
    let probes = TcpKeepalive::new().with_time(KEEP_ALIVE).with_interval(KEEP_ALIVE / 4);
    // A tunnel without probes is still a tunnel.
    drop(SockRef::from(stream).set_tcp_keepalive(&probes));
}

async fn first(addresses: Vec<SocketAddr>) -> Result<TcpStream, Fault> {
    match addresses.as_slice() {
        // By itself: a set of futures has its task woken once more whenever it has polled all of them, and that wakes another thread.
        [address] => dial(*address).await,
        // On the heap: most upstreams have one, and all would have room for it.
        _ => Box::pin(race(addresses)).await,
    }
}

async fn race(addresses: Vec<SocketAddr>) -> Result<TcpStream, Fault> {
    let mut waiting = addresses.into_iter();
    let mut dialling = FuturesUnordered::new();
    dialling.extend(waiting.next().map(dial));
    loop {
        tokio::select! {
            biased;
            result = dialling.next() => match (result, waiting.next()) {
                (Some(Ok(stream)), _) => return Ok(stream),
                (_, Some(next)) => dialling.push(dial(next)),
                (Some(Err(fault)), None) if dialling.is_empty() => return Err(fault),
                (Some(Err(_)), None) => {}
                (None, None) => {
                    return Err(Fault::new(Side::Upstream, Stage::Resolve, Kind::NotFound, "no address"));
                }
            },
            () = sleep(HEAD_START), if waiting.len() > 0 => dialling.extend(waiting.next().map(dial)),
        }
    }
}

async fn dial(address: SocketAddr) -> Result<TcpStream, Fault> {
    let connected = async {
        let stream = TcpStream::connect(address).await?;
        // Heads and handshakes are small messages that somebody waits for.
        stream.set_nodelay(true)?;
        Ok(stream)
    };
    connected.await.map_err(|error: io::Error| {
        let mut fault = fault::upstream(Stage::Connect, &error);
        if error.kind() == io::ErrorKind::AddrNotAvailable && address.is_ipv4() {
            // An IPv4 address can always be dialled from somewhere: our ports are used up.
            (fault.side, fault.kind) = (Side::Ours, Kind::Exhausted);
        }
        fault.detail = format!("{address}: {}", fault.detail).into();
        fault
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Wake, Waker};

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    /// Runs a handshake against a peer that answers these bytes, one at a time, and then closes or falls silent.
    pub(crate) async fn answered<T>(
        answer: &[u8],
        closes: bool,
        handshake: impl AsyncFnOnce(&mut DuplexStream, Instant) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let (mut ours, theirs) = duplex(1 << 20);
        let (mut requests, mut answers) = tokio::io::split(theirs);
        let deadline = Instant::now() + Duration::from_secs(5);
        let peer = async {
            for byte in answer {
                // We hang up in the middle of what is wrong.
                if answers.write_all(&[*byte]).await.is_err() {
                    return;
                }
                tokio::task::yield_now().await;
            }
            if closes {
                drop(answers.shutdown().await);
            }
            drop(requests.read_to_end(&mut Vec::new()).await);
        };
        let us = async {
            let result = handshake(&mut ours, deadline).await;
            drop(ours);
            result
        };
        tokio::join!(us, peer).0
    }

    #[tokio::test]
    async fn the_address_that_answers_wins() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = listener.local_addr().unwrap();
        let closed = {
            let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            gone.local_addr().unwrap()
        };
        let stream = first(vec![closed, good]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
        assert!(stream.nodelay().unwrap());
        let fault = first(vec![closed, closed]).await.unwrap_err();
        assert_eq!((fault.side, fault.stage, fault.kind), (Side::Upstream, Stage::Connect, Kind::Refused));
        assert!(fault.detail.starts_with(&closed.to_string()), "{fault}");
        assert_eq!(first(Vec::new()).await.unwrap_err().kind, Kind::NotFound);
    }
    /// A waker that counts.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn who_dials_one_address_is_not_woken_before_it_answers() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut dialling = pin!(first(vec![listener.local_addr().unwrap()]));
        // The runtime has no turn in which it would hear that it has been answered.
        assert!(dialling.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);
    }
}
