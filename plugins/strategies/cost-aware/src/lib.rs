//! Cost-aware: the cheapest that do, within a budget.
//!
//! **When to use.** Some members cost money for each request and others do not, or less; and the dear
//! ones should serve only when the cheap ones are not good enough.
//!
//! **Options.** Costs are for each request, in any one currency. Traffic is not known to strategies,
//! so a price for a gigabyte must be divided by what a request takes on average.
//!
//! * `costs` (default `{}`): what a request through a member with a tag costs: `"vendor:x" = 0.05`. Of
//!   several tags that match, the dearest counts.
//! * `default_cost` (default 0, which is free): of a member without any of these tags.
//! * `min_success` (default 0.8) and `max_latency` (default none): the bounds that members of one cost
//!   must keep, as a tier, over their recent uses.
//! * `decay` (default `1m`): how long a use counts as recent; after so long its weight is 1/e.
//! * `probe` (default 0.05): the share of the requests that cheaper members get, all together, while
//!   they miss the bounds, so that they can come back.
//! * `budget` (default none): `per_hour` may be spent in any 60 minutes, in a `currency` for people.
//!
//! Members of the same cost are a tier, cheapest first; free is always the cheapest. The first tier
//! that keeps the bounds serves, and those after it only when nobody before them is eligible. A tier
//! about which too little is known keeps the bounds. Whether a tier misses them is decided with
//! hysteresis, so that it does not flap: see `meter`.
//!
//! Within a tier, members are drawn by their share of uses that ended well; one that was never tried
//! ranks like the median, and all of those together get at most 5 % while others are proven.
//!
//! When the budget is spent, all tiers that cost anything close until the oldest minute of the hour is
//! forgotten; if no member is free, there is nobody then, and requests fail. Spending is counted from
//! outcomes, which the host tells once a second: that is how late a closing can be. A swap for another
//! version or other options keeps what was spent, and so does a restart of a host that stores its pool.
//! What happens is told in the log.
//!
//! Reference: tiered fallback with hysteresis as in priority levels of load balancing,
//! <https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/priority>.

mod budget;
mod meter;
mod options;
mod tiers;

use budget::Spending;
use meter::{Bounds, Meter};
use proxywhirl_plugin_ranking::pace::Pace;
use proxywhirl_plugin_ranking::wire::{Reader, Writer};
use proxywhirl_plugin_sdk::strategy::{Delta, Member, Moment, Observation, Plan, Strategy, Table, View};
use proxywhirl_plugin_sdk::{Description, Symbol, clock, log, symbols};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use tiers::{Cost, Level};

pub use options::{Budget, Options};

/// The JSON Schema of [`Options`].
const SCHEMA: &str = include_str!("../options.json");

/// Costs that are told apart; what is dearer still counts as the dearest of them. A plan has 64 tiers
/// at the most.
const LEVELS: usize = 60;

/// The form in which state is handed over.
const STATE: u32 = 1;

/// The cheapest that do, within a budget.
#[derive(Debug)]
pub struct CostAware {
    costs: HashMap<Symbol, f64>,
    default_cost: f64,
    bounds: Bounds,
    probe: f64,
    spending: Option<Spending>,
    /// How each tier does. Those of the configured costs, so their number is bounded.
    meters: BTreeMap<Cost, Meter>,
    pace: Pace,
}

impl CostAware {
    /// What a request through a member costs.
    fn cost(&self, member: &Member) -> Cost {
        let costs = member.tags.iter().filter_map(|tag| self.costs.get(tag)).copied();
        Cost::of(costs.reduce(f64::max).unwrap_or(self.default_cost))
    }

    /// The cost by which it is put into a tier: the highest that has one, where there are more costs than tiers.
    fn tier(&self, cost: Cost) -> Cost {
        self.meters.range(..=cost).next_back().map_or(cost, |(&tier, _)| tier)
    }

    /// Decides anew which tiers keep the bounds; true when that has changed.
    fn judge(&mut self, now: u64) -> bool {
        let mut changed = false;
        for (cost, meter) in &mut self.meters {
            if let Some(verdict) = meter.judge(&self.bounds, now) {
                log::info(format_args!("members at {cost} a request {verdict}"));
                changed = true;
            }
        }
        changed
    }

    /// Takes note of what was spent; true when that opens or closes the dear tiers.
    fn spend(&mut self, cost: f64, now: u64) -> bool {
        self.spending.as_mut().is_some_and(|spending| {
            let told = spending.spend(cost, now);
            if let Some(news) = &told {
                log::warn(news);
            }
            told.is_some()
        })
    }

