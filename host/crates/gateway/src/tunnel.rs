//! Tunnels: opaque bytes between a client and an origin, asked for by CONNECT or by SOCKS.
//!
//! The client hears that its tunnel is open when an upstream has opened one, never before: until then another upstream
//! can be tried, and a client that was told "yes" cannot be told "no" any more. But an upstream may have said so and not
//! mean it: a client that begins with TLS gets another one as long as the origin has not spoken ([`opening`]).

mod flight;
mod opening;

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use proxywhirl_core::{Endpoint, Fault, Kind, Side, Stage};
use proxywhirl_net::relay::{End, relay as relay_both};
use proxywhirl_net::{Stream, Target, fault, stages};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout};

use crate::Gateway;
use crate::bans::TunnelEnd;
use crate::explained::Explained;
use crate::failover::{Failover, Repeat, Trial, Upstream, Won};
use crate::ingress::socks;
use crate::record::{self, Record};
use crate::reply::{Body, ErrorReply, established};
use crate::session::Next;
use crate::stall::Stalling;
use opening::{Again, Answered, First, Limits, Spoken, Words};

/// How long the client of a probe may be silent, until that its tunnel was opened is all that is known of the upstream.
const PROBE: Duration = Duration::from_secs(2);

/// How the client asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    Connect,
    Socks4,
    Socks4a,
    Socks5,
}

impl Manner {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Socks4 => "socks4",
            Self::Socks4a => "socks4a",
            Self::Socks5 => "socks5",
        }
    }

    /// The answer to a client whose tunnel is open.
    fn granted(self, pseudonym: &str, explained: Option<&Explained>) -> Vec<u8> {
        match self {
            Self::Connect => established(pseudonym, explained),
            Self::Socks4 | Self::Socks4a => socks::reply4(true).to_vec(),
            Self::Socks5 => socks::reply5(socks::code::SUCCEEDED).to_vec(),
        }
    }

    /// The answer to a client that gets none, and its status.
    fn refused(self, fault: &Fault, gateway: &Gateway, failover: &Failover<'_>) -> (Vec<u8>, Option<u16>) {
        match self {
            Self::Connect => {
                let explained = failover.explained(None);
                let pseudonym = gateway.config().pseudonym;
                let reply = ErrorReply::of(fault, failover.target(), failover.attempts()).explained(explained);
                (reply.to_bytes(pseudonym, Body::Send), Some(reply.status))
            }
            Self::Socks4 | Self::Socks4a => (socks::reply4(false).to_vec(), None),
            Self::Socks5 => (socks::reply5(socks::code_of(fault)).to_vec(), None),
        }
    }

    /// The status that stands for an open tunnel.
    fn status(self) -> Option<u16> {
        (self == Self::Connect).then_some(200)
    }
}

/// Opens a tunnel for a client and relays until it ends. `early` is what the client sent before it was answered.
pub(crate) async fn serve<S>(
    gateway: &Gateway,
    client: &mut S,
    early: BytesMut,
    manner: Manner,
    target: &Target,
    record: Box<Record<'_>>,
) -> Next
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // On the heap, because the tunnel that follows may live for days and needs none of it.
    let Opened { attempts, outcome } = Box::pin(open(gateway, client, early, manner, target, &record)).await;
    let (upstream, relayed) = match outcome {
        Outcome::Refused(fault, reply, status) => {
            record.close(&record::End { status, attempts, upstream: None, fault: Some(&fault) });
            return Next::Last(reply);
        }
        Outcome::Broken(fault) => (None, Err(fault)),
        Outcome::Begun(mut begun) => {
            let relayed = match &mut begun.spoken {
                // On the heap as well, so that a tunnel that is silent from the start has no room for this.
                Some(spoken) => Box::pin(relay(gateway, client, &mut spoken.ahead, &mut spoken.stream)).await,
                None => Ok(()),
            };
            drop(begun.trial);
            (Some(begun.upstream), relayed)
        }
    };
    let (upstream, fault) = (upstream.as_deref(), relayed.as_ref().err());
    record.close(&record::End { status: manner.status(), attempts, upstream, fault });
    Next::Close
}

