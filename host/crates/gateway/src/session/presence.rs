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
use tokio::time::{Sleep, sleep, timeout};

use crate::access::Use;
use crate::reply::CONTINUE;
use crate::sparing::{READ, poll_read};

/// How much is read of what a client sends meanwhile: somebody who sends more is there.
const ROOM: usize = 2 * READ;

/// When a client that sends no more is asked whether it is there. The first time brings the reset, which takes as long as the way
/// there and back, and a later time meets it. No more of them: there are clients that count interim responses.
const ASKED: [Duration; 3] = [Duration::ZERO, Duration::from_millis(250), Duration::from_secs(2)];

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

/// The part of a client in its request: a place, for as long as it is there.
#[derive(Debug, Default)]
pub(crate) struct Part {
    /// Whether it is not there any more, so that nothing is begun for it.
    pub(crate) left: AtomicBool,
    /// Its place among the requests of its user.
    pub(crate) place: Option<Use>,
}

/// What came of a request.
pub(crate) enum Attended<T> {
    Served(T),
    /// The client has left; what came of it all the same, soon after.
    Left(Option<T>),
}

impl Part {
    pub(crate) fn new(place: Option<Use>) -> Self {
        Self { place, ..Self::default() }
    }
}

/// Lets an attempt begin, unless the client has left.
pub(crate) fn begin(has_left: &AtomicBool) -> Result<(), Fault> {
    // Relaxed: it stands for itself.
    if has_left.load(Ordering::Relaxed) { Err(left()) } else { Ok(()) }
}

/// Why a request ends whose client has left.
pub(crate) fn left() -> Fault {
    Fault::new(Side::Client, Stage::FirstByte, Kind::Closed, "it left before it was answered")
}

/// Serves a request as long as its client is there, and then for so long that an attempt can fail.
pub(crate) async fn attend<S, F>(
    client: &mut S,
    ahead: &mut BytesMut,
    at_end: AtEnd,
    (has_left, place): (&AtomicBool, &mut Option<Use>),
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
            has_left.store(true, Ordering::Relaxed);
            drop(place.take());
            // On the heap: most clients stay.
            Attended::Left(Box::pin(timeout(grace, serving)).await.ok())
        }
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
