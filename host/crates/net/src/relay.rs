//! Copying a tunnel, both ways at once, until both sides have closed.
//!
//! A side that closes is closed towards the other, and the other direction goes on (half-close): `nc`, FTP and HTTP/1.0
//! clients do that. The buffer belongs to the thread, not to the tunnel: bytes stay with a tunnel only while the other
//! side does not take them, so an idle tunnel holds no buffer, and a full one never more than [`BUFFER`] a direction.
//! Between two TCP connections, a direction that is busy is copied by the kernel where that can do it (`splice`).
//! Only a tunnel that is silent for a while has its peers probed (`SO_KEEPALIVE`): most end before, and cost no call for it.
//! `tokio::io::copy_bidirectional` holds two buffers for each tunnel, and does not say which side failed.

mod direction;
#[cfg(target_os = "linux")]
mod splice;

use std::any::Any;
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

use crate::dial;
use crate::http1::CopyError;
use crate::stream::Stream;
use direction::{Direction, State};

/// The most bytes that are on their way in one direction. Bulk transfers cost 40 % of the CPU that 8 kB buffers cost.
pub const BUFFER: usize = 64 * 1024;

/// How long a tunnel is silent before the system is told to look after its connections.
const QUIET: Duration = Duration::from_secs(30);

/// How long a client that sends no more has to get nothing until it is taken for one that has left.
pub const MOMENT: Duration = Duration::from_millis(200);

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
/// `gone` is called when the client sends no more and nothing has come for it for [`MOMENT`]: one that has closed its sending half
/// alone may be reading on.
pub async fn relay<A, B>(client: &mut A, upstream: &mut B, idle: Option<Duration>, gone: impl FnOnce()) -> Relayed
where
    A: AsyncRead + AsyncWrite + Unpin + 'static,
    B: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let mut up = Direction::default();
    let mut down = Direction::default();
    let mut idleness = idle.map(|idle| Idleness::new(idle, Some(QUIET)));
    let (mut gone, mut when_ended) = (Some(gone), None);
    let end = poll_fn(|context| {
        let mut scratch = SCRATCH.take();
        scratch.resize(BUFFER, 0);
        let moved_before = up.moved + down.moved;
        let upward = up.poll(context, client, upstream, &mut scratch, down.state == State::Closed);
        let downward = down.poll(context, upstream, client, &mut scratch, up.state == State::Closed);
        SCRATCH.set(scratch);
        if when_ended.is_none() && up.has_ended() {
            when_ended = Some(down.moved);
            if let Some(idleness) = &mut idleness {
                idleness.hurry(MOMENT);
            }
        }
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
                    Silence::Moment => {
                        if let Some(gone) = gone.take().filter(|_| when_ended == Some(down.moved)) {
                            gone();
                        }
                    }
                    Silence::Idle => return Poll::Ready(End::Idle),
                }
            },
            None => Poll::Pending,
        }
    })
    .await;
    Relayed { up: up.moved, down: down.moved, end }
}

/// Passes on what is at hand already and so many bytes more, unless either side fails or nothing has moved for `idle`. While nothing
/// comes, `look` is asked whether the receiver is still there; it hears whether something has moved since it was asked last.
///
/// # Errors
/// [`CopyError`] says which side failed, or was waited for in vain.
pub async fn pass<R, W>(
    from: &mut R,
    to: &mut W,
    at_hand: Vec<u8>,
    length: u64,
    idle: Duration,
    mut look: impl FnMut(&mut Context<'_>, &mut W, bool) -> Poll<io::Error>,
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
                if !direction.holds()
                    && let Poll::Ready(error) = look(context, to, moved)
                {
                    return Poll::Ready(Err(CopyError::Write(error)));
                }
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
    /// Whether the alarm was set for a moment.
    is_hurried: bool,
    alarm: Pin<Box<Sleep>>,
}

/// What is noticed of a silent tunnel.
enum Silence {
    /// A moment is over.
    Moment,
    /// Nothing has moved for a while.
    Quiet,
    /// Nothing has moved for as long as it may.
    Idle,
}

impl Idleness {
    fn new(limit: Duration, quiet: Option<Duration>) -> Self {
        let quiet = quiet.filter(|quiet| *quiet < limit);
        let alarm = Box::pin(sleep(quiet.unwrap_or(limit)));
        Self { limit, last: Instant::now(), quiet, is_hurried: false, alarm }
    }

    /// Rings after this moment, once.
    fn hurry(&mut self, moment: Duration) {
        self.is_hurried = true;
        self.alarm.as_mut().reset(Instant::now() + moment);
    }

    fn poll(&mut self, context: &mut Context<'_>, moved: bool) -> Poll<Silence> {
        if moved {
            self.last = Instant::now();
        }
        loop {
            ready!(self.alarm.as_mut().poll(context));
            if std::mem::take(&mut self.is_hurried) {
                return Poll::Ready(Silence::Moment);
            }
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
mod tests;
