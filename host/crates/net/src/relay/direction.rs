//! One direction of a tunnel, or a body: bytes are read, held as long as the receiver does not take them, and written; or the
//! kernel copies them, while there are many.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

#[cfg(target_os = "linux")]
use super::splice;
use super::{BUFFER, plain};

/// A read of so much says that there is more to come, and that it pays to let the kernel copy it.
#[cfg(target_os = "linux")]
const BUSY: usize = BUFFER / 2;

/// The kernel goes on copying as long as it finds so much at a time.
#[cfg(target_os = "linux")]
const STILL_BUSY: usize = BUFFER / 8;

/// One direction of a tunnel, or a body.
#[derive(Default)]
pub(super) struct Direction {
    pub(super) state: State,
    /// How much is still to be read, if that is known; the receiving side is not closed then.
    pub(super) left: Option<u64>,
    /// What was read and has not been taken yet, from `taken` on; not allocated when there is none.
    held: Vec<u8>,
    taken: usize,
    /// What the kernel has read and the other side has not taken yet; none when there is nothing.
    #[cfg(target_os = "linux")]
    pipe: Option<splice::Pipe>,
    /// Whether the last read was a large one.
    #[cfg(target_os = "linux")]
    is_busy: bool,
    /// Bytes that the receiving side took.
    pub(super) moved: u64,
    /// Why the receiving side takes no more. What it still sends is passed on: servers answer a request that is too
    /// large before they have read it, and close.
    pub(super) refused: Option<io::Error>,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Copying.
    #[default]
    Open,
    /// Something was written that may not have been sent.
    Unflushed,
    /// The sending side has closed; what is held goes out, then the receiving side is closed.
    Closing,
    /// Done.
    Closed,
}

impl Direction {
    /// Whether the sending side has closed; not so when it was the receiving one that takes no more.
    pub(super) const fn has_ended(&self) -> bool {
        matches!(self.state, State::Closing | State::Closed) && self.refused.is_none()
    }

    /// A body of which so much is left behind what is at hand. That it is long is known before the first read.
    pub(super) fn of(at_hand: Vec<u8>, left: u64) -> Self {
        Self {
            left: Some(left),
            held: at_hand,
            #[cfg(target_os = "linux")]
            is_busy: true,
            ..Self::default()
        }
    }

    /// How much of this may be read.
    fn most(&self, room: usize) -> usize {
        self.left.map_or(room, |left| usize::try_from(left).unwrap_or(room).min(room))
    }

