//! One client's connection: which protocol it speaks, and its requests, one after the other.
//!
//! Nothing is pinned: each request of a keep-alive connection goes through an upstream of its own.

pub(crate) mod presence;
pub(crate) mod rest;
mod socks;

use std::any::Any;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use proxywhirl_core::secret::Zeroizing;
use proxywhirl_engine::Denial;
use proxywhirl_engine::history::Refusal;
use proxywhirl_net::Target;
use proxywhirl_net::http1::{Headers, RequestHead, read_request};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::access::{Gauge, Login, Metered, Use, User, number_of};
use crate::alarms::Alarms;
use crate::forward;
use crate::ingress::Dialect;
use crate::ingress::http::{Errand, Last, named, read, refusal_of};
use crate::record::{End, Record};
use crate::reply::{Body, ErrorReply};
use crate::rotation::{self, Origin};
use crate::sparing::{READ, within};
use crate::tunnel::{Manner, Tunnel};
use crate::wanted::{CREDENTIALS, Introduced, Mistake, Wanted, take_fields};
use crate::{Doorway, Gateway};
use rest::{Rest, Stay};

/// How long a client may take to read the last reply, or that its request is refused for now.
const LINGER: Duration = Duration::from_secs(2);
/// How much of what a client still sends is read after the last reply.
const MAX_LINGER: usize = 32 * 1024 * 1024;

/// What follows a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// The connection can carry another one.
    Another,
    /// It ends.
    Close,
    /// It breaks off, so that what was sent does not look whole.
    Abort,
    /// It ends, although the client may still be sending.
    Linger,
    /// It ends with these bytes.
    Last(Vec<u8>),
}

/// A tunnel, with all that it needs. It may last for days, and the session that it began with does not.
type Lasting = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Serves one client until it leaves, fails, or is told to.
pub(crate) fn run<S>(
    doorway: Doorway,
    client: S,
    peer: Option<SocketAddr>,
    stay: Stay,
) -> impl Future<Output = ()> + use<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // On the heap, to be gone when its tunnel begins: there are many tunnels, and most of them are idle.
    let session = Box::pin(async move { begin(&doorway, client, peer, &stay).await });
    async move {
        if let Some(tunnel) = session.await {
            tunnel.await;
        }
    }
}

async fn begin<S>(doorway: &Doorway, client: S, peer: Option<SocketAddr>, stay: &Stay) -> Option<Lasting>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let gateway = doorway.gateway();
    if !is_welcome(&gateway, peer) {
        return None;
    }
    match gateway.door().tls.clone() {
        None => metered(doorway, gateway, client, peer, stay).await,
        // On the heap, so that a session without TLS takes no room for one with it.
        Some(tls) => Box::pin(over_tls(doorway, gateway, tls, client, peer, stay)).await,
    }
}

/// Serves a client that speaks TLS to the gateway.
async fn over_tls<S>(
    doorway: &Doorway,
    gateway: Arc<Gateway>,
    tls: TlsAcceptor,
    client: S,
    peer: Option<SocketAddr>,
    stay: &Stay,
) -> Option<Lasting>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    match timeout(gateway.config().head_timeout, tls.accept(client)).await {
        Ok(Ok(client)) => metered(doorway, gateway, client, peer, stay).await,
        Ok(Err(error)) => {
            // Whoever closes again, as one that looks whether the port is open, has asked for nothing.
            if error.kind() == ErrorKind::InvalidData {
                gateway.engine().denied(Denial::Tls);
            }
            tracing::debug!(client.addr = peer.map(tracing::field::display), %error, "no TLS with a client");
            None
        }
        Err(_) => None,
    }
}

/// Whether a client with this address is served.
fn is_welcome(gateway: &Gateway, peer: Option<SocketAddr>) -> bool {
    let is_welcome = gateway.door().access.welcomes(peer.map(|peer| peer.ip()));
    if !is_welcome {
        gateway.engine().denied(Denial::Client);
        tracing::debug!(client.addr = peer.map(tracing::field::display), "no client with this address is served");
    }
    is_welcome
}