/// What came of opening a tunnel, after so many attempts.
struct Opened {
    attempts: usize,
    outcome: Outcome,
}

enum Outcome {
    /// No upstream has opened one: what the client is answered, and with which status.
    Refused(Fault, Vec<u8>, Option<u16>),
    /// It was answered, and then no origin was.
    Broken(Fault),
    Begun(Box<Begun>),
}

/// Tries upstreams until the tunnel is open, and something has come out of it.
async fn open<S>(
    gateway: &Gateway,
    client: &mut S,
    early: BytesMut,
    manner: Manner,
    target: &Target,
    record: &Record<'_>,
) -> Opened
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let request = record.request;
    let mut failover = Failover::new(gateway.means(), request, &record.target, record.wanted.clone());
    let dial = |upstream: Upstream| async move { through(gateway, request, &upstream, target).await };
    // On the heap again: a client may be silent from the start, and then it is this that lasts.
    let outcome = match Box::pin(failover.run(Repeat::Dial, dial)).await {
        Ok(won) => match begin(gateway, client, early, manner, target, &mut failover, Box::new(won)).await {
            Ok(begun) => Outcome::Begun(Box::new(begun)),
            Err(fault) => Outcome::Broken(fault),
        },
        Err(fault) => {
            let (reply, status) = manner.refused(&fault, gateway, &failover);
            Outcome::Refused(fault, reply, status)
        }
    };
    Opened { attempts: failover.attempts(), outcome }
}

/// Opens a tunnel through one upstream, and has it told how long that took.
async fn through(gateway: &Gateway, request: u64, upstream: &Upstream, target: &Target) -> Result<Stream, Fault> {
    let opening = async { gateway.tunnel(upstream, target).await.inspect(|_| stages::ready()) };
    let tell = |stages| gateway.engine().measured(request, &upstream.endpoint, stages);
    stages::measured(Instant::now(), opening, tell).await
}

/// A tunnel in which nothing can be made good any more.
struct Begun {
    /// The use of its upstream; none when it has been settled.
    trial: Option<Trial>,
    upstream: Arc<Endpoint>,
    /// What there is to relay; none when nobody has said anything for too long.
    spoken: Option<Spoken>,
}

/// Tells the client that its tunnel is open, and sees to it that it is: until an origin has answered a client that begins
/// with TLS, other upstreams are tried.
async fn begin<S>(
    gateway: &Gateway,
    client: &mut S,
    early: BytesMut,
    manner: Manner,
    target: &Target,
    failover: &mut Failover<'_>,
    won: Box<Won<Stream>>,
) -> Result<Begun, Fault>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let Won { mut trial, latency, answer: stream } = *won;
    let explained = failover.explained(Some(trial.endpoint()));
    let granted = say(client, &manner.granted(gateway.config().pseudonym, explained.as_ref())).await;
    if granted.is_err() {
        failover.succeed(&mut trial, latency);
    }
    granted?;
    let upstream = Arc::clone(trial.endpoint());
    let patience = trial.patience(gateway.config().first_byte_timeout);
    let case = failover.case(&target.host);
    let limits = Limits {
        keep: gateway.config().first_flight,
        patience,
        idle: gateway.config().stall_timeout,
        alerts: case.retries_alerts(),
    };
    let granted = Instant::now();
    // On the heap: it would be there twice, as what is handed on and as what is waited for.
    let opening = Box::pin(opening::first(client, stream, early, limits));
    let begun = match settled(failover, (&mut trial, latency), opening).await {
        First::Clear(spoken) => {
            if let Some(end @ TunnelEnd::Alert) = opening::end_of(&spoken.said) {
                case.judge_tunnel(&upstream, end);
            }
            failover.succeed(&mut trial, latency);
            Begun { trial: Some(trial), upstream, spoken: Some(spoken) }
        }
        First::Idle => {
            failover.succeed(&mut trial, latency);
            Begun { trial: None, upstream, spoken: None }
        }
        First::Failed { hello, fault, stream, said } => {
            if let Some(end) = opening::end_of(&said) {
                case.judge_tunnel(&upstream, end);
            }
            failover.fail(trial, fault);
            let words = (!said.is_empty()).then_some(Words { upstream, stream, said });
            let again = Again { target, hello, words: Mutex::new(words), case };
            Box::pin(go_on(gateway, client, failover, None, granted.elapsed(), again)).await?
        }
        First::Silent { hello, stream } => {
            let again = Again { target, hello, words: Mutex::default(), case };
            let pause = granted.elapsed().saturating_sub(patience);
            Box::pin(go_on(gateway, client, failover, Some((trial.since(patience), stream)), pause, again)).await?
        }
    };
    if let Some(spoken) = &begun.spoken {
        say(client, &spoken.said).await?;
    }
    Ok(begun)
}

