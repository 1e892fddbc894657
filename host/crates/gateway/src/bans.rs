//! Rules that say when a site has refused an upstream, and what follows.
//!
//! Of plain HTTP a rule sees status, fields, length, time, and the beginning of the body; of a tunnel, whether it ended or
//! got a TLS alert before the origin had let the client in. All conditions of a rule must hold. Rules are looked at in
//! their order, and every one that holds is obeyed.

pub(crate) mod body;

use std::time::Duration;

use proxywhirl_core::{Endpoint, Fault, Host, Kind, Side, Stage};
use proxywhirl_engine::bans::Scope;
use proxywhirl_engine::check::target::StatusRanges;
use proxywhirl_engine::{Ban, Engine};
use proxywhirl_net::http1::{BodyLength, ResponseHead};
use regex::bytes::Regex;
use tokio::io::AsyncRead;
use tokio::time::Instant;

use body::Beginning;

/// When a site has refused an upstream, and what follows.
#[derive(Debug, Clone, PartialEq)]
pub struct BanRule {
    /// Its name, for events.
    pub name: String,
    /// The hosts that it is about; none for all.
    pub hosts: Vec<HostPattern>,
    /// What has to have happened.
    pub trigger: Trigger,
    /// Whether another upstream is asked, if the request may be sent again.
    pub retry: bool,
    /// For how long the upstream is not used for this site.
    pub ban: Option<Duration>,
    /// For how long it is not used at all.
    pub eject: Option<Duration>,
    /// Whether the session of the request begins anew, with another upstream.
    pub rotate: bool,
    /// For how long it is not used for the session of the request.
    pub mark: Option<Duration>,
}

/// A host, or a domain with every host below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostPattern {
    /// This host.
    Exactly(String),
    /// The hosts below this domain, and itself; written `*.example.com`.
    Below(String),
}

/// What has to have happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Trigger {
    /// An answer over plain HTTP for which all of this holds.
    Answer(Box<AnswerTest>),
    /// One of these, before the origin had let the client of a tunnel in.
    Tunnel(Vec<TunnelEnd>),
}

/// What holds for an answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AnswerTest {
    /// Its status.
    pub status: Option<StatusRanges>,
    /// Fields that it has, and what one value of each matches.
    pub headers: Vec<(String, Pattern)>,
    /// What the beginning of its body matches, without framing and decompressed.
    pub body: Option<Pattern>,
    /// It names a length below this one.
    pub smaller: Option<u64>,
    /// It names a length above this one.
    pub larger: Option<u64>,
    /// Its head took longer than this.
    pub slower: Option<Duration>,
}

/// A regular expression; two are equal when they are written so.
#[derive(Debug, Clone)]
pub struct Pattern(pub Regex);

/// How a tunnel ended before the origin had let its client in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TunnelEnd {
    /// A TLS alert was all that the client's hello got.
    Alert,
    /// The tunnel was closed or reset.
    Close,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl HostPattern {
    /// Reads `example.com` or `*.example.com`.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (domain, is_below) = text.strip_prefix("*.").map_or((text, false), |domain| (domain, true));
        let host: Host = domain
            .parse()
            .map_err(|error| format!("{text:?} is no host such as shop.example or *.example: {error}"))?;
        Ok(if is_below { Self::Below(host.to_string()) } else { Self::Exactly(host.to_string()) })
    }

    fn covers(&self, host: &str) -> bool {
        match self {
            Self::Exactly(name) => host == name,
            Self::Below(domain) => {
                host.strip_suffix(domain.as_str()).is_some_and(|below| below.is_empty() || below.ends_with('.'))
            }
        }
    }
}

impl BanRule {
    fn concerns(&self, host: &str) -> bool {
        self.hosts.is_empty() || self.hosts.iter().any(|pattern| pattern.covers(host))
    }
}

impl AnswerTest {
    fn holds(&self, answer: &Observed<'_>) -> bool {
        self.holds_for_head(answer) && self.body.as_ref().is_none_or(|pattern| pattern.0.is_match(answer.body))
    }

    /// Whether all of it holds that can be told without the body.
    fn holds_for_head(&self, answer: &Observed<'_>) -> bool {
        let length = named_length(answer);
        let has = |(name, pattern): &(String, Pattern)| {
            answer.head.headers.get_all(name).any(|value| pattern.0.is_match(value))
        };
        self.status.as_ref().is_none_or(|ranges| ranges.contains(answer.head.status))
            && self.headers.iter().all(has)
            && self.smaller.is_none_or(|limit| length.is_some_and(|length| length < limit))
            && self.larger.is_none_or(|limit| length.is_some_and(|length| length > limit))
            && self.slower.is_none_or(|limit| answer.took > limit)
    }
}

