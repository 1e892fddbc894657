//! Where the pool outlives the process: implementations of [`proxywhirl_core::store::Store`] and of
//! [`proxywhirl_core::kv::KeyValues`].
//!
//! [`Sqlite`] keeps members and sessions in a database, [`FileStore`] in a JSON or JSON Lines file, [`Redis`] in a server,
//! [`Memory`] as long as it lives. [`SqliteKeyValues`], [`FileKeyValues`], [`RedisKeyValues`] and [`MemoryKeyValues`] do the same
//! for what plugins keep. All of a kind pass the same tests, so whoever holds a `dyn Store` or `dyn KeyValues` need not know
//! which one it is. [`StoreUrl`] says which.

mod bans;
#[cfg(test)]
mod conformance;
mod copy;
pub mod exchange;
mod file;
pub mod keyring;
mod logins;
mod memory;
mod redis;
mod sealing;
mod sqlite;
mod url;

#[cfg(unix)]
use std::fs;
use std::path::Path;

pub use self::redis::{Redis, RedisBuckets, RedisKeyValues, RedisLeases, RedisPlaces, RedisQuotas, RedisUrl};
pub use copy::{Copied, Over, replace};
pub use file::disk::{keep_owner, stay_with};
pub use file::{Access, FileForm, FileKeyValues, FileStore, open as open_file};
pub use keyring::Keyring;
pub use logins::{Covers, StoredLogin, StoredLogins, UnreadLogin};
pub use memory::Memory;
pub use memory::key_values::MemoryKeyValues;
pub use sealing::{ClearText, Sealing};
pub use sqlite::Sqlite;
pub use sqlite::key_values::SqliteKeyValues;
pub use url::{NotAStore, Opened, StoreUrl};

/// Tells of a file that others may read.
#[cfg(unix)]
fn warn_when_open_to_others(path: &Path) {
    let Ok(about) = fs::metadata(path) else { return };
    let mode = std::os::unix::fs::PermissionsExt::mode(&about.permissions());
    if about.is_file() && mode & 0o077 != 0 {
        tracing::warn!(
            store.path = %path.display(), store.mode = %format_args!("{:o}", mode & 0o777),
            "others may read the pool, which holds passwords; `chmod 600` it"
        );
    }
}

#[cfg(not(unix))]
const fn warn_when_open_to_others(_: &Path) {}
