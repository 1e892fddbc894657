//! Looks at the beginning of a body as it passes, and never holds it up.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

use crate::bans::body::Beginning;

/// A reader of which is told how the body begins, once: when enough of it has come, or it ends, or is dropped.
pub(super) struct Witness<R, T: FnOnce(&[u8])> {
    inner: R,
    telling: Option<(Box<Beginning>, T)>,
}

impl<R, T: FnOnce(&[u8])> Witness<R, T> {
    /// `begun` is what was read before. Without somebody to tell, it only passes.
    pub(super) fn new(inner: R, begun: &[u8], telling: Option<(Box<Beginning>, T)>) -> Self {
        let mut witness = Self { inner, telling };
        witness.see(begun);
        witness
    }

    fn see(&mut self, bytes: &[u8]) {
        let Some((beginning, _)) = &mut self.telling else { return };
        beginning.see(bytes);
        if beginning.is_whole() {
            self.tell();
        }
    }

    fn tell(&mut self) {
        if let Some((beginning, tell)) = self.telling.take() {
            tell(&beginning.text());
        }
    }
}

impl<R, T: FnOnce(&[u8])> Drop for Witness<R, T> {
    fn drop(&mut self) {
        self.tell();
    }
}

impl<R: AsyncRead + Unpin, T: FnOnce(&[u8]) + Unpin> AsyncRead for Witness<R, T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        match buf.filled().get(before..).unwrap_or_default() {
            [] => this.tell(),
            bytes => this.see(bytes),
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::cell::RefCell;

    use proxywhirl_net::http1::{BodyLength, Headers, ResponseHead};
    use tokio::io::AsyncReadExt as _;

    use super::*;
    use crate::bans::body::MAX_BODY;

    fn beginning(length: BodyLength) -> Box<Beginning> {
        let head = ResponseHead { status: 200, reason: "".into(), minor_version: 1, headers: Headers::new() };
        Box::new(Beginning::of(&head, length))
    }

    /// What is told of these bytes, and how much of them was read by then.
    async fn told(length: BodyLength, begun: &[u8], bytes: &[u8]) -> Vec<usize> {
        let told = RefCell::new(Vec::new());
        let tell = |seen: &[u8]| told.borrow_mut().push(seen.len());
        let mut witness = Witness::new(bytes, begun, Some((beginning(length), tell)));
        let mut read = Vec::new();
        witness.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, bytes, "everything passes");
        drop(witness);
        told.into_inner()
    }

    #[tokio::test]
    async fn the_beginning_is_told_once_and_is_bounded() {
        let endless = BodyLength::UntilClose;
        assert_eq!(told(endless, b"", b"").await, [0]);
        assert_eq!(told(endless, b"12", b"345").await, [5]);
        assert_eq!(told(endless, b"12", &[7; 3 * MAX_BODY]).await, [MAX_BODY]);
        assert_eq!(told(endless, &[7; 2 * MAX_BODY], b"1").await, [MAX_BODY]);
        assert_eq!(told(BodyLength::Chunked, b"3\r\n12", b"3\r\n2\r\n45\r\n0\r\n\r\n").await, [5]);
    }

    #[tokio::test]
    async fn what_is_cut_off_is_told_as_far_as_it_came() {
        let told = RefCell::new(Vec::new());
        let tell = |seen: &[u8]| told.borrow_mut().extend_from_slice(seen);
        let mut witness = Witness::new(&b"12345"[..], b"0", Some((beginning(BodyLength::Exact(100)), tell)));
        witness.read_exact(&mut [0; 3]).await.unwrap();
        assert!(told.borrow().is_empty());
        drop(witness);
        assert_eq!(told.into_inner(), b"0123");
    }
}
