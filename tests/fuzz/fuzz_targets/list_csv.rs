//! A list in this format, as a stranger wrote it: what was read survives being written in its plainest form.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proxywhirl_fuzz::survives;
use proxywhirl_parser_csv::Csv;

fuzz_target!(|body: &[u8]| {
    survives::<Csv>(body, "host,port\n", |host, port| format!("{host},{port}"), "\n");
});
