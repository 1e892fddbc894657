//! What guests say: lines of the host's log under the plugin's name, capped in length and rate, and
//! the last of them kept for the report of a fault.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::config::LogListener;

/// The longest line, in bytes; what is longer is cut.
pub(crate) const MAX_LINE: usize = 4_096;

/// Lines that an instance's logbook keeps.
const KEPT: usize = 20;

/// Lines that a plugin may write in a second, all its instances together; others are counted.
const RATE: u32 = 100;

/// How urgent a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LogLevel {
    /// For the plugin's author.
    Trace,
    /// For the plugin's author, seldom enough to be read.
    Debug,
    /// A change of state.
    Info,
    /// Somebody should look soon.
    Warn,
    /// Somebody must look now.
    Error,
}

impl LogLevel {
    /// The word for it, in lower case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// One plugin's share of the log.
pub(crate) struct Voice {
    name: Box<str>,
    version: Box<str>,
    listener: Option<LogListener>,
    /// Held for a few instructions by whichever of the plugin's instances writes a line.
    window: Mutex<Window>,
}

#[derive(Debug)]
struct Window {
    since: Instant,
    written: u32,
    dropped: u64,
}

impl Voice {
    pub(crate) fn new(name: &str, version: &str, listener: Option<LogListener>) -> Self {
        let window = Window { since: Instant::now(), written: 0, dropped: 0 };
        Self { name: name.into(), version: version.into(), listener, window: Mutex::new(window) }
    }

    fn write(&self, level: LogLevel, line: &str) {
        if let Some(listener) = &self.listener {
            listener(&self.name, level, line);
        }
        let (admitted, dropped) = self.window.lock().unwrap_or_else(PoisonError::into_inner).admit(Instant::now());
        let (name, version) = (&*self.name, &*self.version);
        if dropped > 0 {
            tracing::warn!(target: "plugin", { plugin.name = name, plugin.version = version, lines = dropped }, "log lines over the rate were dropped");
        }
        if !admitted {
            return;
        }
        match level {
            LogLevel::Trace => {
                tracing::trace!(target: "plugin", { plugin.name = name, plugin.version = version }, "{line}")
            }
            LogLevel::Debug => {
                tracing::debug!(target: "plugin", { plugin.name = name, plugin.version = version }, "{line}")
            }
            LogLevel::Info => {
                tracing::info!(target: "plugin", { plugin.name = name, plugin.version = version }, "{line}")
            }
            LogLevel::Warn => {
                tracing::warn!(target: "plugin", { plugin.name = name, plugin.version = version }, "{line}")
            }
            LogLevel::Error => {
                tracing::error!(target: "plugin", { plugin.name = name, plugin.version = version }, "{line}")
            }
        }
    }
}

impl Window {
    /// Whether a line may be written, and how many were dropped in the window that has just ended.
    fn admit(&mut self, now: Instant) -> (bool, u64) {
        let mut dropped = 0;
        if now.duration_since(self.since) >= Duration::from_secs(1) {
            dropped = std::mem::take(&mut self.dropped);
            self.written = 0;
            self.since = now;
        }
        if self.written < RATE {
            self.written += 1;
            return (true, dropped);
        }
        self.dropped += 1;
        (false, dropped)
    }
}

/// What one instance has said.
#[derive(Clone)]
pub(crate) struct Logbook {
    voice: Arc<Voice>,
    /// Shared with the instance's standard output and standard error, if it has them.
    kept: Arc<Mutex<VecDeque<Box<str>>>>,
}

impl Logbook {
    pub(crate) fn new(voice: Arc<Voice>) -> Self {
        Self { voice, kept: Arc::default() }
    }

    /// Writes a line: cut, and without control characters, which could move a terminal's cursor.
    pub(crate) fn write(&self, level: LogLevel, message: &str) {
        let line: String = cut(message, MAX_LINE).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        self.voice.write(level, &line);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(line.into());
    }

    /// The last lines, the oldest first.
    pub(crate) fn last(&self) -> Vec<Box<str>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// The beginning of a text, at most `max` bytes, ending between characters.
pub(crate) fn cut(text: &str, max: usize) -> &str {
    text.get(..text.floor_char_boundary(max)).unwrap_or(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn logbook() -> Logbook {
        Logbook::new(Arc::new(Voice::new("p", "1.0.0", None)))
    }

    #[test]
    fn the_last_twenty_lines_are_kept() {
        let logbook = logbook();
        for n in 0..50 {
            logbook.write(LogLevel::Info, &n.to_string());
        }
        let kept = logbook.last();
        assert_eq!((kept.len(), &*kept[0], &*kept[19]), (20, "30", "49"));
    }

    #[test]
    fn a_line_is_cut_between_characters_and_holds_no_control_character() {
        let logbook = logbook();
        logbook.write(LogLevel::Info, &"ä".repeat(3_000));
        logbook.write(LogLevel::Info, "a\x1b[2Jb\nc");
        let kept = logbook.last();
        assert_eq!(kept[0].len(), MAX_LINE);
        assert_eq!(&*kept[1], "a [2Jb c");
    }

    #[test]
    fn lines_over_the_rate_are_dropped_and_counted() {
        let start = Instant::now();
        let mut window = Window { since: start, written: 0, dropped: 0 };
        let admitted = (0..250).filter(|_| window.admit(start).0).count();
        assert_eq!(admitted, 100);
        assert_eq!(window.admit(start + Duration::from_secs(1)), (true, 150));
    }
}
