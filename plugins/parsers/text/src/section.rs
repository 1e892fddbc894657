//! Comments that say what the lines below them are: `# SOCKS5 Proxies (28)`.

use proxywhirl_plugin_sdk::{Scheme, words};

/// The scheme that a comment gives: its only words are a scheme and "proxies"; numbers and marks
/// do not count.
pub(crate) fn scheme(comment: &[u8]) -> Option<Scheme> {
    let comment = std::str::from_utf8(comment).ok()?;
    let mut words = comment
        .split(|letter: char| !letter.is_alphanumeric())
        .filter(|word| word.bytes().any(|byte| !byte.is_ascii_digit()));
    let (first, second, none) = (words.next()?, words.next()?, words.next());
    let scheme = words::scheme(first)?;
    (second.eq_ignore_ascii_case("proxies") && none.is_none()).then_some(scheme)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_and_the_word_proxies_make_a_section() {
        assert_eq!(scheme(b"# SOCKS5 Proxies (28)"), Some(Scheme::Socks5));
        assert_eq!(scheme(b"//--- https proxies: 5 ---"), Some(Scheme::Https));
    }

    #[test]
    fn other_comments_make_none() {
        for comment in ["# Proxies", "# free http proxies", "# http", "# my proxies", "#", "# http proxy"] {
            assert_eq!(scheme(comment.as_bytes()), None, "{comment}");
        }
    }
}
