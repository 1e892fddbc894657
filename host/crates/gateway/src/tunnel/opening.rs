//! From the moment a client has been told that its tunnel is open to the first byte of the origin that it gets: the time in which an
//! upstream that lied can still be replaced. In TLS that byte is held back until the record is whole at whose end it stands: a client can
//! do nothing with a part of one, and a tunnel that is cut there can be replaced as well.
//!
//! What the client begins with goes to the upstream as it comes. If it is a TLS ClientHello, or a safe request in clear
//! text, it is kept as well, and when the tunnel ends, stays silent, or answers what is no TLS or no HTTP, the same goes
//! through another upstream: the client sees an answer that took somewhat longer. Like a request without an answer, a silent
//! tunnel is overtaken, not ended, until it has been silent for as long as one upstream may take to answer a request.
//!
//! Whatever else a client begins with is relayed at once, as if none of this were here. A tunnel that ends at once, before either side has said
//! anything, is opened again through another upstream, whoever is to speak first. A server that speaks first may be none:
//! the client has [`TURN`] to begin with something that can be sent elsewhere, and if it does not, it hears that. If it is a
//! greeting like that of a server that is known, it has [`GREETED`], because a client that waits for one loses that time.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use proxywhirl_core::{Endpoint, Fault, Host, Kind, Side, Stage};
use proxywhirl_net::{Stream, Target, fault};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, sleep_until};

use super::flight::{Flight, Reply, Speech, is_alert, is_greeting};
use crate::Gateway;
use crate::bans::{self, Case, TunnelEnd};
use crate::failover::{Evidence, Failover, Trial, Upstream, silence};
use crate::sparing::{READ, poll_read, read, within};

/// How long a client may take to begin when its upstream has ended, or has said what is no greeting: a client that speaks
/// first begins as soon as it hears that its tunnel is open.
const TURN: Duration = Duration::from_secs(1);

/// How long a client may take to begin when it has been greeted: a refusal in words may look like that.
const GREETED: Duration = Duration::from_millis(100);

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
    /// It can be relayed: the origin has spoken, or what the client begins with can not be sent twice. What it said is for
    /// the client, and what the client is ahead with for the upstream.
    Clear { said: BytesMut, ahead: BytesMut, heard: Heard },
    /// The client has left before it was answered.
    Left,
    /// It failed, and the client's flight can go through another one. What it said, if anything, is no answer; `unsent` is what it
    /// has not got of the flight.
    Failed { kept: Kept, fault: Fault, said: BytesMut, unsent: BytesMut },
    /// The upstream has ended it before anybody had said anything: nothing is lost when another one opens it.
    Ended(Fault),
    /// Nobody has said anything for as long as a tunnel may be silent.
    Idle,
    /// It has been silent for too long, or in the middle of what may become an answer.
    Silent { kept: Kept, said: BytesMut },
}

/// Whether the origin was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// It has answered, or greeted.
    Origin,
    /// Nobody can tell.
    Unknown,
    /// What the client has begun with has no answer so far, and the client says no more.
    Nobody,
}

impl Heard {
    const fn origin_if(is_heard: bool) -> Self {
        if is_heard { Self::Origin } else { Self::Unknown }
    }
}

/// What a client has begun with, and may be sent again.
pub(super) struct Kept {
    pub(super) speech: Speech,
    pub(super) flight: BytesMut,
}

/// What an upstream said that is no answer. The origin may have meant it: if nobody has better, the client gets it.
pub(super) struct Words {
    pub(super) upstream: Arc<Endpoint>,
    pub(super) stream: Stream,
    pub(super) said: BytesMut,
    /// What it has not got of what the client has begun with.
    pub(super) unsent: BytesMut,
    /// What that is called.
    pub(super) fault: Fault,
}

struct Opening<'a, S> {
    client: &'a mut S,
    stream: &'a mut Stream,
    /// What the client has sent, of which the upstream has the first `sent` bytes.
    flight: BytesMut,
    sent: usize,
    said: BytesMut,
    /// How the upstream ended.
    ended: Option<Fault>,
    began: Instant,
    limit: Instant,
}

