//! Requests in absolute form, forwarded to the origin through an upstream.
//!
//! A body that is small and there at once is kept, so that the request can be sent again as a whole; any other streams
//! through as it comes, and its request is tried elsewhere only until an upstream was reached. The answer streams back
//! while the body is still going: an origin may refuse an upload before it has seen the end of it.

mod answer;
mod asked;
mod attempt;
mod doubt;
mod expecting;
mod payload;
mod streamed;
mod taking;
mod witness;

use std::pin::pin;
use std::sync::Arc;
use std::task::Context;

use bytes::{Bytes, BytesMut};
use proxywhirl_core::{Endpoint, Fault, Kind, Member, Side};
use proxywhirl_net::{Stream, relay, stages};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Gateway;
use crate::access::Use;
use crate::alarms::Alarms;
use crate::bans::Case;
use crate::bans::body::{Beginning, held_until};
use crate::explained::Explained;
use crate::failover::{Author, Failover, Repeat, Trial, Upstream, Won};
use crate::ingress::http::Request;
use crate::record::{End, Record};
use crate::reply::{Body, ErrorReply};
use crate::session::Next;
use crate::session::presence::{self, AtEnd, Attended, Leaving, Watch, Watched};
use crate::stall::Stalling;
use crate::wanted::Wanted;
use answer::{Answer, Inbound, Passed, Rules};
use asked::{After, Asked};
use attempt::{Answered, attempt, loses_upgrade, refuses_login};
use doubt::{Doubt, Objections, Rest, Weighed};
use payload::Payload;
use witness::Witness;

/// So much of a body is passed on through the thread's buffer, or by the kernel, rather than through one of its own.
const LARGE: u64 = 16 * 1024;

/// Serves one request of a client.
#[expect(clippy::manual_async_fn, reason = "a function would have what it is given twice, and all of it is moved")]
pub(crate) fn serve<S>(
    gateway: &Gateway,
    client: &mut S,
    buffer: &mut BytesMut,
    request: Request,
    wanted: Wanted,
    record: Record,
    (mut place, stop, alarms): (Option<Use>, &CancellationToken, &Alarms),
) -> impl Future<Output = Next>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    async move {
        let target = &record.target;
        let leaving = Leaving::default();
        let begins = (record.request, record.began, &leaving, alarms);
        let mut failover = Failover::new(gateway.means(), begins, target, wanted);
        let body = if request.head.method == "HEAD" { Body::Omit } else { Body::Send };
        let served = match Asked::new(request, stop) {
            Ok(asked) => exchange(gateway, client, buffer, &asked, &mut failover, &mut place).await,
            Err(fault) => Served::failed(fault),
        };
        let Served { mut status, upstream, end, is_open } = served;
        let attempts = failover.attempts();
        let (next, fault) = match end {
            Ok(next) => (next, None),
            // Who has the head of an answer cannot be told otherwise.
            Err(fault) if status.is_some() && is_open => (Next::Abort, Some(fault)),
            Err(fault) if status.is_some() || is_gone(&fault) => (Next::Close, Some(fault)),
            Err(fault) => {
                let reply = match &place {
                    Some(place) if is_too_much(&fault) => {
                        let (exceeded, user) = place.exceeded();
                        ErrorReply::exceeded(exceeded, user)
                    }
                    Some(_) | None => ErrorReply::of(&fault, target, attempts),
                };
                let reply = reply.explained(failover.explained(None));
                status = Some(reply.status);
                (Next::Last(reply.to_bytes(gateway.config().pseudonym, body)), Some(fault))
            }
        };
        let end = End { status, attempts, upstream: upstream.as_deref(), fault: fault.as_ref() };
        record.close(gateway, &end);
        next
    }
}

/// Whether the fault is that the client is gone, so that nobody is there to be told.
fn is_gone(fault: &Fault) -> bool {
    fault.side == Side::Client && matches!(fault.kind, Kind::Closed | Kind::Reset | Kind::Io)
}

/// Whether the fault is that the client's user has used up its bytes.
fn is_too_much(fault: &Fault) -> bool {
    fault.side == Side::Client && fault.kind == Kind::Limited
}

/// What came of a request.
struct Served {
    /// The status that the client got from upstream; none when it got nothing.
    status: Option<u16>,
    upstream: Option<Arc<Endpoint>>,
    end: Result<Next, Fault>,
    /// Whether nothing but the end of the client's connection says where the answer ends.
    is_open: bool,
}

