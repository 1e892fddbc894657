//! An answer on its way from an upstream to the client.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use proxywhirl_core::{Fault, Kind, Side, Stage};
use proxywhirl_net::http1::{
    BodyLength, CopyError, HeadError, Headers, ResponseHead, copy_body, read_response, strip_hop_by_hop,
};
use proxywhirl_net::{RequestForm, connect, fault};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::Instant;

use super::asked::{Asked, is_of_connection, set};
use crate::alarms::{Alarms, Kept};
use crate::config::GatewayConfig;
use crate::dechunk::Dechunk;
use crate::explained::Explained;
use crate::sparing::{self, READ};

/// How many interim responses an answer may begin with.
const MAX_INTERIM: usize = 16;
const ENDLESS: &str = "an endless row of interim responses";
/// How much of a body is sent together with the head: a small answer leaves in one packet.
const TOGETHER: usize = 16 * 1024;
/// Room for a head: nearly every one is smaller. With a small body it is small enough for the allocator's quick way.
const HEAD: usize = 640;

/// The head of an answer, and how far its body reaches.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) head: ResponseHead,
    pub(super) length: BodyLength,
}

impl Answer {
    /// Whether another head follows.
    pub(super) const fn is_interim(&self) -> bool {
        self.head.status < 200 && self.head.status != 101
    }
}

/// What came of passing an answer on.
pub(super) struct Passed {
    /// The status that the client got; none when it got nothing.
    pub(super) status: Option<u16>,
    /// Whether the client's connection can go on, or who broke it.
    pub(super) end: Result<bool, Fault>,
    /// How long the upstream's connection may wait for another request; none when it has to be closed.
    pub(super) idle: Option<Duration>,
    /// Whether nothing but the end of the client's connection says where the answer ends: one that was cut must not look like one
    /// that is whole.
    pub(super) is_open: bool,
}

impl Passed {
    /// The client got nothing.
    pub(super) const fn failed(fault: Fault) -> Self {
        Self { status: None, end: Err(fault), idle: None, is_open: false }
    }
}

/// The upstream's end of a connection: what it sends, and what was read too far.
pub(super) struct Inbound<R> {
    pub(super) reader: R,
    pub(super) buffer: BytesMut,
}

/// What an answer is read by.
#[derive(Clone, Copy)]
pub(super) struct Rules<'a> {
    pub(super) asked: &'a Asked<'a>,
    pub(super) form: &'a RequestForm,
    pub(super) config: &'a GatewayConfig,
    pub(super) alarms: &'a Alarms,
    /// What the client hears beside the answer.
    pub(super) explained: Option<&'a Explained>,
}

impl<'a> Rules<'a> {
    /// How long a head is waited for, and what with.
    pub(super) const fn limit(&self) -> (&'a Kept, Duration) {
        (&self.alarms.answer, self.config.response_timeout)
    }
}

/// Reads the next head of an answer that the client may see: `100 Continue` is not, the gateway has said it itself.
pub(super) async fn read<R: AsyncRead + Unpin>(inbound: &mut Inbound<R>, rules: Rules<'_>) -> Result<Answer, Fault> {
    let Inbound { reader, buffer } = inbound;
    for _ in 0..MAX_INTERIM {
        let head = read_response(reader, buffer, rules.config.max_head).await.map_err(|error| fault_of(&error))?;
        // HTTP/1.0 has no interim responses.
        let is_kept = head.status == 100 || (rules.asked.version == 0 && matches!(head.status, 102..200));
        if !is_kept {
            return accepted(head, rules);
        }
    }
    Err(protocol(ENDLESS))
}

