//! Lists behind URLs.
//!
//! Redirects are followed here, and not by reqwest, because reqwest would send a source's own header
//! fields, which may hold a vendor's key, to wherever a list redirects.

use std::error::Error;
use std::time::Duration;

use proxywhirl_core::Secret;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::{Client, Response, redirect};
use url::Url;

use super::{Body, Cause, FetcherConfig};

/// As many as browsers' and curl's users are used to, within a factor of two.
const MAX_REDIRECTS: usize = 10;
/// A server that does not even accept is given up before the whole time is spent on it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const USER_AGENT: &str = concat!("proxywhirl/", env!("CARGO_PKG_VERSION"));

/// Speaks HTTP with those who publish lists.
#[derive(Debug)]
pub(super) struct Http {
    client: Client,
}

impl Http {
    pub(super) fn new(config: &FetcherConfig) -> Result<Self, Cause> {
        let tls = proxywhirl_net::tls::client_config(&config.tls).map_err(|error| Cause::Http(error.to_string()))?;
        let mut tls = rustls::ClientConfig::clone(&tls);
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut builder = Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent(USER_AGENT)
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(redirect::Policy::none());
        if config.ignore_system_proxy {
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|error| Cause::Http(format!("HTTP client: {}", root(&error))))?;
        Ok(Self { client })
    }

    /// Reads what is behind a URL into `body`, and says its media type.
    pub(super) async fn get(
        &self,
        url: &Url,
        headers: &[(String, Secret)],
        body: &mut Body<'_>,
    ) -> Result<String, Cause> {
        let own_fields = fields(headers)?;
        let mut place = url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let is_home = place.origin() == url.origin();
            let extra = if is_home { own_fields.clone() } else { HeaderMap::new() };
            let request = self.client.get(place.clone()).header(ACCEPT, "*/*").headers(extra);
            let response = request.send().await.map_err(describe)?;
            match next(&response, &place)? {
                Some(next) => place = next,
                None => return read(response, body).await,
            }
        }
        Err(Cause::Redirects(MAX_REDIRECTS))
    }
}

fn fields(headers: &[(String, Secret)]) -> Result<HeaderMap, Cause> {
    let mut fields = HeaderMap::new();
    for (name, value) in headers {
        let refused = || Cause::Header(name.clone());
        let key: HeaderName = name.parse().map_err(|_| refused())?;
        let mut value = HeaderValue::from_str(value.expose()).map_err(|_| refused())?;
        value.set_sensitive(true);
        fields.append(key, value);
    }
    Ok(fields)
}

/// Where a redirect leads; none when it is none.
fn next(response: &Response, place: &Url) -> Result<Option<Url>, Cause> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let target = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let target = target.and_then(|target| place.join(target).ok());
    match target {
        Some(url) if matches!(url.scheme(), "http" | "https") => Ok(Some(url)),
        Some(url) => Err(Cause::Http(format!("redirects to {}://, which nothing fetches", url.scheme()))),
        None => Err(Cause::Http("redirects to nowhere: the answer has no valid Location".to_owned())),
    }
}

async fn read(mut response: Response, body: &mut Body<'_>) -> Result<String, Cause> {
    if !response.status().is_success() {
        return Err(Cause::Status(response.status().to_string()));
    }
    let content_type = response.headers().get(CONTENT_TYPE);
    let content_type = content_type.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    // Unknown for what comes compressed or chunked: that is counted while it is read.
    body.expect(response.content_length().unwrap_or(0))?;
    while let Some(chunk) = response.chunk().await.map_err(describe)? {
        body.push(&chunk)?;
    }
    Ok(content_type.unwrap_or_default())
}

/// A failure in words, without the URL, which may hold a key.
fn describe(error: reqwest::Error) -> Cause {
    let reason = root(&error);
    Cause::Http(if error.is_connect() {
        format!("cannot connect: {reason}")
    } else if error.is_decode() {
        format!("the answer cannot be decompressed: {reason}")
    } else if error.is_body() {
        format!("the answer broke off: {reason}")
    } else {
        reason
    })
}

/// The last cause of an error, which says most.
fn root(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
