//! Capabilities: what a plugin may use beyond what every plugin of its kind gets.
//!
//! A capability needs three agreements: the component imports its interface, its manifest asks for it
//! with parameters, and the user's settings grant it. The last two are written in one grammar, see
//! [`Grant`], and what is in force is what they have in common. An import that was not granted is linked
//! all the same, to a host that says no, because a plugin should say itself what it does without.
//!
//! A grant is looked up at each use, so that taking one away stops instances that run already.

pub(crate) mod account;
pub(crate) mod address;
pub(crate) mod bucket;
pub(crate) mod grant;
pub(crate) mod http;
pub(crate) mod kv;
pub(crate) mod metrics;
pub(crate) mod pass;
pub(crate) mod rule;

pub use grant::{Grant, GrantError};
pub use pass::{Access, Standing};
pub use rule::{HostRule, HttpRule, PortRule, WebScheme};
