//! Least loaded: of two drawn at random, the one with less load.
//!
//! **When to use.** Requests take long or differ a lot, as downloads and tunnels do, and queues must
//! not build up at single members.
//!
//! **Options.**
//!
//! * `decay` (default `10s`): how long a latency counts; after so long, a new one has taken over
//!   all but 1/e of its place.
//! * `by_tag` (default `{}`): a factor for the weight of the members with a tag; all that match are
//!   multiplied. A member of weight 2 is drawn twice as often, and may have twice the load.
//!
//! Formula: load = (in flight + 1) × peak-EWMA of the latency ÷ weight, both of the host, which picks
//! by itself from what is in flight at that moment.
//!
//! What `decay` does, exactly: the host's peak-EWMA has a decay of 10 seconds, and no plan can change
//! that. With another `decay` the plugin keeps two peak-EWMAs of each member over what it observes,
//! one like the host's and one with the wanted decay, and gives the member the first ÷ the second as a
//! weight, between 1/16 and 16, so that in the host's formula its latency stands for the plugin's. The
//! plugin hears of uses once a second, so a decay far below a second is none. And as a weight counts
//! in the drawing too, members that recover sooner than the host believes are also drawn more often.
//!
//! Reference: Mitzenmacher, *The Power of Two Choices in Randomized Load Balancing* (2001),
//! <https://doi.org/10.1109/71.963420>; peak EWMA: Finagle, *Beyond Round Robin*,
//! <https://twitter.github.io/finagle/guide/Clients.html#power-of-two-choices-p2c-least-loaded>.

mod peak;

use peak::PeakEwma;
use proxywhirl_plugin_ranking::pace::Pace;
use proxywhirl_plugin_ranking::slots::PerSlot;
use proxywhirl_plugin_sdk::strategy::{
    Delta, Member, Mode, Moment, Observation, Plan, Strategy, Table, View, Weighted,
};
use proxywhirl_plugin_sdk::{Description, Symbol, clock, duration, symbols};
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// The JSON Schema of [`Options`].
const SCHEMA: &str = include_str!("../options.json");

/// The decay of the host's peak-EWMA.
const HOST: Duration = Duration::from_secs(10);

/// How far two peak-EWMAs of a member may be apart in its weight, so that one wild latency neither
/// takes a member out nor gives it everything.
const FARTHEST: f64 = 16.0;

/// What users may set.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// How long a latency counts.
    #[serde(deserialize_with = "duration::read")]
    decay: Duration,
    /// A factor for the weight of the members with a tag.
    by_tag: BTreeMap<String, f64>,
}

impl Default for Options {
    fn default() -> Self {
        Self { decay: HOST, by_tag: BTreeMap::new() }
    }
}

/// Of two drawn at random, the one with less load.
#[derive(Debug)]
pub struct LeastLoaded {
    by_tag: HashMap<Symbol, f64>,
    /// The peak-EWMAs as the host has them and as they are wanted; none when that is the same.
    latencies: Option<Latencies>,
    pace: Pace,
}

#[derive(Debug)]
struct Latencies {
    decay: u64,
    members: PerSlot<(PeakEwma, PeakEwma)>,
}

impl Latencies {
    /// The host's latency in units of the wanted one.
    fn ratio(&self, member: &Member) -> f64 {
        let latencies = self.members.get(member.slot).and_then(|(host, own)| host.get().zip(own.get()));
        latencies.map_or(1.0, |(host, own)| (host / own).clamp(1.0 / FARTHEST, FARTHEST))
    }
}

impl LeastLoaded {
    fn weight(&self, member: &Member) -> f64 {
        let factor: f64 = member.tags.iter().filter_map(|tag| self.by_tag.get(tag)).product();
        factor * self.latencies.as_ref().map_or(1.0, |latencies| latencies.ratio(member))
    }
}

impl Strategy for LeastLoaded {
    type Options = Options;

    fn describe() -> Description {
        Description::new(
            "least-loaded",
            env!("CARGO_PKG_VERSION"),
            "Of two drawn at random, the one with less load; for long requests and uneven members.",
        )
        .with_options(SCHEMA)
    }

    fn new(options: Options) -> Result<Self, String> {
        let decay = options.decay;
        if decay < Duration::from_millis(100) || decay > Duration::from_secs(86_400) {
            return Err(format!("decay: {decay:?} is not in 100ms..1d"));
        }
        let mut by_tag = HashMap::new();
        for (tag, factor) in options.by_tag {
            if !(factor.is_finite() && factor >= 0.0) {
                return Err(format!("by_tag: {tag}: {factor} is not a weight"));
            }
            by_tag.insert(symbols::intern(&tag), factor);
        }
        let latencies = (decay != HOST).then(|| Latencies { decay: duration::micros(decay), members: PerSlot::new() });
        Ok(Self { by_tag, latencies, pace: Pace::default() })
    }

    fn reads_table(&self) -> bool {
        !self.by_tag.is_empty() || self.latencies.is_some()
    }

    fn changed(&mut self, table: &Table, delta: &Delta) {
        if let Some(latencies) = &mut self.latencies {
            let now = clock::now();
            latencies.members.update(table, delta, |member| {
                let known = PeakEwma::beginning(member.latency, now);
                (known, known)
            });
        }
    }

    fn observe(&mut self, table: &Table, observations: &[Observation]) -> bool {
        let Some(latencies) = &mut self.latencies else { return false };
        let now = clock::now();
        for seen in observations.iter().filter(|seen| seen.success && seen.latency > 0) {
            if let Some((host, own)) = latencies.members.get_mut(seen.slot) {
                host.record(seen.latency, duration::micros(HOST), now);
                own.record(seen.latency, latencies.decay, now);
            }
        }
        self.pace.observe(observations.len(), table.len(), now)
    }

    fn plan(&mut self, table: &Table, view: &View, moment: Moment) -> Plan {
        self.pace.plan(moment.now);
        if !self.reads_table() {
            return Plan::everyone(Mode::LeastLoaded);
        }
        let weigh = |member: &Member| Weighted { slot: member.slot, weight: self.weight(member).min(1e18) as f32 };
        Plan::these(Mode::LeastLoaded, table.members(view).map(weigh).collect())
    }
}

proxywhirl_plugin_sdk::export!(strategy: LeastLoaded);

#[cfg(test)]
mod tests;
