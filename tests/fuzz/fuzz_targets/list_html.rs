//! A list in this format, as a stranger wrote it: what was read survives being written in its plainest form.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proxywhirl_fuzz::survives;
use proxywhirl_parser_html_table::HtmlTable;

fuzz_target!(|body: &[u8]| {
    survives::<HtmlTable>(
        body,
        "<table><tr><th>Host</th><th>Port</th></tr>",
        |host, port| format!("<tr><td>{host}</td><td>{port}</td></tr>"),
        "</table>",
    );
});
