//! From the moment a client has been told that its tunnel is open to the first byte of the origin: the time in which an
//! upstream that lied can still be replaced.
//!
//! What the client begins with goes to the upstream as it comes. If it is a TLS ClientHello it is kept as well, and when
//! the tunnel ends, stays silent, or answers what is not TLS, the hello goes through another upstream: the client sees a
//! handshake that took somewhat longer. Like a request without an answer, a silent tunnel is overtaken, not ended.
//!
//! Whatever does not begin with a ClientHello is relayed at once, as if none of this were here. A server that speaks first
//! is passed on at once too, unless it says what no server begins with: then the client has [`TURN`] to show whether it
//! speaks TLS, and if it does not, it hears that as well.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use proxywhirl_core::{Endpoint, Fault, Kind, Side, Stage};
use proxywhirl_net::{Stream, Target, fault};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::{Instant, sleep_until, timeout};

use super::flight::{Flight, answers_tls, is_alert, may_greet};
use crate::Gateway;
use crate::bans::{self, Case, TunnelEnd};
use crate::failover::{Evidence, Upstream};

/// How long a client may take to begin when its upstream has ended, or has said what no server begins with: a client that
/// speaks TLS begins as soon as it hears that its tunnel is open.
const TURN: Duration = Duration::from_millis(500);

/// How much is read at a time: nearly every ClientHello is smaller.
const READ: usize = 4 * 1024;

/// A tunnel that can be relayed, and what was read from either side so far.
pub(super) struct Spoken {
    pub(super) stream: Stream,
    /// For the client.
    pub(super) said: BytesMut,
    /// For the upstream.
    pub(super) ahead: BytesMut,
}

/// What came of the first upstream.
pub(super) enum First {
    /// It can be relayed: the origin has spoken, or the client does not begin with TLS.
    Clear(Spoken),
    /// It failed, and the hello can go through another one. What it said, if anything, is no TLS.
    Failed { hello: BytesMut, fault: Fault, stream: Stream, said: BytesMut },
    /// Nobody has said anything for as long as a tunnel may be silent.
    Idle,
    /// It has been silent for too long.
    Silent { hello: BytesMut, stream: Stream },
}

/// What an upstream said that is no TLS. The origin may have meant it: if nobody has better, the client gets it.
pub(super) struct Words {
    pub(super) upstream: Arc<Endpoint>,
    pub(super) stream: Stream,
    pub(super) said: BytesMut,
}

struct Opening<'a, S> {
    client: &'a mut S,
    stream: Stream,
    /// What the client has sent, of which the upstream has the first `sent` bytes.
    flight: BytesMut,
    sent: usize,
    said: BytesMut,
    /// How the upstream ended.
    ended: Option<Fault>,
    limit: Instant,
}

/// For how much, and how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// How many bytes of a hello are kept.
    pub(super) keep: usize,
    /// How long an upstream that has a hello may be silent.
    pub(super) patience: Duration,
    /// How long a tunnel may be silent.
    pub(super) idle: Duration,
    /// Whether an alert is no answer.
    pub(super) alerts: bool,
}

/// What happened next.
enum Event {
    Client(io::Result<usize>),
    Upstream(io::Result<usize>),
    Limit,
}

/// Waits until a tunnel can be relayed, or must be opened elsewhere. `early` is what the client has sent already.
pub(super) async fn first<S>(client: &mut S, stream: Stream, early: BytesMut, limits: Limits) -> First
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let (said, ended) = (BytesMut::new(), None);
    if limits.keep == 0 {
        return First::Clear(Spoken { stream, said, ahead: early });
    }
    let limit = Instant::now() + limits.idle;
    // In a box: it would be there twice, as what goes into it and as itself.
    let opening = Box::new(Opening { client, stream, flight: early, sent: 0, said, ended, limit });
    opening.settle(limits).await
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Opening<'_, S> {
    async fn settle(mut self: Box<Self>, limits: Limits) -> First {
        loop {
            let flight = Flight::of(&self.flight);
            if self.is_clear(flight, limits) {
                return First::Clear(self.clear());
            }
            if self.sent < self.flight.len() && self.ended.is_none() && self.said.is_empty() {
                self.send(limits.patience).await;
            }
            if flight == Flight::Hello && (self.ended.is_some() || !self.said.is_empty()) {
                return self.failed();
            }
            match self.hear(limits.keep).await {
                // Who has left, or closes its half, is the relay's business.
                Event::Client(Ok(0) | Err(_)) => return First::Clear(self.clear()),
                Event::Client(Ok(_)) => {}
                Event::Upstream(result) => self.heard(flight, result),
                Event::Limit if flight == Flight::Hello => {
                    let Self { flight: hello, stream, .. } = *self;
                    return First::Silent { hello, stream };
                }
                Event::Limit if self.is_untouched() => return First::Idle,
                Event::Limit => return First::Clear(self.clear()),
            }
        }
    }

    /// Whether there is nothing more to be found out.
    fn is_clear(&self, flight: Flight, limits: Limits) -> bool {
        match flight {
            Flight::Other => true,
            Flight::Unclear => !self.said.is_empty() && may_greet(&self.said),
            Flight::Partial => self.flight.len() >= limits.keep || answers_tls(&self.said),
            Flight::Hello => answers_tls(&self.said) && !(limits.alerts && is_alert(&self.said)),
        }
    }

    /// Whether neither side has said or done anything.
    fn is_untouched(&self) -> bool {
        self.flight.is_empty() && self.said.is_empty() && self.ended.is_none()
    }

    fn clear(mut self) -> Spoken {
        let ahead = self.flight.split_off(self.sent);
        Spoken { stream: self.stream, said: self.said, ahead }
    }

    fn failed(self) -> First {
        let Self { stream, flight: hello, said, ended, .. } = self;
        let fault = match ended {
            _ if is_alert(&said) => bans::refused(None),
            Some(fault) if said.is_empty() => fault,
            Some(_) | None => not_tls(),
        };
        First::Failed { hello, fault, stream, said }
    }

    /// Sends on what the client has begun with. The upstream's patience counts from then on.
    async fn send(&mut self, patience: Duration) {
        let rest = self.flight.get(self.sent..).unwrap_or_default();
        if let Err(fault) = write(&mut self.stream, rest, patience).await {
            self.ended = Some(fault);
        }
        self.sent = self.flight.len();
        self.limit = Instant::now() + patience;
    }

    /// Waits for whoever speaks first. Somebody who has said enough is not asked for more.
    async fn hear(&mut self, keep: usize) -> Event {
        let Self { client, stream, flight, said, ended, limit, .. } = self;
        let room = keep.saturating_sub(flight.len()).clamp(1, READ);
        tokio::select! {
            read = read(&mut **client, flight, room) => Event::Client(read),
            read = read(stream, said, READ), if said.is_empty() && ended.is_none() => Event::Upstream(read),
            () = sleep_until(*limit) => Event::Limit,
        }
    }

    /// Takes what came from the upstream. While the client has not begun, it is its turn.
    fn heard(&mut self, flight: Flight, result: io::Result<usize>) {
        match result {
            Ok(1..) => {}
            Ok(0) => self.ended = Some(closed()),
            Err(error) => self.ended = Some(fault::upstream(Stage::FirstByte, &error)),
        }
        if matches!(flight, Flight::Unclear | Flight::Partial) {
            self.limit = Instant::now() + TURN;
        }
    }
}

