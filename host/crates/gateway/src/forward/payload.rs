//! The body of a request: kept when it is small and there at once, streamed otherwise.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use proxywhirl_core::{Fault, Kind, Side, Stage};
use proxywhirl_net::http1::BodyLength;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::time::timeout;

use super::answer::{client_fault, write};
use super::asked::Asked;
use crate::reply::CONTINUE;
use crate::stall::Stalling;

/// The largest body that is kept.
const MAX_KEPT: usize = 64 * 1024;
/// How long a small body may take to be there: clients send it with the head or right behind it, and one that does not
/// may be waiting for the origin.
const GRACE: Duration = Duration::from_millis(100);

/// The body of a request.
#[derive(Debug)]
pub(super) enum Payload {
    /// All of it; empty when there is none.
    Whole(Bytes),
    /// It is still with the client, or in the session's buffer.
    Streamed {
        /// Whether the client was told to go on.
        continued: bool,
    },
}

impl Payload {
    /// Takes the body of a request from a client that takes what it is told within `stall`.
    pub(super) async fn take<S>(
        client: &mut S,
        buffer: &mut BytesMut,
        asked: &Asked<'_>,
        stall: Duration,
    ) -> Result<Self, Fault>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let length = match asked.body {
            BodyLength::None => return Ok(Self::Whole(Bytes::new())),
            BodyLength::Exact(length) => usize::try_from(length).unwrap_or(usize::MAX),
            BodyLength::Chunked | BodyLength::UntilClose => usize::MAX,
        };
        if length > MAX_KEPT {
            return Ok(Self::Streamed { continued: false });
        }
        let continued = asked.expects && buffer.len() < length;
        if continued {
            write(&mut Stalling::new(&mut *client, stall), CONTINUE).await?;
        }
        match timeout(GRACE, fill(client, buffer, length)).await {
            Ok(Ok(())) => Ok(Self::Whole(buffer.split_to(length).freeze())),
            Ok(Err(fault)) => Err(fault),
            Err(_) => Ok(Self::Streamed { continued }),
        }
    }
}

/// Reads until the buffer holds so much. A cancelled call loses nothing.
async fn fill<S: AsyncRead + Unpin>(client: &mut S, buffer: &mut BytesMut, length: usize) -> Result<(), Fault> {
    buffer.reserve(length.saturating_sub(buffer.len()));
    while buffer.len() < length {
        if client.read_buf(buffer).await.map_err(|error| client_fault(&error))? == 0 {
            return Err(Fault::new(Side::Client, Stage::Body, Kind::Closed, "it closed in the middle of its body"));
        }
    }
    Ok(())
}
