//! A large body whose client waits to be told to go on (`Expect: 100-continue`, RFC 9110 §10.1.1).
//!
//! The upstream is asked first. As long as it has not said that the body may follow, nothing of it is on its way, and the
//! request can be tried elsewhere. An upstream that is silent for a second may not know of this, as HTTP/1.0 does not: then
//! the client is told to go on all the same. Not so where nobody was served by that upstream yet, or it keeps failing at this site:
//! others are asked too, and it gets the body when nobody else is left to ask. One that says that it does not do so (417) is asked
//! once more without.

use std::pin::pin;
use std::time::Duration;

use bytes::BytesMut;
use proxywhirl_core::{Endpoint, Fault, Member};
use proxywhirl_net::{Forward, stages};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep};

use super::answer::{self, Inbound, Rules};
use super::asked::{After, Asked};
use super::attempt::{Answered, refuses_login, send};
use super::doubt::{Doubt, Objections, Weighed};
use super::streamed::{First, Way, upload};
use super::{Served, abandoned, confirms, give, objections, proves_nothing};
use crate::Gateway;
use crate::access::Use;
use crate::alarms::Alarms;
use crate::bans::body::held_until;
use crate::failover::{Evidence, Failover, Repeat, Resort, Upstream, Verdict, Won};
use crate::session::presence::{self, AtEnd, Attended};

/// How long an upstream may be silent: as long as curl waits until it goes on by itself.
const SILENCE: Duration = Duration::from_secs(1);

/// What an upstream says of a body. Where that may follow: how long it took to reach it, and what it says of others.
enum Said {
    Follow(Way, Duration, Verdict),
    Answer(Box<Answered>),
}

/// The same, as the client hears it.
enum Heard {
    Follow(Way, Duration, Verdict),
    Answer(Weighed),
}

impl Evidence for Heard {
    fn verdict(&self) -> Verdict {
        match self {
            Self::Follow(.., verdict) => *verdict,
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
    asked: &Asked<'_>,
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
    let (deadline, resort) = (failover.deadline(), failover.resort());
    // Sooner than it is overtaken, however little time there is.
    let silence = failover.hurried(SILENCE * 2) / 2;
    let heard = {
        let running = pin!(failover.run(repeat, |upstream| {
            let (doubt, resort) = (&doubt, &*resort);
            async move {
                let began = Instant::now();
                let tell = |stages| gateway.engine().measured(request, upstream.number, stages);
                let may_be_dead = may_be_dead(gateway, &upstream, case.target);
                let silence = if may_be_dead { gateway.config().request_deadline } else { silence };
                let asking = ask(gateway, &upstream, asked, alarms, (resort, silence));
                let mut answered = match stages::measured(began, asking, tell).await? {
                    Said::Follow(way, took, verdict) => return Ok(Heard::Follow(way, took, verdict)),
                    Said::Answer(answered) => answered,
                };
                let refuses_login = refuses_login(&upstream, asked, &answered);
                let proves_nothing = proves_nothing(gateway, case.target, &upstream, &answered);
                let (endpoint, slot) = (upstream.endpoint, upstream.slot);
                let until = Some(held_until(deadline));
                // On the heap, since few have rules.
                let objections = if case.has_rules() {
                    Box::pin(objections(case, &endpoint, &mut answered, (began, until), alarms)).await
                } else {
                    Objections::default()
                };
                let confirms = |by: &Endpoint| confirms(gateway, case.target, slot, by);
                let objections = Objections { refuses_login, proves_nothing, ..objections };
                doubt.weigh(endpoint, answered, objections, confirms).map(Heard::Answer)
            }
        }));
        let grace = gateway.config().connect_timeout;
        presence::attend(client, buffer, AtEnd::Waits, (leaving, place), (running, grace)).await
    };
    let won = match heard {
        // Nobody has said anything, which is no success.
        Attended::Left(Some(Ok(Won { trial, answer: Heard::Follow(.., Verdict::Silent), .. }))) => {
            failover.judge(None);
            failover.let_go(trial);
            return Served::failed(presence::left());
        }
        Attended::Left(heard) => return abandoned(failover, heard),
        Attended::Served(Ok(Won { trial, answer: Heard::Follow(way, took, _), .. })) => {
            failover.sends_body();
            return upload(gateway, (client, buffer), asked, failover, place, (trial, took, way)).await;
        }
        Attended::Served(Ok(Won { trial, latency, answer: Heard::Answer(answer) })) => {
            Ok(Won { trial, latency, answer })
        }
        Attended::Served(Err(fault)) => Err(fault),
    };
    give(gateway, (client, buffer), (&asked.last(), alarms), failover, (won, doubt.rest()), &case).await
}

/// Sends the head through one upstream, and hears whether the body may follow: it does when that says nothing for so long, or nobody
/// else is left to ask.
async fn ask(
    gateway: &Gateway,
    upstream: &Upstream,
    asked: &Asked<'_>,
    alarms: &Alarms,
    (resort, silence): (&Resort, Duration),
) -> Result<Said, Fault> {
    let began = Instant::now();
    let Forward { stream, form } = gateway.forward(upstream, &asked.target).await?;
    stages::ready();
    // That of the dial, as without asking: what an upstream does not say says nothing of it.
    let took = began.elapsed();
    let mut inbound = Inbound { reader: stream, buffer: BytesMut::new() };
    send(&mut inbound.reader, &asked.render_expecting(&form)).await?;
    let mut interim = Vec::new();
    let rules = Rules { asked, form: &form, config: gateway.config(), alarms, explained: None };
    let said = tokio::select! {
        biased;
        said = answer::expected(&mut inbound, &mut interim, rules) => Some(said?),
        () = resort.comes_to(upstream.number) => None,
        () = sleep(silence) => None,
    };
    let verdict = if said.is_some() { Verdict::Unheard } else { Verdict::Silent };
    Ok(match said.flatten() {
        Some(answer) if answer.head.status == 417 => {
            let Forward { stream, form } = gateway.forward(upstream, &asked.target).await?;
            let inbound = Inbound { reader: stream, buffer: BytesMut::new() };
            Said::Follow(Way { inbound, form, first: First::Both }, took, verdict)
        }
        Some(answer) => Said::Answer(Answered::new(inbound, form, (answer, interim), After::Close)),
        None => Said::Follow(Way { inbound, form, first: First::Client(interim) }, took, verdict),
    })
}

/// Whether nobody was answered by the upstream yet, or it keeps failing at this site, and there are others to ask.
fn may_be_dead(gateway: &Gateway, upstream: &Upstream, target: &str) -> bool {
    let snapshot = gateway.engine().snapshot();
    let is_known =
        |member: &Member| member.live.latency().is_some() && !gateway.engine().is_passed_over(target, member);
    snapshot.len() > 1 && snapshot.get(upstream.slot).is_some_and(|member| !is_known(member))
}
