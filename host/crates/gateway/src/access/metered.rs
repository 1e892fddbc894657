//! Counts what a client's connection carries, and cuts it when its user has used up what it may have.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::users::User;

/// Whose bytes a connection carries: it is known only when the client has said it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gauge(Arc<Reading>);

#[derive(Debug, Default)]
struct Reading {
    whose: Mutex<Whose>,
    /// Whether a request of the user is under way. What the gateway and its client say to each other before and after it is
    /// counted, and not cut: how else should the client hear that its bytes are used up?
    serves: AtomicBool,
}

#[derive(Debug)]
enum Whose {
    /// Nobody has said it yet; so many bytes came until then.
    Unknown(usize),
    User(Arc<User>),
}

impl Default for Whose {
    fn default() -> Self {
        Self::Unknown(0)
    }
}

impl Gauge {
    /// From here on, these are the user's bytes; and so are those that came before anybody was known, with the head that says who it
    /// is, or behind it.
    pub(crate) fn assign(&self, user: &Arc<User>) {
        let before = std::mem::replace(&mut *self.whose(), Whose::User(Arc::clone(user)));
        if let Whose::Unknown(bytes) = before {
            // When that is too much already, the request that begins now is told so.
            user.meter().count(bytes);
        }
    }

    /// A request begins, or is over.
    pub(crate) fn serve(&self, serves: bool) {
        // Relaxed: it stands for itself.
        self.0.serves.store(serves, Ordering::Relaxed);
    }

    /// Counts bytes, and says whether the user may have had them.
    fn count(&self, bytes: usize) -> bool {
        match &mut *self.whose() {
            Whose::Unknown(before) => {
                *before = before.saturating_add(bytes);
                true
            }
            Whose::User(user) => user.meter().count(bytes),
        }
    }

    /// Whether the user has any bytes left.
    fn has_some(&self) -> bool {
        match &*self.whose() {
            Whose::Unknown(_) => true,
            Whose::User(user) => user.meter().has_bytes(),
        }
    }

    /// That this is too much for a request that is under way.
    fn too_much(&self) -> io::Result<()> {
        if self.0.serves.load(Ordering::Relaxed) {
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, "the user has used up its bytes"));
        }
        Ok(())
    }

    fn whose(&self) -> MutexGuard<'_, Whose> {
        self.0.whose.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection whose bytes are counted, both ways.
#[derive(Debug)]
pub(crate) struct Metered<S> {
    inner: S,
    gauge: Gauge,
}

impl<S> Metered<S> {
    pub(crate) const fn new(inner: S, gauge: Gauge) -> Self {
        Self { inner, gauge }
    }

    /// The connection itself.
    pub(crate) const fn inner(&self) -> &S {
        &self.inner
    }

    /// Writes as long as something is left. What the last of it is written with is whole: it may be the end of an answer.
    fn counted(&mut self, write: impl FnOnce(Pin<&mut S>) -> Poll<io::Result<usize>>) -> Poll<io::Result<usize>>
    where
        S: Unpin,
    {
        if !self.gauge.has_some() {
            self.gauge.too_much()?;
        }
        let bytes = ready!(write(Pin::new(&mut self.inner)))?;
        self.gauge.count(bytes);
        Poll::Ready(Ok(bytes))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        let is_allowed = this.gauge.count(buf.filled().len() - before);
        Poll::Ready(if is_allowed { Ok(()) } else { this.gauge.too_much() })
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().counted(|inner| inner.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().counted(|inner| inner.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::super::quota::{Exceeded, UserLimits};
    use super::super::secret::Secret;
    use super::super::users::{UserConfig, Users};
    use super::*;

    #[tokio::test]
    async fn what_came_before_it_was_known_whose_it_is_counts() {
        let limits = UserLimits { quota: Some(3_500), ..UserLimits::default() };
        let secret = Secret::Password(proxywhirl_core::Secret::new("secret"));
        let users = Users::new(vec![UserConfig { name: "anna".to_owned(), secret, limits }]).unwrap();
        let user = users.verify("anna", "secret", None).await.unwrap();
        // A request that comes in one piece, on a connection of its own.
        for request in 0..3 {
            let (mut client, server) = tokio::io::duplex(8_192);
            let gauge = Gauge::default();
            let mut server = Metered::new(server, gauge.clone());
            client.write_all(&[b'x'; 2_000]).await.unwrap();
            server.read_exact(&mut [0; 2_000]).await.unwrap();
            gauge.assign(&user);
            gauge.assign(&user);
            let begun = user.begin(None).await.map(drop);
            assert_eq!(matches!(begun, Err(Exceeded::Quota(_))), request > 0, "{request}: {begun:?}");
        }
    }
}
