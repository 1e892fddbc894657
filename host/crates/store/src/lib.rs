//! Where the pool outlives the process: implementations of [`proxywhirl_core::store::Store`] and of
//! [`proxywhirl_core::kv::KeyValues`].
//!
//! [`Sqlite`] keeps members and sessions in a file, [`Memory`] keeps them as long as it lives. [`SqliteKeyValues`] and
//! [`MemoryKeyValues`] do the same for what plugins keep. Both of a kind pass the same tests, so whoever holds a
//! `dyn Store` or `dyn KeyValues` need not know which one it is.

#[cfg(test)]
mod conformance;
mod memory;
mod sqlite;

pub use memory::Memory;
pub use memory::key_values::MemoryKeyValues;
pub use sqlite::Sqlite;
pub use sqlite::key_values::SqliteKeyValues;
