//! The words that lists use for schemes and for anonymity. ASCII case does not matter.

use crate::{Anonymity, Scheme};

/// The longest word, in bytes.
const MAX_WORD: usize = 16;

/// The scheme that a word stands for: `socks` alone means SOCKS 5.
#[must_use]
pub fn scheme(word: &str) -> Option<Scheme> {
    scheme_in(word.trim().as_bytes())
}

/// The same, of a text that has no white space around it.
pub(crate) fn scheme_in(word: &[u8]) -> Option<Scheme> {
    let mut room = [0; MAX_WORD];
    match lower(word, &mut room)? {
        b"http" => Some(Scheme::Http),
        b"https" => Some(Scheme::Https),
        b"socks4" => Some(Scheme::Socks4),
        b"socks5" | b"socks" => Some(Scheme::Socks5),
        b"socks4a" => Some(Scheme::Socks4a),
        b"socks5h" => Some(Scheme::Socks5h),
        _ => None,
    }
}

/// The anonymity that a word stands for. Numbered levels are those of the proxy judges: 1 is elite.
#[must_use]
pub fn anonymity(word: &str) -> Option<Anonymity> {
    anonymity_in(word.trim().as_bytes())
}

/// The same, of a text that has no white space around it.
pub(crate) fn anonymity_in(word: &[u8]) -> Option<Anonymity> {
    let mut room = [0; MAX_WORD];
    match lower(word, &mut room)? {
        b"elite" | b"elite proxy" | b"high" | b"high anonymity" | b"high anonymous" | b"highly anonymous" | b"hia"
        | b"level1" => Some(Anonymity::Elite),
        b"anonymous" | b"anonymous proxy" | b"anm" | b"level2" => Some(Anonymity::Anonymous),
        b"transparent" | b"noa" | b"none" | b"level3" => Some(Anonymity::Transparent),
        _ => None,
    }
}

/// The word in lower case, when it is short enough to be known.
fn lower<'r>(word: &[u8], room: &'r mut [u8; MAX_WORD]) -> Option<&'r [u8]> {
    let letters = room.get_mut(..word.len())?;
    for (letter, byte) in letters.iter_mut().zip(word) {
        *letter = byte.to_ascii_lowercase();
    }
    Some(letters)
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
