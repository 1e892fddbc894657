//! A source: where lists of proxies come from.
//!
//! A source is fetched to a [`Document`]: its bytes, capped, in UTF-8. What the bytes mean is for
//! parsers ([`crate::ingest`]). Whoever publishes a list is a stranger: reading stops at the cap, also
//! of what a compressed answer expands to; HTTP has a deadline; and no message shows a credential.
//!
//! A page that makes its list with JavaScript needs a browser. That one has its place beside
//! `source::http` as `source::browser`, for sources that say `render = "javascript"`.

mod charset;
mod file;
mod http;
mod location;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use proxywhirl_core::plugin::Document;
use proxywhirl_core::{Scheme, Secret, Tags};
use proxywhirl_net::TlsConfig;
use tokio::sync::OnceCell;

pub use location::{BadLocation, Location};

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
        }
    }
}

/// How much a source may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The size of a document in bytes, after decompression and in UTF-8.
    pub bytes: u64,
    /// The time for an HTTP exchange with all its redirects. A file or pipe is the user's own and may take longer.
    pub timeout: Duration,
}

impl Default for Limits {
    /// 64 MiB, which is two million lines, and 30 seconds.
    fn default() -> Self {
        Self { bytes: 64 * 1024 * 1024, timeout: Duration::from_secs(30) }
    }
}

/// How sources are fetched.
#[derive(Debug, Clone, Default)]
pub struct FetcherConfig {
    /// How much one may cost.
    pub limits: Limits,
    /// Whom to believe in HTTPS.
    pub tls: TlsConfig,
    /// Whether to go straight, and not through the proxy that the environment names.
    pub ignore_system_proxy: bool,
}

/// A document, and what it cost.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The document.
    pub document: Document,
    /// Its size as it was read, decompressed and before its conversion to UTF-8.
    pub bytes: u64,
}

/// Why a source gave no document.
#[derive(Debug, thiserror::Error)]
#[error("{}: {cause}", Place { name, location })]
pub struct SourceError {
    /// The source's name.
    pub name: String,
    /// Its location, without credentials.
    pub location: String,
    /// What went wrong.
    pub cause: Cause,
}

/// What went wrong with a source.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// It is larger than it may be, and reading stopped there.
    #[error("larger than {}, which is the most that is read of a source", Size(*cap))]
    TooLarge {
        /// The most that is read, in bytes.
        cap: u64,
    },
    /// It took longer than it may.
    #[error("no complete answer within {0:?}")]
    Timeout(Duration),
    /// The server said no.
    #[error("the server answered {0}")]
    Status(String),
    /// It was sent from one place to the next for too long.
    #[error("more than {0} redirects")]
    Redirects(usize),
    /// HTTP failed.
    #[error("{0}")]
    Http(String),
    /// A header field cannot be sent.
    #[error("header {0:?} cannot be sent: it has a character that HTTP does not allow")]
    Header(String),
    /// The path is a folder.
    #[error("is a folder; name a file in it")]
    Folder,
    /// Reading failed.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
}

struct Place<'a> {
    name: &'a str,
    location: &'a str,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name == self.location {
            write!(f, "source {}", self.name)
        } else {
            write!(f, "source {} ({})", self.name, self.location)
        }
    }
}

struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MIB: u64 = 1024 * 1024;
        if self.0 >= MIB && self.0.is_multiple_of(MIB) {
            write!(f, "{} MiB", self.0 / MIB)
        } else {
            write!(f, "{} bytes", self.0)
        }
    }
}

/// Turns sources into documents.
#[derive(Debug)]
pub struct Fetcher {
    config: FetcherConfig,
    /// Made at the first HTTP source: reading the system's certificates takes longer than a file.
    http: OnceCell<http::Http>,
}

impl Fetcher {
    /// A fetcher that has done nothing yet.
    #[must_use]
    pub fn new(config: FetcherConfig) -> Self {
        Self { config, http: OnceCell::new() }
    }

    /// Fetches a source. `on_bytes` hears how many bytes were read so far.
    ///
    /// # Errors
    /// When it cannot be read in full, or costs more than it may.
    pub async fn fetch(&self, source: &Source, on_bytes: &(dyn Fn(u64) + Sync)) -> Result<Fetched, SourceError> {
        self.read(source, on_bytes).await.map_err(|cause| SourceError {
            name: source.name.clone(),
            location: source.location.to_string(),
            cause,
        })
    }

    async fn read(&self, source: &Source, on_bytes: &(dyn Fn(u64) + Sync)) -> Result<Fetched, Cause> {
        let limits = self.config.limits;
        let mut body = Body::new(limits.bytes, on_bytes);
        let content_type = match &source.location {
            Location::Stdin => {
                file::read_stdin(&mut body).await?;
                String::new()
            }
            Location::File(path) => {
                file::read(path, &mut body).await?;
                String::new()
            }
            Location::Inline(text) => {
                body.push(text.expose().as_bytes())?;
                String::new()
            }
            Location::Http(url) => {
                let http = self.http.get_or_try_init(async || http::Http::new(&self.config)).await?;
                let exchange = http.get(url, &source.headers, &mut body);
                let answer = tokio::time::timeout(limits.timeout, exchange).await;
                answer.map_err(|_| Cause::Timeout(limits.timeout))??
            }
        };
        let bytes = body.len();
        let text = charset::to_utf8(body.into_bytes(), &content_type);
        if text.len() as u64 > limits.bytes {
            return Err(Cause::TooLarge { cap: limits.bytes });
        }
        Ok(Fetched { document: document(source, &content_type, text), bytes })
    }
}

fn document(source: &Source, content_type: &str, text: Vec<u8>) -> Document {
    let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    Document {
        url: source.location.to_string(),
        content_type: media_type,
        body: Arc::from(text),
        options: if source.options.is_null() { "{}".to_owned() } else { source.options.to_string() },
        default_scheme: source.default_scheme.unwrap_or(Scheme::Http),
    }
}

/// Bytes that come in, up to the cap.
struct Body<'a> {
    bytes: Vec<u8>,
    cap: u64,
    on_bytes: &'a (dyn Fn(u64) + Sync),
}

impl<'a> Body<'a> {
    fn new(cap: u64, on_bytes: &'a (dyn Fn(u64) + Sync)) -> Self {
        Self { bytes: Vec::new(), cap, on_bytes }
    }

    fn push(&mut self, chunk: &[u8]) -> Result<(), Cause> {
        let size = self.bytes.len() as u64 + chunk.len() as u64;
        self.expect(size)?;
        self.bytes.extend_from_slice(chunk);
        (self.on_bytes)(size);
        Ok(())
    }

    /// Hears how large the whole will be, before it comes.
    fn expect(&self, size: u64) -> Result<(), Cause> {
        if size > self.cap { Err(Cause::TooLarge { cap: self.cap }) } else { Ok(()) }
    }

    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests;
