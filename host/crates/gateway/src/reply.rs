//! What the gateway itself answers over HTTP: that a tunnel is open, that the body may come, and errors.
//!
//! An error says in one sentence what happened, and the same for machines in `Proxy-Status` (RFC 9209).

use proxywhirl_core::{Fault, Kind, Side, Stage};

use crate::wanted::Mistake;

/// The answer to CONNECT once the tunnel is open.
pub(crate) const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";
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

/// An error as the client sees it. The connection is closed after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ErrorReply {
    pub(crate) status: u16,
    /// The `error` parameter of `Proxy-Status`.
    error: &'static str,
    /// One sentence, without a line end.
    text: String,
    /// The status that an upstream gave.
    received: Option<u16>,
}

impl ErrorReply {
    /// The client's own mistake.
    pub(crate) fn refusal(status: u16, text: impl Into<String>) -> Self {
        let error = if status == 408 { "connection_read_timeout" } else { "http_request_error" };
        Self { status, error, text: text.into(), received: None }
    }

    /// What a client wants cannot be understood.
    pub(crate) fn mistake(mistake: &Mistake) -> Self {
        match mistake {
            Mistake::User(why) => Self { error: "http_request_denied", ..Self::refusal(407, why) },
            Mistake::Field(why) => Self::refusal(400, why),
        }
    }

    /// What is left to say when a request could not be served.
    pub(crate) fn of(fault: &Fault, target: &str, attempts: usize) -> Self {
        let consequence = fault.consequence();
        let text = match (fault.side, fault.kind) {
            (Side::Ours, Kind::Exhausted) => format!("no proxy is available for {target}: {}", fault.detail),
            (Side::Ours, Kind::Timeout) => format!("{target}: {} ({} tried)", fault.detail, proxies(attempts)),
            (Side::Client, _) => fault.to_string(),
            _ => format!("{target} could not be reached through {}: {fault}", proxies(attempts)),
        };
        // SOCKS replies are single digits; what is left is an HTTP status.
        let is_refusal = fault.side == Side::Upstream && matches!(fault.stage, Stage::Handshake | Stage::Auth);
        let received = fault.code.filter(|code| is_refusal && *code >= 100);
        Self { status: consequence.status, error: consequence.proxy_status, text, received }
    }

    /// What happened, in one sentence.
    pub(crate) fn text(&self) -> &str {
        &self.text
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
        if self.status == 503 {
            head.push_str("Retry-After: 1\r\n");
        }
        head.push_str("Connection: close\r\n\r\n");
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
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        414 => "URI Too Long",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
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
    fn the_refusal_of_an_upstream_is_told_and_a_socks_reply_is_no_status() {
        let denied = |code| Fault::new(Side::Upstream, Stage::Handshake, Kind::Denied, "").with_code(code);
        assert!(rendered(&ErrorReply::of(&denied(503), "a:1", 1)).contains("; received-status=503; "));
        assert!(!rendered(&ErrorReply::of(&denied(2), "a:1", 1)).contains("received-status"));
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
