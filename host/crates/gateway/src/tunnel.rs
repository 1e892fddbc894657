//! Tunnels: opaque bytes between a client and an origin, asked for by CONNECT or by SOCKS.
//!
//! The client hears that its tunnel is open when an upstream has opened one, never before: until then another upstream
//! can be tried, and a client that was told "yes" cannot be told "no" any more. But an upstream may have said so and not
//! mean it: a client that begins with TLS, or a safe request, gets another one as long as the origin has not spoken
//! ([`opening`]).

mod flight;
mod opening;

use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use proxywhirl_core::{Endpoint, Fault, Kind, Side, Stage};
use proxywhirl_engine::SessionUse;
use proxywhirl_net::relay::{self, relay as relay_both};
use proxywhirl_net::{Stream, Target, fault, stages};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::Instant;

use crate::Gateway;
use crate::access::Use;
use crate::alarms::Alarms;
use crate::bans::TunnelEnd;
use crate::explained::Explained;
use crate::failover::{Failover, Repeat, Trial, Upstream, Won};
use crate::ingress::socks;
use crate::record::{End, Record};
use crate::reply::{Body, ErrorReply, established};
use crate::session::presence::{self, AtEnd, Attended, Leaving};
use crate::session::{self, Next};
use crate::stall::Stalling;
use crate::wanted::Wanted;
use opening::{Again, Answered, First, Heard, Limits, Spoken, Words};

/// How long the client of a probe may be silent, until that its tunnel was opened is all that is known of the upstream.
const PROBE: Duration = Duration::from_secs(2);

/// How long an upstream that has what a client begins with must be silent to be in doubt, when the client leaves.
const TELLING: Duration = Duration::from_secs(1);

/// How long a tunnel that nobody has used is opened anew when its upstream ends it, and with how many attempts that is over.
const ANEW: Duration = Duration::from_secs(1);
const MOST_ANEW: usize = 2;

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

/// A tunnel that a client asks for.
pub(crate) struct Tunnel<S> {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) client: S,
    /// What the client sent before it was answered.
    pub(crate) early: BytesMut,
    pub(crate) manner: Manner,
    pub(crate) target: Target,
    pub(crate) record: Record,
    /// Its place among the requests of its user, for as long as it lasts.
    pub(crate) place: Option<Use>,
    /// That its session is in use, once it has an upstream.
    pub(crate) in_use: Option<Box<SessionUse>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Tunnel<S> {
    /// Opens it, and relays until it ends.
    ///
    /// What each stage needs is on the heap, and gone with it: there are many tunnels, they live for days, and most of them
    /// are idle, some from the start.
    #[expect(
        clippy::manual_async_fn,
        reason = "a function would have the tunnel twice: as its argument and as its own"
    )]
    pub(crate) fn serve(mut self, wanted: Box<Wanted>) -> impl Future<Output = ()> {
        async move {
            match Box::pin(self.open(wanted)).await {
                Ok((attempts, begun)) => Box::pin(self.go_through(attempts, begun)).await,
                Err(failed) => Box::pin(self.fail(failed)).await,
            }
        }
    }

    /// Tries upstreams until the tunnel is open, and something has come out of it.
    async fn open(&mut self, mut wanted: Box<Wanted>) -> Result<(usize, Box<Begun>), Box<Failed>> {
        let Self { gateway, client, early, manner, target, record, place, in_use } = self;
        let way = Way { gateway, target, manner: *manner };
        let (request, wants) = (record.request, std::mem::take(&mut *wanted));
        // On the heap, with what comes before the client has begun.
        let waits = Box::<(Leaving, Alarms)>::default();
        let begins = (request, record.began, &waits.0, &waits.1);
        let mut failover = Failover::new(gateway.means(), begins, &record.target, wants);
        drop(wanted);
        // On the heap: the client may be silent from the start, and then it is what comes after it that lasts.
        let mut won = match Box::pin(dial(way, client, early, place, (&mut failover, request))).await {
            Ok(won) => won,
            Err(fault) => {
                let reply = match (fault.side, fault.kind) {
                    // It has left: nobody is there to be told.
                    (Side::Client, Kind::Closed) => (Vec::new(), None),
                    _ => manner.refused(&fault, gateway, &failover),
                };
                return Err(Box::new(Failed { attempts: failover.attempts(), fault, reply: Some(reply) }));
            }
        };
        if let Err(fault) = grant(&way, client, &failover, &won.trial).await {
            failover.succeed(&mut won.trial, won.latency);
            return Err(Box::new(Failed { attempts: failover.attempts(), fault, reply: None }));
        }
        match begin(&way, client, early, &mut failover, won).await {
            Ok(begun) => {
                *in_use = failover.take_use();
                Ok((failover.attempts(), begun))
            }
            Err(fault) => Err(Box::new(Failed { attempts: failover.attempts(), fault, reply: None })),
        }
    }

    /// Relays what goes through it.
    async fn go_through(&mut self, attempts: usize, mut begun: Box<Begun>) {
        let Self { gateway, client, place, .. } = self;
        let relayed = match &mut begun.spoken {
            Some(Spoken { stream, said, ahead }) => match say(gateway, client, said).await {
                Ok(()) => {
                    *said = BytesMut::new();
                    // A client that has closed it asks for the next one, though the origin may never close it.
                    relay(gateway, client, ahead, stream, || drop(place.take())).await
                }
                Err(fault) => Err(fault),
            },
            None => Ok(()),
        };
        let Begun { trial, upstream, .. } = *begun;
        // The use is dropped here: it is over before that is told.
        let failed = trial.err().flatten();
        let fault = failed.as_deref().or(relayed.as_ref().err());
        self.close(&End { status: self.manner.status(), attempts, upstream: Some(&upstream), fault });
        // Before the client can see the end, and ask for something else.
        drop(self.place.take());
    }

    /// Says that there is none, if the client has not been told otherwise.
    async fn fail(&mut self, failed: Box<Failed>) {
        let Failed { attempts, fault, reply } = *failed;
        let status = reply.as_ref().map_or(self.manner.status(), |(_, status)| *status);
        self.close(&End { status, attempts, upstream: None, fault: Some(&fault) });
        // Its client may read what is said last for a while, and asks for something else meanwhile.
        drop(self.place.take());
        if let Some((reply, _)) = reply {
            session::finish(&mut self.client, Next::Last(reply)).await;
        }
    }

    fn close(&self, end: &End<'_>) {
        self.record.close(&self.gateway, end);
    }
}

