//! One try to get a request answered by one upstream.

use std::pin::pin;
use std::time::Duration;

use bytes::BytesMut;
use proxywhirl_core::{Fault, Kind};
use proxywhirl_net::{Forward, RequestForm, Stream, stages};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::answer::{self, Answer, Inbound, Rules};
use super::asked::{After, Asked};
use crate::Gateway;
use crate::alarms::Alarms;
use crate::failover::Upstream;

/// An upstream that has answered.
pub(super) struct Answered {
    pub(super) inbound: Inbound<Stream>,
    pub(super) form: RequestForm,
    pub(super) answer: Answer,
    /// The interim responses that it began with, as the client gets them.
    pub(super) interim: Vec<u8>,
    /// What is to become of the connection: it cannot carry another request when it did not take all of this one.
    pub(super) after: After,
    /// Rules about bans that want to see its body, by their places.
    pub(super) waiting: Vec<usize>,
    /// How long it was held back for such rules.
    pub(super) held: Duration,
}

/// The final head of an answer, and what comes before it for the client.
type Heads = (Answer, Vec<u8>);

impl Answered {
    /// On the heap: it is handed from one to the next a dozen times until its client gets it.
    pub(super) fn new(
        inbound: Inbound<Stream>,
        form: RequestForm,
        (answer, interim): Heads,
        after: After,
    ) -> Box<Self> {
        Box::new(Self { inbound, form, answer, interim, after, waiting: Vec::new(), held: Duration::ZERO })
    }
}

/// Sends the request through one upstream, up to the head of the answer.
///
/// A connection that waited may have been closed by the upstream just when it was taken. So it is only taken for a
/// request that does no harm when it is sent twice, and when it ends before the first byte of an answer, the request is
/// sent again on a new one, and nobody is to blame.
pub(super) async fn attempt(
    gateway: &Gateway,
    upstream: &Upstream,
    asked: &Asked<'_>,
    body: &[u8],
    alarms: &Alarms,
) -> Result<Box<Answered>, Fault> {
    let form = RequestForm::of(upstream.dialled());
    let rules = Rules { asked, form: &form, config: gateway.config(), alarms, explained: None };
    let after = if gateway.config().upstream_idle.keeps_any() { asked.after(&form) } else { After::Close };
    if after == After::Keep
        && body.is_empty()
        && asked.is_idempotent()
        && let Some((reader, buffer)) = gateway.idle().take(upstream)
    {
        let mut inbound = Inbound { reader, buffer };
        match exchange(&mut inbound, rules, body, after).await {
            Err(fault) if inbound.buffer.is_empty() && is_stale(&fault) => {}
            result => return result.map(|(heads, after)| Answered::new(inbound, form, heads, after)),
        }
    }
    // On the heap, since most requests find a connection that waits, and are moved with all the room that they have.
    let Forward { stream, form } = if asked.upgrades {
        Box::pin(gateway.forward_upgrade(upstream, &asked.target)).await?
    } else {
        Box::pin(gateway.forward(upstream, &asked.target)).await?
    };
    stages::ready();
    let mut inbound = Inbound { reader: stream, buffer: BytesMut::new() };
    let rules = Rules { form: &form, ..rules };
    let (heads, after) = exchange(&mut inbound, rules, body, after).await?;
    Ok(Answered::new(inbound, form, heads, after))
}

/// Whether an answer refuses a login that may be the upstream's own: it has one, and the client gave none for the origin. Some proxies
/// mean 407 by 401.
pub(super) fn refuses_login(upstream: &Upstream, asked: &Asked<'_>, answered: &Answered) -> bool {
    answered.answer.head.status == 401 && upstream.dialled().credentials.is_some() && !asked.has_login()
}

/// Whether an answer may be that of an origin that was not told which protocol the client asks for: most proxies take that off what they
/// forward. Who refuses the login, or does not find the path, has not missed it.
pub(super) fn loses_upgrade(asked: &Asked<'_>, answered: &Answered) -> bool {
    asked.upgrades
        && matches!(answered.form, RequestForm::Absolute { .. })
        && matches!(answered.answer.head.status, 400 | 405 | 426)
}

/// Whether a connection that waited has ended, rather than the upstream failed.
const fn is_stale(fault: &Fault) -> bool {
    matches!(fault.kind, Kind::Closed | Kind::Reset)
}

async fn exchange(
    inbound: &mut Inbound<Stream>,
    rules: Rules<'_>,
    body: &[u8],
    after: After,
) -> Result<(Heads, After), Fault> {
    let mut bytes = rules.asked.render(rules.form, after);
    bytes.extend_from_slice(body);
    if !body.is_empty() {
        // On the heap, since few requests have one.
        return Box::pin(both(inbound, &bytes, rules, after)).await;
    }
    let (answer, after) = {
        let sent_and_read = pin!(async {
            match send(&mut inbound.reader, &bytes).await {
                Ok(()) => {
                    let answer = answer::read(inbound, rules).await?;
                    answer::body_begins(inbound, &answer).await?;
                    Ok((answer, after))
                }
                // An upstream that closed its reading side may have said why.
                Err(fault) => Ok((answer::read(inbound, rules).await.map_err(|_| fault)?, After::Close)),
            }
        });
        answer::timed(rules.limit(), sent_and_read).await?
    };
    let mut interim = Vec::new();
    if !answer.is_interim() {
        return Ok(((answer, interim), after));
    }
    // Kept until it is known that this answer is the client's. (On the heap, since few begin so.)
    let answer = Box::pin(answer::finally(inbound, &mut interim, rules, answer)).await?;
    Ok(((answer, interim), after))
}

/// Sends a request with its body and reads the answer at the same time: an upstream that refuses the body may not read
/// it, and would never be heard if it had to be sent first. Interim responses say nothing of that.
async fn both(
    inbound: &mut Inbound<Stream>,
    bytes: &[u8],
    rules: Rules<'_>,
    after: After,
) -> Result<(Heads, After), Fault> {
    let Inbound { reader: stream, buffer } = inbound;
    let (reader, mut writer) = tokio::io::split(stream);
    let mut half = Inbound { reader, buffer: std::mem::take(buffer) };
    let mut interim = Vec::new();
    let result = {
        let reading = async {
            let answer = answer::timed(rules.limit(), pin!(answer::read(&mut half, rules))).await?;
            answer::finally(&mut half, &mut interim, rules, answer).await
        };
        let mut reading = pin!(reading);
        tokio::select! {
            biased;
            answer = &mut reading => answer.map(|answer| (answer, After::Close)),
            sent = send(&mut writer, bytes) => match sent {
                Ok(()) => reading.await.map(|answer| (answer, after)),
                Err(fault) => reading.await.map(|answer| (answer, After::Close)).map_err(|_| fault),
            },
        }
    };
    *buffer = half.buffer;
    result.map(|(answer, after)| ((answer, interim), after))
}

pub(super) async fn send<W: AsyncWrite + Unpin>(writer: &mut W, bytes: &[u8]) -> Result<(), Fault> {
    writer.write_all(bytes).await.map_err(|error| answer::sending_fault(&error))?;
    writer.flush().await.map_err(|error| answer::sending_fault(&error))?;
    stages::sent();
    Ok(())
}
