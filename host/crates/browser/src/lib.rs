//! A headless Chromium for sources whose pages make their lists with JavaScript.
//!
//! One browser, started at the first page and ended when nobody has needed it for a while; each page has
//! a context of its own (no cookies, no cache of others), and there are only so many at a time. What a
//! page may do is what a list needs: scripts, styles and data. Images, fonts, media, downloads, pop-up
//! windows, workers and sockets are kept from it, and every address that it asks for is judged like a
//! source's own (`traffic`).
//!
//! Invariants: a page ends by its deadline, well or not; however this process ends, the browser's
//! processes and its profile directory go (`process`).

mod find;
mod process;
mod ready;
mod running;
mod tab;
mod traffic;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use proxywhirl_engine::source::render::{Page, RenderError, Rendered, Renderer};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub use find::INSTALL;
use running::Running;
use tab::{Failed, Tab};

/// How the browser is run.
#[derive(Debug, Clone)]
pub struct ChromiumConfig {
    /// The program; none to find it in `PATH`.
    pub executable: Option<PathBuf>,
    /// Pages at the same time: each takes some hundred megabytes.
    pub pages: usize,
    /// A proxy that pages are fetched through: `http://[user:pass@]host:port` or `socks5://host:port`.
    pub proxy: Option<String>,
    /// Where a picture of each page that failed is put.
    pub screenshots: Option<PathBuf>,
    /// How long the browser waits for another page before it is ended.
    pub linger: Duration,
}

impl Default for ChromiumConfig {
    fn default() -> Self {
        Self { executable: None, pages: 2, proxy: None, screenshots: None, linger: Duration::from_secs(20) }
    }
}

/// A browser that is there when it is needed.
pub struct Chromium {
    config: Arc<ChromiumConfig>,
    turns: Semaphore,
    state: Arc<Mutex<State>>,
}

/// The browser that runs, and who ends it. Held while one is started, so that there is one.
#[derive(Default)]
struct State {
    running: Option<Arc<Running>>,
    last_used: Option<Instant>,
    ending: Option<JoinHandle<()>>,
}

impl fmt::Debug for Chromium {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chromium").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Chromium {
    /// A browser that is not started yet.
    #[must_use]
    pub fn new(config: ChromiumConfig) -> Self {
        let turns = Semaphore::new(config.pages.max(1));
        Self { config: Arc::new(config), turns, state: Arc::default() }
    }

    async fn in_time(&self, page: &Page) -> Result<Rendered, RenderError> {
        let deadline = Instant::now() + page.timeout;
        let late = || RenderError::new(format!("the page was not ready within {:?}", page.timeout));
        // A semaphore that nobody closes does not fail.
        let _turn = tokio::time::timeout_at(deadline, self.turns.acquire()).await.map_err(|_| late())?;
        let mut tried = self.once(page, deadline).await;
        if matches!(tried, Err(Failed::Lost)) {
            tracing::warn!("the browser ended by itself, and is started again");
            tried = self.once(page, deadline).await;
        }
        self.let_linger().await;
        tried.map_err(|failed| match failed {
            Failed::Lost => RenderError::new("the browser ended by itself, twice"),
            Failed::Late => late(),
            Failed::Told(error) => error,
        })
    }

    async fn once(&self, page: &Page, deadline: Instant) -> Result<Rendered, Failed> {
        let running = tokio::time::timeout_at(deadline, self.running()).await.map_err(|_| Failed::Late)??;
        let rendered = self.rendered(Arc::clone(&running), page, deadline).await;
        if matches!(rendered, Err(Failed::Lost)) {
            // It may look alive for a moment still.
            running.condemn();
        }
        rendered
    }

    async fn rendered(&self, running: Arc<Running>, page: &Page, deadline: Instant) -> Result<Rendered, Failed> {
        let tab = Tab::open(running, page, &self.config);
        let tab = tokio::time::timeout_at(deadline, tab).await.map_err(|_| Failed::Late)??;
        tab.render(page, deadline, self.config.screenshots.as_deref()).await
    }

    /// The browser that runs, or a new one.
    async fn running(&self) -> Result<Arc<Running>, Failed> {
        let mut state = self.state.lock().await;
        if let Some(running) = state.running.take_if(|running| !running.is_alive()) {
            // Pages that it still has end with an error of their own.
            running.abandon().await;
        }
        if let Some(running) = &state.running {
            return Ok(Arc::clone(running));
        }
        let running = Arc::new(Running::start(&self.config).await.map_err(Failed::Told)?);
        state.running = Some(Arc::clone(&running));
        Ok(running)
    }

    /// Ends the browser in a while, unless another page comes.
    async fn let_linger(&self) {
        let mut state = self.state.lock().await;
        state.last_used = Some(Instant::now());
        if state.ending.as_ref().is_some_and(|ending| !ending.is_finished()) || state.running.is_none() {
            return;
        }
        let (shared, linger) = (Arc::clone(&self.state), self.config.linger);
        state.ending = Some(tokio::spawn(async move {
            loop {
                let used = shared.lock().await.last_used.unwrap_or_else(Instant::now);
                tokio::time::sleep_until(used + linger).await;
                let mut state = shared.lock().await;
                let is_idle = state.running.as_ref().is_none_or(|running| Arc::strong_count(running) == 1);
                if is_idle && state.last_used.is_none_or(|used| used.elapsed() >= linger) {
                    if let Some(running) = state.running.take() {
                        running.end().await;
                    }
                    return;
                }
                if !is_idle {
                    state.last_used = Some(Instant::now());
                }
            }
        }));
    }

    async fn end(&self) {
        let mut state = self.state.lock().await;
        if let Some(ending) = state.ending.take() {
            ending.abort();
        }
        if let Some(running) = state.running.take() {
            running.end().await;
        }
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // The browser itself goes with the last page that holds it.
        if let Ok(mut state) = self.state.try_lock() {
            if let Some(ending) = state.ending.take() {
                ending.abort();
            }
            state.running = None;
        }
    }
}

impl Renderer for Chromium {
    fn render<'a>(&'a self, page: &'a Page) -> BoxFuture<'a, Result<Rendered, RenderError>> {
        self.in_time(page).boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.end().boxed()
    }
}

#[cfg(test)]
mod tests;
