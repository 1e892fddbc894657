//! Message heads: reading them with a ceiling, and the facts in them. A head keeps its raw bytes and the places of its
//! fields, so that reading one costs two allocations and forwarding one copies slices.

use std::io;
use std::ops::Range;

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

use super::Framing;

/// Bytes in a head, start line and all.
pub(crate) const MAX_HEAD: usize = 64 * 1024;

/// Why there is no head.
#[derive(Debug)]
pub(crate) enum HeadError {
    /// The connection failed or ended in the middle.
    Io(io::Error),
    /// More than 64 KiB without an end.
    TooLarge,
    /// It is not HTTP/1.x; the text says where.
    Malformed(&'static str),
}

impl From<io::Error> for HeadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<HeadError> for io::Error {
    fn from(error: HeadError) -> Self {
        match error {
            HeadError::Io(error) => error,
            HeadError::TooLarge => Self::new(io::ErrorKind::InvalidData, "head over 64 KiB"),
            HeadError::Malformed(what) => Self::new(io::ErrorKind::InvalidData, what),
        }
    }
}

/// A head's fields in the order they came.
#[derive(Debug)]
pub(crate) struct Head {
    raw: Vec<u8>,
    line: Range<usize>,
    fields: Vec<(Range<usize>, Range<usize>)>,
}

impl Head {
    /// The start line; it was checked to be visible ASCII.
    fn line(&self) -> &str {
        text(self.raw.get(self.line.clone()))
    }

    /// Names (as written) and values.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.fields
            .iter()
            .map(|(name, value)| (text(self.raw.get(name.clone())), self.raw.get(value.clone()).unwrap_or_default()))
    }

    /// All values of a field.
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.fields().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The first value of a field, if it is UTF-8.
    pub(crate) fn get<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.values(name).next().and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Whether a comma-separated field names `token`.
    pub(crate) fn has_token(&self, name: &str, token: &str) -> bool {
        self.values(name).any(|value| {
            value.split(|byte| *byte == b',').any(|part| part.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
        })
    }

    /// The framing that the fields declare; `otherwise` when they declare none.
    fn framing(&self, otherwise: Framing) -> Result<Framing, HeadError> {
        let mut length = None;
        for value in self.values("content-length") {
            let number = parse_length(value).ok_or(HeadError::Malformed("content-length is not a number"))?;
            if length.is_some_and(|seen| seen != number) {
                return Err(HeadError::Malformed("two different content-lengths"));
            }
            length = Some(number);
        }
        let mut codings = self.values("transfer-encoding");
        match (codings.next(), codings.next(), length) {
            (None, _, None) => Ok(otherwise),
            (None, _, Some(length)) => Ok(Framing::Length(length)),
            (Some(coding), None, None) if coding.eq_ignore_ascii_case(b"chunked") => Ok(Framing::Chunked),
            (Some(_), _, Some(_)) => Err(HeadError::Malformed("both content-length and transfer-encoding")),
            (Some(_), _, None) => Err(HeadError::Malformed("transfer-encoding is not chunked")),
        }
    }
}

/// A request's head.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) head: Head,
    pub(crate) method: String,
    pub(crate) target: String,
    /// The 1 of HTTP/1.1.
    pub(crate) minor: u8,
    pub(crate) framing: Framing,
}

impl Request {
    /// Whether the client wants the connection kept.
    pub(crate) fn keeps_alive(&self) -> bool {
        let says = |token| self.head.has_token("connection", token) || self.head.has_token("proxy-connection", token);
        if self.minor == 0 { says("keep-alive") } else { !says("close") }
    }

    /// Whether the client waits for a 100 before it sends its body.
    pub(crate) fn expects_continue(&self) -> bool {
        self.minor > 0 && self.framing != Framing::Length(0) && self.head.has_token("expect", "100-continue")
    }
}

/// A response's head.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) head: Head,
    pub(crate) status: u16,
    pub(crate) reason: String,
    pub(crate) minor: u8,
    pub(crate) framing: Framing,
}

impl Response {
    /// Whether the server will take another request on this connection.
    pub(crate) fn keeps_alive(&self) -> bool {
        if self.framing == Framing::UntilClose {
            false
        } else if self.minor == 0 {
            self.head.has_token("connection", "keep-alive")
        } else {
            !self.head.has_token("connection", "close")
        }
    }
}