impl Served {
    const fn failed(fault: Fault) -> Self {
        Self { status: None, upstream: None, end: Err(fault), is_open: false }
    }
}

async fn exchange<S>(
    gateway: &Gateway,
    client: &mut S,
    buffer: &mut BytesMut,
    asked: &Asked<'_>,
    failover: &mut Failover<'_>,
    place: &mut Option<Use>,
) -> Served
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    match Payload::take(client, buffer, asked, gateway.config().stall_timeout).await {
        Ok(Payload::Whole(body)) => whole(gateway, client, buffer, asked, &body, failover, place).await,
        Ok(Payload::Streamed { continued }) => {
            // On the heap, since few requests have such a body, and all are moved with the room for one.
            if asked.expects && !continued && buffer.is_empty() {
                return Box::pin(expecting::serve(gateway, client, buffer, asked, failover, place)).await;
            }
            Box::pin(streamed::serve(gateway, client, buffer, asked, continued, failover, place)).await
        }
        Err(fault) => Served::failed(fault),
    }
}

/// Serves a request whose body is at hand.
async fn whole<S>(
    gateway: &Gateway,
    client: &mut S,
    buffer: &mut BytesMut,
    asked: &Asked<'_>,
    body: &Bytes,
    failover: &mut Failover<'_>,
    place: &mut Option<Use>,
) -> Served
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let repeat = match (asked.is_idempotent(), body.is_empty()) {
        (false, _) => Repeat::Unseen,
        (true, false) => Repeat::AfterFault,
        (true, true) => Repeat::Overtake,
    };
    let (doubt, case) = (Doubt::of(&gateway.config().retry_status, repeat), failover.case(&asked.target.host));
    let request = failover.request();
    let (leaving, alarms) = (failover.leaving(), failover.alarms());
    let deadline = failover.deadline();
    let won = {
        let running = pin!(failover.run(repeat, |upstream| {
            let doubt = &doubt;
            async move {
                let began = Instant::now();
                let tell = |stages| gateway.engine().measured(request, upstream.number, stages);
                let answered = stages::measured(began, attempt(gateway, &upstream, asked, body, alarms), tell).await;
                let mut answered = answered?;
                let refuses_login = refuses_login(&upstream, asked, &answered);
                let loses_upgrade = loses_upgrade(asked, &answered);
                let proves_nothing = proves_nothing(gateway, case.target, &upstream, &answered);
                let (endpoint, slot) = (upstream.endpoint, upstream.slot);
                let confirms = |by: &Endpoint| confirms(gateway, case.target, slot, by);
                if !case.has_rules() {
                    return doubt.weigh(
                        endpoint,
                        answered,
                        Objections { refuses_login, loses_upgrade, proves_nothing, ..Objections::default() },
                        confirms,
                    );
                }
                // On the heap, since it may read the body, and few have rules.
                let until = (repeat != Repeat::Unseen).then(|| held_until(deadline));
                let objections = Box::pin(objections(case, &endpoint, &mut answered, (began, until), alarms)).await;
                let objections = Objections { refuses_login, loses_upgrade, proves_nothing, ..objections };
                doubt.weigh(endpoint, answered, objections, confirms)
            }
        }));
        let at_end = AtEnd::of(asked.version);
        let grace = gateway.config().connect_timeout;
        presence::attend(client, buffer, at_end, (leaving, place), (running, grace)).await
    };
    let won = match won {
        Attended::Served(won) => won,
        Attended::Left(won) => return abandoned(failover, won),
    };
    give(gateway, (client, buffer), (asked, alarms), failover, (won, doubt.rest()), &case).await
}

