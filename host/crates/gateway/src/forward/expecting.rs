//! A large body whose client waits to be told to go on (`Expect: 100-continue`, RFC 9110 §10.1.1).
//!
//! The upstream is asked first. As long as it has not said that the body may follow, nothing of it is on its way, and the
//! request can be tried elsewhere. An upstream that is silent for a second may not know of this, as HTTP/1.0 does not: then
//! the client is told to go on all the same. Where nobody knows whether that upstream has ever served anybody, another one is
//! asked too before that. One that says that it does not do so (417) is asked once more without.

use std::pin::pin;
use std::time::Duration;

use bytes::BytesMut;
use proxywhirl_core::{Endpoint, Fault};
use proxywhirl_net::{Forward, stages};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout};

use super::answer::{self, Inbound, Rules};
use super::asked::{After, Asked};
use super::attempt::{Answered, refuses_login, send};
use super::doubt::{Doubt, Objections, Weighed};
use super::streamed::{First, Way, upload};
use super::{Served, abandoned, confirms, give, objections};
use crate::Gateway;
use crate::access::Use;
use crate::alarms::Alarms;
use crate::bans::body::held_until;
use crate::failover::{Evidence, Failover, Repeat, Upstream, Verdict, Won};
use crate::session::presence::{self, AtEnd, Attended};

/// How long an upstream may be silent: as long as curl waits until it goes on by itself.
const SILENCE: Duration = Duration::from_secs(1);
/// The same where it may as well be dead: longer than it takes until another one is asked, and that one has been silent.
const SILENCE_OF_STRANGER: Duration = Duration::from_secs(3);

/// What an upstream says of a body, and how long it took to reach it where the body may follow.
enum Said {
    Follow(Way, Duration),
    Answer(Box<Answered>),
}

/// The same, as the client hears it.
enum Heard {
    Follow(Way, Duration),
    Answer(Weighed),
}

impl Evidence for Heard {
    fn verdict(&self) -> Verdict {
        match self {
            Self::Follow(..) => Verdict::Unheard,
            Self::Answer(weighed) => weighed.verdict(),
        }
    }

    fn held(&self) -> Duration {
        match self {
            Self::Follow(..) => Duration::ZERO,
            Self::Answer(weighed) => weighed.held(),
        }
    }
}

/// Serves a request whose client waits with its body.
pub(super) async fn serve<S>(
    gateway: &Gateway,
    client: &mut S,
    buffer: &mut BytesMut,
    asked: &Asked,
    failover: &mut Failover<'_>,
    place: &mut Option<Use>,
) -> Served
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // Whatever the method is: without its body, it is no request that an origin could act on.
    let repeat = Repeat::Head;
    let (doubt, case) = (Doubt::of(&gateway.config().retry_status, repeat), failover.case(&asked.target.host));
    let request = failover.request();
    let (leaving, alarms) = (failover.leaving(), failover.alarms());
    let deadline = failover.deadline();
    let heard = {
        let running = pin!(failover.run(repeat, |upstream| {
            let doubt = &doubt;
            async move {
                let began = Instant::now();
                let tell = |stages| gateway.engine().measured(request, upstream.number, stages);
                let said = stages::measured(began, ask(gateway, &upstream, asked, alarms), tell).await;
                let mut answered = match said? {
                    Said::Follow(way, took) => return Ok(Heard::Follow(way, took)),
                    Said::Answer(answered) => answered,
                };
                let refuses_login = refuses_login(&upstream, asked, &answered);
                let (endpoint, slot) = (upstream.endpoint, upstream.slot);
                let until = Some(held_until(deadline));
                // On the heap, since few have rules.
                let objections = if case.has_rules() {
                    Box::pin(objections(case, &endpoint, &mut answered, (began, until))).await
                } else {
                    Objections::default()
                };
                let confirms = |by: &Endpoint| confirms(gateway, case.target, slot, by);
                doubt.weigh(endpoint, answered, Objections { refuses_login, ..objections }, confirms).map(Heard::Answer)
            }
        }));
        let grace = gateway.config().connect_timeout;
        presence::attend(client, buffer, AtEnd::Waits, (leaving, place), (running, grace)).await
    };
    let won = match heard {
        Attended::Left(heard) => return abandoned(failover, heard),
        Attended::Served(Ok(Won { trial, answer: Heard::Follow(way, took), .. })) => {
            return upload(gateway, (client, buffer), asked, failover, place, (trial, took, way)).await;
        }
        Attended::Served(Ok(Won { trial, latency, answer: Heard::Answer(answer) })) => {
            Ok(Won { trial, latency, answer })
        }
        Attended::Served(Err(fault)) => Err(fault),
    };
    give(gateway, (client, buffer), (&asked.last(), alarms), failover, (won, doubt.rest()), &case).await
}

/// Sends the head through one upstream, and hears whether the body may follow.
async fn ask(gateway: &Gateway, upstream: &Upstream, asked: &Asked, alarms: &Alarms) -> Result<Said, Fault> {
    let began = Instant::now();
    let Forward { stream, form } = gateway.forward(upstream, &asked.target).await?;
    stages::ready();
    // That of the dial, as without asking: what an upstream does not say says nothing of it.
    let took = began.elapsed();
    let mut inbound = Inbound { reader: stream, buffer: BytesMut::new() };
    send(&mut inbound.reader, &asked.render_expecting(&form)).await?;
    let mut interim = Vec::new();
    let rules = Rules { asked, form: &form, config: gateway.config(), alarms, explained: None };
    let silence = if may_be_dead(gateway, upstream) { SILENCE_OF_STRANGER } else { SILENCE };
    let said = match timeout(silence, answer::expected(&mut inbound, &mut interim, rules)).await {
        Ok(said) => said?,
        Err(_) => None,
    };
    Ok(match said {
        Some(answer) if answer.head.status == 417 => {
            let Forward { stream, form } = gateway.forward(upstream, &asked.target).await?;
            let inbound = Inbound { reader: stream, buffer: BytesMut::new() };
            Said::Follow(Way { inbound, form, first: First::Both }, took)
        }
        Some(answer) => Said::Answer(Answered::new(inbound, form, (answer, interim), After::Close)),
        None => Said::Follow(Way { inbound, form, first: First::Client(interim) }, took),
    })
}

/// Whether nobody was answered by the upstream yet, and there are others to ask.
fn may_be_dead(gateway: &Gateway, upstream: &Upstream) -> bool {
    let snapshot = gateway.engine().snapshot();
    let is_stranger = snapshot.get(upstream.slot).is_some_and(|member| member.live.latency().is_none());
    is_stranger && snapshot.len() > 1
}
