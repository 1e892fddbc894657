//! A connection to an upstream, or through it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// A connection to an upstream, or through it to an origin.
#[derive(Debug)]
pub enum Stream {
    /// TCP; whoever copies it may leave that to the kernel.
    Tcp(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<TcpStream>>),
    /// TLS with a hop of a chain, over what the hops before it relay.
    TlsInside(Box<TlsStream<Stream>>),
    /// A connection of which some bytes were read together with the end of the handshake.
    Prefixed(Box<Prefixed>),
}

/// A connection, and bytes that come before what it yields.
#[derive(Debug)]
pub struct Prefixed {
    prefix: Bytes,
    stream: Stream,
}

impl Stream {
    /// The same connection, beginning with these bytes.
    #[must_use]
    pub fn with_prefix(self, prefix: Bytes) -> Self {
        if prefix.is_empty() { self } else { Self::Prefixed(Box::new(Prefixed { prefix, stream: self })) }
    }

    /// The TCP connection that this is, and nothing else, so that its bytes are the peer's.
    pub(crate) fn plain(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(tcp) => Some(tcp),
            Self::Prefixed(prefixed) if prefixed.prefix.is_empty() => prefixed.stream.plain(),
            Self::Tls(_) | Self::TlsInside(_) | Self::Prefixed(_) => None,
        }
    }

    /// The TCP connection below.
    #[must_use]
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Self::Tcp(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref().0,
            Self::TlsInside(tls) => tls.get_ref().0.tcp(),
            Self::Prefixed(prefixed) => prefixed.stream.tcp(),
        }
    }
}

impl AsyncRead for Prefixed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() || out.remaining() == 0 {
            return Pin::new(&mut self.stream).poll_read(cx, out);
        }
        let length = self.prefix.len().min(out.remaining());
        out.put_slice(&self.prefix.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, out),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, out),
            Self::TlsInside(stream) => Pin::new(stream).poll_read(cx, out),
            Self::Prefixed(stream) => Pin::new(&mut **stream).poll_read(cx, out),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::TlsInside(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Prefixed(stream) => Pin::new(&mut stream.stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            Self::TlsInside(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            Self::Prefixed(stream) => Pin::new(&mut stream.stream).poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
            Self::TlsInside(stream) => stream.is_write_vectored(),
            Self::Prefixed(stream) => stream.stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::TlsInside(stream) => Pin::new(stream).poll_flush(cx),
            Self::Prefixed(stream) => Pin::new(&mut stream.stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::TlsInside(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Prefixed(stream) => Pin::new(&mut stream.stream).poll_shutdown(cx),
        }
    }
}
