//! A pool as JSON Lines: each save is appended, and the file is written anew when most of it is past.
//!
//! A line is an object: a member (`url` and the fields of the JSON document), `removed`, a session, `forgotten`, or a key of a
//! plugin. What comes later replaces what came before. A save of several lines begins with `{"batch":N}` and counts when all
//! of the N lines are there: a save that was cut off, by a crash or a full disk, is dropped and told. Whoever appends lines by
//! hand needs no batch.
//!
//! A copy of a file that broke off looks like that too, and may lack much more than a save: a file that was written anew says in
//! its first line how many lines it had, and a batch as large as all before it is no ordinary save. Such a file is damaged: what
//! can be read of it is, and whoever writes keeps it aside first.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

use proxywhirl_core::endpoint::EndpointKey;
use proxywhirl_core::kv::{KeyArchive, KeyRecord};
use proxywhirl_core::store::{Changes, StoredMember, StoredSession};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::Contents;
use super::disk::{self, FileId};
use super::form::{self, Hexadecimal, KeyRow, MemberRow, SessionRow};

/// The version of the form that this program writes.
const VERSION: u64 = 1;

/// The longest line: a value of a plugin may have some megabytes.
const MAX_LINE: u64 = 64 * 1024 * 1024;

/// How many times as many lines as it needs a file may have before it is written anew.
const GROWTH: u64 = 3;

/// Lines below which it does not matter.
const SMALL: u64 = 1_000;

/// Lines below which a batch is an ordinary save, unless there is nothing else.
const LARGE: u64 = 100;

/// How far a file is good.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Extent {
    /// Bytes that count; behind them may be what was cut off.
    bytes: u64,
    /// Bytes that there are with that.
    length: u64,
    /// Which file it is, where files can be told apart.
    id: Option<FileId>,
    /// Lines in them.
    lines: u64,
    /// Whether the last line has no end yet.
    is_open: bool,
    /// Lines from which it is written anew; 0 to find it out.
    limit: u64,
    /// Whether more than a save is missing at its end.
    pub(super) is_damaged: bool,
}

/// What a line says, but for those that begin a batch.
enum Line {
    Head(Head),
    Member(Box<StoredMember>),
    Removed(EndpointKey),
    Session(StoredSession),
    Forgotten(u64),
    Key(KeyRecord),
}

enum Parsed {
    /// A batch of so many lines begins.
    Batch(u64),
    Line(Line),
}

/// Which line it is: the field that only it has.
#[derive(Deserialize)]
struct Kind {
    pool: Option<IgnoredAny>,
    batch: Option<u64>,
    url: Option<IgnoredAny>,
    removed: Option<String>,
    session: Option<IgnoredAny>,
    forgotten: Option<Hexadecimal>,
    owner: Option<IgnoredAny>,
}

#[derive(Serialize, Deserialize)]
struct Head {
    pool: String,
    #[serde(default)]
    version: u64,
    /// Lines that followed when the file was written anew; 0 when nobody knows.
    #[serde(default, skip_serializing_if = "is_zero")]
    lines: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn parse(bytes: &[u8]) -> Result<Parsed, String> {
    let place = |error: serde_json::Error| {
        // The line is told by the one who counts them.
        format!("column {}: {}", error.column(), form::reason(&error))
    };
    let kind: Kind = serde_json::from_slice(bytes).map_err(place)?;
    let line = if kind.url.is_some() {
        let row: MemberRow = serde_json::from_slice(bytes).map_err(place)?;
        Line::Member(Box::new(row.try_into()?))
    } else if kind.session.is_some() {
        Line::Session(serde_json::from_slice::<SessionRow>(bytes).map_err(place)?.into())
    } else if kind.owner.is_some() {
        Line::Key(serde_json::from_slice::<KeyRow>(bytes).map_err(place)?.try_into()?)
    } else if kind.pool.is_some() {
        Line::Head(serde_json::from_slice(bytes).map_err(place)?)
    } else {
        match (kind.batch, kind.removed, kind.forgotten) {
            (Some(lines), None, None) => return Ok(Parsed::Batch(lines)),
            (None, Some(text), None) => Line::Removed(form::key(&text)?),
            (None, None, Some(session)) => Line::Forgotten(session.0),
            _ => return Err("column 1: none of url, removed, session, forgotten, owner, batch and pool".to_owned()),
        }
    };
    Ok(Parsed::Line(line))
}

/// Reads a file as far as it is good.
pub(super) fn read(path: &Path) -> Result<(Contents, Extent), String> {
    // Before it is read: whoever replaces it meanwhile is found out by that.
    let id = disk::id(path);
    let file = File::open(path).map_err(|error| disk::refusal(&error))?;
    let mut reading = Reading::default();
    let mut lines = BufReader::with_capacity(256 * 1024, file);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = lines.by_ref().take(MAX_LINE).read_until(b'\n', &mut line);
        if read.map_err(|error| disk::refusal(&error))? == 0 {
            break;
        }
        if line.len() as u64 == MAX_LINE {
            return Err(disk::corrupt(&format!("line {} has more than {MAX_LINE} bytes", reading.number + 1)));
        }
        if !reading.take(&line)? {
            break;
        }
    }
    let (contents, extent) = reading.finish(path)?;
    Ok((contents, Extent { id, ..extent }))
}

