//! `[check]`: how proxies are proven, and how often.

use std::collections::BTreeMap;
use std::time::Duration;

use proxywhirl_core::{Anonymity, Level};
use proxywhirl_engine::KeeperConfig;
use proxywhirl_engine::check::CheckerConfig;
use proxywhirl_engine::check::judge::JudgeUrl;
use proxywhirl_engine::check::schedule::{MOST_FAILURES, ScheduleConfig};
use proxywhirl_engine::check::target::{Expected, TargetCheck};
use proxywhirl_engine::ingest::mask;
use regex::bytes::Regex;
use schemars::JsonSchema;
use serde::Deserialize;

use super::file::{LASTING, Span};
use super::settings::{at_least_one, in_order, lasting};

/// All that `check.anonymity` may be.
const ANONYMITY: [Anonymity; 4] = [Anonymity::Unknown, Anonymity::Transparent, Anonymity::Anonymous, Anonymity::Elite];

/// What every list of statuses is, though not all that is this is one.
pub(super) const STATUSES: &str = r"^[0-9\s,/+-]+$";

/// `[check]`, as it was written.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckSection {
    /// How far a check goes.
    #[schemars(extend("enum" = Level::ALL.map(Level::as_str)))]
    pub level: Option<String>,
    /// The judge's URL, or several.
    pub judge: Option<OneOrMore>,
    /// For one connection of a check.
    #[schemars(extend("pattern" = LASTING))]
    pub timeout: Option<Span>,
    /// Checks at once.
    #[schemars(range(min = 1))]
    pub concurrency: Option<usize>,
    /// Checks of one host at once.
    #[schemars(range(min = 1))]
    pub per_host: Option<usize>,
    /// The least anonymity.
    #[schemars(extend("enum" = ANONYMITY.map(Anonymity::as_str)))]
    pub anonymity: Option<String>,
    /// Whether a guessed protocol is found out.
    pub detect: Option<bool>,
    /// The user's own URL.
    pub target: Option<TargetSection>,
    /// Whether members and those who failed are checked again.
    pub recheck: Option<bool>,
    /// How long the first good verdict is believed.
    #[schemars(extend("pattern" = LASTING))]
    pub fresh: Option<Span>,
    /// How long a verdict is believed at the most.
    #[schemars(extend("pattern" = LASTING))]
    pub fresh_max: Option<Span>,
    /// The pause after the first failure.
    #[schemars(extend("pattern" = LASTING))]
    pub retry: Option<Span>,
    /// The longest pause between two failures.
    #[schemars(extend("pattern" = LASTING))]
    pub retry_max: Option<Span>,
    /// Failures in a row after which a proxy is given up.
    #[schemars(range(min = 1, max = MOST_FAILURES))]
    pub give_up: Option<u32>,
    /// Whether members that were given up leave the pool.
    pub remove_dead: Option<bool>,
    /// Checks of members at once.
    #[schemars(range(min = 1))]
    pub background: Option<usize>,
}

/// A text, or a list of them.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum OneOrMore {
    /// A text.
    One(String),
    /// A list.
    More(Vec<String>),
}

/// `[check.target]`, as it was written.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TargetSection {
    /// The URL.
    pub url: String,
    /// Statuses, such as `200-299,304`.
    #[schemars(extend("pattern" = STATUSES))]
    pub status: Option<String>,
    /// What the body must match.
    pub body: Option<String>,
    /// Fields, and what they must match.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

/// How proxies are proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckSettings {
    /// How far a check goes.
    pub level: Level,
    /// URLs of judges; none when there is no judge that they could be proven with.
    pub judges: Vec<String>,
    /// For one connection of a check.
    pub timeout: Duration,
    /// Checks at once.
    pub concurrency: usize,
    /// Checks of one host at once.
    pub per_host: usize,
    /// The least anonymity that passes level `anonymity`.
    pub anonymity: Anonymity,
    /// Whether a protocol that its source only guessed is found out.
    pub detect: bool,
    /// The user's own URL, for level `target`.
    pub target: Option<TargetSettings>,
    /// How checks are repeated.
    pub again: AgainSettings,
}

/// How checks are repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgainSettings {
    /// Whether members and those who failed are checked again.
    pub is_on: bool,
    /// How often.
    pub schedule: ScheduleConfig,
    /// Failures in a row after which a proxy is given up.
    pub give_up: u32,
    /// Whether members that were given up leave the pool.
    pub remove_dead: bool,
    /// Checks of members at once.
    pub concurrency: usize,
}

