//! The beginning of a body, as rules look at it: without the framing of chunks (RFC 9112 §7.1) and decompressed, whatever the
//! client gets of it.

use std::borrow::Cow;
use std::io::Read;
use std::time::Duration;

use bytes::BytesMut;
use flate2::read::{DeflateDecoder, GzDecoder, ZlibDecoder};
use proxywhirl_net::http1::{BodyLength, ResponseHead};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::{Instant, timeout_at};

use crate::dechunk::Framing;

/// How much of a body is looked at, before and after it is decompressed: what a regular expression looks for is near its
/// beginning.
pub(crate) const MAX_BODY: usize = 64 * 1024;

/// How much is read for that: chunks of a byte are mostly framing.
const MAX_READ: usize = 2 * MAX_BODY;

/// How long that much is waited for; then the answer passes, and is looked at as it does.
const BODY_LIMIT: Duration = Duration::from_secs(1);

/// What part of the time that a request has left its answer may be held for.
const SHARE: u32 = 4;

/// How much is read at a time.
const READ: usize = 8 * 1024;

/// Until when the body of an answer that is there now may be waited for, when its request has time until then.
pub(crate) fn held_until(deadline: Instant) -> Instant {
    let now = Instant::now();
    now + BODY_LIMIT.min(deadline.duration_since(now) / SHARE)
}

/// How a body is compressed (RFC 9110 §8.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    /// Not, or in a way that is not known here.
    Plain,
    Gzip,
    Deflate,
}

impl Coding {
    fn of(head: &ResponseHead) -> Self {
        let mut codings = head.headers.get_all("content-encoding");
        let (Some(coding), None) = (codings.next(), codings.next()) else { return Self::Plain };
        let coding = coding.trim_ascii();
        if coding.eq_ignore_ascii_case(b"gzip") || coding.eq_ignore_ascii_case(b"x-gzip") {
            Self::Gzip
        } else if coding.eq_ignore_ascii_case(b"deflate") {
            Self::Deflate
        } else {
            Self::Plain
        }
    }
}

/// What has come of a body, as much as is looked at.
#[derive(Debug)]
pub(crate) struct Beginning {
    length: BodyLength,
    framing: Framing,
    coding: Coding,
    data: Vec<u8>,
    /// Whether it has ended, by whatever it was.
    has_ended: bool,
}

impl Beginning {
    /// Of the body of this answer, of which nothing has come.
    pub(crate) fn of(head: &ResponseHead, length: BodyLength) -> Self {
        Self { length, framing: Framing::default(), coding: Coding::of(head), data: Vec::new(), has_ended: false }
    }

    /// Takes what has come.
    pub(crate) fn see(&mut self, bytes: &[u8]) {
        if self.length != BodyLength::Chunked {
            return self.keep(bytes);
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let (framing, data) = self.framing.next(rest);
            self.keep(rest.get(framing..framing + data).unwrap_or_default());
            self.framing.took(data);
            rest = rest.get(framing + data..).unwrap_or_default();
        }
    }

    fn keep(&mut self, data: &[u8]) {
        let room = MAX_BODY - self.data.len();
        self.data.extend_from_slice(data.get(..room).unwrap_or(data));
    }

    /// Whether that is all that is looked at.
    pub(crate) fn is_whole(&self) -> bool {
        let has_come = self.data.len();
        has_come >= MAX_BODY
            || match self.length {
                BodyLength::None => true,
                BodyLength::Exact(length) => has_come as u64 >= length,
                BodyLength::Chunked => self.framing.is_over(),
                BodyLength::UntilClose => false,
            }
    }

    /// Whether it has ended before it was whole.
    pub(super) const fn is_cut_off(&self) -> bool {
        self.has_ended && !matches!(self.length, BodyLength::UntilClose)
    }

    /// What a regular expression is matched with. Of what cannot be decompressed to its end, it is what came before; what is not
    /// compressed at all, though its head says so, is matched as it is.
    pub(crate) fn text(&self) -> Cow<'_, [u8]> {
        let data = self.data.as_slice();
        let text = match self.coding {
            Coding::Plain => return Cow::Borrowed(data),
            Coding::Gzip => decompressed(GzDecoder::new(data)),
            // It ought to be in the format of zlib, and is without that by mistake of old servers. The first byte says so.
            Coding::Deflate if data.first().is_some_and(|first| first & 0x0f == 8) => {
                decompressed(ZlibDecoder::new(data))
            }
            Coding::Deflate => decompressed(DeflateDecoder::new(data)),
        };
        if text.is_empty() { Cow::Borrowed(data) } else { Cow::Owned(text) }
    }

    /// Reads until that is all that is looked at, or it ends. Everything that is read stays in the buffer.
    pub(super) async fn read<R: AsyncRead + Unpin>(&mut self, reader: &mut R, buffer: &mut BytesMut, until: Instant) {
        let reading = async {
            while !self.is_whole() && buffer.len() < MAX_READ {
                buffer.reserve(READ);
                let before = buffer.len();
                // What ends here is noticed again by whoever passes the body on.
                if !matches!(reader.read_buf(buffer).await, Ok(1..)) {
                    self.has_ended = true;
                    break;
                }
                self.see(buffer.get(before..).unwrap_or_default());
            }
        };
        // What is there by then is what is looked at.
        drop(timeout_at(until, reading).await);
    }
}

