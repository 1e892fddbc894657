//! A limit on how long a stream may go without a byte, so that a peer that stalls cannot hold a body for ever.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// A stream whose reads and writes each fail with [`io::ErrorKind::TimedOut`] after waiting longer than the limit.
///
/// The limit of a wait begins with the wait: who does not read for an hour does not make the next read fail. A timer is
/// made by the first wait, so a stream that never waits costs nothing.
pub(crate) struct Stalling<S> {
    inner: S,
    reading: Watch,
    writing: Watch,
}

struct Watch {
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

impl<S> Stalling<S> {
    pub(crate) const fn new(inner: S, limit: Duration) -> Self {
        Self { inner, reading: Watch::new(limit), writing: Watch::new(limit) }
    }

    /// The same with another limit for reads.
    pub(crate) const fn reading_within(mut self, limit: Duration) -> Self {
        self.reading.limit = limit;
        self
    }

    /// The stream itself, without limits.
    pub(crate) const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }
}

impl Watch {
    const fn new(limit: Duration) -> Self {
        Self { limit, timer: None, waiting: false }
    }

    /// Passes on what an operation answered, or the error when it has been pending for too long.
    fn check<T>(&mut self, cx: &mut Context<'_>, answer: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if answer.is_ready() {
            self.waiting = false;
            return answer;
        }
        let limit = self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        if !self.waiting {
            self.waiting = true;
            timer.as_mut().reset(Instant::now() + limit);
        }
        ready!(timer.as_mut().poll(cx));
        self.waiting = false;
        let why = format!("no byte for {:.0} s", limit.as_secs_f64());
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stalling<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let answer = Pin::new(&mut this.inner).poll_read(cx, buf);
        this.reading.check(cx, answer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stalling<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let answer = Pin::new(&mut this.inner).poll_write(cx, bytes);
        this.writing.check(cx, answer)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let answer = Pin::new(&mut this.inner).poll_write_vectored(cx, slices);
        this.writing.check(cx, answer)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let answer = Pin::new(&mut this.inner).poll_flush(cx);
        this.writing.check(cx, answer)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let answer = Pin::new(&mut this.inner).poll_shutdown(cx);
        this.writing.check(cx, answer)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn a_wait_is_limited_and_a_pause_between_waits_is_not() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut near = Stalling::new(near, LIMIT);
        for _ in 0..3 {
            tokio::time::sleep(LIMIT * 2).await;
            far.write_all(b"x").await.unwrap();
            assert_eq!(near.read_u8().await.unwrap(), b'x');
        }
        let began = Instant::now();
        assert_eq!(near.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed(), LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_drip_below_the_limit_keeps_a_stream_open() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut near = Stalling::new(near, LIMIT);
        let drip = async {
            for _ in 0..5 {
                tokio::time::sleep(LIMIT - Duration::from_secs(1)).await;
                far.write_all(b"x").await.unwrap();
            }
        };
        let mut bytes = [0; 5];
        let (read, ()) = tokio::join!(near.read_exact(&mut bytes), drip);
        read.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_read_ends_a_write() {
        let (near, _far) = tokio::io::duplex(16);
        let mut near = Stalling::new(near, LIMIT);
        assert_eq!(near.write_all(&[0; 64]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
