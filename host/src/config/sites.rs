//! `[sites]`: what is remembered of proxies at sites, and when one is passed over there.

use proxywhirl_core::breaker::BreakerConfig;
use proxywhirl_engine::SitesConfig;
use schemars::JsonSchema;
use serde::Deserialize;

use super::file::{LASTING, Span};
use super::settings::{MOST_SAMPLES, at_least_one, in_order, lasting};

/// More pairs than this would be some hundred megabytes.
const MOST: usize = 1_000_000;

/// `[sites]`, as it was written.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SitesSection {
    /// Pairs of a proxy and a site that are remembered.
    #[schemars(range(max = MOST))]
    pub remember: Option<usize>,
    /// Whether a proxy that keeps failing at a site is passed over there.
    pub pass_over: Option<bool>,
    /// Faults in a row, after which it is.
    #[schemars(range(min = 1))]
    pub failures: Option<u32>,
    /// The share of its last uses there that must have gone well.
    #[schemars(range(min = 0, max = 1))]
    pub min_success: Option<f32>,
    /// Uses from which that share is told.
    #[schemars(range(min = 1, max = MOST_SAMPLES))]
    pub samples: Option<u32>,
    /// How long it is passed over the first time.
    #[schemars(extend("pattern" = LASTING))]
    pub cooldown: Option<Span>,
    /// How long at the most.
    pub cooldown_max: Option<Span>,
}

impl SitesSection {
    /// What it means.
    pub(super) fn meaning(self) -> Result<SitesConfig, String> {
        let default = SitesConfig::default();
        let remember = self.remember.unwrap_or(default.remember);
        if remember > MOST {
            return Err(format!("sites.remember {remember} is more than {MOST}"));
        }
        let breaker = BreakerConfig {
            failures: at_least_one("sites.failures", self.failures, default.breaker.failures)?,
            min_success: self.min_success.unwrap_or(default.breaker.min_success),
            samples: self.samples.unwrap_or(default.breaker.samples),
            cooldown: lasting("sites.cooldown", self.cooldown, default.breaker.cooldown)?,
            cooldown_max: self.cooldown_max.map_or(default.breaker.cooldown_max, |span| span.0),
            ..default.breaker
        };
        in_order(("sites.cooldown", breaker.cooldown), ("sites.cooldown_max", breaker.cooldown_max))?;
        if !(0.0..=1.0).contains(&breaker.min_success) {
            return Err(format!("sites.min_success {} is not in 0 to 1", breaker.min_success));
        }
        if !(1..=MOST_SAMPLES).contains(&breaker.samples) {
            return Err(format!("sites.samples {} is not in 1 to {MOST_SAMPLES}", breaker.samples));
        }
        Ok(SitesConfig { remember, pass_over: self.pass_over.unwrap_or(default.pass_over), breaker })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::settings::tests::settings;

    #[test]
    fn what_is_written_is_taken_over() {
        let text = "[sites]\nremember = 800\npass_over = false\nfailures = 2\nmin_success = 0.5\nsamples = 10\n\
                    cooldown = \"1m\"\ncooldown_max = \"1h\"\n";
        let sites = settings(text).unwrap().sites;
        let breaker = BreakerConfig {
            failures: 2,
            min_success: 0.5,
            samples: 10,
            cooldown: Duration::from_mins(1),
            cooldown_max: Duration::from_hours(1),
            successes: 1,
        };
        assert_eq!(sites, SitesConfig { remember: 800, pass_over: false, breaker });
        assert_eq!(settings("[sites]\n").unwrap().sites, SitesConfig::default());
    }

    #[test]
    fn values_out_of_range_are_told_with_their_key() {
        let error = |text: &str| settings(&format!("[sites]\n{text}\n")).unwrap_err().reason;
        insta::assert_snapshot!(error("remember = 2000000"), @"sites.remember 2000000 is more than 1000000");
        insta::assert_snapshot!(error("failures = 0"), @"sites.failures must be at least 1");
        insta::assert_snapshot!(error("min_success = 30"), @"sites.min_success 30 is not in 0 to 1");
        insta::assert_snapshot!(error("samples = 101"), @"sites.samples 101 is not in 1 to 100");
        insta::assert_snapshot!(error("failure = 3"), @"unknown key sites.failure");
    }
}