/// Reads what an upstream says of a body that it was told of: the final head of an answer, or none when it may follow. The
/// interim responses before that go to `writer`, for the client.
pub(super) async fn expected<R, W>(
    inbound: &mut Inbound<R>,
    writer: &mut W,
    rules: Rules<'_>,
) -> Result<Option<Answer>, Fault>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let Inbound { reader, buffer } = inbound;
    for _ in 0..MAX_INTERIM {
        let head = read_response(reader, buffer, rules.config.max_head).await.map_err(|error| fault_of(&error))?;
        if head.status == 100 {
            return Ok(None);
        }
        let mut answer = accepted(head, rules)?;
        if !answer.is_interim() {
            return Ok(Some(answer));
        }
        send_interim(writer, &mut answer.head).await?;
    }
    Err(protocol(ENDLESS))
}

/// A head that is an answer; a fault, when it is one that no client gets.
fn accepted(head: ResponseHead, Rules { asked, form, .. }: Rules<'_>) -> Result<Answer, Fault> {
    let length = head.body(asked.method()).map_err(|error| fault_of(&error))?;
    match (head.status, form) {
        (101, _) if !asked.upgrades_to(&head) => Err(protocol("an upgrade that nobody asked for")),
        (407, RequestForm::Absolute { .. }) => {
            // A proxy says which it wants (RFC 9110, 15.5.8). Without that it may be the origin's, of which proxies pass on the status.
            let stage = if head.headers.get("proxy-authenticate").is_some() { Stage::Auth } else { Stage::Handshake };
            let other = connect::other_login(&head.headers);
            let why = other.unwrap_or_else(|| "it wants other credentials".to_owned());
            Err(Fault::new(Side::Upstream, stage, Kind::Unauthorized, why).with_code(407))
        }
        // The client would send its credentials, which are for the gateway.
        (407, RequestForm::Origin) => {
            let why = "the origin asked for proxy credentials";
            Err(Fault::new(Side::Origin, Stage::FirstByte, Kind::Protocol, why).with_code(407))
        }
        _ => Ok(Answer { head, length }),
    }
}

/// Waits for the first byte of a body of a known length: a proxy may say that all is well, and then nothing more.
pub(super) async fn body_begins<R: AsyncRead + Unpin>(inbound: &mut Inbound<R>, answer: &Answer) -> Result<(), Fault> {
    if !inbound.buffer.is_empty() || !matches!(answer.length, BodyLength::Exact(_)) {
        return Ok(());
    }
    match sparing::read(&mut inbound.reader, &mut inbound.buffer, READ).await {
        Ok(1..) => Ok(()),
        Ok(0) => Err(Fault::new(Side::Upstream, Stage::FirstByte, Kind::Closed, "it ended before its body began")),
        Err(error) => Err(fault::upstream(Stage::FirstByte, &error)),
    }
}

/// An answer that goes to the client.
pub(super) struct Begun {
    status: u16,
    /// What the client gets first: the head, and perhaps the beginning of the body.
    beginning: Vec<u8>,
    /// How far the rest of the body reaches.
    left: BodyLength,
    /// Whether the framing of its chunks is taken off.
    dechunks: bool,
    /// Whether the client's connection can go on.
    keep: bool,
    idle: Option<Duration>,
    is_open: bool,
}

impl Begun {
    /// Takes out what the client gets first.
    pub(super) fn take_beginning(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.beginning)
    }

    /// How much is left of the body, where that is known.
    pub(super) const fn known(&self) -> Option<u64> {
        match self.left {
            BodyLength::Exact(left) => Some(left),
            BodyLength::None => Some(0),
            BodyLength::Chunked | BodyLength::UntilClose => None,
        }
    }

    /// What has come of the answer now that the body was copied; `behind` is what the upstream has sent after it.
    pub(super) fn over(self, copied: Result<(), CopyError>, behind: &[u8]) -> Passed {
        let end = match copied {
            Ok(()) => Ok(self.keep),
            Err(CopyError::Write(error)) => Err(client_fault(&error)),
            Err(CopyError::Read(error)) => Err(Fault { stage: Stage::Body, ..fault_of(&error) }),
        };
        // What follows an answer that is over was asked for by nobody.
        let idle = self.idle.filter(|_| end.is_ok() && behind.is_empty());
        Passed { status: Some(self.status), end, idle, is_open: self.is_open }
    }
}

