//! One question through a proxy, and its answer, byte by byte.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use proxywhirl_core::{Endpoint, Fault, Kind, Secret, Side, Stage};
use proxywhirl_net::fault::io_kind;
use proxywhirl_net::http1::{self, BodyLength, CopyError, HeadError, Headers, RequestHead, ResponseHead};
use proxywhirl_net::{Dialer, RequestForm, Target, connect, tls};
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::judge::{Challenge, JudgeUrl, NONCE_FIELD, Sighting};

/// The most that is read of an answer's head.
const MAX_HEAD: usize = 16 * 1024;
/// The most that is read of the body of a judge's answer. Its own is below 20 kB.
const MAX_BODY: usize = 64 * 1024;
/// How many interim answers (1xx) are skipped.
const MAX_INTERIM: usize = 4;
/// How much longer dialling may take: the dialer's own deadline, which is often the same, knows at which stage it passed.
const DIAL_GRACE: Duration = Duration::from_millis(100);
const USER_AGENT: &str = concat!("proxywhirl/", env!("CARGO_PKG_VERSION"));

/// The judge's own answer.
pub(super) struct Answer {
    /// From the last byte of the request to the first of the answer.
    pub(super) latency: Duration,
    pub(super) sighting: Sighting,
}

/// An HTTP answer.
pub(super) struct Reply {
    pub(super) latency: Duration,
    pub(super) head: ResponseHead,
    pub(super) body: Vec<u8>,
}

/// Waits for something until the deadline; after it, the fault is the upstream's at this stage.
pub(super) async fn before<T>(
    deadline: Instant,
    stage: Stage,
    work: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    let late = |_| Fault::new(Side::Upstream, stage, Kind::Timeout, "the check's time is over");
    tokio::time::timeout_at(deadline, work).await.map_err(late)?
}

/// Waits for the dialer until the deadline.
pub(super) async fn dialled<T>(deadline: Instant, dial: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    before(deadline + DIAL_GRACE, Stage::Connect, dial).await
}

/// Asks the judge through an upstream, in the open.
pub(super) async fn through(
    dialer: &Dialer,
    upstream: &Endpoint,
    judge: &JudgeUrl,
    deadline: Instant,
) -> Result<Answer, Fault> {
    let forward = dialled(deadline, dialer.forward(upstream, judge.target())).await?;
    let challenge = Challenge::new();
    let request = request(judge, &challenge, &forward.form);
    before(deadline, Stage::FirstByte, exchange(forward.stream, &request, &challenge)).await
}

/// Asks the judge through an upstream, in TLS that only the judge can speak.
pub(super) async fn through_tls(
    dialer: &Dialer,
    upstream: &Endpoint,
    judge: &JudgeUrl,
    config: &Arc<ClientConfig>,
    deadline: Instant,
) -> Result<Answer, Fault> {
    // The judge's certificate is known: another one is somebody else's.
    let stream = secured(dialer, upstream, judge.target(), config, deadline, "").await?;
    let challenge = Challenge::new();
    let request = request(judge, &challenge, &RequestForm::Origin);
    before(deadline, Stage::FirstByte, exchange(stream, &request, &challenge)).await
}

/// A tunnel through an upstream, and TLS in it. `or` is what else it may mean that a certificate is not taken.
pub(super) async fn secured(
    dialer: &Dialer,
    upstream: &Endpoint,
    target: &Target,
    config: &Arc<ClientConfig>,
    deadline: Instant,
    or: &str,
) -> Result<impl AsyncRead + AsyncWrite + Unpin, Fault> {
    let stream = dialled(deadline, dialer.tunnel(upstream, target)).await?;
    tls::through(stream, config, &target.host, deadline).await.map_err(|mut fault| {
        if fault.kind == Kind::Certificate {
            fault.detail =
                format!("somebody on the way answers TLS in place of {}{or}: {}", target.host, fault.detail).into();
        }
        fault
    })
}

/// Asks the judge straight.
pub(super) async fn direct(judge: &JudgeUrl, deadline: Instant) -> Result<Sighting, Fault> {
    let challenge = Challenge::new();
    let request = request(judge, &challenge, &RequestForm::Origin);
    let dial = async {
        let address = judge.target().authority();
        TcpStream::connect(&address).await.map_err(|error| {
            Fault::new(Side::Origin, Stage::Connect, io_kind(&error), format!("judge {address}: {error}"))
        })
    };
    let answer = before(deadline, Stage::FirstByte, async { exchange(dial.await?, &request, &challenge).await }).await;
    // There is nobody between us.
    answer.map(|answer| answer.sighting).map_err(|fault| Fault { side: Side::Origin, ..fault })
}

fn request(judge: &JudgeUrl, challenge: &Challenge, form: &RequestForm) -> Vec<u8> {
    let fields = [("Accept", "application/json"), (NONCE_FIELD, challenge.field())];
    get(&judge.target().authority(), judge.path(challenge), &fields, form)
}

