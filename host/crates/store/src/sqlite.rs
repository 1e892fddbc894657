//! Members and sessions in an SQLite file.
//!
//! Others may read while one writes (`pool list` beside a running gateway): that is what the write-ahead log is for, and why
//! nothing is locked for longer than a save. Several may write, in turns: each adds what it has counted itself, and writes what it
//! has changed itself; who was taken out stays out, and a login that another one has changed stays (`members`). A save is one
//! transaction, so a crash leaves the state of the last one that ended; with `synchronous=NORMAL` a
//! loss of power may also take the last few, and never the file
//! (<https://www.sqlite.org/pragma.html#pragma_synchronous>).
//!
//! Invariants: the file is made for its owner only, because it holds passwords; a file that is not
//! ours, or of a later version, is left as it is; a row that is no member any more is skipped and
//! counted, and stays.

mod counted;
pub(crate) mod draft;
mod file;
pub(crate) mod key_values;
mod members;
mod row;
mod schema;
mod session;
mod settling;

use std::path::{Path, PathBuf};
use std::time::Duration;

use proxywhirl_core::store::{Changes, Page, Store, StoreError, StoredSession};
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior, ffi, params};

use crate::file::{Access, disk};
use members::Known;
use schema::Problem;
use settling::Settling;

/// How long to wait for another process that writes: much longer than any save takes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// What to do about a file that can be read alone.
const READ_ONLY: &str = "it or its folder cannot be written; change its owner or mode, or name another file with --db";

/// A pool in an SQLite file.
#[derive(Debug)]
pub struct Sqlite {
    /// Before the connection; none where nothing can be written.
    settling: Option<Settling>,
    connection: Connection,
    path: PathBuf,
    busy_timeout: Duration,
    /// Which file was opened, to know whether it is still there; none where files have no numbers.
    file: Option<disk::FileId>,
    /// What is known of the rows.
    known: Known,
    /// Held for who wants to know whether somebody writes; none for who only reads.
    _share: Option<disk::Share>,
}

impl Sqlite {
    /// Opens the file, makes it when it is missing, and brings it to this version's schema.
    ///
    /// # Errors
    /// When the file cannot be read and written, is no database, is corrupt, belongs to another program or to a later
    /// version, or is locked for longer than five seconds. The file is then as it was.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_within(path.as_ref(), BUSY_TIMEOUT)
    }

    /// The same for who only reads, also where it cannot be written.
    ///
    /// # Errors
    /// The same.
    pub fn open_to_read(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_for(path.as_ref(), BUSY_TIMEOUT, Access::Read)
    }

    fn open_within(path: &Path, busy_timeout: Duration) -> Result<Self, StoreError> {
        Self::open_for(path, busy_timeout, Access::Write)
    }

    fn open_for(path: &Path, busy_timeout: Duration, access: Access) -> Result<Self, StoreError> {
        let mut connection = connect(path, busy_timeout, access)?;
        let file = disk::id(path);
        let settling = match connection.is_readonly("main") {
            Ok(false) => Some(Settling::of(&mut connection, path.to_owned(), file)),
            _ => None,
        };
        Ok(Self {
            settling: settling.transpose().map_err(|error| explain(path, busy_timeout, &error))?,
            file,
            connection,
            path: path.to_owned(),
            busy_timeout,
            known: Known::default(),
            _share: None,
        })
    }

    /// The same for who stays and writes, which others are told.
    ///
    /// # Errors
    /// The same, and when a copy is being put into it.
    pub fn open_to_write(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        let failed = |reason| StoreError { place: place(path), reason };
        // Before anything is read that somebody may be replacing; what is not there yet is made.
        file::prepare(path).map_err(failed)?;
        let share = disk::Share::take(path).map_err(failed)?;
        Ok(Self { _share: share, ..Self::open(path)? })
    }

    fn explain(&self, error: &rusqlite::Error) -> StoreError {
        explain(&self.path, self.busy_timeout, error)
    }

    fn write(&mut self, changes: &Changes) -> rusqlite::Result<()> {
        // Immediate: the lock is taken, or waited for, before anything is written.
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let written = members::save(&transaction, changes, &self.known)?;
        {
            let mut forget = transaction.prepare_cached(session::DELETE)?;
            for session in &changes.forgotten {
                session::delete(&mut forget, *session)?;
            }
            let mut bind = transaction.prepare_cached(session::UPSERT)?;
            for session in &changes.sessions {
                session::upsert(&mut bind, session)?;
            }
        }
        transaction.commit()?;
        self.known.enter(written);
        Ok(())
    }

    fn read(&self, after: Option<u64>, limit: usize) -> rusqlite::Result<(Page, Skipped)> {
        let mut statement = self.connection.prepare_cached(row::SELECT)?;
        // Whoever writes numbers by hand may write negative ones.
        let after = after.map_or(i64::MIN, u64::cast_signed);
        let mut rows = statement.query(params![after, i64::try_from(limit).unwrap_or(i64::MAX)])?;
        let (mut members, mut skipped) = (Vec::new(), Skipped::default());
        let (mut last, mut count) = (None, 0);
        while let Some(row) = rows.next()? {
            let joined = row.get_ref(0)?.as_i64().unwrap_or_default();
            (last, count) = (Some(joined.cast_unsigned()), count + 1);
            match row::read(row) {
                Ok(member) => members.push(member),
                Err(reason) => skipped.note(joined, reason),
            }
        }
        Ok((Page { members, next: last.filter(|_| count == limit) }, skipped))
    }
}

