//! A list in this format, as a stranger wrote it: what was read survives being written in its plainest form.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proxywhirl_fuzz::survives;
use proxywhirl_parser_squid::Squid;

fuzz_target!(|body: &[u8]| {
    survives::<Squid>(body, "http_port 3128\n", |host, port| format!("cache_peer {host} parent {port} 0"), "\n");
});
