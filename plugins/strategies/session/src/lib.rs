//! Session: who names a session keeps the member that it got first.
//!
//! **When to use.** An origin ties a login, a basket or a rate limit to the client's address, so that
//! requests that belong together must come through the same proxy.
//!
//! **Options.**
//!
//! * `inner` (default `equal`): what decides which member a new session gets. `success`, `speed` and
//!   `performance` weigh by what is known of members; sessions that exist do not move when that changes.
//! * `ttl` (default `1h`): a session that was not used for so long is forgotten: the time slides with
//!   each request. `0s` for never.
//! * `idle` (default none): when it is set, `ttl` counts from the session's first request and does not
//!   slide, and a session that was not used for `idle` ends early.
//! * `strict` (default `false`): whether a request fails when its session's member cannot be used,
//!   rather than move the session to another one.
//! * `max_sessions` (default 1,000,000): how many are remembered.
//!
//! Requests without a session are drawn by the same weights.
//!
//! A session's first member is found by weighted rendezvous hashing over identities, never by a place
//! in a list: when somebody leaves, only their sessions move, and when somebody joins, none does.
//!
//! Reference: D. G. Thaler and C. V. Ravishankar, "Using name-based mappings to increase hit rates",
//! 1998, <https://doi.org/10.1109/90.663936>.

use proxywhirl_plugin_ranking::pace::Pace;
use proxywhirl_plugin_sdk::strategy::rank::{self, Ranking};
use proxywhirl_plugin_sdk::strategy::{Mode, Moment, Observation, Plan, Stickiness, Strategy, Table, View};
use proxywhirl_plugin_sdk::{Description, clock, duration};
use serde::Deserialize;
use std::time::Duration;

/// The JSON Schema of [`Options`].
const SCHEMA: &str = include_str!("../options.json");

/// What users may set.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// What decides which member a new session gets.
    inner: Ranking,
    /// How long a session lasts.
    #[serde(deserialize_with = "duration::read")]
    ttl: Duration,
    /// How long it may be unused, when `ttl` does not slide.
    #[serde(deserialize_with = "duration::read_optional")]
    idle: Option<Duration>,
    /// Whether a request fails rather than move its session.
    strict: bool,
    /// How many sessions are remembered.
    max_sessions: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            inner: Ranking::Equal,
            ttl: Duration::from_secs(3600),
            idle: None,
            strict: false,
            max_sessions: 1_000_000,
        }
    }
}

/// Who names a session keeps the member that it got first.
#[derive(Debug)]
pub struct Session {
    inner: Ranking,
    stickiness: Stickiness,
    pace: Pace,
}

impl Strategy for Session {
    type Options = Options;

    fn describe() -> Description {
        Description::new(
            "session",
            env!("CARGO_PKG_VERSION"),
            "A session keeps its member; when an origin ties a client to its address.",
        )
        .with_options(SCHEMA)
    }

    fn new(options: Options) -> Result<Self, String> {
        let Options { inner, ttl, idle, strict, max_sessions } = options;
        let sticky = Stickiness::new().remembering(max_sessions);
        let sticky = match idle {
            None => sticky.ending_after_idle(ttl),
            Some(idle) if ttl.is_zero() || idle < ttl => sticky.ending_after(ttl).ending_after_idle(idle),
            Some(idle) => return Err(format!("idle: {idle:?} is not shorter than the ttl of {ttl:?}")),
        };
        let stickiness = if strict { sticky.strictly() } else { sticky };
        Ok(Self { inner, stickiness, pace: Pace::default() })
    }

    fn reads_table(&self) -> bool {
        self.inner != Ranking::Equal
    }

    fn observe(&mut self, table: &Table, observations: &[Observation]) -> bool {
        self.reads_table() && self.pace.observe(observations.len(), table.len(), clock::now())
    }

    fn plan(&mut self, table: &Table, view: &View, moment: Moment) -> Plan {
        self.pace.plan(moment.now);
        if !self.reads_table() {
            return Plan::everyone(Mode::Affinity).sticky(self.stickiness);
        }
        let members: Vec<_> = table.members(view).collect();
        let mut weights = rank::weigh(&members, self.inner);
        rank::bound_unproven(&members, &mut weights, rank::EXPLORE);
        Plan::these(Mode::Affinity, rank::shares(&members, &weights)).sticky(self.stickiness)
    }
}

proxywhirl_plugin_sdk::export!(strategy: Session);

#[cfg(test)]
mod tests;
