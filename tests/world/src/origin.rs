//! The final server: an HTTP/1.1 and HTTPS origin whose routes make every kind of answer that a relay has to carry,
//! and that remembers who asked for what.
//!
//! | route | answer |
//! |---|---|
//! | `/` | a short text |
//! | `/ip` | the peer's IP address as text |
//! | `/headers`, `/echo` | JSON: scheme, method, target, headers in order, body length, peer |
//! | `/bytes/N`, `/chunked/N` | N bytes of [`pattern`], with a length or chunked |
//! | `/status/CODE` | that status; to `Expect: 100-continue` at once, without the body |
//! | `/delay/MS` | a short text after a while |
//! | `/drip/N/MS` | N bytes, one each MS milliseconds |
//! | `POST /upload` | JSON: length and [`fnv1a`] of the body, which is streamed |
//! | `/close` | half of the promised body, then the end of the connection |
//! | `/lists/NAME` | what [`Origin::publish`] put there |

mod ledger;
mod pattern;
mod reply;
mod route;
mod session;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::ca::TestCa;
use crate::listen::Listening;
use ledger::Ledger;
pub use pattern::{fnv1a, pattern};

/// How long a client may take for its TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// Where an origin listens.
#[derive(Debug, Clone)]
pub struct OriginOptions {
    /// The address for HTTP; port 0 is any.
    pub http: SocketAddr,
    /// The address for HTTPS with its certificate; none for an origin without TLS.
    pub https: Option<(SocketAddr, Arc<ServerConfig>)>,
}

/// A running origin; dropping it closes its ports and its connections.
#[derive(Debug)]
pub struct Origin {
    http: Listening,
    https: Option<Listening>,
    ledger: Arc<Ledger>,
}

impl Origin {
    /// Starts an origin on `127.0.0.1` with HTTP and HTTPS, its certificate signed by `ca` for the loopback names and
    /// `origin.test`.
    ///
    /// # Errors
    /// When a port cannot be bound.
    pub async fn start(ca: &TestCa) -> io::Result<Self> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self::with(OriginOptions {
            http: any,
            https: Some((any, ca.server_config(&["origin.test", "*.origin.test"])?)),
        })
        .await
    }

    /// Starts an origin as the options say.
    ///
    /// # Errors
    /// When an address is not a loopback address or cannot be bound.
    // Asynchronous because sockets register with the runtime that it must be called in.
    pub async fn with(options: OriginOptions) -> io::Result<Self> {
        let ledger = Arc::new(Ledger::default());
        let shared = Arc::clone(&ledger);
        let http = Listening::bind(options.http, move |stream, peer| {
            session::run(stream, peer, session::Scheme::Http, Arc::clone(&shared))
        })?;
        let https = match options.https {
            None => None,
            Some((addr, config)) => {
                let acceptor = TlsAcceptor::from(config);
                let shared = Arc::clone(&ledger);
                Some(Listening::bind(addr, move |stream, peer| {
                    secure(acceptor.clone(), stream, peer, Arc::clone(&shared))
                })?)
            }
        };
        Ok(Self { http, https, ledger })
    }

    /// The address that speaks HTTP.
    #[must_use]
    pub fn http_addr(&self) -> SocketAddr {
        self.http.addr()
    }

    /// The address that speaks HTTPS, if any.
    #[must_use]
    pub fn https_addr(&self) -> Option<SocketAddr> {
        self.https.as_ref().map(Listening::addr)
    }

    /// `http://ADDRESS` and `path`, which begins with a slash.
    #[must_use]
    pub fn http_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http.addr())
    }

    /// `https://ADDRESS` and `path`; none for an origin without TLS.
    #[must_use]
    pub fn https_url(&self, path: &str) -> Option<String> {
        self.https_addr().map(|addr| format!("https://{addr}{path}"))
    }

    /// Puts a document at `/lists/NAME`, or replaces the one that is there. At most 1,000 documents are kept; one
    /// more is ignored.
    pub fn publish(&self, name: &str, content_type: &str, bytes: impl Into<Vec<u8>>) {
        self.ledger.publish(name, content_type, bytes.into());
    }

    /// Requests whose head was read, since the start.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.ledger.total()
    }

    /// Requests for a path (without its query). Only the first 10,000 different paths are told apart.
    #[must_use]
    pub fn requests_for(&self, path: &str) -> u64 {
        self.ledger.by_path(path)
    }

    /// Requests from a peer's address: the upstream's, or the client's own when there is none between. Only the first
    /// 10,000 different addresses are told apart.
    #[must_use]
    pub fn requests_from(&self, peer: IpAddr) -> u64 {
        self.ledger.by_peer(peer)
    }

    /// The counters as a JSON object.
    #[must_use]
    pub fn counters_json(&self) -> String {
        self.ledger.to_json()
    }
}

async fn secure(acceptor: TlsAcceptor, stream: TcpStream, peer: SocketAddr, ledger: Arc<Ledger>) {
    if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        session::run(stream, peer, session::Scheme::Https, ledger).await;
    }
}
