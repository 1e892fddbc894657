//! The loopback world, looked at with raw sockets and with curl: nothing here shares code with what it tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod behaviours;
mod client;
mod curl;
mod http_upstream;
mod origin;
mod program;
mod socks_upstream;
mod world;
