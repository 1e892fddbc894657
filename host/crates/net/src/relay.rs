//! Copying a tunnel, both ways at once, until both sides have closed.
//!
//! A side that closes is closed towards the other, and the other direction goes on (half-close): `nc`, FTP and HTTP/1.0
//! clients do that. The buffer belongs to the thread, not to the tunnel: bytes stay with a tunnel only while the other
//! side does not take them, so an idle tunnel holds no buffer, and a full one never more than [`BUFFER`] a direction.
//! Between two TCP connections, a direction that is busy is copied by the kernel where that can do it (`splice`).
//! Only a tunnel that is silent for a while has its peers probed (`SO_KEEPALIVE`): most end before, and cost no call for it.
//! `tokio::io::copy_bidirectional` holds two buffers for each tunnel, and does not say which side failed.

#[cfg(target_os = "linux")]
mod splice;

use std::any::Any;
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

use crate::dial;
use crate::http1::CopyError;
use crate::stream::Stream;

/// The most bytes that are on their way in one direction. Bulk transfers cost 40 % of the CPU that 8 kB buffers cost.
pub const BUFFER: usize = 64 * 1024;

/// A read of so much says that there is more to come, and that it pays to let the kernel copy it.
#[cfg(target_os = "linux")]
const BUSY: usize = BUFFER / 2;

/// The kernel goes on copying as long as it finds so much at a time.
#[cfg(target_os = "linux")]
const STILL_BUSY: usize = BUFFER / 8;

/// How long a tunnel is silent before the system is told to look after its connections.
const QUIET: Duration = Duration::from_secs(30);

/// What a tunnel carried, and how it ended.
#[derive(Debug)]
pub struct Relayed {
    /// Bytes from the client that the upstream took.
    pub up: u64,
    /// Bytes from the upstream that the client took.
    pub down: u64,
    /// How it ended.
    pub end: End,
}

/// How a tunnel ended.
#[derive(Debug)]
pub enum End {
    /// Both sides closed in an orderly way.
    Closed,
    /// The client's connection failed.
    Client(io::Error),
    /// The upstream's connection failed.
    Upstream(io::Error),
    /// Nothing moved for as long as it may.
    Idle,
}

thread_local! {
    /// The thread's buffer; it is taken while one poll of one tunnel lasts.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Copies both ways until both sides have closed, one fails, or nothing has moved for `idle`.
///
/// Whoever has both connections drops them then. That is what closes the one that was to be closed last, if it is plain TCP.
pub async fn relay<A, B>(client: &mut A, upstream: &mut B, idle: Option<Duration>) -> Relayed
where
    A: AsyncRead + AsyncWrite + Unpin + 'static,
    B: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let mut up = Direction::default();
    let mut down = Direction::default();
    let mut idleness = idle.map(|idle| Idleness::new(idle, Some(QUIET)));
    let end = poll_fn(|context| {
        let mut scratch = SCRATCH.take();
        scratch.resize(BUFFER, 0);
        let moved_before = up.moved + down.moved;
        let upward = up.poll(context, client, upstream, &mut scratch, down.state == State::Closed);
        let downward = down.poll(context, upstream, client, &mut scratch, up.state == State::Closed);
        SCRATCH.set(scratch);
        // Who may have no more bytes gets none either way, and would keep the tunnel open for nothing.
        if let Some(error) = up.exhausted().or_else(|| down.exhausted()) {
            return Poll::Ready(End::Client(error));
        }
        match (upward, downward) {
            (Poll::Ready(Err(error)), _) => return Poll::Ready(End::Client(error)),
            (_, Poll::Ready(Err(error))) => return Poll::Ready(End::Upstream(error)),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => {
                let failed = up.refused.take().map(End::Upstream).or_else(|| down.refused.take().map(End::Client));
                return Poll::Ready(failed.unwrap_or(End::Closed));
            }
            (Poll::Pending, _) | (_, Poll::Pending) => {}
        }
        let moved = up.moved + down.moved > moved_before;
        match &mut idleness {
            Some(idleness) => loop {
                match ready!(idleness.poll(context, moved)) {
                    Silence::Quiet => tcp(client).into_iter().chain(tcp(upstream)).for_each(dial::keep_alive),
                    Silence::Idle => return Poll::Ready(End::Idle),
                }
            },
            None => Poll::Pending,
        }
    })
    .await;
    Relayed { up: up.moved, down: down.moved, end }
}

