//! Whether an upstream takes the body of a request, and whether its client is still there while it does not.
//!
//! As long as an upstream takes nothing, nothing is read of the client either, so that its end would not be seen. It is asked as
//! in [`presence`](crate::session::presence): a client that has closed its connection answers an interim response with a reset.

use std::future::pending;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use proxywhirl_core::{Fault, Kind, Side, Stage};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, sleep};

use crate::reply::CONTINUE;

/// How often a client is asked: there are clients that count interim responses.
const TIMES: u32 = 4;

/// How long the reset of one that is gone may take.
const REPLY: Duration = Duration::from_millis(250);

/// How long an upstream has not taken what there was for it. Times are in microseconds since it began.
pub(super) struct Taking {
    began: Instant,
    /// In all, without the wait that goes on.
    waited: AtomicU64,
    /// Since when it takes nothing, and one more; 0 while it does.
    since: AtomicU64,
}

impl Taking {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), waited: AtomicU64::new(0), since: AtomicU64::new(0) }
    }

    fn now(&self) -> u64 {
        proxywhirl_core::time::micros(self.began.elapsed())
    }

    /// How long it has kept the body waiting.
    pub(super) fn waited(&self) -> Duration {
        // Relaxed, here as below: all of it is done by one task.
        let goes_on = match self.since.load(Ordering::Relaxed) {
            0 => 0,
            since => self.now().saturating_sub(since - 1),
        };
        Duration::from_micros(self.waited.load(Ordering::Relaxed) + goes_on)
    }

    /// What that says of it, when it is no less than this.
    pub(super) fn fault(&self, least: Duration) -> Option<Fault> {
        let waited = self.waited();
        let detail = || format!("kept the body waiting for {:.1} s", waited.as_secs_f64());
        (waited >= least).then(|| Fault::new(Side::Upstream, Stage::FirstByte, Kind::Timeout, detail()))
    }

    /// Ready when the client has left. It is asked when it was kept waiting for so long, for twice as long, and so on.
    pub(super) async fn left<C: AsyncWrite + Unpin>(&self, client: &mut C, patience: Duration) {
        for time in 0..TIMES {
            let until = patience * 2_u32.pow(time);
            while let Some(rest) = until.checked_sub(self.waited()).filter(|rest| !rest.is_zero()) {
                sleep(rest).await;
            }
            let asked = async {
                client.write_all(CONTINUE).await?;
                client.flush().await?;
                sleep(REPLY).await;
                // Nothing fails as anything would.
                client.write(&[]).await
            };
            if asked.await.is_err() {
                return;
            }
        }
        pending().await
    }

    fn mark<T>(&self, polled: &Poll<T>) {
        let since = self.since.load(Ordering::Relaxed);
        match (polled, since) {
            (Poll::Pending, 0) => self.since.store(self.now() + 1, Ordering::Relaxed),
            (Poll::Ready(_), 1..) => {
                self.waited.fetch_add(self.now().saturating_sub(since - 1), Ordering::Relaxed);
                self.since.store(0, Ordering::Relaxed);
            }
            (Poll::Pending, _) | (Poll::Ready(_), 0) => {}
        }
    }
}

/// A writer of which is known how long it takes nothing.
pub(super) struct Taken<'t, W> {
    pub(super) inner: W,
    pub(super) taking: &'t Taking,
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Taken<'_, W> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.inner).poll_write(cx, bytes);
        this.taking.mark(&written);
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.inner).poll_flush(cx);
        this.taking.mark(&flushed);
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::AsyncReadExt as _;
    use tokio::time::timeout;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn who_takes_the_body_as_it_comes_keeps_nobody_waiting_and_who_does_not_is_found_out() {
        let (near, mut far) = tokio::io::duplex(8);
        let (mut client, mut peer) = tokio::io::duplex(1024);
        let taking = Taking::new();
        let mut writer = Taken { inner: near, taking: &taking };
        // A client that is slow itself.
        for _ in 0..3 {
            sleep(PATIENCE).await;
            writer.write_all(b"body").await.unwrap();
            far.read_exact(&mut [0; 4]).await.unwrap();
        }
        assert_eq!((taking.waited(), taking.fault(PATIENCE)), (Duration::ZERO, None));
        let began = Instant::now();
        let write = async { writer.write_all(&[0; 64]).await };
        let look = async {
            // Asked after 5, 10, 20 and 40 s, it is there.
            assert!(timeout(PATIENCE * 100, taking.left(&mut client, PATIENCE)).await.is_err());
            let mut asked = vec![0; 4 * CONTINUE.len()];
            peer.read_exact(&mut asked).await.unwrap();
            assert_eq!(asked, CONTINUE.repeat(4));
            assert!(timeout(Duration::from_secs(1), peer.read_u8()).await.is_err());
            drop(peer);
            taking.left(&mut client, PATIENCE).await;
        };
        tokio::select! {
            written = write => panic!("{written:?}"),
            () = look => {}
        }
        assert_eq!(taking.waited(), began.elapsed());
        assert_eq!(taking.fault(PATIENCE).map(|fault| fault.kind), Some(Kind::Timeout));
        far.read_exact(&mut [0; 8]).await.unwrap();
        tokio::join!(async { writer.write_all(b"end").await.unwrap() }, sleep(PATIENCE));
        assert_eq!(taking.waited(), began.elapsed() - PATIENCE);
    }
}
