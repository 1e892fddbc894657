//! The text of a scenario: what may be written, and what it means.

use std::collections::BTreeMap;
use std::time::Duration;

use proxywhirl_core::{Anonymity, Country, Scheme, Tag};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::selector::Selector;

/// The most members that a scenario may have.
pub(super) const MAX_MEMBERS: usize = 1_000_000;

/// A scenario file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// One sentence for the report.
    #[serde(default)]
    pub(crate) about: String,
    #[serde(default = "one")]
    pub(crate) seed: u64,
    #[serde(default = "no_options")]
    pub(crate) options: Value,
    /// The options must be refused, with this in the message.
    pub(crate) error: Option<String>,
    #[serde(default)]
    pub(crate) accepts: Vec<Value>,
    #[serde(default)]
    pub(crate) refuses: Vec<Refused>,
    #[serde(default)]
    pub(crate) members: Vec<Row>,
    #[serde(default)]
    pub(crate) steps: Vec<WrittenStep>,
}

/// Options that must be refused.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refused {
    pub(crate) options: Value,
    pub(crate) error: String,
}

/// One or several members.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Row {
    pub(super) name: String,
    pub(super) count: Option<usize>,
    #[serde(default, deserialize_with = "tags")]
    pub(super) tags: Vec<Tag>,
    #[serde(default, deserialize_with = "country")]
    pub(super) country: Option<Country>,
    #[serde(default, deserialize_with = "scheme")]
    pub(super) scheme: Option<Scheme>,
    #[serde(default)]
    pub(super) anonymity: Claim,
    pub(super) latency: Option<Span>,
    #[serde(default)]
    pub(super) successes: u64,
    #[serde(default)]
    pub(super) failures: u64,
    #[serde(default = "always")]
    pub(super) succeeds: f64,
    pub(super) responds: Option<Span>,
    #[serde(default)]
    pub(super) succeeds_at: BTreeMap<String, f64>,
}

/// What the origin can tell about the client.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Claim {
    #[default]
    Unknown,
    Transparent,
    Anonymous,
    Elite,
}

impl From<Claim> for Anonymity {
    fn from(claim: Claim) -> Self {
        match claim {
            Claim::Unknown => Self::Unknown,
            Claim::Transparent => Self::Transparent,
            Claim::Anonymous => Self::Anonymous,
            Claim::Elite => Self::Elite,
        }
    }
}

/// A duration as people write it: `250ms`, `1m 30s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        let text = String::deserialize(source)?;
        humantime::parse_duration(&text)
            .map(Self)
            .map_err(|error| serde::de::Error::custom(format!("{text:?}: {error}")))
    }
}

/// A step as it is written: exactly one of the verbs, and what belongs to it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenStep {
    pick: Option<u64>,
    join: Option<Vec<Row>>,
    leave: Option<Vec<Selector>>,
    down: Option<Vec<Selector>>,
    up: Option<Vec<Selector>>,
    observe: Option<Vec<Observed>>,
    wait: Option<Span>,
    swap: Option<bool>,
    plan: Option<PlanExpectation>,
    every: Option<Span>,
    session: Option<String>,
    sessions: Option<u64>,
    site: Option<String>,
    #[serde(default)]
    sites: Vec<String>,
    #[serde(default, deserialize_with = "countries")]
    country: Vec<Country>,
    #[serde(default, deserialize_with = "tags")]
    tags: Vec<Tag>,
    attempts: Option<u32>,
    #[serde(default)]
    hold: bool,
    #[serde(default)]
    settle: bool,
    expect: Option<Expectation>,
    options: Option<Value>,
}

/// What happens next.
#[derive(Debug)]
pub(crate) enum Step {
    Pick(Box<Requests>),
    Join(Vec<Row>),
    Leave(Vec<Selector>),
    Down(Vec<Selector>),
    Up(Vec<Selector>),
    Observe(Vec<Observed>),
    Wait(Duration),
    Swap(Option<Value>),
    Plan(Box<PlanExpectation>),
}

/// Requests, and what is expected of their picks.
#[derive(Debug)]
pub(crate) struct Requests {
    pub(super) count: u64,
    pub(super) every: Duration,
    pub(super) sessions: Sessions,
    pub(super) sites: Vec<String>,
    pub(super) countries: Vec<Country>,
    pub(super) tags: Vec<Tag>,
    pub(super) attempts: u32,
    pub(super) hold: bool,
    pub(super) settle: bool,
    pub(super) expect: Expectation,
}

/// Which sessions requests belong to.
#[derive(Debug)]
pub(super) enum Sessions {
    None,
    One(String),
    /// `session-1` to `session-N`, in turn.
    Round(u64),
}

/// Uses that are told to the strategy, for each of the members.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Observed {
    pub(super) of: OneOrMore,
    #[serde(default)]
    pub(super) successes: u32,
    #[serde(default)]
    pub(super) failures: u32,
    pub(super) latency: Option<Span>,
    pub(super) site: Option<String>,
}

/// A selector, or a list of them.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrMore {
    One(Selector),
    More(Vec<Selector>),
}

impl OneOrMore {
    pub(super) fn as_slice(&self) -> &[Selector] {
        match self {
            Self::One(selector) => std::slice::from_ref(selector),
            Self::More(selectors) => selectors,
        }
    }
}

