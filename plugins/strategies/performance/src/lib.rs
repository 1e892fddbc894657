//! Performance: anybody, with chances by success and speed.
//!
//! **When to use.** Members differ a lot, as those from public lists do, and most requests should go
//! through the good ones, without wearing out the single best.
//!
//! **Options.**
//!
//! * `sharpness` (default 2): how much better members are preferred. With 0 all of the proven are
//!   equal, with 1 twice as fast means twice as often, with 2 four times.
//! * `explore` (default 0.05): the share of the requests that the unproven get at the most, all
//!   together, while anybody is proven.
//! * `explore_min_tries` (default 5): a member is unproven until it was used so often.
//!
//! Formula: weight = (success ÷ latency)^sharpness. Success is the share of uses that ended well,
//! smoothed by the rule of succession, and then an average over about the last 50 uses, so that a
//! long good past does not hide a bad present. Latency is the EWMA of the time to the first byte.
//!
//! An unproven member ranks like the median of the proven. One that was tried often enough and has
//! never served ranks below the worst and is still drawn at times; a latency of 0 means "never
//! measured", and makes a member unproven, not fast.
//!
//! Reference: softmax-like action selection with a bounded rate of exploration, Sutton and Barto,
//! *Reinforcement Learning*, chapter 2, <http://incompleteideas.net/book/the-book-2nd.html>.

use proxywhirl_plugin_ranking::board::{Board, Policy, Rank, Standing};
use proxywhirl_plugin_ranking::pace::Pace;
use proxywhirl_plugin_ranking::slots::PerSlot;
use proxywhirl_plugin_ranking::wire::{Reader, Writer};
use proxywhirl_plugin_sdk::strategy::{Delta, Member, Mode, Moment, Observation, Plan, Strategy, Table, View, rank};
use proxywhirl_plugin_sdk::{Description, clock};
use serde::Deserialize;

/// The JSON Schema of [`Options`].
const SCHEMA: &str = include_str!("../options.json");

/// Uses over which success is averaged.
const RECENT: f64 = 50.0;

/// A latency, in microseconds, that makes a quality of 1 when everything succeeds. It cancels out; with
/// it, qualities of any sharpness stay far from the ends of an `f32`.
const USUAL: f64 = 100_000.0;

/// The form in which state is handed over.
const STATE: u32 = 1;

/// Members whose state is handed over at the most: 16 bytes each, and the state may have 4 MiB.
const HANDED_OVER: usize = 250_000;

/// What users may set.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// The power to which success ÷ latency is raised.
    sharpness: f64,
    /// The share of the requests that the unproven get at the most.
    explore: f64,
    /// Uses after which a member is proven.
    explore_min_tries: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { sharpness: 2.0, explore: rank::EXPLORE, explore_min_tries: 5 }
    }
}

/// Anybody, with chances by success and speed.
#[derive(Debug)]
pub struct Performance {
    options: Options,
    /// The share of recent uses that ended well.
    success: PerSlot<f64>,
    board: Board,
    pace: Pace,
}

impl Performance {
    fn standing(&self, member: &Member) -> Standing {
        let tries = member.successes.saturating_add(member.failures);
        if tries < self.options.explore_min_tries {
            return Standing::Unproven;
        }
        if member.successes == 0 {
            return Standing::Failed(member.failures);
        }
        if member.latency == 0 {
            return Standing::Unproven;
        }
        let success = self.success.get(member.slot).copied().unwrap_or_else(|| rank::success(member));
        Standing::Proven((success * USUAL / f64::from(member.latency)).powf(self.options.sharpness))
    }

    fn weigh(&mut self, member: &Member) {
        let standing = self.standing(member);
        self.board.set(member.slot, 1.0, standing);
    }
}

impl Strategy for Performance {
    type Options = Options;

    fn describe() -> Description {
        Description::new(
            "performance",
            env!("CARGO_PKG_VERSION"),
            "Anybody, with chances by success and speed; for members that differ a lot.",
        )
        .with_options(SCHEMA)
    }

    fn new(options: Options) -> Result<Self, String> {
        if !(0.0..=4.0).contains(&options.sharpness) {
            return Err(format!("sharpness: {} is not in 0..4", options.sharpness));
        }
        if !(0.0..=1.0).contains(&options.explore) {
            return Err(format!("explore: {} is not in 0..1", options.explore));
        }
        Ok(Self { options, success: PerSlot::new(), board: Board::new(), pace: Pace::default() })
    }

    fn changed(&mut self, table: &Table, delta: &Delta) {
        if delta.reset {
            self.board.clear();
        }
        for &slot in &delta.removed {
            self.board.remove(slot);
        }
        self.success.update(table, delta, rank::success);
        for member in delta.upserted.iter().filter_map(|&slot| table.get(slot)) {
            self.weigh(member);
        }
    }

    fn observe(&mut self, table: &Table, observations: &[Observation]) -> bool {
        for seen in observations {
            let Some(member) = table.get(seen.slot) else { continue };
            if let Some(success) = self.success.get_mut(seen.slot) {
                let uses = (member.successes.saturating_add(member.failures) as f64 + 1.0).min(RECENT);
                *success += (f64::from(u8::from(seen.success)) - *success) / uses;
                // A run of failures takes a member down, and never out.
                *success = success.max(1.0 / (RECENT * RECENT));
            }
            self.weigh(member);
        }
        self.pace.observe(observations.len(), table.len(), clock::now())
    }

    fn plan(&mut self, _: &Table, view: &View, moment: Moment) -> Plan {
        self.pace.plan(moment.now);
        let policy = Policy { rank: Rank::Median, explore: self.options.explore };
        Plan::these(Mode::Draw, self.board.shares(view.members.as_deref(), &policy))
    }

    fn save(&mut self) -> Vec<u8> {
        let mut writer = Writer::new(STATE);
        for (_, id, success) in self.success.iter().take(HANDED_OVER) {
            writer.u64(id);
            writer.f64(*success);
        }
        writer.finish()
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), String> {
        let mut reader = Reader::new(state, STATE).ok_or("not the state of this plugin")?;
        let mut states = Vec::new();
        while !reader.is_at_end() {
            let (id, success) = reader.u64().zip(reader.f64()).ok_or("the state is cut off")?;
            states.push((id, success.clamp(1.0 / (RECENT * RECENT), 1.0)));
        }
        self.success.adopt(states);
        Ok(())
    }
}

proxywhirl_plugin_sdk::export!(strategy: Performance, handover);

#[cfg(test)]
mod tests;
