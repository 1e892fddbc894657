//! A source: where lists of proxies come from.
//!
//! A source is fetched to a [`Document`]: its bytes, capped, in UTF-8. What the bytes mean is for
//! parsers ([`crate::ingest`]). Whoever publishes a list is a stranger: reading stops at the cap, also
//! of what a compressed answer or file expands to; HTTP has a deadline; and no message shows a credential.
//!
//! A page that makes its list with JavaScript goes through a browser ([`render`]), if the source says so.

mod body;
pub mod cache;
mod charset;
pub mod drift;
mod error;
mod file;
mod gzip;
mod http;
mod location;
pub mod render;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use proxywhirl_core::plugin::Document;
use proxywhirl_core::{Scheme, Secret, Tags};
use proxywhirl_net::TlsConfig;
use tokio::sync::OnceCell;
use url::Url;

use body::Body;
pub use cache::Cache;
pub use error::{Cause, SourceError};
pub use gzip::gunzip;
pub use http::Manners;
use http::{Ask, Http, Reach};
pub use location::{BadLocation, Location, as_entry, masked_query};
pub use render::{Render, RenderError, Renderer};

/// Where a list comes from, and how it is to be read.
#[derive(Debug, Clone)]
pub struct Source {
    /// Its name: in messages, and in the tag `source:<name>` of what it brings.
    pub name: String,
    /// Where it is.
    pub location: Location,
    /// The parser's name; none to find out from the document.
    pub parser: Option<String>,
    /// Options for the parser, an object; null for none.
    pub options: serde_json::Value,
    /// The scheme of entries that name none; none is HTTP.
    pub default_scheme: Option<Scheme>,
    /// Labels for what it brings.
    pub tags: Tags,
    /// Whether the user vouches for it: private addresses are then allowed.
    pub trust: bool,
    /// Header fields to send. Only the origin of the URL sees them, not where it redirects to.
    pub headers: Vec<(String, Secret)>,
    /// Whether a browser makes the list.
    pub render: Render,
    /// A CSS selector: the rendered page is ready when an element matches. None is when the network is idle.
    pub wait_for: Option<String>,
    /// Which of the pages that its documents name are read too.
    pub follow: Follow,
    /// How often it is to be fetched; none for the scheduler's own opinion.
    pub interval: Option<Duration>,
}

/// Which of the other pages that a document names are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Follow {
    /// None.
    No,
    /// Those of the source's own origin.
    #[default]
    SameOrigin,
    /// All.
    Any,
}

impl Source {
    /// A source with nothing said but its location; it is named after it.
    #[must_use]
    pub fn new(location: Location) -> Self {
        Self {
            name: location.name(),
            location,
            parser: None,
            options: serde_json::Value::Null,
            default_scheme: None,
            tags: Tags::default(),
            trust: false,
            headers: Vec::new(),
            render: Render::default(),
            wait_for: None,
            follow: Follow::default(),
            interval: None,
        }
    }
}

/// How much a source may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The size of a document in bytes, after decompression and in UTF-8.
    pub bytes: u64,
    /// The time for an HTTP exchange with all its redirects and further attempts, and for a page to be rendered. A file
    /// or pipe is the user's own and may take longer.
    pub timeout: Duration,
    /// How many pages a source may have; all of them together may have `bytes`.
    pub pages: usize,
}

impl Default for Limits {
    /// 64 MiB, which is two million lines, 30 seconds, and 50 pages, of which large sites make 500 entries each.
    fn default() -> Self {
        Self { bytes: 64 * 1024 * 1024, timeout: Duration::from_secs(30), pages: 50 }
    }
}

/// How sources are fetched.
#[derive(Debug, Clone)]
pub struct FetcherConfig {
    /// How much one may cost.
    pub limits: Limits,
    /// Whom to believe in HTTPS.
    pub tls: TlsConfig,
    /// Whether to go straight, and not through the proxy that the environment names.
    pub ignore_system_proxy: bool,
    /// Where lists are kept that have a validator; none to fetch all of them anew.
    pub cache: Option<Cache>,
    /// What one host is asked at the most.
    pub manners: Manners,
    /// Attempts after the first one, of what may pass by itself.
    pub retries: usize,
    /// Names that are not looked up, with their addresses: curl's `--resolve`.
    pub names: Vec<(String, SocketAddr)>,
    /// Who renders pages.
    pub renderer: Option<Arc<dyn Renderer>>,
}

impl Default for FetcherConfig {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            tls: TlsConfig::default(),
            ignore_system_proxy: false,
            cache: None,
            manners: Manners::default(),
            retries: 2,
            names: Vec::new(),
            renderer: None,
        }
    }
}

/// A document, and what it cost.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The document.
    pub document: Document,
    /// Its size as it was read, decompressed and before its conversion to UTF-8.
    pub bytes: u64,
    /// Where it was found, after redirects; none for what has no URL.
    pub place: Option<Url>,
    /// Whether it is the one in the cache, by the server's own word.
    pub is_unchanged: bool,
}

/// Turns sources into documents.
#[derive(Debug)]
pub struct Fetcher {
    config: FetcherConfig,
    /// Made at the first HTTP source: reading the system's certificates takes longer than a file.
    http: OnceCell<Http>,
}

impl Fetcher {
    /// A fetcher that has done nothing yet.
    #[must_use]
    pub fn new(config: FetcherConfig) -> Self {
        Self { config, http: OnceCell::new() }
    }

    /// How much a source may cost.
    pub(crate) const fn limits(&self) -> Limits {
        self.config.limits
    }

