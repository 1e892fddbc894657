//! What happens to proxies between being found and being used: sources, checks, the pool's writer,
//! the choice of a member for each request, and the events that tell of all that.
//!
//! Plugins and stores are reached through the traits of `proxywhirl_core` only.

pub mod bus;
pub mod check;
pub mod clock;
pub mod dedup;
pub mod engine;
pub mod events;
pub mod faults;
pub mod hooks;
pub mod ingest;
pub mod source;
pub mod strategy;
pub mod writer;

pub use clock::Clock;
pub use engine::{Attempt, Completion, Engine, EngineConfig, Parts, StartError};
pub use writer::Admissions;
