//! What the gateway itself answers over HTTP: that a tunnel is open, that the body may come, and errors.
//!
//! An error says in one sentence what happened, and the same for machines in `Proxy-Status` (RFC 9209).

use std::time::Duration;

use proxywhirl_core::{Fault, Kind, Side, Stage};
use proxywhirl_engine::Denial;
use proxywhirl_net::Target;

use crate::access::{Denied, Exceeded};
use crate::explained::Explained;
use crate::wanted::Mistake;

/// The answer to CONNECT once the tunnel is open. Who the next hop is hears only who may hear through whom it goes.
pub(crate) fn established(pseudonym: &str, explained: Option<&Explained>) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 200 Connection established\r\nProxy-Status: {pseudonym}");
    if let Some(explained) = explained {
        if let Some(upstream) = explained.upstream() {
            head.push_str(&format!("; next-hop={}", sf_string(upstream)));
        }
        head.push_str("\r\n");
        head.push_str(explained.lines().trim_end());
    }
    head.push_str("\r\n\r\n");
    head.into_bytes()
}

/// The answer to `Expect: 100-continue`.
pub(crate) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The longest text in a reply: a detail may hold what an upstream wrote.
const MAX_TEXT: usize = 400;

/// Whether a body may follow the head: not in an answer to HEAD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Body {
    Send,
    Omit,
}

/// An error as the client sees it. The connection is closed after it, unless it is [kept](ErrorReply::kept).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ErrorReply {
    pub(crate) status: u16,
    /// The `error` parameter of `Proxy-Status`.
    error: &'static str,
    /// One sentence, without a line end.
    text: String,
    /// The status that an upstream gave.
    received: Option<u16>,
    /// When it is worth to come again.
    retry_after: Option<Duration>,
    /// Whether the text is for the client alone.
    is_private: bool,
    /// Whether the connection carries another request.
    keeps_alive: bool,
    /// What is said of how it came about.
    explained: Option<Explained>,
    /// Why it was refused, where no upstream was asked.
    pub(crate) denial: Option<Denial>,
}

impl ErrorReply {
    /// The client's own mistake.
    #[cold]
    pub(crate) fn refusal(status: u16, text: impl Into<String>) -> Self {
        let error = if status == 408 { "connection_read_timeout" } else { "http_request_error" };
        Self {
            status,
            error,
            text: text.into(),
            received: None,
            retry_after: None,
            is_private: false,
            keeps_alive: false,
            explained: None,
            denial: Some(Denial::Malformed),
        }
    }

    /// A client speaks TLS to a listener without it. An answer in clear text is what TLS calls a wrong version; without one, the
    /// connection would just be lost.
    pub(crate) fn no_tls() -> Self {
        let text = "this port speaks no TLS: write http:// for it, or give its listener a certificate";
        Self { denial: Some(Denial::Tls), ..Self::refusal(400, text) }
    }

    /// What a client wants cannot be understood.
    #[cold]
    pub(crate) fn mistake(mistake: &Mistake) -> Self {
        let reply = match mistake {
            Mistake::User(why) => Self { error: "http_request_denied", ..Self::refusal(407, why) },
            Mistake::Password(why) => {
                Self { error: "http_request_denied", is_private: true, ..Self::refusal(407, why) }
            }
            Mistake::Field(why) => Self::refusal(400, why),
        };
        Self { denial: Some(Denial::Words), ..reply }
    }

    /// A client is not let in.
    #[cold]
    pub(crate) fn denied(denied: Denied) -> Self {
        let refused = |status, denial, text: &str| Self {
            error: "http_request_denied",
            denial: Some(denial),
            ..Self::refusal(status, text)
        };
        match denied {
            Denied::Missing => refused(407, Denial::Login, "this gateway wants a user name and a password"),
            Denied::Wrong => refused(407, Denial::Login, "the user name or the password is wrong"),
            Denied::Later(wait) => {
                let text = "credentials from this address were wrong too often, or too many are being checked";
                Self { retry_after: Some(wait), ..refused(429, Denial::Locked, text) }
            }
        }
    }

    /// A destination may not be reached.
    #[cold]
    pub(crate) fn forbidden(target: &Target) -> Self {
        let text = format!("this gateway does not reach {target}: a rule forbids it");
        Self { error: "http_request_denied", denial: Some(Denial::Rule), ..Self::refusal(403, text) }
    }

