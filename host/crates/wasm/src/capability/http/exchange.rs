//! Sending a request and reading its answer, redirects included, each of which is checked as if it were
//! the first.

use std::net::IpAddr;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, COOKIE, HeaderMap, LOCATION};
use reqwest::{Client, Method, Response, StatusCode, redirect};
use rustls::{ClientConfig, RootCertStore};
use tokio::runtime::Runtime;
use url::{Host, Url};

use super::resolver::{Checked, Forbidden, check};
use super::{MAX_BODY, MAX_TEXT, Order, place};
use crate::bindings::shared::proxywhirl::plugin::http::Error;
use crate::capability::pass::Pass;
use crate::logbook::cut;

/// Redirects that are followed.
const MAX_REDIRECTS: usize = 5;
/// Header fields of an answer.
const MAX_FIELDS: usize = 128;
/// Connections to a server that are kept for the next request, and for how long.
const IDLE: (usize, Duration) = (2, Duration::from_secs(30));
/// What the host calls itself, unless the plugin says otherwise.
const USER_AGENT: &str = concat!("proxywhirl/", env!("CARGO_PKG_VERSION"));

/// The way to web servers, which all plugins share. Nothing of it is made before it is needed.
pub(crate) struct Web {
    tls: Option<Arc<ClientConfig>>,
    ready: OnceLock<Result<Ready, String>>,
}

struct Ready {
    /// Runs the exchanges. Always there, but while it is dropped.
    runtime: Option<Runtime>,
    clients: Clients,
}

#[derive(Clone)]
struct Clients {
    /// For servers that may only have public addresses.
    public: Client,
    /// For servers that were granted with private ones. Not the same connections: what was checked for
    /// one is not good enough for the other.
    private: Client,
}

/// An answer.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Drop for Ready {
    fn drop(&mut self) {
        // A look-up of a name cannot be interrupted, and nobody should wait for it.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Web {
    pub(crate) const fn new(tls: Option<Arc<ClientConfig>>) -> Self {
        Self { tls, ready: OnceLock::new() }
    }

    /// Sends a request wherever the pass allows, and waits for that no longer than `time`. May be called
    /// on any thread.
    pub(super) fn send(&self, order: Order, pass: Arc<Pass>, time: Duration) -> Result<Answer, Error> {
        let ready = self.ready.get_or_init(|| Ready::new(self.tls.clone()));
        let ready = ready.as_ref().map_err(|reason| Error::Unreachable(reason.clone()))?;
        let runtime = ready.runtime.as_ref().ok_or(Error::Timeout)?;
        let clients = ready.clients.clone();
        let (sender, receiver) = sync_channel(1);
        let task = runtime.spawn(async move {
            let answer = exchange(&clients, order, &pass).await;
            // Nobody waits any more when its time is over.
            drop(sender.send(answer));
        });
        let answer = receiver.recv_timeout(time);
        task.abort();
        match answer {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => Err(Error::Timeout),
            Err(RecvTimeoutError::Disconnected) => Err(Error::Unreachable("the exchange ended early".to_owned())),
        }
    }
}

