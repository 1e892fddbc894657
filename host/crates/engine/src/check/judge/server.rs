//! The judge's server. It stands on the open internet, so all that a client can make it do has a limit:
//! the head's size, the time, the requests of a connection, the connections.
//!
//! It is written over `net::http1`, because it has to say how a request was written, field by field and
//! in order, which a server library would have tidied up. On the same port it serves TLS to those who begin with it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use proxywhirl_net::http1::{self, BodyLength, HeadError, Headers, RequestHead, ResponseHead};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use url::Url;

use super::tls::{HANDSHAKE, JudgeTls};
use super::{Answer, NONCE_FIELD, proof};
use crate::Clock;

/// The largest head of a request: the answer repeats it, and must fit into what is read of an answer.
const MAX_HEAD: usize = 16 * 1024;
/// The longest text to prove something of.
const MAX_NONCE: usize = 128;
/// How long to rest when a connection cannot be accepted, which is when all files are taken.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

const HELP: &str = "This is a ProxyWhirl judge. It says how a request looked when it arrived.\n\n\
    GET /judge?nonce=TEXT answers JSON: the nonce, a proof, the peer's address, the method, the header fields in \
    order, and the time in microseconds since 1970.\n\n\
    Check proxies against it:  proxywhirl check --level http --judge http://THIS-HOST:PORT LIST\n";

/// What a judge puts up with.
#[derive(Debug, Clone, Copy)]
pub struct JudgeConfig {
    /// How many connections it serves at the same time; others wait to be accepted.
    pub connections: usize,
    /// How many requests one connection may bring.
    pub requests: usize,
    /// The time that a client has for a request, and for taking the answer.
    pub timeout: Duration,
}

impl Default for JudgeConfig {
    /// 1,024 connections, 100 requests each, 10 seconds.
    fn default() -> Self {
        Self { connections: 1024, requests: 100, timeout: Duration::from_secs(10) }
    }
}

/// Answers how requests look.
#[derive(Debug, Clone)]
pub struct Judge {
    config: JudgeConfig,
    clock: Clock,
    tls: Option<JudgeTls>,
}

impl Judge {
    /// A judge.
    #[must_use]
    pub const fn new(config: JudgeConfig, clock: Clock) -> Self {
        Self { config, clock, tls: None }
    }

