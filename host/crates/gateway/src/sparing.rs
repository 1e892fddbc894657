//! Reading for who may have to wait for long: there is a buffer when there are bytes, and none as long as there are none.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, ReadBuf};

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
