//! Lists behind URLs.
//!
//! Redirects are followed here, and not by reqwest, because reqwest would send a source's own header
//! fields, which may hold a vendor's key, to wherever a list redirects, and because each place on the
//! way has to be one that may be asked ([`guard`]).
//!
//! A list that has not changed is not sent again: what is in the cache says which one it was, by ETag and Last-Modified
//! (RFC 9110 §13), and 304 means that one. A file in gzip is kept as it came, which takes the least room.

mod client;
mod guard;
mod hosts;
mod retry;

use backon::Retryable;
use proxywhirl_core::Secret;
use reqwest::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    LAST_MODIFIED, LOCATION,
};
use reqwest::{Client, Response, StatusCode};
use tokio::time::Instant;
use url::Url;

use super::body::Body;
use super::cache::{self, Cache, Kept};
use super::{Cause, FetcherConfig, Limits, gzip};
use client::describe;
pub(super) use guard::Reach;
use hosts::Hosts;
pub use hosts::Manners;
use retry::{Again, Failed};

/// As many as browsers' and curl's users are used to, within a factor of two.
const MAX_REDIRECTS: usize = 10;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask<'a> {
    pub(super) url: &'a Url,
    /// The source's own URL: its origin is the only one that sees `headers`.
    pub(super) home: &'a Url,
    pub(super) headers: &'a [(String, Secret)],
    pub(super) reach: Reach,
}

/// What came.
#[derive(Debug)]
pub(super) struct Answer {
    /// The media type.
    pub(super) content_type: String,
    /// The body, decompressed.
    pub(super) body: Vec<u8>,
    /// Where it was found, after redirects.
    pub(super) place: Url,
    /// Whether the server said that what is in the cache is still right.
    pub(super) is_unchanged: bool,
}

/// Speaks HTTP with those who publish lists.
#[derive(Debug)]
pub(super) struct Http {
    /// For sources that may be anywhere, and for all others.
    open: Client,
    guarded: Client,
    hosts: Hosts,
    cache: Option<Cache>,
    limits: Limits,
    retries: usize,
}

impl Http {
    pub(super) fn new(config: &FetcherConfig) -> Result<Self, Cause> {
        Ok(Self {
            open: client::build(config, Reach::Anywhere)?,
            guarded: client::build(config, Reach::Internet)?,
            hosts: Hosts::new(config.manners),
            cache: config.cache.clone(),
            limits: config.limits,
            retries: config.retries,
        })
    }

    /// Reads what is behind a URL. The caller sees to the deadline.
    pub(super) async fn get(&self, ask: Ask<'_>, on_bytes: &(dyn Fn(u64) + Sync)) -> Result<Answer, Cause> {
        let fields = fields(ask.headers)?;
        let name = cache::name("page", ask.url, ask.headers);
        let kept = self.kept(&name).await;
        let deadline = Instant::now() + self.limits.timeout;
        let attempt = || self.attempt(ask, &fields, kept.as_ref(), on_bytes);
        let attempts = attempt.retry(retry::pauses(self.retries));
        let attempts = attempts.when(|failed: &Failed| failed.again != Again::Never);
        let attempts = attempts.notify(|failed, pause| {
            tracing::debug!(reason = %failed.cause, ?pause, "a list is asked for again after a pause");
        });
        let answered = attempts.adjust(|failed, planned| failed.pause(planned, deadline)).await;
        let (fresh, answer) = answered.map_err(|failed| failed.cause)?;
        if answer.is_unchanged {
            self.used(name).await;
        } else if let Some(fresh) = fresh {
            self.keep(name, fresh).await;
        }
        Ok(answer)
    }

