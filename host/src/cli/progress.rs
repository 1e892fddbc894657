//! Progress bars, when a person watches.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use proxywhirl_engine::ingest::gather::Progress;

use crate::logging::Logging;

/// A bar for `length` steps on standard error; nothing when nobody watches.
pub(super) fn bar(logging: &Logging, length: u64, what: &str) -> ProgressBar {
    if !logging.is_watched {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(length).with_message(what.to_owned());
    // The template is ours and well formed; if it ever were not, the default is as good.
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {eta}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// A line for each source that is being read.
pub(super) struct Lines {
    all: Option<MultiProgress>,
    /// By the source's place. Held for a look.
    running: Mutex<BTreeMap<usize, ProgressBar>>,
}

impl Lines {
    /// Nothing is shown when nobody watches.
    pub(super) fn new(is_watched: bool) -> Self {
        Self { all: is_watched.then(MultiProgress::new), running: Mutex::default() }
    }

    /// Shows how it goes.
    pub(super) fn show(&self, progress: Progress<'_>) {
        let Some(all) = &self.all else { return };
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        match progress {
            Progress::Started { index, name } => {
                let line = all.add(ProgressBar::new_spinner()).with_message(name.to_owned());
                if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {bytes} {elapsed}") {
                    line.set_style(style);
                }
                line.enable_steady_tick(Duration::from_millis(200));
                running.insert(index, line);
            }
            Progress::Read { index, bytes } => {
                if let Some(line) = running.get(&index) {
                    line.set_position(bytes);
                }
            }
            Progress::Finished { index, .. } => {
                if let Some(line) = running.remove(&index) {
                    line.finish_and_clear();
                }
            }
        }
    }

    /// Takes all lines away.
    pub(super) fn finish(&self) {
        if let Some(all) = &self.all {
            // A terminal that is gone needs no clearing.
            drop(all.clear());
        }
    }
}
