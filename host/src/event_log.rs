//! The gateway's own log of events: a file with a JSON object a line, because a hook in the sandbox has no files.
//!
//! A thread writes what a bounded queue holds, so no request ever waits for a disk. What does not fit into the queue,
//! and what cannot be written, is counted, told, and shows as a gap in the sequence numbers. A file that is full becomes
//! `FILE.1`, the one before `FILE.2`, and so on; the oldest goes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use proxywhirl_core::event::Event;
use proxywhirl_engine::bus::{Bus, Subscription};

use crate::config::EventLogSettings;
use crate::exit::{Exit, Failure};

/// Events that wait to be written: some seconds of a busy gateway, a few megabytes.
const QUEUE: usize = 16_384;

/// Events that are written at once.
const BATCH: usize = 512;

/// An event as a line of JSON: `sequence`, `at` (microseconds since the Unix epoch), `topic`, `payload`.
#[must_use]
pub fn line(event: &Event) -> String {
    // The payload is JSON already, made by the bus; the topic is one of ours.
    format!(
        "{{\"sequence\":{},\"at\":{},\"topic\":\"{}\",\"payload\":{}}}\n",
        event.sequence,
        event.at.as_micros(),
        event.topic,
        event.payload
    )
}

/// A log that is being written.
#[derive(Debug)]
pub struct EventLog {
    thread: JoinHandle<()>,
}

impl EventLog {
    /// Begins to write what is told.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn start(settings: &EventLogSettings, bus: &Bus) -> Result<Self, Failure> {
        let failed = |error: io::Error| {
            Failure::new(Exit::Environment, format!("event log {}: {error}", settings.file.display()))
        };
        let file = Rotated::open(settings).map_err(failed)?;
        let events = bus.subscribe(&settings.topics, QUEUE);
        let thread = std::thread::Builder::new().name("event log".to_owned());
        let thread = thread.spawn(move || run(file, events)).map_err(failed)?;
        Ok(Self { thread })
    }

    /// Waits until what was told before the engine ended is written. Blocks.
    pub fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("the event log's thread has panicked");
        }
    }
}

fn run(mut file: Rotated, mut events: Subscription) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut told = 0;
    let mut is_failing = false;
    while events.wait_for_batch(&mut batch, BATCH) {
        let written = file.write(&batch);
        let mut lost = events.dropped().saturating_sub(told);
        told = events.dropped();
        match written {
            Ok(()) => is_failing = false,
            Err(error) => {
                lost += batch.len() as u64;
                if !std::mem::replace(&mut is_failing, true) {
                    tracing::error!(file = %file.path.display(), error = %error, "event log cannot be written");
                }
            }
        }
        if lost > 0 {
            metrics::counter!("proxywhirl_event_log_dropped_total").increment(lost);
            tracing::warn!(file = %file.path.display(), events.dropped = lost, "events are missing in the event log");
        }
        batch.clear();
    }
}

/// A file that makes room for itself.
#[derive(Debug)]
struct Rotated {
    path: PathBuf,
    out: BufWriter<File>,
    size: u64,
    max_size: u64,
    keep: u8,
}

impl Rotated {
    fn open(settings: &EventLogSettings) -> io::Result<Self> {
        let (out, size) = append(&settings.file)?;
        Ok(Self { path: settings.file.clone(), out, size, max_size: settings.max_size, keep: settings.keep })
    }

    fn write(&mut self, events: &[Event]) -> io::Result<()> {
        for event in events {
            let line = line(event);
            if self.size > 0 && self.size + line.len() as u64 > self.max_size {
                self.rotate()?;
            }
            self.out.write_all(line.as_bytes())?;
            self.size += line.len() as u64;
        }
        self.out.flush()
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.out.flush()?;
        for number in (1..self.keep).rev() {
            ignore_missing(fs::rename(self.numbered(number), self.numbered(number + 1)))?;
        }
        if self.keep == 0 {
            fs::remove_file(&self.path)?;
        } else {
            fs::rename(&self.path, self.numbered(1))?;
        }
        (self.out, self.size) = append(&self.path)?;
        Ok(())
    }

    fn numbered(&self, number: u8) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(format!(".{number}"));
        path.into()
    }
}

fn ignore_missing(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Opens a file at its end. It is the user's alone: it tells who asked for what.
fn append(path: &Path) -> io::Result<(BufWriter<File>, u64)> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    let size = file.metadata()?.len();
    Ok((BufWriter::new(file), size))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use proxywhirl_core::Timestamp;
    use proxywhirl_core::event::Topic;

    use super::*;

    fn event(sequence: u64) -> Event {
        let payload = format!("{{\"request\":{sequence}}}").into();
        Event { sequence, at: Timestamp::from_micros(7), topic: Topic::PoolEmpty, payload }
    }

    fn settings(folder: &tempfile::TempDir, max_size: u64, keep: u8) -> EventLogSettings {
        EventLogSettings { max_size, keep, ..EventLogSettings::new(folder.path().join("events.jsonl")) }
    }

    fn sequences(path: &Path) -> Vec<u64> {
        let text = fs::read_to_string(path).unwrap();
        let of = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["sequence"].as_u64().unwrap();
        text.lines().map(of).collect()
    }

    #[test]
    fn a_line_is_json_with_the_payload_as_an_object() {
        let line = line(&event(3));
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["payload"]["request"], 3);
        assert_eq!((value["at"].as_u64(), value["topic"].as_str()), (Some(7), Some("pool-empty")));
        assert!(line.ends_with("}\n"));
    }

    #[test]
    fn a_full_file_makes_room_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let one = line(&event(1)).len() as u64;
        let mut file = Rotated::open(&settings(&folder, 2 * one, 2)).unwrap();
        file.write(&(1..=7).map(event).collect::<Vec<_>>()).unwrap();
        assert_eq!(sequences(&file.path), [7]);
        assert_eq!(sequences(&file.numbered(1)), [5, 6]);
        assert_eq!(sequences(&file.numbered(2)), [3, 4]);
        assert!(!file.numbered(3).exists());
    }

    #[test]
    fn with_nothing_to_keep_the_file_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = Rotated::open(&settings(&folder, line(&event(1)).len() as u64, 0)).unwrap();
        file.write(&[event(1), event(2)]).unwrap();
        assert_eq!(sequences(&file.path), [2]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_log_goes_on_where_the_one_before_ended() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(&folder, 1 << 20, 1);
        Rotated::open(&settings).unwrap().write(&[event(1)]).unwrap();
        Rotated::open(&settings).unwrap().write(&[event(2)]).unwrap();
        assert_eq!(sequences(&settings.file), [1, 2]);
    }
}
