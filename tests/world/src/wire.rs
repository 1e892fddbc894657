//! A connection as its two halves: a buffered reader and a writer, over TCP or TLS alike.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, ReadHalf, WriteHalf};

/// Bytes read from a socket at once: large enough that a bulk transfer is not bound by system calls, small enough
/// for thousands of connections.
pub(crate) const BUFFER: usize = 32 * 1024;

/// How long a connection that we close keeps reading, and how much.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 1024 * 1024;

/// What a connection runs over.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + 'static> Stream for T {}

/// One connection.
pub(crate) struct Wire<S> {
    pub(crate) reader: BufReader<ReadHalf<S>>,
    pub(crate) writer: WriteHalf<S>,
}

impl<S: Stream> Wire<S> {
    pub(crate) fn new(stream: S) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Self { reader: BufReader::with_capacity(BUFFER, reader), writer }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        send(&mut self.writer, bytes).await
    }

    /// Closes so that the peer gets what was sent: a socket closed with unread bytes in it answers with a reset, and
    /// a reset overtakes the data.
    pub(crate) async fn close_gently(mut self) {
        if self.writer.shutdown().await.is_ok() {
            let mut rest = (&mut self.reader).take(LINGER_BYTES);
            let mut nowhere = tokio::io::sink();
            let discard = tokio::io::copy(&mut rest, &mut nowhere);
            tokio::time::timeout(LINGER, discard).await.ok();
        }
    }

    /// Reads and forgets until the peer closes.
    pub(crate) async fn hold_open(mut self) {
        tokio::io::copy(&mut self.reader, &mut tokio::io::sink()).await.ok();
    }
}

/// Writes and flushes: a TLS stream may keep what the socket did not take at once.
pub(crate) async fn send<W: AsyncWrite + Unpin>(writer: &mut W, bytes: &[u8]) -> io::Result<()> {
    writer.write_all(bytes).await?;
    writer.flush().await
}
