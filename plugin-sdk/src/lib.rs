//! What a ProxyWhirl plugin written in Rust depends on.
//!
//! A plugin is a crate of type `cdylib` with one type that implements one of three traits, and one
//! macro call that makes it the component's export:
//!
//! ```
//! use proxywhirl_plugin_sdk::strategy::{Mode, Moment, Plan, Strategy, Table, View};
//! use proxywhirl_plugin_sdk::{Description, NoOptions};
//!
//! /// Everybody in turn.
//! struct InTurn;
//!
//! impl Strategy for InTurn {
//!     type Options = NoOptions;
//!
//!     fn describe() -> Description {
//!         Description::new("in-turn", env!("CARGO_PKG_VERSION"), "Everybody in turn.")
//!     }
//!
//!     fn new(_: NoOptions) -> Result<Self, String> {
//!         Ok(Self)
//!     }
//!
//!     fn plan(&mut self, _: &Table, _: &View, _: Moment) -> Plan {
//!         Plan::everyone(Mode::Cycle)
//!     }
//! }
//!
//! proxywhirl_plugin_sdk::export!(strategy: InTurn);
//! # fn main() {}
//! ```
//!
//! * [`strategy`]: chooses which member of the pool serves a request.
//! * [`parser`]: turns a document into candidates; [`entry`], [`fields`] and [`columns`] are the
//!   grammar that parsers share.
//! * [`hook`]: hears what happens.
//!
//! The host's abilities are [`log`], [`clock`], [`random`] and [`symbols`]; a hook may ask for [`kv`],
//! [`metrics`] and [`http`] besides. Off WebAssembly they are stand-ins that a test can read, set and
//! make fail, so `cargo test` runs a plugin as it is; [`testing`] draws from a strategy's plans as the
//! host does. `proxywhirl plugin build` makes the component, which imports only what the plugin calls.

// Generated code calls into the host; nothing else here may.
#[allow(missing_docs, unsafe_code, clippy::all, clippy::pedantic, clippy::restriction)]
#[doc(hidden)]
pub mod bindings;

mod address;
pub mod bytes;
pub mod clock;
pub mod columns;
pub mod country;
mod describe;
pub mod duration;
pub mod entry;
pub mod fields;
pub mod hook;
pub mod http;
pub mod kv;
pub mod log;
pub mod metrics;
mod panics;
pub mod parser;
pub mod random;
pub mod strategy;
pub mod symbols;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
pub mod words;

pub use bindings::shared::proxywhirl::plugin::types::{Anonymity, Scheme, Slot, Symbol};
pub use describe::{Description, NoOptions};

/// Makes a type the export of this component: `export!(strategy: Fastest)`, `export!(parser: Text)`
/// or `export!(hook: LogEvents)`. Once in a crate.
///
/// A strategy or a hook that implements `save` and `restore` says so, and the component then exports
/// `handover` as well: `export!(strategy: Thompson, handover)`.
#[macro_export]
macro_rules! export {
    (strategy: $plugin:ty) => {
        $crate::__hosted!(strategy, $plugin);
        $crate::__component!(strategy, $plugin, strategy::export_strategy);
    };
    (strategy: $plugin:ty, handover) => {
        $crate::__hosted!(strategy, $plugin);
        $crate::__component!(strategy, $plugin, strategy::export_strategy, handover::export_handover);
    };
    (parser: $plugin:ty) => {
        $crate::__component!(parser, $plugin, parser::export_parser);
    };
    (hook: $plugin:ty) => {
        $crate::__hosted!(hook, $plugin);
        $crate::__component!(hook, $plugin, hook::export_hook);
    };
    (hook: $plugin:ty, handover) => {
        $crate::__hosted!(hook, $plugin);
        $crate::__component!(hook, $plugin, hook::export_hook, handover::export_handover);
    };
}

/// The one live instance of a plugin that keeps state. A macro, because a generic function cannot
/// own a static for each type.
#[doc(hidden)]
#[macro_export]
macro_rules! __hosted {
    ($kind:ident, $plugin:ty) => {
        impl $crate::$kind::Hosted for $plugin {
            fn with<R>(call: impl FnOnce(&mut $crate::$kind::Running<Self>) -> R) -> R {
                ::std::thread_local! {
                    static RUNNING: ::std::cell::RefCell<$crate::$kind::Running<$plugin>> =
                        ::std::cell::RefCell::new($crate::$kind::Running::new());
                }
                RUNNING.with_borrow_mut(call)
            }
        }
    };
}

/// The exported functions. Absent off WebAssembly, where their names would clash as soon as two
/// plugins are linked into one test.
#[doc(hidden)]
#[macro_export]
macro_rules! __component {
    ($kind:ident, $plugin:ty, $($module:ident::$export:ident),+) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code)]
        const _: () = {
            type Exported = $crate::$kind::Component<$plugin>;
            $crate::bindings::shared::export_about!(Exported with_types_in $crate::bindings::shared);
            $($crate::bindings::$module::$export!(Exported with_types_in $crate::bindings::$module);)+
        };
    };
}
