//! An answer on its way from an upstream to the client.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use proxywhirl_core::{Fault, Kind, Side, Stage};
use proxywhirl_net::http1::{
    BodyLength, CopyError, HeadError, ResponseHead, copy_body, read_response, strip_hop_by_hop,
};
use proxywhirl_net::{RequestForm, fault};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use super::asked::{Asked, set};
use crate::config::GatewayConfig;
use crate::dechunk::Dechunk;

/// How many interim responses an answer may begin with.
const MAX_INTERIM: usize = 16;
/// How much of a body is sent together with the head: a small answer leaves in one packet.
const TOGETHER: usize = 16 * 1024;

/// The head of an answer, and how far its body reaches.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) head: ResponseHead,
    pub(super) length: BodyLength,
}

/// What came of passing an answer on.
pub(super) struct Passed {
    /// The status that the client got; none when it got nothing.
    pub(super) status: Option<u16>,
    /// Whether the client's connection can go on, or who broke it.
    pub(super) end: Result<bool, Fault>,
}

/// The upstream's end of a connection: what it sends, and what was read too far.
pub(super) struct Inbound<R> {
    pub(super) reader: R,
    pub(super) buffer: BytesMut,
}

/// What an answer is read by.
#[derive(Clone, Copy)]
pub(super) struct Rules<'a> {
    pub(super) asked: &'a Asked,
    pub(super) form: &'a RequestForm,
    pub(super) config: &'a GatewayConfig,
}

/// Reads the next head of an answer that the client may see: `100 Continue` is not, the gateway has said it itself.
pub(super) async fn read<R: AsyncRead + Unpin>(inbound: &mut Inbound<R>, rules: Rules<'_>) -> Result<Answer, Fault> {
    let Rules { asked, form, config } = rules;
    let Inbound { reader, buffer } = inbound;
    for _ in 0..MAX_INTERIM {
        let head = read_response(reader, buffer, config.max_head).await.map_err(|error| fault_of(&error))?;
        let length = head.body(asked.method()).map_err(|error| fault_of(&error))?;
        match (head.status, form) {
            (101, _) if asked.upgrades => {}
            (101, _) => return Err(protocol("an upgrade that nobody asked for")),
            (100, _) => continue,
            // HTTP/1.0 has no interim responses.
            (102..200, _) if asked.version == 0 => continue,
            (407, RequestForm::Absolute { .. }) => {
                let fault = Fault::new(Side::Upstream, Stage::Auth, Kind::Unauthorized, "it wants other credentials");
                return Err(fault.with_code(407));
            }
            // The client would send its credentials, which are for the gateway.
            (407, RequestForm::Origin) => {
                let why = "the origin asked for proxy credentials";
                return Err(Fault::new(Side::Origin, Stage::FirstByte, Kind::Protocol, why).with_code(407));
            }
            _ => {}
        }
        return Ok(Answer { head, length });
    }
    Err(protocol("an endless row of interim responses"))
}

/// Passes an answer on to the client: interim responses, head and body.
pub(super) async fn pass<R, W>(
    inbound: &mut Inbound<R>,
    writer: &mut W,
    rules: Rules<'_>,
    mut answer: Answer,
    keep: bool,
) -> Passed
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut interim = 0;
    while answer.head.status < 200 {
        interim += 1;
        if interim > MAX_INTERIM {
            return Passed { status: None, end: Err(protocol("an endless row of interim responses")) };
        }
        if let Err(fault) = send_interim(writer, &mut answer.head).await {
            return Passed { status: None, end: Err(fault) };
        }
        answer = match timed(rules.config.response_timeout, read(inbound, rules)).await {
            Ok(next) => next,
            Err(fault) => return Passed { status: None, end: Err(fault) },
        };
    }
    let status = answer.head.status;
    let end = pass_final(inbound, writer, rules.asked.version, answer, keep).await;
    Passed { status: Some(status), end }
}

/// Limits the wait for a head.
pub(super) async fn timed<T>(limit: Duration, wait: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    timeout(limit, wait).await.unwrap_or_else(|_| {
        let detail = format!("no answer within {:.0} s", limit.as_secs_f64());
        Err(Fault::new(Side::Upstream, Stage::FirstByte, Kind::Timeout, detail))
    })
}

async fn send_interim<W: AsyncWrite + Unpin>(writer: &mut W, head: &mut ResponseHead) -> Result<(), Fault> {
    strip_hop_by_hop(&mut head.headers);
    head.minor_version = 1;
    let mut bytes = Vec::new();
    head.write_to(&mut bytes);
    write(writer, &bytes).await
}

