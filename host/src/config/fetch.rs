//! `[fetch]` and `[browser]`: how sources are read.

use std::path::{Path, PathBuf};
use std::time::Duration;

use proxywhirl_browser::ChromiumConfig;
use proxywhirl_core::{Endpoint, Scheme};
use proxywhirl_engine::source::drift::Drift;
use proxywhirl_engine::source::{Limits, Manners};
use schemars::JsonSchema;
use serde::Deserialize;

use super::control::WrittenSocket as PathOrSwitch;
use super::file::{LASTING, Span};
use super::settings::{at_least_one, lasting};
use super::size::Size;

/// `[fetch]`, as it was written.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FetchSection {
    /// For one page, with redirects and further attempts.
    #[schemars(extend("pattern" = LASTING))]
    pub timeout: Option<Span>,
    /// The most that is read of a source.
    pub max_size: Option<Size>,
    /// Pages of one source.
    #[schemars(range(min = 1))]
    pub pages: Option<usize>,
    /// Attempts after the first one.
    pub retries: Option<usize>,
    /// Requests to one host at the same time.
    #[schemars(range(min = 1))]
    pub per_host: Option<usize>,
    /// From one request to a host to the start of the next.
    pub pause: Option<Span>,
    /// Where lists are kept that have not changed; false for nowhere.
    pub cache: Option<PathOrSwitch>,
    /// What follows when a source is not as usual: `off`, `warn` or `keep`.
    #[schemars(extend("enum" = Drift::ALL.map(Drift::as_str)))]
    pub drift: Option<String>,
}

/// `[browser]`, as it was written.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BrowserSection {
    /// The program.
    #[schemars(extend("format" = "path"))]
    pub executable: Option<PathBuf>,
    /// Pages at the same time.
    #[schemars(range(min = 1))]
    pub pages: Option<usize>,
    /// A proxy that pages are fetched through.
    pub proxy: Option<String>,
    /// Where pictures of pages that failed are put.
    #[schemars(extend("format" = "path"))]
    pub screenshots: Option<PathBuf>,
    /// How long the browser waits for another page.
    pub linger: Option<Span>,
}

/// How sources are fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchSettings {
    /// For one page, with redirects and further attempts.
    pub timeout: Duration,
    /// The most that is read of a source, in bytes.
    pub max_size: u64,
    /// Pages of one source.
    pub pages: usize,
    /// Attempts after the first one.
    pub retries: usize,
    /// Requests to one host at the same time.
    pub per_host: usize,
    /// From one request to a host to the start of the next.
    pub pause: Duration,
    /// Where lists are kept.
    pub cache: CacheAt,
    /// What follows when a source is not as usual.
    pub drift: Drift,
}

/// Where lists are kept that have not changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum CacheAt {
    /// In the user's cache directory.
    #[default]
    Own,
    /// In this directory.
    At(PathBuf),
    /// Nowhere.
    Off,
}

/// How pages are rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrowserSettings {
    /// The program; none to find it.
    pub executable: Option<PathBuf>,
    /// Pages at the same time.
    pub pages: usize,
    /// A proxy that pages are fetched through.
    pub proxy: Option<String>,
    /// Where pictures of pages that failed are put.
    pub screenshots: Option<PathBuf>,
    /// How long the browser waits for another page.
    pub linger: Duration,
}

impl Default for FetchSettings {
    fn default() -> Self {
        let (limits, manners) = (Limits::default(), Manners::default());
        Self {
            timeout: limits.timeout,
            max_size: limits.bytes,
            pages: limits.pages,
            retries: 2,
            per_host: manners.at_once,
            pause: manners.pause,
            cache: CacheAt::default(),
            drift: Drift::default(),
        }
    }
}

impl Default for BrowserSettings {
    fn default() -> Self {
        let ChromiumConfig { executable, pages, proxy, screenshots, linger } = ChromiumConfig::default();
        Self { executable, pages, proxy, screenshots, linger }
    }
}