/// A tunnel that has to be opened again.
pub(super) struct Again<'a> {
    pub(super) target: &'a Target,
    pub(super) hello: BytesMut,
    pub(super) words: Mutex<Option<Words>>,
    pub(super) case: Case<'a>,
}

/// An upstream through which somebody answered TLS.
pub(super) struct Answered {
    pub(super) stream: Stream,
    pub(super) said: BytesMut,
}

impl Evidence for Answered {}

/// Sends a hello through an upstream, unless it has it already and is silent, and waits for the first bytes of the answer.
pub(super) async fn attempt(
    gateway: &Gateway,
    upstream: Upstream,
    waiting: Option<Stream>,
    again: &Again<'_>,
) -> Result<Answered, Fault> {
    let mut stream = match waiting {
        Some(stream) => stream,
        None => {
            let mut stream = Box::pin(gateway.tunnel(&upstream, again.target)).await?;
            write(&mut stream, &again.hello, gateway.config().first_byte_timeout).await?;
            stream
        }
    };
    let mut said = BytesMut::new();
    let ended = match read(&mut stream, &mut said, READ).await {
        Ok(1..) => None,
        Ok(0) => Some(closed()),
        Err(error) => Some(fault::upstream(Stage::FirstByte, &error)),
    };
    if let Some(end) = end_of(&said) {
        again.case.judge_tunnel(&upstream.endpoint, end);
    }
    if let Some(fault) = ended {
        return Err(fault);
    }
    let is_refused = is_alert(&said) && again.case.retries_alerts();
    if answers_tls(&said) && !is_refused {
        return Ok(Answered { stream, said });
    }
    again.words.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(Words {
        upstream: upstream.endpoint,
        stream,
        said,
    });
    Err(if is_refused { bans::refused(None) } else { not_tls() })
}

/// What rules call it when a hello gets this answer, or none.
pub(super) fn end_of(said: &[u8]) -> Option<TunnelEnd> {
    match said {
        [] => Some(TunnelEnd::Close),
        said => is_alert(said).then_some(TunnelEnd::Alert),
    }
}

/// Reads what a client sends while its hello is on its way elsewhere, up to `room` bytes; it ends when the client does.
pub(super) async fn until_gone<S: AsyncRead + Unpin>(client: &mut S, ahead: &mut BytesMut, room: usize) {
    while ahead.len() < room {
        if !matches!(read(client, ahead, READ).await, Ok(1..)) {
            return;
        }
    }
    std::future::pending().await
}

async fn write(stream: &mut Stream, bytes: &[u8], limit: Duration) -> Result<(), Fault> {
    let sending = async {
        stream.write_all(bytes).await?;
        stream.flush().await
    };
    match timeout(limit, sending).await {
        Ok(sent) => sent.map_err(|error| fault::upstream(Stage::FirstByte, &error)),
        Err(_) => Err(Fault::new(Side::Upstream, Stage::FirstByte, Kind::Timeout, "it does not take what is sent")),
    }
}

/// Reads at most `most` bytes, into a buffer that grows when there are some: a tunnel that waits holds no memory.
async fn read<R: AsyncRead + Unpin>(reader: &mut R, into: &mut BytesMut, most: usize) -> io::Result<usize> {
    std::future::poll_fn(|context| {
        let mut scratch = [MaybeUninit::uninit(); READ];
        let mut scratch = ReadBuf::uninit(scratch.get_mut(..most.min(READ)).unwrap_or_default());
        ready!(Pin::new(&mut *reader).poll_read(context, &mut scratch))?;
        into.extend_from_slice(scratch.filled());
        Poll::Ready(Ok(scratch.filled().len()))
    })
    .await
}

fn closed() -> Fault {
    Fault::new(Side::Upstream, Stage::FirstByte, Kind::Closed, "the tunnel ended before the origin said a word")
}

fn not_tls() -> Fault {
    Fault::new(Side::Upstream, Stage::FirstByte, Kind::Protocol, "what came through the tunnel is no answer to TLS")
}