/// The user's own URL, and what it must answer. Checked already: it can be made into a [`TargetCheck`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TargetSettings {
    /// The URL.
    pub url: String,
    /// Statuses, such as `200-299,304`; none for 200 to 299.
    pub status: Option<String>,
    /// A regular expression for the body.
    pub body: Option<String>,
    /// Names of fields, and regular expressions for their values.
    pub headers: Vec<(String, String)>,
}

impl Default for CheckSettings {
    fn default() -> Self {
        Self {
            level: Level::Http,
            judges: Vec::new(),
            timeout: CheckerConfig::TIMEOUT,
            concurrency: CheckerConfig::CONCURRENCY,
            per_host: CheckerConfig::PER_HOST,
            anonymity: Anonymity::Unknown,
            detect: true,
            target: None,
            again: AgainSettings::default(),
        }
    }
}

impl Default for AgainSettings {
    fn default() -> Self {
        let KeeperConfig { schedule, concurrency, give_up, remove_dead, .. } = KeeperConfig::new(Level::Http);
        Self { is_on: true, schedule, give_up, remove_dead, concurrency }
    }
}

impl CheckSettings {
    /// Whether there is what the level needs.
    ///
    /// # Errors
    /// What is missing, in words for people.
    pub fn is_complete(&self) -> Result<(), &'static str> {
        if self.level == Level::Target && self.target.is_none() {
            return Err("no target");
        }
        if self.level >= Level::Http && self.judges.is_empty() {
            return Err("no judge");
        }
        Ok(())
    }
}

impl CheckSection {
    /// What it means.
    ///
    /// # Errors
    /// When a value is out of its range, with its key.
    pub fn meaning(&self) -> Result<CheckSettings, String> {
        let default = CheckSettings::default();
        let target = self.target.as_ref().map(TargetSection::meaning).transpose();
        Ok(CheckSettings {
            level: self
                .level
                .as_deref()
                .map_or(Ok(default.level), level)
                .map_err(|error| format!("check.level {error}"))?,
            judges: self.judges()?,
            timeout: lasting("check.timeout", self.timeout, default.timeout)?,
            concurrency: at_least_one("check.concurrency", self.concurrency, default.concurrency)?,
            per_host: at_least_one("check.per_host", self.per_host, default.per_host)?,
            anonymity: match self.anonymity.as_deref() {
                None => default.anonymity,
                Some(word) => anonymity(word).map_err(|error| format!("check.anonymity {error}"))?,
            },
            detect: self.detect.unwrap_or(default.detect),
            target: target.map_err(|error| format!("check.target: {error}"))?,
            again: self.again()?,
        })
    }
}

impl CheckSection {
    fn judges(&self) -> Result<Vec<String>, String> {
        let judges = match &self.judge {
            None => Vec::new(),
            Some(OneOrMore::One(url)) => vec![url.clone()],
            Some(OneOrMore::More(urls)) => urls.clone(),
        };
        for url in &judges {
            url.parse::<JudgeUrl>().map_err(|error| format!("check.judge: {:?}: {error}", mask(url)))?;
        }
        Ok(judges)
    }

    fn again(&self) -> Result<AgainSettings, String> {
        let default = AgainSettings::default();
        let schedule = ScheduleConfig {
            fresh: lasting("check.fresh", self.fresh, default.schedule.fresh)?,
            fresh_max: lasting("check.fresh_max", self.fresh_max, default.schedule.fresh_max)?,
            retry: lasting("check.retry", self.retry, default.schedule.retry)?,
            retry_max: lasting("check.retry_max", self.retry_max, default.schedule.retry_max)?,
        };
        in_order(("check.fresh", schedule.fresh), ("check.fresh_max", schedule.fresh_max))?;
        in_order(("check.retry", schedule.retry), ("check.retry_max", schedule.retry_max))?;
        Ok(AgainSettings {
            is_on: self.recheck.unwrap_or(default.is_on),
            schedule,
            give_up: match at_least_one("check.give_up", self.give_up, default.give_up)? {
                // Longer streaks are not told apart.
                count if count > MOST_FAILURES => return Err(format!("check.give_up must be at most {MOST_FAILURES}")),
                count => count,
            },
            remove_dead: self.remove_dead.unwrap_or(default.remove_dead),
            concurrency: at_least_one("check.background", self.background, default.concurrency)?,
        })
    }
}

impl TargetSection {
    fn meaning(&self) -> Result<TargetSettings, String> {
        let headers = self.headers.iter().map(|(name, pattern)| (name.clone(), pattern.clone())).collect();
        let settings =
            TargetSettings { url: self.url.clone(), status: self.status.clone(), body: self.body.clone(), headers };
        settings.to_check()?;
        Ok(settings)
    }
}