/// Waits for the first words in a tunnel. A client that says nothing may go on for as long as it likes, but its upstream,
/// which has opened the tunnel, is not kept on probation by it.
async fn settled(
    failover: &Failover<'_>,
    (trial, latency): (&mut Trial, Duration),
    mut opening: Pin<Box<impl Future<Output = First>>>,
) -> First {
    if trial.is_probe() {
        match timeout(PROBE, &mut opening).await {
            Ok(first) => return first,
            Err(_) => failover.succeed(trial, latency),
        }
    }
    opening.await
}

/// Sends a hello through other upstreams until one is answered. If none is, the client gets the words that one of them
/// said, if any: they may be the origin's.
async fn go_on<S>(
    gateway: &Gateway,
    client: &mut S,
    failover: &mut Failover<'_>,
    waiting: Option<(Trial, Stream)>,
    pause: Duration,
    again: Again<'_>,
) -> Result<Begun, Fault>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let mut ahead = BytesMut::new();
    let room = gateway.config().first_flight;
    let waiting = waiting.map(|(trial, stream)| {
        let upstream = trial.upstream().clone();
        (trial, opening::attempt(gateway, upstream, Some(stream), &again))
    });
    let answered = tokio::select! {
        biased;
        answered = failover.go_on(waiting, pause, |upstream| opening::attempt(gateway, upstream, None, &again)) => answered,
        () = opening::until_gone(client, &mut ahead, room) => {
            Err(Fault::new(Side::Client, Stage::FirstByte, Kind::Closed, "it left before the origin had answered"))
        }
    };
    match answered {
        Ok(Won { mut trial, latency, answer: Answered { stream, said } }) => {
            failover.succeed(&mut trial, latency);
            let upstream = Arc::clone(trial.endpoint());
            Ok(Begun { trial: Some(trial), upstream, spoken: Some(Spoken { stream, said, ahead }) })
        }
        Err(fault) => match again.words.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(Words { upstream, stream, said }) => {
                Ok(Begun { trial: None, upstream, spoken: Some(Spoken { stream, said, ahead }) })
            }
            None => Err(fault),
        },
    }
}

async fn say<S: AsyncWrite + Unpin>(client: &mut S, bytes: &[u8]) -> Result<(), Fault> {
    let fault = |error: std::io::Error| Fault::new(Side::Client, Stage::Handshake, Kind::Io, error.to_string());
    client.write_all(bytes).await.map_err(fault)?;
    client.flush().await.map_err(fault)
}

/// Relays both ways until both have ended, one has failed, or nothing has moved for too long.
pub(crate) async fn relay<S>(
    gateway: &Gateway,
    client: &mut S,
    early: &mut BytesMut,
    upstream: &mut Stream,
) -> Result<(), Fault>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let idle = gateway.config().stall_timeout;
    if !early.is_empty() {
        let mut upstream = Stalling::new(&mut *upstream, idle);
        let sent = async {
            upstream.write_all(early).await?;
            upstream.flush().await
        };
        sent.await.map_err(|error| fault::upstream(Stage::Body, &error))?;
    }
    // A tunnel may live for days: it does not keep the buffer of the handshake.
    *early = BytesMut::new();
    let broken =
        |side, error: std::io::Error| Err(Fault::new(side, Stage::Body, fault::io_kind(&error), error.to_string()));
    match relay_both(client, upstream, Some(idle)).await.end {
        // A tunnel that both sides forgot ends as well as one that they closed.
        End::Closed | End::Idle => Ok(()),
        End::Client(error) => broken(Side::Client, error),
        End::Upstream(error) => broken(Side::Upstream, error),
    }
}