/// What must hold of the picks of a step.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Expectation {
    pub(super) shares: BTreeMap<Selector, f64>,
    pub(super) within: Option<f64>,
    pub(super) even: Vec<Selector>,
    pub(super) exact: bool,
    pub(super) order: Vec<String>,
    pub(super) only: Vec<Selector>,
    pub(super) never: Vec<Selector>,
    pub(super) each: Vec<Selector>,
    pub(super) at_least: BTreeMap<Selector, f64>,
    pub(super) at_most: BTreeMap<Selector, f64>,
    pub(super) none: u64,
    pub(super) sticky: bool,
    pub(super) moved: Option<u64>,
    pub(super) moved_at_most: Option<u64>,
    pub(super) moved_from: Option<Vec<Selector>>,
}

/// What must hold of the plan.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlanExpectation {
    pub(super) modes: Option<Vec<String>>,
    pub(super) tiers: Option<Vec<Vec<Selector>>>,
    #[serde(default)]
    pub(super) weights: BTreeMap<Selector, f64>,
    pub(super) asks: Option<bool>,
    pub(super) site: Option<String>,
    pub(super) sessions: Option<bool>,
    pub(super) idle: Option<Span>,
    pub(super) lifetime: Option<Span>,
    pub(super) strict: Option<bool>,
    pub(super) capacity: Option<u32>,
    pub(super) per_site: Option<bool>,
    pub(super) refresh: Option<Span>,
}

impl WrittenStep {
    /// What it means.
    ///
    /// # Errors
    /// When it is not exactly one thing.
    pub(crate) fn read(mut self) -> Result<Step, String> {
        let Some(count) = self.pick else { return self.other() };
        if self.take_other()?.is_some() {
            return Err(NOT_ONE.to_owned());
        }
        let sessions = match (self.session, self.sessions) {
            (None, None) => Sessions::None,
            (Some(name), None) => Sessions::One(name),
            (None, Some(count)) if count > 0 => Sessions::Round(count),
            (None, Some(_)) => return Err("`sessions` is 0".to_owned()),
            (Some(_), Some(_)) => return Err("has both `session` and `sessions`".to_owned()),
        };
        let mut sites = self.sites;
        sites.extend(self.site);
        Ok(Step::Pick(Box::new(Requests {
            count,
            every: self.every.map_or(Duration::from_millis(1), |span| span.0),
            sessions,
            sites,
            countries: self.country,
            tags: self.tags,
            attempts: self.attempts.unwrap_or(1).max(1),
            hold: self.hold,
            settle: self.settle,
            expect: self.expect.unwrap_or_default(),
        })))
    }

    /// A step that is not about requests.
    fn other(mut self) -> Result<Step, String> {
        let belongs_to_pick = self.every.is_some()
            || self.session.is_some()
            || self.sessions.is_some()
            || self.site.is_some()
            || !self.sites.is_empty()
            || !self.country.is_empty()
            || !self.tags.is_empty()
            || self.attempts.is_some()
            || self.hold
            || self.settle
            || self.expect.is_some();
        if belongs_to_pick {
            return Err("says something about requests, but has no `pick`".to_owned());
        }
        self.take_other()?.ok_or_else(|| NOT_ONE.to_owned())
    }

    /// The one thing beside `pick` that it says, if there is one.
    fn take_other(&mut self) -> Result<Option<Step>, String> {
        let swaps = self.swap == Some(true);
        if self.options.is_some() && !swaps {
            return Err("has `options`, but no `swap = true`".to_owned());
        }
        let options = self.options.take();
        let mut said = [
            self.join.take().map(Step::Join),
            self.leave.take().map(Step::Leave),
            self.down.take().map(Step::Down),
            self.up.take().map(Step::Up),
            self.observe.take().map(Step::Observe),
            self.wait.map(|span| Step::Wait(span.0)),
            swaps.then_some(Step::Swap(options)),
            self.plan.take().map(|plan| Step::Plan(Box::new(plan))),
        ]
        .into_iter()
        .flatten();
        let one = said.next();
        if said.next().is_some() { Err(NOT_ONE.to_owned()) } else { Ok(one) }
    }
}

const NOT_ONE: &str = "is not exactly one of pick, join, leave, down, up, observe, wait, swap and plan";

const fn one() -> u64 {
    1
}

const fn always() -> f64 {
    1.0
}

fn no_options() -> Value {
    json!({})
}

fn parsed<'de, T: std::str::FromStr<Err: std::fmt::Display>, D: Deserializer<'de>>(text: &str) -> Result<T, D::Error> {
    text.parse().map_err(|error| serde::de::Error::custom(format!("{text:?}: {error}")))
}

fn tags<'de, D: Deserializer<'de>>(source: D) -> Result<Vec<Tag>, D::Error> {
    let texts = Vec::<String>::deserialize(source)?;
    texts.iter().map(|text| parsed::<Tag, D>(text)).collect()
}

fn countries<'de, D: Deserializer<'de>>(source: D) -> Result<Vec<Country>, D::Error> {
    let texts = Vec::<String>::deserialize(source)?;
    texts.iter().map(|text| parsed::<Country, D>(text)).collect()
}

fn country<'de, D: Deserializer<'de>>(source: D) -> Result<Option<Country>, D::Error> {
    parsed::<Country, D>(&String::deserialize(source)?).map(Some)
}

fn scheme<'de, D: Deserializer<'de>>(source: D) -> Result<Option<Scheme>, D::Error> {
    parsed::<Scheme, D>(&String::deserialize(source)?).map(Some)
}
