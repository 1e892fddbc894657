//! Rotation strategies: plugins that choose which member of the pool serves a request.
//!
//! The host tells a strategy what changed and how uses went, and asks for a [`Plan`], from which it
//! then picks by itself, as often as requests come. So a plan may take its time, and a request pays
//! nothing for it. A plan without tiers makes the host call [`Strategy::select`] for each request
//! instead; that is for decisions that need the request itself.

mod plan;
pub mod rank;
mod table;

use crate::describe::{self, Description};
use crate::{Slot, bindings, panics};
use bindings::handover::exports::proxywhirl::plugin::handover;
use bindings::shared::exports::proxywhirl::plugin::about;
use bindings::strategy::exports::proxywhirl::plugin::strategy;
use serde::de::DeserializeOwned;
use std::marker::PhantomData;

pub use strategy::{Member, Membership, Mode, Observation, Plan, Request, Stickiness, Tier, View, Weighted};
pub use table::{Delta, Members, Table};

/// What `select` answers when it chooses nobody.
const NOBODY: Slot = Slot::MAX;

/// When a plan is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Microseconds since the Unix epoch.
    pub now: u64,
    /// 64 random bits.
    pub seed: u64,
}

/// A rotation strategy. `export!(strategy: Name)` makes it the component's export.
pub trait Strategy: Sized + 'static {
    /// Its options, from JSON that fits the schema in its description.
    type Options: DeserializeOwned + Default;

    /// What it is. The same at every call.
    fn describe() -> Description;

    /// Called once, before everything else. The error is for people.
    fn new(options: Self::Options) -> Result<Self, String>;

    /// Whether it reads the table, now that it knows its options. One that plans for everyone does not: with false it has an
    /// empty table, and takes no memory for members, however many there are. The same at every call.
    fn reads_table(&self) -> bool {
        true
    }

    /// The pool has changed; the table shows it already.
    fn changed(&mut self, table: &Table, delta: &Delta) {
        let _ = (table, delta);
    }

    /// How uses went since the last call; the table counts them already. True asks for a new plan.
    fn observe(&mut self, table: &Table, observations: &[Observation]) -> bool {
        let _ = (table, observations);
        false
    }

    /// How to pick from a view from now on.
    fn plan(&mut self, table: &Table, view: &View, moment: Moment) -> Plan;

    /// The member for one request, when the plan for its view has no tiers.
    fn select(&mut self, table: &Table, request: &Request) -> Option<Slot> {
        let _ = (table, request);
        None
    }

    /// What the version that takes this one's place should know, at most 4 MiB; empty for nothing.
    /// Called only when the plugin is exported with `handover`.
    fn save(&mut self) -> Vec<u8> {
        Vec::new()
    }

    /// What the instance before this one saved, perhaps an older version. Called after
    /// [`Strategy::new`], before everything else. With an error it begins without.
    fn restore(&mut self, state: &[u8]) -> Result<(), String> {
        let _ = state;
        Ok(())
    }
}

/// A strategy as the host drives it, with its table. Tests drive it the same way.
#[derive(Debug)]
pub struct Running<S> {
    strategy: Option<S>,
    table: Table,
}

impl<S: Strategy> Running<S> {
    /// Before `configure`.
    #[must_use]
    pub fn new() -> Self {
        panics::report();
        Self { strategy: None, table: Table::new() }
    }

    /// Reads the options and makes the strategy.
    pub fn configure(&mut self, options: &str) -> Result<(), String> {
        self.strategy = Some(S::new(describe::options(options)?)?);
        Ok(())
    }

    /// Tells what changed.
    pub fn apply(&mut self, epoch: u64, reset: bool, upserts: Vec<Member>, removed: Vec<Slot>) {
        let delta = if self.strategy.as_ref().is_none_or(S::reads_table) {
            self.table.apply(epoch, reset, upserts, removed)
        } else {
            self.table.pass(epoch, reset, &upserts, removed)
        };
        if let Some(strategy) = &mut self.strategy {
            strategy.changed(&self.table, &delta);
        }
    }

    /// Tells how uses went; true asks for a plan.
    pub fn observe(&mut self, observations: &[Observation]) -> bool {
        self.table.record(observations);
        match &mut self.strategy {
            Some(strategy) => strategy.observe(&self.table, observations),
            None => false,
        }
    }

    /// The plan for a view. Without tiers before `configure`.
    pub fn plan(&mut self, view: &View, moment: Moment) -> Plan {
        match &mut self.strategy {
            Some(strategy) => strategy.plan(&self.table, view, moment),
            None => Plan::ask(),
        }
    }

    /// The member for one request.
    pub fn select(&mut self, request: &Request) -> Option<Slot> {
        self.strategy.as_mut()?.select(&self.table, request)
    }

    /// What the strategy hands over.
    pub fn save(&mut self) -> Vec<u8> {
        self.strategy.as_mut().map(S::save).unwrap_or_default()
    }

    /// Hands over what the strategy before it saved.
    pub fn restore(&mut self, state: &[u8]) -> Result<(), String> {
        match &mut self.strategy {
            Some(strategy) => strategy.restore(state),
            None => Err("not configured".to_owned()),
        }
    }

    /// The strategy itself, for tests that look inside; none before `configure`.
    #[must_use]
    pub const fn strategy(&self) -> Option<&S> {
        self.strategy.as_ref()
    }

    /// What the strategy sees.
    #[must_use]
    pub const fn table(&self) -> &Table {
        &self.table
    }
}

impl<S: Strategy> Default for Running<S> {
    fn default() -> Self {
        Self::new()
    }
}

/// A strategy with its one live instance. [`export!`](crate::export) implements it.
#[doc(hidden)]
pub trait Hosted: Strategy {
    /// Calls with the live instance.
    fn with<R>(call: impl FnOnce(&mut Running<Self>) -> R) -> R;
}

/// The export of a strategy.
#[doc(hidden)]
#[derive(Debug)]
pub struct Component<S>(PhantomData<S>);

impl<S: Hosted> about::Guest for Component<S> {
    fn describe() -> about::Description {
        S::describe().into()
    }
}

impl<S: Hosted> strategy::Guest for Component<S> {
    fn configure(options: String) -> Result<(), String> {
        S::with(|running| running.configure(&options))
    }

    fn apply(epoch: u64, reset: bool, upserts: Vec<Member>, removed: Vec<Slot>) {
        S::with(|running| running.apply(epoch, reset, upserts, removed));
    }

    fn observe(observations: Vec<Observation>) -> bool {
        S::with(|running| running.observe(&observations))
    }

    fn make_plan(view: View, now: u64, seed: u64) -> Plan {
        S::with(|running| running.plan(&view, Moment { now, seed }))
    }

    fn select(request: Request) -> Slot {
        S::with(|running| running.select(&request)).unwrap_or(NOBODY)
    }
}

impl<S: Hosted> handover::Guest for Component<S> {
    fn save() -> Vec<u8> {
        S::with(Running::save)
    }

    fn restore(state: Vec<u8>) -> Result<(), String> {
        S::with(|running| running.restore(&state))
    }
}
