//! Forwarding: a request in absolute form goes to its origin and the answer comes back, bodies streaming both ways at
//! once. Hop-by-hop fields (RFC 9110, 7.6.1) stop here; the connection to the origin is kept for the next request.

mod head;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::Session;
use super::dial::{DialFault, dial};
use crate::http::{Body, Framing, HeadError, Request, final_reply, read_response};
use crate::wire::{BUFFER, Stream, Wire, send};
use head::{Destination, Encoding};

/// The origin's slowest route waits ten minutes.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(660);

/// What becomes of the client's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Keep,
    Close,
}

/// The connection to an origin, kept between the requests of one client.
pub(super) struct Onward {
    authority: String,
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

/// How an exchange failed.
enum Fault {
    /// The origin gave no answer, and the client has none yet.
    Unanswered,
    /// The answer broke in the middle, or the client did.
    Torn(io::Error),
}

/// How an exchange ended well.
struct Exchanged {
    client: Next,
    origin: Next,
}

/// Which side of a copy broke.
enum Broken {
    Source(io::Error),
    Sink(io::Error),
}

impl Onward {
    async fn dial(session: &Session, destination: &Destination<'_>) -> Result<Self, DialFault> {
        let stream = dial(&session.shared, &destination.target).await?;
        let (reader, writer) = stream.into_split();
        Ok(Self {
            authority: destination.authority.to_owned(),
            reader: BufReader::with_capacity(BUFFER, reader),
            writer,
        })
    }
}

/// Serves one request. An error means that the client's connection is of no more use.
pub(super) async fn forward<S: Stream>(
    wire: &mut Wire<S>,
    request: &Request,
    kept: &mut Option<Onward>,
    session: &Session,
) -> io::Result<Next> {
    let Some(destination) = Destination::of(&request.target) else {
        return reply(wire, 400, "forwarding wants an absolute http target\n").await;
    };
    let head = head::request(request, &destination, session);
    let mut reusable = kept.take().filter(|onward| onward.authority == destination.authority);
    loop {
        let reused = reusable.is_some();
        let mut onward = match reusable.take() {
            Some(onward) => onward,
            None => match Onward::dial(session, &destination).await {
                Ok(onward) => onward,
                Err(fault) => {
                    let why = format!("dial failed: {fault:?}\n");
                    return reply(wire, fault.status(), &why).await;
                }
            },
        };
        match exchange(wire, request, &head, &mut onward, session).await {
            Ok(exchanged) => {
                if exchanged.origin == Next::Keep {
                    *kept = Some(onward);
                }
                return Ok(exchanged.client);
            }
            // An origin may close a kept connection at any time; without a body the request can be sent again.
            Err(Fault::Unanswered) if reused && request.framing == Framing::Length(0) => {}
            Err(Fault::Unanswered) => return reply(wire, 502, "origin gave no answer\n").await,
            Err(Fault::Torn(error)) => return Err(error),
        }
    }
}

async fn exchange<S: Stream>(
    wire: &mut Wire<S>,
    request: &Request,
    head: &[u8],
    onward: &mut Onward,
    session: &Session,
) -> Result<Exchanged, Fault> {
    let meter = &session.shared.meter;
    if send(&mut onward.writer, head).await.is_err() {
        return Err(Fault::Unanswered);
    }
    let answer = relay_answer(&mut onward.reader, &mut wire.writer, request, session);
    if request.framing == Framing::Length(0) {
        return answer.await;
    }
    let upload = copy_body(
        &mut wire.reader,
        &mut onward.writer,
        request.framing,
        Encoding::of(request.framing),
        Vec::new(),
        &meter.up,
    );
    tokio::pin!(answer, upload);
    // An origin may answer before it has the whole body, and refuse the rest of it.
    let whole = tokio::select! {
        biased;
        sent = &mut upload => match sent {
            Ok(()) => true,
            Err(Broken::Sink(_)) => false,
            Err(Broken::Source(error)) => return Err(Fault::Torn(error)),
        },
        early = &mut answer => return early.map(|_| Exchanged { client: Next::Close, origin: Next::Close }),
    };
    let exchanged = answer.await?;
    if whole { Ok(exchanged) } else { Ok(Exchanged { client: Next::Close, origin: Next::Close }) }
}

async fn relay_answer<W: AsyncWrite + Unpin>(
    from: &mut BufReader<OwnedReadHalf>,
    to: &mut W,
    request: &Request,
    session: &Session,
) -> Result<Exchanged, Fault> {
    let response = loop {
        let read = read_response(from, &request.method);
        let response = match tokio::time::timeout(RESPONSE_TIMEOUT, read).await {
            Ok(Ok(response)) => response,
            Ok(Err(HeadError::Io(_) | HeadError::TooLarge | HeadError::Malformed(_))) | Err(_) => {
                return Err(Fault::Unanswered);
            }
        };
        match response.status {
            200.. => break response,
            // We asked for no upgrade.
            101 => return Err(Fault::Unanswered),
            _ if request.minor == 0 => {}
            _ => send(to, &head::interim(&response)).await.map_err(Fault::Torn)?,
        }
    };
    session.shared.meter.forwarded();
    let encoding = Encoding::towards(request.minor, response.framing);
    let client = if request.keeps_alive() && encoding != Encoding::UntilClose { Next::Keep } else { Next::Close };
    let origin = if response.keeps_alive() { Next::Keep } else { Next::Close };
    let head = head::response(&response, request, encoding, client);
    let down = &session.shared.meter.down;
    match copy_body(from, to, response.framing, encoding, head, down).await {
        Ok(()) => Ok(Exchanged { client, origin }),
        Err(Broken::Source(error) | Broken::Sink(error)) => Err(Fault::Torn(error)),
    }
}

/// Writes `out` (a head, or nothing) and then the body. What is at hand goes out in one write; nothing is held back
/// while the source is waited for.
async fn copy_body<R, W>(
    from: &mut BufReader<R>,
    to: &mut W,
    framing: Framing,
    encoding: Encoding,
    mut out: Vec<u8>,
    count: &AtomicU64,
) -> Result<(), Broken>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut body = Body::new(framing);
    loop {
        if body.may_wait(from) && !out.is_empty() {
            send(to, &out).await.map_err(Broken::Sink)?;
            out.clear();
        }
        let piece = body.next(from).await.map_err(Broken::Source)?;
        if piece.is_empty() {
            break;
        }
        count.fetch_add(piece.len() as u64, Relaxed);
        encoding.write(piece, &mut out);
    }
    encoding.finish(&mut out);
    send(to, &out).await.map_err(Broken::Sink)
}

async fn reply<S: Stream>(wire: &mut Wire<S>, status: u16, why: &str) -> io::Result<Next> {
    wire.send(&final_reply(status, "", "text/plain", why)).await?;
    Ok(Next::Close)
}