/// A file as far as it is read.
#[derive(Default)]
struct Reading {
    contents: Contents,
    extent: Extent,
    /// Of the line that was read last, from 1.
    number: u64,
    bytes: u64,
    /// The lines of a batch that is not whole yet, and how many are missing.
    batch: Vec<Line>,
    missing: u64,
    dropped: u64,
    /// Lines that the file had when it was written anew.
    whole: u64,
}

impl Reading {
    /// Takes a line; false when it is cut off, and so the last.
    fn take(&mut self, line: &[u8]) -> Result<bool, String> {
        self.number += 1;
        self.bytes += line.len() as u64;
        let is_open = !line.ends_with(b"\n");
        if !line.iter().all(u8::is_ascii_whitespace) {
            match parse(line) {
                Ok(line) => self.note(line)?,
                Err(_) if is_open => {
                    self.dropped += 1;
                    return Ok(false);
                }
                Err(reason) => return Err(disk::corrupt(&format!("line {}, {reason}", self.number))),
            }
        }
        if self.missing == 0 {
            self.extent = Extent { bytes: self.bytes, lines: self.number, is_open, ..Extent::default() };
        }
        Ok(true)
    }

    fn note(&mut self, parsed: Parsed) -> Result<(), String> {
        match (parsed, self.missing) {
            (Parsed::Batch(lines), 0) => self.missing = lines,
            (Parsed::Batch(_), _) => {
                return Err(disk::corrupt(&format!("line {}: a batch in the middle of another", self.number)));
            }
            (Parsed::Line(line), 0) => self.apply(line)?,
            (Parsed::Line(line), _) => {
                self.batch.push(line);
                self.missing -= 1;
                if self.missing == 0 {
                    for line in std::mem::take(&mut self.batch) {
                        self.apply(line)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn apply(&mut self, line: Line) -> Result<(), String> {
        let mut changes = Changes::default();
        match line {
            Line::Head(Head { version, .. }) if version > VERSION => return Err(disk::newer(version, VERSION)),
            Line::Head(Head { pool, lines, .. }) => {
                self.contents.name = pool;
                self.whole = self.number + lines;
            }
            Line::Member(member) => changes.upserts.push(*member),
            Line::Removed(key) => changes.removed.push(key),
            Line::Session(session) => changes.sessions.push(session),
            Line::Forgotten(session) => changes.forgotten.push(session),
            Line::Key(record) => self.contents.keys.restore(&record).map_err(|error| error.to_string())?,
        }
        self.contents.members.apply(&changes);
        Ok(())
    }

    fn finish(mut self, path: &Path) -> Result<(Contents, Extent), String> {
        let batch = std::mem::take(&mut self.batch);
        let is_cut = self.dropped > 0 || self.missing > 0;
        // A save may have been cut off; not one before which there was nothing, or less than in it.
        let (before, size) = (self.contents.count(), batch.len() as u64 + self.missing);
        let is_large = !batch.is_empty() && (before == 0 || size >= LARGE.max(before as u64));
        self.extent.is_damaged = is_cut && (is_large || self.number < self.whole);
        let path = path.display();
        if self.extent.is_damaged {
            let (found, missing) = (batch.len(), self.missing);
            if is_large {
                for line in batch {
                    self.apply(line)?;
                }
            }
            // So that the next save writes it anew: what follows must not stand in the middle of a batch.
            self.extent.lines = u64::MAX;
            tracing::error!(
                store.path = %path, batch.lines = found, batch.missing = missing, line = self.number,
                "the file breaks off, as one that was not copied to its end: what could be read of it is used"
            );
        } else if is_cut {
            // The batch's first line, too.
            self.dropped += if self.missing > 0 { batch.len() as u64 + 1 } else { 0 };
            tracing::warn!(
                store.path = %path, store.dropped = self.dropped,
                "the last save was cut off, and its lines are dropped"
            );
        }
        self.extent.length = self.bytes;
        self.extent.limit = limit(&self.contents);
        Ok((self.contents, self.extent))
    }
}

fn limit(contents: &Contents) -> u64 {
    GROWTH * contents.count() as u64 + SMALL
}

/// The lines of a save. What is gone goes first: it may come back in the same save.
fn lines(changes: &Changes, keys: Vec<KeyRecord>) -> serde_json::Result<(Vec<u8>, u64)> {
    let mut lines = Lines::default();
    for key in &changes.removed {
        lines.push(&serde_json::json!({ "removed": key.to_string() }))?;
    }
    for member in changes.upserts.iter().chain(&changes.updates) {
        lines.push(&MemberRow::new(member))?;
    }
    for session in &changes.forgotten {
        lines.push(&serde_json::json!({ "forgotten": format!("{session:016x}") }))?;
    }
    for session in &changes.sessions {
        lines.push(&SessionRow::from(session))?;
    }
    for record in keys {
        lines.push(&KeyRow::from(record))?;
    }
    let Lines { mut bytes, count } = lines;
    if count > 1 {
        bytes.splice(0..0, format!("{{\"batch\":{count}}}\n").into_bytes());
    }
    Ok((bytes, if count > 1 { count + 1 } else { count }))
}

#[derive(Default)]
struct Lines {
    bytes: Vec<u8>,
    count: u64,
}

impl Lines {
    fn push(&mut self, row: &impl Serialize) -> serde_json::Result<()> {
        serde_json::to_writer(&mut self.bytes, row)?;
        self.bytes.push(b'\n');
        self.count += 1;
        Ok(())
    }
}

/// Sees that a save can be appended.
pub(super) fn try_out(path: &Path) -> io::Result<()> {
    open_to_append(path).map(drop)
}

fn open_to_append(path: &Path) -> io::Result<File> {
    disk::private().write(true).create(true).truncate(false).open(path)
}

/// Appends a save, all of it or nothing that counts.
pub(super) fn append(path: &Path, extent: &mut Extent, changes: &Changes, keys: Vec<KeyRecord>) -> io::Result<()> {
    let (mut bytes, count) = lines(changes, keys)?;
    if extent.is_open {
        bytes.insert(0, b'\n');
    }
    let mut file = open_to_append(path)?;
    // What was cut off before goes now.
    file.set_len(extent.bytes)?;
    file.seek(SeekFrom::Start(extent.bytes))?;
    if let Err(error) = file.write_all(&bytes).and_then(|()| file.sync_data()) {
        // If that fails too, the next save does it.
        drop(file.set_len(extent.bytes));
        extent.length = file.metadata().map_or(extent.bytes, |about| about.len());
        return Err(error);
    }
    extent.bytes += bytes.len() as u64;
    extent.length = extent.bytes;
    extent.lines += count;
    extent.is_open = false;
    Ok(())
}

impl Extent {
    /// Whether the file is still the one that was read or written last, and nobody else has written to it.
    pub(super) fn is_of(&self, path: &Path) -> bool {
        self.id == disk::id(path) && fs::metadata(path).is_ok_and(|about| about.len() == self.length)
    }

    /// Whether most of the file is past.
    pub(super) const fn is_past(&self) -> bool {
        self.lines > self.limit
    }
}

/// Writes the file anew, with what it holds now.
pub(super) fn write(path: &Path, extent: &mut Extent, contents: &Contents) -> io::Result<()> {
    let mut lines = 1;
    disk::replace(path, |out| {
        let mut line = |row: &dyn Fn(&mut Vec<u8>) -> serde_json::Result<()>| -> io::Result<()> {
            let mut bytes = Vec::with_capacity(512);
            row(&mut bytes)?;
            bytes.push(b'\n');
            lines += 1;
            out.write_all(&bytes)
        };
        let head = Head { pool: contents.name.clone(), version: VERSION, lines: contents.rows()? };
        line(&|bytes| serde_json::to_writer(bytes, &head))?;
        for member in contents.members.members() {
            line(&|bytes| serde_json::to_writer(bytes, &MemberRow::new(member)))?;
        }
        for session in contents.members.sessions() {
            line(&|bytes| serde_json::to_writer(bytes, &SessionRow::from(&session)))?;
        }
        for record in contents.keys.records().map_err(io::Error::other)? {
            let row = KeyRow::from(record);
            line(&|bytes| serde_json::to_writer(bytes, &row))?;
        }
        Ok(())
    })?;
    let (bytes, id) = (fs::metadata(path)?.len(), disk::id(path));
    *extent = Extent { bytes, length: bytes, id, lines: lines - 1, limit: limit(contents), ..Extent::default() };
    Ok(())
}