    /// The same that serves TLS too, on the same port.
    #[must_use]
    pub fn with_tls(self, tls: JudgeTls) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// Serves until `shutdown` is done, then ends all connections: an answer takes no time worth waiting for.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        let permits = Arc::new(Semaphore::new(self.config.connections.max(1)));
        let mut sessions = JoinSet::new();
        tokio::pin!(shutdown);
        loop {
            let accepted = async {
                let permit = Arc::clone(&permits).acquire_owned().await;
                (permit, listener.accept().await)
            };
            tokio::select! {
                () = &mut shutdown => return,
                Some(_) = sessions.join_next() => {}
                (permit, accepted) = accepted => match accepted {
                    Ok((stream, peer)) => {
                        let judge = self.clone();
                        sessions.spawn(async move {
                            judge.welcome(stream, peer).await;
                            drop(permit);
                        });
                    }
                    Err(error) => {
                        tracing::warn!(judge.error = %error, "the judge cannot accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    }

    /// Serves a connection in the open or in TLS, by its first byte.
    async fn welcome(&self, stream: TcpStream, peer: SocketAddr) {
        // An answer is one small write: waiting for more would only delay it. It works without, too.
        stream.set_nodelay(true).ok();
        let Some(tls) = &self.tls else { return self.session(stream, peer).await };
        let mut first = [0];
        match timeout(self.config.timeout, stream.peek(&mut first)).await {
            Ok(Ok(1)) if first == [HANDSHAKE] => {
                if let Ok(Ok(stream)) = timeout(self.config.timeout, tls.acceptor.accept(stream)).await {
                    self.session(stream, peer).await;
                }
            }
            Ok(Ok(1)) => self.session(stream, peer).await,
            Ok(_) | Err(_) => {}
        }
    }

    async fn session(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin, peer: SocketAddr) {
        let mut buffer = BytesMut::new();
        for left in (0..self.config.requests).rev() {
            let reading = http1::read_request(&mut stream, &mut buffer, MAX_HEAD);
            let Ok(request) = timeout(self.config.timeout, reading).await else { return };
            let (reply, keep) = match request {
                Ok(None) | Err(HeadError::Closed | HeadError::Io(_)) => return,
                Ok(Some(request)) => (self.reply(&request, peer.ip()), left > 0 && keeps_alive(&request)),
                Err(error @ (HeadError::TooLarge | HeadError::Malformed(_))) => {
                    (Reply::text(400, format!("bad request: {error}\n")), false)
                }
            };
            let writing = reply.write(&mut stream, keep);
            let Ok(Ok(())) = timeout(self.config.timeout, writing).await else { return };
            if !keep {
                return;
            }
        }
    }

    fn reply(&self, request: &RequestHead, peer: IpAddr) -> Reply {
        let has_body = !matches!(request.body(), Ok(BodyLength::None | BodyLength::Exact(0)));
        if has_body {
            return Reply::text(413, "a judge takes no body\n");
        }
        let is_head = request.method == "HEAD";
        if request.method != "GET" && !is_head {
            return Reply::text(405, "a judge answers GET and HEAD\n");
        }
        let Some(url) = url_of(&request.target) else {
            return Reply::text(400, "bad request: the target is no path\n");
        };
        let reply = match url.path() {
            "/" => Reply::text(200, HELP),
            "/judge" => self.sighting(request, &url, peer),
            _ => Reply::text(404, "there is nothing here; see /\n"),
        };
        Reply { is_head, ..reply }
    }

    fn sighting(&self, request: &RequestHead, url: &Url, peer: IpAddr) -> Reply {
        let nonce = url.query_pairs().find(|(key, _)| key == "nonce").map(|(_, value)| value.into_owned());
        let nonce = nonce.unwrap_or_default();
        let field = request.headers.get_str(NONCE_FIELD).unwrap_or_default();
        if nonce.len() > MAX_NONCE || field.len() > MAX_NONCE {
            return Reply::text(400, "a nonce has at most 128 bytes\n");
        }
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let answer = Answer {
            proof: proof(&nonce, field),
            nonce,
            // An IPv4 client of a socket for both families is an IPv4 client.
            peer: peer.to_canonical(),
            method: request.method.to_string(),
            headers: request.headers.iter().map(|(name, value)| (name.to_owned(), text(value))).collect(),
            at: self.clock.now().as_micros(),
            certificate: self.tls.as_ref().map(|tls| tls.fingerprint.to_string()),
        };
        match serde_json::to_vec(&answer) {
            Ok(body) => Reply { body, content_type: "application/json", ..Reply::text(200, "") },
            Err(_) => Reply::text(500, "the answer cannot be written\n"),
        }
    }
}

/// Whether another request may follow: only where there can be no doubt about it.
fn keeps_alive(request: &RequestHead) -> bool {
    request.minor_version == 1
        && request.keeps_alive()
        && matches!(request.body(), Ok(BodyLength::None | BodyLength::Exact(0)))
}

/// The URL that a request's target stands for: a path, or the absolute form that proxies are sent.
fn url_of(target: &str) -> Option<Url> {
    let absolute = if target.starts_with('/') { format!("http://judge{target}") } else { target.to_owned() };
    Url::parse(&absolute).ok().filter(|url| url.scheme() == "http")
}

struct Reply {
    status: u16,
    content_type: &'static str,
    body: Vec<u8>,
    is_head: bool,
}

impl Reply {
    fn text(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: body.into(), is_head: false }
    }

    async fn write(self, stream: &mut (impl AsyncWrite + Unpin), keep: bool) -> std::io::Result<()> {
        let reason = match self.status {
            200 => "OK",
            400 => "Bad Request",
            404 => "Not Found",
            405 => "Method Not Allowed",
            413 => "Content Too Large",
            _ => "Internal Server Error",
        };
        let mut headers = Headers::new();
        let length = self.body.len().to_string();
        let fields = [
            ("Content-Type", self.content_type),
            ("Content-Length", length.as_str()),
            ("Cache-Control", "no-store"),
            ("Connection", if keep { "keep-alive" } else { "close" }),
        ];
        for (name, value) in fields {
            // Refused for a control character only, and none of these has one.
            headers.append(name, value).ok();
        }
        let mut bytes = Vec::with_capacity(256 + self.body.len());
        let head = ResponseHead { status: self.status, reason: reason.into(), minor_version: 1, headers };
        head.write_to(&mut bytes);
        if !self.is_head {
            bytes.extend_from_slice(&self.body);
        }
        stream.write_all(&bytes).await?;
        if keep { Ok(()) } else { stream.shutdown().await }
    }
}

#[cfg(test)]
mod tests;
