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

/// After how many times its patience a client is asked, while nothing is taken: there are clients that count interim responses.
const ASKED: [u32; 2] = [1, 6];

/// How long the reset of one that is gone may take.
const REPLY: Duration = Duration::from_millis(250);

/// Since when an upstream has not taken what there is for it. Whoever takes something now and then is only slow.
pub(super) struct Taking {
    began: Instant,
    /// In microseconds since it began, and one more; 0 while it takes what comes.
    since: AtomicU64,
}

impl Taking {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), since: AtomicU64::new(0) }
    }

    fn now(&self) -> u64 {
        proxywhirl_core::time::micros(self.began.elapsed())
    }

    /// For how long it has taken nothing.
    fn waits(&self) -> Duration {
        // Relaxed, here as below: all of it is done by one task.
        let since = self.since.load(Ordering::Relaxed);
        if since == 0 { Duration::ZERO } else { Duration::from_micros(self.now().saturating_sub(since - 1)) }
    }

    /// What that says of it.
    pub(super) fn fault(&self) -> Fault {
        let detail = format!("took nothing of the body for {:.1} s", self.waits().as_secs_f64());
        Fault::new(Side::Upstream, Stage::FirstByte, Kind::Timeout, detail)
    }

    /// Ready when the client has left, while the upstream took nothing for its patience and longer.
    pub(super) async fn left<C: AsyncWrite + Unpin>(&self, client: &mut C, patience: Duration) {
        for times in ASKED {
            let until = patience * times;
            while let Some(rest) = until.checked_sub(self.waits()).filter(|rest| !rest.is_zero()) {
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
        if polled.is_ready() {
            self.since.store(0, Ordering::Relaxed);
        } else if self.since.load(Ordering::Relaxed) == 0 {
            self.since.store(self.now() + 1, Ordering::Relaxed);
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
    async fn who_takes_the_body_now_and_then_is_slow_and_who_takes_nothing_is_found_out() {
        let (near, mut far) = tokio::io::duplex(8);
        let (mut client, mut peer) = tokio::io::duplex(1024);
        let taking = Taking::new();
        let mut writer = Taken { inner: near, taking: &taking };
        // It takes something before its patience is over, ten times.
        let write = async { writer.write_all(&[0; 48]).await.unwrap() };
        let take = async {
            for _ in 0..10 {
                sleep(PATIENCE * 4 / 5).await;
                far.read_exact(&mut [0; 4]).await.unwrap();
            }
        };
        tokio::select! {
            () = taking.left(&mut client, PATIENCE) => panic!("it is there"),
            _ = async { tokio::join!(write, take) } => {}
        }
        assert_eq!(taking.waits(), Duration::ZERO);
        assert!(timeout(Duration::from_secs(1), peer.read_u8()).await.is_err(), "nobody was asked");
        let began = Instant::now();
        let write = async { writer.write_all(&[0; 64]).await };
        let look = async {
            // Asked twice, it is there.
            assert!(timeout(PATIENCE * 100, taking.left(&mut client, PATIENCE)).await.is_err());
            let mut asked = vec![0; 2 * CONTINUE.len()];
            peer.read_exact(&mut asked).await.unwrap();
            assert_eq!(asked, CONTINUE.repeat(2));
            assert!(timeout(Duration::from_secs(1), peer.read_u8()).await.is_err());
            drop(peer);
            taking.left(&mut client, PATIENCE).await;
        };
        tokio::select! {
            written = write => panic!("{written:?}"),
            () = look => {}
        }
        assert_eq!(taking.waits(), began.elapsed());
    }
}
