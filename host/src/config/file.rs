//! The configuration file, as it was written. The reference for users is `host/docs/configuration.md`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proxywhirl_core::pool::Pool;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use super::bans::BanSection;
use super::catalogue::CatalogueSection;
use super::check::CheckSection;
use super::control::ControlSection;
use super::credentials::CredentialsSection;
use super::escalation::EscalationSection;
use super::events::EventsSection;
use super::fetch::{BrowserSection, FetchSection};
use super::layers::Layers;
use super::limits::LimitsSection;
use super::listeners::ListenerSection;
use super::plugins::PluginsSection;
use super::retry::{HedgeSection, RetrySection, STATUSES};
use super::said::Origin;
use super::settings::{LEAST_HEAD, LISTEN, MOST_FIRST_FLIGHT, MOST_REMEMBERED, MOST_SAMPLES};
use super::sites::SitesSection;
use super::size::Size;
use super::sources::SourceSection;
use super::users::{AccessSection, UserSection};

/// The whole file.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigFile {
    /// Where the gateway listens.
    #[schemars(extend("pattern" = LISTEN))]
    pub listen: Option<String>,
    /// Whether a crash may leave an image of the memory.
    pub core_dumps: Option<bool>,
    /// The gateway.
    #[serde(default)]
    pub gateway: GatewaySection,
    /// Where clients come in.
    #[serde(default)]
    pub listeners: Vec<ListenerSection>,
    /// Who may use the gateway.
    #[serde(default)]
    pub users: Vec<UserSection>,
    /// From where, and to reach what.
    #[serde(default)]
    pub access: AccessSection,
    /// TLS to proxies, and from them to nobody else.
    #[serde(default)]
    pub upstream: UpstreamSection,
    /// How much is asked of proxies and sites.
    #[serde(default)]
    pub limits: LimitsSection,
    /// The pool.
    #[serde(default)]
    pub pool: PoolSection,
    /// When a proxy is kept away from requests.
    #[serde(default)]
    pub health: HealthSection,
    /// How proxies do at sites.
    #[serde(default)]
    pub sites: SitesSection,
    /// Where the pool is kept.
    #[serde(default)]
    pub store: StoreSection,
    /// Where plugins are found, and what they may use.
    #[serde(default)]
    pub plugins: PluginsSection,
    /// How members are chosen.
    #[serde(default)]
    pub strategy: StrategySection,
    /// How proxies are proven.
    #[serde(default)]
    pub check: CheckSection,
    /// Where addresses are.
    #[serde(default)]
    pub geo: GeoSection,
    /// Where events are written.
    #[serde(default)]
    pub events: EventsSection,
    /// Where commands reach the running gateway.
    #[serde(default)]
    pub control: ControlSection,
    /// How sources are fetched.
    #[serde(default)]
    pub fetch: FetchSection,
    /// How pages are rendered.
    #[serde(default)]
    pub browser: BrowserSection,
    /// Which of the lists that are known are used.
    #[serde(default)]
    pub catalogue: CatalogueSection,
    /// What is remembered of requests.
    #[serde(default)]
    pub history: HistorySection,
    /// When a site has refused a proxy.
    #[serde(default)]
    pub bans: Vec<BanSection>,
    /// Who hears events.
    #[serde(default)]
    pub hooks: Vec<HookSection>,
    /// Where proxies come from.
    #[serde(default)]
    pub sources: Vec<SourceSection>,
    /// User names and passwords in place of those that proxies came with.
    #[serde(default)]
    pub credentials: Vec<CredentialsSection>,
}

