//! What stopped a guest: wasmtime's error in the words of [`PluginFault`].

use std::time::Duration;

use proxywhirl_core::plugin::{FaultCause, PluginFault, PluginIdentity, Scene};
use wasmtime::{Error, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use crate::logbook::cut;
use crate::plugin::Call;
use crate::state::{Exhausted, State};
use crate::wasi::Overslept;

/// The longest of each part of a report, in bytes.
const MAX_TEXT: usize = 400;
/// The longest report of the last log lines, in bytes; the newest are kept.
const MAX_LINES: usize = 2_048;

/// The fault behind an error of wasmtime, with what the guest was doing.
pub(crate) fn stopped(
    plugin: &PluginIdentity,
    call: Call,
    error: &Error,
    state: &State,
    elapsed: Duration,
) -> PluginFault {
    let cause = cause(error);
    let detail = match cause {
        FaultCause::Deadline => format!("ran longer than {:?}", call.limit),
        FaultCause::Memory
        | FaultCause::Trap
        | FaultCause::InvalidAnswer
        | FaultCause::Refused
        | FaultCause::Instantiate => one_line(&error.root_cause().to_string()),
    };
    let mut fault = PluginFault::new(plugin.clone(), call.export, cause, &detail);
    *fault.scene = Scene {
        backtrace: frames(error),
        log: newest(&state.logbook.last()),
        memory: u64::try_from(state.ceiling.memory()).unwrap_or(u64::MAX),
        elapsed,
    };
    fault
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

/// The guest's functions, the innermost first; the runtime's settings say how many.
fn frames(error: &Error) -> Vec<Box<str>> {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return Vec::new() };
    let name = |frame: &wasmtime::FrameInfo| match frame.func_name() {
        Some(name) => one_line(&demangled(name)),
        None => format!("function {}", frame.func_index()),
    };
    backtrace.frames().iter().map(|frame| name(frame).into()).collect()
}

/// A function's name as its author wrote it. Some linkers have done it already, and left the hash.
fn demangled(name: &str) -> String {
    if let Ok(plain) = rustc_demangle::try_demangle(name) {
        return format!("{plain:#}");
    }
    let is_hash = |hash: &str| hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    name.rsplit_once("::h").filter(|(_, hash)| is_hash(hash)).map_or(name, |(path, _)| path).to_owned()
}

/// The newest lines that fit, the oldest of them first.
fn newest(lines: &[Box<str>]) -> Vec<Box<str>> {
    let mut length = 0;
    let fits = |line: &String| {
        length += line.len();
        length <= MAX_LINES
    };
    let mut kept: Vec<Box<str>> =
        lines.iter().rev().map(|line| one_line(line)).take_while(fits).map(Into::into).collect();
    kept.reverse();
    kept
}

/// A text as one line without control characters, cut.
pub(crate) fn one_line(text: &str) -> String {
    cut(text.trim(), MAX_TEXT).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_are_kept_in_their_order() {
        let lines: Vec<Box<str>> = (0..20).map(|n| format!("{n} {}", "x".repeat(300)).into_boxed_str()).collect();
        let kept = newest(&lines);
        assert_eq!(kept.len(), 6);
        assert!(kept[0].starts_with("14 ") && kept[5].starts_with("19 "), "{kept:?}");
    }

    #[test]
    fn a_guests_text_stays_on_one_line() {
        assert_eq!(one_line("a\nb\x1b[31m"), "a b [31m");
    }

    #[test]
    fn a_name_is_told_as_its_author_wrote_it() {
        for (symbol, name) in [
            ("_ZN7fastest4plan17h0123456789abcdefE", "fastest::plan"),
            ("_RNvCs1234_7fastest4plan", "fastest::plan"),
            ("fastest::plan::h0123456789abcdef", "fastest::plan"),
            ("fastest::house", "fastest::house"),
            ("cabi_realloc", "cabi_realloc"),
        ] {
            assert_eq!(demangled(symbol), name);
        }
    }
}
