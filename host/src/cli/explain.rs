//! `proxywhirl explain`: why a request got whom it got, or would get.

use std::time::{Duration, SystemTime};

use clap::Args;
use proxywhirl_engine::history::{AttemptRecord, RequestRecord};
use proxywhirl_engine::{CandidateWords, Explanation};
use proxywhirl_net::Target;

use super::output::{count, print, table, to_json};
use super::{ControlArgs, requests, sites, users};
use crate::control::api::Explained;
use crate::exit::{Exit, Failure};

/// Requests to a host that are shown beside what would be done now.
const SHOWN: usize = 5;

/// Candidates that are shown; `--json` has more.
const CANDIDATES: usize = 20;

/// Arguments of `explain`.
#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// A URL or HOST:PORT: how a request there would be served now; or the number of a request: how it went
    #[arg(value_name = "URL|NUMBER")]
    what: String,
    /// The proxy user name that says what the client wants, such as anna-country-de-session-7
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// The listener where the request would come in, by its name or address: by its strategy, and with what all want there
    #[arg(long, value_name = "LISTENER")]
    listener: Option<String>,
    #[command(flatten)]
    control: ControlArgs,
    /// Print JSON, for scripts
    #[arg(long)]
    json: bool,
}

/// Carries out `explain`; when nobody could serve, or the request is not remembered, there is no result.
pub(super) async fn run(args: ExplainArgs) -> Result<Exit, Failure> {
    let client = args.control.running().await?;
    if let Ok(number) = args.what.parse::<u64>() {
        if number == 0 {
            return Err(Failure::new(Exit::NoResult, "there is no request 0: they count from 1"));
        }
        let record: RequestRecord = client.get(&format!("/v1/requests/{number}")).await?;
        print(&if args.json { to_json(&record)? } else { as_it_went(&record) })?;
        return Ok(Exit::Done);
    }
    let target = target(&args.what)?;
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("target", &target.to_string()).append_pair("user", args.user.as_deref().unwrap_or_default());
    if let Some(listener) = &args.listener {
        query.append_pair("listener", listener);
    }
    let query = query.finish();
    let explained: Explained = client.get(&format!("/v1/explain?{query}")).await?;
    let Explained { explanation, user } = &explained;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let user = user.as_ref().map_or_else(String::new, |user| format!("\n  {}", users::in_words(user, now)));
    if args.json {
        print(&to_json(&explained)?)?;
    } else if let Some(reason) = &explanation.refused {
        print(&format!("{} (site {})\nrefused: {reason}{user}", explanation.target, explanation.site))?;
    } else {
        print(&(as_it_would_go(explanation) + &user))?;
        if !explanation.candidates.is_empty() {
            print(&format!("\nwho may serve it:\n{}", candidates_in_rows(&explanation.candidates)))?;
        }
        let before = requests::last(&client, Some(&target.host.to_string()), SHOWN, false).await?;
        if !before.is_empty() {
            print(&format!("\nthe last requests there:\n{}", requests::in_rows(&before)))?;
        }
    }
    let is_somebody = match explanation.escalation.as_slice() {
        [] => explanation.eligible > 0,
        tiers => tiers.iter().any(|tier| tier.eligible > 0),
    };
    let is_served = is_somebody && explanation.refused.is_none();
    Ok(if is_served { Exit::Done } else { Exit::NoResult })
}

/// Where a URL leads, or `HOST:PORT`.
fn target(text: &str) -> Result<Target, Failure> {
    let wrong = |why: &dyn std::fmt::Display| {
        Failure::new(Exit::Usage, format!("{text}: {why}"))
            .hint("write a URL such as https://example.com/, HOST:PORT, or the number of a request")
    };
    if !text.contains("://") {
        return text.parse().map_err(|error| wrong(&error));
    }
    let url = url::Url::parse(text).map_err(|error| wrong(&error))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong(&"requests are http or https, or HOST:PORT for a tunnel"));
    }
    match (url.host_str(), url.port_or_known_default()) {
        (Some(host), Some(port)) => format!("{host}:{port}").parse().map_err(|error| wrong(&error)),
        _ => Err(wrong(&"it names no host and port")),
    }
}

