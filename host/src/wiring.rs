//! Wires the parts together: what the configuration means becomes plugins, engine and gateway.
//!
//! `serve`, `get` and `demo` all start the same [`Service`]; only here is known who implements the
//! traits that the engine asks for.

mod besides;
mod check;
mod crew;
mod fetching;
pub mod listeners;
mod net;
mod plugins;
mod refresh;
mod service;
mod starting;
mod tags;
mod watched;
mod weights;

pub use besides::{Besides, of_listeners as strategies_of_listeners};
pub use check::{can_read, checker, judge, judge_url, meet_judges, serve_judge};
pub use crew::work;
pub use fetching::{Fetching, shown, source};
pub use net::{bind, dialer, local_address, stop_on_signal, tls_config};
pub use plugins::{Known, Registry, Surroundings, cache_directory};
pub use service::{Filled, Filling, Service};
pub use weights::Weights;
