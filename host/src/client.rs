//! One HTTP request through the gateway, over any stream that leads to it.
//!
//! For `get` the stream is in memory, so that no port is opened; for the demonstration it is TCP.

use std::fmt;
use std::sync::Arc;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue};
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};

/// What the gateway says when it has no answer of an origin.
#[derive(Debug)]
pub struct Refusal {
    /// The status: 502, 503 or 504.
    pub status: u16,
    /// The field `Proxy-Status` (RFC 9209).
    pub proxy_status: String,
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The gateway found nobody who could serve it.
    #[error("{0}")]
    Refused(Refusal),
    /// The URL cannot be requested.
    #[error("{0:?} is no http:// or https:// URL")]
    Url(String),
    /// The request cannot be built.
    #[error("the request cannot be built: {0}")]
    Request(#[from] hyper::http::Error),
    /// TLS with the origin failed.
    #[error("TLS with the origin failed: {0}")]
    Tls(#[source] std::io::Error),
    /// HTTP failed.
    #[error("HTTP failed: {0}")]
    Http(#[from] hyper::Error),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the gateway answered {}: {}", self.status, self.proxy_status)
    }
}

/// A request: method, URL, header fields, body.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The method.
    pub method: Method,
    /// An `http://` or `https://` URL.
    pub url: Uri,
    /// Header fields.
    pub headers: Vec<(String, String)>,
    /// The body; empty for none.
    pub body: Bytes,
    /// Header fields that are for the gateway, which keeps them from the origin.
    pub wishes: Vec<(&'static str, String)>,
}

/// What leads to the gateway, or, inside a tunnel, to the origin.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Wire for T {}

/// Sends a request to the gateway at the other end of `wire`, through CONNECT for `https://`.
///
/// # Errors
/// When there is no answer of the origin.
pub async fn send(wire: impl Wire, asked: &Asked, tls: &Arc<ClientConfig>) -> Result<Response<Incoming>, ClientError> {
    let authority = authority(&asked.url)?;
    if asked.url.scheme_str() != Some("https") {
        let mut request = request(asked, &asked.url)?;
        for (name, value) in &asked.wishes {
            let value = HeaderValue::try_from(value).map_err(hyper::http::Error::from)?;
            request.headers_mut().append(*name, value);
        }
        let response = exchange(wire, request).await?;
        return match refusal(&response) {
            Some(refusal) => Err(ClientError::Refused(refusal)),
            None => Ok(response),
        };
    }
    let mut connect = Request::connect(&authority).header(HOST, &authority);
    for (name, value) in &asked.wishes {
        connect = connect.header(*name, value);
    }
    let connect = connect.body(Full::default())?;
    let response = exchange(wire, connect).await?;
    if !response.status().is_success() {
        let refusal = refusal(&response);
        let status = response.status().as_u16();
        return Err(ClientError::Refused(refusal.unwrap_or(Refusal { status, proxy_status: String::new() })));
    }
    let tunnel = TokioIo::new(hyper::upgrade::on(response).await?);
    send_through_tunnel(tunnel, asked, tls).await
}

/// Sends a request to the origin at the other end of a tunnel.
///
/// # Errors
/// When there is no answer of the origin.
pub async fn send_through_tunnel(
    tunnel: impl Wire,
    asked: &Asked,
    tls: &Arc<ClientConfig>,
) -> Result<Response<Incoming>, ClientError> {
    let path =
        asked.url.path_and_query().map_or("/", |path| path.as_str()).parse().map_err(hyper::http::Error::from)?;
    let request = request(asked, &path)?;
    if asked.url.scheme_str() != Some("https") {
        return exchange(tunnel, request).await;
    }
    let host = asked.url.host().unwrap_or_default();
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
        .map_err(|_| ClientError::Url(asked.url.to_string()))?;
    let connector = tokio_rustls::TlsConnector::from(Arc::clone(tls));
    let stream = connector.connect(name, tunnel).await.map_err(ClientError::Tls)?;
    exchange(stream, request).await
}

async fn exchange(wire: impl Wire, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, ClientError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(wire)).await?;
    // Ends with the response's body, or with the upgrade of a CONNECT: it owns nothing else.
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(error = %error, "connection to the gateway ended early");
        }
    });
    Ok(sender.send_request(request).await?)
}

/// Host and port of a URL.
///
/// # Errors
/// When it has no host, or another scheme than `http` and `https`.
pub fn authority(url: &Uri) -> Result<String, ClientError> {
    let port = match url.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        _ => return Err(ClientError::Url(url.to_string())),
    };
    let host = url.host().filter(|host| !host.is_empty()).ok_or_else(|| ClientError::Url(url.to_string()))?;
    Ok(format!("{host}:{}", url.port_u16().unwrap_or(port)))
}

fn request(asked: &Asked, target: &Uri) -> Result<Request<Full<Bytes>>, ClientError> {
    let mut request = Request::builder().method(&asked.method).uri(target);
    let has = |name: &str| asked.headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
    if !has("host") {
        request = request.header(
            HOST,
            asked.url.authority().map_or("", |authority| {
                // Credentials in a URL are for the Authorization field, and `Host` has none.
                authority.as_str().rsplit('@').next().unwrap_or_default()
            }),
        );
    }
    if !has("user-agent") {
        request = request.header("user-agent", concat!("proxywhirl/", env!("CARGO_PKG_VERSION")));
    }
    if !has("accept") {
        request = request.header("accept", "*/*");
    }
    for (name, value) in &asked.headers {
        request = request.header(name, value);
    }
    Ok(request.body(Full::new(asked.body.clone()))?)
}

/// What the gateway itself says, as against an origin: it names itself in `Proxy-Status`.
fn refusal(response: &Response<Incoming>) -> Option<Refusal> {
    let proxy_status = response.headers().get("proxy-status")?.to_str().ok()?;
    let is_ours = proxy_status.starts_with("proxywhirl;") && proxy_status.contains("error=");
    is_ours.then(|| Refusal { status: response.status().as_u16(), proxy_status: proxy_status.to_owned() })
}
