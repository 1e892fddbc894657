//! Progress bars, when a person watches.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

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
