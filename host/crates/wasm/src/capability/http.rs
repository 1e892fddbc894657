//! Requests to web servers: what the guest says, checked, and what it is told.
//!
//! The exchange itself runs on a thread of the host's while the guest's thread waits, and never longer
//! than the guest's call has time left.

mod exchange;
mod resolver;

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

pub(crate) use self::exchange::Web;
use crate::bindings::shared::proxywhirl::plugin::http as wit;
use crate::bindings::shared::proxywhirl::plugin::http::Error;
use crate::logbook::cut;
use crate::state::State;

/// The longest body, in bytes, either way.
const MAX_BODY: usize = 1_048_576;
/// The longest URL, in bytes.
const MAX_URL: usize = 8_192;
/// Header fields of a request.
const MAX_FIELDS: usize = 64;
/// The longest names and values together of a request's header fields, in bytes.
const MAX_HEAD: usize = 16_384;
/// The longest text of an error, in bytes.
const MAX_TEXT: usize = 400;
/// What is left of the guest's call when the host stops waiting, so that it can still make something of
/// `timeout`.
const MARGIN: Duration = Duration::from_millis(50);
/// Header fields that frame the message, or that are about the connection: the host's own.
const FRAMING: [&str; 14] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

/// A request that is well formed. Whether it may be sent is another question.
#[derive(Debug, Clone)]
struct Order {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Bytes,
}

impl wit::Host for State {
    fn send(&mut self, request: wit::Request) -> Result<wit::Response, Error> {
        let account = &self.pass.account;
        let (order, wanted) = order(request).map_err(Error::Invalid)?;
        if let Err(reason) = self.pass.http(&order.url) {
            account.tell_denied("http");
            return Err(Error::Denied(format!("{}: {reason}", order.url.origin().ascii_serialization())));
        }
        if !account.requests.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now()) {
            return Err(Error::Rate);
        }
        let left = self.time_left().saturating_sub(MARGIN);
        let time = wanted.map_or(left, |wanted| wanted.min(left));
        self.web.exchange(order, &self.pass, time)
    }
}

/// The request, and the time that it wants to have.
fn order(request: wit::Request) -> Result<(Order, Option<Duration>), String> {
    let method = match request.method.as_str() {
        "GET" => Method::GET,
        "HEAD" => Method::HEAD,
        "POST" => Method::POST,
        "PUT" => Method::PUT,
        "PATCH" => Method::PATCH,
        "DELETE" => Method::DELETE,
        other => return Err(format!("the method {:?} is none of those that are allowed", cut(other, 40))),
    };
    if request.body.len() > MAX_BODY {
        return Err(format!("a body of {} bytes, the limit is {MAX_BODY}", request.body.len()));
    }
    let url = place(&request.url)?;
    let headers = fields(&request.headers)?;
    let time = (request.timeout != 0).then(|| Duration::from_millis(u64::from(request.timeout)));
    Ok((Order { method, url, headers, body: request.body.into() }, time))
}

/// A URL that a request may have, as far as its text goes.
fn place(text: &str) -> Result<Url, String> {
    if text.len() > MAX_URL {
        return Err(format!("a URL of {} bytes, the limit is {MAX_URL}", text.len()));
    }
    let url = Url::parse(text).map_err(|error| format!("the URL cannot be read: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("the URL's scheme is {:?}, neither http nor https", cut(url.scheme(), 40)));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("the URL carries a user name or a password".to_owned());
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("the URL names no host".to_owned());
    }
    Ok(url)
}

fn fields(headers: &[(String, String)]) -> Result<HeaderMap, String> {
    let length: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if headers.len() > MAX_FIELDS || length > MAX_HEAD {
        return Err(format!(
            "{} header fields of {length} bytes, the limits are {MAX_FIELDS} and {MAX_HEAD}",
            headers.len()
        ));
    }
    let mut fields = HeaderMap::new();
    for (name, value) in headers {
        let field = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| format!("{:?} is no name of a header field", cut(name, 80)))?;
        if FRAMING.contains(&field.as_str()) {
            return Err(format!("the header field {field} is the host's own"));
        }
        let value =
            HeaderValue::from_bytes(value.as_bytes()).map_err(|_| format!("the value of {field} cannot be sent"))?;
        fields.append(field, value);
    }
    Ok(fields)
}

impl Web {
    /// Sends a request for a guest, and waits for the answer.
    fn exchange(
        &self,
        order: Order,
        pass: &Arc<crate::capability::pass::Pass>,
        time: Duration,
    ) -> Result<wit::Response, Error> {
        let answer = self.send(order, Arc::clone(pass), time)?;
        let mut headers = Vec::with_capacity(answer.headers.len());
        for (name, value) in &answer.headers {
            headers.push((name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
        }
        Ok(wit::Response { status: answer.status, headers, body: answer.body })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn request(method: &str, url: &str, headers: &[(&str, &str)]) -> wit::Request {
        wit::Request {
            method: method.to_owned(),
            url: url.to_owned(),
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            body: Vec::new(),
            timeout: 0,
        }
    }

    fn refusal(request: wit::Request) -> String {
        order(request).unwrap_err()
    }

    #[test]
    fn what_frames_a_message_is_the_hosts() {
        for name in ["Host", "content-length", "Transfer-Encoding", "CONNECTION", "Proxy-Authorization", "upgrade"] {
            let text = refusal(request("POST", "http://a.test/", &[(name, "x")]));
            assert!(text.ends_with("is the host's own"), "{text}");
        }
        let (order, _) =
            order(request("POST", "http://a.test/", &[("X-Signature", "a"), ("x-signature", "b")])).unwrap();
        assert_eq!(order.headers.get_all("x-signature").iter().count(), 2);
    }

    #[test]
    fn a_request_that_is_none_says_why() {
        for (method, url, headers, reason) in [
            ("CONNECT", "http://a.test/", &[][..], "the method \"CONNECT\""),
            ("get", "http://a.test/", &[], "the method"),
            ("GET", "/relative", &[], "cannot be read"),
            ("GET", "file:///etc/passwd", &[], "scheme is \"file\""),
            ("GET", "http://user@a.test/", &[], "user name"),
            ("GET", "http://:secret@a.test/", &[], "password"),
            ("GET", "http://a.test/", &[("bad name", "x")], "no name"),
            ("GET", "http://a.test/", &[("x", "a\r\nHost: b")], "cannot be sent"),
        ] {
            let text = refusal(request(method, url, headers));
            assert!(text.contains(reason), "{method} {url}: {text}");
        }
        let many = vec![("x", "y"); MAX_FIELDS + 1];
        assert!(refusal(request("GET", "http://a.test/", &many)).contains("65 header fields"));
        assert!(refusal(request("GET", "http://a.test/", &[("x", &"y".repeat(MAX_HEAD))])).contains("16384"));
        assert!(refusal(request("GET", &format!("http://a.test/{}", "x".repeat(MAX_URL)), &[])).contains("a URL of"));
        let heavy = wit::Request { body: vec![0; MAX_BODY + 1], ..request("POST", "http://a.test/", &[]) };
        assert!(refusal(heavy).starts_with("a body of 1048577 bytes"));
    }
}
