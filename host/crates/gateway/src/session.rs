//! One client's connection: which protocol it speaks, and its requests, one after the other.
//!
//! Nothing is pinned: each request of a keep-alive connection goes through an upstream of its own.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use proxywhirl_net::Target;
use proxywhirl_net::http1::read_request;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::Gateway;
use crate::forward;
use crate::ingress::http::{Errand, read, refusal_of};
use crate::ingress::{Dialect, socks};
use crate::record::Record;
use crate::reply::{Body, ErrorReply};
use crate::tunnel::{self, Manner};
use crate::wanted::Wanted;

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
pub(crate) async fn run<S>(gateway: &Gateway, client: S, peer: Option<SocketAddr>, stop: &CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut session = Session { gateway, client, buffer: BytesMut::new(), peer, stop };
    let end = session.converse().await;
    session.finish(end).await;
}

struct Session<'g, S> {
    gateway: &'g Gateway,
    client: S,
    /// What was read and not yet used.
    buffer: BytesMut,
    peer: Option<SocketAddr>,
    stop: &'g CancellationToken,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Session<'_, S> {
    async fn converse(&mut self) -> Next {
        if !self.arrives(self.gateway.config().head_timeout).await {
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
            if !self.arrives(self.gateway.config().idle_timeout).await {
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
        let wanted = match Wanted::by_fields(&mut head.headers) {
            Ok(wanted) => wanted,
            Err(mistake) => return self.refuse(&ErrorReply::mistake(&mistake), body),
        };
        match read(head) {
            Err(reply) => self.refuse(&reply, body),
            Ok(Errand::Tunnel(target)) => self.tunnel(Manner::Connect, &target, wanted).await,
            Ok(Errand::Forward(request)) => {
                let (method, target) = (request.head.method.as_str(), request.target.to_string());
                let record = Record::new(self.gateway.engine(), "http", method, target, self.peer).wanting(wanted);
                // On the heap while it lasts: a session may be a tunnel, of which there are many, and they are idle.
                Box::pin(forward::serve(self.gateway, &mut self.client, &mut self.buffer, request, record)).await
            }
        }
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
        tunnel::serve(self.gateway, &mut self.client, early, manner, target, record).await
    }

    async fn socks4(&mut self) -> Next {
        match self.handshake(socks::request4).await {
            Ok(socks::Request4 { target, manner, user }) => match Wanted::by_user(&user) {
                Ok(wanted) => self.tunnel(manner, &target, wanted).await,
                Err(mistake) => {
                    let refusal = socks::Refusal::new(socks::code::GENERAL, mistake.to_string());
                    self.refuse_socks(Some(refusal), |_| socks::reply4(false).to_vec())
                }
            },
            Err(refusal) => self.refuse_socks(refusal, |_| socks::reply4(false).to_vec()),
        }
    }

    async fn socks5(&mut self) -> Next {
        let method = match self.handshake(|bytes| Ok(socks::greeting(bytes))).await {
            Ok(method) => method,
            Err(refusal) => return self.refuse_socks(refusal, |code| socks::reply5(code).to_vec()),
        };
        let Some(method) = method else { return Next::Last(socks::METHODS_REFUSED.to_vec()) };
        if !self.say(&method.accepted()).await {
            return Next::Close;
        }
        let wanted = match method {
            socks::Method::None => Wanted::default(),
            socks::Method::Password => match self.introduction().await {
                Ok(wanted) => wanted,
                Err(end) => return end,
            },
        };
        match self.handshake(socks::request5).await {
            Ok(target) => self.tunnel(Manner::Socks5, &target, wanted).await,
            Err(refusal) => self.refuse_socks(refusal, |code| socks::reply5(code).to_vec()),
        }
    }

    /// Reads user name and password of SOCKS 5, of which the name says what the client wants.
    async fn introduction(&mut self) -> Result<Wanted, Next> {
        let refused = |_| socks::PASSWORD_REFUSED.to_vec();
        let user = match self.handshake(socks::password).await {
            Ok(user) => user,
            Err(refusal) => return Err(self.refuse_socks(refusal, refused)),
        };
        let wanted = Wanted::by_user(&user).map_err(|mistake| {
            let refusal = socks::Refusal::new(socks::code::GENERAL, mistake.to_string());
            self.refuse_socks(Some(refusal), refused)
        })?;
        if self.say(&socks::PASSWORD_ACCEPTED).await { Ok(wanted) } else { Err(Next::Close) }
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