/// Passes on what is at hand already and so many bytes more, unless either side fails or nothing has moved for `idle`.
///
/// # Errors
/// [`CopyError`] says which side failed, or was waited for in vain.
pub async fn pass<R, W>(
    from: &mut R,
    to: &mut W,
    at_hand: Vec<u8>,
    length: u64,
    idle: Duration,
) -> Result<(), CopyError>
where
    R: AsyncRead + Unpin + 'static,
    W: AsyncWrite + Unpin + 'static,
{
    let mut direction = Direction::of(at_hand, length);
    // Most bodies are there before anybody has to wait.
    let mut idleness = None;
    poll_fn(|context| {
        let mut scratch = SCRATCH.take();
        scratch.resize(BUFFER, 0);
        let left_before = (direction.left, direction.moved);
        let passed = direction.poll(context, from, to, &mut scratch, false);
        SCRATCH.set(scratch);
        match passed {
            Poll::Ready(Ok(())) => {
                Poll::Ready(direction.refused.take().map_or(Ok(()), |error| Err(CopyError::Write(error))))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(CopyError::Read(error.into()))),
            Poll::Pending => {
                let moved = (direction.left, direction.moved) != left_before;
                ready!(idleness.get_or_insert_with(|| Idleness::new(idle, None)).poll(context, moved));
                let why = format!("no byte for {:.0} s", idle.as_secs_f64());
                let stalled = io::Error::new(io::ErrorKind::TimedOut, why);
                let is_receiver = direction.holds();
                Poll::Ready(Err(if is_receiver { CopyError::Write(stalled) } else { CopyError::Read(stalled.into()) }))
            }
        }
    })
    .await
}

/// One direction of a tunnel, or a body.
#[derive(Default)]
struct Direction {
    state: State,
    /// How much is still to be read, if that is known; the receiving side is not closed then.
    left: Option<u64>,
    /// What was read and has not been taken yet, from `taken` on; not allocated when there is none.
    held: Vec<u8>,
    taken: usize,
    /// What the kernel has read and the other side has not taken yet; none when there is nothing.
    #[cfg(target_os = "linux")]
    pipe: Option<splice::Pipe>,
    /// Whether the last read was a large one.
    #[cfg(target_os = "linux")]
    is_busy: bool,
    /// Bytes that the receiving side took.
    moved: u64,
    /// Why the receiving side takes no more. What it still sends is passed on: servers answer a request that is too
    /// large before they have read it, and close.
    refused: Option<io::Error>,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Copying.
    #[default]
    Open,
    /// Something was written that may not have been sent.
    Unflushed,
    /// The sending side has closed; what is held goes out, then the receiving side is closed.
    Closing,
    /// Done.
    Closed,
}

impl Direction {
    /// A body of which so much is left behind what is at hand. That it is long is known before the first read.
    fn of(at_hand: Vec<u8>, left: u64) -> Self {
        Self {
            left: Some(left),
            held: at_hand,
            #[cfg(target_os = "linux")]
            is_busy: true,
            ..Self::default()
        }
    }

    /// How much of this may be read.
    fn most(&self, room: usize) -> usize {
        self.left.map_or(room, |left| usize::try_from(left).unwrap_or(room).min(room))
    }

