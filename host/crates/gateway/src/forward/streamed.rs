//! A request whose body streams: body and answer go their ways at the same time.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use proxywhirl_core::{Endpoint, Fault, Kind, Side, Stage};
use proxywhirl_net::http1::{BodyLength, CopyError, HeadError, copy_body};
use proxywhirl_net::{Forward, RequestForm, Stream, stages};
use tokio::io::{AsyncRead, AsyncWrite, split};
use tokio::time::{Instant, timeout};

use super::answer::{self, Answer, Inbound, Passed, Rules, client_fault, sending_fault, write};
use super::asked::{After, Asked};
use super::attempt::send;
use super::doubt::{may_be_made_up, proves_nothing, verdict};
use super::taking::{Taken, Taking};
use super::witness::Witness;
use super::{Served, abandoned};
use crate::Gateway;
use crate::access::Use;
use crate::bans::Case;
use crate::bans::body::Beginning;
use crate::failover::{Author, Failover, Repeat, Trial, Won, late, silence};
use crate::reply::CONTINUE;
use crate::session::Next;
use crate::session::presence::{self, AtEnd, Attended, Leaving, Watched};
use crate::stall::Stalling;

/// Serves a request whose body is still with the client. It is tried elsewhere until an upstream was reached; then the
/// body is on its way, and there is no second one.
pub(super) async fn serve<S>(
    gateway: &Gateway,
    client: &mut S,
    buffer: &mut BytesMut,
    asked: &Asked<'_>,
    continued: bool,
    failover: &mut Failover<'_>,
    place: &mut Option<Use>,
) -> Served
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let request = failover.request();
    let leaving = failover.leaving();
    let reached = {
        let running = pin!(failover.run(Repeat::Unseen, |upstream| async move {
            let dialling = async { gateway.forward(&upstream, &asked.target).await.inspect(|_| stages::ready()) };
            let tell = |stages| gateway.engine().measured(request, upstream.number, stages);
            stages::measured(Instant::now(), dialling, tell).await
        }));
        // An end in the middle of the body is found when it is sent, and is the client's mistake.
        let (at_end, grace) = (AtEnd::Waits, gateway.config().connect_timeout);
        presence::attend(client, buffer, at_end, (leaving, place), (running, grace)).await
    };
    let reached = match reached {
        Attended::Served(reached) => reached,
        Attended::Left(reached) => return abandoned(failover, reached),
    };
    // The latency of the dial; that of the answer comes to it, and the time of the body is the client's own.
    let Won { trial, latency, answer: Forward { stream, form } } = match reached {
        Ok(won) => won,
        Err(fault) => return Served::failed(fault),
    };
    let inbound = Inbound { reader: stream, buffer: BytesMut::new() };
    let first = if asked.expects && !continued { First::Both } else { First::Head };
    let way = Way { inbound, form, first };
    upload(gateway, (client, buffer), asked, failover, place, (trial, latency, way)).await
}

/// The way that a body takes.
pub(super) struct Way {
    /// The upstream's connection, and what came on it already.
    pub(super) inbound: Inbound<Stream>,
    pub(super) form: RequestForm,
    pub(super) first: First,
}

/// What comes before the body.
pub(super) enum First {
    /// The upstream gets the head.
    Head,
    /// The same, and the client is told to go on.
    Both,
    /// The client is told to go on, after these interim responses: the upstream has the head.
    Client(Vec<u8>),
}

