//! Pages that make their list with JavaScript: who renders them, and when that is needed.
//!
//! The browser is not in this crate: it is large, most sources never need it, and the daily loop must
//! not wait for it. Whoever has one implements [`Renderer`].

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use futures_util::future::BoxFuture;
use proxywhirl_core::Secret;
use proxywhirl_core::plugin::Document;
use url::Url;

/// How far into a page a script is looked for: they stand in the head, or before a table that they fill.
const SCRIPT_SCAN: usize = 1024 * 1024;

/// Whether a source's page has to be rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Render {
    /// Its bytes are the list.
    #[default]
    Static,
    /// A browser makes the list.
    JavaScript,
    /// A browser makes it if nothing is found in the bytes and they have scripts.
    Auto,
}

impl Render {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Static, Self::JavaScript, Self::Auto];

    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::JavaScript => "javascript",
            Self::Auto => "auto",
        }
    }
}

impl FromStr for Render {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("render {text:?} is none of {}", Self::ALL.map(Self::as_str).join(", "));
        Self::ALL.into_iter().find(|render| render.as_str() == text).ok_or_else(wrong)
    }
}

/// A page to render.
#[derive(Debug, Clone)]
pub struct Page {
    /// Where it is.
    pub url: Url,
    /// Header fields for its own origin, and for nobody else.
    pub headers: Vec<(String, Secret)>,
    /// A CSS selector: the page is ready when an element matches. None is when the network is idle.
    pub wait_for: Option<String>,
    /// Whether addresses of this machine and its networks may be asked.
    pub allow_private: bool,
    /// The most that is read from the network, and the most that the rendered page may be, in bytes.
    pub bytes: u64,
    /// For all of it.
    pub timeout: Duration,
}

/// A page as a browser shows it.
#[derive(Debug, Clone)]
pub struct Rendered {
    /// The document as HTML.
    pub html: String,
    /// Where the page is, after redirects.
    pub url: Url,
}

/// Why a page was not rendered: a sentence, and perhaps what helps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderError {
    /// What happened; lower case, no full stop.
    pub reason: String,
    /// What to run.
    pub hint: Option<&'static str>,
}

impl RenderError {
    /// An error that nothing helps against.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), hint: None }
    }
}

impl fmt::Display for RenderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)?;
        self.hint.map_or(Ok(()), |hint| write!(f, " (hint: run `{hint}`)"))
    }
}

impl std::error::Error for RenderError {}

/// Renders pages in a browser.
pub trait Renderer: fmt::Debug + Send + Sync {
    /// Renders a page within its limits.
    ///
    /// # Errors
    /// When there is no browser, or the page does not come to an end.
    fn render<'a>(&'a self, page: &'a Page) -> BoxFuture<'a, Result<Rendered, RenderError>>;

    /// Ends the browser, if one runs: nothing of it is left.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// Whether a browser could find more in a document: it is HTML and has scripts.
pub(crate) fn has_scripts(document: &Document) -> bool {
    let head = document.body.get(..SCRIPT_SCAN).unwrap_or(&document.body);
    let is = |needle: &[u8]| head.windows(needle.len()).any(|window| window.eq_ignore_ascii_case(needle));
    let is_html = document.content_type.contains("html") || is(b"<html") || is(b"<!doctype html");
    is_html && is(b"<script")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use proxywhirl_core::Scheme;

    use super::*;

    fn document(content_type: &str, body: &str) -> Document {
        Document {
            url: String::new(),
            content_type: content_type.to_owned(),
            body: Arc::from(body.as_bytes()),
            options: "{}".to_owned(),
            default_scheme: Scheme::Http,
        }
    }

    #[test]
    fn only_html_with_scripts_is_worth_a_browser() {
        assert!(has_scripts(&document("text/html", "<p><SCRIPT src=a.js></script>")));
        assert!(has_scripts(&document("", "<!DOCTYPE html><script>")));
        assert!(!has_scripts(&document("text/html", "<table></table>")));
        assert!(!has_scripts(&document("application/json", "{\"a\": \"<script>\"}")));
    }

    #[test]
    fn modes_are_read_as_they_are_written() {
        for mode in [Render::Static, Render::JavaScript, Render::Auto] {
            assert_eq!(mode.as_str().parse(), Ok(mode));
        }
        assert_eq!("js".parse::<Render>().unwrap_err(), "render \"js\" is none of static, javascript, auto");
    }
}
