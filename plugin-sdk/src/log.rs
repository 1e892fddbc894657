//! The host's log, under the plugin's name.
//!
//! The host caps a line at 4,096 bytes, and the rate. Off WebAssembly lines go into a buffer of the
//! thread, which [`take`] empties, so that a test can read what a plugin said.

use std::fmt::Display;

pub use crate::bindings::shared::proxywhirl::plugin::log::Level;

/// For the author: as often as one likes.
pub fn trace(message: impl Display) {
    write(Level::Trace, &message.to_string());
}

/// For the author: one line a call at the most.
pub fn debug(message: impl Display) {
    write(Level::Debug, &message.to_string());
}

/// A change of state. Use `format_args!` for a text with values in it.
pub fn info(message: impl Display) {
    write(Level::Info, &message.to_string());
}

/// Somebody should look soon.
pub fn warn(message: impl Display) {
    write(Level::Warn, &message.to_string());
}

/// Somebody must look now.
pub fn error(message: impl Display) {
    write(Level::Error, &message.to_string());
}

#[cfg(target_arch = "wasm32")]
use crate::bindings::shared::proxywhirl::plugin::log::write;

#[cfg(not(target_arch = "wasm32"))]
pub use native::take;
#[cfg(not(target_arch = "wasm32"))]
use native::write;

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use super::Level;
    use std::cell::RefCell;

    /// Lines kept; later ones are dropped, so that a test that loops does not fill the memory.
    const KEPT: usize = 10_000;

    thread_local! {
        static LINES: RefCell<Vec<(Level, String)>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn write(level: Level, message: &str) {
        LINES.with_borrow_mut(|lines| {
            if lines.len() < KEPT {
                lines.push((level, message.to_owned()));
            }
        });
    }

    /// The lines that this thread has written since the last call. Only off WebAssembly.
    #[must_use]
    pub fn take() -> Vec<(Level, String)> {
        LINES.with_borrow_mut(std::mem::take)
    }
}
