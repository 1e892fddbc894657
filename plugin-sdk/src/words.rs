//! The words that lists use for schemes and for anonymity. ASCII case does not matter.

use crate::{Anonymity, Scheme};

/// The scheme that a word stands for: `socks` alone means SOCKS 5.
#[must_use]
pub fn scheme(word: &str) -> Option<Scheme> {
    const WORDS: [(&str, Scheme); 7] = [
        ("http", Scheme::Http),
        ("https", Scheme::Https),
        ("socks4", Scheme::Socks4),
        ("socks5", Scheme::Socks5),
        ("socks4a", Scheme::Socks4a),
        ("socks5h", Scheme::Socks5h),
        ("socks", Scheme::Socks5),
    ];
    find(&WORDS, word)
}

/// The anonymity that a word stands for. Numbered levels are those of the proxy judges: 1 is elite.
#[must_use]
pub fn anonymity(word: &str) -> Option<Anonymity> {
    const WORDS: [(&str, Anonymity); 16] = [
        ("transparent", Anonymity::Transparent),
        ("anonymous", Anonymity::Anonymous),
        ("elite", Anonymity::Elite),
        ("elite proxy", Anonymity::Elite),
        ("high", Anonymity::Elite),
        ("high anonymity", Anonymity::Elite),
        ("high anonymous", Anonymity::Elite),
        ("highly anonymous", Anonymity::Elite),
        ("hia", Anonymity::Elite),
        ("anm", Anonymity::Anonymous),
        ("noa", Anonymity::Transparent),
        ("none", Anonymity::Transparent),
        ("level1", Anonymity::Elite),
        ("level2", Anonymity::Anonymous),
        ("level3", Anonymity::Transparent),
        ("anonymous proxy", Anonymity::Anonymous),
    ];
    find(&WORDS, word)
}

/// The port that is meant when none is written.
#[must_use]
pub const fn default_port(scheme: Scheme) -> Option<u16> {
    match scheme {
        Scheme::Http => Some(80),
        Scheme::Https => Some(443),
        Scheme::Socks4 | Scheme::Socks4a | Scheme::Socks5 | Scheme::Socks5h => Some(1080),
        Scheme::Other => None,
    }
}

fn find<T: Copy>(words: &[(&str, T)], word: &str) -> Option<T> {
    let word = word.trim();
    words.iter().find(|(known, _)| known.eq_ignore_ascii_case(word)).map(|&(_, meaning)| meaning)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_are_known_in_any_case_and_socks_alone_is_socks5() {
        assert_eq!(scheme("SOCKS"), Some(Scheme::Socks5));
        assert_eq!(scheme(" Https "), Some(Scheme::Https));
        assert_eq!(scheme("socks5H"), Some(Scheme::Socks5h));
        assert_eq!(scheme("vmess"), None);
        assert_eq!(scheme(""), None);
    }

    #[test]
    fn high_means_elite() {
        assert_eq!(anonymity("High"), Some(Anonymity::Elite));
        assert_eq!(anonymity("elite proxy"), Some(Anonymity::Elite));
        assert_eq!(anonymity("N/A"), None);
    }
}
