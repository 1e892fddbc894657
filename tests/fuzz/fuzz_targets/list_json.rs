//! A list in this format, as a stranger wrote it: what was read survives being written in its plainest form.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proxywhirl_fuzz::survives;
use proxywhirl_parser_json::Json;

fuzz_target!(|body: &[u8]| {
    survives::<Json>(body, "[", |host, port| format!(r#"{{"host":"{host}","port":{port}}}"#), "]");
});