/// Passes an answer on to the client: head and body.
pub(super) async fn pass<R, W>(
    inbound: &mut Inbound<R>,
    writer: &mut W,
    rules: Rules<'_>,
    answer: Answer,
    keep: bool,
) -> Passed
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    match begin(inbound, rules, answer, keep) {
        Ok(begun) => finish(inbound, writer, begun).await,
        Err(passed) => passed,
    }
}

/// Passes on the interim responses that an answer begins with, and reads what follows them: its final head, or an upgrade.
pub(super) async fn finally<R, W>(
    inbound: &mut Inbound<R>,
    writer: &mut W,
    rules: Rules<'_>,
    mut answer: Answer,
) -> Result<Answer, Fault>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut interim = 0;
    while answer.is_interim() {
        interim += 1;
        if interim > MAX_INTERIM {
            return Err(protocol(ENDLESS));
        }
        send_interim(writer, &mut answer.head).await?;
        answer = timed(rules.limit(), pin!(read(inbound, rules))).await?;
    }
    Ok(answer)
}

/// How long the upstream's connection may wait for another request once this answer is over; none when it ends with it.
///
/// The answer must say itself where it ends. To HEAD, and with 204 and 304, it ends with its head whatever that says,
/// and an upstream that sends a body all the same would have it taken for the next answer.
fn idle(answer: &Answer, method: &str) -> Option<Duration> {
    let ResponseHead { status, headers, .. } = &answer.head;
    let says_its_end = answer.length != BodyLength::UntilClose && method != "HEAD" && !matches!(status, 204 | 304);
    let stays = answer.head.keeps_alive() && !headers.has_token("proxy-connection", "close");
    let is_own = headers.get_all("www-authenticate").any(is_of_connection);
    (says_its_end && stays && !is_own).then(|| promised(headers)).filter(|idle| !idle.is_zero())
}

/// How long the upstream says that it keeps the connection (`Keep-Alive: timeout=5`), less a second for the way there.
fn promised(headers: &Headers) -> Duration {
    let parameters = headers.get_all("keep-alive").flat_map(|value| value.split(|byte| *byte == b','));
    let seconds = parameters
        .filter_map(|parameter| std::str::from_utf8(parameter).ok()?.trim().strip_prefix("timeout=")?.parse().ok())
        .min();
    seconds.map_or(Duration::MAX, |seconds: u64| Duration::from_secs(seconds.saturating_sub(1)))
}

/// Limits the wait for a head. It stays where it is, and is not moved for that.
pub(super) async fn timed<T>(
    (kept, limit): (&Kept, Duration),
    mut wait: Pin<&mut impl Future<Output = Result<T, Fault>>>,
) -> Result<T, Fault> {
    let mut alarm = kept.at(Instant::now() + limit);
    poll_fn(|context| {
        if let Poll::Ready(read) = wait.as_mut().poll(context) {
            return Poll::Ready(read);
        }
        ready!(Pin::new(&mut alarm).poll(context));
        let detail = format!("no answer within {:.0} s", limit.as_secs_f64());
        Poll::Ready(Err(Fault::new(Side::Upstream, Stage::FirstByte, Kind::Timeout, detail)))
    })
    .await
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

/// Makes the head ready, with what is there of a small body.
pub(super) fn begin<R>(
    inbound: &mut Inbound<R>,
    rules: Rules<'_>,
    answer: Answer,
    keep: bool,
) -> Result<Begun, Passed> {
    let idle = idle(&answer, rules.asked.method());
    let version = rules.asked.version;
    let Answer { mut head, length } = answer;
    let status = head.status;
    let failed = |fault| Passed { status: Some(status), ..Passed::failed(fault) };
    let dechunks = version == 0 && length == BodyLength::Chunked;
    let is_open = length == BodyLength::UntilClose || dechunks;
    let keep = keep && !is_open;
    dress(&mut head, version, keep).map_err(failed)?;
    explain(&mut head.headers, rules.explained).map_err(failed)?;
    let mut beginning = Vec::with_capacity(HEAD + inbound.buffer.len().min(TOGETHER));
    head.write_to(&mut beginning);
    let left = take_along(&mut beginning, &mut inbound.buffer, length);
    Ok(Begun { status, beginning, left, dechunks, keep, idle, is_open })
}

/// Passes on what is ready, and what is left of the body.
pub(super) async fn finish<R, W>(inbound: &mut Inbound<R>, writer: &mut W, mut begun: Begun) -> Passed
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    if let Err(fault) = write(writer, &begun.take_beginning()).await {
        return Passed { status: Some(begun.status), ..Passed::failed(fault) };
    }
    let Inbound { reader, buffer } = inbound;
    let copied = if begun.dechunks {
        copy_body(reader, buffer, &mut Dechunk::new(writer), begun.left).await
    } else {
        copy_body(reader, buffer, writer, begun.left).await
    };
    begun.over(copied.map(drop), &inbound.buffer)
}

