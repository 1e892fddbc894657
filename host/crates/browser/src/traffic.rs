//! What a page asks the network for, what of it is let through, and how much comes back.
//!
//! Each request stops at us before it leaves ([Fetch.requestPaused]), each hop of a redirect too. What a
//! list does not need is refused, and so is whatever leads to an address of this machine or its networks,
//! unless the source may: the host in the URL is judged, then what its name resolves to, and then the
//! address that the answer came from, as Chromium resolves names a second time.
//!
//! [Fetch.requestPaused]: https://chromedevtools.github.io/devtools-protocol/tot/Fetch/#event-requestPaused

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chromiumoxide::Page as Target;
use chromiumoxide::cdp::browser_protocol::fetch::{
    ContinueRequestParams, EventRequestPaused, FailRequestParams, HeaderEntry,
};
use chromiumoxide::cdp::browser_protocol::inspector::EventTargetCrashed;
use chromiumoxide::cdp::browser_protocol::network::{
    ErrorReason, EventDataReceived, EventLoadingFailed, EventLoadingFinished, EventRequestWillBeSent,
    EventResponseReceived, ResourceType,
};
use chromiumoxide::error::CdpError;
use futures_util::StreamExt;
use futures_util::stream::{BoxStream, select_all};
use proxywhirl_core::Host;
use proxywhirl_engine::ingest::address;
use proxywhirl_engine::source::render::Page;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use url::Url;

/// For a name to be resolved.
const RESOLVE: Duration = Duration::from_secs(5);

/// What may be asked for.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    home: Url,
    headers: Vec<(String, String)>,
    allow_private: bool,
    /// Behind a proxy, the proxy resolves names, and answers come from its address.
    has_proxy: bool,
    bytes: u64,
}

/// A page's traffic.
#[derive(Debug)]
pub(crate) struct Traffic {
    /// Written by the task that listens, read by the one that waits for the page. Held for some instructions.
    counts: Mutex<Counts>,
    /// Why the page is given up.
    stop: watch::Sender<Option<String>>,
}

#[derive(Debug)]
struct Counts {
    open: HashSet<String>,
    bytes: u64,
    changed: Instant,
}

/// What a page's target tells.
enum Told {
    Paused(Arc<EventRequestPaused>),
    Counted(Counted),
}

/// What changes the counts, or ends the page.
enum Counted {
    Sent(String),
    Ended(String),
    Answered(Option<String>),
    Bytes(u64),
    Crashed,
}

impl Rules {
    pub(crate) fn new(page: &Page, has_proxy: bool) -> Self {
        let headers = page.headers.iter().map(|(name, value)| (name.clone(), value.expose().to_owned())).collect();
        Self { home: page.url.clone(), headers, allow_private: page.allow_private, has_proxy, bytes: page.bytes }
    }

    /// Why a request may not leave.
    async fn refuse(&self, request: &EventRequestPaused) -> Option<String> {
        let needless = match request.resource_type {
            ResourceType::Image
            | ResourceType::Media
            | ResourceType::Font
            | ResourceType::TextTrack
            | ResourceType::Manifest
            | ResourceType::Ping
            | ResourceType::Prefetch
            | ResourceType::CspViolationReport
            | ResourceType::WebSocket
            // The page's icon.
            | ResourceType::Other => true,
            ResourceType::Document
            | ResourceType::Stylesheet
            | ResourceType::Script
            | ResourceType::Xhr
            | ResourceType::Fetch
            | ResourceType::EventSource
            | ResourceType::SignedExchange
            | ResourceType::Preflight
            | ResourceType::FedCm => false,
        };
        if needless {
            return Some("not needed".to_owned());
        }
        let Ok(url) = Url::parse(&request.request.url) else { return Some("not a URL".to_owned()) };
        if !matches!(url.scheme(), "http" | "https") {
            return Some(format!("{}:// is not for lists", url.scheme()));
        }
        if self.allow_private { None } else { self.private(&url).await }
    }

    /// What kind of private a URL's host is, or what it resolves to.
    async fn private(&self, url: &Url) -> Option<String> {
        let told =
            |class: &str| Some(format!("{} is not of the internet ({class})", url.host_str().unwrap_or_default()));
        let name = match url.host()? {
            url::Host::Ipv4(addr) => return address::private_ip(addr.into()).and_then(told),
            url::Host::Ipv6(addr) => return address::private_ip(addr.into()).and_then(told),
            url::Host::Domain(name) => name.trim_end_matches('.'),
        };
        let class = name.parse::<Host>().map_or(Some("not a host"), |host| address::private(&host));
        if class.is_some() || self.has_proxy {
            return class.and_then(told);
        }
        let port = url.port_or_known_default().unwrap_or_default();
        match tokio::time::timeout(RESOLVE, tokio::net::lookup_host((name, port))).await {
            Ok(Ok(mut addrs)) => addrs.find_map(|addr| address::private_ip(addr.ip())).and_then(told),
            // Chromium will say that there is no such name.
            Ok(Err(_)) | Err(_) => None,
        }
    }

