//! How sources are fetched: what the configuration says of it, with the cache and the browser that all share.

use std::path::PathBuf;
use std::sync::Arc;

use proxywhirl_browser::{Chromium, ChromiumConfig};
use proxywhirl_core::Credentials;
use proxywhirl_engine::ingest::mask;
use proxywhirl_engine::source::drift::Drift;
use proxywhirl_engine::source::{
    BadLocation, Cache, Fetcher, FetcherConfig, Limits, Location, Manners, Renderer, Source,
};
use proxywhirl_net::connect;

use super::plugins::cache_directory;
use crate::config::{BrowserSettings, CacheAt, FetchSettings, Settings, SourceSettings};
use crate::exit::{Exit, Failure};

/// The field with which a source's reader logs in.
const AUTHORIZATION: &str = "Authorization";

/// How sources are fetched. Copies share one browser, which is started at the first page that needs it.
#[derive(Debug, Clone)]
pub struct Fetching {
    config: FetcherConfig,
    drift: Drift,
    browser: Arc<dyn Renderer>,
}

impl Fetching {
    /// As the settings say.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let FetchSettings { timeout, max_size, pages, retries, per_host, pause, ref cache, drift } = settings.fetch;
        let browser = browser(&settings.browser);
        let config = FetcherConfig {
            limits: Limits { bytes: max_size, timeout, pages },
            cache: directory(cache).map(Cache::new),
            manners: Manners { at_once: per_host, pause },
            retries,
            renderer: Some(Arc::clone(&browser)),
            ..FetcherConfig::default()
        };
        Self { config, drift, browser }
    }

    /// What fetches.
    #[must_use]
    pub fn fetcher(&self) -> Fetcher {
        Fetcher::new(self.config.clone())
    }

    /// What follows when a source is not as usual.
    #[must_use]
    pub const fn drift(&self) -> Drift {
        self.drift
    }

    /// Ends the browser, if one runs.
    pub async fn close(&self) {
        self.browser.close().await;
    }
}

fn browser(settings: &BrowserSettings) -> Arc<dyn Renderer> {
    let BrowserSettings { executable, pages, proxy, screenshots, linger } = settings.clone();
    Arc::new(Chromium::new(ChromiumConfig { executable, pages, proxy, screenshots, linger }))
}

fn directory(cache: &CacheAt) -> Option<PathBuf> {
    match cache {
        CacheAt::Own => cache_directory().map(|cache| cache.join("lists")),
        CacheAt::At(path) => Some(path.clone()),
        CacheAt::Off => None,
    }
}

/// The name of a source as people are shown it: one that has no other is named after its location, in which there may be a password.
#[must_use]
pub fn shown(settings: &SourceSettings) -> String {
    match settings.location.parse::<Location>() {
        Ok(location) if settings.name == settings.location => location.name(),
        Ok(_) => settings.name.clone(),
        Err(_) => mask(&settings.name),
    }
}

/// A source as the engine reads it.
///
/// # Errors
/// When its location is none.
pub fn source(settings: &SourceSettings) -> Result<Source, Failure> {
    let location = settings.location.parse().map_err(|error: BadLocation| Failure::new(Exit::Usage, error))?;
    let named_after_itself = settings.name == settings.location;
    let mut source = Source::new(location);
    if !named_after_itself {
        source.name.clone_from(&settings.name);
    }
    source.parser.clone_from(&settings.parser);
    source.options.clone_from(&settings.options);
    source.default_scheme = settings.scheme;
    source.tags = settings.tags.clone();
    source.trust = settings.trust;
    source.headers = settings.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    if let (Location::Http(_), Some((user, password))) = (&source.location, &settings.login)
        && !source.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(AUTHORIZATION))
    {
        // In a field and not in the URL, which forgets nothing.
        let login = Credentials { username: user.as_str().into(), password: password.clone() };
        source.headers.push((AUTHORIZATION.to_owned(), connect::basic(&login)));
    }
    source.render = settings.render;
    source.wait_for.clone_from(&settings.wait_for);
    source.follow = settings.follow;
    source.interval = settings.interval;
    Ok(source)
}
