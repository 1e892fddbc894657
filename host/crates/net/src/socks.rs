//! What SOCKS 4 and SOCKS 5 share: reading a short binary message exactly.
//!
//! A reply is followed by the tunnel's first bytes, so not one byte more than the message is read. A decoder looks at
//! the bytes so far and says either what they mean or how many there must be.

use proxywhirl_core::{Fault, Kind, Side, Stage};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::fault;

/// The longest message: a SOCKS 5 reply with a name of 255 bytes.
pub const MAX_MESSAGE: usize = 4 + 1 + 255 + 2;

/// What the bytes of a message so far amount to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoded<T> {
    /// The message is complete.
    Complete(T),
    /// It has at least so many bytes in total, more than there are.
    Needs(usize),
}

/// Why bytes are no message of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a SOCKS reply: {0}")]
pub struct NotSocks(pub &'static str);

/// Sends a message and reads the answer to it, exactly.
pub(crate) async fn exchange<S, T>(
    stream: &mut S,
    stage: Stage,
    message: &[u8],
    decode: impl Fn(&[u8]) -> Result<Decoded<T>, NotSocks>,
) -> Result<T, Fault>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let sent = async {
        stream.write_all(message).await?;
        stream.flush().await
    };
    sent.await.map_err(|error| fault::upstream(stage, &error))?;
    let protocol = |error: NotSocks| Fault::new(Side::Upstream, Stage::Handshake, Kind::Protocol, error.to_string());
    let mut buffer = [0; MAX_MESSAGE];
    let mut have = 0;
    loop {
        match decode(buffer.get(..have).unwrap_or_default()).map_err(protocol)? {
            Decoded::Complete(answer) => return Ok(answer),
            Decoded::Needs(total) => {
                let missing = buffer.get_mut(have..total).filter(|missing| !missing.is_empty());
                let missing = missing.ok_or_else(|| protocol(NotSocks("too long")))?;
                stream.read_exact(missing).await.map_err(|error| fault::upstream(stage, &error))?;
                have = total;
            }
        }
    }
}