/// `[gateway]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GatewaySection {
    /// Whether answers say through whom they came.
    pub explain: Option<bool>,
    /// How many proxies a request tries at the most.
    #[schemars(range(min = 1))]
    pub attempts: Option<u32>,
    /// For dial, TLS and handshake together.
    #[schemars(extend("pattern" = LASTING))]
    pub connect_timeout: Option<Span>,
    /// Until the first byte of the answer.
    #[schemars(extend("pattern" = LASTING))]
    pub response_timeout: Option<Span>,
    /// Until the head of the answer, over all attempts.
    #[schemars(extend("pattern" = LASTING))]
    pub request_deadline: Option<Span>,
    /// How much of what a client begins a tunnel with is kept for another proxy.
    #[schemars(extend("maximum" = MOST_FIRST_FLIGHT.0))]
    pub first_flight: Option<Size>,
    /// How long a tunnel may be silent once its client has begun with TLS, until another proxy is tried as well.
    #[schemars(extend("pattern" = LASTING))]
    pub first_byte_timeout: Option<Span>,
    /// Answers to idempotent requests that a proxy may have made up; by default 502, 503, 504 and 511.
    #[schemars(inner(range(min = *STATUSES.start(), max = *STATUSES.end())))]
    pub retry_status: Option<Vec<u16>>,
    /// How many attempts there may be beyond the first ones.
    #[serde(default)]
    pub retry: RetrySection,
    /// When another proxy is asked because the first one is slow.
    #[serde(default)]
    pub hedge: HedgeSection,
    /// Through which tiers requests go.
    #[serde(default)]
    pub escalation: EscalationSection,
    /// For a client to send its request's head.
    #[schemars(extend("pattern" = LASTING))]
    pub head_timeout: Option<Span>,
    /// For a client to go on with its request's body.
    #[schemars(extend("pattern" = LASTING))]
    pub body_timeout: Option<Span>,
    /// How long a connection may be silent.
    pub idle_timeout: Option<Span>,
    /// How long a tunnel, or the body of an answer, may be silent.
    #[schemars(extend("pattern" = LASTING))]
    pub tunnel_idle_timeout: Option<Span>,
    /// How long open connections may go on when the gateway stops.
    pub drain: Option<Span>,
    /// Clients that are connected at once.
    #[schemars(range(min = 1))]
    pub max_connections: Option<usize>,
    /// Bytes in a request's or answer's head.
    #[schemars(range(min = LEAST_HEAD))]
    pub max_head: Option<usize>,
}

/// `[upstream]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpstreamSection {
    /// Whether the certificate of an `https://` proxy must hold.
    pub verify: Option<bool>,
    /// Certificates that are trusted beside the system's, in PEM.
    #[schemars(extend("format" = "path"))]
    pub ca_file: Option<PathBuf>,
    /// How long a connection to an HTTP proxy waits for its next request.
    pub idle_timeout: Option<Span>,
    /// Connections that wait, for each proxy.
    pub idle_per_proxy: Option<usize>,
    /// Connections that wait, in all.
    pub idle_total: Option<usize>,
}

/// `[pool]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PoolSection {
    /// How many members there may be.
    #[schemars(range(min = 1, max = Pool::MAX_CAPACITY))]
    pub capacity: Option<usize>,
    /// Whether sources that are not trusted may name addresses of private networks.
    pub allow_private: Option<bool>,
    /// The largest share of the members that may be banned at one site.
    #[schemars(range(min = 0, max = 1))]
    pub max_banned: Option<f32>,
}

/// `[health]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HealthSection {
    /// Faults in a row that open a breaker.
    #[schemars(range(min = 1))]
    pub failures: Option<u32>,
    /// The share of the last outcomes that must have gone well.
    #[schemars(range(min = 0, max = 1))]
    pub min_success: Option<f32>,
    /// Outcomes from which that share is told.
    #[schemars(range(min = 1, max = MOST_SAMPLES))]
    pub samples: Option<u32>,
    /// How long it stays open the first time.
    #[schemars(extend("pattern" = LASTING))]
    pub cooldown: Option<Span>,
    /// How long it stays open at the most.
    pub cooldown_max: Option<Span>,
    /// Successes in a row that close it.
    #[schemars(range(min = 1))]
    pub successes: Option<u32>,
}

/// `[store]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StoreSection {
    /// Which store, and where: `sqlite:pool.db`, which a path alone means as well, `file:pool.json`, `redis://host`,
    /// `memory:`.
    pub url: Option<String>,
    /// How often statistics are saved.
    pub save_interval: Option<Span>,
    /// The file with the keys that passwords are sealed with.
    #[schemars(extend("format" = "path"))]
    pub key_file: Option<PathBuf>,
    /// The environment variable that holds them.
    pub key_env: Option<String>,
}

/// `[strategy]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StrategySection {
    /// The plugin's name.
    pub name: Option<String>,
    /// Its options.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub options: BTreeMap<String, toml::Value>,
}

/// `[history]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HistorySection {
    /// How many requests are remembered.
    #[schemars(range(max = MOST_REMEMBERED))]
    pub requests: Option<usize>,
}

/// `[geo]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GeoSection {
    /// Databases in MaxMind's format.
    #[serde(default)]
    #[schemars(extend("format" = "path"))]
    pub databases: Vec<PathBuf>,
}

