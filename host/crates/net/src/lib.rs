//! Bytes on the wire: dialling an upstream, the handshake with it, HTTP/1.1, and the relay.
//!
//! Everything that a peer sends is hostile until it is parsed: it is capped, it has a deadline, and what
//! is wrong with it becomes a [`proxywhirl_core::Fault`] that says who, where and what. The messages of
//! CONNECT and SOCKS are encoded and decoded by functions over bytes, apart from the sockets.

mod chain;
pub mod connect;
mod dial;
mod dialer;
pub mod fault;
pub mod http1;
pub mod relay;
mod resolve;
pub mod socks;
pub mod socks4;
pub mod socks5;
pub mod stages;
mod stream;
mod target;
pub mod tls;

pub use dialer::{Dialer, DialerConfig, Forward, RequestForm, Trust};
pub use stream::{Prefixed, Stream};
pub use target::{NotATarget, Target};
pub use tls::{TlsConfig, TlsError};
