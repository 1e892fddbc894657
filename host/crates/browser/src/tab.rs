//! One page from its opening to its end.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chromiumoxide::Page as Target;
use chromiumoxide::auth::Credentials;
use chromiumoxide::cdp::browser_protocol::browser::{
    BrowserContextId, SetDownloadBehaviorBehavior, SetDownloadBehaviorParams,
};
use chromiumoxide::cdp::browser_protocol::inspector;
use chromiumoxide::cdp::browser_protocol::network::SetBypassServiceWorkerParams;
use chromiumoxide::cdp::browser_protocol::page::AddScriptToEvaluateOnNewDocumentParams;
use chromiumoxide::cdp::browser_protocol::target::{CreateBrowserContextParams, CreateTargetParams};
use chromiumoxide::error::CdpError;
use chromiumoxide::page::ScreenshotParams;
use proxywhirl_engine::source::render::{Page, RenderError, Rendered};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use url::Url;

use crate::ChromiumConfig;
use crate::ready;
use crate::running::Running;
use crate::traffic::{Rules, Traffic};

/// Of the page's time, what is kept for a picture and the end; never more than a fifth.
const RESERVE: Duration = Duration::from_secs(3);
/// For a tab to close; one that does not takes its browser with it.
const CLOSE: Duration = Duration::from_secs(3);

/// What could reach the network past us, taken from the page before its first script.
const HARMLESS: &str = "for (const name of ['WebSocket', 'WebTransport', 'RTCPeerConnection', \
                        'webkitRTCPeerConnection', 'Worker', 'SharedWorker']) { \
                        try { Object.defineProperty(globalThis, name, { value: undefined }); } catch {} }";

/// Why a page was not rendered.
#[derive(Debug)]
pub(crate) enum Failed {
    /// The browser ended meanwhile.
    Lost,
    /// There was no time left.
    Late,
    Told(RenderError),
}

impl From<CdpError> for Failed {
    fn from(error: CdpError) -> Self {
        if matches!(error, CdpError::Ws(_) | CdpError::NoResponse | CdpError::ChannelSendError(_)) {
            Self::Lost
        } else if matches!(error, CdpError::Timeout) {
            Self::Late
        } else {
            Self::Told(RenderError::new(format!("the browser says: {error}")))
        }
    }
}

/// A page in a context of its own.
pub(crate) struct Tab {
    running: Arc<Running>,
    context: BrowserContextId,
    target: Target,
    traffic: Arc<Traffic>,
    listener: JoinHandle<()>,
    is_closed: bool,
}

impl Tab {
    /// Opens an empty page.
    pub(crate) async fn open(running: Arc<Running>, page: &Page, config: &ChromiumConfig) -> Result<Self, Failed> {
        let proxy = config.proxy.as_deref().map(proxy).transpose().map_err(Failed::Told)?;
        let mut context = CreateBrowserContextParams::builder().dispose_on_detach(true);
        if let Some((server, _)) = &proxy {
            // Loopback addresses go through it too.
            context = context.proxy_server(server).proxy_bypass_list("<-loopback>");
        }
        let context = running.browser.create_browser_context(context.build()).await?;
        let mut params = CreateTargetParams::new("about:blank");
        params.browser_context_id = Some(context.clone());
        let target = match running.browser.new_page(params).await {
            Ok(target) => target,
            Err(error) => {
                running.condemn();
                return Err(error.into());
            }
        };
        let traffic = Traffic::new();
        let rules = Rules::new(page, proxy.is_some());
        let listening = Arc::clone(&traffic).listen(target.clone(), rules).await?;
        let listener = tokio::spawn(listening);
        let tab = Self { running, context, target, traffic, listener, is_closed: false };
        tab.prepare(proxy.and_then(|(_, credentials)| credentials)).await?;
        Ok(tab)
    }

    async fn prepare(&self, credentials: Option<Credentials>) -> Result<(), CdpError> {
        self.target.execute(inspector::EnableParams::default()).await?;
        self.target.execute(SetBypassServiceWorkerParams::new(true)).await?;
        self.target.execute(AddScriptToEvaluateOnNewDocumentParams::new(HARMLESS)).await?;
        let mut downloads = SetDownloadBehaviorParams::new(SetDownloadBehaviorBehavior::Deny);
        downloads.browser_context_id = Some(self.context.clone());
        self.running.browser.execute(downloads).await?;
        if let Some(credentials) = credentials {
            self.target.authenticate(credentials).await?;
        }
        Ok(())
    }

    /// Renders the page, and closes the tab whatever comes of it.
    pub(crate) async fn render(
        mut self,
        page: &Page,
        deadline: Instant,
        screenshots: Option<&Path>,
    ) -> Result<Rendered, Failed> {
        let reserve = RESERVE.min(page.timeout / 5);
        let until = deadline.checked_sub(reserve).unwrap_or(deadline);
        let mut rendered =
            timeout_at(until, ready::show(&self.target, &self.traffic, page, until)).await.unwrap_or(Err(Failed::Late));
        if let (Err(failed), Some(folder)) = (&rendered, screenshots)
            && !matches!(failed, Failed::Lost)
        {
            let picture = timeout(reserve, self.picture(page, folder)).await.ok().flatten();
            if let Some(picture) = picture {
                rendered = rendered.map_err(|failed| failed.seen_at(&picture, page));
            }
        }
        self.close().await;
        rendered
    }

    /// Takes a picture of what is there; where it is.
    async fn picture(&self, page: &Page, folder: &Path) -> Option<PathBuf> {
        let png = self.target.screenshot(ScreenshotParams::builder().build()).await.ok()?;
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let file = folder.join(format!("{}-{seconds}.png", page.url.host_str().unwrap_or("page").replace(':', "-")));
        tokio::fs::create_dir_all(folder).await.ok()?;
        tokio::fs::write(&file, png).await.ok()?;
        Some(file)
    }

    async fn close(&mut self) {
        let disposed = self.running.browser.dispose_browser_context(self.context.clone());
        self.is_closed = matches!(timeout(CLOSE, disposed).await, Ok(Ok(())));
    }
}

impl Drop for Tab {
    fn drop(&mut self) {
        self.listener.abort();
        if !self.is_closed {
            // Its page may be running still: better no browser than one that fills up.
            self.running.condemn();
        }
    }
}

impl Failed {
    /// The same, with where a picture of it is.
    fn seen_at(self, picture: &Path, page: &Page) -> Self {
        let reason = match self {
            Self::Lost => return Self::Lost,
            Self::Late => format!("the page was not ready within {:?}", page.timeout),
            Self::Told(error) => error.reason,
        };
        Self::Told(RenderError::new(format!("{reason} (screenshot: {})", picture.display())))
    }
}

/// A proxy as Chromium wants it, and its login apart.
fn proxy(text: &str) -> Result<(String, Option<Credentials>), RenderError> {
    let url = Url::parse(text).map_err(|error| RenderError::new(format!("the browser's proxy is no URL: {error}")))?;
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or(1080);
    let credentials = (!url.username().is_empty()).then(|| Credentials {
        username: url.username().to_owned(),
        password: url.password().unwrap_or_default().to_owned(),
    });
    // Its own word for a SOCKS5 proxy that looks names up is the one without the letter.
    let scheme = if url.scheme() == "socks5h" { "socks5" } else { url.scheme() };
    Ok((format!("{scheme}://{host}:{port}"), credentials))
}