    /// The header fields of a request: the source's own are for its own origin.
    fn headers(&self, request: &EventRequestPaused) -> Option<Vec<HeaderEntry>> {
        let is_home = Url::parse(&request.request.url).is_ok_and(|url| url.origin() == self.home.origin());
        if self.headers.is_empty() || !is_home {
            return None;
        }
        let theirs = request.request.headers.inner().as_object().cloned().unwrap_or_default();
        let mut fields: Vec<_> = theirs
            .iter()
            .filter(|(name, _)| !self.headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name)))
            .map(|(name, value)| HeaderEntry::new(name, value.as_str().unwrap_or_default()))
            .collect();
        fields.extend(self.headers.iter().map(|(name, value)| HeaderEntry::new(name, value)));
        Some(fields)
    }
}

impl Traffic {
    pub(crate) fn new() -> Arc<Self> {
        let counts = Counts { open: HashSet::new(), bytes: 0, changed: Instant::now() };
        Arc::new(Self { counts: Mutex::new(counts), stop: watch::Sender::new(None) })
    }

    /// Since when nothing is under way; none while something is.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.open.is_empty().then_some(counts.changed)
    }

    /// Waits until the page is given up, and says why.
    pub(crate) async fn stopped(&self) -> String {
        let mut stop = self.stop.subscribe();
        // It does not fail: the sender lives as long as `self`.
        let reason = stop.wait_for(Option::is_some).await.map(|reason| reason.clone());
        reason.ok().flatten().unwrap_or_default()
    }

    /// Listens to a page until its browser ends.
    pub(crate) async fn listen(
        self: Arc<Self>,
        target: Target,
        rules: Rules,
    ) -> Result<impl Future<Output = ()>, CdpError> {
        let mut told = select_all(subscribe(&target).await?);
        let rules = Arc::new(rules);
        Ok(async move {
            let mut answers = JoinSet::new();
            while let Some(told) = told.next().await {
                // Those that are done; what they came to is in the log.
                while answers.try_join_next().is_some() {}
                match told {
                    Told::Paused(request) => {
                        let (traffic, target, rules) = (Arc::clone(&self), target.clone(), Arc::clone(&rules));
                        answers.spawn(async move { traffic.answer(&target, &rules, &request).await });
                    }
                    Told::Counted(counted) => self.count(counted, &rules),
                }
            }
        })
    }

    /// Lets a request go, or not.
    async fn answer(&self, target: &Target, rules: &Rules, request: &EventRequestPaused) {
        let id = request.request_id.clone();
        let Some(reason) = rules.refuse(request).await else {
            let go = ContinueRequestParams { headers: rules.headers(request), ..ContinueRequestParams::new(id) };
            // The page may be gone meanwhile.
            return drop(target.execute(go).await);
        };
        tracing::debug!(reason, "a request of a page is refused");
        let is_page = request.resource_type == ResourceType::Document
            && target.mainframe().await.is_ok_and(|frame| frame.as_ref() == Some(&request.frame_id));
        drop(target.execute(FailRequestParams::new(id, ErrorReason::BlockedByClient)).await);
        if is_page {
            self.give_up(format!("the page leads to where nothing is fetched: {reason}"));
        }
    }

    fn count(&self, counted: Counted, rules: &Rules) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        match counted {
            Counted::Sent(id) => {
                counts.open.insert(id);
                counts.changed = Instant::now();
            }
            Counted::Ended(id) => {
                counts.open.remove(&id);
                counts.changed = Instant::now();
            }
            Counted::Bytes(bytes) => {
                counts.bytes = counts.bytes.saturating_add(bytes);
                if counts.bytes > rules.bytes {
                    self.give_up(format!("the page reads more than {} bytes", rules.bytes));
                }
            }
            Counted::Answered(from) => {
                let addr = from.and_then(|text| text.trim_matches(['[', ']']).parse::<IpAddr>().ok());
                let class = addr.and_then(address::private_ip);
                if let Some(class) = class.filter(|_| !rules.allow_private && !rules.has_proxy) {
                    self.give_up(format!("an answer came from an address that is not of the internet ({class})"));
                }
            }
            Counted::Crashed => self.give_up("the page crashed its tab".to_owned()),
        }
    }

    fn give_up(&self, reason: String) {
        self.stop.send_if_modified(|stop| {
            let is_first = stop.is_none();
            stop.get_or_insert(reason);
            is_first
        });
    }
}

async fn subscribe(target: &Target) -> Result<Vec<BoxStream<'static, Told>>, CdpError> {
    let text = |id: &dyn AsRef<str>| id.as_ref().to_owned();
    let sent = target.event_listener::<EventRequestWillBeSent>().await?;
    let finished = target.event_listener::<EventLoadingFinished>().await?;
    let failed = target.event_listener::<EventLoadingFailed>().await?;
    let answered = target.event_listener::<EventResponseReceived>().await?;
    let data = target.event_listener::<EventDataReceived>().await?;
    let crashed = target.event_listener::<EventTargetCrashed>().await?;
    let counted = [
        sent.map(move |it| Counted::Sent(text(&it.request_id))).boxed(),
        finished.map(move |it| Counted::Ended(text(&it.request_id))).boxed(),
        failed.map(move |it| Counted::Ended(text(&it.request_id))).boxed(),
        answered.map(|it| Counted::Answered(it.response.remote_ip_address.clone())).boxed(),
        data.map(|it| Counted::Bytes(u64::try_from(it.data_length).unwrap_or_default())).boxed(),
        crashed.map(|_| Counted::Crashed).boxed(),
    ];
    let paused = target.event_listener::<EventRequestPaused>().await?.map(Told::Paused).boxed();
    Ok(std::iter::once(paused).chain(counted.into_iter().map(|told| told.map(Told::Counted).boxed())).collect())
}