impl TargetSettings {
    /// What is asked for.
    ///
    /// # Errors
    /// What of it cannot be meant.
    pub fn to_check(&self) -> Result<TargetCheck, String> {
        let pattern =
            |key: &str, text: &str| Regex::new(text).map_err(|error| format!("{key}: {}", no_pattern(text, &error)));
        let mut expected = Expected::default();
        if let Some(status) = &self.status {
            expected.status = status.parse().map_err(|error| format!("status {error}"))?;
        }
        expected.body = self.body.as_deref().map(|body| pattern("body", body)).transpose()?;
        for (name, value) in &self.headers {
            expected.headers.push((name.clone(), pattern("headers", value)?));
        }
        TargetCheck::new(&self.url, expected).map_err(|error| format!("url: {error}"))
    }
}

/// What is wrong with a regular expression, in a line: without the picture of the place in it.
pub(super) fn no_pattern(text: &str, error: &regex::Error) -> String {
    let error = error.to_string();
    let fact = error.lines().last().unwrap_or_default();
    format!("{text:?} is no regular expression: {}", fact.strip_prefix("error: ").unwrap_or(fact))
}

/// Reads a level.
///
/// # Errors
/// When it is none, with those that there are.
pub fn level(word: &str) -> Result<Level, String> {
    let known = || Level::ALL.map(Level::as_str).join(", ");
    Level::from_word(word).ok_or_else(|| format!("{word:?} is none of {}", known()))
}

/// Reads the least anonymity.
///
/// # Errors
/// When it is none, with those that there are.
pub fn anonymity(word: &str) -> Result<Anonymity, String> {
    let known = || ANONYMITY.map(Anonymity::as_str).join(", ");
    let found = ANONYMITY.into_iter().find(|anonymity| anonymity.as_str() == word);
    found.ok_or_else(|| format!("{word:?} is none of {}", known()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn meaning(text: &str) -> Result<CheckSettings, String> {
        toml::from_str::<CheckSection>(text).map_err(|error| error.message().to_owned())?.meaning()
    }

    #[test]
    fn what_is_not_said_is_the_default() {
        assert_eq!(meaning("").unwrap(), CheckSettings::default());
    }

    #[test]
    fn a_judge_may_be_one_or_several() {
        assert_eq!(meaning("judge = \"http://a/\"").unwrap().judges, ["http://a/"]);
        assert_eq!(meaning("judge = [\"http://a/\", \"http://b/\"]").unwrap().judges.len(), 2);
    }

    #[test]
    fn a_target_has_what_it_must_answer() {
        let text = "level = \"target\"\nanonymity = \"elite\"\n[target]\nurl = \"https://shop.example/\"\n\
                    status = \"200,404\"\nbody = \"(?i)price\"\nheaders = { Server = \"^nginx\" }\n";
        let settings = meaning(text).unwrap();
        assert_eq!((settings.level, settings.anonymity), (Level::Target, Anonymity::Elite));
        assert_eq!(settings.target.unwrap().headers, [("Server".to_owned(), "^nginx".to_owned())]);
    }

    #[test]
    fn what_cannot_be_meant_is_told_with_its_key() {
        for (text, told) in [
            (
                "level = \"deep\"",
                "check.level \"deep\" is none of format, dns, tcp, protocol, http, tls, anonymity, target",
            ),
            ("anonymity = \"high\"", "check.anonymity \"high\" is none of"),
            ("fresh = \"0s\"", "check.fresh must be longer than nothing"),
            ("fresh = \"2h\"\nfresh_max = \"1h\"", "check.fresh 2h is longer than check.fresh_max, 1h"),
            ("retry = \"3d\"", "check.retry 3days is longer than check.retry_max, "),
            ("timeout = \"0s\"", "check.timeout must be longer than nothing"),
            ("give_up = 0", "check.give_up must be at least 1"),
            ("give_up = 3000", "check.give_up must be at most 2047"),
            ("per_host = 0", "check.per_host must be at least 1"),
            ("[target]\nurl = \"shop.example\"", "check.target: url: \"shop.example\" is no URL"),
            ("[target]\nurl = \"http://a/\"\nbody = \"(\"", "check.target: body: \"(\" is no regular expression"),
            ("[target]\nurl = \"http://a/\"\nstatus = \"ok\"", "check.target: status \"ok\" is no list"),
            ("judge = \"notaurl\"", "check.judge: \"notaurl\": "),
            ("judge = [\"http://a/\", \"https://b/\"]", "check.judge: \"https://b/\": "),
            ("judges = []", "unknown field `judges`"),
        ] {
            let error = meaning(text).unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
