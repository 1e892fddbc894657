//! The grammar of entries and lines: each line is read or says why it is not, an entry survives being written as a URL, and
//! as `HOST:PORT:USER:PASSWORD` where that can say it, and no fault holds more of a line than a host, a port or a scheme.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proxywhirl_fuzz::{host, url};
use proxywhirl_plugin_sdk::Scheme;
use proxywhirl_plugin_sdk::entry::{self, Entry, Ranges};

fn survives(entry: Entry<'_>) {
    let candidate = entry.into_candidate(1);
    let url = url(&candidate);
    // What was written without escapes may be too long with them.
    if url.len() > entry::MAX_BYTES {
        return;
    }
    let again = entry::parse(url.as_bytes(), Scheme::Http).unwrap_or_else(|fault| panic!("{url}: {fault}"));
    let certain = again.host.is_certain();
    let again = again.into_candidate(1);
    assert_eq!((&candidate.host, candidate.port), (&again.host, again.port), "{url}");
    assert_eq!((&candidate.username, &candidate.password), (&again.username, &again.password), "{url}");
    let (Some(username), Some(password)) = (&candidate.username, &candidate.password) else { return };
    let is_plain = |text: &str| {
        !text.contains(|letter: char| letter.is_whitespace() || letter.is_control() || "@[]".contains(letter))
    };
    if certain && is_plain(username) && is_plain(password) && !username.is_empty() && !username.contains(':') {
        let vendors = format!("{}:{}:{username}:{password}", host(&candidate), candidate.port);
        if vendors.len() <= entry::MAX_BYTES && !vendors.contains("://") {
            let again = entry::parse(vendors.as_bytes(), Scheme::Http).expect("a vendor's form").into_candidate(1);
            assert_eq!((&again.username, &again.password), (&candidate.username, &candidate.password), "{vendors}");
        }
    }
}

fuzz_target!(|text: &[u8]| {
    if let Ok(entry) = entry::parse(text, Scheme::Socks5) {
        survives(entry);
    }
    let mut found = 0;
    entry::line(text, Scheme::Http, &mut Ranges::default(), &mut |part| {
        found += 1;
        match part {
            Ok(entry) if found <= 64 => survives(entry),
            Ok(_) => {}
            Err(fault) => assert!(fault.to_string().chars().count() <= 120, "{fault}"),
        }
    });
    assert!(found > 0, "a line came to nothing");
    drop(entry::masked(&String::from_utf8_lossy(text)));
});
