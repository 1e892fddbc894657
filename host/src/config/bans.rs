//! `[[bans]]`: when a site has refused a proxy, and what follows.

use std::collections::BTreeMap;
use std::time::Duration;

use proxywhirl_gateway::{AnswerTest, BanRule, HostPattern, Pattern, Trigger, TunnelEnd};
use regex::bytes::Regex;
use schemars::{JsonSchema, Schema};
use serde::Deserialize;

use super::check::{STATUSES, no_pattern};
use super::file::{LASTING, Span};
use super::size::Size;
use super::words;

/// The largest share of the members that may be banned at one site, if nothing else is said.
pub const MAX_BANNED: f32 = 0.5;

/// The longest ban.
const LONGEST: Duration = Duration::from_hours(24 * 30);

/// How a tunnel begins that is refused.
const ENDS: [(&str, TunnelEnd); 2] = [("alert", TunnelEnd::Alert), ("close", TunnelEnd::Close)];

/// `[[bans]]`, as it was written.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BanSection {
    /// The rule's name.
    pub name: String,
    /// The hosts that it is about; none for all.
    #[serde(default)]
    pub sites: Vec<String>,
    /// Statuses: `403`, `400-499,503`.
    #[schemars(extend("pattern" = STATUSES))]
    pub status: Option<String>,
    /// Fields, and regular expressions for their values.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// A regular expression for the beginning of the body.
    pub body: Option<String>,
    /// The body's length is less.
    pub smaller: Option<Size>,
    /// The body's length is more.
    pub larger: Option<Size>,
    /// The head took longer.
    pub slower: Option<Span>,
    /// How a tunnel began.
    #[serde(default)]
    #[schemars(transform = ends)]
    pub tunnel: Vec<String>,
    /// Whether another proxy is asked.
    #[serde(default)]
    pub retry: bool,
    /// For how long the proxy is not used for the site.
    #[schemars(extend("pattern" = LASTING))]
    pub ban: Option<Span>,
    /// For how long it is not used at all.
    #[schemars(extend("pattern" = LASTING))]
    pub eject: Option<Span>,
    /// Whether the session of the request begins anew.
    #[serde(default)]
    pub rotate: bool,
    /// For how long the proxy is not used for the session of the request.
    #[schemars(extend("pattern" = LASTING))]
    pub mark: Option<Span>,
}

/// What the rules mean.
pub(super) fn meaning(written: &[BanSection]) -> Result<Vec<BanRule>, String> {
    written.iter().map(|rule| rule.meaning().map_err(|reason| format!("bans {:?}: {reason}", rule.name))).collect()
}

/// The share of the members that may be banned.
pub(super) fn share(written: Option<f32>) -> Result<f32, String> {
    match written {
        Some(share) if !(0.0..=1.0).contains(&share) => Err(format!("pool.max_banned {share} is not in 0 to 1")),
        written => Ok(written.unwrap_or(MAX_BANNED)),
    }
}

impl BanSection {
    fn meaning(&self) -> Result<BanRule, String> {
        let Self { name, sites, retry, rotate, .. } = self;
        let host = |site: &String| HostPattern::parse(site).map_err(|why| format!("sites: {why}"));
        let hosts = sites.iter().map(host).collect::<Result<_, _>>()?;
        let (retry, rotate) = (*retry, *rotate);
        let (ban, eject, mark) = (span("ban", self.ban)?, span("eject", self.eject)?, span("mark", self.mark)?);
        let trigger = self.trigger()?;
        let is_vain = !retry && !rotate && ban.is_none() && eject.is_none() && mark.is_none();
        // Last, since each is about the whole of a rule.
        if is_vain {
            return Err("nothing follows: set retry, ban, eject, rotate or mark".to_owned());
        }
        let no_condition = || "no condition: set status, headers, body, smaller, larger, slower or tunnel".to_owned();
        let trigger = trigger.ok_or_else(no_condition)?;
        Ok(BanRule { name: name.clone(), hosts, trigger, retry, ban, eject, rotate, mark })
    }

    /// When it holds; none when that is not said.
    fn trigger(&self) -> Result<Option<Trigger>, String> {
        let headers = self.headers.iter().map(|(name, value)| Ok((name.clone(), pattern("headers", value)?)));
        let test = AnswerTest {
            status: self
                .status
                .as_deref()
                .map(|text| text.parse().map_err(|error| format!("status {error}")))
                .transpose()?,
            headers: headers.collect::<Result<_, String>>()?,
            body: self.body.as_deref().map(|body| pattern("body", body)).transpose()?,
            smaller: self.smaller.map(|size| size.0),
            larger: self.larger.map(|size| size.0),
            slower: self.slower.map(|span| span.0),
        };
        if let (Some(below), Some(above)) = (self.smaller, self.larger)
            && below.0 <= above.0.saturating_add(1)
        {
            return Err(format!("smaller {below} and larger {above} never hold at once: make two rules"));
        }
        let ends = self.tunnel.iter().map(|word| end(word)).collect::<Result<Vec<_>, _>>()?;
        match (test == AnswerTest::default(), ends.as_slice()) {
            (true, []) => Ok(None),
            (false, []) => Ok(Some(Trigger::Answer(Box::new(test)))),
            (true, ends) => Ok(Some(Trigger::Tunnel(ends.to_vec()))),
            (false, _) => Err("tunnel stands alone: nobody sees an answer in a tunnel".to_owned()),
        }
    }
}