/// Reads a request's head; `None` when the connection ended before its first byte.
pub(crate) async fn read_request<R: AsyncBufRead + Unpin>(reader: &mut R) -> Result<Option<Request>, HeadError> {
    let Some(head) = read_head(reader).await? else {
        return Ok(None);
    };
    let mut parts = head.line().split(' ');
    let (Some(method), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(HeadError::Malformed("request line has not three parts"));
    };
    if method.is_empty() || !method.bytes().all(is_token) || target.is_empty() {
        return Err(HeadError::Malformed("request line has no method or target"));
    }
    let minor = minor_version(version)?;
    let (method, target) = (method.to_owned(), target.to_owned());
    let framing = head.framing(Framing::Length(0))?;
    Ok(Some(Request { head, method, target, minor, framing }))
}

/// Reads the head of the response to a request with `method`.
pub(crate) async fn read_response<R: AsyncBufRead + Unpin>(
    reader: &mut R,
    method: &str,
) -> Result<Response, HeadError> {
    let Some(head) = read_head(reader).await? else {
        return Err(HeadError::Io(io::ErrorKind::UnexpectedEof.into()));
    };
    let mut parts = head.line().splitn(3, ' ');
    let minor = minor_version(parts.next().unwrap_or_default())?;
    let status = parts
        .next()
        .filter(|digits| digits.len() == 3)
        .and_then(|digits| digits.parse::<u16>().ok())
        .filter(|status| *status >= 100)
        .ok_or(HeadError::Malformed("status line has no status"))?;
    let reason = parts.next().unwrap_or_default().to_owned();
    let bodiless = method == "HEAD" || status < 200 || status == 204 || status == 304;
    let framing = if bodiless { Framing::Length(0) } else { head.framing(Framing::UntilClose)? };
    Ok(Response { head, status, reason, minor, framing })
}

async fn read_head<R: AsyncBufRead + Unpin>(reader: &mut R) -> Result<Option<Head>, HeadError> {
    let mut raw = Vec::new();
    loop {
        let chunk = reader.fill_buf().await?;
        let got = chunk.len();
        if got == 0 {
            return if raw.is_empty() { Ok(None) } else { Err(HeadError::Io(io::ErrorKind::UnexpectedEof.into())) };
        }
        let before = raw.len();
        raw.extend_from_slice(chunk);
        if let Some(end) = find_end(&raw, before)? {
            reader.consume(end.saturating_sub(before));
            raw.truncate(end);
            if raw.len() > MAX_HEAD {
                return Err(HeadError::TooLarge);
            }
            return split(raw).map(Some);
        }
        reader.consume(got);
        if raw.len() > MAX_HEAD {
            return Err(HeadError::TooLarge);
        }
    }
}

/// The length of the head with its empty line, looking at line feeds from `from` on.
fn find_end(raw: &[u8], from: usize) -> Result<Option<usize>, HeadError> {
    let fresh = raw.get(from..).unwrap_or_default();
    for (offset, _) in fresh.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
        let end = from + offset + 1;
        let line = raw.get(..end).unwrap_or_default();
        if !line.ends_with(b"\r\n") {
            return Err(HeadError::Malformed("line feed without carriage return"));
        }
        if line.ends_with(b"\r\n\r\n") {
            return Ok(Some(end));
        }
    }
    Ok(None)
}

fn split(raw: Vec<u8>) -> Result<Head, HeadError> {
    let mut lines = Lines { raw: &raw, at: 0 };
    let line = lines.next().unwrap_or_default();
    let visible = |byte: &u8| (0x20..0x7f).contains(byte);
    let start = raw.get(line.clone()).unwrap_or_default();
    if start.is_empty() || !start.iter().all(visible) {
        return Err(HeadError::Malformed("start line is not visible ascii"));
    }
    let mut fields = Vec::with_capacity(16);
    for span in lines {
        let bytes = raw.get(span.clone()).unwrap_or_default();
        if bytes.is_empty() {
            break;
        }
        fields.push(split_field(bytes, span.start)?);
    }
    Ok(Head { raw, line, fields })
}