/// Counts the client's bytes where somebody has a quota.
async fn metered<S>(
    doorway: &Doorway,
    gateway: Arc<Gateway>,
    client: S,
    peer: Option<SocketAddr>,
    stay: &Stay,
) -> Option<Lasting>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let gauge = Gauge::default();
    if gateway.door().access.is_metered() {
        let client = Metered::new(client, gauge.clone());
        Box::pin(Session::new(doorway, gateway, client, (gauge, true), peer, stay).run()).await
    } else {
        Session::new(doorway, gateway, client, (gauge, false), peer, stay).run().await
    }
}

struct Session<'g, S> {
    doorway: &'g Doorway,
    /// As it was when the request began that is under way.
    gateway: Arc<Gateway>,
    client: S,
    /// What was read and not yet used.
    buffer: BytesMut,
    /// Whose bytes the client's are.
    gauge: Gauge,
    /// Whether bytes are counted.
    is_metered: bool,
    /// The credentials that it sent last, where they hold for what follows.
    login: Option<Zeroizing<Box<[u8]>>>,
    /// Where its last request went.
    last: Last,
    peer: Option<SocketAddr>,
    /// Its number.
    connection: u64,
    stay: &'g Stay,
    /// What it waits with, from the first wait on.
    rest: Option<Pin<Box<Rest<'g>>>>,
    /// What the waits of its requests are limited with.
    alarms: Alarms,
}

/// What came of a request's head.
enum Asked {
    /// It was answered, and this follows.
    Answered(Next),
    /// It asks for a tunnel.
    Tunnel(Wish),
}

/// A tunnel that a client may have.
struct Wish {
    manner: Manner,
    target: Target,
    wanted: Wanted,
    user: Option<Arc<User>>,
    /// Its place among the requests of its user, for as long as it lasts.
    place: Option<Use>,
}

/// A client that has been let in.
struct Guest {
    wanted: Wanted,
    user: Option<Arc<User>>,
    /// Hash of its words about members.
    words: u64,
}

impl<'g, S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Session<'g, S> {
    fn new(
        doorway: &'g Doorway,
        gateway: Arc<Gateway>,
        client: S,
        (gauge, is_metered): (Gauge, bool),
        peer: Option<SocketAddr>,
        stay: &'g Stay,
    ) -> Self {
        let (connection, buffer) = (rotation::connection(), BytesMut::new());
        let (login, last, rest, alarms) = (None, None, None, Alarms::default());
        Self { doorway, gateway, client, buffer, gauge, is_metered, login, last, peer, connection, stay, rest, alarms }
    }

