//! Passing a body on while it arrives.
//!
//! A body is never held whole. A chunked one is passed on byte for byte, and its framing is checked on the way:
//! what the other side will read as its end must be what we read as its end. Its trailers are passed on once all of them are
//! known: if one of them is a field that cannot be a trailer, none of them is.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::Poll;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::headers::{is_text, is_token};
use super::{BodyLength, CopyError, HeadError};

/// How much is asked of the stream at a time: with 8 kB, bulk transfers cost twice the CPU.
const READ: usize = 64 * 1024;

/// The least that is asked for: a short body does not need a large buffer.
const READ_LEAST: usize = 4 * 1024;

/// The longest line with a chunk's size and extensions. Nobody uses extensions; a size has at most 16 digits.
const MAX_CHUNK_LINE: u16 = 256;

/// The most bytes of trailers.
const MAX_TRAILERS: u16 = 8 * 1024;

/// What a chunked body ends with.
const END: &[u8] = b"\r\n";

/// Fields that mean something before the body only (RFC 9110 §6.5.1); behind it they are a mistake, or an attempt to be misread.
const NO_TRAILER: [&str; 8] = [
    "content-length",
    "transfer-encoding",
    "host",
    "connection",
    "upgrade",
    "te",
    "proxy-authorization",
    "authorization",
];

/// Passes a body of this length from one side to the other, beginning with what is in `buffer`, and says how many bytes
/// it wrote, those of the chunks' framing included. What follows the body stays in `buffer`. Flushes at the end, and
/// whenever no input is waiting.
///
/// # Errors
/// [`CopyError`] says which side failed; the body cannot be continued then.
pub async fn copy_body<R, W>(
    from: &mut R,
    buffer: &mut BytesMut,
    to: &mut W,
    length: BodyLength,
) -> Result<u64, CopyError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let copied = match length {
        BodyLength::None => return Ok(0),
        BodyLength::Exact(length) => copy_exact(from, buffer, to, length).await?,
        BodyLength::Chunked => copy_chunked(from, buffer, to).await?,
        BodyLength::UntilClose => copy_until_close(from, buffer, to).await?,
    };
    to.flush().await.map_err(CopyError::Write)?;
    Ok(copied)
}

async fn copy_exact<R, W>(from: &mut R, buffer: &mut BytesMut, to: &mut W, length: u64) -> Result<u64, CopyError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut left = length;
    loop {
        let ready = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        pass(buffer, to, ready).await?;
        left -= ready as u64;
        if left == 0 {
            return Ok(length);
        }
        let wanted = usize::try_from(left).unwrap_or(READ).clamp(READ_LEAST, READ);
        if fill(from, buffer, to, wanted).await? == 0 {
            return Err(CopyError::Read(HeadError::Closed));
        }
    }
}

async fn copy_chunked<R, W>(from: &mut R, buffer: &mut BytesMut, to: &mut W) -> Result<u64, CopyError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut framing = ChunkedFraming::new();
    let mut copied = 0;
    loop {
        // Trailers stay in the buffer until all of them are known.
        let held = framing.trailers();
        let taken = held + framing.advance(buffer.get(held..).unwrap_or_default()).map_err(CopyError::Read)?;
        let chunks = taken - framing.trailers();
        let ready = match (framing.is_complete(), framing.has_forbidden) {
            (false, _) => chunks,
            (true, false) => taken,
            (true, true) => discard(buffer, chunks, taken),
        };
        pass(buffer, to, ready).await?;
        copied += ready as u64;
        if framing.is_complete() {
            return Ok(copied);
        }
        if fill(from, buffer, to, READ).await? == 0 {
            return Err(CopyError::Read(HeadError::Closed));
        }
    }
}

async fn copy_until_close<R, W>(from: &mut R, buffer: &mut BytesMut, to: &mut W) -> Result<u64, CopyError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut copied = 0;
    loop {
        let ready = buffer.len();
        pass(buffer, to, ready).await?;
        copied += ready as u64;
        if fill(from, buffer, to, READ).await? == 0 {
            return Ok(copied);
        }
    }
}

