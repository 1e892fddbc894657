//! A list in this format, as a stranger wrote it: what was read survives being written in its plainest form.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proxywhirl_fuzz::survives;
use proxywhirl_parser_proxychains::Proxychains;

fuzz_target!(|body: &[u8]| {
    survives::<Proxychains>(body, "[ProxyList]\n", |host, port| format!("http {host} {port}"), "\n");
});