/// How a request would be served, for people.
fn as_it_would_go(it: &Explanation) -> String {
    let strategy = it.strategy.as_ref().map_or_else(|| "no strategy".to_owned(), |build| format!("strategy {build}"));
    let mut lines = vec![
        format!("{} (site {})", it.target, it.site),
        format!("{strategy}, {}", by(&it.picked_by)),
        format!("  {} in the pool", it.members),
    ];
    if it.banned > 0 {
        lines.push(format!("  {} banned at this site", it.banned));
    }
    if !it.wants.is_empty() {
        lines.push(format!("  {} not what is wanted: {}", it.filter, it.wants.join(", ")));
    }
    lines.push(format!("  {} with an open breaker", it.breaker));
    if it.limited > 0 {
        lines.push(format!("  {} at their limit", it.limited));
    }
    lines.push(format!("  {} eligible", it.eligible));
    if it.eligible == 0 && it.breaker > 0 {
        lines.push("  the one that is tried again first is tried before its time".to_owned());
    }
    if it.passed_over > 0 {
        lines.push(format!("  {} of them passed over: they keep failing at this site", it.passed_over));
    }
    if it.site_limited {
        lines.push("  the site is at its limit: requests there wait".to_owned());
    }
    if it.waiting > 0 {
        let requests = count(it.waiting as u64, "request waits for its turn", "requests wait for their turn");
        lines.push(format!("  {requests}"));
    }
    lines.extend(it.tiers.iter().enumerate().map(|(place, tier)| {
        let members = count(tier.members as u64, "member", "members");
        format!("  tier {}: {} over {members}, {} eligible", place + 1, tier.mode, tier.eligible)
    }));
    if !it.escalation.is_empty() {
        lines.push("  attempts go through tiers of their own:".to_owned());
    }
    lines.extend(it.escalation.iter().map(|it| {
        let barred = it.barred.as_ref().map_or_else(String::new, |why| format!(": {why}"));
        let begins = match it.remembered_s {
            _ if !it.begins => String::new(),
            None => "; a request begins here".to_owned(),
            Some(left) => {
                let left = humantime::format_duration(Duration::from_secs(left));
                format!("; a request begins here for another {left}, as this tier has served one")
            }
        };
        format!("    {}, {} eligible{barred}{begins}", it.tier, it.eligible)
    }));
    match &it.bound_to {
        Some(member) => lines.push(format!("  its session has {member}")),
        None if it.sticky => lines.push("  a session stays with its member".to_owned()),
        None => {}
    }
    lines.join("\n")
}

/// A table of those who may serve a request.
fn candidates_in_rows(candidates: &[CandidateWords]) -> String {
    let rows = candidates.iter().take(CANDIDATES).map(|it| {
        let here = it.here.as_ref();
        vec![
            it.proxy.clone(),
            it.standing.replace('-', " "),
            here.map_or_else(|| "-".to_owned(), |here| sites::share_of(here.success, here.uses)),
            sites::latency(here.and_then(|here| here.latency_ms)),
            it.success.map_or_else(|| "-".to_owned(), |success| format!("{:.0} %", success * 100.0)),
            sites::latency(it.latency_ms),
        ]
    });
    let rows = table(&["PROXY", "STANDING", "HERE", "LATENCY", "EVERYWHERE", "LATENCY"], rows.collect());
    match candidates.len().saturating_sub(CANDIDATES) {
        0 => rows,
        more => format!("{rows}\nand {more} more (--json)"),
    }
}