    /// Takes note of so many bytes that were read: none is the end, which may have come too early.
    fn read(&mut self, length: usize) -> io::Result<()> {
        match (&mut self.left, length) {
            (Some(_), 0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            (None, 0) => self.state = State::Closing,
            (Some(left), read) => *left = left.saturating_sub(read as u64),
            (None, _) => {}
        }
        Ok(())
    }

    /// Whether something waits for the receiving side.
    pub(super) fn holds(&self) -> bool {
        #[cfg(target_os = "linux")]
        if self.pipe.is_some() {
            return true;
        }
        !self.held.is_empty()
    }

    /// Copies as much as it can; `is_last` when the other direction has ended. An error is the sending side's.
    pub(super) fn poll<R, W>(
        &mut self,
        context: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        scratch: &mut [u8],
        is_last: bool,
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin + 'static,
        W: AsyncWrite + Unpin + 'static,
    {
        loop {
            if self.state == State::Closed {
                return Poll::Ready(Ok(()));
            }
            #[cfg(target_os = "linux")]
            self.look_ahead(context, from, to);
            if let Err(error) = ready!(self.poll_held(context, to)) {
                self.refuse(error);
                continue;
            }
            #[cfg(target_os = "linux")]
            if let Some(spliced) = self.poll_spliced(context, from, to) {
                ready!(spliced)?;
                continue;
            }
            if self.state == State::Closing {
                // The peer may be gone already; everything that was for it has been taken.
                if !(is_last && plain(to).is_some()) {
                    drop(ready!(Pin::new(&mut *to).poll_shutdown(context)));
                }
                self.state = State::Closed;
                continue;
            }
            if self.left == Some(0) {
                match ready!(Pin::new(&mut *to).poll_flush(context)) {
                    Ok(()) => self.state = State::Closed,
                    Err(error) => self.refuse(error),
                }
                continue;
            }
            let most = self.most(BUFFER);
            let mut buffer = ReadBuf::new(scratch.get_mut(..most).unwrap_or_default());
            match Pin::new(&mut *from).poll_read(context, &mut buffer) {
                Poll::Ready(result) => result?,
                Poll::Pending => {
                    if self.state == State::Unflushed
                        && let Poll::Ready(flushed) = Pin::new(&mut *to).poll_flush(context)
                    {
                        self.state = State::Open;
                        if let Err(error) = flushed {
                            self.refuse(error);
                            continue;
                        }
                    }
                    return Poll::Pending;
                }
            }
            self.read(buffer.filled().len())?;
            if !buffer.filled().is_empty() {
                self.send(context, to, buffer.filled());
            }
        }
    }

    /// Takes what has come behind the bytes at hand into the pipe, so that those can be sent as a beginning: otherwise the
    /// receiver is woken for them alone, which costs about as much as sending the rest.
    #[cfg(target_os = "linux")]
    fn look_ahead<R: 'static, W: 'static>(&mut self, context: &mut Context<'_>, from: &R, to: &W) {
        let pays = self.moved == 0 && !self.held.is_empty() && self.left.is_some_and(|left| left >= BUSY as u64);
        if !pays || self.pipe.is_some() {
            return;
        }
        let (Some(from), Some(_), Some(mut pipe)) = (plain(from), plain(to), splice::Pipe::take()) else { return };
        match pipe.poll_fill(context, from, self.most(splice::SIZE)) {
            Poll::Ready(Ok(filled)) if filled > 0 => {
                self.left = self.left.map(|left| left.saturating_sub(filled as u64));
                self.pipe = Some(pipe);
            }
            // Whatever it is, the next read finds it too, when the bytes at hand are sent.
            Poll::Ready(Ok(_) | Err(_)) | Poll::Pending => pipe.give_back(),
        }
    }

    /// Lets the kernel copy as much as a pipe holds. Nothing when the bytes are to be copied here: there are few, or
    /// one side is not plain TCP. An error is the sending side's.
    #[cfg(target_os = "linux")]
    fn poll_spliced<R: 'static, W: 'static>(
        &mut self,
        context: &mut Context<'_>,
        from: &R,
        to: &W,
    ) -> Option<Poll<io::Result<()>>> {
        let pays = self.is_busy && self.left.is_none_or(|left| left >= BUSY as u64);
        if !pays && self.pipe.is_none() {
            return None;
        }
        let (from, to) = (plain(from)?, plain(to)?);
        let mut pipe = self.pipe.take().or_else(splice::Pipe::take)?;
        if pipe.is_empty() {
            let Poll::Ready(filled) = pipe.poll_fill(context, from, self.most(splice::SIZE)) else {
                pipe.give_back();
                return Some(Poll::Pending);
            };
            let noted = filled.and_then(|filled| {
                self.is_busy = filled >= STILL_BUSY;
                self.read(filled)
            });
            if let Err(error) = noted {
                return Some(Poll::Ready(Err(error)));
            }
        }
        while !pipe.is_empty() {
            match pipe.poll_drain(context, to) {
                Poll::Ready(Ok(taken)) => self.moved += taken as u64,
                Poll::Ready(Err(error)) => {
                    self.refuse(error);
                    return Some(Poll::Ready(Ok(())));
                }
                Poll::Pending => {
                    self.pipe = Some(pipe);
                    return Some(Poll::Pending);
                }
            }
        }
        pipe.give_back();
        Some(Poll::Ready(Ok(())))
    }

    /// Why the receiving side may take no more, if it is that.
    pub(super) fn exhausted(&mut self) -> Option<io::Error> {
        self.refused.take_if(|error| error.kind() == io::ErrorKind::QuotaExceeded)
    }

    /// Ends this direction, because the receiving side takes no more.
    fn refuse(&mut self, error: io::Error) {
        self.refused = Some(error);
        self.held = Vec::new();
        self.state = State::Closed;
    }

    /// Writes what is held, and gives its memory back.
    fn poll_held<W: AsyncWrite + Unpin + 'static>(
        &mut self,
        context: &mut Context<'_>,
        to: &mut W,
    ) -> Poll<io::Result<()>> {
        while let Some(rest) = self.held.get(self.taken..).filter(|rest| !rest.is_empty()) {
            #[cfg(target_os = "linux")]
            let is_beginning = self.pipe.is_some();
            #[cfg(not(target_os = "linux"))]
            let is_beginning = false;
            let written = ready!(match plain(to).filter(|_| is_beginning) {
                Some(to) => splice::poll_send_beginning(context, to, rest),
                None => Pin::new(&mut *to).poll_write(context, rest),
            })?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.taken += written;
            self.moved += written as u64;
        }
        if self.taken > 0 {
            (self.held, self.taken) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what was just read, and holds what is not taken at once.
    fn send<W: AsyncWrite + Unpin>(&mut self, context: &mut Context<'_>, to: &mut W, bytes: &[u8]) {
        self.state = State::Unflushed;
        let written = match Pin::new(to).poll_write(context, bytes) {
            Poll::Ready(Ok(written)) => written,
            Poll::Ready(Err(error)) => return self.refuse(error),
            Poll::Pending => 0,
        };
        self.moved += written as u64;
        #[cfg(target_os = "linux")]
        {
            self.is_busy = bytes.len() >= BUSY;
        }
        self.held = bytes.get(written..).unwrap_or_default().to_vec();
    }
}