/// Takes the trailers out of a body that ends in the buffer, and says where it ends then.
fn discard(buffer: &mut BytesMut, chunks: usize, end: usize) -> usize {
    let rest = buffer.split_off(end - END.len());
    buffer.truncate(chunks);
    buffer.unsplit(rest);
    chunks + END.len()
}

/// Writes the first bytes of the buffer, and drops them from it.
async fn pass<W: AsyncWrite + Unpin>(buffer: &mut BytesMut, to: &mut W, length: usize) -> Result<(), CopyError> {
    if length > 0 {
        to.write_all(buffer.get(..length).unwrap_or_default()).await.map_err(CopyError::Write)?;
        buffer.advance(length);
    }
    Ok(())
}

/// Reads more, and flushes first when that has to wait.
async fn fill<R, W>(from: &mut R, buffer: &mut BytesMut, to: &mut W, wanted: usize) -> Result<usize, CopyError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    buffer.reserve(wanted);
    let mut read = pin!(from.read_buf(buffer));
    let result = match poll_fn(|context| Poll::Ready(read.as_mut().poll(context))).await {
        Poll::Ready(result) => result,
        // A receiver that has more to tell than that everything is sent may tell it while nothing comes.
        Poll::Pending => {
            poll_fn(|context| match read.as_mut().poll(context) {
                Poll::Pending => match Pin::new(&mut *to).poll_flush(context) {
                    Poll::Ready(Err(error)) => Poll::Ready(Err(CopyError::Write(error))),
                    Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
                },
                Poll::Ready(result) => Poll::Ready(Ok(result)),
            })
            .await?
        }
    };
    result.map_err(|error: io::Error| CopyError::Read(error.into()))
}

/// Follows the framing of a chunked body (RFC 9112 §7.1) without holding the body.
///
/// Only what every reader understands in the same way passes: line ends are CR LF, sizes have at most 16 digits, and
/// neither extensions nor trailers hold control characters.
#[derive(Debug)]
pub struct ChunkedFraming {
    state: State,
    /// Bytes of the present size line, or of all trailers so far.
    counted: u16,
    /// Whether one of the trailers cannot be one.
    has_forbidden: bool,
    /// The trailer line that is not complete yet; capped with the trailers.
    trailer: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In the digits of a size; so many were read.
    Size { digits: u8, size: u64 },
    /// In the white space behind a size.
    Padding { size: u64 },
    /// In the extensions behind a size.
    Extension { size: u64 },
    /// Before the line feed of a size line.
    SizeFeed { size: u64 },
    /// In the data; so much is left.
    Data { left: u64 },
    /// Before the carriage return behind the data.
    DataReturn,
    /// Before the line feed behind the data.
    DataFeed,
    /// In a line of the trailers, or of the end.
    Trailer,
    /// Before the line feed of such a line.
    TrailerFeed,
    /// Behind the end.
    Complete,
}

impl State {
    const START: Self = Self::Size { digits: 0, size: 0 };
}

impl Default for ChunkedFraming {
    fn default() -> Self {
        Self::new()
    }
}

impl ChunkedFraming {
    /// Before the first byte of a body.
    #[must_use]
    pub const fn new() -> Self {
        Self { state: State::START, counted: 0, has_forbidden: false, trailer: Vec::new() }
    }