/// How a request went, for people.
fn as_it_went(it: &RequestRecord) -> String {
    let status = it.status.map_or_else(String::new, |status| format!(", {status}"));
    let session = if it.session { ", of a session" } else { "" };
    let user = it.user.as_ref().map_or_else(String::new, |user| format!(", of the user {user}"));
    let what = if it.method.is_empty() { "under way".to_owned() } else { format!("{} by {}", it.method, it.protocol) };
    let target = if it.target.is_empty() { "nobody knows where" } else { it.target.as_str() };
    let mut lines = vec![format!("request {} to {target}: {what}{status}{user}{session}", it.request)];
    lines.extend(came_in(it));
    if let Some(reason) = &it.refused {
        lines.push(format!("  refused: {reason}"));
        return lines.join("\n");
    }
    if !it.wants.is_empty() {
        lines.push(format!("  wants {}", it.wants.join(", ")));
    }
    if let Some(strategy) = &it.strategy {
        lines.push(format!("  by strategy {strategy}, that of its listener"));
    }
    for attempt in &it.attempts {
        let tier = attempt.tier.as_ref().map_or_else(String::new, |tier| format!(", tier {tier}"));
        let hedge = if attempt.hedge { ", because the one before was slow" } else { "" };
        lines.push(at(
            attempt.picked_ms,
            &format!("attempt {}{hedge}{tier}, {}: {}", attempt.number, by(&attempt.picked_by), attempt.proxy),
        ));
        lines.extend(stages_of(attempt));
        lines.push(end_of(attempt, it));
    }
    lines.extend(it.bans.iter().map(|ban| {
        let site = if ban.site == "*" { "at all sites" } else { &format!("at {}", ban.site) };
        if ban.banned {
            format!("  rule {}: {} is banned {site}", ban.rule, ban.proxy)
        } else {
            format!(
                "  rule {}: {} is not banned {site}: the guard is against it, too many are already (pool.max_banned)",
                ban.rule, ban.proxy
            )
        }
    }));
    if let Some(nobody) = &it.nobody {
        lines.push(format!("  nobody else: {nobody}"));
    }
    if let Some(duration) = it.duration_ms {
        let fault = it.fault.as_ref();
        let fault =
            fault.map_or_else(String::new, |it| format!(": {} {} at {}: {}", it.side, it.kind, it.stage, it.detail));
        lines.push(at(duration, &format!("over{fault}")));
    }
    lines.join("\n")
}

/// Where a request came from, and where it came in, as far as that is known.
fn came_in(it: &RequestRecord) -> Option<String> {
    let at = it.listener.as_ref().map_or_else(String::new, |listener| format!(" at {listener}"));
    match it.client {
        Some(client) => Some(format!("  from {client}{at}")),
        None if at.is_empty() => None,
        None => Some(format!("  from this machine{at}")),
    }
}

/// How far an attempt came when.
fn stages_of(it: &AttemptRecord) -> Vec<String> {
    let waited = it.dialled_ms.is_none() && it.sent_ms.is_some();
    let stages = [
        (it.dialled_ms, "  dialled"),
        (it.ready_ms.filter(|_| it.dialled_ms.is_some()), "  handshake over"),
        (it.sent_ms, if waited { "  sent, on a connection that had waited" } else { "  sent" }),
    ];
    stages.into_iter().filter_map(|(time, what)| Some(at(time?, what))).collect()
}

fn end_of(it: &AttemptRecord, of: &RequestRecord) -> String {
    let ended = it.ended_ms.unwrap_or(it.picked_ms);
    match (&it.fault, it.latency_ms) {
        (Some(fault), _) => {
            let counted = if it.counted { "counts against it" } else { "does not count against it" };
            at(ended, &format!("  failed, {} at {}: {} ({counted})", fault.kind, fault.stage, fault.detail))
        }
        (None, Some(latency)) => at(ended, &format!("  answered after {latency:.3} ms")),
        (None, None) if of.duration_ms.is_some() => at(ended, &format!("  given up: {}", end_without(of))),
        (None, None) => at(ended, "  no answer yet"),
    }
}

/// Why an attempt ended that came to nothing, as far as the end of its request shows it.
fn end_without(of: &RequestRecord) -> &'static str {
    let is_answered = of.attempts.iter().any(|other| other.latency_ms.is_some());
    match of.fault.as_ref().map(|fault| (&*fault.side, &*fault.kind)) {
        _ if is_answered => "another one was answered",
        Some(("client", _)) => "the client left",
        Some(("ours", "timeout")) => "the time of the request was over",
        Some(_) => "another one went on with the request, and failed",
        None => "another one went on with the request, or the client left",
    }
}

