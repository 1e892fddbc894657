//! A list in this format, as a stranger wrote it: what was read survives being written in its plainest form.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proxywhirl_fuzz::survives;
use proxywhirl_parser_clash::Clash;

fuzz_target!(|body: &[u8]| {
    survives::<Clash>(
        body,
        "proxies:\n",
        |host, port| format!("- {{type: http, server: '{host}', port: {port}}}"),
        "\n",
    );
});
