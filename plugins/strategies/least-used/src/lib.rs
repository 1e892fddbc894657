//! Least used: those who were used least in the last while.
//!
//! **When to use.** Each member should carry the same number of requests over time, although members
//! come, go and are out for a while: where origins or vendors count requests for each address.
//!
//! **Options.**
//!
//! * `window` (default `10m`): how far back uses are counted. What lies before is forgotten, in steps
//!   of an eighth of the window.
//! * `mode` (default `draw`): `draw` picks at random among those who are due, by how much they are
//!   due; `cycle` one after the other, the least used first.
//!
//! A use is an outcome that says something about the member: a success, or a failure by its own fault.
//!
//! Formula: the requests that are expected until the next plan are poured onto the counts like water
//! onto steps (*water-filling*): the level `L` is where the sum of `L − uses` over those below it is
//! just that many. Those below are the first tier, with `L − uses` as weight; all others are the
//! second, for when nobody of the first is eligible.
//!
//! Who joins late begins with the median of the counts, and nobody gets more than four times an equal
//! share of what is poured, however little it was used. So neither a newcomer nor one who comes back
//! from being ejected absorbs everything until it has caught up.
//!
//! Reference: <https://en.wikipedia.org/wiki/Water-pouring_algorithm>.

mod level;

use proxywhirl_plugin_ranking::pace::Pace;
use proxywhirl_plugin_ranking::slots::PerSlot;
use proxywhirl_plugin_ranking::window::{Parts, Ring};
use proxywhirl_plugin_ranking::wire::{Reader, Writer};
use proxywhirl_plugin_sdk::strategy::{Delta, Mode, Moment, Observation, Plan, Strategy, Table, Tier, View, Weighted};
use proxywhirl_plugin_sdk::{Description, Slot, clock, duration};
use serde::Deserialize;
use std::time::Duration;

/// The JSON Schema of [`Options`].
const SCHEMA: &str = include_str!("../options.json");

/// Parts of the window.
const PARTS: usize = 8;

/// Requests that are poured at the least, and for so many members one.
const POURED: (usize, usize) = (16, 10);

/// The form in which state is handed over.
const STATE: u32 = 1;

/// Members whose state is handed over at the most: 12 bytes each, and the state may have 4 MiB.
const HANDED_OVER: usize = 300_000;

/// How those who are due are picked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// At random, by how much they are due.
    #[default]
    Draw,
    /// One after the other, the least used first.
    Cycle,
}

/// What users may set.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// How far back uses are counted.
    #[serde(deserialize_with = "duration::read")]
    window: Duration,
    /// How those who are due are picked.
    mode: Order,
}

impl Default for Options {
    fn default() -> Self {
        Self { window: Duration::from_secs(600), mode: Order::Draw }
    }
}

/// Those who were used least in the last while.
#[derive(Debug)]
pub struct LeastUsed {
    mode: Order,
    parts: Parts,
    uses: PerSlot<Ring<u32, PARTS>>,
    pace: Pace,
}

impl LeastUsed {
    /// The one in the middle of all counts; 0 when there is nobody.
    fn median(&self, now: u64) -> u32 {
        let number = self.parts.number(now);
        let mut totals: Vec<u32> = self.uses.iter().map(|(_, _, ring)| ring.total(number)).collect();
        let middle = totals.len() / 2;
        if totals.is_empty() { 0 } else { *totals.select_nth_unstable(middle).1 }
    }

    /// The members of a view with their counts, in the order of joining.
    fn counts(&self, table: &Table, view: &View, now: u64) -> Vec<(Slot, u32)> {
        let number = self.parts.number(now);
        let uses = |slot| self.uses.get(slot).map_or(0, |ring| ring.total(number));
        table.members(view).map(|member| (member.slot, uses(member.slot))).collect()
    }
}

impl Strategy for LeastUsed {
    type Options = Options;

    fn describe() -> Description {
        Description::new(
            "least-used",
            env!("CARGO_PKG_VERSION"),
            "Those who were used least in the last while; when each should carry the same.",
        )
        .with_options(SCHEMA)
    }