/// A GET in bytes, after which the connection is closed.
pub(super) fn get(authority: &str, path: String, fields: &[(&str, &str)], form: &RequestForm) -> Vec<u8> {
    let (target, authorization) = match form {
        RequestForm::Origin => (path, None),
        RequestForm::Absolute { proxy_authorization } => {
            (format!("http://{authority}{path}"), proxy_authorization.as_ref().map(Secret::expose))
        }
    };
    let authorization = authorization.map(|value| ("Proxy-Authorization", value));
    let first = [("Host", authority), ("User-Agent", USER_AGENT)];
    let all = first.iter().chain(fields).copied().chain(authorization).chain([("Connection", "close")]);
    let mut headers = Headers::new();
    for (name, value) in all {
        // Refused for a control character only, and none of these has one.
        headers.append(name, value).ok();
    }
    let mut bytes = Vec::new();
    RequestHead { method: "GET".into(), target, minor_version: 1, headers }.write_to(&mut bytes);
    bytes
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &[u8],
    challenge: &Challenge,
) -> Result<Answer, Fault> {
    let reply = fetch(stream, request, MAX_BODY).await?;
    refuse_other_than_ok(&reply.head)?;
    let sighting = challenge.verify(&reply.body).map_err(impostor)?;
    Ok(Answer { latency: reply.latency, sighting })
}

/// Sends a request and reads its answer, of whose body at most `cap` bytes are accepted.
pub(super) async fn fetch(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &[u8],
    cap: usize,
) -> Result<Reply, Fault> {
    let sent = async {
        stream.write_all(request).await?;
        stream.flush().await
    };
    sent.await.map_err(|error| fault(Stage::Request, HeadError::Io(error)))?;
    let started = Instant::now();
    let mut buffer = BytesMut::with_capacity(2048);
    let first = stream.read_buf(&mut buffer).await.map_err(|error| fault(Stage::FirstByte, error.into()))?;
    if first == 0 {
        return Err(fault(Stage::FirstByte, HeadError::Closed));
    }
    let latency = started.elapsed();
    let head = final_head(&mut stream, &mut buffer).await?;
    let body = body(&mut stream, &mut buffer, &head, cap).await?;
    Ok(Reply { latency, head, body })
}

async fn final_head(stream: &mut (impl AsyncRead + Unpin), buffer: &mut BytesMut) -> Result<ResponseHead, Fault> {
    for _ in 0..=MAX_INTERIM {
        let head = http1::read_response(stream, buffer, MAX_HEAD).await;
        let head = head.map_err(|error| fault(Stage::FirstByte, error))?;
        if head.status >= 200 {
            return Ok(head);
        }
    }
    Err(fault(Stage::FirstByte, HeadError::TooLarge))
}

fn refuse_other_than_ok(head: &ResponseHead) -> Result<(), Fault> {
    let (stage, kind) = match head.status {
        200 => return Ok(()),
        407 => (Stage::Auth, Kind::Unauthorized),
        _ => (Stage::FirstByte, Kind::Denied),
    };
    let mut words = format!("answered {} where the judge answers 200", head.status);
    if let Some(other) = connect::other_login(&head.headers).filter(|_| head.status == 407) {
        words = format!("{words}: {other}");
    }
    Err(Fault::new(Side::Upstream, stage, kind, words).with_code(head.status))
}

/// The body, without the framing of its chunks.
async fn body(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    head: &ResponseHead,
    cap: usize,
) -> Result<Vec<u8>, Fault> {
    let length = head.body("GET").map_err(|error| fault(Stage::FirstByte, error))?;
    let mut room = Room { bytes: Vec::new(), cap };
    http1::copy_body(stream, buffer, &mut room, length).await.map_err(|error| match error {
        CopyError::Read(error) => fault(Stage::Body, error),
        CopyError::Write(_) => fault(Stage::Body, HeadError::TooLarge),
    })?;
    if length == BodyLength::Chunked {
        return dechunk(&room.bytes).ok_or_else(|| fault(Stage::Body, HeadError::Malformed("chunks")));
    }
    Ok(room.bytes)
}

/// Takes so many bytes, and no more.
struct Room {
    bytes: Vec<u8>,
    cap: usize,
}

impl AsyncWrite for Room {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.bytes.len() + bytes.len() > self.cap {
            return Poll::Ready(Err(io::ErrorKind::StorageFull.into()));
        }
        self.bytes.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What chunks hold whose framing is right.
fn dechunk(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::with_capacity(bytes.len());
    loop {
        let end = bytes.windows(2).position(|window| window == b"\r\n")?;
        let (line, rest) = bytes.split_at_checked(end)?;
        let size = line.split(|byte| *byte == b';').next()?;
        let size = usize::from_str_radix(std::str::from_utf8(size).ok()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(whole);
        }
        let (chunk, rest) = rest.get(2..)?.split_at_checked(size)?;
        whole.extend_from_slice(chunk);
        bytes = rest.get(2..)?;
    }
}

pub(super) fn fault(stage: Stage, error: HeadError) -> Fault {
    let (kind, words) = match error {
        HeadError::Closed => (Kind::Closed, "closed before its answer was complete".to_owned()),
        HeadError::TooLarge => (Kind::TooLarge, "the answer is larger than it may be".to_owned()),
        HeadError::Malformed(what) => (Kind::Protocol, format!("the answer is not HTTP: {what}")),
        HeadError::Io(error) => (io_kind(&error), error.to_string()),
    };
    Fault::new(Side::Upstream, stage, kind, words)
}

/// An answer that somebody else made than the judge.
fn impostor(reason: String) -> Fault {
    Fault::new(Side::Upstream, Stage::FirstByte, Kind::Unexpected, format!("the answer is not the judge's: {reason}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_put_together() {
        assert_eq!(dechunk(b"3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n").unwrap(), b"abc0123456789");
        for bytes in [&b""[..], b"3\r\nab", b"z\r\n", b"ffffffffffffffff\r\na", b"3\r\nabc"] {
            assert_eq!(dechunk(bytes), None);
        }
    }
}