    /// One request with its redirects: what is to be kept, and the answer.
    async fn attempt(
        &self,
        ask: Ask<'_>,
        own_fields: &HeaderMap,
        kept: Option<&Kept>,
        on_bytes: &(dyn Fn(u64) + Sync),
    ) -> Result<(Option<Kept>, Answer), Failed> {
        let client = if ask.reach == Reach::Anywhere { &self.open } else { &self.guarded };
        let mut place = ask.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            ask.reach.permit(&place)?;
            let _turn = self.hosts.enter(place.host_str().unwrap_or_default()).await;
            let is_home = place.origin() == ask.home.origin();
            let extra = if is_home { own_fields.clone() } else { HeaderMap::new() };
            let request = client.get(place.clone()).header(ACCEPT, "*/*").headers(conditions(kept)).headers(extra);
            let response = request.send().await.map_err(|error| describe(error, self.limits.timeout))?;
            match next(&response, &place)? {
                Some(next) => place = next,
                None => return self.read(response, place, kept, on_bytes).await,
            }
        }
        Err(Cause::Redirects(MAX_REDIRECTS).into())
    }

    async fn read(
        &self,
        mut response: Response,
        place: Url,
        kept: Option<&Kept>,
        on_bytes: &(dyn Fn(u64) + Sync),
    ) -> Result<(Option<Kept>, Answer), Failed> {
        let (status, headers) = (response.status(), response.headers().clone());
        if let (StatusCode::NOT_MODIFIED, Some(kept)) = (status, kept) {
            on_bytes(kept.body.len() as u64);
            let (content_type, body) = (kept.content_type.clone(), kept.body.clone());
            return Ok((None, Answer { content_type, body, place, is_unchanged: true }));
        }
        if !status.is_success() {
            let again = retry::of_status(status, &headers);
            return Err(Failed { cause: Cause::Status(status.to_string()), again });
        }
        let mut body = Body::new(self.limits.bytes, on_bytes);
        // Unknown for what comes compressed or chunked: that is counted while it is read.
        body.expect(response.content_length().unwrap_or(0))?;
        while let Some(chunk) = response.chunk().await.map_err(|error| describe(error, self.limits.timeout))? {
            body.push(&chunk)?;
        }
        let content_type = text(&headers, &CONTENT_TYPE).unwrap_or_default();
        let body = body.into_bytes();
        let fresh = self.to_keep(&headers, &content_type, &body);
        // Before it is kept: of a file that came damaged, 304 would say for ever that it is the right one.
        let body = gzip::expanded(body, self.limits.bytes).await?;
        Ok((fresh, Answer { content_type, body, place, is_unchanged: false }))
    }

    /// What is kept under a name, expanded. What cannot be is not there: earlier versions kept files that came damaged.
    async fn kept(&self, name: &str) -> Option<Kept> {
        let (cache, name, cap) = (self.cache.clone()?, name.to_owned(), self.limits.bytes);
        let load = move || {
            let kept = cache.load(&name, cap)?;
            let body = gzip::gunzip(kept.body, cap).ok()?;
            Some(Kept { body, ..kept })
        };
        tokio::task::spawn_blocking(load).await.ok().flatten()
    }

    async fn used(&self, name: String) {
        let Some(cache) = self.cache.clone() else { return };
        // It fails only when the runtime ends: then nothing is kept.
        drop(tokio::task::spawn_blocking(move || cache.touch(&name)).await);
    }

    /// What is kept of an answer, its body as it came; none when nothing may be, or says which one it was.
    fn to_keep(&self, headers: &HeaderMap, content_type: &str, body: &[u8]) -> Option<Kept> {
        let (etag, modified) = (text(headers, &ETAG), text(headers, &LAST_MODIFIED));
        let may_be_kept = !text(headers, &CACHE_CONTROL).unwrap_or_default().to_ascii_lowercase().contains("no-store");
        if self.cache.is_none() || !may_be_kept || (etag.is_none() && modified.is_none()) {
            return None;
        }
        Some(Kept { etag, modified, content_type: content_type.to_owned(), body: body.to_vec() })
    }

    async fn keep(&self, name: String, kept: Kept) {
        let Some(cache) = self.cache.clone() else { return };
        drop(tokio::task::spawn_blocking(move || cache.store(&name, &kept)).await);
    }
}

/// What makes a request conditional.
fn conditions(kept: Option<&Kept>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let validators = kept.map(|kept| [(IF_NONE_MATCH, &kept.etag), (IF_MODIFIED_SINCE, &kept.modified)]);
    for (name, value) in validators.into_iter().flatten() {
        if let Some(value) = value.as_ref().and_then(|value| value.parse().ok()) {
            headers.insert(name, value);
        }
    }
    headers
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
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

#[cfg(test)]
mod tests;