/// A tunnel that did not come about, after so many attempts.
struct Failed {
    attempts: usize,
    fault: Fault,
    /// What the client is answered, and with which status; none when it was told that its tunnel is open.
    reply: Option<(Vec<u8>, Option<u16>)>,
}

/// Where a tunnel goes, and who asked for it.
#[derive(Clone, Copy)]
struct Way<'t> {
    gateway: &'t Gateway,
    target: &'t Target,
    manner: Manner,
}

/// Tries upstreams until one has opened a tunnel, or the client has left.
async fn dial<S>(
    way: Way<'_>,
    client: &mut S,
    early: &mut BytesMut,
    place: &mut Option<Use>,
    (failover, request): (&mut Failover<'_>, u64),
) -> Result<Box<Won<Stream>>, Fault>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let leaving = failover.leaving();
    let attended = {
        let serving = pin!(
            failover.run(Repeat::Dial, |upstream: Upstream| async move { through(way, request, &upstream).await })
        );
        let grace = way.gateway.config().connect_timeout;
        presence::attend(client, early, AtEnd::HasLeft, (leaving, place), (serving, grace)).await
    };
    match attended {
        Attended::Served(won) => return won.map(Box::new),
        // Whether anything would have come through it, nobody knows.
        Attended::Left(Some(Ok(won))) => failover.let_go(won.trial),
        Attended::Left(Some(Err(_))) => {}
        Attended::Left(None) => failover.judge(None),
    }
    Err(presence::left())
}

/// Opens a tunnel through one upstream, and has it told how long that took.
async fn through(way: Way<'_>, request: u64, upstream: &Upstream) -> Result<Stream, Fault> {
    let opening = async { way.gateway.tunnel(upstream, way.target).await.inspect(|_| stages::ready()) };
    let tell = |stages| way.gateway.engine().measured(request, upstream.number, stages);
    stages::measured(Instant::now(), opening, tell).await
}

/// A tunnel in which nothing can be made good any more.
struct Begun {
    /// The use of its upstream; when that has been settled, how the request has failed, if it has.
    trial: Result<Trial, Option<Box<Fault>>>,
    upstream: Arc<Endpoint>,
    /// What there is to relay; none when nobody has said anything for too long.
    spoken: Option<Spoken>,
}

