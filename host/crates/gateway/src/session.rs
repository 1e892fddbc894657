//! One client's connection: which protocol it speaks, and its requests, one after the other.
//!
//! Nothing is pinned: each request of a keep-alive connection goes through an upstream of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use proxywhirl_engine::history::Refusal;
use proxywhirl_net::Target;
use proxywhirl_net::http1::read_request;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::access::{Gauge, Metered, Use, User};
use crate::forward;
use crate::ingress::http::{Errand, named, read, refusal_of};
use crate::ingress::{Dialect, socks};
use crate::record::Record;
use crate::reply::{Body, ErrorReply};
use crate::tunnel::{self, Manner};
use crate::wanted::{Introduced, Mistake, Wanted, take_fields};
use crate::{Doorway, Gateway};

/// How much is asked of a client at a time: nearly every head is smaller.
const READ: usize = 4 * 1024;
/// A buffer that has grown beyond this is given back between two requests.
const KEPT: usize = 16 * 1024;
/// How long a client may take to read the last reply.
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
    /// It ends, although the client may still be sending.
    Linger,
    /// It ends with these bytes.
    Last(Vec<u8>),
}

/// Serves one client until it leaves, fails, or is told to.
pub(crate) async fn run<S>(doorway: &Doorway, client: S, peer: Option<SocketAddr>, stop: &CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let gateway = doorway.gateway();
    if !is_welcome(&gateway, peer) {
        return;
    }
    let Some(tls) = gateway.door().tls.clone() else { return metered(doorway, gateway, client, peer, stop).await };
    // On the heap, so that a session without TLS takes no room for one with it.
    match timeout(gateway.config().head_timeout, Box::pin(tls.accept(client))).await {
        Ok(Ok(client)) => Box::pin(metered(doorway, gateway, client, peer, stop)).await,
        Ok(Err(error)) => {
            tracing::debug!(client.addr = peer.map(tracing::field::display), %error, "no TLS with a client");
        }
        Err(_) => {}
    }
}

