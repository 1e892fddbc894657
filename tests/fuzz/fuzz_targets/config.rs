//! The configuration file: whatever is wrong with it is told in words, and with a line that there is.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use proxywhirl_fuzz::config::ConfigFile;

fuzz_target!(|text: &str| {
    let Err(error) = ConfigFile::parse(text, Path::new("proxywhirl.toml")) else { return };
    let line = error.reason.strip_prefix("line ").and_then(|rest| rest.split([',', ':']).next()).expect("a line");
    let line: usize = line.parse().expect("a line's number");
    assert!(line <= text.split('\n').count(), "line {line}: {}", error.reason);
    assert!(!error.to_string().contains('\n'), "{error}");
});