    /// Takes note of so many bytes that were read: none is the end, which may have come too early.
    fn read(&mut self, length: usize) -> io::Result<()> {
        match (&mut self.left, length) {
            (Some(_), 0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            (None, 0) => self.state = State::Closing,
            (Some(left), read) => *left = left.saturating_sub(read as u64),
            (None, _) => {}
        }
        Ok(())
    }

    /// Whether something waits for the receiving side.
    fn holds(&self) -> bool {
        #[cfg(target_os = "linux")]
        if self.pipe.is_some() {
            return true;
        }
        !self.held.is_empty()
    }

    /// Copies as much as it can; `is_last` when the other direction has ended. An error is the sending side's.
    fn poll<R, W>(
        &mut self,
        context: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        scratch: &mut [u8],
        is_last: bool,
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin + 'static,
        W: AsyncWrite + Unpin + 'static,
    {
        loop {
            if self.state == State::Closed {
                return Poll::Ready(Ok(()));
            }
            #[cfg(target_os = "linux")]
            self.look_ahead(context, from, to);
            if let Err(error) = ready!(self.poll_held(context, to)) {
                self.refuse(error);
                continue;
            }
            #[cfg(target_os = "linux")]
            if let Some(spliced) = self.poll_spliced(context, from, to) {
                ready!(spliced)?;
                continue;
            }
            if self.state == State::Closing {
                // The peer may be gone already; everything that was for it has been taken.
                if !(is_last && plain(to).is_some()) {
                    drop(ready!(Pin::new(&mut *to).poll_shutdown(context)));
                }
                self.state = State::Closed;
                continue;
            }
            if self.left == Some(0) {
                match ready!(Pin::new(&mut *to).poll_flush(context)) {
                    Ok(()) => self.state = State::Closed,
                    Err(error) => self.refuse(error),
                }
                continue;
            }
            let most = self.most(BUFFER);
            let mut buffer = ReadBuf::new(scratch.get_mut(..most).unwrap_or_default());
            match Pin::new(&mut *from).poll_read(context, &mut buffer) {
                Poll::Ready(result) => result?,
                Poll::Pending => {
                    if self.state == State::Unflushed
                        && let Poll::Ready(flushed) = Pin::new(&mut *to).poll_flush(context)
                    {
                        self.state = State::Open;
                        if let Err(error) = flushed {
                            self.refuse(error);
                            continue;
                        }
                    }
                    return Poll::Pending;
                }
            }
            self.read(buffer.filled().len())?;
            if !buffer.filled().is_empty() {
                self.send(context, to, buffer.filled());
            }
        }
    }

    /// Takes what has come behind the bytes at hand into the pipe, so that those can be sent as a beginning: otherwise the
    /// receiver is woken for them alone, which costs about as much as sending the rest.
    #[cfg(target_os = "linux")]
    fn look_ahead<R: 'static, W: 'static>(&mut self, context: &mut Context<'_>, from: &R, to: &W) {
        let pays = self.moved == 0 && !self.held.is_empty() && self.left.is_some_and(|left| left >= BUSY as u64);
        if !pays || self.pipe.is_some() {
            return;
        }
        let (Some(from), Some(_), Some(mut pipe)) = (plain(from), plain(to), splice::Pipe::take()) else { return };
        match pipe.poll_fill(context, from, self.most(splice::SIZE)) {
            Poll::Ready(Ok(filled)) if filled > 0 => {
                self.left = self.left.map(|left| left.saturating_sub(filled as u64));
                self.pipe = Some(pipe);
            }
            // Whatever it is, the next read finds it too, when the bytes at hand are sent.
            Poll::Ready(Ok(_) | Err(_)) | Poll::Pending => pipe.give_back(),
        }
    }

    /// Lets the kernel copy as much as a pipe holds. Nothing when the bytes are to be copied here: there are few, or
    /// one side is not plain TCP. An error is the sending side's.
    #[cfg(target_os = "linux")]
    fn poll_spliced<R: 'static, W: 'static>(
        &mut self,
        context: &mut Context<'_>,
        from: &R,
        to: &W,
    ) -> Option<Poll<io::Result<()>>> {
        let pays = self.is_busy && self.left.is_none_or(|left| left >= BUSY as u64);
        if !pays && self.pipe.is_none() {
            return None;
        }
        let (from, to) = (plain(from)?, plain(to)?);
        let mut pipe = self.pipe.take().or_else(splice::Pipe::take)?;
        if pipe.is_empty() {
            let Poll::Ready(filled) = pipe.poll_fill(context, from, self.most(splice::SIZE)) else {
                pipe.give_back();
                return Some(Poll::Pending);
            };
            let noted = filled.and_then(|filled| {
                self.is_busy = filled >= STILL_BUSY;
                self.read(filled)
            });
            if let Err(error) = noted {
                return Some(Poll::Ready(Err(error)));
            }
        }
        while !pipe.is_empty() {
            match pipe.poll_drain(context, to) {
                Poll::Ready(Ok(taken)) => self.moved += taken as u64,
                Poll::Ready(Err(error)) => {
                    self.refuse(error);
                    return Some(Poll::Ready(Ok(())));
                }
                Poll::Pending => {
                    self.pipe = Some(pipe);
                    return Some(Poll::Pending);
                }
            }
        }
        pipe.give_back();
        Some(Poll::Ready(Ok(())))
    }

    /// Why the receiving side may take no more, if it is that.
    fn exhausted(&mut self) -> Option<io::Error> {
        self.refused.take_if(|error| error.kind() == io::ErrorKind::QuotaExceeded)
    }

    /// Ends this direction, because the receiving side takes no more.
    fn refuse(&mut self, error: io::Error) {
        self.refused = Some(error);
        self.held = Vec::new();
        self.state = State::Closed;
    }

    /// Writes what is held, and gives its memory back.
    fn poll_held<W: AsyncWrite + Unpin + 'static>(
        &mut self,
        context: &mut Context<'_>,
        to: &mut W,
    ) -> Poll<io::Result<()>> {
        while let Some(rest) = self.held.get(self.taken..).filter(|rest| !rest.is_empty()) {
            #[cfg(target_os = "linux")]
            let is_beginning = self.pipe.is_some();
            #[cfg(not(target_os = "linux"))]
            let is_beginning = false;
            let written = ready!(match plain(to).filter(|_| is_beginning) {
                Some(to) => splice::poll_send_beginning(context, to, rest),
                None => Pin::new(&mut *to).poll_write(context, rest),
            })?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.taken += written;
            self.moved += written as u64;
        }
        if self.taken > 0 {
            (self.held, self.taken) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what was just read, and holds what is not taken at once.
    fn send<W: AsyncWrite + Unpin>(&mut self, context: &mut Context<'_>, to: &mut W, bytes: &[u8]) {
        self.state = State::Unflushed;
        let written = match Pin::new(to).poll_write(context, bytes) {
            Poll::Ready(Ok(written)) => written,
            Poll::Ready(Err(error)) => return self.refuse(error),
            Poll::Pending => 0,
        };
        self.moved += written as u64;
        #[cfg(target_os = "linux")]
        {
            self.is_busy = bytes.len() >= BUSY;
        }
        self.held = bytes.get(written..).unwrap_or_default().to_vec();
    }
}

/// The TCP connection that a stream is and nothing else; whatever comes around it is copied.
fn plain<S: 'static>(stream: &S) -> Option<&TcpStream> {
    let stream: &dyn Any = stream;
    match stream.downcast_ref::<Stream>() {
        Some(stream) => stream.plain(),
        None => stream.downcast_ref::<TcpStream>(),
    }
}

/// The TCP connection below, as far as it can be known.
fn tcp<S: 'static>(stream: &S) -> Option<&TcpStream> {
    let stream: &dyn Any = stream;
    stream.downcast_ref::<Stream>().map(Stream::tcp).or_else(|| stream.downcast_ref::<TcpStream>())
}

/// Notices that nothing has moved for a time. The timer is not reset at every byte, but looked at when it rings.
struct Idleness {
    limit: Duration,
    last: Instant,
    /// After how long it is noticed that the tunnel is quiet; none when it was, or nobody cares.
    quiet: Option<Duration>,
    alarm: Pin<Box<Sleep>>,
}

/// What is noticed of a silent tunnel.
enum Silence {
    /// Nothing has moved for a while.
    Quiet,
    /// Nothing has moved for as long as it may.
    Idle,
}

impl Idleness {
    fn new(limit: Duration, quiet: Option<Duration>) -> Self {
        let quiet = quiet.filter(|quiet| *quiet < limit);
        Self { limit, last: Instant::now(), quiet, alarm: Box::pin(sleep(quiet.unwrap_or(limit))) }
    }