    fn new(options: Options) -> Result<Self, String> {
        let window = options.window;
        if window < Duration::from_secs(1) || window > Duration::from_secs(30 * 86_400) {
            return Err(format!("window: {window:?} is not in 1s..30d"));
        }
        let parts = Parts::of(duration::micros(window), PARTS as u64);
        Ok(Self { mode: options.mode, parts, uses: PerSlot::new(), pace: Pace::default() })
    }

    fn changed(&mut self, table: &Table, delta: &Delta) {
        let now = clock::now();
        let (number, start) = (self.parts.number(now), self.median(now));
        self.uses.update(table, delta, |_| {
            let mut ring = Ring::new();
            ring.add(number, start);
            ring
        });
    }

    fn observe(&mut self, table: &Table, observations: &[Observation]) -> bool {
        let now = clock::now();
        let number = self.parts.number(now);
        for seen in observations {
            if let Some(ring) = self.uses.get_mut(seen.slot) {
                ring.add(number, 1);
            }
        }
        self.pace.observe(observations.len(), table.len(), now)
    }

    fn plan(&mut self, table: &Table, view: &View, moment: Moment) -> Plan {
        let counts = self.counts(table, view, moment.now);
        let (least, members) = POURED;
        let poured = self.pace.plan(moment.now).max(least).max(counts.len() / members);
        let tiers = match self.mode {
            Order::Draw => drawn(&counts, poured),
            Order::Cycle => cycled(counts, poured),
        };
        Plan::tiers(tiers).refresh_every(Duration::from_micros(self.parts.length()))
    }

    fn save(&mut self) -> Vec<u8> {
        let number = self.parts.number(clock::now());
        let mut writer = Writer::new(STATE);
        for (_, id, ring) in self.uses.iter().take(HANDED_OVER) {
            writer.u64(id);
            writer.u32(ring.total(number));
        }
        writer.finish()
    }

    /// The counts of the predecessor, whatever its window was; they age from now on.
    fn restore(&mut self, state: &[u8]) -> Result<(), String> {
        let mut reader = Reader::new(state, STATE).ok_or("not the state of this plugin")?;
        let number = self.parts.number(clock::now());
        let mut states = Vec::new();
        while !reader.is_at_end() {
            let (id, uses) = reader.u64().zip(reader.u32()).ok_or("the state is cut off")?;
            let mut ring = Ring::new();
            ring.add(number, uses);
            states.push((id, ring));
        }
        self.uses.adopt(states);
        Ok(())
    }
}

/// Those below the level by how much they are, and then the others, the less the more they were used.
fn drawn(counts: &[(Slot, u32)], poured: usize) -> Vec<Tier> {
    let level = level::of(counts, poured);
    let mut tiers = [Vec::new(), Vec::new()];
    let [due, others] = &mut tiers;
    for &(slot, uses) in counts {
        let share = level.share(uses);
        if share > 0.0 {
            due.push(Weighted { slot, weight: share as f32 });
        } else {
            others.push(Weighted { slot, weight: (1.0 / (1.0 + level.excess(uses))) as f32 });
        }
    }
    tiers.into_iter().filter(|members| !members.is_empty()).map(|members| Tier::these(Mode::Draw, members)).collect()
}

/// The same in turn, the least used first, and among equals who joined first.
fn cycled(mut counts: Vec<(Slot, u32)>, poured: usize) -> Vec<Tier> {
    let level = level::of(&counts, poured);
    counts.sort_by_key(|&(_, uses)| uses);
    let due = counts.partition_point(|&(_, uses)| level.share(uses) > 0.0);
    let others = counts.split_off(due);
    let tiers = [counts, others].into_iter().filter(|members| !members.is_empty());
    let turn = |(slot, _)| Weighted { slot, weight: 1.0 };
    tiers.map(|members| Tier::these(Mode::Cycle, members.into_iter().map(turn).collect())).collect()
}

proxywhirl_plugin_sdk::export!(strategy: LeastUsed, handover);

#[cfg(test)]
mod tests;
