//! When a page is ready, and what it is then.
//!
//! Ready is when an element matches the source's selector; without one, when the page is loaded and
//! nothing was under way for half a second. A page that never comes to rest (a ticker, a stream) is taken
//! as it is after a part of its time, if the document itself is whole: its list is there long before.

use std::time::Duration;

use chromiumoxide::Page as Target;
use chromiumoxide::cdp::js_protocol::runtime::EvaluateParams;
use chromiumoxide::error::CdpError;
use proxywhirl_engine::source::render::{Page, RenderError, Rendered};
use tokio::time::Instant;
use url::Url;

use crate::tab::Failed;
use crate::traffic::Traffic;

/// How long nothing may be under way until a page is idle: puppeteer's and playwright's number too.
const IDLE: Duration = Duration::from_millis(500);
/// A page that is never idle is taken after this part of its time, and not after longer than this.
const RESTLESS: u32 = 2;
const RESTLESS_MAX: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);

/// Goes to the page, waits until it is ready, and reads it.
pub(crate) async fn show(target: &Target, traffic: &Traffic, page: &Page, until: Instant) -> Result<Rendered, Failed> {
    let patience = (until.saturating_duration_since(Instant::now()) / RESTLESS).min(RESTLESS_MAX);
    let restless = Instant::now() + patience;
    tokio::select! {
        biased;
        // Before what the browser says of it: that a request was blocked tells less than why.
        reason = traffic.stopped() => Err(Failed::Told(RenderError::new(reason))),
        shown = wait(target, traffic, page, restless) => match shown {
            Err(Failed::Told(error)) => Err(Failed::Told(why(traffic, error).await)),
            shown => shown,
        },
    }
}

/// Why the page was given up, if it was a moment before.
async fn why(traffic: &Traffic, error: RenderError) -> RenderError {
    tokio::time::timeout(POLL, traffic.stopped()).await.map_or(error, RenderError::new)
}

async fn wait(target: &Target, traffic: &Traffic, page: &Page, restless: Instant) -> Result<Rendered, Failed> {
    let mut navigation = std::pin::pin!(target.goto(page.url.as_str()));
    let mut is_loaded = false;
    loop {
        tokio::select! {
            loaded = &mut navigation, if !is_loaded => {
                loaded.map_err(unloaded)?;
                is_loaded = true;
            }
            () = tokio::time::sleep(POLL) => {}
        }
        let is_ready = match &page.wait_for {
            Some(selector) => matches(target, selector).await?,
            None => {
                let is_idle = traffic.idle_since().is_some_and(|since| since.elapsed() >= IDLE);
                is_loaded && is_idle || Instant::now() >= restless && is_whole(target).await?
            }
        };
        if is_ready {
            return read(target, page).await;
        }
    }
}

/// Whether all of the document itself is there, and only what it asks for may be missing.
async fn is_whole(target: &Target) -> Result<bool, Failed> {
    let state = evaluate(target, "document.readyState".to_owned()).await?;
    Ok(state.is_some_and(|state| state != "loading"))
}

/// Whether an element matches.
async fn matches(target: &Target, selector: &str) -> Result<bool, Failed> {
    let quoted = serde_json::Value::from(selector);
    let found = evaluate(target, format!("!!document.querySelector({quoted})")).await?;
    found.map(|found| found == serde_json::Value::Bool(true)).ok_or_else(|| {
        Failed::Told(RenderError::new(format!("the selector {selector:?} is none that the browser understands")))
    })
}

/// The document as it is now.
async fn read(target: &Target, page: &Page) -> Result<Rendered, Failed> {
    // Of one that is too large, only its length leaves the page.
    let script = format!(
        "(() => {{ const e = document.documentElement; const h = e ? e.outerHTML : ''; \
         return h.length > {} ? h.length : h; }})()",
        page.bytes
    );
    let html = match evaluate(target, script).await? {
        Some(serde_json::Value::String(html)) if html.len() as u64 <= page.bytes => html,
        Some(_) => {
            let reason = format!("the rendered page is larger than {} bytes", page.bytes);
            return Err(Failed::Told(RenderError::new(reason)));
        }
        None => return Err(Failed::Told(RenderError::new("the rendered page cannot be read"))),
    };
    let url = target.url().await?.and_then(|text| Url::parse(&text).ok());
    Ok(Rendered { html, url: url.unwrap_or_else(|| page.url.clone()) })
}

/// The value of a script; none when it throws.
async fn evaluate(target: &Target, script: String) -> Result<Option<serde_json::Value>, CdpError> {
    let params = EvaluateParams { return_by_value: Some(true), ..EvaluateParams::new(script) };
    let answer = target.execute(params).await?.result;
    Ok(if answer.exception_details.is_some() { None } else { answer.result.value })
}

fn unloaded(error: CdpError) -> Failed {
    if let CdpError::ChromeMessage(text) = &error {
        return Failed::Told(RenderError::new(format!("the page cannot be loaded: {text}")));
    }
    error.into()
}