    /// Where lists are kept.
    pub(crate) const fn cache(&self) -> Option<&Cache> {
        self.config.cache.as_ref()
    }

    /// Fetches a source; in a browser, if it says so. `on_bytes` hears how many bytes were read so far.
    ///
    /// # Errors
    /// When it cannot be read in full, or costs more than it may.
    pub async fn fetch(&self, source: &Source, on_bytes: &(dyn Fn(u64) + Sync)) -> Result<Fetched, SourceError> {
        let read = match (&source.location, source.render) {
            (Location::Http(url), Render::JavaScript) => self.rendered(source, url).await,
            (Location::Http(url), Render::Static | Render::Auto) => self.page(source, url, on_bytes).await,
            (Location::Stdin | Location::File(_) | Location::Inline(_), _) => self.local(source, on_bytes).await,
        };
        read.map_err(|cause| error(source, source.location.to_string(), cause))
    }

    /// Fetches another page of a source.
    pub(crate) async fn fetch_page(
        &self,
        source: &Source,
        url: &Url,
        on_bytes: &(dyn Fn(u64) + Sync),
    ) -> Result<Fetched, SourceError> {
        let read = match source.render {
            Render::JavaScript => self.rendered(source, url).await,
            Render::Static | Render::Auto => self.page(source, url, on_bytes).await,
        };
        read.map_err(|cause| error(source, location::redact_url(url), cause))
    }

    /// Renders a source's first page, whatever the source says.
    pub(crate) async fn render(&self, source: &Source) -> Result<Fetched, SourceError> {
        let Location::Http(url) = &source.location else {
            let cause = RenderError::new("only what has a URL can be rendered").into();
            return Err(error(source, source.location.to_string(), cause));
        };
        self.rendered(source, url).await.map_err(|cause| error(source, source.location.to_string(), cause))
    }

    async fn local(&self, source: &Source, on_bytes: &(dyn Fn(u64) + Sync)) -> Result<Fetched, Cause> {
        let mut body = Body::new(self.config.limits.bytes, on_bytes);
        match &source.location {
            Location::Stdin => file::read_stdin(&mut body).await?,
            Location::File(path) => file::read(path, &mut body).await?,
            Location::Inline(text) => body.push(text.expose().as_bytes())?,
            Location::Http(_) => {}
        }
        let url = source.location.to_string();
        let body = gzip::expanded(body.into_bytes(), self.config.limits.bytes).await?;
        self.fetched(source, url, "", body)
    }

    async fn page(&self, source: &Source, url: &Url, on_bytes: &(dyn Fn(u64) + Sync)) -> Result<Fetched, Cause> {
        let timeout = self.config.limits.timeout;
        let http = self.http.get_or_try_init(async || Http::new(&self.config)).await?;
        let ask = Ask { url, home: home(source, url), headers: &source.headers, reach: Reach::of(source) };
        let answer = tokio::time::timeout(timeout, http.get(ask, on_bytes)).await;
        let answer = answer.map_err(|_| Cause::Timeout(timeout))??;
        let fetched = self.fetched(source, location::redact_url(url), &answer.content_type, answer.body)?;
        Ok(Fetched { place: Some(answer.place), is_unchanged: answer.is_unchanged, ..fetched })
    }

    async fn rendered(&self, source: &Source, url: &Url) -> Result<Fetched, Cause> {
        let renderer = self.config.renderer.as_ref();
        let renderer =
            renderer.ok_or_else(|| RenderError::new("the page has to be rendered, and there is no browser"))?;
        let Limits { bytes, timeout, .. } = self.config.limits;
        let is_home = home(source, url).origin() == url.origin();
        let page = render::Page {
            url: url.clone(),
            headers: if is_home { source.headers.clone() } else { Vec::new() },
            wait_for: source.wait_for.clone(),
            allow_private: Reach::of(source) == Reach::Anywhere,
            bytes,
            timeout,
        };
        let rendered = renderer.render(&page).await?;
        let body = rendered.html.into_bytes();
        let fetched = self.fetched(source, location::redact_url(url), "text/html; charset=utf-8", body)?;
        Ok(Fetched { place: Some(rendered.url), ..fetched })
    }

    fn fetched(&self, source: &Source, url: String, content_type: &str, body: Vec<u8>) -> Result<Fetched, Cause> {
        let (bytes, cap) = (body.len() as u64, self.config.limits.bytes);
        let text = charset::to_utf8(body, content_type);
        if text.len() as u64 > cap {
            return Err(Cause::TooLarge { cap });
        }
        Ok(Fetched { document: document(source, url, content_type, text), bytes, place: None, is_unchanged: false })
    }
}

fn error(source: &Source, location: String, cause: Cause) -> SourceError {
    SourceError { name: source.name.clone(), location, cause }
}

/// Whose origin may see the source's header fields.
fn home<'a>(source: &'a Source, url: &'a Url) -> &'a Url {
    match &source.location {
        Location::Http(home) => home,
        Location::Stdin | Location::File(_) | Location::Inline(_) => url,
    }
}

fn document(source: &Source, url: String, content_type: &str, text: Vec<u8>) -> Document {
    let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    Document {
        url,
        content_type: media_type,
        body: Arc::from(text),
        options: if source.options.is_null() { "{}".to_owned() } else { source.options.to_string() },
        default_scheme: source.default_scheme.unwrap_or(Scheme::Http),
    }
}

#[cfg(test)]
pub(crate) mod tests;
