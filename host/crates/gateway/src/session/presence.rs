//! Whether the client of a request is still there, while upstreams are tried for it.
//!
//! A client that has closed its connection looks the same from here as one that has closed its sending half alone and waits
//! for its answer. Who wants a tunnel, and has sent nothing to go through it, can do nothing with one any more. Who has sent a
//! request in HTTP/1.1 is told to go on with it, as may be said at any time (RFC 9110 §15.2): where the connection is closed,
//! that is answered with a reset, and nothing can be written any more. HTTP/1.0 has no interim responses, so that its clients
//! are waited for.
//!
//! What is under way when a client leaves goes on for as long as a dial may take, and nothing new is begun: else clients that
//! are impatient would never find out that a proxy is dead.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use proxywhirl_core::{Fault, Kind, Side, Stage};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, Sleep, sleep, timeout};

use crate::access::Use;
use crate::reply::CONTINUE;
use crate::sparing::{READ, poll_read};

/// How much is read of what a client sends meanwhile: somebody who sends more is there.
const ROOM: usize = 2 * READ;

/// When a client that sends no more is asked whether it is there. The first time brings the reset, which takes as long as the way
/// there and back, and a later time meets it. No more of them: there are clients that count interim responses.
const ASKED: [Duration; 3] = [Duration::ZERO, Duration::from_millis(250), Duration::from_secs(2)];

/// How much longer than its time a request is waited for whose client has left.
const SPARE: Duration = Duration::from_secs(1);

/// How long it may take until the rest of what a client was asked with is written.
const WRITING: Duration = Duration::from_secs(2);

/// What it says of a client that it sends no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtEnd {
    /// It has left, unless it has sent something ahead.
    HasLeft,
    /// That is to be asked.
    Ask,
    /// Nothing.
    Waits,
}

impl AtEnd {
    /// For a request of HTTP/1 with this digit behind the dot.
    pub(crate) const fn of(version: u8) -> Self {
        if version == 0 { Self::Waits } else { Self::Ask }
    }
}

/// Whether the client of a request has left, so that nothing is begun for it.
#[derive(Debug, Default)]
pub(crate) struct Leaving {
    has_left: AtomicBool,
}

impl Leaving {
    pub(crate) fn has_left(&self) -> bool {
        // Relaxed: it stands for itself.
        self.has_left.load(Ordering::Relaxed)
    }

    /// Ready when it has left. Nobody is woken by that: whoever finds it out is in the same task as the request, and polls it then.
    pub(crate) async fn left(&self) {
        poll_fn(|_| if self.has_left() { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// Of a client that never leaves.
    #[cfg(test)]
    pub(crate) fn never() -> &'static Self {
        static STAYS: std::sync::LazyLock<Leaving> = std::sync::LazyLock::new(Leaving::default);
        &STAYS
    }

    pub(crate) fn leave(&self) {
        self.has_left.store(true, Ordering::Relaxed);
    }
}

/// What came of a request.
pub(crate) enum Attended<T> {
    Served(T),
    /// The client has left; what came of it all the same, soon after.
    Left(Option<T>),
}

/// Why a request ends whose client has left.
pub(crate) fn left() -> Fault {
    Fault::new(Side::Client, Stage::FirstByte, Kind::Closed, "it left before it was answered")
}

/// Serves a request as long as its client is there, and then for so long that an attempt can fail. When it leaves, it gives its
/// place back among the requests of its user.
pub(crate) async fn attend<S, F>(
    client: &mut S,
    ahead: &mut BytesMut,
    at_end: AtEnd,
    (leaving, place): (&Leaving, &mut Option<Use>),
    (mut serving, grace): (F, Duration),
) -> Attended<F::Output>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future + Unpin,
{
    let mut presence = Presence { client, ahead, at_end, state: State::Listens };
    let served = poll_fn(|context| match Pin::new(&mut serving).poll(context) {
        Poll::Ready(served) => Poll::Ready(Some(served)),
        Poll::Pending => presence.poll_gone(context).map(|()| None),
    })
    .await;
    match served {
        Some(served) => {
            presence.finish().await;
            Attended::Served(served)
        }
        None => {
            leaving.leave();
            drop(place.take());
            // On the heap: most clients stay.
            // It ends by itself within this time, and has told then what it has found out.
            Attended::Left(Box::pin(timeout(grace + SPARE, serving)).await.ok())
        }
    }
}

/// How long a client that sends no more may get nothing of an answer that has begun, until it is taken for one that has left:
/// within an answer, it cannot be asked.
const NOTHING: Duration = Duration::from_secs(30);

/// What is known of a client while its answer passes.
pub(crate) struct Watch<'b> {
    /// What it sends meanwhile.
    ahead: &'b mut BytesMut,
    /// Rings when a client that sends no more has got nothing for too long.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl<'b> Watch<'b> {
    pub(crate) const fn new(ahead: &'b mut BytesMut) -> Self {
        Self { ahead, alarm: None }
    }

    /// Ready when the client has left; `moved` when it has got something since.
    pub(crate) fn poll_gone<S: AsyncRead + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        client: &mut S,
        moved: bool,
    ) -> Poll<io::Error> {
        while self.alarm.is_none() && self.ahead.len() < ROOM {
            match ready!(poll_read(client, context, self.ahead, READ)) {
                Ok(1..) => {}
                Ok(0) => self.alarm = Some(Box::pin(sleep(NOTHING))),
                Err(error) => return Poll::Ready(error),
            }
        }
        let Some(alarm) = &mut self.alarm else { return Poll::Pending };
        if moved {
            alarm.as_mut().reset(Instant::now() + NOTHING);
        }
        ready!(alarm.as_mut().poll(context));
        let why = format!("it sends no more, and has got nothing for {} s", NOTHING.as_secs());
        Poll::Ready(io::Error::new(io::ErrorKind::ConnectionAborted, why))
    }
}

