//! A loopback internet: origins, upstream proxies and proxy lists, all on this machine.
//!
//! It is the counterpart that ProxyWhirl is tested and demonstrated against. It shares no code with the
//! product on purpose (its HTTP and SOCKS are written here, by hand): a wrong reading of a protocol on one
//! side would otherwise be repeated, and hidden, on the other.
//!
//! Invariants:
//!
//! - Everything listens on a loopback address, and an [`Upstream`] dials loopback addresses only, so nothing
//!   that a test gets wrong leaves the machine.
//! - A handle ([`Origin`], [`Upstream`], [`World`]) owns its listeners and its sessions: dropping it ends them.
//! - Memory is bounded: bodies stream, heads stop at 64 KiB, tables and logs have a ceiling.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use proxywhirl_world::{Behaviour, Origin, Protocol, TestCa, Upstream, UpstreamOptions};
//!
//! let ca = TestCa::new()?;
//! let origin = Origin::start(&ca).await?;
//! let upstream = Upstream::start(UpstreamOptions::new(Protocol::Socks5h)).await?;
//! println!("curl --proxy {} {}", upstream.url(), origin.http_url("/ip"));
//! upstream.set_behaviour(Behaviour::CloseAfterHead).await?;
//! assert_eq!(upstream.counters().requests(), 0);
//! # Ok(())
//! # }
//! ```

mod behaviour;
mod ca;
mod hosts;
mod http;
mod json;
mod listen;
mod origin;
mod upstream;
mod wire;
mod world;

pub use behaviour::Behaviour;
pub use ca::{TestCa, self_signed_server};
pub use hosts::Hosts;
pub use listen::{ClosedPort, closed_port};
pub use origin::{Origin, OriginOptions, fnv1a, pattern};
pub use upstream::{Anonymity, Counters, Credentials, Destinations, Protocol, Upstream, UpstreamOptions};
pub use world::{World, WorldPlan};