/// Sees to it that a tunnel is open, as its client has been told: until an origin has answered a client that begins with
/// what can be sent twice, other upstreams are tried.
async fn begin<S>(
    way: &Way<'_>,
    client: &mut S,
    early: &mut BytesMut,
    failover: &mut Failover<'_>,
    mut won: Box<Won<Stream>>,
) -> Result<Box<Begun>, Fault>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let mut anew_for = ANEW;
    loop {
        let granted = Instant::now();
        let mut limits = Limits::of(way.gateway, failover, &way.target.host, &won.trial);
        limits.young = anew_for;
        // On the heap, so that what comes later has its room.
        let first = Box::pin(listen(client, early, failover, &mut won, &limits)).await;
        match conclude(way, client, failover, *won, first, (granted, limits.patience)) {
            Conclusion::Begun(begun) => return Ok(begun),
            Conclusion::GoOn(going_on) => return going_on.await,
            Conclusion::Left => return Err(presence::left()),
            Conclusion::Anew => {}
        }
        won = Box::pin(anew(*way, client, early, failover)).await?;
        // A hello that comes later needs upstreams as well.
        anew_for = if failover.attempts() > MOST_ANEW { Duration::ZERO } else { ANEW };
    }
}

/// Opens a tunnel again of which nobody has used anything.
async fn anew<S>(
    way: Way<'_>,
    client: &mut S,
    early: &mut BytesMut,
    failover: &mut Failover<'_>,
) -> Result<Box<Won<Stream>>, Fault>
where
    S: AsyncRead + Unpin,
{
    let (request, room) = (failover.request(), way.gateway.config().first_flight);
    let gone = async {
        opening::until_gone(client, early, room).await;
        if !early.is_empty() {
            // It may wait for the answer to what it has sent.
            std::future::pending().await
        }
    };
    tokio::select! {
        biased;
        won = failover.run(Repeat::Dial, |upstream: Upstream| async move { through(way, request, &upstream).await }) => {
            won.map(Box::new)
        }
        () = gone => Err(presence::left()),
    }
}

/// Hears what a client and its first upstream begin with.
async fn listen<S>(
    client: &mut S,
    early: &mut BytesMut,
    failover: &mut Failover<'_>,
    won: &mut Won<Stream>,
    limits: &Limits,
) -> First
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    // A client that says nothing may go on for as long as it likes, but its upstream, which has opened the tunnel, is
    // not kept on probation by it, nor those that have failed before. (On the heap, since most are not on probation.)
    let is_probe = won.trial.is_probe();
    if is_probe || failover.has_suspects() {
        let brief = Limits { idle: PROBE.min(limits.idle), ..*limits };
        let first = Box::pin(opening::first(client, &mut won.answer, early, &brief)).await;
        if !matches!(first, First::Idle) || limits.idle <= PROBE {
            return first;
        }
        failover.judge(None);
        if is_probe {
            failover.succeed(&mut won.trial, won.latency);
        }
    }
    opening::first(client, &mut won.answer, early, limits).await
}

/// What follows from what came of the first upstream.
enum Conclusion<F> {
    Begun(Box<Begun>),
    /// Others have to be tried.
    GoOn(Pin<Box<F>>),
    /// There is nobody to go on for.
    Left,
    /// It has to be opened again, as if it had not been.
    Anew,
}

/// Judges the first upstream. A function, and no part of the future that waits for it, which would have room for all this.
fn conclude<'c, S>(
    way: &Way<'c>,
    client: &'c mut S,
    failover: &'c mut Failover<'_>,
    won: Won<Stream>,
    first: First,
    (granted, patience): (Instant, Duration),
) -> Conclusion<impl Future<Output = Result<Box<Begun>, Fault>>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let Won { mut trial, latency, answer: stream } = won;
    let upstream = Arc::clone(trial.endpoint());
    let case = failover.case(&way.target.host);
    let (waiting, pause, again) = match first {
        First::Clear { said, ahead, heard } => {
            failover.judge((heard == Heard::Origin).then_some((&trial, latency)));
            if flight::is_alert(&said) {
                case.judge_tunnel(&upstream, TunnelEnd::Alert);
            }
            if heard != Heard::Nobody {
                failover.tier_served(&trial);
                failover.succeed(&mut trial, latency);
            }
            let spoken = Some(Spoken { stream, said, ahead });
            return Conclusion::Begun(Box::new(Begun { trial: Ok(trial), upstream, spoken }));
        }
        First::Left => {
            // An upstream that says yes to everything would have a success from each client that is impatient.
            let silent = granted.elapsed();
            if silent < TELLING {
                failover.judge(None);
                failover.let_go(trial);
            } else {
                let detail = format!("silent for {:.1} s, until its client left", silent.as_secs_f64());
                failover.settle_fault(trial, &Fault::new(Side::Upstream, Stage::FirstByte, Kind::Timeout, detail));
            }
            return Conclusion::Left;
        }
        First::Ended(fault) => {
            failover.fail(trial, fault);
            return Conclusion::Anew;
        }
        First::Idle => {
            failover.judge(None);
            failover.tier_served(&trial);
            failover.succeed(&mut trial, latency);
            return Conclusion::Begun(Box::new(Begun { trial: Err(None), upstream, spoken: None }));
        }
        First::Failed { kept, fault, said, unsent } => {
            if let Some(end) = opening::end_of(kept.speech, &said) {
                case.judge_tunnel(&upstream, end);
            }
            failover.fail(trial, fault.clone());
            let is_for_client = opening::is_for_client(kept.speech, &said);
            let words = is_for_client.then_some(Words { upstream, stream, said, unsent, fault });
            (None, granted.elapsed(), Again { target: way.target, kept, words: Mutex::new(words), case })
        }
        First::Silent { kept, said } => {
            let pause = granted.elapsed().saturating_sub(patience);
            let again = Again { target: way.target, kept, words: Mutex::default(), case };
            (Some((trial.since(patience), stream, said)), pause, again)
        }
    };
    Conclusion::GoOn(Box::pin(go_on(way.gateway, client, failover, waiting, pause, again)))
}

