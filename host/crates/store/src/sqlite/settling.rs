//! What was saved comes from the write-ahead log into the database beside the saves.
//!
//! SQLite would do that at the end of the save that makes the log longer than a thousand pages, which is each save of a thousand
//! members all over a large file: most of its time goes into that, and into waiting for the disk. Here a thread with a connection of
//! its own does it, and who saves in the meantime goes on (<https://www.sqlite.org/wal.html>, 2.2).

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rusqlite::hooks::Wal;
use rusqlite::{Connection, OpenFlags};

use crate::file::disk;

/// So many pages in the log are worth the way, as SQLite has it.
const ENOUGH: i32 = 1_000;

/// With more than that the save does it itself: 64 MiB, when the thread has failed, or does not come after.
const TOO_MANY: i32 = 16_000;

/// What brings the log into the database. Waits for what is under way when it is dropped, and has to be dropped before the connection
/// that writes: who closes a database last puts its log away.
#[derive(Debug)]
pub(super) struct Settling(Arc<Mutex<Settler>>);

#[derive(Debug)]
struct Settler {
    path: PathBuf,
    file: Option<disk::FileId>,
    under_way: Option<JoinHandle<()>>,
}

impl Settling {
    /// Has the log of this connection, to this file, brought into the database.
    pub(super) fn of(connection: &mut Connection, path: PathBuf, file: Option<disk::FileId>) -> rusqlite::Result<Self> {
        let settler = Arc::new(Mutex::new(Settler { path, file, under_way: None }));
        let other = Arc::clone(&settler);
        // What a hook says is wrong would be told as an error of the save, which is done.
        connection.wal_hook(Some(move |log: &mut Wal, pages| {
            if pages >= TOO_MANY {
                drop(log.checkpoint());
            } else if pages >= ENOUGH {
                lock(&other).begin();
            }
            Ok(())
        }))?;
        Ok(Self(settler))
    }

    /// Waits until nothing is under way.
    pub(super) fn wait(&self) {
        let under_way = lock(&self.0).under_way.take();
        drop(under_way.map(JoinHandle::join));
    }
}

impl Drop for Settling {
    fn drop(&mut self) {
        self.wait();
    }
}

impl Settler {
    fn begin(&mut self) {
        let is_under_way = self.under_way.as_ref().is_some_and(|thread| !thread.is_finished());
        // Under its name there may be another file by now.
        if is_under_way || self.file != disk::id(&self.path) {
            return;
        }
        let path = self.path.clone();
        let thread = std::thread::Builder::new().name("pool-settling".to_owned()).spawn(move || {
            if let Err(error) = settle(&path) {
                tracing::debug!(store.path = %path.display(), %error, "the log was not brought into the database");
            }
        });
        // Where there is no thread to be had, the log grows until a save does it.
        self.under_way = thread.ok();
    }
}

fn settle(path: &Path) -> rusqlite::Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    // As the connection that saves has it: the log has to be on the disk before the database is.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}

fn lock(settler: &Mutex<Settler>) -> MutexGuard<'_, Settler> {
    settler.lock().unwrap_or_else(PoisonError::into_inner)
}