/// Gives the client the best that came of the attempts: the answer that won, or the one that was kept back.
#[expect(clippy::manual_async_fn, reason = "a function would have what it is given twice, and all of it is moved")]
fn give<S>(
    gateway: &Gateway,
    (client, buffer): (&mut S, &mut BytesMut),
    (asked, alarms): (&Asked<'_>, &Alarms),
    failover: &Failover<'_>,
    (won, rest): (Result<Won<Weighed>, Fault>, Option<Rest>),
    case: &Case<'_>,
) -> impl Future<Output = Served>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    async move {
        let (mut trial, upstream, answered) = match (won, rest) {
            (Ok(Won { mut trial, latency, answer: Weighed { answered, author, .. } }), _) => {
                if author == Author::Known {
                    failover.answered(&mut trial, latency);
                }
                let upstream = Arc::clone(trial.endpoint());
                (Some((trial, latency, author)), upstream, answered)
            }
            (Err(_), Some((upstream, answered))) => (None, upstream, answered),
            (Err(fault), None) => return Served::failed(fault),
        };
        // What goes on in another protocol has been served with that, as a tunnel is; how it ends, possibly days later, says nothing.
        let upgrades = answered.answer.head.status == 101;
        if let (true, Some((trial, latency, _))) = (upgrades, &mut trial) {
            failover.succeed(trial, *latency);
        }
        let explained = failover.explained(Some(&*upstream));
        let by = (trial.as_ref().map(|(trial, ..)| trial), &upstream);
        let served = deliver(gateway, (client, buffer), (asked, alarms), by, case, answered, explained).await;
        // The trial is kept until the end: as long is the member in use.
        if let Some((trial, latency, author)) = trial.filter(|_| !upgrades) {
            failover.conclude(trial, latency, author, served.end.as_ref().err());
        }
        served
    }
}

/// What rules about bans have against an answer, which may be asked for again.
async fn objections(
    case: Case<'_>,
    by: &Endpoint,
    answered: &mut Answered,
    (began, until): (Instant, Option<Instant>),
    alarms: &Alarms,
) -> Objections {
    let Answered { inbound: Inbound { reader, buffer }, answer, .. } = answered;
    let seen = (&answer.head, answer.length, began.elapsed());
    let since = Instant::now();
    let judged = {
        let _holding = alarms.hold();
        case.judge(by, seen, until, reader, buffer).await
    };
    (answered.waiting, answered.held) = (judged.waiting, since.elapsed());
    Objections { is_refused: judged.retry, is_cut_off: judged.is_cut_off, ..Objections::default() }
}

/// Whether a member confirms what another one has answered to the same request: see [`doubt`].
fn confirms(gateway: &Gateway, target: &str, slot: u32, by: &Endpoint) -> bool {
    member(gateway, slot, by).is_none_or(|member| gateway.engine().confirms(target, &member))
}

/// Whether an answer [proves nothing](doubt::proves_nothing) against others.
fn proves_nothing(gateway: &Gateway, target: &str, by: &Upstream, answered: &Answered) -> bool {
    let does_well = || {
        let member = member(gateway, by.slot, &by.endpoint);
        member.is_some_and(|member| gateway.engine().does_well(target, &member))
    };
    doubt::proves_nothing(&answered.form, answered.answer.head.status, does_well)
}

/// The member in a slot, if it is this one.
fn member(gateway: &Gateway, slot: u32, by: &Endpoint) -> Option<Arc<Member>> {
    gateway.engine().snapshot().get(slot).filter(|member| *member.endpoint == *by).cloned()
}

/// Gives an answer to the client.
async fn deliver<S>(
    gateway: &Gateway,
    (client, buffer): (&mut S, &mut BytesMut),
    (asked, alarms): (&Asked<'_>, &Alarms),
    (trial, by): (Option<&Trial>, &Arc<Endpoint>),
    case: &Case<'_>,
    answered: Box<Answered>,
    explained: Option<Explained>,
) -> Served
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Answered { inbound, form, answer, interim, after, waiting, .. } = *answered;
    let telling = (!waiting.is_empty()).then(|| {
        let tell = |body: &[u8]| case.judge_body(by, &waiting, body);
        (Box::new(Beginning::of(&answer.head, answer.length)), tell)
    });
    let upstream = Some(Arc::clone(by));
    if !interim.is_empty() {
        let mut guarded = Stalling::new(&mut *client, gateway.config().stall_timeout);
        if let Err(fault) = Box::pin(answer::write(&mut guarded, &interim)).await {
            return Served { upstream, ..Served::failed(fault) };
        }
    }
    if answer.head.status == 101 {
        let bytes = answer::upgraded(answer, explained.as_ref());
        let end = match bytes {
            // On the heap, as what follows is not what nearly all answers are.
            Ok(bytes) => Box::pin(upgrade(gateway, client, buffer, inbound, bytes)).await,
            Err(fault) => Err(fault),
        };
        Served { status: Some(101), upstream, end: end.map(|()| Next::Close), is_open: false }
    } else {
        let rules = Rules { asked, form: &form, config: gateway.config(), alarms, explained: explained.as_ref() };
        let (Inbound { reader, buffer: rest }, Passed { status, end, idle, is_open }) =
            pass((client, buffer), inbound, rules, answer, telling).await;
        if let (Some(trial), After::Keep, Some(limit)) = (trial, after, idle) {
            gateway.idle().put(trial.whom(), (reader, rest), limit, gateway.config().upstream_idle);
        }
        Served { status, upstream, end: end.map(|keep| if keep { Next::Another } else { Next::Linger }), is_open }
    }
}