fn span(key: &str, written: Option<Span>) -> Result<Option<Duration>, String> {
    match written {
        Some(Span(Duration::ZERO)) => Err(format!("{key} must be longer than nothing")),
        Some(Span(span)) if span > LONGEST => Err(format!("{key} is longer than 30 days")),
        written => Ok(written.map(|span| span.0)),
    }
}

fn pattern(key: &str, text: &str) -> Result<Pattern, String> {
    Regex::new(text).map(Pattern).map_err(|error| format!("{key}: {}", no_pattern(text, &error)))
}

fn end(word: &str) -> Result<TunnelEnd, String> {
    words::chosen(word, &ENDS).map_err(|why| format!("tunnel {why}"))
}

/// The words of `tunnel`, in the schema.
fn ends(schema: &mut Schema) {
    words::each(schema, words::of(&ENDS));
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{ConfigError, ConfigFile, Settings};

    fn settings(text: &str) -> Result<Settings, ConfigError> {
        let path = Path::new("proxywhirl.toml");
        Settings::from_file(ConfigFile::parse(text, path)?, path)
    }

    #[test]
    fn a_rule_means_what_it_says() {
        let text = "[[bans]]\nname = \"captcha\"\nsites = [\"*.shop.example\"]\nstatus = \"403\"\n\
                    headers = { Server = \"guard\" }\nsmaller = \"2KiB\"\nslower = \"3s\"\nretry = true\nban = \"10m\"\nrotate = true\nmark = \"1h\"\n\
                    [[bans]]\nname = \"alert\"\ntunnel = [\"alert\"]\neject = \"1h\"\n[pool]\nmax_banned = 0.25\n";
        let settings = settings(text).unwrap();
        let test = AnswerTest {
            status: Some("403".parse().unwrap()),
            headers: vec![("Server".to_owned(), pattern("headers", "guard").unwrap())],
            smaller: Some(2048),
            slower: Some(Duration::from_secs(3)),
            ..AnswerTest::default()
        };
        let captcha = BanRule {
            name: "captcha".to_owned(),
            hosts: vec![HostPattern::Below("shop.example".to_owned())],
            trigger: Trigger::Answer(Box::new(test)),
            retry: true,
            ban: Some(Duration::from_secs(600)),
            eject: None,
            rotate: true,
            mark: Some(Duration::from_secs(3600)),
        };
        let alert = BanRule {
            name: "alert".to_owned(),
            hosts: Vec::new(),
            trigger: Trigger::Tunnel(vec![TunnelEnd::Alert]),
            retry: false,
            ban: None,
            eject: Some(Duration::from_secs(3600)),
            rotate: false,
            mark: None,
        };
        assert_eq!(settings.gateway.bans, [captcha, alert]);
        assert_eq!(settings.max_banned.to_bits(), 0.25_f32.to_bits());
    }

    #[test]
    fn what_a_rule_cannot_mean_is_told_with_its_name() {
        let error = |text: &str| settings(&format!("[[bans]]\nname = \"x\"\n{text}\n")).unwrap_err().reason;
        insta::assert_snapshot!(error("status = \"403\""), @r#"bans "x": nothing follows: set retry, ban, eject, rotate or mark"#);
        insta::assert_snapshot!(error("ban = \"1m\""), @r#"bans "x": no condition: set status, headers, body, smaller, larger, slower or tunnel"#);
        insta::assert_snapshot!(error("status = \"9\"\nban = \"1m\""), @r#"bans "x": status "9" is no list of statuses such as 200-299,304"#);
        insta::assert_snapshot!(error("status = \"403\"\nban = \"60d\""), @r#"bans "x": ban is longer than 30 days"#);
        insta::assert_snapshot!(error("status = \"403\"\nban = \"0s\""), @r#"bans "x": ban must be longer than nothing"#);
        insta::assert_snapshot!(error("smaller = \"1KiB\"\nlarger = \"2KiB\"\nretry = true"), @r#"bans "x": smaller 1 KiB and larger 2 KiB never hold at once: make two rules"#);
        insta::assert_snapshot!(error("tunnel = [\"open\"]\nban = \"1m\""), @r#"bans "x": tunnel "open" is none of alert, close"#);
        insta::assert_snapshot!(error("tunnel = [\"alert\"]\nstatus = \"403\"\nban = \"1m\""), @r#"bans "x": tunnel stands alone: nobody sees an answer in a tunnel"#);
        assert!(error("body = \"(\"\nban = \"1m\"").starts_with("bans \"x\": body: \"(\" is no regular expression: "));
        assert!(
            error("sites = [\"a b\"]\nstatus = \"403\"\nban = \"1m\"")
                .starts_with("bans \"x\": sites: \"a b\" is no host")
        );
        assert!(settings("[pool]\nmax_banned = 1.5\n").unwrap_err().reason.contains("max_banned 1.5 is not in 0 to 1"));
    }
}
