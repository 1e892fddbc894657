//! The gateway against real sockets on loopback: what clients get when upstreams do well, fail, or lie.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod bans;
mod blame;
mod clients;
mod expecting;
mod failover;
mod first_flight;
mod forward;
mod hostile;
mod leaving;
mod life;
mod reuse;
mod scene;
mod smuggling;
mod templates;
mod tunnel;
mod users;
mod wishes;