    fn poll(&mut self, context: &mut Context<'_>, moved: bool) -> Poll<Silence> {
        if moved {
            self.last = Instant::now();
        }
        loop {
            ready!(self.alarm.as_mut().poll(context));
            // `sleep` bounds what would overflow; so does this.
            let due = self.last.checked_add(self.quiet.unwrap_or(self.limit)).filter(|due| *due > Instant::now());
            match due {
                Some(due) => self.alarm.as_mut().reset(due),
                None if self.quiet.take().is_some() => return Poll::Ready(Silence::Quiet),
                None => return Poll::Ready(Silence::Idle),
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::net::TcpListener;

    use super::*;
    use crate::http1::HeadError;

    /// A tunnel between two in-memory connections: the client's end, the upstream's end, and its result.
    fn tunnel(idle: Option<Duration>) -> (DuplexStream, DuplexStream, tokio::task::JoinHandle<Relayed>) {
        let (client, mut ours) = duplex(64);
        let (mut theirs, upstream) = duplex(64);
        let relayed = tokio::task::spawn(async move { relay(&mut ours, &mut theirs, idle).await });
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
        let relayed = relay(&mut ours, &mut theirs, None).await;
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
        let (client, upstream) =
            (TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap());
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
            let relayed = tokio::time::timeout(quiet_for, relay(&mut ours, &mut theirs, Some(QUIET * 10))).await;
            assert!(relayed.is_err(), "it goes on");
            assert_eq!((is_probed(&ours), is_probed(theirs.tcp())), (expected, expected), "{quiet_for:?}");
        }
        drop(client);
    }

    #[tokio::test]
    async fn both_sides_hear_the_end_though_one_of_them_hears_it_when_the_connections_are_dropped() {
        for is_client_first in [true, false] {
            let [mut client, mut ours, mut theirs, mut upstream] = connections().await;
            let relayed = tokio::spawn(async move { relay(&mut ours, &mut theirs, None).await });
            let (first, last) =
                if is_client_first { (&mut client, &mut upstream) } else { (&mut upstream, &mut client) };
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
        let stalled = pass(&mut from, &mut to, Vec::new(), 100, limit).await;
        assert!(matches!(stalled, Err(CopyError::Write(error)) if error.kind() == io::ErrorKind::TimedOut));
        drop((to, taker));
        let stalled = pass(&mut from, &mut duplex(1024).0, Vec::new(), 100, limit).await;
        assert!(
            matches!(stalled, Err(CopyError::Read(HeadError::Io(error))) if error.kind() == io::ErrorKind::TimedOut)
        );
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
                pass(&mut theirs, &mut ours, b"head".to_vec(), BODY as u64, Duration::from_secs(20)).await
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
        let passed = pass(&mut theirs, &mut ours, b"head".to_vec(), 300_000, Duration::from_secs(20)).await;
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
}
