//! Takes the framing off a chunked body (RFC 9112 §7.1), for clients of HTTP/1.0, which do not know it, and for rules that look
//! at bodies.
//!
//! What is written has been checked already by [`copy_body`](proxywhirl_net::http1::copy_body), so no byte is an
//! error: the writer only has to know which of them are data.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

/// Where in a chunked body one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Framing(State);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In the digits of a size.
    Size(u64),
    /// Behind the digits, before the line feed.
    Extension(u64),
    /// In the data; so much is left.
    Data(u64),
    /// Before the line feed behind the data.
    DataEnd,
    /// Behind the last chunk: trailers, which have no place in HTTP/1.0.
    Trailers,
}

impl State {
    /// What follows this byte, which is no data.
    fn after(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Size(size) | Self::Extension(size), b'\n') => {
                if size == 0 {
                    Self::Trailers
                } else {
                    Self::Data(size)
                }
            }
            (Self::Size(size), byte) => match char::from(byte).to_digit(16) {
                Some(digit) => Self::Size(size.saturating_mul(16).saturating_add(digit.into())),
                None => Self::Extension(size),
            },
            (Self::DataEnd, b'\n') => Self::Size(0),
            (state, _) => state,
        }
    }
}

impl Default for Framing {
    fn default() -> Self {
        Self(State::Size(0))
    }
}

impl Framing {
    /// How many of these bytes are framing, which is passed with that, and how many behind it are data, which is
    /// [taken](Self::took) afterwards.
    pub(crate) fn next(&mut self, bytes: &[u8]) -> (usize, usize) {
        for (passed, byte) in bytes.iter().enumerate() {
            if let State::Data(left) = self.0 {
                return (passed, usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - passed));
            }
            self.0 = self.0.after(*byte);
        }
        (bytes.len(), 0)
    }

    /// So much of the data was taken.
    pub(crate) const fn took(&mut self, data: usize) {
        if let State::Data(left) = self.0 {
            let left = left.saturating_sub(data as u64);
            self.0 = if left == 0 { State::DataEnd } else { State::Data(left) };
        }
    }

    /// Whether there is no more data.
    pub(crate) const fn is_over(&self) -> bool {
        matches!(self.0, State::Trailers)
    }
}

/// A writer that is given chunks and passes on their data.
pub(crate) struct Dechunk<W> {
    inner: W,
    framing: Framing,
}

impl<W> Dechunk<W> {
    pub(crate) fn new(inner: W) -> Self {
        Self { inner, framing: Framing::default() }
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Dechunk<W> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let (framing, data) = this.framing.next(bytes);
        if framing > 0 {
            // It is taken; the data is for the next call, which may have to wait.
            return Poll::Ready(Ok(framing));
        }
        let data = bytes.get(..data).unwrap_or_default();
        let written = ready!(Pin::new(&mut this.inner).poll_write(cx, data))?;
        this.framing.took(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    const CHUNKED: &[u8] = b"5;x=1f\r\nhello\r\nA \r\n, \r\nworld\n\r\n0\r\nTrailer: 3\r\n\r\n";

    #[tokio::test]
    async fn the_data_comes_out_however_the_chunks_are_cut() {
        for size in 1..=CHUNKED.len() {
            let mut out = Dechunk::new(Vec::new());
            for piece in CHUNKED.chunks(size) {
                out.write_all(piece).await.unwrap();
            }
            assert_eq!(String::from_utf8(out.inner).unwrap(), "hello, \r\nworld\n", "{size}");
        }
    }
}
