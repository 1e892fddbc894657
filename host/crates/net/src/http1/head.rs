//! The head of a request or a response, and what it says about the body (RFC 9112 §3, §4, §6).

use std::borrow::Cow;
use std::mem::MaybeUninit;

use super::headers::{Headers, is_text, is_token};
use super::{HeadError, MAX_HEADERS};
use crate::target::each_digit;

/// The head of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// The method, as it was written: methods are case-sensitive.
    pub method: Cow<'static, str>,
    /// The request target: a path, an absolute URI, `host:port`, or `*`.
    pub target: String,
    /// The digit behind `HTTP/1.`.
    pub minor_version: u8,
    /// The fields.
    pub headers: Headers,
}

/// The head of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status, 100 to 999.
    pub status: u16,
    /// The reason phrase; often empty, never of a meaning.
    pub reason: Cow<'static, str>,
    /// The digit behind `HTTP/1.`.
    pub minor_version: u8,
    /// The fields.
    pub headers: Headers,
}

/// How far a body reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLength {
    /// There is none.
    None,
    /// So many bytes.
    Exact(u64),
    /// Until the last chunk and the trailers.
    Chunked,
    /// Until the peer closes; only for responses.
    UntilClose,
}

/// A head that is read from the beginning of some bytes.
pub(super) trait Head: Sized {
    /// Parses the head with which these bytes begin, and says how long it is.
    fn parse_first(bytes: &[u8]) -> Result<(Self, usize), HeadError>;

    /// Parses a complete head.
    fn parse(bytes: &[u8]) -> Result<Self, HeadError> {
        // Where httparse sees the end elsewhere than we do, neither is right.
        let (head, length) = Self::parse_first(bytes)?;
        if length == bytes.len() { Ok(head) } else { Err(OTHER_END) }
    }
}

const OTHER_END: HeadError = HeadError::Malformed("an empty line that is not the end");

impl Head for RequestHead {
    fn parse_first(bytes: &[u8]) -> Result<(Self, usize), HeadError> {
        let mut fields = [const { MaybeUninit::uninit() }; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut []);
        let status = request.parse_with_uninit_headers(bytes, &mut fields).map_err(malformed)?;
        let (httparse::Status::Complete(length), Some(method), Some(target), Some(minor_version)) =
            (status, request.method, request.path, request.version)
        else {
            return Err(OTHER_END);
        };
        let headers = headers(bytes.get(..length).unwrap_or_default(), request.headers);
        // RFC 9112 §3.2: which of two hosts is meant is what a smuggler wants to be understood in two ways.
        if headers.get_all("host").nth(1).is_some() {
            return Err(HeadError::Malformed("more than one host field"));
        }
        let method = known(method, &["GET", "CONNECT", "POST", "HEAD", "PUT"]);
        Ok((Self { method, target: target.to_owned(), minor_version, headers }, length))
    }
}

impl RequestHead {
    /// How far the body reaches.
    ///
    /// # Errors
    /// [`HeadError::Malformed`] when it can be read in two ways.
    pub fn body(&self) -> Result<BodyLength, HeadError> {
        Ok(match framing(&self.headers, self.minor_version)? {
            Framing::Chunked => BodyLength::Chunked,
            Framing::Length(0) | Framing::Unsaid => BodyLength::None,
            Framing::Length(length) => BodyLength::Exact(length),
        })
    }

    /// Whether the client wants to send another request on this connection.
    #[must_use]
    pub fn keeps_alive(&self) -> bool {
        keeps_alive(&self.headers, self.minor_version)
    }

