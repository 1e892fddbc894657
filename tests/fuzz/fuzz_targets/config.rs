//! The configuration file: whatever is wrong with it is told in words, and with a line that there is.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use proxywhirl::config::{ConfigFile, Settings};

fuzz_target!(|text: &str| {
    let path = Path::new("/etc/proxywhirl.toml");
    let error = match ConfigFile::parse(text, path) {
        Ok(file) => {
            if let Err(error) = Settings::from_file(file, path) {
                assert!(!error.reason.is_empty());
            }
            return;
        }
        Err(error) => error,
    };
    let line = error.reason.strip_prefix("line ").and_then(|rest| rest.split([',', ':']).next()).expect("a line");
    let line: usize = line.parse().expect("a line's number");
    assert!(line <= text.split('\n').count(), "line {line}: {}", error.reason);
});