    /// A user has used up what it may have.
    #[cold]
    pub(crate) fn exceeded(exceeded: Exceeded, user: &str) -> Self {
        let denial = match exceeded {
            Exceeded::Rate(_) => Denial::Rate,
            Exceeded::Concurrency(_) => Denial::Concurrency,
            Exceeded::Quota(_) => Denial::Quota,
        };
        let refused = Self { denial: Some(denial), ..Self::refusal(429, exceeded.why(user)) };
        Self { error: "http_request_denied", retry_after: Some(exceeded.retry_after()), ..refused }
    }

    /// What is left to say when a request could not be served.
    #[cold]
    pub(crate) fn of(fault: &Fault, target: &str, attempts: usize) -> Self {
        let consequence = fault.consequence();
        let text = match (fault.side, fault.kind) {
            (Side::Ours, Kind::Exhausted | Kind::Limited) => {
                format!("no proxy is available for {target}: {}", fault.detail)
            }
            (Side::Ours, Kind::Timeout) => format!("{target}: {} ({} tried)", fault.detail, proxies(attempts)),
            (Side::Client, Kind::Denied) => format!("the gateway does not go there: {}", fault.detail),
            (Side::Client, _) => fault.to_string(),
            _ => format!("{target} could not be reached through {}: {fault}", proxies(attempts)),
        };
        // A SOCKS reply is a byte; what is left is an HTTP status.
        let is_refusal = fault.side == Side::Upstream && matches!(fault.stage, Stage::Handshake | Stage::Auth);
        let received = fault.code.filter(|code| is_refusal && *code >= 300);
        Self {
            status: consequence.status,
            error: consequence.proxy_status,
            text,
            received,
            retry_after: fault.retry_after,
            is_private: false,
            keeps_alive: false,
            explained: None,
            denial: None,
        }
    }

    /// The same, with how it came about for a client that asks.
    pub(crate) fn explained(self, explained: Option<Explained>) -> Self {
        Self { explained, ..self }
    }

    /// Whether its reason is over in a moment, so that the next request may be served.
    pub(crate) const fn is_passing(&self) -> bool {
        matches!(self.denial, Some(Denial::Rate | Denial::Concurrency))
    }

    /// The same on a connection that carries another request.
    pub(crate) const fn kept(mut self) -> Self {
        self.keeps_alive = true;
        self
    }

    /// What happened, in one sentence, for the log.
    pub(crate) fn text(&self) -> &str {
        if self.is_private { "there are words in the proxy password that cannot be" } else { &self.text }
    }

    /// The reply in bytes.
    pub(crate) fn to_bytes(&self, pseudonym: &str, body: Body) -> Vec<u8> {
        let mut text: String = self.text.chars().take(MAX_TEXT).map(printable).collect();
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        head.push_str("Content-Type: text/plain; charset=utf-8\r\n");
        head.push_str(&format!("Content-Length: {}\r\n", text.len() + 1));
        head.push_str(&format!("Proxy-Status: {pseudonym}; error={}", self.error));
        if let Some(status) = self.received {
            head.push_str(&format!("; received-status={status}"));
        }
        head.push_str(&format!("; details={}\r\n", sf_string(&text)));
        if self.status == 407 {
            head.push_str("Proxy-Authenticate: Basic realm=\"ProxyWhirl\", charset=\"UTF-8\"\r\n");
        }
        if let Some(wait) = self.retry_after.or((self.status == 503).then_some(Duration::from_secs(1))) {
            // Whole seconds, rounded up: earlier would be too early.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            head.push_str(&format!("Retry-After: {}\r\n", seconds.max(1)));
        }
        if let Some(explained) = &self.explained {
            head.push_str(&explained.lines());
        }
        head.push_str(if self.keeps_alive { "\r\n" } else { "Connection: close\r\n\r\n" });
        if body == Body::Send {
            text.push('\n');
            head.push_str(&text);
        }
        head.into_bytes()
    }
}

fn proxies(count: usize) -> String {
    if count == 1 { "1 proxy".to_owned() } else { format!("{count} proxies") }
}

fn printable(character: char) -> char {
    if character.is_control() { ' ' } else { character }
}

/// A string of structured fields (RFC 9651 §3.3.3): printable ASCII in quotes, `"` and `\` escaped. Other characters
/// become `?`.
fn sf_string(text: &str) -> String {
    let mut string = String::with_capacity(text.len() + 2);
    string.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => string.extend(['\\', character]),
            ' '..='~' => string.push(character),
            _ => string.push('?'),
        }
    }
    string.push('"');
    string
}