/// Whether a process has opened a database to write it.
#[must_use]
pub(crate) fn is_in_use(path: &Path) -> bool {
    disk::Share::is_held(path)
}

/// Opens a file, makes it when it is missing, and brings it to this version's schema. Who only reads may read one that cannot be
/// written.
fn connect(path: &Path, busy_timeout: Duration, access: Access) -> Result<Connection, StoreError> {
    let failed = |reason: String| StoreError { place: place(path), reason };
    let explain = |error| explain(path, busy_timeout, &error);
    file::prepare(path).map_err(failed)?;
    // Without URI: a path that begins with `file:` is a path. No CREATE: the file is there, with the right mode.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = match inspected(path, flags, busy_timeout) {
        Err(Problem::Sqlite(error)) if access == Access::Read && is_refused(&error) && !file::has_log(path) => {
            // In a folder that cannot be written, or on a full disk, where SQLite has no room for its two files. Nobody else can write
            // there either.
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            inspected(Path::new(&file::immutable(path)), flags, busy_timeout)
        }
        opened => opened,
    };
    let (mut connection, version) = opened.map_err(|problem| problem.into_error(path, busy_timeout))?;
    if !is_whole(&connection, path).map_err(explain)? {
        return Err(failed(corrupt("breaks off before its end, as one that was not copied whole")));
    }
    if connection.is_readonly("main").map_err(explain)? {
        return match access {
            Access::Write => Err(failed(READ_ONLY.to_owned())),
            Access::Read if version < schema::VERSION => {
                Err(failed(format!("is of an older version, and has to be brought to this one: {READ_ONLY}")))
            }
            Access::Read => Ok(connection),
        };
    }
    connection.pragma_update(None, "journal_mode", "WAL").map_err(explain)?;
    connection.pragma_update(None, "synchronous", "NORMAL").map_err(explain)?;
    if version < schema::VERSION {
        schema::migrate(&mut connection).map_err(explain)?;
    }
    Ok(connection)
}

/// A connection, and of which version the file is.
fn inspected(path: &Path, flags: OpenFlags, busy_timeout: Duration) -> Result<(Connection, usize), Problem> {
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(busy_timeout)?;
    let version = schema::inspect(&connection)?;
    Ok((connection, version))
}

/// Whether the file has all pages that it should have, or a log beside it that may hold the rest. SQLite itself takes a last page that is there in
/// part for a whole one.
fn is_whole(connection: &Connection, path: &Path) -> rusqlite::Result<bool> {
    // Within one transaction: as long as it reads, nobody makes the file shorter, or puts a log away that it needs.
    let reading = connection.unchecked_transaction()?;
    let number = |name| reading.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let should_be = number("page_count")? * number("page_size")?;
    // In this order: what is not in the log by now is in the file.
    Ok(file::has_log(path) || std::fs::metadata(path).is_ok_and(|file| file.len() >= should_be.cast_unsigned()))
}