/// Tells a client that its tunnel is open.
async fn grant<S: AsyncWrite + Unpin>(
    way: &Way<'_>,
    client: &mut S,
    failover: &Failover<'_>,
    trial: &Trial,
) -> Result<(), Fault> {
    let explained = failover.explained(Some(trial.endpoint()));
    let granted = way.manner.granted(way.gateway.config().pseudonym, explained.as_ref());
    say(way.gateway, client, &granted).await
}

/// Sends what a client has begun with through other upstreams until one is answered. If none is, the client gets the words
/// that one of them said, if any: they may be the origin's. The request has failed all the same.
async fn go_on<S>(
    gateway: &Gateway,
    client: &mut S,
    failover: &mut Failover<'_>,
    waiting: Option<(Trial, Stream, BytesMut)>,
    pause: Duration,
    again: Again<'_>,
) -> Result<Box<Begun>, Fault>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let mut ahead = BytesMut::new();
    let room = gateway.config().first_flight;
    let waiting = waiting.map(|(trial, stream, said)| {
        let upstream = trial.upstream().clone();
        (trial, opening::attempt(gateway, upstream, Some((stream, said)), &again))
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
            let spoken = Some(Spoken { stream, said, ahead });
            Ok(Box::new(Begun { trial: Ok(trial), upstream, spoken }))
        }
        Err(fault) => match again.words.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(Words { upstream, stream, said, unsent: mut rest, fault: own }) => {
                rest.unsplit(ahead);
                let ahead = rest;
                let spoken = Some(Spoken { stream, said, ahead });
                let failed = Box::new(if fault.side == Side::Client { fault } else { own });
                Ok(Box::new(Begun { trial: Err(Some(failed)), upstream, spoken }))
            }
            None => Err(fault),
        },
    }
}

/// A client that does not read would keep its place, and that of its upstream, for ever.
async fn say<S: AsyncWrite + Unpin>(gateway: &Gateway, client: &mut S, bytes: &[u8]) -> Result<(), Fault> {
    let mut client = Stalling::new(client, gateway.config().stall_timeout);
    let fault = |error: std::io::Error| Fault::new(Side::Client, Stage::Handshake, Kind::Io, error.to_string());
    client.write_all(bytes).await.map_err(fault)?;
    client.flush().await.map_err(fault)
}

/// Relays both ways until both have ended, one has failed, or nothing has moved for too long. `gone` is called when the client
/// has left, as far as that can be told.
pub(crate) async fn relay<S>(
    gateway: &Gateway,
    client: &mut S,
    early: &mut BytesMut,
    upstream: &mut Stream,
    gone: impl FnOnce(),
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
    match relay_both(client, upstream, Some(idle), gone).await.end {
        // A tunnel that both sides forgot ends as well as one that they closed.
        relay::End::Closed | relay::End::Idle => Ok(()),
        // Whoever opened it ends it, in whichever way: browsers and TLS libraries do not wait for the origin's last words.
        // So do most that speak TLS with the gateway: they close without saying so.
        relay::End::Client(error)
            if fault::io_kind(&error) == Kind::Reset || error.kind() == std::io::ErrorKind::UnexpectedEof =>
        {
            Ok(())
        }
        relay::End::Client(error) => broken(Side::Client, error),
        relay::End::Upstream(error) => broken(Side::Upstream, error),
    }
}

#[cfg(test)]
mod room;