    /// Whether the body has ended.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        matches!(self.state, State::Complete)
    }

    /// How many of the last bytes are trailers, or the empty line behind them.
    fn trailers(&self) -> usize {
        match self.state {
            State::Trailer | State::TrailerFeed | State::Complete => self.counted.into(),
            State::Size { .. } | State::Padding { .. } | State::Extension { .. } | State::SizeFeed { .. } => 0,
            State::Data { .. } | State::DataReturn | State::DataFeed => 0,
        }
    }

    /// How many of these bytes belong to the body: all, until it ends.
    ///
    /// # Errors
    /// [`HeadError`] when they are not a chunked body's, or a line is too long.
    pub fn advance(&mut self, input: &[u8]) -> Result<usize, HeadError> {
        let mut at = 0;
        while !self.is_complete() {
            if let State::Data { left } = self.state {
                let here = usize::try_from(left).unwrap_or(usize::MAX).min(input.len() - at);
                at += here;
                let left = left - here as u64;
                self.state = if left == 0 { State::DataReturn } else { State::Data { left } };
            }
            let Some(byte) = input.get(at) else { break };
            self.state = self.step(*byte)?;
            at += 1;
        }
        Ok(at)
    }

    fn step(&mut self, byte: u8) -> Result<State, HeadError> {
        self.counted += 1;
        let line_is_long = match self.state {
            State::Size { .. } | State::Padding { .. } | State::Extension { .. } => self.counted > MAX_CHUNK_LINE,
            State::Trailer => self.counted > MAX_TRAILERS,
            State::SizeFeed { .. } | State::Data { .. } | State::DataReturn | State::DataFeed => false,
            State::TrailerFeed | State::Complete => false,
        };
        if line_is_long {
            return Err(HeadError::TooLarge);
        }
        match (self.state, byte) {
            (State::Size { digits, size }, byte) if byte.is_ascii_hexdigit() => next_digit(digits, size, byte),
            (State::Size { digits: 0, .. }, _) => Err(HeadError::Malformed("a chunk without a size")),
            (State::Size { size, .. } | State::Padding { size } | State::Extension { size }, b'\r') => {
                Ok(State::SizeFeed { size })
            }
            (State::Size { size, .. } | State::Padding { size }, b';') => Ok(State::Extension { size }),
            (State::Size { size, .. } | State::Padding { size }, b' ' | b'\t') => Ok(State::Padding { size }),
            (State::Extension { size }, byte) if is_text(byte) => Ok(State::Extension { size }),
            (State::SizeFeed { size }, b'\n') => {
                self.counted = 0;
                Ok(if size == 0 { State::Trailer } else { State::Data { left: size } })
            }
            (State::DataReturn, b'\r') => Ok(State::DataFeed),
            (State::DataFeed, b'\n') => {
                self.counted = 0;
                Ok(State::START)
            }
            (State::Trailer, b'\r') => Ok(State::TrailerFeed),
            (State::Trailer, byte) if is_text(byte) => {
                self.trailer.push(byte);
                Ok(State::Trailer)
            }
            (State::TrailerFeed, b'\n') => self.end_of_trailer(),
            (State::Size { .. } | State::Padding { .. } | State::Extension { .. } | State::SizeFeed { .. }, _) => {
                Err(HeadError::Malformed("a chunk's size that is no hexadecimal number"))
            }
            (State::Data { .. } | State::DataReturn | State::DataFeed, _) => {
                Err(HeadError::Malformed("a chunk that is longer than its size"))
            }
            (State::Trailer | State::TrailerFeed | State::Complete, _) => {
                Err(HeadError::Malformed("a control character in a trailer"))
            }
        }
    }

    fn end_of_trailer(&mut self) -> Result<State, HeadError> {
        if self.trailer.is_empty() {
            return Ok(State::Complete);
        }
        let name = self.trailer.split(|byte| *byte == b':').next().unwrap_or_default();
        if name.is_empty() || name.len() == self.trailer.len() || !name.iter().all(|byte| is_token(*byte)) {
            return Err(HeadError::Malformed("a trailer that is no field"));
        }
        self.has_forbidden |= NO_TRAILER.iter().any(|field| field.as_bytes().eq_ignore_ascii_case(name));
        self.trailer.clear();
        Ok(State::Trailer)
    }
}

