//! A message's body, piece by piece out of the connection's own buffer: nothing is copied and nothing is held whole.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};

use super::Framing;

/// How long the next piece of a body may take.
const PIECE_TIMEOUT: Duration = Duration::from_secs(120);
/// A chunk's size line with its extensions, or one trailer line.
const MAX_LINE: u64 = 8 * 1024;
/// Trailer lines after the last chunk.
const MAX_TRAILERS: usize = 64;

/// Where a body's reading stands.
#[derive(Debug)]
pub(crate) struct Body {
    state: State,
    /// Bytes handed out by the last call and not yet taken off the reader.
    lent: usize,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Length(u64),
    ChunkSize,
    Chunk(u64),
    UntilClose,
    Done,
}

impl Body {
    pub(crate) fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::ChunkSize,
            Framing::UntilClose => State::UntilClose,
        };
        Self { state, lent: 0 }
    }

    /// Whether the next call may have to wait for the peer: more is to come and the buffer is used up.
    pub(crate) fn may_wait<R: AsyncRead>(&self, reader: &BufReader<R>) -> bool {
        match self.state {
            State::Length(0) | State::Done => false,
            State::Length(_) | State::ChunkSize | State::Chunk(_) | State::UntilClose => {
                reader.buffer().len() <= self.lent
            }
        }
    }

    /// The next piece; an empty one is the end. The piece is taken off the reader by the next call.
    pub(crate) async fn next<'r, R: AsyncRead + Unpin>(
        &mut self,
        reader: &'r mut BufReader<R>,
    ) -> io::Result<&'r [u8]> {
        reader.consume(std::mem::take(&mut self.lent));
        let wanted = loop {
            match self.state {
                State::Length(0) | State::Done => {
                    self.state = State::Done;
                    return Ok(&[]);
                }
                State::Length(left) => break Some(left),
                State::UntilClose => break None,
                State::ChunkSize => self.state = read_chunk_size(reader).await?,
                State::Chunk(0) => {
                    expect_line_end(reader).await?;
                    self.state = State::ChunkSize;
                }
                State::Chunk(left) => break Some(left),
            }
        };
        let available = fill(reader).await?;
        let Some(left) = wanted else {
            if available == 0 {
                self.state = State::Done;
            }
            self.lent = available;
            return Ok(reader.buffer());
        };
        if available == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let piece = usize::try_from(left).map_or(available, |left| left.min(available));
        // The piece is at most `left`, which is a u64.
        let rest = left - piece as u64;
        self.state = match self.state {
            State::Chunk(_) => State::Chunk(rest),
            State::Length(_) | State::ChunkSize | State::UntilClose | State::Done => State::Length(rest),
        };
        self.lent = piece;
        Ok(reader.buffer().get(..piece).unwrap_or_default())
    }
}

async fn fill<R: AsyncRead + Unpin>(reader: &mut BufReader<R>) -> io::Result<usize> {
    if !reader.buffer().is_empty() {
        return Ok(reader.buffer().len());
    }
    match tokio::time::timeout(PIECE_TIMEOUT, reader.fill_buf()).await {
        Ok(filled) => filled.map(<[u8]>::len),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

async fn read_chunk_size<R: AsyncRead + Unpin>(reader: &mut BufReader<R>) -> io::Result<State> {
    let line = read_line(reader).await?;
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let hexadecimal = !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit);
    let size = std::str::from_utf8(digits)
        .ok()
        .filter(|_| hexadecimal)
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .ok_or_else(|| malformed("chunk size is not a number"))?;
    if size > 0 {
        return Ok(State::Chunk(size));
    }
    for _ in 0..MAX_TRAILERS {
        if read_line(reader).await?.is_empty() {
            return Ok(State::Done);
        }
    }
    Err(malformed("too many trailers"))
}

async fn expect_line_end<R: AsyncRead + Unpin>(reader: &mut BufReader<R>) -> io::Result<()> {
    if read_line(reader).await?.is_empty() { Ok(()) } else { Err(malformed("chunk is longer than its size")) }
}

/// A line without its CRLF.
async fn read_line<R: AsyncBufRead + Unpin>(reader: &mut R) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut capped = reader.take(MAX_LINE);
    match tokio::time::timeout(PIECE_TIMEOUT, capped.read_until(b'\n', &mut line)).await {
        Ok(read) => read?,
        Err(_) => return Err(io::ErrorKind::TimedOut.into()),
    };
    match line.strip_suffix(b"\r\n") {
        Some(text) => Ok(text.to_vec()),
        None if line.ends_with(b"\n") => Err(malformed("line feed without carriage return")),
        None if line.len() as u64 == MAX_LINE => Err(malformed("chunk line over 8 KiB")),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    async fn read_all(text: &str, framing: Framing, buffer: usize) -> io::Result<(String, String)> {
        let mut reader = BufReader::with_capacity(buffer, text.as_bytes());
        let mut body = Body::new(framing);
        let mut whole = Vec::new();
        loop {
            let piece = body.next(&mut reader).await?;
            if piece.is_empty() {
                break;
            }
            whole.extend_from_slice(piece);
        }
        let mut rest = String::new();
        reader.read_to_string(&mut rest).await?;
        Ok((String::from_utf8(whole).unwrap(), rest))
    }

    #[tokio::test]
    async fn each_framing_ends_where_it_says_whatever_the_buffer() {
        for buffer in [1, 3, 1024] {
            let (body, rest) = read_all("hellorest", Framing::Length(5), buffer).await.unwrap();
            assert_eq!((body.as_str(), rest.as_str()), ("hello", "rest"));
            let (body, rest) = read_all("all of it", Framing::UntilClose, buffer).await.unwrap();
            assert_eq!((body.as_str(), rest.as_str()), ("all of it", ""));
            let chunked = "5;x=y\r\nhello\r\nA\r\n0123456789\r\n0\r\nT: v\r\n\r\nrest";
            let (body, rest) = read_all(chunked, Framing::Chunked, buffer).await.unwrap();
            assert_eq!((body.as_str(), rest.as_str()), ("hello0123456789", "rest"));
        }
    }

    #[tokio::test]
    async fn a_torn_or_wrong_body_is_an_error() {
        for (text, framing) in [
            ("hel", Framing::Length(5)),
            ("5\r\nhel", Framing::Chunked),
            ("5\r\nhellooo\r\n0\r\n\r\n", Framing::Chunked),
            ("x\r\n", Framing::Chunked),
            ("+5\r\nhello\r\n0\r\n\r\n", Framing::Chunked),
            ("5\nhello\r\n0\r\n\r\n", Framing::Chunked),
            ("5\r\nhello\r\n", Framing::Chunked),
            ("ffffffffffffffffff\r\n", Framing::Chunked),
        ] {
            assert!(read_all(text, framing, 16).await.is_err(), "{text:?}");
        }
    }
}
