//! Looks at the beginning of a body as it passes, and never holds it up.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, ReadBuf};

use crate::bans::MAX_BODY;

/// A reader of which the first bytes are told, once: when there are enough of them, or it ends, or is dropped.
pub(super) struct Witness<R, T: FnOnce(&[u8])> {
    inner: R,
    seen: BytesMut,
    tell: Option<T>,
}

impl<R, T: FnOnce(&[u8])> Witness<R, T> {
    /// `begun` is what was read before. Without somebody to tell, it only passes.
    pub(super) fn new(inner: R, begun: &[u8], tell: Option<T>) -> Self {
        let mut witness = Self { inner, seen: BytesMut::new(), tell };
        witness.see(begun);
        witness
    }

    fn see(&mut self, bytes: &[u8]) {
        if self.tell.is_none() {
            return;
        }
        let room = MAX_BODY - self.seen.len();
        self.seen.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        if self.seen.len() >= MAX_BODY {
            self.tell();
        }
    }

    fn tell(&mut self) {
        if let Some(tell) = self.tell.take() {
            tell(&std::mem::take(&mut self.seen));
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
mod tests {
    use std::cell::RefCell;

    use tokio::io::AsyncReadExt as _;

    use super::*;

    /// What is told of these bytes, and when everything else has been read.
    async fn told(begun: &[u8], bytes: &[u8]) -> Vec<usize> {
        let told = RefCell::new(Vec::new());
        let mut witness = Witness::new(bytes, begun, Some(|seen: &[u8]| told.borrow_mut().push(seen.len())));
        let mut read = Vec::new();
        witness.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, bytes, "everything passes");
        drop(witness);
        told.into_inner()
    }

    #[tokio::test]
    async fn the_beginning_is_told_once_and_is_bounded() {
        assert_eq!(told(b"", b"").await, [0]);
        assert_eq!(told(b"12", b"345").await, [5]);
        assert_eq!(told(b"12", &[7; 3 * MAX_BODY]).await, [MAX_BODY]);
        assert_eq!(told(&[7; 2 * MAX_BODY], b"1").await, [MAX_BODY]);
    }

    #[tokio::test]
    async fn what_is_cut_off_is_told_as_far_as_it_came() {
        let told = RefCell::new(Vec::new());
        let mut witness =
            Witness::new(&b"12345"[..], b"0", Some(|seen: &[u8]| told.borrow_mut().extend_from_slice(seen)));
        witness.read_exact(&mut [0; 3]).await.unwrap();
        assert!(told.borrow().is_empty());
        drop(witness);
        assert_eq!(told.into_inner(), b"0123");
    }
}