fn decompressed(decoder: impl Read) -> Vec<u8> {
    let mut text = Vec::new();
    // What was read before it failed stays.
    drop(decoder.take(MAX_BODY as u64).read_to_end(&mut text));
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use proxywhirl_net::http1::Headers;

    use super::*;

    fn head(coding: &str) -> ResponseHead {
        let mut headers = Headers::new();
        headers.append("Content-Encoding", coding).unwrap();
        ResponseHead { status: 200, reason: "".into(), minor_version: 1, headers }
    }

    /// What is looked at of a body that comes in pieces of this size.
    fn seen(coding: &str, length: BodyLength, body: &[u8], size: usize) -> (String, bool) {
        let mut beginning = Beginning::of(&head(coding), length);
        body.chunks(size).for_each(|piece| beginning.see(piece));
        (String::from_utf8_lossy(&beginning.text()).into_owned(), beginning.is_whole())
    }

    #[test]
    fn chunks_are_put_together_and_what_is_beside_them_is_not_looked_at() {
        let body = b"3;bad=1\r\ncap\r\nbad\r\n".to_vec();
        let body = [body, vec![b'x'; 0xbad], b"\r\n5\r\ntcha!\r\n0\r\nTrailer: bad\r\n\r\n".to_vec()].concat();
        for size in [1, 2, 7, 4096] {
            let (text, is_whole) = seen("identity", BodyLength::Chunked, &body, size);
            assert_eq!((text.len(), text.contains("bad"), is_whole), (8 + 0xbad, false, true), "{size}");
            assert!(!seen("identity", BodyLength::Chunked, &body[..body.len() - 20], size).1, "{size}");
        }
    }

    #[test]
    fn what_is_compressed_is_looked_at_decompressed_as_far_as_that_goes() {
        let text = "solve this captcha ".repeat(10_000);
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        let mut raw = DeflateEncoder::new(Vec::new(), Compression::fast());
        for encoder in [&mut gzip as &mut dyn std::io::Write, &mut zlib, &mut raw] {
            encoder.write_all(text.as_bytes()).unwrap();
        }
        for (coding, body) in
            [("gzip", gzip.finish().unwrap()), ("deflate", zlib.finish().unwrap()), ("deflate", raw.finish().unwrap())]
        {
            let length = BodyLength::Exact(body.len() as u64);
            let (found, is_whole) = seen(coding, length, &body, 100);
            assert!(is_whole);
            assert_eq!(found, text[..MAX_BODY], "{coding}");
            // What is not there yet does no harm.
            let (found, is_whole) = seen(coding, length, &body[..body.len() / 2], 100);
            assert!(!is_whole && text.starts_with(&found), "{coding}");
        }
        let plain = b"<html>a captcha that some box has put in";
        let (found, _) = seen("X-GZip", BodyLength::Exact(plain.len() as u64), plain, 10);
        assert_eq!(found.as_bytes(), plain);
        assert_eq!(seen("br", BodyLength::Exact(4), b"text", 2), ("text".to_owned(), true));
    }

    #[tokio::test(start_paused = true)]
    async fn the_beginning_of_a_body_is_bounded_in_size_and_time() {
        let begun = |length| Beginning::of(&head("identity"), length);
        let (mut buffer, until) = (BytesMut::new(), Instant::now() + BODY_LIMIT);
        let mut endless = begun(BodyLength::UntilClose);
        endless.read(&mut tokio::io::repeat(b'x'), &mut buffer, until).await;
        assert!((MAX_BODY..=2 * MAX_BODY).contains(&buffer.len()), "{}", buffer.len());
        assert_eq!((endless.text().len(), endless.is_whole()), (MAX_BODY, true));
        let mut buffer = BytesMut::new();
        let framed = b"1\r\nx\r\n".repeat(MAX_BODY);
        let mut mostly_framing = begun(BodyLength::Chunked);
        mostly_framing.read(&mut framed.as_slice(), &mut buffer, until).await;
        assert!((MAX_READ..=MAX_READ + READ).contains(&buffer.len()), "{}", buffer.len());
        let (_silent, mut reader) = tokio::io::duplex(64);
        let began = Instant::now();
        let mut all = begun(BodyLength::Exact(100));
        all.read(&mut reader, &mut BytesMut::new(), until).await;
        assert_eq!((began.elapsed(), all.is_whole()), (BODY_LIMIT, false));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_held_within_the_time_of_its_request() {
        let now = Instant::now();
        for (left, held) in [(60_000, 1_000), (2_000, 500), (0, 0)] {
            assert_eq!(held_until(now + Duration::from_millis(left)) - now, Duration::from_millis(held), "{left}");
        }
    }
}
