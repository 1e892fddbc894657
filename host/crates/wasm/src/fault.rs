//! What stopped a guest: wasmtime's error in the words of [`PluginFault`].

use std::time::Duration;

use proxywhirl_core::plugin::{FaultCause, PluginFault, PluginIdentity};
use wasmtime::{Error, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use crate::logbook::{Logbook, cut};
use crate::state::Exhausted;
use crate::wasi::Overslept;

/// Frames that a report shows.
const FRAMES: usize = 5;
/// The longest of each part of a report, in bytes.
const MAX_TEXT: usize = 400;
/// The longest report of the last log lines, in bytes; the newest are kept.
const MAX_LINES: usize = 2_048;

/// Whose call it was.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) plugin: &'a PluginIdentity,
    pub(crate) export: &'static str,
    /// The time that it had.
    pub(crate) limit: Duration,
}

impl Call<'_> {
    /// A fault with a text of ours.
    pub(crate) fn fault(&self, cause: FaultCause, detail: &str) -> PluginFault {
        PluginFault::new(self.plugin.clone(), self.export, cause, detail)
    }

    /// The fault behind an error of wasmtime, with what the guest said before.
    pub(crate) fn stopped(&self, error: &Error, logbook: &Logbook) -> PluginFault {
        let cause = cause(error);
        let mut detail = match cause {
            FaultCause::Deadline => format!("ran longer than {:?}", self.limit),
            FaultCause::Memory
            | FaultCause::Trap
            | FaultCause::InvalidAnswer
            | FaultCause::Refused
            | FaultCause::Instantiate => one_line(&error.root_cause().to_string()),
        };
        let frames = frames(error);
        if !frames.is_empty() {
            detail.push_str("; at ");
            detail.push_str(&frames.join(" < "));
        }
        let said = last_lines(&logbook.last());
        if !said.is_empty() {
            detail.push_str("; it said: ");
            detail.push_str(&said);
        }
        self.fault(cause, &detail)
    }

    /// The plugin's own no.
    pub(crate) fn refused(&self, reason: &str) -> PluginFault {
        self.fault(FaultCause::Refused, &one_line(reason))
    }
}

fn cause(error: &Error) -> FaultCause {
    if error.is::<Exhausted>() {
        return FaultCause::Memory;
    }
    if error.is::<Overslept>() {
        return FaultCause::Deadline;
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => FaultCause::Deadline,
        Some(Trap::AllocationTooLarge) => FaultCause::Memory,
        Some(_) => FaultCause::Trap,
        None if error.is::<I32Exit>() => FaultCause::Trap,
        // Everything else is said while reading what the guest hands over.
        None => FaultCause::InvalidAnswer,
    }
}

fn frames(error: &Error) -> Vec<String> {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return Vec::new() };
    backtrace
        .frames()
        .iter()
        .take(FRAMES)
        .map(|frame| match frame.func_name() {
            Some(name) => one_line(&rustc_demangled(name)),
            None => format!("function {}", frame.func_index()),
        })
        .collect()
}

/// The name without the hash that Rust's compiler puts behind it.
fn rustc_demangled(name: &str) -> String {
    let plain = name.rsplit_once("::h").filter(|(_, hash)| hash.len() == 16).map_or(name, |(path, _)| path);
    plain.to_owned()
}

/// The newest lines that fit, the oldest of them first.
fn last_lines(lines: &[Box<str>]) -> String {
    let mut kept: Vec<String> = Vec::new();
    let mut length = 0;
    for line in lines.iter().rev() {
        let line = one_line(line);
        length += line.len();
        if length > MAX_LINES {
            break;
        }
        kept.push(line);
    }
    kept.reverse();
    kept.join(" | ")
}

/// A text as one line without control characters, cut.
fn one_line(text: &str) -> String {
    cut(text.trim(), MAX_TEXT).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_are_kept_in_their_order() {
        let lines: Vec<Box<str>> = (0..20).map(|n| format!("{n} {}", "x".repeat(300)).into_boxed_str()).collect();
        let text = last_lines(&lines);
        assert!(text.starts_with("14 ") && text.contains(" | 19 "), "{text}");
        assert!(text.len() <= MAX_LINES + 100);
    }

    #[test]
    fn a_guests_text_stays_on_one_line() {
        assert_eq!(one_line("a\nb\x1b[31m"), "a b [31m");
    }
}