/// The head of an answer that goes on in another protocol, in bytes.
pub(super) fn upgraded(answer: Answer, explained: Option<&Explained>) -> Result<Vec<u8>, Fault> {
    let mut head = answer.head;
    let protocol = head.headers.get("upgrade").map(<[u8]>::to_vec);
    strip_hop_by_hop(&mut head.headers);
    set(&mut head.headers, "Connection", "Upgrade")?;
    if let Some(protocol) = protocol {
        set(&mut head.headers, "Upgrade", protocol)?;
    }
    explain(&mut head.headers, explained)?;
    let mut bytes = Vec::new();
    head.write_to(&mut bytes);
    Ok(bytes)
}

/// Makes the head one of the client's own connection.
fn dress(head: &mut ResponseHead, version: u8, keep: bool) -> Result<(), Fault> {
    strip_hop_by_hop(&mut head.headers);
    head.minor_version = 1;
    if head.status == 204 {
        // It has no body (RFC 9112 §6.3), and whoever believed its fields would wait for one.
        head.headers.remove("content-length");
        head.headers.remove("transfer-encoding");
    }
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

/// Adds what the client hears beside the answer.
fn explain(headers: &mut Headers, explained: Option<&Explained>) -> Result<(), Fault> {
    let Some(explained) = explained else { return Ok(()) };
    let ours = |error: HeadError| Fault::new(Side::Ours, Stage::Body, Kind::Protocol, error.to_string());
    explained.set(headers).map_err(ours)
}

/// Moves what is there of a body of known length behind the head, and says what is left of it.
fn take_along(bytes: &mut Vec<u8>, buffer: &mut BytesMut, length: BodyLength) -> BodyLength {
    let BodyLength::Exact(whole) = length else { return length };
    let here = usize::try_from(whole).unwrap_or(usize::MAX).min(buffer.len()).min(TOGETHER);
    // Not split off: that would make a shared buffer of it, which costs more than these bytes.
    bytes.extend_from_slice(buffer.get(..here).unwrap_or_default());
    buffer.advance(here);
    BodyLength::Exact(whole - here as u64)
}

#[cold]
fn protocol(why: &'static str) -> Fault {
    Fault::new(Side::Upstream, Stage::FirstByte, Kind::Protocol, why)
}

/// What an answer that could not be read says of the upstream.
#[cold]
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
#[cold]
pub(super) fn sending_fault(error: &io::Error) -> Fault {
    fault::upstream(Stage::Request, error)
}

/// A client that cannot be written to, or read from.
#[cold]
pub(super) fn client_fault(error: &io::Error) -> Fault {
    Fault::new(Side::Client, Stage::Body, fault::io_kind(error), error.to_string())
}
