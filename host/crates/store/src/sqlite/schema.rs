//! The schema and its versions. `user_version` counts the migrations that were done; each is a file of
//! SQL that is never changed once it was released.

use std::path::Path;
use std::time::Duration;

use proxywhirl_core::store::StoreError;
use rusqlite::{Connection, TransactionBehavior};

/// The migrations, in order: the n-th brings a file to version n.
const MIGRATIONS: [&str; 4] = [
    include_str!("../../migrations/0001_members.sql"),
    include_str!("../../migrations/0002_sessions_and_keys.sql"),
    include_str!("../../migrations/0003_chains.sql"),
    include_str!("../../migrations/0004_health.sql"),
];

/// The version that this program writes.
pub(super) const VERSION: usize = MIGRATIONS.len();

/// `PWhl`: tells our files from those of other programs (`PRAGMA application_id`).
const APPLICATION_ID: i32 = 0x5057_686c;

/// Why a file cannot be used as it is.
pub(super) enum Problem {
    Foreign,
    Newer(usize),
    Corrupt(String),
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Problem {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl Problem {
    pub(super) fn into_error(self, path: &Path, busy_timeout: Duration) -> StoreError {
        let reason = match self {
            Self::Foreign => "belongs to another program; name another file with --db".to_owned(),
            Self::Newer(version) => format!(
                "was written by a later version of proxywhirl (schema {version}, this one knows up to {VERSION}); \
                 upgrade proxywhirl, or name another file with --db"
            ),
            Self::Corrupt(detail) => super::corrupt(&detail),
            Self::Sqlite(error) => return super::explain(path, busy_timeout, &error),
        };
        StoreError { place: super::place(path), reason }
    }
}

/// Reads whose file it is and of which version, and checks that it holds together. Writes nothing.
pub(super) fn inspect(connection: &Connection) -> Result<usize, Problem> {
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let application: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let objects: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let is_blank = application == 0 && found == 0 && objects == 0;
    if application != APPLICATION_ID && !is_blank {
        return Err(Problem::Foreign);
    }
    let version = usize::try_from(found).map_err(|_| Problem::Foreign)?;
    if version > VERSION {
        return Err(Problem::Newer(version));
    }
    // Finds broken pages now, in words, and not in the middle of a save.
    let report: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if report == "ok" { Ok(version) } else { Err(Problem::Corrupt(report)) }
}

/// Does the migrations that are missing, all or none.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Read again under the lock: another process may have migrated meanwhile.
    let done: u32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    for migration in MIGRATIONS.iter().skip(done as usize) {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "user_version", VERSION.max(done as usize) as i64)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.commit()
}
