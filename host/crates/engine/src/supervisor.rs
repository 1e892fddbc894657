//! Who watches the plugins: keeps what each has done, and tells whoever has to know.
//!
//! Every fault is remembered (the last few with all that is known of them), told as log line, event and metric, and may
//! change what the plugin is: see [`supervision`](crate::supervision). The same fault of the same plugin is told at most
//! once a second, with the number of those that were not, so that no plugin can flood the log.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proxywhirl_core::Timestamp;
use proxywhirl_core::event::Topic;
use proxywhirl_core::plugin::{OnFault, PluginFault, PluginIdentity, PluginKind};

use crate::bus::Bus;
use crate::clock::Clock;
use crate::events::PluginChangedPayload;
use crate::status::{Build, FAULTS, FaultRecord, PluginStatus};
use crate::supervision::{Input, State, Supervision, SupervisionConfig};

mod told;

use told::Told;

/// What happened to a plugin, in the word that events and logs use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// It was put in force where there was none.
    Loaded,
    /// Another build took its place.
    Replaced,
    /// The build before took its place again.
    RolledBack,
    /// It does better or worse.
    State,
    /// It was taken out.
    Removed,
}

impl Change {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::Replaced => "replaced",
            Self::RolledBack => "rolled-back",
            Self::State => "state",
            Self::Removed => "removed",
        }
    }
}

/// Watches all plugins of an engine.
#[derive(Debug)]
pub(crate) struct Supervisor {
    bus: Arc<Bus>,
    clock: Clock,
    config: SupervisionConfig,
    told: Told,
    /// Everybody who is watched: the strategy, each hook, and parsers that have faulted. Changed by swaps only.
    wards: Mutex<Vec<Arc<Ward>>>,
}

impl Supervisor {
    pub(crate) fn new(bus: Arc<Bus>, clock: Clock, config: SupervisionConfig) -> Arc<Self> {
        Arc::new(Self { bus, clock, config, told: Told::default(), wards: Mutex::default() })
    }