/// For how much, and how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// How many bytes of a flight are kept.
    pub(super) keep: usize,
    /// How long an upstream that has one may be silent.
    pub(super) patience: Duration,
    /// How long a tunnel may be silent.
    pub(super) idle: Duration,
    /// How long a tunnel that nobody has used is opened anew when it ends.
    pub(super) young: Duration,
    /// Whether an alert is no answer.
    pub(super) alerts: bool,
}

impl Limits {
    pub(super) fn of(gateway: &Gateway, failover: &Failover<'_>, host: &Host, trial: &Trial) -> Self {
        let (config, alerts) = (gateway.config(), failover.case(host).retries_alerts());
        let patience = failover.hurried(trial.patience(config.first_byte_timeout));
        Self { keep: config.first_flight, patience, idle: config.stall_timeout, young: Duration::ZERO, alerts }
    }
}

/// What happened next.
enum Event {
    Client(io::Result<usize>),
    Upstream(io::Result<usize>),
    Limit,
}

/// Waits until a tunnel can be relayed, or must be opened elsewhere. `early` is what the client has sent already.
pub(super) async fn first<S>(client: &mut S, stream: &mut Stream, early: &mut BytesMut, limits: &Limits) -> First
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let (flight, said) = (std::mem::take(early), BytesMut::new());
    if limits.keep == 0 {
        return First::Clear { said, ahead: flight, heard: Heard::Unknown };
    }
    let began = Instant::now();
    let mut opening = Opening { client, stream, flight, sent: 0, said, ended: None, began, limit: began + limits.idle };
    opening.settle(limits).await
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Opening<'_, S> {
    async fn settle(&mut self, limits: &Limits) -> First {
        let mut flight = Flight::of(&self.flight);
        loop {
            if let Some(fault) = self.ended_young(limits) {
                return First::Ended(fault);
            }
            if self.is_clear(flight, limits) {
                return self.clear(Heard::origin_if(self.is_heard(flight)));
            }
            if self.sent < self.flight.len() && self.ended.is_none() && self.said.is_empty() {
                self.send(limits.patience).await;
            }
            if let Flight::Whole(speech) = flight
                && self.has_spoken_first()
                && !self.may_go_on(flight)
            {
                return self.failed(speech);
            }
            let had_begun = self.is_begun(flight);
            match self.hear(limits.keep, self.may_go_on(flight)).await {
                Event::Client(Ok(0)) => return self.ends(flight, false),
                Event::Client(Err(_)) => return self.ends(flight, true),
                Event::Client(Ok(_)) => {
                    flight = Flight::of(&self.flight);
                    // It has begun: as long as it goes on, it is waited for.
                    if self.has_spoken_first() {
                        self.limit = Instant::now() + TURN;
                    }
                }
                Event::Upstream(result) => {
                    self.heard(flight, result);
                    // It is not silent: the rest of its answer has its own time.
                    if !had_begun && self.is_begun(flight) {
                        self.limit = Instant::now() + limits.patience;
                    }
                }
                Event::Limit => {
                    return match flight {
                        Flight::Whole(speech) => {
                            First::Silent { said: std::mem::take(&mut self.said), kept: self.kept(speech) }
                        }
                        _ if self.is_untouched() => First::Idle,
                        Flight::Unclear | Flight::Partial(_) | Flight::Other => {
                            self.clear(Heard::origin_if(self.is_heard(flight)))
                        }
                    };
                }
            }
        }
    }

    /// How the upstream has ended, if that was soon and nobody had said anything: one that closes what was idle for long is as others.
    fn ended_young(&mut self, limits: &Limits) -> Option<Fault> {
        let is_unused = self.flight.is_empty() && self.said.is_empty() && self.began.elapsed() < limits.young;
        self.ended.take_if(|_| is_unused)
    }

    /// Whether there is nothing more to be found out.
    fn is_clear(&self, flight: Flight, limits: &Limits) -> bool {
        match flight {
            Flight::Other => true,
            Flight::Unclear => false,
            Flight::Partial(_) => self.flight.len() >= limits.keep || self.is_heard(flight),
            Flight::Whole(speech) => self.is_heard(flight) && !(limits.alerts && speech.is_refused_by(&self.said)),
        }
    }

    /// Whether what was said is the origin's, as far as that can be told.
    fn is_heard(&self, flight: Flight) -> bool {
        match flight {
            Flight::Unclear => is_greeting(&self.said),
            Flight::Partial(speech) | Flight::Whole(speech) => speech.is_answered_by(&self.said),
            Flight::Other => false,
        }
    }

    /// Whether the origin has begun to answer.
    fn is_begun(&self, flight: Flight) -> bool {
        let (Flight::Partial(speech) | Flight::Whole(speech)) = flight else { return false };
        speech.is_begun_in(&self.said)
    }

    /// Whether what was said may become an answer.
    fn may_go_on(&self, flight: Flight) -> bool {
        let (Flight::Partial(speech) | Flight::Whole(speech)) = flight else { return false };
        self.ended.is_none() && speech.reply(&self.said) == Reply::Unclear
    }

    /// Whether the upstream has ended, or said something, while it was the client's turn.
    fn has_spoken_first(&self) -> bool {
        self.ended.is_some() || !self.said.is_empty()
    }

    /// Whether neither side has said or done anything.
    fn is_untouched(&self) -> bool {
        self.flight.is_empty() && self.said.is_empty() && self.ended.is_none()
    }

    fn clear(&mut self, heard: Heard) -> First {
        First::Clear { said: std::mem::take(&mut self.said), ahead: self.flight.split_off(self.sent), heard }
    }

    /// What follows when the client sends no more. In clear text it may wait for its answer all the same, which is the relay's
    /// business, as is whoever has begun nothing; in TLS it has left.
    fn ends(&mut self, flight: Flight, is_broken: bool) -> First {
        let is_unanswered =
            !self.flight.is_empty() && (self.said.is_empty() || (self.may_go_on(flight) && !self.is_begun(flight)));
        let is_tls = matches!(flight, Flight::Partial(Speech::Tls) | Flight::Whole(Speech::Tls));
        if is_unanswered && (is_broken || is_tls) {
            return First::Left;
        }
        self.clear(if is_unanswered { Heard::Nobody } else { Heard::Unknown })
    }

    fn kept(&mut self, speech: Speech) -> Kept {
        Kept { speech, flight: std::mem::take(&mut self.flight) }
    }

    fn failed(&mut self, speech: Speech) -> First {
        let said = std::mem::take(&mut self.said);
        let fault = match self.ended.take() {
            _ if speech.is_refused_by(&said) => bans::refused(None),
            Some(fault) if speech.reply(&said) == Reply::Unclear => fault,
            Some(_) | None => no_answer(speech),
        };
        let unsent = BytesMut::from(self.flight.get(self.sent..).unwrap_or_default());
        First::Failed { kept: self.kept(speech), fault, said, unsent }
    }

    /// Sends on what the client has begun with. The upstream's patience counts from then on.
    async fn send(&mut self, patience: Duration) {
        let rest = self.flight.get(self.sent..).unwrap_or_default();
        if let Err(fault) = write(self.stream, rest, patience).await {
            self.ended = Some(fault);
        }
        self.sent = self.flight.len();
        self.limit = Instant::now() + patience;
    }

    /// Waits for whoever speaks first. Somebody who has said enough is not asked for more; an upstream whose answer has begun is.
    async fn hear(&mut self, keep: usize, goes_on: bool) -> Event {
        let mut alarm = pin!(sleep_until(self.limit));
        // By hand: what waits in idle tunnels is there many times.
        poll_fn(|context| match self.poll_hear(context, keep, goes_on) {
            Poll::Ready(event) => Poll::Ready(event),
            Poll::Pending => alarm.as_mut().poll(context).map(|()| Event::Limit),
        })
        .await
    }

    fn poll_hear(&mut self, context: &mut Context<'_>, keep: usize, goes_on: bool) -> Poll<Event> {
        let room = keep.saturating_sub(self.flight.len()).clamp(1, READ);
        if let Poll::Ready(read) = poll_read(self.client, context, &mut self.flight, room) {
            return Poll::Ready(Event::Client(read));
        }
        if (self.said.is_empty() || goes_on) && self.ended.is_none() {
            return poll_read(self.stream, context, &mut self.said, READ).map(Event::Upstream);
        }
        Poll::Pending
    }

    /// Takes what came from the upstream. While the client has not begun, it is its turn.
    fn heard(&mut self, flight: Flight, result: io::Result<usize>) {
        match result {
            Ok(1..) => {}
            Ok(0) => self.ended = Some(closed(&self.said)),
            Err(error) => self.ended = Some(fault::upstream(Stage::FirstByte, &error)),
        }
        if matches!(flight, Flight::Unclear | Flight::Partial(_)) {
            self.limit = Instant::now() + if is_greeting(&self.said) { GREETED } else { TURN };
        }
    }
}

