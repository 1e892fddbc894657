//! HTTP/1.1 messages: their heads, how long their bodies are, and how both are passed on (RFC 9112).
//!
//! A gateway stands between two parsers that it does not know. When it reads a message otherwise than one of
//! them, a request can be hidden in another one's body; so everything that parsers are known to disagree
//! about is refused here, and a head is always written anew from what was understood, never copied.
//! hyper would do the same at 13 µs more a request, and it cannot hand over the socket between two requests.

mod body;
mod head;
mod headers;
mod hop;
mod read;

use std::io;

pub use body::{ChunkedFraming, copy_body};
pub use head::{BodyLength, RequestHead, ResponseHead};
pub use headers::Headers;
pub use hop::strip_hop_by_hop;
pub use read::{read_request, read_response};

/// The largest head in bytes that a caller should accept: browsers send below 16 kB, cookies included.
pub const MAX_HEAD: usize = 64 * 1024;

/// The most fields that a head may have.
pub const MAX_HEADERS: usize = 128;

/// Why a message could not be read.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    /// The peer closed before the message was complete; the buffer is empty when it closed before the first byte.
    #[error("closed before the message was complete")]
    Closed,
    /// The head, its number of fields, or a line of a chunked body is larger than it may be.
    #[error("larger than it may be")]
    TooLarge,
    /// It is not HTTP/1, or can be read in two ways.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// Reading failed.
    #[error("reading failed")]
    Io(#[source] io::Error),
}

impl From<io::Error> for HeadError {
    /// TLS reports an end without a goodbye as an error; for a message that is not complete both are the same.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof { Self::Closed } else { Self::Io(error) }
    }
}

/// Why a body could not be passed on: which of the two sides failed.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The side that sends the body.
    #[error("reading the body failed")]
    Read(#[source] HeadError),
    /// The side that receives it.
    #[error("writing the body failed")]
    Write(#[source] io::Error),
}