/// Sends the body through the upstream that was reached, and the answer back. What becomes of the upstream follows from its answer, as where
/// the body is at hand; it is also settled when the client has left after its body was sent.
pub(super) async fn upload<S>(
    gateway: &Gateway,
    (client, buffer): (&mut S, &mut BytesMut),
    asked: &Asked<'_>,
    failover: &mut Failover<'_>,
    place: &mut Option<Use>,
    (mut trial, latency, way): (Trial, Duration, Way),
) -> Served
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Way { inbound, form, first } = way;
    let leaving = failover.leaving();
    let upstream = Some(Arc::clone(trial.endpoint()));
    let explained = failover.explained(upstream.as_deref());
    let endpoint = Arc::clone(trial.endpoint());
    let alarms = failover.alarms();
    let rules = Rules { asked, form: &form, config: gateway.config(), alarms, explained: explained.as_ref() };
    let by = By { rules, case: failover.case(&asked.target.host), upstream: &endpoint };
    let time = failover.time();
    let mut answered = None;
    let hear = |answer: &Answer, took: Duration| {
        let status = answer.head.status;
        let is_no_better = gateway.config().retry_status.contains(&status);
        let is_suspect = is_no_better && may_be_made_up(&form, status);
        let author = if is_suspect { Author::Unknown(status) } else { Author::Known };
        let does_well = || gateway.engine().does_well(failover.target(), trial.member());
        let proves_nothing = proves_nothing(&form, status, does_well);
        failover.judge_by(verdict(is_no_better, proves_nothing), &trial, latency);
        let latency = latency + took;
        // An answer without an end that is known may last for hours. Of who breaks all of them off, that is waited for.
        let is_open = matches!(answer.length, BodyLength::Chunked | BodyLength::UntilClose)
            && !gateway.engine().suspects(trial.member());
        match author {
            Author::Known if is_open => failover.succeed(&mut trial, latency),
            Author::Known => failover.answered(&mut trial, latency),
            Author::Confirmed(_) | Author::Unknown(_) => {}
        }
        answered = Some((author, is_open, latency));
    };
    let mut unheard = None;
    let part = (leaving, place, &mut unheard, time);
    // On the heap, as few bodies are too large to be kept.
    let Passed { status, end, is_open, .. } = Box::pin(relay(by, (client, buffer), first, inbound, hear, part)).await;
    match (answered, unheard.as_ref().or(end.as_ref().err())) {
        (Some((Author::Known, true, _)), _) => drop(trial),
        (Some((author, _, latency)), fault) => failover.conclude(trial, latency, author, fault),
        (None, Some(fault)) if fault.side != Side::Client => failover.settle_fault(trial, fault),
        (None, _) => {
            failover.judge(None);
            // Its client has left, or broke it off: nothing is known of the upstream.
            failover.let_go(trial);
        }
    }
    Served { status, upstream, end: end.map(|keep| if keep { Next::Another } else { Next::Linger }), is_open }
}

/// What the answer is read and judged by.
#[derive(Clone, Copy)]
struct By<'r> {
    rules: Rules<'r>,
    case: Case<'r>,
    upstream: &'r Endpoint,
}

/// What comes first while a body is sent.
enum Early {
    Sent(Result<u64, CopyError>),
    Answered(Result<Answer, Fault>),
    /// The client has left.
    Left,
}