/// `[[hooks]]`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HookSection {
    /// The plugin's name.
    pub name: String,
    /// Its options.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub options: BTreeMap<String, toml::Value>,
}

/// Ten years.
const LONGEST: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);

/// What a duration that is longer than nothing has in it.
pub(super) const LASTING: &str = "[1-9]";

/// What every duration is, though not all that is this is one: numbers, each with its unit.
pub(super) const DURATION: &str = concat!(
    r"^\s*(0|([0-9][0-9\s]*(\.[0-9\s]*)?",
    "(nanos|nsec|ns|usec|us|µs|millis|msec|ms|seconds|second|secs|sec|s|minutes|minute|mins|min|m|",
    "hours|hour|hrs|hr|h|days|day|d|weeks|week|wks|wk|w|months|month|M|years|year|yrs|yr|y)",
    r"\s*)+)$",
);

/// A duration as people write it: `5s`, `1m 30s`, `250ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": DURATION, "description": "a duration such as \"5s\" or \"1m 30s\"", "examples": ["250ms", "1m 30s"] })
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let span = humantime::parse_duration(&text);
        let span = span.map_err(|_| {
            serde::de::Error::custom(format!("{text:?} is not a duration such as \"5s\" or \"1m 30s\""))
        })?;
        // A time so far from now could not be said.
        if span > LONGEST {
            return Err(serde::de::Error::custom(format!("{text:?} is longer than ten years, the longest duration")));
        }
        Ok(Self(span))
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file with line and column, or the variable; empty when it is in none.
    pub place: String,
    /// What is wrong.
    pub reason: String,
    /// What was probably meant, or what is allowed.
    pub hint: Option<String>,
}

impl ConfigError {
    /// Something wrong with a file as a whole.
    #[must_use]
    pub fn in_file(file: &Path, reason: String) -> Self {
        Self { place: file.display().to_string(), reason, hint: None }
    }

    /// Something wrong at a place.
    #[must_use]
    pub fn at(origin: &Origin, reason: String) -> Self {
        let place = match origin {
            Origin::File(..) => origin.exact(),
            Origin::Variable(..) => format!("in {origin}"),
        };
        Self { place, reason, hint: None }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let space = if self.place.is_empty() { "" } else { " " };
        write!(f, "configuration{space}{}: {}", self.place, self.reason)
    }
}

impl std::error::Error for ConfigError {}

impl ConfigFile {
    /// Reads a text in TOML, YAML or JSON, as the end of the file's name says; `path` is for that, and for messages.
    ///
    /// # Errors
    /// When it is none, or has a key or a value that it may not have.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        Layers::of_text(text, path)?.written()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        let error = ConfigFile::parse(text, Path::new("proxywhirl.toml")).unwrap_err();
        error.hint.as_ref().map_or_else(|| error.to_string(), |hint| format!("{error}\nhint: {hint}"))
    }

    #[test]
    fn an_unknown_key_is_told_with_its_line_and_the_nearest_known() {
        insta::assert_snapshot!(error("listen = \"127.0.0.1:1\"\n[gateway]\nattemps = 3\n"), @"
        configuration proxywhirl.toml:3:1: unknown key gateway.attemps
        hint: did you mean attempts?
        ");
        insta::assert_snapshot!(error("[pool]\nbanana = 3\n"), @"
        configuration proxywhirl.toml:2:1: unknown key pool.banana
        hint: the keys of pool are allow_private, capacity, max_banned
        ");
    }

    #[test]
    fn a_value_of_the_wrong_type_is_told_with_its_line() {
        insta::assert_snapshot!(error("[gateway]\nconnect_timeout = \"soon\"\n"), @r#"
        configuration proxywhirl.toml:2:19: gateway.connect_timeout: "soon" is not a duration such as "5s" or "1m 30s"
        hint: for example connect_timeout = "5s"  # dial, TLS and handshake with a proxy; then the next is tried
        "#);
        insta::assert_snapshot!(error("[gateway]\nattempts = \"three\"\n"), @r#"
        configuration proxywhirl.toml:2:12: gateway.attempts: "three" is not a whole number from 1 to 4294967295
        hint: for example attempts = 5  # proxies that a request tries at the most
        "#);
        insta::assert_snapshot!(error("[gateway\n"), @"configuration proxywhirl.toml:1:9: unclosed table, expected `]`");
    }
}
