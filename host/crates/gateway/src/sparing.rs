//! Waiting at little cost: there is a buffer when there are bytes, and a timer when something takes its time, and neither as
//! long as there is nothing to wait with.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use futures_util::FutureExt as _;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::error::Elapsed;
use tokio::time::timeout;

/// How much is read at a time: nearly every head, and nearly every `ClientHello`, is smaller.
pub(crate) const READ: usize = 4 * 1024;

/// Reads at most `most` bytes, and no more than [`READ`]; none is the end.
pub(crate) async fn read<R: AsyncRead + Unpin>(reader: &mut R, into: &mut BytesMut, most: usize) -> io::Result<usize> {
    poll_fn(|context| poll_read(reader, context, into, most)).await
}

/// The same, as one turn of a future.
pub(crate) fn poll_read<R: AsyncRead + Unpin>(
    reader: &mut R,
    context: &mut Context<'_>,
    into: &mut BytesMut,
    most: usize,
) -> Poll<io::Result<usize>> {
    let mut scratch = [MaybeUninit::uninit(); READ];
    let mut scratch = ReadBuf::uninit(scratch.get_mut(..most.min(READ)).unwrap_or_default());
    ready!(Pin::new(reader).poll_read(context, &mut scratch))?;
    into.extend_from_slice(scratch.filled());
    Poll::Ready(Ok(scratch.filled().len()))
}

/// What a future comes to within a limit. It is nearly always there at once, and then no timer is set.
///
/// # Errors
/// When it takes longer.
pub(crate) async fn within<F: Future>(limit: Duration, mut future: Pin<&mut F>) -> Result<F::Output, Elapsed> {
    match future.as_mut().now_or_never() {
        Some(output) => Ok(output),
        // On the heap: few have to wait, and all would have room for it.
        None => Box::pin(timeout(limit, future)).await,
    }
}