/// How long a page is, as its head says: also where it is not sent, to HEAD. Other statuses have none.
fn named_length(answer: &Observed<'_>) -> Option<u64> {
    match (answer.length, answer.head.status) {
        (BodyLength::Exact(length), _) => Some(length),
        (BodyLength::Chunked | BodyLength::UntilClose, _) | (BodyLength::None, ..200 | 204 | 304) => None,
        (BodyLength::None, _) => {
            std::str::from_utf8(answer.head.headers.get("content-length")?).ok()?.trim().parse().ok()
        }
    }
}

/// An answer as rules see it.
struct Observed<'a> {
    head: &'a ResponseHead,
    length: BodyLength,
    body: &'a [u8],
    took: Duration,
}

/// Which request rules are asked about, and who served it.
#[derive(Clone, Copy)]
pub(crate) struct Case<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) rules: &'a [BanRule],
    pub(crate) request: u64,
    /// Host and port of the origin.
    pub(crate) target: &'a str,
    pub(crate) host: &'a Host,
    /// Its session.
    pub(crate) session: Option<u64>,
}

/// What rules make of an answer.
#[derive(Debug, Default)]
pub(crate) struct Judged {
    /// Another upstream is to be asked.
    pub(crate) retry: bool,
    /// The body has broken off while it was waited for.
    pub(crate) is_cut_off: bool,
    /// Rules of which only the body can say whether they hold, by their places. It is looked at as it passes.
    pub(crate) waiting: Vec<usize>,
}

impl Case<'_> {
    /// Whether there is anything to judge by.
    pub(crate) const fn has_rules(&self) -> bool {
        !self.rules.is_empty()
    }

    fn rules(&self) -> impl Iterator<Item = &BanRule> {
        self.placed().map(|(_, rule)| rule)
    }

    fn placed(&self) -> impl Iterator<Item = (usize, &BanRule)> {
        let host = if self.rules.is_empty() { String::new() } else { self.host.to_string() };
        self.rules.iter().enumerate().filter(move |(_, rule)| rule.concerns(&host))
    }

    /// Does what the rules say about an answer. `buffer` holds what was read of the body already, and of what is read here,
    /// everything stays in it. The body is waited for only when another upstream could be asked for it, until then if there is
    /// a time, and a rule would have that.
    pub(crate) async fn judge<R: AsyncRead + Unpin>(
        &self,
        upstream: &Endpoint,
        (head, length, took): (&ResponseHead, BodyLength, Duration),
        until: Option<Instant>,
        reader: &mut R,
        buffer: &mut bytes::BytesMut,
    ) -> Judged {
        let (mut judged, mut begun) = (Judged::default(), None);
        for (place, rule) in self.placed() {
            let Trigger::Answer(test) = &rule.trigger else { continue };
            let seen = Observed { head, length, body: &[], took };
            if !test.holds_for_head(&seen) {
                continue;
            }
            let holds = match (&test.body, until.filter(|_| rule.retry)) {
                (Some(pattern), Some(until)) if head.status >= 200 => {
                    // All rules together wait so long.
                    let (begun, text) = match &mut begun {
                        Some(begun) => begun,
                        None => begun.insert(begin(Beginning::of(head, length), reader, buffer, until).await),
                    };
                    judged.is_cut_off |= begun.is_cut_off();
                    let holds = pattern.0.is_match(text);
                    if !holds && !begun.is_whole() {
                        judged.waiting.push(place);
                    }
                    holds
                }
                (Some(_), _) if head.status >= 200 => {
                    judged.waiting.push(place);
                    false
                }
                _ => test.holds(&seen),
            };
            if holds {
                judged.retry |= self.obey(rule, upstream);
            }
        }
        judged
    }

    /// Does what the rules say that waited for the body, now that its beginning has passed.
    pub(crate) fn judge_body(&self, upstream: &Endpoint, waiting: &[usize], body: &[u8]) {
        for rule in waiting.iter().filter_map(|place| self.rules.get(*place)) {
            if matches!(&rule.trigger, Trigger::Answer(test) if test.body.as_ref().is_some_and(|it| it.0.is_match(body)))
            {
                self.obey(rule, upstream);
            }
        }
    }

    /// Does what the rules say about the end of a tunnel.
    pub(crate) fn judge_tunnel(&self, upstream: &Endpoint, end: TunnelEnd) {
        for rule in self.rules() {
            if matches!(&rule.trigger, Trigger::Tunnel(ends) if ends.contains(&end)) {
                self.obey(rule, upstream);
            }
        }
    }

    /// Whether a TLS alert leads to another upstream.
    pub(crate) fn retries_alerts(&self) -> bool {
        self.rules().any(|rule| {
            rule.retry && matches!(&rule.trigger, Trigger::Tunnel(ends) if ends.contains(&TunnelEnd::Alert))
        })
    }

    fn obey(&self, rule: &BanRule, upstream: &Endpoint) -> bool {
        let Self { engine, request, target, session, .. } = *self;
        let mark = session.zip(rule.mark).map(|(session, span)| (Scope::Session(session), span));
        let ban = rule.ban.map(|span| (Scope::Site, span));
        let eject = rule.eject.map(|span| (Scope::Everywhere, span));
        for (scope, span) in [ban, eject, mark].into_iter().flatten() {
            engine.ban(&Ban { request, target, upstream, rule: &rule.name, scope, span });
        }
        if let Some(session) = session.filter(|_| rule.rotate)
            && !engine.rotate_session(session)
        {
            tracing::debug!(rule = rule.name, "too many sessions wait to begin anew");
        }
        rule.retry
    }
}