fn split_field(line: &[u8], at: usize) -> Result<(Range<usize>, Range<usize>), HeadError> {
    let colon =
        line.iter().position(|byte| *byte == b':').ok_or(HeadError::Malformed("header line without a colon"))?;
    let (name, rest) = line.split_at(colon);
    if name.is_empty() || !name.iter().copied().all(is_token) {
        return Err(HeadError::Malformed("header name is not a token"));
    }
    let value = rest.get(1..).unwrap_or_default();
    if value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
        return Err(HeadError::Malformed("control character in a header value"));
    }
    let leading = value.len() - value.trim_ascii_start().len();
    let start = at + colon + 1 + leading;
    let end = start + value.trim_ascii().len();
    Ok((at..at + colon, start..end))
}

/// The places of the lines of a head, without their ends.
struct Lines<'a> {
    raw: &'a [u8],
    at: usize,
}

impl Iterator for Lines<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let rest = self.raw.get(self.at..)?;
        let length = rest.iter().position(|byte| *byte == b'\n')?;
        let start = self.at;
        self.at += length + 1;
        Some(start..start + length.saturating_sub(1))
    }
}

fn minor_version(version: &str) -> Result<u8, HeadError> {
    match version {
        "HTTP/1.1" => Ok(1),
        "HTTP/1.0" => Ok(0),
        _ => Err(HeadError::Malformed("version is not http/1.0 or http/1.1")),
    }
}

/// Digits only: no sign, no blanks, no overflow.
fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// The characters of a header name or a method (RFC 9110, 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn text(bytes: Option<&[u8]>) -> &str {
    bytes.and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    async fn request(text: &str) -> Result<Option<Request>, HeadError> {
        read_request(&mut text.as_bytes()).await
    }

    #[tokio::test]
    async fn a_head_keeps_its_fields_in_order_and_as_written() {
        let head =
            request("GET /x HTTP/1.1\r\nHost: a\r\nX-B:  two words \r\nx-b:\r\n\r\nrest").await.unwrap().unwrap();
        assert_eq!((head.method.as_str(), head.target.as_str()), ("GET", "/x"));
        let fields: Vec<_> = head.head.fields().collect();
        let expected: [(&str, &[u8]); 3] = [("Host", b"a"), ("X-B", b"two words"), ("x-b", b"")];
        assert_eq!(fields, expected);
        assert_eq!(head.framing, Framing::Length(0));
    }

    #[tokio::test]
    async fn a_head_that_arrives_byte_by_byte_is_the_same_head() {
        let text = "GET / HTTP/1.1\r\nHost: a\r\n\r\nbody";
        let mut reader = tokio::io::BufReader::with_capacity(1, text.as_bytes());
        let head = read_request(&mut reader).await.unwrap().unwrap();
        assert_eq!(head.head.get("host"), Some("a"));
        assert_eq!(reader.fill_buf().await.unwrap(), b"b");
    }

    #[tokio::test]
    async fn what_is_not_http_is_refused() {
        for text in [
            "GET / HTTP/1.1\n\n",
            "GET /\r\n\r\n",
            "GET  / HTTP/1.1\r\n\r\n",
            "GET / HTTP/2.0\r\n\r\n",
            "\r\nGET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nno colon\r\n\r\n",
            "GET / HTTP/1.1\r\n folded: x\r\n\r\n",
            "GET / HTTP/1.1\r\nName : x\r\n\r\n",
            "GET / HTTP/1.1\r\nA: b\0c\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
        ] {
            assert!(matches!(request(text).await, Err(HeadError::Malformed(_))), "{text:?}");
        }
    }

    #[tokio::test]
    async fn a_head_without_end_stops_at_the_ceiling() {
        let text = format!("GET / HTTP/1.1\r\nA: {}", "x".repeat(2 * MAX_HEAD));
        assert!(matches!(request(&text).await, Err(HeadError::TooLarge)));
    }

    #[tokio::test]
    async fn an_end_between_heads_is_no_error_and_one_within_is() {
        assert!(request("").await.unwrap().is_none());
        assert!(matches!(request("GET / HT").await, Err(HeadError::Io(_))));
    }
}