/// A tunnel that has to be opened again.
pub(super) struct Again<'a> {
    pub(super) target: &'a Target,
    pub(super) kept: Kept,
    pub(super) words: Mutex<Option<Words>>,
    pub(super) case: Case<'a>,
}

/// An upstream through which somebody has answered.
pub(super) struct Answered {
    pub(super) stream: Stream,
    pub(super) said: BytesMut,
}

impl Evidence for Answered {}

/// Sends a flight through an upstream, unless it has it already and is silent, or has begun to say something, and waits for the first
/// bytes of the answer.
pub(super) async fn attempt(
    gateway: &Gateway,
    upstream: Upstream,
    waiting: Option<(Stream, BytesMut)>,
    again: &Again<'_>,
) -> Result<Answered, Fault> {
    let (mut stream, mut said) = match waiting {
        Some(waiting) => waiting,
        None => {
            let mut stream = Box::pin(gateway.tunnel(&upstream, again.target)).await?;
            write(&mut stream, &again.kept.flight, gateway.config().first_byte_timeout).await?;
            (stream, BytesMut::new())
        }
    };
    let speech = again.kept.speech;
    let hearing = async {
        loop {
            if speech.reply(&said) != Reply::Unclear {
                break None;
            }
            match read(&mut stream, &mut said, READ).await {
                Ok(1..) => {}
                Ok(0) => break Some(closed(&said)),
                Err(error) => break Some(fault::upstream(Stage::FirstByte, &error)),
            }
        }
    };
    // An origin may think about a request for as long as there is time; a hello is answered at once.
    let limit = match speech {
        Speech::Tls => gateway.config().response_timeout,
        Speech::Http => Duration::MAX,
    };
    let Ok(ended) = within(limit, pin!(hearing)).await else { return Err(silence(limit)) };
    if let Some(end) = end_of(speech, &said) {
        again.case.judge_tunnel(&upstream.endpoint, end);
    }
    if let Some(fault) = ended {
        return Err(fault);
    }
    let is_refused = speech.is_refused_by(&said) && again.case.retries_alerts();
    if speech.is_answered_by(&said) && !is_refused {
        return Ok(Answered { stream, said });
    }
    let fault = if is_refused { bans::refused(None) } else { no_answer(speech) };
    again.words.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(Words {
        upstream: upstream.endpoint,
        stream,
        said,
        unsent: BytesMut::new(),
        fault: fault.clone(),
    });
    Err(fault)
}