    /// The members of a view by cost, the cheapest first.
    fn levels<'a>(&self, table: &'a Table, view: &'a View) -> Vec<Level<'a>> {
        let mut levels: BTreeMap<Cost, Vec<&Member>> = BTreeMap::new();
        for member in table.members(view) {
            levels.entry(self.tier(self.cost(member))).or_default().push(member);
        }
        let misses = |cost: Cost| self.meters.get(&cost).is_some_and(Meter::misses);
        levels.into_iter().map(|(cost, members)| Level { misses: misses(cost), cost, members }).collect()
    }
}

impl Strategy for CostAware {
    type Options = Options;

    fn describe() -> Description {
        Description::new(
            "cost-aware",
            env!("CARGO_PKG_VERSION"),
            "The cheapest that do, within a budget; when some members cost money.",
        )
        .with_options(SCHEMA)
    }

    fn new(options: Options) -> Result<Self, String> {
        options.check()?;
        let costs = options.costs.iter().map(|(tag, &cost)| (symbols::intern(tag), cost)).collect();
        let known = options.costs.values().copied().chain([options.default_cost]);
        let meters: BTreeMap<Cost, Meter> = known.map(|cost| (Cost::of(cost), Meter::default())).collect();
        if meters.len() > LEVELS {
            log::warn(format_args!("{} different costs: all above the first {LEVELS} count as one", meters.len()));
        }
        Ok(Self {
            costs,
            default_cost: options.default_cost,
            bounds: options.bounds(),
            probe: options.probe,
            spending: options.budget.map(Spending::new),
            meters: meters.into_iter().take(LEVELS).collect(),
            pace: Pace::default(),
        })
    }

    fn changed(&mut self, table: &Table, delta: &Delta) {
        if delta.reset && !table.is_empty() && self.costs.is_empty() && self.default_cost == 0.0 {
            log::debug("no costs are set, so every member is free");
        }
    }

    fn observe(&mut self, table: &Table, observations: &[Observation]) -> bool {
        let now = clock::now();
        let mut spent = 0.0;
        for seen in observations {
            let Some(member) = table.get(seen.slot) else { continue };
            let cost = self.cost(member);
            spent += cost.value();
            if let Some(meter) = self.meters.get_mut(&self.tier(cost)) {
                meter.record(seen, self.bounds.decay, now);
            }
        }
        let turned = self.spend(spent, now);
        let changed = self.judge(now);
        self.pace.observe(observations.len(), table.len(), now) || turned || changed
    }

    fn plan(&mut self, table: &Table, view: &View, moment: Moment) -> Plan {
        self.pace.plan(moment.now);
        self.spend(0.0, moment.now);
        self.judge(moment.now);
        let mut levels = self.levels(table, view);
        let mut refresh = self.bounds.decay;
        if let Some(spending) = &self.spending {
            refresh = refresh.min(Spending::MINUTE);
            if spending.is_spent() {
                levels.retain(|level| level.cost.is_free());
            }
        }
        Plan::tiers(tiers::tiers(&levels, self.probe)).refresh_every(Duration::from_micros(refresh))
    }

    fn save(&mut self) -> Vec<u8> {
        let mut writer = Writer::new(STATE);
        match &self.spending {
            Some(spending) => spending.save(&mut writer),
            None => Spending::save_nothing(&mut writer),
        }
        for (cost, meter) in &self.meters {
            writer.f64(cost.value());
            meter.save(&mut writer);
        }
        writer.finish()
    }

    /// What was spent counts on if the currency is the same; so do the verdicts on costs that still are.
    fn restore(&mut self, state: &[u8]) -> Result<(), String> {
        let mut reader = Reader::new(state, STATE).ok_or("not the state of this plugin")?;
        let spent = Spending::restore(&mut reader).ok_or("the state is cut off")?;
        let mut meters = Vec::new();
        while !reader.is_at_end() {
            meters.push(reader.f64().zip(Meter::restore(&mut reader)).ok_or("the state is cut off")?);
        }
        for (cost, meter) in meters {
            if let Some(known) = self.meters.get_mut(&Cost::of(cost)) {
                *known = meter;
            }
        }
        if let Some(spending) = &mut self.spending {
            spending.adopt(spent, clock::now());
        }
        Ok(())
    }
}

proxywhirl_plugin_sdk::export!(strategy: CostAware, handover);

#[cfg(test)]
mod tests;