/// A client that is written to, of which is noticed that it has left while there is nothing to write.
pub(crate) struct Watched<'c, S> {
    client: &'c mut S,
    watch: Watch<'c>,
    moved: bool,
}

impl<'c, S> Watched<'c, S> {
    pub(crate) const fn new(client: &'c mut S, ahead: &'c mut BytesMut) -> Self {
        Self { client, watch: Watch::new(ahead), moved: false }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<'_, S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.moved = true;
        Pin::new(&mut *this.client).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.moved = true;
        Pin::new(&mut *this.client).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.client.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut *this.client).poll_flush(cx))?;
        match this.watch.poll_gone(cx, this.client, std::mem::take(&mut this.moved)) {
            Poll::Ready(error) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().client).poll_shutdown(cx)
    }
}

/// A client that is looked at while its request is under way.
struct Presence<'c, S> {
    client: &'c mut S,
    ahead: &'c mut BytesMut,
    at_end: AtEnd,
    state: State,
}

enum State {
    /// It may say something, or end.
    Listens,
    /// It sends no more.
    Asked(Box<Asked>),
    /// Nothing more is to be found out.
    Stays,
}

struct Asked {
    times: usize,
    /// How much of what it is asked with has not been written yet.
    owed: usize,
    next: Pin<Box<Sleep>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Presence<'_, S> {
    /// Ready when the client has left.
    fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            match &mut self.state {
                State::Stays => return Poll::Pending,
                State::Asked(asked) => match ready!(asked.poll(context, self.client)) {
                    Err(_) => return Poll::Ready(()),
                    Ok(()) => self.state = State::Stays,
                },
                State::Listens => match ready!(poll_read(self.client, context, self.ahead, READ)) {
                    Ok(1..) if self.ahead.len() >= ROOM => self.state = State::Stays,
                    Ok(1..) => {}
                    Err(_) => return Poll::Ready(()),
                    Ok(0) => match self.at_end {
                        AtEnd::HasLeft if self.ahead.is_empty() => return Poll::Ready(()),
                        AtEnd::HasLeft | AtEnd::Waits => self.state = State::Stays,
                        AtEnd::Ask => self.state = State::Asked(Box::new(Asked::new())),
                    },
                },
            }
        }
    }

    /// Says to the end what was begun, so that an answer can follow. If the client is gone, that shows with the answer.
    async fn finish(&mut self) {
        if let State::Asked(asked) = &self.state
            && asked.owed > 0
        {
            let rest = CONTINUE.get(CONTINUE.len() - asked.owed..).unwrap_or_default();
            // It may not read any more, as it does not send.
            drop(timeout(WRITING, self.client.write_all(rest)).await);
        }
    }
}

impl Asked {
    fn new() -> Self {
        Self { times: 0, owed: 0, next: Box::pin(sleep(ASKED[0])) }
    }

    /// An error when nothing can be written to the client; nothing when it was asked often enough.
    fn poll<S: AsyncWrite + Unpin>(&mut self, context: &mut Context<'_>, client: &mut S) -> Poll<io::Result<()>> {
        loop {
            if self.owed > 0 {
                let rest = CONTINUE.get(CONTINUE.len() - self.owed..).unwrap_or_default();
                let written = ready!(Pin::new(&mut *client).poll_write(context, rest))?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.owed -= written;
                continue;
            }
            ready!(Pin::new(&mut *client).poll_flush(context))?;
            if self.times == ASKED.len() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.next.as_mut().poll(context));
            self.times += 1;
            self.owed = CONTINUE.len();
            if let Some(pause) = ASKED.get(self.times) {
                self.next = Box::pin(sleep(*pause));
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn within_an_answer_who_sends_no_more_and_gets_nothing_for_long_has_left() {
        let (mut near, mut far) = tokio::io::duplex(64);
        far.write_all(b"next").await.unwrap();
        far.shutdown().await.unwrap();
        let mut ahead = BytesMut::new();
        let mut watched = Watched::new(&mut near, &mut ahead);
        // As long as it gets something now and then, it may be waiting.
        for _ in 0..4 {
            watched.write_all(b"event").await.unwrap();
            far.read_exact(&mut [0; 5]).await.unwrap();
            let flushed = timeout(NOTHING * 2 / 3, flushed(&mut watched)).await;
            assert!(flushed.is_err(), "{flushed:?}");
        }
        let began = Instant::now();
        let error = flushed(&mut watched).await;
        assert_eq!((error.kind(), began.elapsed()), (io::ErrorKind::ConnectionAborted, NOTHING / 3));
        assert_eq!(ahead, b"next"[..]);
    }

    /// Flushes whenever there is something new, until that fails.
    async fn flushed<S: AsyncRead + AsyncWrite + Unpin>(watched: &mut Watched<'_, S>) -> io::Error {
        poll_fn(|context| match Pin::new(&mut *watched).poll_flush(context) {
            Poll::Ready(Err(error)) => Poll::Ready(error),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        })
        .await
    }
}
