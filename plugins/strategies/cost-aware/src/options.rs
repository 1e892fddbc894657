//! What users may set, and whether it makes sense.

use crate::meter::Bounds;
use proxywhirl_plugin_sdk::duration;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// What users may set.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// What a request through a member with a tag costs.
    pub(crate) costs: BTreeMap<String, f64>,
    /// What one through a member without any of these tags costs.
    pub(crate) default_cost: f64,
    /// The share of recent uses that must have ended well.
    pub(crate) min_success: f64,
    /// The mean latency that recent uses may have had.
    #[serde(deserialize_with = "duration::read_optional")]
    pub(crate) max_latency: Option<Duration>,
    /// How long a use counts as recent.
    #[serde(deserialize_with = "duration::read")]
    pub(crate) decay: Duration,
    /// The share of the requests that cheaper members get while they miss the bounds.
    pub(crate) probe: f64,
    /// What may be spent.
    pub(crate) budget: Option<Budget>,
}

/// What may be spent.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// In any 60 minutes.
    pub(crate) per_hour: f64,
    /// What costs are counted in.
    #[serde(default = "euro")]
    pub(crate) currency: String,
}

fn euro() -> String {
    "EUR".to_owned()
}

impl Default for Options {
    fn default() -> Self {
        Self {
            costs: BTreeMap::new(),
            default_cost: 0.0,
            min_success: 0.8,
            max_latency: None,
            decay: Duration::from_secs(60),
            probe: 0.05,
            budget: None,
        }
    }
}

impl Options {
    /// The error names what makes no sense.
    pub(crate) fn check(&self) -> Result<(), String> {
        let cost = |name: &str, cost: f64| {
            let fits = cost.is_finite() && cost >= 0.0;
            if fits { Ok(()) } else { Err(format!("{name}: {cost} is not a cost")) }
        };
        self.costs.iter().try_for_each(|(tag, &it)| cost(&format!("costs: {tag}"), it))?;
        cost("default_cost", self.default_cost)?;
        if let Some(budget) = &self.budget {
            cost("budget: per_hour", budget.per_hour)?;
        }
        if !(0.0..=1.0).contains(&self.min_success) {
            return Err(format!("min_success: {} is not in 0..1", self.min_success));
        }
        if !(0.0..=0.5).contains(&self.probe) {
            return Err(format!("probe: {} is not in 0..0.5", self.probe));
        }
        if self.decay < Duration::from_secs(1) || self.decay > Duration::from_secs(86_400) {
            return Err(format!("decay: {:?} is not in 1s..1d", self.decay));
        }
        Ok(())
    }

    pub(crate) fn bounds(&self) -> Bounds {
        Bounds {
            min_success: self.min_success,
            max_latency: self.max_latency.map(|latency| latency.as_secs_f64() * 1e6),
            decay: duration::micros(self.decay),
        }
    }
}
