//! Thompson: whoever is likely the best, learned for each site, with decay.
//!
//! **When to use.** Success differs much between members and between sites, and changes: a proxy that
//! works here is refused there. Requests go where they probably succeed, and no more of them than
//! needed are spent on finding out.
//!
//! It is the Bernoulli bandit of Thompson: what is known of a member's rate of success is a Beta
//! distribution, and a member gets requests with the probability that its rate is the highest of all.
//! Others draw a sample from each distribution for each request and take the largest; the result is the
//! same in distribution, so this strategy computes that probability itself, by numerical integration,
//! and answers with a `draw` by it. Each request then is a draw of its own, instead of everybody going
//! to one winner until the next plan.
//!
//! **Options.**
//!
//! * `half_life` (default `30m`): after so long, what was observed counts half, so that a member that
//!   was bad is tried again.
//! * `prior` (default `[1, 1]`): successes and failures that everybody is credited with.
//! * `per_site` (default `true`): learns for each site; where little is known of a member at a site,
//!   what is known of it elsewhere counts for up to 10 observations.
//! * `explore` (default 0.05) and `min_tries` (default 5): members with fewer observations get no more
//!   than that share of the requests, all together. Without it a large batch of newcomers would win
//!   nearly every comparison, since one of many unknowns is likely excellent.
//! * `refresh` (default `1s`): plans follow observations no more often than this; less often where they
//!   cost more, in large pools with many sites.
//!
//! A member that joins with a history begins with up to 10 observations of it. What was learned is
//! bounded (250,000 members; 256 sites, 250,000 members at sites; a site that was not used for a
//! minute leaves for another), and handed over when a newer version of the plugin takes over.
//!
//! Reference: D. Russo and others, "A Tutorial on Thompson Sampling", 2018,
//! <https://arxiv.org/abs/1707.02038>.

mod belief;
mod best;
mod saved;

use belief::Beliefs;
use best::Beta;
use proxywhirl_plugin_sdk::strategy::{
    Delta, Member, Mode, Moment, Observation, Plan, Strategy, Table, View, Weighted,
};
use proxywhirl_plugin_sdk::{Description, Symbol, clock, duration};
use serde::Deserialize;
use std::time::Duration;

/// The JSON Schema of [`Options`].
const SCHEMA: &str = include_str!("../options.json");

/// What is known of a member elsewhere counts for so many observations at a site.
const POOLED: f64 = 10.0;

/// Counts above this are scaled down to it: somebody who has always been good is still doubted a
/// little, and the integration's steps stay finer than any distribution.
const CERTAIN: f64 = 1000.0;

/// A weight below this share of the largest is raised to it: whoever has no weight at all is not
/// handed out even when nobody else is left.
const SMALLEST: f64 = 1e-9;

/// A plan for a site costs as much as a walk over so many members, besides the walk over all.
const WALK: usize = 2_000;

/// Members that plans may walk over in the time of `refresh`: some percent of a processor.
const WALKED: usize = 20_000;

/// Decay alone makes plans worth renewing after this part of the half-life.
const DECAY_STEPS: u32 = 32;

/// What users may set.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// After so long, observations count half.
    #[serde(deserialize_with = "duration::read")]
    half_life: Duration,
    /// Successes and failures that everybody is credited with.
    prior: [f64; 2],
    /// Whether to learn for each site.
    per_site: bool,
    /// The share that the hardly tried get at the most.
    explore: f64,
    /// Observations below which a member is hardly tried.
    min_tries: u32,
    /// Plans follow observations no more often than this.
    #[serde(deserialize_with = "duration::read")]
    refresh: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            half_life: Duration::from_secs(30 * 60),
            prior: [1.0, 1.0],
            per_site: true,
            explore: 0.05,
            min_tries: 5,
            refresh: Duration::from_secs(1),
        }
    }
}

/// Whoever is likely the best.
#[derive(Debug)]
pub struct Thompson {
    options: Options,
    beliefs: Beliefs,
    /// When the last plan was made, in microseconds.
    planned: u64,
    /// Whether anything was observed since.
    learned: bool,
}

impl Thompson {
    /// How long it is between plans at least, in microseconds.
    fn pace(&self, members: usize) -> u64 {
        let sites = self.beliefs.sites.len().max(1);
        let times = (members.saturating_add(WALK)).saturating_mul(sites) / WALKED;
        duration::micros(self.options.refresh).saturating_mul(times.max(1) as u64)
    }