    /// Serves the client until it leaves, or has a tunnel.
    #[expect(
        clippy::manual_async_fn,
        reason = "a function would have the session twice: as its argument and as its own"
    )]
    fn run(mut self) -> impl Future<Output = Option<Lasting>> {
        async move {
            match self.converse().await {
                Ok(wish) => Some(self.tunnel(wish)),
                Err(end) => {
                    self.gauge.serve(false);
                    finish(&mut self.client, end).await;
                    None
                }
            }
        }
    }

    async fn converse(&mut self) -> Result<Wish, Next> {
        if !self.arrives(self.gateway.config().head_timeout).await || !self.renew() {
            return Err(Next::Close);
        }
        match self.buffer.first().map(|first| Dialect::of(*first)) {
            None => Err(Next::Close),
            Some(Dialect::Http) => self.http().await,
            Some(Dialect::Socks4) => self.socks4().await,
            Some(Dialect::Socks5) => self.socks5().await,
            Some(Dialect::Tls) => Err(self.refuse(&ErrorReply::no_tls(), Body::Send)),
        }
    }

    /// Takes over what has been configured anew. False when the client is not served any more.
    fn renew(&mut self) -> bool {
        self.doorway.renew(&mut self.gateway);
        is_welcome(&self.gateway, self.peer)
    }

    /// Waits for the first byte of what the client sends next. False when it is gone, or may stay no longer.
    async fn arrives(&mut self, limit: Duration) -> bool {
        if !self.buffer.is_empty() {
            return true;
        }
        // Clients wait for long, and there are many: none keeps a buffer for it.
        self.buffer = BytesMut::new();
        let rest = self.rest.get_or_insert_with(|| Box::pin(Rest::new(self.stay, limit)));
        matches!(rest.as_mut().read(limit, &mut self.client, &mut self.buffer).await, Some(Ok(1..)))
    }

    /// Answers requests until one of them asks for a tunnel, or the connection has to end.
    async fn http(&mut self) -> Result<Wish, Next> {
        loop {
            let asked = self.request().await?;
            if matches!(asked, Asked::Answered(_)) {
                self.gauge.serve(false);
            }
            match asked {
                Asked::Answered(Next::Another) if self.stay.stop.is_cancelled() => return Err(Next::Close),
                Asked::Answered(Next::Another) => {}
                Asked::Answered(end @ (Next::Close | Next::Abort | Next::Linger | Next::Last(_))) => return Err(end),
                Asked::Tunnel(wish) => return Ok(wish),
            }
            if !self.arrives(self.gateway.config().idle_timeout).await || !self.renew() {
                return Err(Next::Close);
            }
        }
    }

    /// Reads a request's head; where there is none, what the connection ends with.
    async fn head(&mut self) -> Result<RequestHead, Next> {
        let config = self.gateway.config();
        let read = {
            let reading = pin!(read_request(&mut self.client, &mut self.buffer, config.max_head));
            within(config.head_timeout, reading).await
        };
        match read {
            Ok(Ok(Some(head))) => Ok(head),
            Ok(Ok(None)) => Err(Next::Close),
            Ok(Err(error)) => {
                let refusal = refusal_of(&error, &self.buffer);
                Err(refusal.map_or(Next::Close, |reply| self.refuse(&reply, Body::Send)))
            }
            Err(_) => {
                let why =
                    format!("the head of the request took longer than {:.0} s", config.head_timeout.as_secs_f64());
                Err(self.refuse(&ErrorReply::refusal(408, why), Body::Send))
            }
        }
    }

    /// Reads a request and answers it, unless it asks for a tunnel.
    async fn request(&mut self) -> Result<Asked, Next> {
        let mut head = self.head().await?;
        let body = if head.method == "HEAD" { Body::Omit } else { Body::Send };
        if self.gateway.door().access.is_metered() && !self.is_metered {
            // Since this connection began, somebody got a quota: the client's next one is counted.
            head.headers.append("Connection", "close").ok();
        }
        recall(&self.gateway, &mut self.login, &mut head.headers);
        let limits = self.gateway.config().limits();
        let introduced = take_fields(&mut head.headers, &self.gateway.door().grammar, limits);
        let guest = match introduced {
            Ok(introduced) => self.admit(introduced).await,
            Err(mistake) => Err(ErrorReply::mistake(&mistake)),
        };
        let mut guest = match guest {
            Ok(guest) => guest,
            Err(reply) => {
                self.remember(protocol_of(&head.method), &head.method, &named(&head), &reply, None);
                return Err(self.refuse(&reply, body));
            }
        };
        let errand = match read(head, &mut self.last) {
            Ok(errand) => errand,
            Err(reply) => return Err(self.refuse(&reply, body)),
        };
        let (method, target) = match &errand {
            Errand::Tunnel(target) => ("CONNECT", target),
            Errand::Forward(request) => (&*request.head.method, &request.target),
            Errand::Here(target, method, _) => (*method, target),
        };
        let place = match self.place(&mut guest, target).await {
            Ok(place) => place,
            Err(reply) => {
                self.remember(protocol_of(method), method, &target.to_string(), &reply, guest.user.as_deref());
                // On the heap, since it is rare.
                return Box::pin(self.turn_away(reply, body, errand.may_be_followed())).await;
            }
        };
        match errand {
            Errand::Tunnel(target) => {
                let (manner, wanted, user) = (Manner::Connect, guest.wanted, guest.user);
                Ok(Asked::Tunnel(Wish { manner, target, wanted, user, place }))
            }
            Errand::Here(target, method, answer) => {
                let name = target.text().into();
                let record = Record::new(self.gateway.engine(), "http", method.into(), name, self.peer).of(guest.user);
                record.close(&self.gateway, &End { status: Some(200), attempts: 0, upstream: None, fault: None });
                Ok(Asked::Answered(Next::Last(answer)))
            }
            Errand::Forward(request) => {
                let (method, name, wanted) = (request.head.method.clone(), Arc::clone(&request.name), guest.wanted);
                let record = Record::new(self.gateway.engine(), "http", method, name, self.peer).of(guest.user);
                let part = (place, &self.stay.stop, &self.alarms);
                let (client, buffer) = (&mut self.client, &mut self.buffer);
                // On the heap while it lasts: clients wait for long between two requests.
                let next = Box::pin(forward::serve(&self.gateway, client, buffer, request, wanted, record, part)).await;
                Ok(Asked::Answered(next))
            }
        }
    }

    /// Finds out who a client is, and what it wants behind this door.
    async fn admit(&self, introduced: Introduced) -> Result<Guest, ErrorReply> {
        let session = introduced.session();
        let Introduced { user, password, mut wanted, words, .. } = introduced;
        let door = self.gateway.door();
        let known = door.access.identify(&user, password.expose(), self.peer.map(|peer| peer.ip())).await;
        let user = known.map_err(ErrorReply::denied)?;
        wanted.session = session;
        if let Some(user) = &user {
            self.gauge.assign(user);
            wanted.session = wanted.session.map(|session| user.session(session));
        }
        let mut wanted = wanted.behind(&door.wanted).ok_or_else(|| {
            let why = "no proxy can be all that is wanted and what this port gives: ask for less";
            ErrorReply::mistake(&Mistake::Field(why.to_owned()))
        })?;
        wanted.whose = match (&user, self.peer) {
            (Some(user), _) => user.number(),
            (None, Some(peer)) => number_of(peer.ip()),
            (None, None) => 0,
        };
        Ok(Guest { wanted, user, words })
    }

    /// The place of a request among those of its user, if it may be served at all; it has its session then.
    async fn place(&self, guest: &mut Guest, target: &Target) -> Result<Option<Use>, ErrorReply> {
        let door = self.gateway.door();
        if !door.access.permits(target) {
            return Err(ErrorReply::forbidden(target));
        }
        let engine = self.gateway.engine();
        let place = match &guest.user {
            Some(user) => {
                let place = user.begin(engine.shares_limits().then_some(engine)).await;
                let place = place.map_err(|exceeded| ErrorReply::exceeded(exceeded, user.name()))?;
                self.gauge.serve(true);
                Some(place)
            }
            None => None,
        };
        // Not before: a request that is refused is nobody's turn.
        let client = self.peer.map_or(0, |peer| number_of(peer.ip()));
        let (wanted, words) = (&mut guest.wanted, guest.words);
        let is_turn = door.turns.assign(wanted, Origin { connection: self.connection, client, target, words });
        // The engine keeps it until a member was drawn for the session, which may be for another request.
        if let Some(session) = wanted.session.filter(|_| is_turn) {
            wanted.stick.renew |= !engine.rotate_session(session);
        }
        Ok(place)
    }

    /// Remembers a request that is refused, for who asks why; with its user, if that is known by then.
    #[cold]
    fn remember(&self, protocol: &'static str, method: &str, target: &str, reply: &ErrorReply, user: Option<&User>) {
        // SOCKS has no status.
        let status = matches!(protocol, "http" | "connect").then_some(reply.status);
        let (client, listener) = (self.peer, self.gateway.door().listener.as_ref());
        let user = user.map(User::shared_name);
        let refusal = Refusal { protocol, method, target, user, client, listener, status, reason: reply.text() };
        self.gateway.engine().refused(&refusal);
    }

    /// Counts what is refused.
    #[cold]
    fn count(&self, denial: Option<Denial>) {
        if let Some(denial) = denial {
            self.gateway.engine().denied(denial);
        }
    }

    /// Refuses a request for now: where its reason is over in a moment, what the client may send behind it is heard.
    async fn turn_away(&mut self, reply: ErrorReply, body: Body, may_be_followed: bool) -> Result<Asked, Next> {
        if !may_be_followed || !reply.is_passing() || self.stay.stop.is_cancelled() {
            return Err(self.refuse(&reply, body));
        }
        let refusal = self.refusal(&reply.kept(), body);
        match timeout(LINGER, self.say(&refusal)).await {
            Ok(true) => Ok(Asked::Answered(Next::Another)),
            Ok(false) | Err(_) => Err(Next::Close),
        }
    }

    #[cold]
    fn refuse(&self, reply: &ErrorReply, body: Body) -> Next {
        Next::Last(self.refusal(reply, body))
    }

    #[cold]
    fn refusal(&self, reply: &ErrorReply, body: Body) -> Vec<u8> {
        self.count(reply.denial);
        tracing::debug!(
            client.addr = self.peer.map(tracing::field::display),
            status = reply.status,
            reason = reply.text(),
            "request refused"
        );
        reply.to_bytes(self.gateway.config().pseudonym, body)
    }

    /// The tunnel, which takes over the connection.
    fn tunnel(self, wish: Wish) -> Lasting {
        let Self { gateway, client, buffer, peer, .. } = self;
        let Wish { manner, target, wanted, user, place } = wish;
        let name = target.text().into();
        let record = Record::new(gateway.engine(), manner.as_str(), "CONNECT".into(), name, peer).of(user);
        // Without what was said before, its room goes now: a tunnel may be silent from the start.
        let early = if buffer.is_empty() { BytesMut::new() } else { buffer };
        Box::pin(Tunnel { gateway, client, early, manner, target, record, place, in_use: None }.serve(Box::new(wanted)))
    }
}