/// What rules call it when a flight gets this and no more, or none of an answer.
pub(super) fn end_of(speech: Speech, said: &[u8]) -> Option<TunnelEnd> {
    if speech.reply(said) == Reply::Unclear {
        return Some(TunnelEnd::Close);
    }
    is_alert(said).then_some(TunnelEnd::Alert)
}

/// Whether what was said may be the origin's, and is for the client if nobody has better: half an answer is for nobody.
pub(super) fn is_for_client(speech: Speech, said: &[u8]) -> bool {
    speech.reply(said) != Reply::Unclear
}

/// Reads what a client sends while its flight is on its way elsewhere, up to `room` bytes; it ends when the client does.
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
    match within(limit, pin!(sending)).await {
        Ok(sent) => sent.map_err(|error| fault::upstream(Stage::FirstByte, &error)),
        Err(_) => Err(Fault::new(Side::Upstream, Stage::FirstByte, Kind::Timeout, "it does not take what is sent")),
    }
}

fn closed(said: &[u8]) -> Fault {
    let why = if said.is_empty() {
        "the tunnel ended before the origin said a word"
    } else {
        "the tunnel ended in the middle of what the origin began with"
    };
    Fault::new(Side::Upstream, Stage::FirstByte, Kind::Closed, why)
}

fn no_answer(speech: Speech) -> Fault {
    let why = format!("what came through the tunnel is no answer in {}", speech.as_str());
    Fault::new(Side::Upstream, Stage::FirstByte, Kind::Protocol, why)
}