/// Whether a client with this address is served.
fn is_welcome(gateway: &Gateway, peer: Option<SocketAddr>) -> bool {
    let is_welcome = gateway.door().access.welcomes(peer.map(|peer| peer.ip()));
    if !is_welcome {
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
    stop: &CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let gauge = Gauge::default();
    let (connection, buffer) = (gateway.door().turns.connection(), BytesMut::new());
    if gateway.door().access.is_metered() {
        let client = Metered::new(client, gauge.clone());
        let session = Session { doorway, gateway, client, buffer, gauge, is_metered: true, peer, connection, stop };
        Box::pin(session.run()).await;
    } else {
        Session { doorway, gateway, client, buffer, gauge, is_metered: false, peer, connection, stop }.run().await;
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
    peer: Option<SocketAddr>,
    /// Its number, among those of its door.
    connection: u64,
    stop: &'g CancellationToken,
}

/// A client that has been let in.
struct Guest {
    wanted: Wanted,
    user: Option<Arc<User>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Session<'_, S> {
    async fn run(mut self) {
        let end = self.converse().await;
        self.finish(end).await;
    }

    async fn converse(&mut self) -> Next {
        if !self.arrives(self.gateway.config().head_timeout).await || !self.renew() {
            return Next::Close;
        }
        match self.buffer.first().map(|first| Dialect::of(*first)) {
            None => Next::Close,
            Some(Dialect::Http) => self.http().await,
            Some(Dialect::Socks4) => self.socks4().await,
            Some(Dialect::Socks5) => self.socks5().await,
            Some(Dialect::Tls) => {
                tracing::debug!(client.addr = self.peer.map(tracing::field::display), "TLS on a port without TLS");
                Next::Close
            }
        }
    }

    /// Takes over what has been configured anew. False when the client is not served any more.
    fn renew(&mut self) -> bool {
        self.doorway.renew(&mut self.gateway);
        is_welcome(&self.gateway, self.peer)
    }

    /// Waits for the first byte of what the client sends next. False when it is gone, or may stay no longer.
    async fn arrives(&mut self, limit: Duration) -> bool {
        if self.buffer.is_empty() {
            self.buffer.reserve(READ);
            return tokio::select! {
                biased;
                read = timeout(limit, self.client.read_buf(&mut self.buffer)) => matches!(read, Ok(Ok(1..))),
                () = self.stop.cancelled() => false,
            };
        }
        true
    }

    async fn http(&mut self) -> Next {
        loop {
            match self.request().await {
                Next::Another if self.stop.is_cancelled() => return Next::Close,
                Next::Another => {}
                end @ (Next::Close | Next::Linger | Next::Last(_)) => return end,
            }
            if self.buffer.is_empty() && self.buffer.capacity() > KEPT {
                self.buffer = BytesMut::new();
            }
            if !self.arrives(self.gateway.config().idle_timeout).await || !self.renew() {
                return Next::Close;
            }
        }
    }

    async fn request(&mut self) -> Next {
        let config = self.gateway.config();
        let reading = read_request(&mut self.client, &mut self.buffer, config.max_head);
        let mut head = match timeout(config.head_timeout, reading).await {
            Ok(Ok(Some(head))) => head,
            Ok(Ok(None)) => return Next::Close,
            Ok(Err(error)) => {
                return refusal_of(&error, &self.buffer).map_or(Next::Close, |reply| self.refuse(&reply, Body::Send));
            }
            Err(_) => {
                let why =
                    format!("the head of the request took longer than {:.0} s", config.head_timeout.as_secs_f64());
                return self.refuse(&ErrorReply::refusal(408, why), Body::Send);
            }
        };
        let body = if head.method == "HEAD" { Body::Omit } else { Body::Send };
        if self.gateway.door().access.is_metered() && !self.is_metered {
            // Since this connection began, somebody got a quota: the client's next one is counted.
            head.headers.append("Connection", "close").ok();
        }
        let introduced = take_fields(&mut head.headers, &self.gateway.door().grammar, config.limits());
        let guest = match introduced {
            Ok(introduced) => self.admit(introduced).await,
            Err(mistake) => Err(ErrorReply::mistake(&mistake)),
        };
        let guest = match guest {
            Ok(guest) => guest,
            Err(reply) => {
                self.remember(protocol_of(&head.method), &head.method, &named(&head), &reply);
                return self.refuse(&reply, body);
            }
        };
        let errand = match read(head) {
            Ok(errand) => errand,
            Err(reply) => return self.refuse(&reply, body),
        };
        let (method, target) = match &errand {
            Errand::Tunnel(target) => ("CONNECT", target),
            Errand::Forward(request) => (request.head.method.as_str(), &request.target),
        };
        let _place = match self.place(&guest, target) {
            Ok(place) => place,
            Err(reply) => {
                self.remember(protocol_of(method), method, &target.to_string(), &reply);
                return self.refuse(&reply, body);
            }
        };
        match (errand, guest.wanted) {
            (Errand::Tunnel(target), wanted) => self.tunnel(Manner::Connect, &target, wanted).await,
            (Errand::Forward(request), wanted) => {
                let (method, target) = (request.head.method.as_str(), request.target.to_string());
                let record = Record::new(self.gateway.engine(), "http", method, target, self.peer).wanting(wanted);
                // On the heap while it lasts: a session may be a tunnel, of which there are many, and they are idle.
                Box::pin(forward::serve(&self.gateway, &mut self.client, &mut self.buffer, request, record)).await
            }
        }
    }

    /// Finds out who a client is, and what it wants behind this door.
    async fn admit(&self, introduced: Introduced) -> Result<Guest, ErrorReply> {
        let Introduced { user, password, wanted } = introduced;
        let door = self.gateway.door();
        let known = door.access.identify(&user, &password, self.peer.map(|peer| peer.ip())).await;
        let user = known.map_err(ErrorReply::denied)?;
        let mut wanted = wanted;
        if let Some(user) = &user {
            self.gauge.assign(user);
            wanted.session = wanted.session.map(|session| user.session(session));
        }
        let mut wanted = wanted.behind(&door.wanted).ok_or_else(|| {
            let why = "no proxy can be all that is wanted and what this port gives: ask for less";
            ErrorReply::mistake(&Mistake::Field(why.to_owned()))
        })?;
        door.turns.assign(&mut wanted, self.connection);
        Ok(Guest { wanted, user })
    }

    /// The place of a request among those of its user, if it may be served at all.
    fn place(&self, guest: &Guest, target: &Target) -> Result<Option<Use>, ErrorReply> {
        if !self.gateway.door().access.permits(target) {
            return Err(ErrorReply::forbidden(target));
        }
        let Some(user) = &guest.user else { return Ok(None) };
        user.begin().map(Some).map_err(|exceeded| ErrorReply::exceeded(exceeded, user.name()))
    }

    /// Remembers a request that is refused, for who asks why.
    fn remember(&self, protocol: &'static str, method: &str, target: &str, reply: &ErrorReply) {
        // SOCKS has no status.
        let status = matches!(protocol, "http" | "connect").then_some(reply.status);
        let refusal = Refusal { protocol, method, target, status, reason: reply.text() };
        self.gateway.engine().refused(&refusal);
    }

    /// Reads what a client of SOCKS says of itself, before it has said where it wants to go, or with it.
    async fn introduce(
        &self,
        user: &str,
        password: &str,
        (manner, target): (Manner, Option<&Target>),
    ) -> Result<Guest, socks::Refusal> {
        let limits = self.gateway.config().limits();
        let introduced = self.gateway.door().grammar.introduce(user, password, limits);
        let (reply, refusal) = match introduced {
            Ok(introduced) => match self.admit(introduced).await {
                Ok(guest) => return Ok(guest),
                Err(reply) => {
                    let refusal = not_allowed(&reply);
                    (reply, refusal)
                }
            },
            Err(mistake) => {
                let reply = ErrorReply::mistake(&mistake);
                let refusal = socks::Refusal::new(socks::code::GENERAL, reply.text());
                (reply, refusal)
            }
        };
        let target = target.map(ToString::to_string).unwrap_or_default();
        self.remember(manner.as_str(), "CONNECT", &target, &reply);
        Err(refusal)
    }

    /// Opens a tunnel for a client of SOCKS.
    async fn tunnel_for(&mut self, guest: Guest, manner: Manner, target: &Target) -> Result<Next, socks::Refusal> {
        let _place = self.place(&guest, target).map_err(|reply| {
            self.remember(manner.as_str(), "CONNECT", &target.to_string(), &reply);
            not_allowed(&reply)
        })?;
        Ok(self.tunnel(manner, target, guest.wanted).await)
    }

    fn refuse(&self, reply: &ErrorReply, body: Body) -> Next {
        tracing::debug!(
            client.addr = self.peer.map(tracing::field::display),
            status = reply.status,
            reason = reply.text(),
            "request refused"
        );
        Next::Last(reply.to_bytes(self.gateway.config().pseudonym, body))
    }

    async fn tunnel(&mut self, manner: Manner, target: &Target, wanted: Wanted) -> Next {
        let name = target.to_string();
        let record = Record::new(self.gateway.engine(), manner.as_str(), "CONNECT", name, self.peer).wanting(wanted);
        let early = std::mem::take(&mut self.buffer);
        tunnel::serve(&self.gateway, &mut self.client, early, manner, target, record).await
    }

    async fn socks4(&mut self) -> Next {
        match self.handshake(socks::request4).await {
            Ok(socks::Request4 { target, manner, user }) => {
                let served = match self.introduce(&user, "", (manner, Some(&target))).await {
                    Ok(guest) => self.tunnel_for(guest, manner, &target).await,
                    Err(refusal) => Err(refusal),
                };
                served.unwrap_or_else(|refusal| self.refuse_socks(Some(refusal), |_| socks::reply4(false).to_vec()))
            }
            Err(refusal) => self.refuse_socks(refusal, |_| socks::reply4(false).to_vec()),
        }
    }

    async fn socks5(&mut self) -> Next {
        let method = match self.handshake(|bytes| Ok(socks::greeting(bytes))).await {
            Ok(method) => method,
            Err(refusal) => return self.refuse_socks(refusal, |code| socks::reply5(code).to_vec()),
        };
        let Some(method) = method else { return Next::Last(socks::METHODS_REFUSED.to_vec()) };
        let anonymous = match method {
            socks::Method::Password => None,
            socks::Method::None => match self.introduce("", "", (Manner::Socks5, None)).await {
                Ok(guest) => Some(guest),
                Err(refusal) => return self.refuse_socks(Some(refusal), |_| socks::METHODS_REFUSED.to_vec()),
            },
        };
        if !self.say(&method.accepted()).await {
            return Next::Close;
        }
        let guest = match anonymous {
            Some(guest) => guest,
            None => match self.introduction().await {
                Ok(guest) => guest,
                Err(end) => return end,
            },
        };
        let served = match self.handshake(socks::request5).await {
            Ok(target) => self.tunnel_for(guest, Manner::Socks5, &target).await.map_err(Some),
            Err(refusal) => Err(refusal),
        };
        served.unwrap_or_else(|refusal| self.refuse_socks(refusal, |code| socks::reply5(code).to_vec()))
    }

    /// Reads user name and password of SOCKS 5, of which the name says what the client wants.
    async fn introduction(&mut self) -> Result<Guest, Next> {
        let refused = |_| socks::PASSWORD_REFUSED.to_vec();
        let (user, password) = match self.handshake(socks::password).await {
            Ok(both) => both,
            Err(refusal) => return Err(self.refuse_socks(refusal, refused)),
        };
        let guest = match self.introduce(&user, &password, (Manner::Socks5, None)).await {
            Ok(guest) => guest,
            Err(refusal) => return Err(self.refuse_socks(Some(refusal), refused)),
        };
        if self.say(&socks::PASSWORD_ACCEPTED).await { Ok(guest) } else { Err(Next::Close) }
    }

    /// False when the client is gone.
    async fn say(&mut self, bytes: &[u8]) -> bool {
        self.client.write_all(bytes).await.is_ok() && self.client.flush().await.is_ok()
    }

    /// Reads one message of SOCKS. No refusal says that the client is gone, or too slow.
    async fn handshake<T>(
        &mut self,
        parse: impl Fn(&[u8]) -> Result<Option<(T, usize)>, socks::Refusal>,
    ) -> Result<T, Option<socks::Refusal>> {
        let limit = self.gateway.config().head_timeout;
        let reading = async {
            loop {
                if let Some((message, length)) = parse(&self.buffer).map_err(Some)? {
                    self.buffer.advance(length);
                    return Ok(message);
                }
                self.buffer.reserve(socks::MAX_MESSAGE);
                let read = self.client.read_buf(&mut self.buffer).await;
                if !matches!(read, Ok(1..)) || self.buffer.len() > socks::MAX_MESSAGE + READ {
                    return Err(None);
                }
            }
        };
        timeout(limit, reading).await.unwrap_or(Err(None))
    }

    fn refuse_socks(&self, refusal: Option<socks::Refusal>, reply: impl Fn(u8) -> Vec<u8>) -> Next {
        let Some(socks::Refusal { code, why }) = refusal else { return Next::Close };
        let peer = self.peer.map(tracing::field::display);
        tracing::debug!(client.addr = peer, reply = code, reason = why.as_str(), "request refused");
        Next::Last(reply(code))
    }

    /// Ends the connection so that the client can read what was said last: closing while it is still sending would reset
    /// the connection, and throw the reply away.
    async fn finish(mut self, end: Next) {
        let last = match end {
            Next::Another | Next::Close => return,
            Next::Linger => Vec::new(),
            Next::Last(bytes) => bytes,
        };
        let ending = async {
            self.client.write_all(&last).await?;
            self.client.shutdown().await?;
            let mut left = MAX_LINGER;
            self.buffer.clear();
            self.buffer.reserve(READ);
            loop {
                match self.client.read_buf(&mut self.buffer).await? {
                    0 => return Ok(()),
                    read => left = left.saturating_sub(read),
                }
                if left == 0 {
                    return Ok(());
                }
                self.buffer.clear();
            }
        };
        // Whether the client heard it is its own affair.
        let ended: Result<std::io::Result<()>, _> = timeout(LINGER, ending).await;
        drop(ended);
    }
}

/// By what a client asks with this method.
fn protocol_of(method: &str) -> &'static str {
    if method == "CONNECT" { Manner::Connect.as_str() } else { "http" }
}

/// A refusal in SOCKS, which has one code for all that a rule forbids.
fn not_allowed(reply: &ErrorReply) -> socks::Refusal {
    socks::Refusal::new(socks::code::NOT_ALLOWED, reply.text())
}