/// Writes to the client.
pub(super) async fn write<W: AsyncWrite + Unpin>(writer: &mut W, bytes: &[u8]) -> Result<(), Fault> {
    writer.write_all(bytes).await.map_err(|error| client_fault(&error))?;
    writer.flush().await.map_err(|error| client_fault(&error))
}

/// Passes the final head and the body on. True when the client's connection can go on.
async fn pass_final<R, W>(
    inbound: &mut Inbound<R>,
    writer: &mut W,
    version: u8,
    answer: Answer,
    keep: bool,
) -> Result<bool, Fault>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let Inbound { reader, buffer } = inbound;
    let Answer { mut head, length } = answer;
    let dechunks = version == 0 && length == BodyLength::Chunked;
    let keep = keep && length != BodyLength::UntilClose && !dechunks;
    dress(&mut head, version, keep)?;
    let mut bytes = Vec::new();
    head.write_to(&mut bytes);
    let left = take_along(&mut bytes, buffer, length);
    write(writer, &bytes).await?;
    let copied = if dechunks {
        copy_body(reader, buffer, &mut Dechunk::new(writer), left).await
    } else {
        copy_body(reader, buffer, writer, left).await
    };
    match copied {
        Ok(_) => Ok(keep),
        Err(CopyError::Write(error)) => Err(client_fault(&error)),
        Err(CopyError::Read(error)) => Err(Fault { stage: Stage::Body, ..fault_of(&error) }),
    }
}

/// The head of an answer that goes on in another protocol, in bytes.
pub(super) fn upgraded(answer: Answer) -> Result<Vec<u8>, Fault> {
    let mut head = answer.head;
    let protocol = head.headers.get("upgrade").map(<[u8]>::to_vec);
    strip_hop_by_hop(&mut head.headers);
    set(&mut head.headers, "Connection", "Upgrade")?;
    if let Some(protocol) = protocol {
        set(&mut head.headers, "Upgrade", protocol)?;
    }
    let mut bytes = Vec::new();
    head.write_to(&mut bytes);
    Ok(bytes)
}

/// Makes the head one of the client's own connection.
fn dress(head: &mut ResponseHead, version: u8, keep: bool) -> Result<(), Fault> {
    strip_hop_by_hop(&mut head.headers);
    head.minor_version = 1;
    if version == 0 {
        head.headers.remove("transfer-encoding");
        head.headers.remove("trailer");
    }
    match (keep, version) {
        (false, _) => set(&mut head.headers, "Connection", "close"),
        (true, 0) => set(&mut head.headers, "Connection", "keep-alive"),
        (true, _) => Ok(()),
    }
}

/// Moves what is there of a body of known length behind the head, and says what is left of it.
fn take_along(bytes: &mut Vec<u8>, buffer: &mut BytesMut, length: BodyLength) -> BodyLength {
    let BodyLength::Exact(whole) = length else { return length };
    let here = usize::try_from(whole).unwrap_or(usize::MAX).min(buffer.len()).min(TOGETHER);
    bytes.extend_from_slice(&buffer.split_to(here));
    BodyLength::Exact(whole - here as u64)
}

fn protocol(why: &'static str) -> Fault {
    Fault::new(Side::Upstream, Stage::FirstByte, Kind::Protocol, why)
}

/// What an answer that could not be read says of the upstream.
fn fault_of(error: &HeadError) -> Fault {
    let (kind, detail) = match error {
        HeadError::Closed => (Kind::Closed, "it closed before the answer was complete".to_owned()),
        HeadError::TooLarge => (Kind::TooLarge, "the head of its answer is larger than the gateway reads".to_owned()),
        HeadError::Malformed(why) => (Kind::Protocol, format!("its answer is malformed: {why}")),
        HeadError::Io(error) => return fault::upstream(Stage::FirstByte, error),
    };
    Fault::new(Side::Upstream, Stage::FirstByte, kind, detail)
}

/// A request that could not be sent to the upstream.
pub(super) fn sending_fault(error: &io::Error) -> Fault {
    fault::upstream(Stage::Request, error)
}

/// A client that cannot be written to, or read from.
pub(super) fn client_fault(error: &io::Error) -> Fault {
    Fault::new(Side::Client, Stage::Body, fault::io_kind(error), error.to_string())
}