/// Ends the connection so that the client can read what was said last: closing while it is still sending would reset
/// the connection, and throw the reply away.
pub(crate) async fn finish<S: AsyncRead + AsyncWrite + Unpin + 'static>(client: &mut S, end: Next) {
    let last = match end {
        Next::Another | Next::Close => return,
        Next::Abort => return abort(client),
        Next::Linger => Vec::new(),
        Next::Last(bytes) => bytes,
    };
    let ending = async {
        client.write_all(&last).await?;
        client.shutdown().await?;
        let (mut left, mut buffer) = (MAX_LINGER, BytesMut::with_capacity(READ));
        loop {
            match client.read_buf(&mut buffer).await? {
                0 => return Ok(()),
                read => left = left.saturating_sub(read),
            }
            if left == 0 {
                return Ok(());
            }
            buffer.clear();
        }
    };
    // Whether the client heard it is its own affair.
    let ended: Result<std::io::Result<()>, _> = timeout(LINGER, Box::pin(ending)).await;
    drop(ended);
}

/// Has a client's connection end with a reset; one in TLS ends without the alert that says that all was said (RFC 8446 §6.1).
fn abort<S: 'static>(client: &S) {
    let client: &dyn Any = client;
    let metered = || client.downcast_ref::<Metered<TcpStream>>().map(Metered::inner);
    if let Some(client) = client.downcast_ref::<TcpStream>().or_else(metered)
        && let Err(error) = client.set_zero_linger()
    {
        tracing::debug!(%error, "a connection cannot be broken off, and is closed");
    }
}

/// Gives a request without credentials those that its connection began with. Wrong ones end the connection, so that what
/// is kept was right.
fn recall(gateway: &Gateway, login: &mut Option<Zeroizing<Box<[u8]>>>, headers: &mut Headers) {
    if gateway.door().access.login() == Login::Request {
        return;
    }
    match (headers.get(CREDENTIALS), &*login) {
        (Some(said), kept) if kept.as_ref().is_none_or(|kept| ***kept != *said) => {
            *login = Some(Zeroizing::new(said.into()));
        }
        // It was a field of this connection before, so that it cannot be malformed.
        (None, Some(kept)) => drop(headers.append(CREDENTIALS, &***kept)),
        (Some(_), _) | (None, None) => {}
    }
}

/// By what a client asks with this method.
fn protocol_of(method: &str) -> &'static str {
    if method == "CONNECT" { Manner::Connect.as_str() } else { "http" }
}