async fn relay<S>(
    by: By<'_>,
    (client, buffer): (&mut S, &mut BytesMut),
    first: First,
    Inbound { reader: stream, buffer: heard }: Inbound<Stream>,
    hear: impl FnOnce(&Answer, Duration),
    (leaving, place, unheard, time): (&Leaving, &mut Option<Use>, &mut Option<Fault>, Duration),
) -> Passed
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let By { rules, .. } = by;
    let Rules { asked, config, .. } = rules;
    let (mut client_reader, mut client_writer) =
        split(Stalling::new(client, config.stall_timeout).reading_within(config.body_timeout));
    let (reader, writer) = split(stream);
    let taking = Taking::new();
    let mut writer = Taken { inner: Stalling::new(writer, config.stall_timeout), taking: &taking };
    if let Err(fault) = begin(&mut client_writer, &mut writer, first, rules).await {
        return Passed::failed(fault);
    }
    // How long the upstream is silent does not matter before it has the body: it may have nothing to say.
    let mut inbound = Inbound { reader, buffer: heard };
    let sent = {
        let mut upload = pin!(copy_body(&mut client_reader, buffer, &mut writer, asked.body));
        let early = tokio::select! {
            biased;
            copied = &mut upload => Early::Sent(copied),
            answer = answer::read(&mut inbound, rules) => Early::Answered(answer),
            () = taking.left(&mut client_writer, config.connect_timeout), if asked.version > 0 => Early::Left,
        };
        match early {
            Early::Sent(copied) => copied,
            Early::Answered(Ok(answer)) => {
                return uploading(by, (inbound, answer), &mut client_writer, upload, hear).await;
            }
            Early::Answered(Err(fault)) => return Passed::failed(fault),
            Early::Left => {
                *unheard = Some(taking.fault());
                return Passed::failed(presence::left());
            }
        }
    };
    let (since, is_sent) = (Instant::now(), sent.is_ok());
    let mut client = client_reader.unsplit(client_writer);
    let of_client = (&mut **client.get_mut(), &mut *buffer);
    let answer = match answer_to(sent, of_client, &mut inbound, rules, (leaving, place, unheard, time)).await {
        Ok(answer) => answer,
        Err(answer) => {
            if let Some(answer) = answer {
                hear(&answer, since.elapsed());
            }
            return Passed::failed(presence::left());
        }
    };
    let answer = match answer {
        Ok(answer) => answer::finally(&mut inbound, &mut client, rules, answer).await,
        fault => fault,
    };
    let mut client = Stalling::new(Watched::new(&mut **client.get_mut(), buffer), config.stall_timeout);
    match answer {
        Ok(answer) => deliver(by, (inbound, answer), &mut client, (is_sent, since.elapsed()), hear).await,
        Err(fault) => Passed::failed(fault),
    }
}

/// What an upstream answers now that the body was sent, as far as that went; an error as of [`wait`].
async fn answer_to<S, R>(
    sent: Result<u64, CopyError>,
    (client, buffer): (&mut S, &mut BytesMut),
    inbound: &mut Inbound<R>,
    rules: Rules<'_>,
    (leaving, place, unheard, time): (&Leaving, &mut Option<Use>, &mut Option<Fault>, Duration),
) -> Result<Result<Answer, Fault>, Option<Answer>>
where
    S: AsyncRead + AsyncWrite + Unpin,
    R: AsyncRead + Unpin,
{
    let Rules { asked, config, .. } = rules;
    let reading = pin!(answer::read(inbound, rules));
    let reading = answer::timed(rules.limit(), reading);
    // The request's own time counts from here: nobody knows how long a body takes.
    let mut reading = pin!(async { timeout(time, reading).await.unwrap_or_else(|_| Err(late(time))) });
    match sent {
        Ok(_) => {
            let waits = (AtEnd::of(asked.version), config.connect_timeout, time);
            wait(client, buffer, waits, (leaving, place), &mut reading, unheard).await
        }
        // An upstream that stopped reading may have said why.
        Err(CopyError::Write(error)) => Ok(reading.await.map_err(|_| sending_fault(&error))),
        Err(CopyError::Read(error)) => Ok(Err(body_fault(&error))),
    }
}

/// Waits for the answer to a body that was sent; an error with what came of it when its client has left. `unheard` is what it says of
/// the upstream when nobody has got an answer.
async fn wait<S, F>(
    client: &mut S,
    buffer: &mut BytesMut,
    (at_end, grace, time): (AtEnd, Duration, Duration),
    (leaving, place): (&Leaving, &mut Option<Use>),
    reading: F,
    unheard: &mut Option<Fault>,
) -> Result<Result<Answer, Fault>, Option<Answer>>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = Result<Answer, Fault>> + Unpin,
{
    let since = Instant::now();
    match presence::attend(client, buffer, at_end, (leaving, place), (reading, grace)).await {
        Attended::Served(answer) => {
            let is_late = answer.as_ref().is_err_and(|fault| fault.side == Side::Ours);
            // Less than a dial may take says nothing of the upstream.
            *unheard = (is_late && time >= grace).then(|| silence(since.elapsed()));
            Ok(answer)
        }
        Attended::Left(Some(Ok(answer))) => Err(Some(answer)),
        Attended::Left(fault) => {
            // It had the body, and the time of an attempt since.
            let fault = fault.and_then(Result::err).unwrap_or_else(|| silence(since.elapsed()));
            *unheard = Some(fault);
            Err(None)
        }
    }
}

