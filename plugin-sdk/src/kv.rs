//! A store of keys and values, of the plugin's own, which survives restarts. Wanted as `kv`:
//! [`Description::with_capability`](crate::Description::with_capability).
//!
//! Off WebAssembly the thread has a store of its own, which [`fake`] empties, bounds and breaks; keys
//! expire by [`clock`](crate::clock).

use crate::duration;
use std::fmt;
use std::time::Duration;

/// The longest key, in bytes.
pub const MAX_KEY: usize = 256;

/// The longest value, in bytes.
pub const MAX_VALUE: usize = 262_144;

/// What a key holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// As it was set.
    pub value: Vec<u8>,
    /// A number that grows with every change of the key.
    pub version: u64,
}

/// Why a call did nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The plugin was not granted this capability.
    Denied,
    /// All keys and values together would exceed the quota.
    Quota,
    /// The key is empty or longer than 256 bytes, or the value longer than 262,144.
    Size,
    /// The host could not read or write.
    Unavailable(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied => f.write_str("kv was not granted"),
            Self::Quota => f.write_str("kv quota exceeded"),
            Self::Size => write!(f, "kv key of 0 or over {MAX_KEY} bytes, or value of over {MAX_VALUE}"),
            Self::Unavailable(why) => write!(f, "kv unavailable: {why}"),
        }
    }
}

impl std::error::Error for Error {}

/// What a key holds; none when it was never set, was deleted, or has expired.
pub fn get(key: &str) -> Result<Option<Entry>, Error> {
    host::get(key)
}

/// Sets a key, whatever it held, and answers with its new version. Without `ttl` it never expires.
pub fn set(key: &str, value: &[u8], ttl: Option<Duration>) -> Result<u64, Error> {
    host::set(key, value, micros(ttl))
}

/// Sets a key if its version is still the expected one, where 0 stands for a key that holds nothing.
/// Answers with the new version, or none when somebody else was faster.
pub fn compare_and_swap(key: &str, expected: u64, value: &[u8], ttl: Option<Duration>) -> Result<Option<u64>, Error> {
    host::compare_and_swap(key, expected, value, micros(ttl))
}

/// Deletes a key; false when it held nothing.
pub fn delete(key: &str) -> Result<bool, Error> {
    host::delete(key)
}

/// The keys that begin with a prefix, in order; 1,000 at the most, those after `after` if that is not
/// empty.
pub fn keys(prefix: &str, after: &str) -> Result<Vec<String>, Error> {
    host::keys(prefix, after)
}

/// 0 stands for never, so the shortest is a microsecond.
fn micros(ttl: Option<Duration>) -> u64 {
    ttl.map_or(0, |ttl| duration::micros(ttl).max(1))
}

#[cfg(target_arch = "wasm32")]
mod host {
    use super::{Entry, Error};
    use crate::bindings::shared::proxywhirl::plugin::kv;

    impl From<kv::Error> for Error {
        fn from(error: kv::Error) -> Self {
            match error {
                kv::Error::Denied => Self::Denied,
                kv::Error::Quota => Self::Quota,
                kv::Error::Size => Self::Size,
                kv::Error::Unavailable(why) => Self::Unavailable(why),
            }
        }
    }

    pub(super) fn get(key: &str) -> Result<Option<Entry>, Error> {
        let entry = kv::get(key)?;
        Ok(entry.map(|kv::Entry { value, version }| Entry { value, version }))
    }

    pub(super) fn set(key: &str, value: &[u8], ttl: u64) -> Result<u64, Error> {
        Ok(kv::set(key, value, ttl)?)
    }

    pub(super) fn compare_and_swap(key: &str, expected: u64, value: &[u8], ttl: u64) -> Result<Option<u64>, Error> {
        Ok(kv::compare_and_swap(key, expected, value, ttl)?)
    }

    pub(super) fn delete(key: &str) -> Result<bool, Error> {
        Ok(kv::delete(key)?)
    }

    pub(super) fn keys(prefix: &str, after: &str) -> Result<Vec<String>, Error> {
        Ok(kv::keys(prefix, after)?)
    }
}

#[cfg(not(target_arch = "wasm32"))]
use fake as host;
#[cfg(not(target_arch = "wasm32"))]
pub mod fake;

#[cfg(test)]
mod tests;