    /// Writes the head. What cannot stand in a target is percent-encoded, and what cannot stand in a method left out.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        self.write_as(&[&self.target], None, out);
    }

    /// The same with another target, in parts that follow each other, and with more fields behind its own. What cannot
    /// stand in the value of such a field is left out; its name is the caller's own.
    pub fn write_as<'a>(
        &self,
        target: &[&str],
        fields: impl IntoIterator<Item = (&'static str, &'a str)>,
        out: &mut Vec<u8>,
    ) {
        let target_length: usize = target.iter().map(|part| part.len()).sum();
        out.reserve(self.method.len() + target_length + self.headers.written_len() + 16);
        out.extend(self.method.bytes().filter(|byte| is_token(*byte)));
        out.push(b' ');
        target.iter().for_each(|part| write_target(part, out));
        out.extend_from_slice(if self.minor_version == 0 { b" HTTP/1.0\r\n" } else { b" HTTP/1.1\r\n" });
        self.headers.write_to(out);
        for (name, value) in fields {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            out.extend(value.bytes().filter(|byte| is_text(*byte)));
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// Writes a part of a target, all at once when nothing in it has to be encoded.
fn write_target(part: &str, out: &mut Vec<u8>) {
    let stands = |byte: u8| byte > b' ' && byte != 0x7f;
    // To the end in any case, so that many bytes are looked at in one step.
    if part.bytes().fold(true, |all_stand, byte| all_stand & stands(byte)) {
        out.extend_from_slice(part.as_bytes());
        return;
    }
    for byte in part.bytes() {
        if stands(byte) {
            out.push(byte);
        } else {
            out.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
}

impl Head for ResponseHead {
    fn parse_first(bytes: &[u8]) -> Result<(Self, usize), HeadError> {
        let mut fields = [const { MaybeUninit::uninit() }; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut []);
        let status = httparse::ParserConfig::default()
            .parse_response_with_uninit_headers(&mut response, bytes, &mut fields)
            .map_err(malformed)?;
        let (httparse::Status::Complete(length), Some(code), Some(minor_version)) =
            (status, response.code, response.version)
        else {
            return Err(OTHER_END);
        };
        if code < 100 {
            return Err(HeadError::Malformed("a status below 100"));
        }
        let reason = known(response.reason.unwrap_or_default(), &["OK", "", "Not Found", "Found", "Not Modified"]);
        let mut headers = headers(bytes.get(..length).unwrap_or_default(), response.headers);
        join_lengths(&mut headers);
        Ok((Self { status: code, reason, minor_version, headers }, length))
    }
}

impl ResponseHead {
    /// How far the body reaches, in the answer to a request of this method.
    ///
    /// # Errors
    /// [`HeadError::Malformed`] when it can be read in two ways.
    pub fn body(&self, request_method: &str) -> Result<BodyLength, HeadError> {
        let framing = framing(&self.headers, self.minor_version)?;
        if request_method == "CONNECT" && (200..300).contains(&self.status) {
            return Ok(BodyLength::None);
        }
        if self.status == 204 {
            // Whoever passes it on takes such a field off.
            return Ok(BodyLength::None);
        }
        if self.status < 200 {
            // A client that believed the field would take the next response for this one's body.
            return match framing {
                Framing::Unsaid | Framing::Length(0) => Ok(BodyLength::None),
                Framing::Chunked | Framing::Length(_) => Err(HeadError::Malformed("a body where there is none")),
            };
        }
        if request_method == "HEAD" || self.status == 304 {
            return Ok(BodyLength::None);
        }
        Ok(match framing {
            Framing::Chunked => BodyLength::Chunked,
            Framing::Length(0) => BodyLength::None,
            Framing::Length(length) => BodyLength::Exact(length),
            Framing::Unsaid => BodyLength::UntilClose,
        })
    }

    /// Whether the server keeps the connection open, as far as the head says; a body until close ends it anyway.
    #[must_use]
    pub fn keeps_alive(&self) -> bool {
        keeps_alive(&self.headers, self.minor_version)
    }

    /// Writes the head. What cannot stand in a reason phrase becomes a space.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        out.reserve(self.reason.len() + self.headers.written_len() + 32);
        out.extend_from_slice(if self.minor_version == 0 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
        each_digit(self.status, &mut |digit| out.push(digit));
        out.push(b' ');
        out.extend(self.reason.bytes().map(|byte| if is_text(byte) { byte } else { b' ' }));
        out.extend_from_slice(b"\r\n");
        self.headers.write_to(out);
        out.extend_from_slice(b"\r\n");
    }
}

const LENGTH: &str = "content-length";

/// What a head says about its body.
enum Framing {
    Chunked,
    Length(u64),
    Unsaid,
}

fn framing(headers: &Headers, minor_version: u8) -> Result<Framing, HeadError> {
    let mut codings = headers.get_all("transfer-encoding");
    let mut lengths = headers.get_all(LENGTH);
    let Some(coding) = codings.next() else {
        let Some(first) = lengths.next() else { return Ok(Framing::Unsaid) };
        if lengths.any(|other| other != first) {
            return Err(HeadError::Malformed("content-length fields that differ"));
        }
        return decimal(first).map(Framing::Length).ok_or(HeadError::Malformed("a content-length that is no number"));
    };
    if minor_version == 0 {
        return Err(HeadError::Malformed("transfer-encoding in HTTP/1.0"));
    }
    if lengths.next().is_some() {
        return Err(HeadError::Malformed("both transfer-encoding and content-length"));
    }
    if codings.next().is_some() || !coding.eq_ignore_ascii_case(b"chunked") {
        return Err(HeadError::Malformed("a transfer-encoding other than chunked"));
    }
    Ok(Framing::Chunked)
}

/// Reads digits and nothing else: `u64::from_str` accepts a sign.
fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |sum, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

fn keeps_alive(headers: &Headers, minor_version: u8) -> bool {
    if headers.has_token("connection", "close") {
        return false;
    }
    minor_version != 0 || headers.has_token("connection", "keep-alive")
}

fn headers(head: &[u8], fields: &[httparse::Header<'_>]) -> Headers {
    let mut headers = Headers::of_head(head, fields);
    headers.collapse(LENGTH);
    headers
}

/// Makes one length of a response's that is said several times in one field, as in `3, 3` (RFC 9110 §8.6): it is passed on as one. In a
/// request it is refused: a proxy before us may have read something else.
fn join_lengths(headers: &mut Headers) {
    let Some(list) = headers.get(LENGTH).filter(|value| value.contains(&b',')) else { return };
    let mut lengths = list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let Some(first) = lengths.next().filter(|first| decimal(first).is_some()) else { return };
    if lengths.all(|other| other == first) && headers.get_all(LENGTH).count() == 1 {
        let length = first.to_vec();
        // Digits can stand in a field.
        headers.set(LENGTH, length).ok();
    }
}

/// A word of a first line, without an allocation where it is one that nearly all have.
fn known(word: &str, words: &[&'static str]) -> Cow<'static, str> {
    let known = words.iter().copied().find(|known| *known == word);
    known.map_or_else(|| Cow::Owned(word.to_owned()), Cow::Borrowed)
}

fn malformed(error: httparse::Error) -> HeadError {
    HeadError::Malformed(match error {
        httparse::Error::TooManyHeaders => return HeadError::TooLarge,
        httparse::Error::HeaderName => "a field name that is no token",
        httparse::Error::HeaderValue => "a control character in a field value",
        httparse::Error::NewLine => "a line end where there is none",
        httparse::Error::Status => "a status that is no number",
        httparse::Error::Token => "a first line that is not HTTP",
        httparse::Error::Version => "a version other than HTTP/1.0 and HTTP/1.1",
    })
}
