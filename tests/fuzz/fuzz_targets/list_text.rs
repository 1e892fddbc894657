//! A list of one proxy a line, as a stranger wrote it: what was read survives being written in its plainest form.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proxywhirl_fuzz::{host, read_list};
use proxywhirl_parser_text::Text;
use proxywhirl_plugin_sdk::Scheme;
use proxywhirl_plugin_sdk::parser::Candidate;

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn line(candidate: &Candidate) -> String {
    let scheme = match candidate.scheme {
        Some(Scheme::Http | Scheme::Other) | None => "http",
        Some(Scheme::Https) => "https",
        Some(Scheme::Socks4) => "socks4",
        Some(Scheme::Socks4a) => "socks4a",
        Some(Scheme::Socks5) => "socks5",
        Some(Scheme::Socks5h) => "socks5h",
    };
    let credentials = match (&candidate.username, &candidate.password) {
        (Some(username), Some(password)) => format!("{}:{}@", percent(username), percent(password)),
        (Some(username), None) => format!("{}@", percent(username)),
        (None, _) => String::new(),
    };
    format!("{scheme}://{credentials}{}:{}\n", host(candidate), candidate.port)
}

fuzz_target!(|body: &[u8]| {
    let Some(parsed) = read_list::<Text>(body) else { return };
    let lines = body.split(|byte| *byte == b'\n').count();
    assert!(parsed.candidates.len() + parsed.rejected as usize <= lines, "more entries than lines");
    let text: String = parsed.candidates.iter().map(line).collect();
    let again = read_list::<Text>(text.as_bytes()).expect("a text");
    assert_eq!(again.candidates.len(), parsed.candidates.len(), "{text:?}: {:?}", again.rejections);
    for (one, two) in parsed.candidates.iter().zip(&again.candidates) {
        assert_eq!((host(one), one.port), (host(two), two.port));
        assert_eq!((&one.username, &one.password), (&two.username, &two.password));
    }
});
