//! The domain of ProxyWhirl: what a proxy, a pool, a plan and a fault are.
//!
//! Nothing here is asynchronous, does I/O, reads a clock or draws a random number: time and chance
//! are arguments, so that everything can be simulated from a seed and a failure replayed. The other
//! crates reach plugins and stores through the traits [`plugin`] and [`store`] that are defined here.

pub mod address;
pub mod breaker;
pub mod candidate;
pub mod endpoint;
pub mod event;
pub mod ewma;
pub mod fault;
pub mod host;
pub mod kv;
pub mod lease;
pub mod limit;
pub mod live;
pub mod member;
pub mod outcome;
pub mod plugin;
pub mod pool;
pub mod secret;
pub mod select;
pub mod shared;
pub mod spread;
pub mod store;
pub mod symbol;
pub mod tag;
pub mod tail;
pub mod time;
pub mod verdict;
pub mod window;

pub use candidate::{Candidate, Country, Rejection};
pub use endpoint::{Credentials, Endpoint, EndpointKey, Scheme};
pub use fault::{Fault, Kind, Side, Stage};
pub use host::Host;
pub use lease::Lease;
pub use member::{Member, MemberId};
pub use outcome::Outcome;
pub use pool::{Pool, Snapshot};
pub use secret::Secret;
pub use tag::{Tag, Tags};
pub use time::Timestamp;
pub use verdict::{Anonymity, Level, Verdict, Verified};
