//! Where the pool outlives the process: implementations of [`proxywhirl_core::store::Store`].
//!
//! [`Sqlite`] keeps members in a file, [`Memory`] keeps them as long as it lives. Both pass the same
//! tests, so whoever holds a `dyn Store` need not know which one it is.

#[cfg(test)]
mod conformance;
mod memory;
mod sqlite;

pub use memory::Memory;
pub use sqlite::Sqlite;
