//! A live instance, replaced by a fresh one after every fault.

use std::sync::Arc;

use proxywhirl_core::plugin::{FaultCause, PluginFault};
use wasmtime::Store;
use wasmtime::component::Instance;

use crate::bindings::handover::Handover;
use crate::config::Limits;
use crate::inspect::CONTRACT;
use crate::plugin::{Call, Plugin};
use crate::state::State;

/// The longest state that is handed over, in bytes.
const MAX_STATE: usize = 4 * 1024 * 1024;

/// The exports of one kind of plugin.
pub(crate) trait World: Send + Sized {
    /// Finds the exports in an instance.
    fn find(store: &mut Store<State>, instance: &Instance) -> wasmtime::Result<Self>;

    /// Hands the options over. Kinds that get them otherwise have nothing to do.
    fn configure(&self, store: &mut Store<State>, options: &str) -> wasmtime::Result<Result<(), String>>;
}

/// How long a call may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// As most calls.
    Patient,
    /// As one for which somebody waits: `select`, `sniff`.
    Quick,
}

/// A plugin's instance, started when it is first needed.
pub(crate) struct Guest<W> {
    plugin: Arc<Plugin>,
    options: Arc<str>,
    live: Option<Live<W>>,
}

struct Live<W> {
    store: Store<State>,
    world: W,
    instance: Instance,
    /// As they were when it was started.
    limits: Limits,
}

impl<W: World> Guest<W> {
    pub(crate) const fn new(plugin: Arc<Plugin>, options: Arc<str>) -> Self {
        Self { plugin, options, live: None }
    }

    pub(crate) fn plugin(&self) -> &Plugin {
        &self.plugin
    }

    /// Makes and configures an instance, if there is none.
    pub(crate) fn ready(&mut self) -> Result<(), PluginFault> {
        live(&mut self.live, &self.plugin, &self.options).map(drop)
    }

    /// Calls an export. After a fault the instance is gone.
    pub(crate) fn call<R>(
        &mut self,
        export: &'static str,
        pace: Pace,
        run: impl FnOnce(&W, &mut Store<State>) -> wasmtime::Result<R>,
    ) -> Result<R, PluginFault> {
        let live = live(&mut self.live, &self.plugin, &self.options)?;
        let limit = match pace {
            Pace::Patient => live.limits.call,
            Pace::Quick => live.limits.select,
        };
        let world = &live.world;
        let answer = self.plugin.enter(&mut live.store, Call { export, limit }, |store| run(world, store));
        if answer.is_err() {
            self.live = None;
        }
        answer
    }

    /// What an instance may use.
    pub(crate) fn limits(&self) -> Limits {
        self.live.as_ref().map_or_else(|| self.plugin.limits(), |live| live.limits)
    }

    /// Throws the instance away: what it said cannot be believed.
    pub(crate) fn discard(&mut self) {
        self.live = None;
    }

    /// What the live instance hands over to its successor, if it has something to. It stays alive: a
    /// successor that does not start leaves it in force.
    pub(crate) fn save(&mut self) -> Result<Option<Vec<u8>>, PluginFault> {
        let Some(live) = self.live.as_mut().filter(|_| self.plugin.inspection.handover) else { return Ok(None) };
        let call = Call { export: "save", limit: live.limits.call };
        let instance = live.instance;
        let saved = self.plugin.enter(&mut live.store, call, |store| {
            Handover::new(&mut *store, &instance)?.proxywhirl_plugin_handover().call_save(store)
        });
        let fault = match saved {
            Ok(state) if state.len() <= MAX_STATE => return Ok((!state.is_empty()).then_some(state)),
            Ok(state) => {
                let detail = format!("handed over {} bytes, the limit is {MAX_STATE}", state.len());
                self.plugin.fault("save", FaultCause::InvalidAnswer, &detail)
            }
            Err(fault) => fault,
        };
        self.live = None;
        Err(fault)
    }

    /// Gives a fresh instance what its predecessor saved; false when it wants nothing.
    pub(crate) fn restore(&mut self, state: &[u8]) -> Result<bool, PluginFault> {
        if !self.plugin.inspection.handover {
            return Ok(false);
        }
        if state.len() > MAX_STATE {
            let detail = format!("a state of {} bytes, the limit is {MAX_STATE}", state.len());
            return Err(self.plugin.fault("restore", FaultCause::Refused, &detail));
        }
        // Before everything else but `configure`: whatever this instance was asked already, another is not.
        self.live = None;
        let live = live(&mut self.live, &self.plugin, &self.options)?;
        let call = Call { export: "restore", limit: live.limits.call };
        let instance = live.instance;
        let restored = self.plugin.enter(&mut live.store, call, |store| {
            Handover::new(&mut *store, &instance)?.proxywhirl_plugin_handover().call_restore(store, state)
        });
        match restored {
            Ok(Ok(())) => Ok(true),
            Ok(Err(reason)) => {
                // It may have taken over a part.
                self.live = None;
                Err(self.plugin.refused("restore", &reason))
            }
            Err(fault) => {
                self.live = None;
                Err(fault)
            }
        }
    }
}

/// The instance, which is made and configured if there is none.
fn live<'a, W: World>(
    live: &'a mut Option<Live<W>>,
    plugin: &Plugin,
    options: &str,
) -> Result<&'a mut Live<W>, PluginFault> {
    match live {
        Some(live) => Ok(live),
        None => Ok(live.insert(start(plugin, options)?)),
    }
}

fn start<W: World>(plugin: &Plugin, options: &str) -> Result<Live<W>, PluginFault> {
    let limits = plugin.limits();
    let (mut store, instance) = plugin.instantiate(&limits)?;
    let call = |export| Call { export, limit: limits.call };
    let found = plugin.enter(&mut store, call("instantiate"), |store| W::find(store, &instance));
    let world = found.map_err(|fault| mismatched(plugin, &fault))?;
    let configured = plugin.enter(&mut store, call("configure"), |store| world.configure(store, options))?;
    match configured {
        Ok(()) => Ok(Live { store, world, instance, limits }),
        Err(reason) => Err(plugin.refused("configure", &reason)),
    }
}

/// An export that is there, and not as the contract has it: the work of another toolchain or of another
/// state of the contract, under the same version.
fn mismatched(plugin: &Plugin, fault: &PluginFault) -> PluginFault {
    let kind = plugin.kind();
    let detail = format!(
        "its interface {kind} is not the one of version {CONTRACT} of the contract ({}); rebuild the plugin with the SDK of this host",
        fault.detail
    );
    plugin.fault("instantiate", FaultCause::Instantiate, &detail)
}
