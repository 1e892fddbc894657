//! A list in this format, as a stranger wrote it: what was read survives being written in its plainest form.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proxywhirl_fuzz::survives;
use proxywhirl_parser_pac::Pac;

fuzz_target!(|body: &[u8]| {
    survives::<Pac>(
        body,
        "function FindProxyForURL(url, host) {\n",
        |host, port| format!("return 'PROXY {host}:{port}'"),
        "}",
    );
});
