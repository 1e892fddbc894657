//! Event hooks: plugins that hear what happens.
//!
//! One instance lives behind a bounded queue; a gap in [`Event::sequence`] tells that events were
//! dropped for it. An error of [`Hook::handle`] is logged and counted, and the batch is not sent
//! again.

use crate::describe::{self, Description};
use crate::{bindings, panics};
use bindings::handover::exports::proxywhirl::plugin::handover;
use bindings::hook::exports::proxywhirl::plugin::hook;
use bindings::shared::exports::proxywhirl::plugin::about;
use serde::de::DeserializeOwned;
use std::marker::PhantomData;

pub use hook::Event;

/// An event hook. `export!(hook: Name)` makes it the component's export.
pub trait Hook: Sized + 'static {
    /// Its options, from JSON that fits the schema in its description.
    type Options: DeserializeOwned + Default;

    /// What it is. The same at every call.
    fn describe() -> Description;

    /// Called once, before everything else. The error is for people.
    fn new(options: Self::Options) -> Result<Self, String>;

    /// The topics that it wants to hear; empty for all.
    fn topics(&self) -> Vec<String> {
        Vec::new()
    }

    /// Events, in order; none of them about once a second while nothing happens, for what waits for its
    /// time.
    fn handle(&mut self, events: &[Event]) -> Result<(), String>;

    /// What the version that takes this one's place should know, at most 4 MiB; empty for nothing.
    /// Called only when the plugin is exported with `handover`.
    fn save(&mut self) -> Vec<u8> {
        Vec::new()
    }

    /// What the instance before this one saved, perhaps an older version. Called after
    /// [`Hook::new`], before everything else. With an error it begins without.
    fn restore(&mut self, state: &[u8]) -> Result<(), String> {
        let _ = state;
        Ok(())
    }
}

/// A hook as the host drives it. Tests drive it the same way.
#[derive(Debug)]
pub struct Running<H> {
    hook: Option<H>,
}

impl<H: Hook> Running<H> {
    /// Before `configure`.
    #[must_use]
    pub fn new() -> Self {
        panics::report();
        Self { hook: None }
    }

    /// Reads the options and makes the hook.
    pub fn configure(&mut self, options: &str) -> Result<(), String> {
        self.hook = Some(H::new(describe::options(options)?)?);
        Ok(())
    }

    /// The topics that it wants to hear.
    #[must_use]
    pub fn topics(&self) -> Vec<String> {
        self.hook.as_ref().map(H::topics).unwrap_or_default()
    }

    /// Hands over events.
    pub fn handle(&mut self, events: &[Event]) -> Result<(), String> {
        match &mut self.hook {
            Some(hook) => hook.handle(events),
            None => Err("not configured".to_owned()),
        }
    }

    /// What the hook hands over.
    pub fn save(&mut self) -> Vec<u8> {
        self.hook.as_mut().map(H::save).unwrap_or_default()
    }

    /// Hands over what the hook before it saved.
    pub fn restore(&mut self, state: &[u8]) -> Result<(), String> {
        match &mut self.hook {
            Some(hook) => hook.restore(state),
            None => Err("not configured".to_owned()),
        }
    }

    /// The hook itself, for tests that look inside; none before `configure`.
    #[must_use]
    pub const fn hook(&self) -> Option<&H> {
        self.hook.as_ref()
    }
}

impl<H: Hook> Default for Running<H> {
    fn default() -> Self {
        Self::new()
    }
}

/// A hook with its one live instance. [`export!`](crate::export) implements it.
#[doc(hidden)]
pub trait Hosted: Hook {
    /// Calls with the live instance.
    fn with<R>(call: impl FnOnce(&mut Running<Self>) -> R) -> R;
}

/// The export of a hook.
#[doc(hidden)]
#[derive(Debug)]
pub struct Component<H>(PhantomData<H>);

impl<H: Hosted> about::Guest for Component<H> {
    fn describe() -> about::Description {
        H::describe().into()
    }
}

impl<H: Hosted> hook::Guest for Component<H> {
    fn configure(options: String) -> Result<(), String> {
        H::with(|running| running.configure(&options))
    }

    fn topics() -> Vec<String> {
        H::with(|running| running.topics())
    }

    fn handle(events: Vec<Event>) -> Result<(), String> {
        H::with(|running| running.handle(&events))
    }
}

impl<H: Hosted> handover::Guest for Component<H> {
    fn save() -> Vec<u8> {
        H::with(Running::save)
    }

    fn restore(state: Vec<u8>) -> Result<(), String> {
        H::with(|running| running.restore(&state))
    }
}