fn is_refused(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied))
        || has_no_room(error)
}

/// Whether there was no room for the table of the log that SQLite keeps beside a database: the disk is full.
fn has_no_room(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|error| error.extended_code == ffi::SQLITE_IOERR_SHMSIZE)
}

/// Rows that are no members: how many, and the first.
#[derive(Default)]
struct Skipped {
    count: u64,
    first: Option<(i64, String)>,
}

impl Skipped {
    fn note(&mut self, joined: i64, reason: String) {
        self.count += 1;
        self.first.get_or_insert((joined, reason));
    }
}

impl Store for Sqlite {
    fn page(&mut self, after: Option<u64>, limit: usize) -> Result<Page, StoreError> {
        let (page, skipped) = self.read(after, limit).map_err(|error| self.explain(&error))?;
        for member in &page.members {
            self.known.meet(member);
        }
        if let Some((joined, reason)) = skipped.first {
            tracing::warn!(
                store.path = %self.path.display(), store.skipped = skipped.count, first.joined = joined, first.reason = %reason,
                "rows of the database are no proxies and were skipped"
            );
        }
        Ok(page)
    }

    fn load_sessions(&mut self) -> Result<Vec<StoredSession>, StoreError> {
        let read = || {
            let mut statement = self.connection.prepare_cached(session::SELECT)?;
            statement.query_map([], session::read)?.collect::<rusqlite::Result<_>>()
        };
        read().map_err(|error| self.explain(&error))
    }

    fn save(&mut self, changes: &Changes) -> Result<(), StoreError> {
        see_that_it_is_there(&self.path, self.file)?;
        self.write(changes).map_err(|error| self.explain(&error))
    }

    fn purge(&mut self) -> Result<(), StoreError> {
        // Pages that are free are left out, and the log of what was written ends.
        if let Some(settling) = &self.settling {
            settling.wait();
        }
        let purged = self.connection.execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)");
        purged.map_err(|error| self.explain(&error))
    }
}

/// What is written into a file that has lost its name is lost with the process.
fn see_that_it_is_there(path: &Path, file: Option<disk::FileId>) -> Result<(), StoreError> {
    if file == disk::id(path) {
        return Ok(());
    }
    let reason = "is not there any more: it was moved, removed or replaced; put it back, or start what uses it again";
    Err(StoreError { place: place(path), reason: reason.to_owned() })
}

fn place(path: &Path) -> String {
    format!("database {}", path.display())
}

/// What SQLite reports, in words that say what to do.
fn explain(path: &Path, busy_timeout: Duration, error: &rusqlite::Error) -> StoreError {
    let reason = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => format!(
            "locked by another process for more than {busy_timeout:?}; end what uses it, or name another file with --db"
        ),
        Some(ErrorCode::NotADatabase) => {
            "file is not a database; name another file with --db, or move this one away".to_owned()
        }
        Some(ErrorCode::DatabaseCorrupt) => corrupt(&error.to_string()),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => READ_ONLY.to_owned(),
        Some(ErrorCode::CannotOpen) => {
            "cannot be opened; see that it can be read, and its folder written, since SQLite keeps two files beside it"
                .to_owned()
        }
        Some(ErrorCode::DiskFull) => FULL.to_owned(),
        Some(ErrorCode::SystemIoFailure) if has_no_room(error) => FULL.to_owned(),
        _ => error.to_string(),
    };
    StoreError { place: place(path), reason }
}

/// What is said where there is no room.
const FULL: &str = "the disk is full; what was kept before is untouched";

fn corrupt(detail: &str) -> String {
    format!(
        "corrupt ({detail}); move it away to begin with an empty pool, or try `sqlite3 FILE .recover` to save what is left"
    )
}

#[cfg(test)]
mod tests;
