//! The control API: how commands reach the gateway that runs.
//!
//! HTTP/1.1 with JSON over a Unix socket that only its user can open: what may change a gateway is what may kill it, so
//! the operating system's own permissions decide, and nobody has to keep a password. The directory is the user's and
//! closed to others (0700), the socket too (0600), and the peer's user is asked of the kernel again.
//!
//! Invariants: requests, connections, bodies and waits are bounded; a change that fails changes nothing; every refusal
//! is a [`Problem`](api::Problem) with the exit code that a command ends with.

pub mod api;
pub mod client;
pub mod listed;
pub mod place;
mod routes;
mod server;

pub use client::Client;
pub use place::Claim;
pub use routes::{Routed, router};
pub use server::serve;
