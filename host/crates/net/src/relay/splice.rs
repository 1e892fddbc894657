//! Copying by the kernel: from a socket into a pipe, and from there into another socket, without a look at the bytes
//! (splice(2)). It takes a fifth of what copying takes, but a pipe is two descriptors; so a direction has one only while
//! it is busy, and a thread keeps some for the next.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};

use rustix::net::{SendFlags, send};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// How much a pipe takes up at a time, where the system allows that. It is memory only while something is in it.
pub(super) const SIZE: usize = 256 * 1024;
/// Pipes that a thread keeps.
const KEPT: usize = 32;

thread_local! {
    /// Pipes of the thread that nobody uses; they are empty.
    static PIPES: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
}

/// Sends bytes behind which more follow at once: they may wait for those (`MSG_MORE`, send(2)).
pub(super) fn poll_send_beginning(context: &mut Context<'_>, to: &TcpStream, bytes: &[u8]) -> Poll<io::Result<usize>> {
    loop {
        ready!(to.poll_write_ready(context))?;
        let sending = || Ok(send(to, bytes, SendFlags::MORE | SendFlags::NOSIGNAL)?);
        match to.try_io(Interest::WRITABLE, sending) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            sent => return Poll::Ready(sent),
        }
    }
}

/// A pipe, and how much is in it.
#[derive(Debug)]
pub(super) struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
    filled: usize,
}

impl Pipe {
    /// A pipe; none when the system has none left, so that the bytes have to be copied.
    pub(super) fn take() -> Option<Self> {
        PIPES.with_borrow_mut(Vec::pop).or_else(|| {
            let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
            // Who has many pipes already gets no larger ones, which is slower, and right otherwise.
            fcntl_setpipe_size(&writer, SIZE).ok();
            Some(Self { reader, writer, filled: 0 })
        })
    }

    /// Gives it to the next one who needs it.
    pub(super) fn give_back(self) {
        PIPES.with_borrow_mut(|pipes| {
            if self.is_empty() && pipes.len() < KEPT {
                pipes.push(self);
            }
        });
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Takes up what has arrived, so much at the most, and says how much it was; nothing is the end. The pipe must be
    /// empty: one that is full would look like a socket on which nothing has arrived.
    pub(super) fn poll_fill(
        &mut self,
        context: &mut Context<'_>,
        from: &TcpStream,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        debug_assert!(self.is_empty());
        loop {
            ready!(from.poll_read_ready(context))?;
            let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
            let moving = || Ok(splice(from, None, &self.writer, None, most, flags)?);
            match from.try_io(Interest::READABLE, moving) {
                Ok(moved) => {
                    self.filled = moved;
                    return Poll::Ready(Ok(moved));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Hands on what is in it, and says how much was taken.
    pub(super) fn poll_drain(&mut self, context: &mut Context<'_>, to: &TcpStream) -> Poll<io::Result<usize>> {
        loop {
            ready!(to.poll_write_ready(context))?;
            let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
            let moving = || Ok(splice(&self.reader, None, to, None, self.filled, flags)?);
            match to.try_io(Interest::WRITABLE, moving) {
                Ok(moved) => {
                    self.filled = self.filled.saturating_sub(moved);
                    return Poll::Ready(Ok(moved));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}