    pub(crate) const fn config(&self) -> &SupervisionConfig {
        &self.config
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Begins to watch a plugin.
    pub(crate) fn watch(self: &Arc<Self>, kind: PluginKind, identity: &PluginIdentity, on_fault: OnFault) -> Arc<Ward> {
        let ward = Arc::new(Ward {
            supervisor: Arc::clone(self),
            kind,
            conduct: Mutex::new(Conduct {
                identity: identity.clone(),
                on_fault,
                supervision: Supervision::new(self.config, on_fault),
                since: self.now(),
                probation: None,
                faults: 0,
                restarts: 0,
                records: VecDeque::new(),
            }),
        });
        self.wards().push(Arc::clone(&ward));
        ward.gauge(State::Active);
        ward
    }

    /// Watches a plugin again that was dismissed.
    pub(crate) fn watch_again(&self, ward: &Arc<Ward>) {
        self.wards().push(Arc::clone(ward));
    }

    /// Tells a fault of a plugin that is not in force and so is not watched.
    pub(crate) fn tell(&self, kind: PluginKind, fault: &PluginFault) {
        self.told.tell(fault, kind, self.now(), &self.bus);
    }

    /// Ends watching a plugin.
    pub(crate) fn dismiss(&self, ward: &Arc<Ward>) {
        self.wards().retain(|other| !Arc::ptr_eq(other, ward));
    }

    /// Everybody who is watched.
    pub(crate) fn watched(&self) -> Vec<Arc<Ward>> {
        self.wards().clone()
    }

    /// Takes the fault of a parser: each call of one runs on a fresh instance, so there is nothing to restart, but
    /// something to remember.
    pub(crate) fn parser_faulted(self: &Arc<Self>, fault: &PluginFault) {
        let known = self.wards().iter().find(|ward| ward.is(PluginKind::Parser, &fault.plugin.name)).cloned();
        known
            .unwrap_or_else(|| self.watch(PluginKind::Parser, &fault.plugin, OnFault::Fallback))
            .remember(fault, self.now());
    }

    fn wards(&self) -> MutexGuard<'_, Vec<Arc<Ward>>> {
        self.wards.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A plugin that is watched.
#[derive(Debug)]
pub(crate) struct Ward {
    supervisor: Arc<Supervisor>,
    kind: PluginKind,
    /// Written by whoever calls the plugin. Held for a few instructions, and never by a request that goes well.
    conduct: Mutex<Conduct>,
}

#[derive(Debug)]
struct Conduct {
    identity: PluginIdentity,
    on_fault: OnFault,
    supervision: Supervision,
    since: Timestamp,
    probation: Option<Timestamp>,
    faults: u64,
    restarts: u64,
    records: VecDeque<FaultRecord>,
}

impl Ward {
    fn conduct(&self) -> MutexGuard<'_, Conduct> {
        self.conduct.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is(&self, kind: PluginKind, name: &str) -> bool {
        self.kind == kind && *self.conduct().identity.name == *name
    }

    pub(crate) fn name(&self) -> Box<str> {
        self.conduct().identity.name.clone()
    }

    pub(crate) fn identity(&self) -> PluginIdentity {
        self.conduct().identity.clone()
    }

    pub(crate) fn may_be_called(&self) -> bool {
        self.conduct().supervision.may_be_called()
    }

    /// When it is to be started again; none while it may be called, and when it is disabled.
    pub(crate) fn due(&self) -> Option<Timestamp> {
        self.conduct().supervision.due()
    }

    pub(crate) fn state(&self) -> State {
        self.conduct().supervision.state()
    }

    /// The last fault in one line.
    pub(crate) fn last_fault(&self) -> Option<Box<str>> {
        let conduct = self.conduct();
        let last = conduct.records.back()?;
        Some(format!("{} in {}: {}", last.cause, last.export, last.detail).into())
    }

    /// Takes a fault: tells it, and stops the plugin for as long as it must be.
    pub(crate) fn faulted(&self, fault: &PluginFault) {
        let now = self.supervisor.now();
        self.remember(fault, now);
        self.step(Input::Faulted, now, &fault.to_string());
    }

    /// Takes a fault that has other consequences than a pause, and tells it.
    pub(crate) fn remember(&self, fault: &PluginFault, now: Timestamp) {
        {
            let mut conduct = self.conduct();
            conduct.faults += 1;
            if conduct.records.len() >= FAULTS {
                conduct.records.pop_front();
            }
            conduct.records.push_back(FaultRecord::new(fault, now));
        }
        metrics::counter!("proxywhirl_plugin_faults_total",
            "plugin" => fault.plugin.name.to_string(), "kind" => self.kind.as_str(), "cause" => fault.cause.as_str())
        .increment(1);
        self.supervisor.told.tell(fault, self.kind, now, &self.supervisor.bus);
    }

    /// Starts it again if that is due: true when it may be called now.
    pub(crate) fn restarted(&self) -> bool {
        let now = self.supervisor.now();
        if self.may_be_called() {
            return true;
        }
        self.step(Input::Restarted, now, "the quarantine is over, it gets another chance");
        let is_restarted = {
            let mut conduct = self.conduct();
            let is_restarted = conduct.supervision.may_be_called();
            conduct.restarts += u64::from(is_restarted);
            is_restarted
        };
        if is_restarted {
            metrics::counter!("proxywhirl_plugin_restarts_total",
                "plugin" => self.name().to_string(), "kind" => self.kind.as_str())
            .increment(1);
        }
        is_restarted
    }

    /// Takes that all went well.
    pub(crate) fn answered(&self) {
        self.step(Input::Answered, self.supervisor.now(), "it works again");
    }

    /// Forgets what it has done.
    pub(crate) fn enabled(&self) {
        self.step(Input::Cleared, self.supervisor.now(), "enabled by hand");
    }

    /// Puts another build in its place, which begins without blame. `probation` is how long a fault rolls it back.
    pub(crate) fn replaced(
        &self,
        by: &PluginIdentity,
        on_fault: OnFault,
        probation: Option<Timestamp>,
        change: Change,
        reason: &str,
    ) {
        let now = self.supervisor.now();
        let before = {
            let mut conduct = self.conduct();
            let before = conduct.supervision.state();
            conduct.supervision = Supervision::new(self.supervisor.config, on_fault);
            conduct.identity = by.clone();
            conduct.on_fault = on_fault;
            conduct.since = now;
            conduct.probation = probation;
            before
        };
        self.tell(change, Some(before), Some(State::Active), reason);
    }

    /// Begins the time in which a fault rolls it back.
    pub(crate) fn on_probation(&self, until: Timestamp) {
        self.conduct().probation = Some(until);
    }

    /// Ends the time in which a fault rolls it back.
    pub(crate) fn proven(&self) {
        self.conduct().probation = None;
    }

    /// Tells that it was put in force or taken out.
    pub(crate) fn announce(&self, change: Change, reason: &str) {
        let state = self.state();
        match change {
            Change::Removed => self.tell(change, Some(state), None, reason),
            Change::Loaded | Change::Replaced | Change::RolledBack | Change::State => {
                self.tell(change, None, Some(state), reason);
            }
        }
    }

    /// What is known of it.
    pub(crate) fn status(&self) -> PluginStatus {
        let conduct = self.conduct();
        PluginStatus {
            build: Build::from(&conduct.identity),
            kind: self.kind,
            state: conduct.supervision.state(),
            since: conduct.since,
            probation: conduct.probation,
            faults: conduct.faults,
            restarts: conduct.restarts,
            on_fault: conduct.on_fault,
            queue: None,
            last_faults: conduct.records.iter().cloned().collect(),
        }
    }

    fn step(&self, input: Input, now: Timestamp, reason: &str) {
        let (before, after) = {
            let mut conduct = self.conduct();
            let before = conduct.supervision.state();
            if !conduct.supervision.step(input, now) {
                return;
            }
            conduct.since = now;
            (before, conduct.supervision.state())
        };
        self.tell(Change::State, Some(before), Some(after), reason);
    }

    fn gauge(&self, state: State) {
        let value = match state {
            State::Active => 0.0,
            State::Degraded { .. } => 1.0,
            State::Quarantined { .. } => 2.0,
            State::Disabled => 3.0,
        };
        metrics::gauge!("proxywhirl_plugin_state", "plugin" => self.name().to_string(), "kind" => self.kind.as_str())
            .set(value);
    }

    fn tell(&self, change: Change, from: Option<State>, to: Option<State>, reason: &str) {
        let identity = self.identity();
        let until = to.and_then(State::until);
        if let Some(state) = to {
            self.gauge(state);
        }
        macro_rules! log {
            ($level:ident) => {
                tracing::$level!(
                    plugin.name = &*identity.name,
                    plugin.version = &*identity.version,
                    plugin.kind = self.kind.as_str(),
                    plugin.change = change.as_str(),
                    plugin.from = from.map(State::as_str),
                    plugin.to = to.map(State::as_str),
                    reason,
                    "plugin changed"
                )
            };
        }
        match to {
            Some(State::Quarantined { .. } | State::Disabled) => log!(error),
            Some(State::Degraded { .. }) => log!(warn),
            Some(State::Active) if change == Change::RolledBack => log!(warn),
            Some(State::Active) | None => log!(info),
        }
        self.supervisor.bus.publish(Topic::PluginChanged, self.supervisor.now(), || PluginChangedPayload {
            plugin: &identity.name,
            version: &identity.version,
            digest: &identity.digest,
            kind: self.kind.as_str(),
            change: change.as_str(),
            from: from.map(State::as_str),
            to: to.map(State::as_str),
            reason,
            until: until.map(Timestamp::as_micros),
        });
    }
}
