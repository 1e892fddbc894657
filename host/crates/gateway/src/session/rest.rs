//! What a session waits with for its client's next request, and how long it may.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use pin_project_lite::pin_project;
use tokio::io::AsyncRead;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

use crate::alarms::Alarm;
use crate::serve::places::Seat;
use crate::sparing::{READ, poll_read};

/// How long a session may stay.
pub(crate) struct Stay {
    /// Until it has served what its client has asked for, once this is cancelled.
    pub(crate) stop: CancellationToken,
    /// Until somebody else needs the place, while its client rests.
    pub(crate) seat: Arc<Seat>,
}

impl Stay {
    /// As long as it likes.
    pub(crate) fn own() -> Self {
        Self { stop: CancellationToken::new(), seat: Seat::own() }
    }
}

pin_project! {
    /// The limit of a wait, and who may end it. They last as long as the session: to set them up for each request would
    /// cost a lock of the runtime's timers and one of all sessions.
    pub(super) struct Rest<'g> {
        #[pin]
        limit: Alarm,
        #[pin]
        stopped: WaitForCancellationFuture<'g>,
        seat: &'g Seat,
    }
}

impl<'g> Rest<'g> {
    /// For a first wait of so long.
    pub(super) fn new(stay: &'g Stay, limit: Duration) -> Self {
        let limit = Alarm::at(Instant::now() + limit);
        Self { limit, stopped: stay.stop.cancelled(), seat: &stay.seat }
    }

    /// Reads what comes next; none when nothing has come for so long, or when it was stopped.
    pub(super) async fn read<S: AsyncRead + Unpin>(
        mut self: Pin<&mut Self>,
        limit: Duration,
        from: &mut S,
        into: &mut BytesMut,
    ) -> Option<io::Result<usize>> {
        let (since, mut rests) = (Instant::now(), false);
        self.as_mut().project().limit.set(since + limit);
        let read = poll_fn(|context| {
            // First of all: who is stopped still serves the request that has come.
            if let Poll::Ready(read) = poll_read(from, context, into, READ) {
                return Poll::Ready(Some(read));
            }
            if !rests {
                rests = true;
                self.seat.rest(since);
            }
            self.as_mut().poll_over(context).map(|()| None)
        })
        .await;
        // Somebody else has its place.
        let has_left = rests && !self.seat.rise();
        read.filter(|_| !has_left)
    }

    fn poll_over(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if this.stopped.poll(context).is_ready() { Poll::Ready(()) } else { this.limit.poll(context) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::pin::pin;

    use tokio::io::AsyncWriteExt as _;
    use tokio::time::{advance, timeout};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn each_wait_has_its_own_limit() {
        let stay = Stay::own();
        let mut rest = pin!(Rest::new(&stay, LIMIT));
        let (mut near, mut far) = tokio::io::duplex(64);
        let mut buffer = BytesMut::new();
        for limit in [LIMIT, LIMIT / 2, LIMIT * 2] {
            // It was in use for longer than it may rest.
            advance(LIMIT * 3).await;
            far.write_all(b"x").await.unwrap();
            assert_eq!(rest.as_mut().read(limit, &mut near, &mut buffer).await.unwrap().unwrap(), 1);
            let began = Instant::now();
            assert!(rest.as_mut().read(limit, &mut near, &mut buffer).await.is_none());
            assert_eq!(began.elapsed(), limit);
        }
        drop(far);
        assert_eq!(rest.as_mut().read(LIMIT, &mut near, &mut buffer).await.unwrap().unwrap(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_rests_can_be_stopped() {
        let stay = Stay::own();
        let mut rest = pin!(Rest::new(&stay, LIMIT));
        let (mut near, mut far) = tokio::io::duplex(64);
        let mut buffer = BytesMut::new();
        assert!(timeout(LIMIT / 2, rest.as_mut().read(LIMIT, &mut near, &mut buffer)).await.is_err());
        let (read, ()) = tokio::join!(rest.as_mut().read(LIMIT, &mut near, &mut buffer), async { stay.stop.cancel() });
        assert!(read.is_none());
        // What has come by then is served.
        far.write_all(b"x").await.unwrap();
        assert_eq!(rest.as_mut().read(LIMIT, &mut near, &mut buffer).await.unwrap().unwrap(), 1);
        assert!(rest.as_mut().read(LIMIT, &mut near, &mut buffer).await.is_none());
    }
}
