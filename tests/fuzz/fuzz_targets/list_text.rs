//! A list of proxies in lines, as a stranger wrote it: what was read survives being written in its plainest form.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proxywhirl_fuzz::{host, read_list, url};
use proxywhirl_parser_text::Text;

fuzz_target!(|body: &[u8]| {
    let Some(parsed) = read_list::<Text>(body) else { return };
    let text: String = parsed.candidates.iter().map(|candidate| url(candidate) + "\n").collect();
    let again = read_list::<Text>(text.as_bytes()).expect("a text");
    assert_eq!(again.candidates.len(), parsed.candidates.len(), "{text:?}: {:?}", again.rejections);
    for (one, two) in parsed.candidates.iter().zip(&again.candidates) {
        assert_eq!((host(one), one.port), (host(two), two.port));
        assert_eq!((&one.username, &one.password), (&two.username, &two.password));
    }
});