fn next_digit(digits: u8, size: u64, byte: u8) -> Result<State, HeadError> {
    let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
    if digits >= 16 {
        return Err(HeadError::Malformed("a chunk's size of more than 16 digits"));
    }
    Ok(State::Size { digits: digits + 1, size: (size << 4) | digit })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::duplex;

    use super::*;

    /// The framing's view of a body that arrives in pieces: its length, or nothing when it does not end.
    fn length(bytes: &[u8], step: usize) -> Result<Option<usize>, HeadError> {
        let mut framing = ChunkedFraming::new();
        let mut length = 0;
        for piece in bytes.chunks(step) {
            length += framing.advance(piece)?;
            if framing.is_complete() {
                return Ok(Some(length));
            }
        }
        Ok(None)
    }

    #[test]
    fn a_chunked_body_ends_behind_its_trailers() {
        for body in [
            "0\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "00005;a=b;c=\"d\"\r\nhello\r\n000\r\nX: y\r\nZ:\r\n\r\n",
            "5 \t\r\nhello\r\nA\r\n0123456789\r\n0\r\n\r\n",
        ] {
            let bytes = format!("{body}next");
            for step in [1, 2, 3, 100] {
                assert_eq!(length(bytes.as_bytes(), step).unwrap(), Some(body.len()), "{body:?} by {step}");
            }
            for cut in 0..body.len() {
                assert_eq!(length(&body.as_bytes()[..cut], 4).unwrap(), None, "{body:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn a_chunked_body_that_can_be_read_in_two_ways_is_refused() {
        for body in [
            "\r\n",
            ";\r\n",
            "x\r\n",
            "0x5\r\nhello\r\n",
            "+5\r\nhello\r\n",
            "-1\r\n",
            " 5\r\nhello\r\n",
            "5 5\r\nhello\r\n",
            "5\nhello\r\n",
            "5\r\rhello",
            "5\rhello\r\n",
            "5;a\nhello\r\n",
            "5;a\0\r\nhello\r\n",
            "5;a\rb\r\nhello\r\n",
            "5\r\nhello0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5\r\nhello\r0\r\n\r\n",
            "5\r\nhello!\r\n0\r\n\r\n",
            "00000000000000005\r\nhello\r\n",
            "10000000000000000\r\n",
            "0\r\n\n",
            "0\r\nX: y\n\r\n",
            "0\r\nno field\r\n\r\n",
            "0\r\n: y\r\n\r\n",
            "0\r\n X: y\r\n\r\n",
            "0\r\nX : y\r\n\r\n",
            "0\r\nContent-Length\r\n\r\n",
            "0\r\nContent-Length : 5\r\n\r\n",
            "0\r\nContent-Length: 5\rX\r\n\r\n",
            "0\r\nContent-Length: 5\r\nno field\r\n\r\n",
            "0\r\nX: y\0\r\n\r\n",
        ] {
            for step in [1, 100] {
                assert!(matches!(length(body.as_bytes(), step), Err(HeadError::Malformed(_))), "{body:?}");
            }
        }
    }

    #[test]
    fn long_lines_and_long_trailers_are_too_large() {
        let extension = format!("5;{}\r\n", "a".repeat(MAX_CHUNK_LINE.into()));
        assert!(matches!(length(extension.as_bytes(), 7), Err(HeadError::TooLarge)));
        let trailers = format!("0\r\n{}\r\n", "a: b\r\n".repeat(usize::from(MAX_TRAILERS) / 6 + 1));
        assert!(matches!(length(trailers.as_bytes(), 1000), Err(HeadError::TooLarge)));
    }

    /// Copies a body that is partly in the buffer already; returns the result, what was written, and what is left.
    async fn copied(buffered: &str, sent: &str, length: BodyLength) -> (Result<u64, CopyError>, String, String) {
        let (mut peer, mut from) = duplex(16);
        let (mut to, mut taker) = duplex(1 << 20);
        let mut buffer = BytesMut::from(buffered);
        let send = async {
            drop(peer.write_all(sent.as_bytes()).await);
            drop(peer);
        };
        let (result, ()) = tokio::join!(
            async {
                let result = copy_body(&mut from, &mut buffer, &mut to, length).await;
                drop(from);
                result
            },
            send
        );
        drop(to);
        let mut written = String::new();
        taker.read_to_string(&mut written).await.unwrap();
        (result, written, String::from_utf8(buffer.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_body_of_known_length_leaves_what_follows() {
        let (result, written, left) = copied("hello wor", "", BodyLength::Exact(5)).await;
        assert_eq!((result.unwrap(), &*written, &*left), (5, "hello", " wor"));
        let (result, written, _) = copied("he", "llo, and a body that is longer", BodyLength::Exact(5)).await;
        assert_eq!((result.unwrap(), &*written), (5, "hello"));
        let (result, written, _) = copied("he", "ll", BodyLength::Exact(5)).await;
        assert!(matches!(result, Err(CopyError::Read(HeadError::Closed))));
        assert_eq!(written, "hell");
    }

    #[tokio::test]
    async fn a_chunked_body_is_passed_on_as_it_is() {
        let body = "5;x=y\r\nhello\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n";
        let (result, written, left) = copied(&format!("{body}GET"), "", BodyLength::Chunked).await;
        assert_eq!((result.unwrap(), &*written, &*left), (body.len() as u64, body, "GET"));
        let (result, written, _) = copied(&body[..3], &body[3..], BodyLength::Chunked).await;
        assert_eq!((result.unwrap(), &*written), (body.len() as u64, body));
        let (result, ..) = copied("5\r\nhel", "", BodyLength::Chunked).await;
        assert!(matches!(result, Err(CopyError::Read(HeadError::Closed))));
        let (result, written, _) = copied("5\r\nhello\r\nfoo", "", BodyLength::Chunked).await;
        assert!(matches!(result, Err(CopyError::Read(HeadError::Malformed(_)))));
        assert!(!written.contains("foo"));
    }

    #[tokio::test]
    async fn a_field_that_cannot_be_a_trailer_costs_the_trailers_and_not_the_body() {
        for field in ["Content-Length: 9", "transfer-encoding: chunked", "HOST:x", "Authorization: Basic eA=="] {
            let body = format!("5;x=y\r\nhello\r\n0\r\nX: y\r\n{field}\r\nZ: y\r\n\r\n");
            let expected = "5;x=y\r\nhello\r\n0\r\n\r\n";
            let (result, written, left) = copied(&format!("{body}GET"), "", BodyLength::Chunked).await;
            assert_eq!((result.unwrap(), &*written, &*left), (expected.len() as u64, expected, "GET"), "{field}");
            for cut in 0..body.len() {
                let (result, written, left) = copied(&body[..cut], &body[cut..], BodyLength::Chunked).await;
                let seen = (result.unwrap(), &*written, &*left);
                assert_eq!(seen, (expected.len() as u64, expected, ""), "{field} cut at {cut}");
            }
            // Of what is malformed in the end, no trailer was passed on.
            for end in ["no field\r\n\r\n", "X: y\0\r\n\r\n", ""] {
                let body = format!("0\r\n{field}\r\n{end}");
                let (result, written, _) = copied(&body, "", BodyLength::Chunked).await;
                assert!(result.is_err(), "{body:?}");
                assert!("0\r\n".starts_with(&written), "{body:?}: {written:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_body_until_close_is_all_that_comes() {
        let (result, written, _) = copied("a", &"b".repeat(1000), BodyLength::UntilClose).await;
        assert_eq!((result.unwrap(), written.len()), (1001, 1001));
    }

    #[tokio::test]
    async fn the_side_that_does_not_take_the_body_is_named() {
        let (mut to, taker) = duplex(16);
        drop(taker);
        let mut buffer = BytesMut::from("hello");
        let result = copy_body(&mut tokio::io::empty(), &mut buffer, &mut to, BodyLength::Exact(5)).await;
        assert!(matches!(result, Err(CopyError::Write(_))));
    }

    proptest! {
        #[test]
        fn any_chunks_are_followed_to_their_end(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            behind in prop::collection::vec(any::<u8>(), 0..20),
            step in 1..30_usize,
        ) {
            let mut bytes = Vec::new();
            for chunk in &chunks {
                bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                bytes.extend_from_slice(chunk);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
            let expected = bytes.len();
            bytes.extend_from_slice(&behind);
            prop_assert_eq!(length(&bytes, step).unwrap(), Some(expected));
        }

        #[test]
        fn no_bytes_panic_and_pieces_change_nothing(
            bytes in prop::collection::vec(prop::sample::select(b"0159aF;: \t\r\n\0x".to_vec()), 0..80),
            step in 1..30_usize,
        ) {
            let (whole, pieces) = (length(&bytes, 100), length(&bytes, step));
            prop_assert_eq!(format!("{whole:?}"), format!("{pieces:?}"));
        }
    }
}