/// A request whose client has left: who has served it all the same is told so.
fn abandoned<T>(failover: &mut Failover<'_>, won: Option<Result<Won<T>, Fault>>) -> Served {
    let upstream = match won {
        Some(Ok(Won { mut trial, latency, .. })) => {
            failover.succeed(&mut trial, latency);
            Some(Arc::clone(trial.endpoint()))
        }
        Some(Err(_)) => None,
        None => {
            failover.judge(None);
            None
        }
    };
    Served { upstream, ..Served::failed(presence::left()) }
}

/// Passes an answer on to the client, and gives the upstream's connection back. `telling` is who hears how the body begins.
async fn pass<S>(
    (client, ahead): (&mut S, &mut BytesMut),
    inbound: Inbound<Stream>,
    rules: Rules<'_>,
    answer: Answer,
    telling: Option<(Box<Beginning>, impl FnOnce(&[u8]) + Unpin)>,
) -> (Inbound<Stream>, Passed)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limit = rules.config.stall_timeout;
    let Inbound { reader: mut stream, buffer } = inbound;
    if telling.is_some() {
        let (passed, buffer) = {
            let mut client = Stalling::new(Watched::new(client, ahead), limit);
            let witness = Witness::new(Stalling::new(&mut stream, limit), &buffer, telling);
            let mut inbound = Inbound { reader: witness, buffer };
            let passing = answer::pass(&mut inbound, &mut client, rules, answer, rules.asked.keeps_alive());
            // On the heap, since few have rules.
            let passed = Box::pin(passing).await;
            (passed, inbound.buffer)
        };
        return (Inbound { reader: stream, buffer }, passed);
    }
    let mut inbound = Inbound { reader: Stalling::new(&mut stream, limit), buffer };
    let passed = match answer::begin(&mut inbound, rules, answer, rules.asked.keeps_alive()) {
        Ok(mut begun) => match begun.known() {
            // All of it is here: nobody has to be looked for while it is waited for.
            Some(0) => answer::finish(&mut inbound, &mut Stalling::new(client, limit), begun).await,
            Some(left) if left >= LARGE && inbound.buffer.is_empty() => {
                let (from, mut watch) = (&mut **inbound.reader.get_mut(), Watch::new(ahead));
                let look = |context: &mut Context<'_>, to: &mut S, moved| watch.poll_gone(context, to, moved);
                let copied = relay::pass(from, client, begun.take_beginning(), left, limit, look).await;
                begun.over(copied, &[])
            }
            Some(_) | None => {
                let mut client = Stalling::new(Watched::new(client, ahead), limit);
                answer::finish(&mut inbound, &mut client, begun).await
            }
        },
        Err(passed) => passed,
    };
    let Inbound { buffer, .. } = inbound;
    (Inbound { reader: stream, buffer }, passed)
}

/// Passes an upgrade on: what follows the head of the answer, `bytes`, is of another protocol.
async fn upgrade<S>(
    gateway: &Gateway,
    client: &mut S,
    buffer: &mut BytesMut,
    mut inbound: Inbound<Stream>,
    mut bytes: Vec<u8>,
) -> Result<(), Fault>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    bytes.extend_from_slice(&inbound.buffer);
    let mut guarded = Stalling::new(&mut *client, gateway.config().stall_timeout);
    answer::write(&mut guarded, &bytes).await?;
    crate::tunnel::relay(gateway, client, buffer, &mut inbound.reader, || {}).await
}

#[cfg(test)]
mod tests {
    use std::mem::size_of;

    use tokio::net::TcpStream;

    use super::*;

    type Part<'t> = (Option<Use>, &'t CancellationToken, &'t Alarms);

    /// The size of what a function makes of a request.
    fn made<'t, F>(
        _: impl FnOnce(&'t Gateway, &'t mut TcpStream, &'t mut BytesMut, Request, Wanted, Record, Part<'t>) -> F,
    ) -> usize {
        size_of::<F>()
    }

    #[test]
    fn what_lasts_as_long_as_a_request_is_small() {
        // It is moved to the heap whole, at the beginning of each.
        assert!(made(serve) <= 4096, "{}", made(serve));
    }
}
