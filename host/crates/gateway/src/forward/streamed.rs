//! A request whose body streams: body and answer go their ways at the same time.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use proxywhirl_core::{Endpoint, Fault, Kind, Outcome, Side, Stage};
use proxywhirl_net::http1::{CopyError, HeadError, copy_body};
use proxywhirl_net::{Forward, RequestForm, Stream, stages};
use tokio::io::{AsyncRead, AsyncWrite, split};
use tokio::time::Instant;

use super::Served;
use super::answer::{self, Inbound, Passed, Rules, client_fault, sending_fault, write};
use super::asked::{After, Asked};
use super::attempt::send;
use super::witness::Witness;
use crate::Gateway;
use crate::bans::Case;
use crate::explained::Explained;
use crate::failover::{Failover, Repeat, Won};
use crate::reply::CONTINUE;
use crate::session::Next;
use crate::stall::Stalling;

/// Serves a request whose body is still with the client. It is tried elsewhere until an upstream was reached; then the
/// body is on its way, and there is no second one.
pub(super) async fn serve<S>(
    gateway: &Gateway,
    client: &mut S,
    buffer: &mut BytesMut,
    asked: &Asked,
    continued: bool,
    failover: &mut Failover<'_>,
) -> Served
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let request = failover.request();
    let reached = failover
        .run(Repeat::Unseen, |upstream| async move {
            let dialling = async { gateway.forward(&upstream, &asked.target).await.inspect(|_| stages::ready()) };
            let tell = |stages| gateway.engine().measured(request, &upstream.endpoint, stages);
            stages::measured(Instant::now(), dialling, tell).await
        })
        .await;
    // The latency is that of the dial: the rest is the client's own speed.
    let Won { trial, latency, answer: Forward { stream, form } } = match reached {
        Ok(won) => won,
        Err(fault) => return Served::failed(fault),
    };
    let upstream = Some(Arc::clone(trial.endpoint()));
    let explained = failover.explained(upstream.as_deref());
    let judging = (failover.case(&asked.target.host), &**trial.endpoint());
    let Passed { status, end, .. } =
        relay((gateway, explained.as_ref()), (client, buffer), (asked, continued), (stream, &form), judging).await;
    let is_served = status.is_some_and(|status| !gateway.config().retry_status.contains(&status));
    failover.judge(is_served.then_some((&trial, latency)));
    match &end {
        Err(fault) if fault.side != Side::Client => failover.settle_fault(trial, fault),
        _ => failover.settle(trial, &Outcome::Success { latency }),
    }
    Served { status, upstream, end: end.map(|keep| if keep { Next::Another } else { Next::Linger }) }
}

async fn relay<S>(
    (gateway, explained): (&Gateway, Option<&Explained>),
    (client, buffer): (&mut S, &mut BytesMut),
    (asked, continued): (&Asked, bool),
    (stream, form): (Stream, &RequestForm),
    (case, upstream): (Case<'_>, &Endpoint),
) -> Passed
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let config = gateway.config();
    let rules = Rules { asked, form, config, explained };
    let (mut client_reader, mut client_writer) = split(Stalling::new(client, config.stall_timeout));
    let (reader, writer) = split(stream);
    let mut writer = Stalling::new(writer, config.stall_timeout);
    if let Err(fault) = begin(&mut client_writer, &mut writer, asked, continued, form).await {
        return Passed::failed(fault);
    }
    // How long the upstream is silent does not matter before it has the body: it may have nothing to say.
    let mut inbound = Inbound { reader, buffer: BytesMut::new() };
    let mut upload = pin!(copy_body(&mut client_reader, buffer, &mut writer, asked.body));
    let (mut uploaded, mut since) = (None, Instant::now());
    let answer = {
        let mut reading = pin!(answer::read(&mut inbound, rules));
        tokio::select! {
            biased;
            copied = &mut upload => {
                let reading = answer::timed(config.response_timeout, reading);
                (uploaded, since) = (Some(copied.is_ok()), Instant::now());
                match copied {
                    Ok(_) => reading.await,
                    // An upstream that stopped reading may have said why.
                    Err(CopyError::Write(error)) => reading.await.map_err(|_| sending_fault(&error)),
                    Err(CopyError::Read(error)) => Err(body_fault(&error)),
                }
            }
            answer = &mut reading => answer,
        }
    };
    let answer = match answer {
        Ok(answer) => answer,
        Err(fault) => return Passed::failed(fault),
    };
    let keep = asked.keeps_alive && uploaded == Some(true);
    let Inbound { reader, mut buffer } = inbound;
    let mut reader = Stalling::new(reader, config.stall_timeout);
    // Of an answer that came before the end of the body, nobody can say how long it took.
    let took = uploaded.map_or(Duration::ZERO, |_| since.elapsed());
    // There is no second upstream for it: nothing is held up.
    let seen = (&answer.head, answer.length, took);
    let waiting = case.judge(upstream, seen, false, &mut reader, &mut buffer).await.waiting;
    let tell = (!waiting.is_empty()).then_some(|body: &[u8]| case.judge_body(upstream, &waiting, body));
    let reader = Witness::new(reader, &buffer, tell);
    let mut inbound = Inbound { reader, buffer };
    let mut passing = pin!(answer::pass(&mut inbound, &mut client_writer, rules, answer, keep));
    if uploaded.is_none() {
        tokio::select! {
            passed = &mut passing => return passed,
            _ = &mut upload => {}
        }
    }
    passing.await
}

/// Tells the client to go on if it waits for that, and sends the head.
async fn begin<C, U>(
    client: &mut C,
    upstream: &mut U,
    asked: &Asked,
    continued: bool,
    form: &RequestForm,
) -> Result<(), Fault>
where
    C: AsyncWrite + Unpin,
    U: AsyncWrite + Unpin,
{
    if asked.expects && !continued {
        write(client, CONTINUE).await?;
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