    /// What is known of a member at a site, and of the member at all in observations.
    fn posterior(&self, member: &Member, site: Symbol, now: u64) -> (Beta, f64) {
        let [mut good, mut bad] = self.options.prior;
        let all = self.beliefs.overall(member.id, now);
        if site == 0 {
            good += all.good;
            bad += all.bad;
        } else {
            let here = self.beliefs.at_site(site, member.id, now);
            let elsewhere = all.without(here);
            let pooled = POOLED.min(elsewhere.total()) / elsewhere.total().max(f64::MIN_POSITIVE);
            good += here.good + pooled * elsewhere.good;
            bad += here.bad + pooled * elsewhere.bad;
        }
        let scale = (CERTAIN / (good + bad)).min(1.0);
        (Beta { a: good * scale, b: bad * scale }, all.total())
    }

    /// Scales the hardly tried down to their share, while anybody is tried enough.
    fn bound_untried(&self, weights: &mut [(f64, bool)]) {
        let (mut tried, mut untried) = (0.0, 0.0);
        for &(weight, is_tried) in weights.iter() {
            *(if is_tried { &mut tried } else { &mut untried }) += weight;
        }
        let share = self.options.explore;
        if tried > 0.0 && untried > share * (tried + untried) {
            let scale = share / (1.0 - share) * tried / untried;
            for (weight, is_tried) in weights {
                if !*is_tried {
                    *weight *= scale;
                }
            }
        }
    }
}

impl Strategy for Thompson {
    type Options = Options;

    fn describe() -> Description {
        Description::new(
            "thompson",
            env!("CARGO_PKG_VERSION"),
            "Whoever is likely the best, learned for each site; when success differs by member and site.",
        )
        .with_options(SCHEMA)
    }

    fn new(options: Options) -> Result<Self, String> {
        if options.half_life < Duration::from_secs(1) {
            return Err(format!("half_life: {:?} is less than a second", options.half_life));
        }
        if let Some(prior) = options.prior.iter().find(|prior| !(0.5..=CERTAIN).contains(*prior)) {
            return Err(format!("prior: {prior} is not from 0.5 to {CERTAIN}"));
        }
        if !(0.0..=1.0).contains(&options.explore) {
            return Err(format!("explore: {} is not from 0 to 1", options.explore));
        }
        let beliefs = Beliefs::new(options.half_life);
        Ok(Self { options, beliefs, planned: 0, learned: false })
    }

    fn changed(&mut self, table: &Table, delta: &Delta) {
        let now = clock::now();
        for member in delta.upserted.iter().filter_map(|&slot| table.get(slot)) {
            self.beliefs.meet(member, now);
        }
        self.beliefs.forget_absent(table);
    }

    fn observe(&mut self, table: &Table, observations: &[Observation]) -> bool {
        let now = clock::now();
        for seen in observations {
            if let Some(member) = table.get(seen.slot) {
                let site = if self.options.per_site { seen.site } else { 0 };
                self.beliefs.learn(member.id, site, seen.success, now);
                self.learned = true;
            }
        }
        self.learned && now.saturating_sub(self.planned) >= self.pace(table.len())
    }

    fn plan(&mut self, table: &Table, view: &View, moment: Moment) -> Plan {
        self.planned = moment.now;
        self.learned = false;
        let site = if self.options.per_site { view.site } else { 0 };
        let members: Vec<&Member> = table.members(view).collect();
        let known: Vec<_> = members.iter().map(|member| self.posterior(member, site, moment.now)).collect();
        let chances = best::chances(&known.iter().map(|(beta, _)| *beta).collect::<Vec<_>>());
        let largest = chances.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        let min_tries = f64::from(self.options.min_tries);
        let weigh = |(chance, (_, tries)): (f64, &(Beta, f64))| ((chance / largest).max(SMALLEST), *tries >= min_tries);
        let mut weights: Vec<_> = chances.into_iter().zip(&known).map(weigh).collect();
        self.bound_untried(&mut weights);
        let share = |(member, (weight, _)): (&&Member, &(f64, bool))| Weighted {
            slot: member.slot,
            weight: weight.max(SMALLEST) as f32,
        };
        let plan = Plan::these(Mode::Draw, members.iter().zip(&weights).map(share).collect())
            .refresh_every(self.options.refresh.max(self.options.half_life / DECAY_STEPS));
        if self.options.per_site { plan.per_site() } else { plan }
    }

    fn save(&mut self) -> Vec<u8> {
        saved::write(&self.beliefs)
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), String> {
        saved::read(state, &mut self.beliefs)
    }
}

proxywhirl_plugin_sdk::export!(strategy: Thompson, handover);

#[cfg(test)]
mod tests;