/// A line of what happened when, in milliseconds.
fn at(milliseconds: f64, what: &str) -> String {
    format!("{milliseconds:>10.3} ms  {what}")
}

/// How a member is picked, in words.
fn by(picked: &str) -> String {
    match picked {
        "plan" => "by the plan for everybody".to_owned(),
        "site-plan" => "by the plan for this site".to_owned(),
        "view-plan" => "by the plan for what is wanted".to_owned(),
        "select" => "asked for each request".to_owned(),
        "direct" => "without a proxy".to_owned(),
        "proven" => "it has just served this site, where others had failed".to_owned(),
        "in-turn" => "everybody in turn".to_owned(),
        other => match other.strip_prefix("fallback-") {
            Some(why) => format!("everybody in turn instead (strategy: {why})"),
            None => other.to_owned(),
        },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_url_or_an_authority_is_a_target() {
        let read = |text: &str| target(text).map(|target| target.to_string());
        assert_eq!(read("https://example.com/a?b").unwrap(), "example.com:443");
        assert_eq!(read("http://[::1]:81").unwrap(), "[::1]:81");
        assert_eq!(read("example.com:8080").unwrap(), "example.com:8080");
        for wrong in ["example.com", "mailto://", "http://", "ftp2://x"] {
            assert_eq!(read(wrong).unwrap_err().exit, Exit::Usage, "{wrong}");
        }
    }

    #[test]
    fn where_a_request_came_in_is_told_as_far_as_it_is_known() {
        let came_in = |client: Option<&str>, listener: Option<&str>| {
            let record = json!({ "request": 1, "began": 0, "protocol": "http", "method": "GET", "target": "a.test:80",
                "client": client, "listener": listener, "wants": [], "session": false, "attempts": [],
                "nobody": null, "status": null, "duration_ms": 9.0, "fault": null });
            came_in(&serde_json::from_value(record).unwrap())
        };
        let client = Some("192.0.2.7:4711");
        assert_eq!(came_in(client, Some("0.0.0.0:8080")).unwrap(), "  from 192.0.2.7:4711 at 0.0.0.0:8080");
        assert_eq!(came_in(client, None).unwrap(), "  from 192.0.2.7:4711");
        assert_eq!(came_in(None, Some("unix:/run/a")).unwrap(), "  from this machine at unix:/run/a");
        assert_eq!(came_in(None, None), None);
    }

    #[test]
    fn why_an_attempt_was_given_up_is_told_as_far_as_the_end_of_its_request_shows_it() {
        let attempt = |number: u32, latency: Option<f64>| {
            json!({ "number": number, "proxy": "http://192.0.2.1:8080", "picked_by": "plan", "picked_ms": 0.0,
                "ended_ms": 5.0, "latency_ms": latency, "fault": null, "counted": false })
        };
        let given_up = |second: Option<f64>, fault: Value| {
            let record = json!({ "request": 1, "began": 0, "protocol": "http", "method": "PUT", "target": "a.test:80",
                "wants": [], "session": false, "attempts": [attempt(1, None), attempt(2, second)],
                "nobody": null, "status": null, "duration_ms": 9.0, "fault": fault });
            let record: RequestRecord = serde_json::from_value(record).unwrap();
            let ended = end_of(record.attempts.first().unwrap(), &record);
            ended.split_once("given up: ").unwrap().1.to_owned()
        };
        let fault = |side: &str, kind: &str| json!({ "side": side, "stage": "first-byte", "kind": kind, "detail": "" });
        assert_eq!(given_up(Some(3.0), Value::Null), "another one was answered");
        assert_eq!(given_up(None, fault("client", "closed")), "the client left");
        assert_eq!(given_up(None, fault("ours", "timeout")), "the time of the request was over");
        assert_eq!(given_up(None, fault("upstream", "closed")), "another one went on with the request, and failed");
    }
}