/// Passes an answer on that has begun before the end of the body.
async fn uploading<R, W, U>(
    by: By<'_>,
    (mut inbound, answer): (Inbound<R>, Answer),
    client: &mut W,
    mut upload: Pin<&mut U>,
    hear: impl FnOnce(&Answer, Duration),
) -> Passed
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
    U: Future<Output = Result<u64, CopyError>>,
{
    let mut uploaded = None;
    let answer = {
        let mut following = pin!(answer::finally(&mut inbound, client, by.rules, answer));
        tokio::select! {
            biased;
            answer = &mut following => answer,
            copied = &mut upload => {
                uploaded = Some(copied.is_ok());
                following.await
            }
        }
    };
    let answer = match answer {
        Ok(answer) => answer,
        Err(fault) => return Passed::failed(fault),
    };
    // Of an answer that came before the end of the body, nobody can say how long it took.
    let how = (uploaded == Some(true), Duration::ZERO);
    let mut passing = pin!(deliver(by, (inbound, answer), client, how, hear));
    if uploaded.is_none() {
        tokio::select! {
            passed = &mut passing => return passed,
            _ = &mut upload => {}
        }
    }
    passing.await
}

/// Passes an answer on, of which `took` is how long its head took since the body was sent.
async fn deliver<R, W>(
    By { rules, case, upstream }: By<'_>,
    (inbound, answer): (Inbound<R>, Answer),
    client: &mut W,
    (is_sent, took): (bool, Duration),
    hear: impl FnOnce(&Answer, Duration),
) -> Passed
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    hear(&answer, took);
    let Inbound { reader, mut buffer } = inbound;
    let mut reader = Stalling::new(reader, rules.config.stall_timeout);
    // There is no second upstream for it: nothing is held up.
    let seen = (&answer.head, answer.length, took);
    // On the heap, since few have rules.
    let waiting = if case.has_rules() {
        Box::pin(case.judge(upstream, seen, None, &mut reader, &mut buffer)).await.waiting
    } else {
        Vec::new()
    };
    let tell = |body: &[u8]| case.judge_body(upstream, &waiting, body);
    let telling = (!waiting.is_empty()).then(|| (Box::new(Beginning::of(&answer.head, answer.length)), tell));
    let reader = Witness::new(reader, &buffer, telling);
    let mut inbound = Inbound { reader, buffer };
    let keep = rules.asked.keeps_alive() && is_sent;
    answer::pass(&mut inbound, client, rules, answer, keep).await
}

/// Tells the client to go on if it waits for that, and sends the head.
async fn begin<C, U>(
    client: &mut C,
    upstream: &mut U,
    first: First,
    Rules { asked, form, .. }: Rules<'_>,
) -> Result<(), Fault>
where
    C: AsyncWrite + Unpin,
    U: AsyncWrite + Unpin,
{
    match first {
        First::Head => {}
        First::Both => write(client, CONTINUE).await?,
        First::Client(mut interim) => {
            interim.extend_from_slice(CONTINUE);
            return write(client, &interim).await;
        }
    }
    send(upstream, &asked.render(form, After::Close)).await
}

/// What a body that could not be read says of the client.
fn body_fault(error: &HeadError) -> Fault {
    match error {
        HeadError::Closed => Fault::new(Side::Client, Stage::Body, Kind::Closed, "it closed in the middle of its body"),
        HeadError::TooLarge => Fault::new(Side::Client, Stage::Body, Kind::Protocol, "a line of its body is too long"),
        HeadError::Malformed(why) => Fault::new(Side::Client, Stage::Body, Kind::Protocol, *why),
        HeadError::Io(error) => client_fault(error),
    }
}