/// The reason phrase of the statuses that the gateway gives.
const fn reason(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        403 => "Forbidden",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        414 => "URI Too Long",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Error",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn rendered(reply: &ErrorReply) -> String {
        String::from_utf8(reply.to_bytes("proxywhirl", Body::Send)).unwrap()
    }

    #[test]
    fn an_error_says_what_happened_to_people_and_to_machines() {
        let fault = Fault::new(Side::Upstream, Stage::Connect, Kind::Refused, "127.0.0.1:9 refused the connection");
        let reply = rendered(&ErrorReply::of(&fault, "example.com:443", 3));
        assert!(reply.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{reply}");
        assert!(reply.contains("\r\nProxy-Status: proxywhirl; error=connection_refused; details=\""), "{reply}");
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        assert_eq!(
            body,
            "example.com:443 could not be reached through 3 proxies: upstream refused at connect: 127.0.0.1:9 refused \
             the connection\n"
        );
        assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{head}");
    }

    #[test]
    fn an_empty_pool_is_503_and_says_when_to_come_back() {
        let fault = Fault::new(Side::Ours, Stage::Select, Kind::Exhausted, "0 in the pool");
        let reply = rendered(&ErrorReply::of(&fault, "example.com:80", 0));
        assert!(reply.starts_with("HTTP/1.1 503 "), "{reply}");
        assert!(reply.contains("\r\nRetry-After: 1\r\n"), "{reply}");
    }

    #[test]
    fn who_is_not_let_in_hears_why_and_when_to_come_again() {
        let reply = rendered(&ErrorReply::denied(Denied::Missing));
        assert!(reply.starts_with("HTTP/1.1 407 ") && reply.contains("\r\nProxy-Authenticate: Basic "), "{reply}");
        assert!(reply.contains("; error=http_request_denied; "), "{reply}");
        let reply = rendered(&ErrorReply::denied(Denied::Later(Duration::from_millis(2_001))));
        assert!(reply.starts_with("HTTP/1.1 429 ") && reply.contains("\r\nRetry-After: 3\r\n"), "{reply}");
        let reply = rendered(&ErrorReply::exceeded(Exceeded::Concurrency(2), "anna"));
        assert!(reply.starts_with("HTTP/1.1 429 ") && reply.contains("\r\nRetry-After: 1\r\n"), "{reply}");
        let target = Target { host: "example.com".parse().unwrap(), port: 25 };
        assert!(rendered(&ErrorReply::forbidden(&target)).starts_with("HTTP/1.1 403 Forbidden\r\n"));
    }

    #[test]
    fn what_is_wrong_with_a_password_is_told_to_its_client_alone() {
        let reply = ErrorReply::mistake(&Mistake::Password("the proxy password has the key \"secret\"".to_owned()));
        assert!(rendered(&reply).contains("secret") && !reply.text().contains("secret"));
    }

    #[test]
    fn the_refusal_of_an_upstream_is_told_and_a_socks_reply_is_no_status() {
        let denied = |code| Fault::new(Side::Upstream, Stage::Handshake, Kind::Denied, "").with_code(code);
        assert!(rendered(&ErrorReply::of(&denied(503), "a:1", 1)).contains("; received-status=503; "));
        for code in [2, 255] {
            assert!(!rendered(&ErrorReply::of(&denied(code), "a:1", 1)).contains("received-status"));
        }
    }

    #[test]
    fn hostile_details_stay_inside_their_string() {
        let reply = rendered(&ErrorReply::refusal(400, "a\"b\\c\r\nX: y é"));
        assert!(reply.contains("; details=\"a\\\"b\\\\c  X: y ?\"\r\n"), "{reply}");
        assert!(!reply.contains("\r\nX: y"), "{reply}");
        assert!(rendered(&ErrorReply::refusal(400, "x".repeat(10_000))).len() < 1_500);
    }

    #[test]
    fn an_answer_to_head_has_the_length_but_no_body() {
        let bytes = ErrorReply::refusal(400, "no").to_bytes("proxywhirl", Body::Omit);
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains("\r\nContent-Length: 3\r\n") && text.ends_with("\r\n\r\n"), "{text}");
    }
}