impl Ready {
    fn new(tls: Option<Arc<ClientConfig>>) -> Result<Self, String> {
        let tls = tls.map_or_else(machines, Ok)?;
        let client = |private| {
            Client::builder()
                .tls_backend_preconfigured(ClientConfig::clone(&tls))
                .no_proxy()
                .redirect(redirect::Policy::none())
                .referer(false)
                .http1_only()
                .no_gzip()
                .no_brotli()
                .no_deflate()
                .user_agent(USER_AGENT)
                .pool_max_idle_per_host(IDLE.0)
                .pool_idle_timeout(IDLE.1)
                .dns_resolver(Checked { private })
                .build()
                .map_err(|error| format!("no HTTP client: {}", root(&error)))
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(8)
            .thread_name("plugin-http")
            .enable_all()
            .build()
            .map_err(|error| format!("no thread for requests: {error}"))?;
        Ok(Self { runtime: Some(runtime), clients: Clients { public: client(false)?, private: client(true)? } })
    }
}

/// TLS with the machine's certificate authorities, or Mozilla's where it has none.
fn machines() -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

async fn exchange(clients: &Clients, mut order: Order, pass: &Pass) -> Result<Answer, Error> {
    for _ in 0..=MAX_REDIRECTS {
        let client = permitted(clients, &order.url, pass)?;
        let request = client
            .request(order.method.clone(), order.url.clone())
            .headers(order.headers.clone())
            .body(order.body.clone());
        let response = request.send().await.map_err(failed)?;
        match next(&response, &order)? {
            Some(next) => order = next,
            None => return read(response, &order.method).await,
        }
    }
    Err(Error::Unreachable(format!("more than {MAX_REDIRECTS} redirects")))
}

/// The client for a URL, if a request may go there.
fn permitted<'a>(clients: &'a Clients, url: &Url, pass: &Pass) -> Result<&'a Client, Error> {
    let denied = |reason: &str| Error::Denied(format!("{}: {reason}", url.origin().ascii_serialization()));
    let private = pass.http(url).map_err(denied)?;
    // An address needs no resolver, so nobody else would look at it.
    let address = match url.host() {
        Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
        Some(Host::Domain(_)) | None => None,
    };
    if let Some(address) = address {
        check(address, private).map_err(|forbidden| denied(&forbidden.to_string()))?;
    }
    Ok(if private { &clients.private } else { &clients.public })
}

/// The request that a redirect asks for (RFC 9110 §15.4), if the answer is one.
fn next(response: &Response, order: &Order) -> Result<Option<Order>, Error> {
    let status = response.status();
    let followed = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
    let Some(location) = response.headers().get(LOCATION).filter(|_| followed) else { return Ok(None) };
    let malformed = |reason: String| Error::Unreachable(format!("a redirect to nowhere: {reason}"));
    let text = std::str::from_utf8(location.as_bytes()).map_err(|error| malformed(error.to_string()))?;
    let joined = order.url.join(text).map_err(|error| malformed(error.to_string()))?;
    let url = place(joined.as_str()).map_err(malformed)?;
    let mut next = Order { url, ..order.clone() };
    let becomes_get = match status {
        StatusCode::SEE_OTHER => order.method != Method::HEAD,
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => order.method == Method::POST,
        _ => false,
    };
    if becomes_get {
        next.method = Method::GET;
        next.body = Bytes::new();
        for field in [CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LANGUAGE] {
            next.headers.remove(field);
        }
    }
    if next.url.origin() != order.url.origin() {
        // What proves who asks is for the server that it was meant for.
        next.headers.remove(AUTHORIZATION);
        next.headers.remove(COOKIE);
    }
    Ok(Some(next))
}

async fn read(mut response: Response, method: &Method) -> Result<Answer, Error> {
    let limit = u64::try_from(MAX_BODY).unwrap_or(u64::MAX);
    if *method != Method::HEAD && response.content_length().is_some_and(|length| length > limit) {
        return Err(Error::Size);
    }
    if response.headers().len() > MAX_FIELDS {
        return Err(Error::Size);
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > MAX_BODY {
            return Err(Error::Size);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status: response.status().as_u16(), headers: std::mem::take(response.headers_mut()), body })
}

/// Why there is no answer: an address that was refused is a denial and no failure of the network.
fn failed(error: reqwest::Error) -> Error {
    let error = error.without_url();
    let mut link: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(at) = link {
        if let Some(forbidden) = at.downcast_ref::<Forbidden>() {
            return Error::Denied(forbidden.to_string());
        }
        link = at.source();
    }
    if error.is_timeout() { Error::Timeout } else { Error::Unreachable(root(&error)) }
}

/// The innermost reason, which is the one that says something.
fn root(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    cut(&innermost.to_string(), MAX_TEXT).to_owned()
}
