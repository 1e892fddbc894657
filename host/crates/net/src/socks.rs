//! What SOCKS 4 and SOCKS 5 share: a conversation in short binary messages.
//!
//! A decoder looks at the bytes so far and says either what they mean, or how many there must be. As many are read as are
//! there, which is one call for a message: what comes behind the last one is the tunnel's, and is handed on.

use std::io;

use bytes::Bytes;
use proxywhirl_core::{Fault, Kind, Side, Stage};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::fault;

/// The longest message: a SOCKS 5 reply with a name of 255 bytes.
pub const MAX_MESSAGE: usize = 4 + 1 + 255 + 2;

/// What the bytes of a message so far amount to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoded<T> {
    /// The message is complete: what it says, and how many bytes it takes.
    Complete(T, usize),
    /// It has at least so many bytes in total, more than there are.
    Needs(usize),
}

/// Why bytes are no message of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a SOCKS reply: {0}")]
pub struct NotSocks(pub &'static str);

/// A conversation, and what was read of it and is not understood yet.
pub(crate) struct Conversation<'a, S> {
    stream: &'a mut S,
    buffer: [u8; MAX_MESSAGE],
    have: usize,
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Conversation<'a, S> {
    pub(crate) const fn new(stream: &'a mut S) -> Self {
        Self { stream, buffer: [0; MAX_MESSAGE], have: 0 }
    }

    /// Sends a message and reads the answer to it.
    pub(crate) async fn exchange<T>(
        &mut self,
        stage: Stage,
        message: &[u8],
        decode: impl Fn(&[u8]) -> Result<Decoded<T>, NotSocks>,
    ) -> Result<T, Fault> {
        let sent = async {
            self.stream.write_all(message).await?;
            self.stream.flush().await
        };
        sent.await.map_err(|error| fault::upstream(stage, &error))?;
        let protocol =
            |error: NotSocks| Fault::new(Side::Upstream, Stage::Handshake, Kind::Protocol, error.to_string());
        loop {
            let bytes = self.buffer.get(..self.have).unwrap_or_default();
            if let Decoded::Complete(answer, length) = decode(bytes).map_err(protocol)? {
                self.buffer.copy_within(length..self.have, 0);
                self.have -= length;
                return Ok(answer);
            }
            let room = self.buffer.get_mut(self.have..).filter(|room| !room.is_empty());
            let room = room.ok_or_else(|| protocol(NotSocks("too long")))?;
            match self.stream.read(room).await {
                Ok(0) => return Err(fault::upstream(stage, &io::ErrorKind::UnexpectedEof.into())),
                Ok(read) => self.have += read,
                Err(error) => return Err(fault::upstream(stage, &error)),
            }
        }
    }

    /// What was read behind the last answer: the tunnel's first bytes.
    pub(crate) fn rest(self) -> Bytes {
        Bytes::copy_from_slice(self.buffer.get(..self.have).unwrap_or_default())
    }
}