impl FetchSection {
    /// What it means; a relative path is relative to `folder`.
    ///
    /// # Errors
    /// When a value is out of its range.
    pub fn meaning(self, folder: &Path) -> Result<FetchSettings, String> {
        let default = FetchSettings::default();
        Ok(FetchSettings {
            timeout: lasting("fetch.timeout", self.timeout, default.timeout)?,
            max_size: self.max_size.map_or(default.max_size, |size| size.0),
            pages: at_least_one("fetch.pages", self.pages, default.pages)?,
            retries: self.retries.unwrap_or(default.retries),
            per_host: at_least_one("fetch.per_host", self.per_host, default.per_host)?,
            pause: self.pause.map_or(default.pause, |span| span.0),
            cache: match self.cache {
                None | Some(PathOrSwitch::Switch(true)) => CacheAt::Own,
                Some(PathOrSwitch::Switch(false)) => CacheAt::Off,
                Some(PathOrSwitch::Path(path)) => CacheAt::At(folder.join(path)),
            },
            drift: match self.drift {
                Some(word) => word.parse().map_err(|error| format!("fetch.{error}"))?,
                None => default.drift,
            },
        })
    }
}

impl BrowserSection {
    /// What it means; relative paths are relative to `folder`.
    ///
    /// # Errors
    /// When a value is out of its range.
    pub fn meaning(self, folder: &Path) -> Result<BrowserSettings, String> {
        let default = BrowserSettings::default();
        Ok(BrowserSettings {
            executable: self.executable.map(|path| folder.join(path)),
            pages: at_least_one("browser.pages", self.pages, default.pages)?,
            proxy: self.proxy.map(browsers_proxy).transpose()?,
            screenshots: self.screenshots.map(|path| folder.join(path)),
            linger: self.linger.map_or(default.linger, |span| span.0),
        })
    }
}

/// A proxy that a browser can be told. What is wrong is told without the text, which may hold a password.
fn browsers_proxy(text: String) -> Result<String, String> {
    match text.parse::<Endpoint>() {
        Ok(endpoint) if endpoint.via.is_some() => {
            Err("browser.proxy: a browser goes through one proxy, and no chain".to_owned())
        }
        Ok(endpoint) if matches!(endpoint.scheme, Scheme::Socks4 | Scheme::Socks4a) => {
            Err(format!("browser.proxy: a browser goes through http, https or socks5, and not {}", endpoint.scheme))
        }
        Ok(endpoint) if !endpoint.scheme.is_http() && endpoint.credentials.is_some() => {
            Err("browser.proxy: a browser cannot log in at a SOCKS proxy; use http or https".to_owned())
        }
        Ok(_) => Ok(text),
        Err(error) => Err(format!("browser.proxy: {error}")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_browsers_proxy_is_one_and_its_password_is_not_told() {
        let proxy = |text: &str| {
            let section = BrowserSection { proxy: Some(text.to_owned()), ..BrowserSection::default() };
            section.meaning(Path::new("")).map(|settings| settings.proxy.unwrap())
        };
        assert_eq!(proxy("http://u:p@h.example:8080").unwrap(), "http://u:p@h.example:8080");
        for (text, told) in [
            ("h.example:8080", "browser.proxy: no scheme: http, "),
            ("http://u:hunter2@h:x", "browser.proxy: port ***"),
            ("ftp://u:hunter2@h:1", "browser.proxy: unknown scheme ftp"),
            ("socks4a://h:1", "browser.proxy: a browser goes through http, https or socks5, and not socks4a"),
            ("socks5://u:hunter2@h:1", "browser.proxy: a browser cannot log in at a SOCKS proxy"),
            ("http://a:1 -> http://b:1", "browser.proxy: a browser goes through one proxy"),
        ] {
            let error = proxy(text).unwrap_err();
            assert!(error.starts_with(told) && !error.contains("hunter2"), "{error}");
        }
    }
}
