//! A live instance, replaced by a fresh one after every fault.

use std::sync::Arc;
use std::time::Duration;

use proxywhirl_core::plugin::{FaultCause, PluginFault};
use wasmtime::Store;
use wasmtime::component::Instance;

use crate::plugin::Plugin;
use crate::state::State;

/// The exports of one kind of plugin.
pub(crate) trait World: Send + Sized {
    /// Finds the exports in an instance.
    fn find(store: &mut Store<State>, instance: &Instance) -> wasmtime::Result<Self>;

    /// Hands the options over. Kinds that get them otherwise have nothing to do.
    fn configure(&self, store: &mut Store<State>, options: &str) -> wasmtime::Result<Result<(), String>>;
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
        if self.live.is_none() {
            self.live = Some(start(&self.plugin, &self.options)?);
        }
        Ok(())
    }

    /// Calls an export. After a fault the instance is gone.
    pub(crate) fn call<R: Send>(
        &mut self,
        export: &'static str,
        limit: Duration,
        run: impl FnOnce(&W, &mut Store<State>) -> wasmtime::Result<R> + Send,
    ) -> Result<R, PluginFault>
    where
        W: Sync,
    {
        let mut live = match self.live.take() {
            Some(live) => live,
            None => start(&self.plugin, &self.options)?,
        };
        let world = &live.world;
        let answer = self.plugin.enter(&mut live.store, export, limit, |store| run(world, store))?;
        self.live = Some(live);
        Ok(answer)
    }

    /// Throws the instance away: what it said cannot be believed.
    pub(crate) fn discard(&mut self) {
        self.live = None;
    }
}

fn start<W: World>(plugin: &Plugin, options: &str) -> Result<Live<W>, PluginFault> {
    let limit = plugin.limits().call;
    let (mut store, instance) = plugin.instantiate()?;
    let found = plugin.enter(&mut store, "instantiate", limit, |store| W::find(store, &instance));
    let world = found.map_err(|fault| PluginFault { cause: FaultCause::Instantiate, ..fault })?;
    let configured = plugin.enter(&mut store, "configure", limit, |store| {
        let answer = world.configure(store, options)?;
        Ok((world, answer))
    })?;
    match configured {
        (world, Ok(())) => Ok(Live { store, world }),
        (_, Err(reason)) => Err(plugin.call("configure", limit).refused(&reason)),
    }
}