/// Reads the beginning of a body, of which some is there; and what is matched of it.
async fn begin<R: AsyncRead + Unpin>(
    mut begun: Beginning,
    reader: &mut R,
    buffer: &mut bytes::BytesMut,
    until: Instant,
) -> (Beginning, Vec<u8>) {
    begun.see(buffer);
    begun.read(reader, buffer, until).await;
    let text = begun.text().into_owned();
    (begun, text)
}

/// The fault of an answer that a rule is about. It is the site that refuses: no breaker counts it.
pub(crate) fn refused(code: Option<u16>) -> Fault {
    let why = "the site refuses this proxy, as a rule says";
    Fault { code, ..Fault::new(Side::Origin, Stage::FirstByte, Kind::Denied, why) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proxywhirl_net::http1::Headers;

    use super::*;

    fn pattern(text: &str) -> Option<Pattern> {
        Some(Pattern(Regex::new(text).unwrap()))
    }

    #[test]
    fn a_domain_covers_what_is_below_it_and_nothing_beside() {
        let below = HostPattern::parse("*.Shop.example").unwrap();
        for (host, covered) in
            [("shop.example", true), ("www.shop.example", true), ("myshop.example", false), ("example", false)]
        {
            assert_eq!(below.covers(host), covered, "{host}");
        }
        let exactly = HostPattern::parse("127.0.0.1").unwrap();
        assert!(exactly.covers("127.0.0.1") && !exactly.covers("1.127.0.0.1"));
        assert!(HostPattern::parse("*.").is_err() && HostPattern::parse("a b").is_err());
    }

    #[test]
    fn all_conditions_must_hold() {
        let mut headers = Headers::new();
        headers.append("Server", "guard").unwrap();
        let head = ResponseHead { status: 403, reason: "".into(), minor_version: 1, headers };
        let holds = |test: AnswerTest, body: &[u8]| {
            let length = BodyLength::Exact(100);
            test.holds(&Observed { head: &head, length, body, took: Duration::from_secs(3) })
        };
        let status = |text: &str| AnswerTest { status: Some(text.parse().unwrap()), ..AnswerTest::default() };
        assert!(holds(status("400-499"), b"") && !holds(status("429"), b""));
        let server = |text: &str| vec![("server".to_owned(), pattern(text).unwrap())];
        assert!(holds(AnswerTest { headers: server("^gu"), ..status("403") }, b""));
        assert!(!holds(AnswerTest { headers: server("nginx"), ..status("403") }, b""));
        assert!(holds(AnswerTest { body: pattern("(?i)captcha"), ..AnswerTest::default() }, b"<b>CAPTCHA</b>"));
        assert!(!holds(AnswerTest { body: pattern("captcha"), ..status("403") }, b"welcome"));
        let (smaller, larger) = (Some(101), Some(99));
        assert!(holds(AnswerTest { smaller, larger, ..AnswerTest::default() }, b""));
        assert!(!holds(AnswerTest { smaller: Some(100), ..AnswerTest::default() }, b""));
        let slower = |seconds| AnswerTest { slower: Some(Duration::from_secs(seconds)), ..AnswerTest::default() };
        assert!(holds(slower(2), b"") && !holds(slower(3), b""));
    }

    #[test]
    fn a_length_is_what_the_field_says_of_a_page_that_there_is() {
        let holds = |method: &str, status: u16, length: Option<&str>| {
            let mut headers = Headers::new();
            if let Some(length) = length {
                headers.append("Content-Length", length).unwrap();
            }
            let head = ResponseHead { status, reason: "".into(), minor_version: 1, headers };
            let length = head.body(method).unwrap();
            let test = |smaller, larger| AnswerTest { smaller, larger, ..AnswerTest::default() };
            [test(Some(1024), None), test(None, Some(1024))]
                .map(|test| test.holds(&Observed { head: &head, length, body: b"", took: Duration::ZERO }))
        };
        for method in ["GET", "HEAD"] {
            assert_eq!(holds(method, 200, Some("50000")), [false, true], "{method}");
            assert_eq!(holds(method, 200, Some("500")), [true, false], "{method}");
            assert_eq!(holds(method, 200, Some("0")), [true, false], "{method}");
            assert_eq!(holds(method, 200, None), [false, false], "{method}");
            for status in [103, 204, 304] {
                assert_eq!(holds(method, status, None), [false, false], "{method} {status}");
            }
            assert_eq!(holds(method, 304, Some("0")), [false, false], "{method}");
        }
    }
}
