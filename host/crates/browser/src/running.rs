//! A browser that runs, and the connection to it.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use chromiumoxide::Browser;
use chromiumoxide::cdp::browser_protocol::browser::CloseParams;
use chromiumoxide::handler::HandlerConfig;
use futures_util::StreamExt;
use proxywhirl_engine::source::render::RenderError;
use tokio::task::JoinHandle;

use crate::ChromiumConfig;
use crate::find;
use crate::process::Process;

/// No command's own time: pages have deadlines.
const COMMAND: Duration = Duration::from_secs(600);
/// For the browser to hear that it shall close.
const FAREWELL: Duration = Duration::from_secs(1);

/// A browser that runs. Dropping it ends its processes.
pub(crate) struct Running {
    pub(crate) browser: Browser,
    /// Reads and writes the connection; it ends with it.
    wire: JoinHandle<()>,
    /// Taken when the browser is ended. Held for a look.
    process: Mutex<Option<Process>>,
}

impl Running {
    pub(crate) async fn start(config: &ChromiumConfig) -> Result<Self, RenderError> {
        let executable = find::executable(config.executable.as_deref())?;
        let (process, url) = Process::start(&executable).await?;
        let wire = HandlerConfig {
            ignore_https_errors: false,
            request_intercept: true,
            cache_enabled: false,
            request_timeout: COMMAND,
            viewport: None,
            ..HandlerConfig::default()
        };
        let connected = Browser::connect_with_config(url, wire).await;
        let (browser, mut handler) =
            connected.map_err(|error| RenderError::new(format!("the browser cannot be reached: {error}")))?;
        let wire = tokio::spawn(async move { while let Some(Ok(())) = handler.next().await {} });
        Ok(Self { browser, wire, process: Mutex::new(Some(process)) })
    }

    /// Whether it can be spoken to.
    pub(crate) fn is_alive(&self) -> bool {
        let process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        !self.wire.is_finished() && process.as_ref().is_some_and(Process::is_alive)
    }

    /// Asks it to close, and sees that it is gone.
    pub(crate) async fn end(&self) {
        // One that does not answer is killed.
        let _heard = tokio::time::timeout(FAREWELL, self.browser.execute(CloseParams::default())).await;
        // Before the connection breaks, which would be told as an error.
        self.wire.abort();
        self.abandon().await;
    }

    /// Sees that it is gone.
    pub(crate) async fn abandon(&self) {
        let process = self.process.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(process) = process {
            process.end().await;
        }
    }

    /// Lets nobody use it again: a tab of it could not be closed.
    pub(crate) fn condemn(&self) {
        self.process.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    #[cfg(test)]
    pub(crate) fn group(&self) -> Option<rustix::process::Pid> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner).as_ref()?.group()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.wire.abort();
    }
}
