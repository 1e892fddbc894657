//! Hooks: events in.

use std::sync::Arc;

use proxywhirl_core::event::{Event, Topic};
use proxywhirl_core::plugin::{Hook, OnFault, PluginFault, PluginIdentity};
use wasmtime::Store;
use wasmtime::component::Instance;

use crate::bindings::hook::Hook as Exports;
use crate::bindings::hook::exports::proxywhirl::plugin::hook as wit;
use crate::guest::{Guest, Pace, World};
use crate::logbook::cut;
use crate::plugin::Plugin;
use crate::state::State;

impl World for Exports {
    fn find(store: &mut Store<State>, instance: &Instance) -> wasmtime::Result<Self> {
        Self::new(store, instance)
    }

    fn configure(&self, store: &mut Store<State>, options: &str) -> wasmtime::Result<Result<(), String>> {
        self.proxywhirl_plugin_hook().call_configure(store, options)
    }
}

/// A hook and what it wants to hear.
pub(crate) struct Sandboxed {
    guest: Guest<Exports>,
    topics: Vec<Topic>,
}

impl Sandboxed {
    /// Starts the hook and asks it for its topics.
    pub(crate) fn new(plugin: Arc<Plugin>, options: Arc<str>) -> Result<Self, PluginFault> {
        let mut guest = Guest::<Exports>::new(plugin, options);
        let names = guest
            .call("topics", Pace::Patient, |exports, store| exports.proxywhirl_plugin_hook().call_topics(store))?;
        let topics: Vec<Topic> = names.iter().filter_map(|name| topic(name, guest.plugin())).collect();
        if topics.is_empty() && !names.is_empty() {
            // None left would mean all: the opposite of what it asked for.
            return Err(guest.plugin().refused("topics", "wants to hear only topics that this host does not have"));
        }
        Ok(Self { guest, topics })
    }
}

fn topic(name: &str, plugin: &Plugin) -> Option<Topic> {
    let topic = Topic::ALL.into_iter().find(|topic| topic.as_str() == name);
    if topic.is_none() {
        let name = cut(name, 64);
        tracing::warn!(target: "plugin", { plugin.name = plugin.name(), topic = ?name }, "wants to hear a topic that this host does not have");
    }
    topic
}

impl Hook for Sandboxed {
    fn identity(&self) -> &PluginIdentity {
        &self.guest.plugin().identity
    }

    fn on_fault(&self) -> OnFault {
        self.guest.plugin().on_fault()
    }

    fn topics(&self) -> &[Topic] {
        &self.topics
    }

    fn handle(&mut self, events: &[Event]) -> Result<(), PluginFault> {
        let rows: Vec<wit::Event<'_>> = events
            .iter()
            .map(|event| wit::Event {
                sequence: event.sequence,
                at: event.at.as_micros(),
                topic: event.topic.as_str(),
                payload: &event.payload,
            })
            .collect();
        let answer = self.guest.call("handle", Pace::Patient, |exports, store| {
            exports.proxywhirl_plugin_hook().call_handle(store, &rows)
        })?;
        answer.map_err(|reason| self.guest.plugin().refused("handle", &reason))
    }

    fn save(&mut self) -> Result<Option<Vec<u8>>, PluginFault> {
        self.guest.save()
    }

    fn restore(&mut self, state: &[u8]) -> Result<bool, PluginFault> {
        self.guest.restore(state)
    }
}
