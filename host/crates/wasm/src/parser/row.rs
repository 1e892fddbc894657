//! Packed candidates: two words each, as `wit/parser.wit` lays them out. Any bits may come from a guest, so every field
//! is checked, and a row whose bits mean nothing is a rejection that tells its address.

use std::net::Ipv4Addr;

use proxywhirl_core::candidate::{Country, Rejection};
use proxywhirl_core::endpoint::Scheme;
use proxywhirl_core::host::Host;
use proxywhirl_core::plugin::Entry;
use proxywhirl_core::verdict::Anonymity;

/// The code of the scheme that no host speaks: `other`.
const OTHER_SCHEME: u8 = 7;

/// The line that a row stands in.
pub(super) const fn line([_, second]: [u64; 2]) -> u32 {
    second as u32
}

/// What a row says.
#[inline]
pub(super) fn entry(words: [u64; 2]) -> Result<Entry, Rejection> {
    let [first, second] = words;
    let [_, _, _, _, _, _, marks, reserved] = first.to_le_bytes();
    let [_, _, _, _, letter, next, more @ ..] = second.to_le_bytes();
    let (scheme, anonymity) = match (scheme(marks & 15), anonymity(marks >> 4)) {
        (Ok(scheme), Ok(anonymity)) => (scheme, anonymity),
        (Err(reason), _) | (_, Err(reason)) => return Err(rejection(words, reason)),
    };
    let country = country([letter, next]).map_err(|reason| rejection(words, reason))?;
    if (reserved, more) != (0, [0, 0]) {
        return Err(rejection(words, "a row with bits that mean nothing"));
    }
    Ok(Entry {
        scheme,
        host: Ok(Host::V4(Ipv4Addr::from_bits(first as u32))),
        port: (first >> 32) as u16,
        credentials: Ok(None),
        country,
        anonymity,
        line: line(words),
    })
}

const fn scheme(code: u8) -> Result<Option<Scheme>, &'static str> {
    match code {
        0 => Ok(None),
        1 => Ok(Some(Scheme::Http)),
        2 => Ok(Some(Scheme::Https)),
        3 => Ok(Some(Scheme::Socks4)),
        4 => Ok(Some(Scheme::Socks4a)),
        5 => Ok(Some(Scheme::Socks5)),
        6 => Ok(Some(Scheme::Socks5h)),
        OTHER_SCHEME => Err("a scheme that this host does not speak"),
        _ => Err("a row with a scheme that is none"),
    }
}

const fn anonymity(code: u8) -> Result<Anonymity, &'static str> {
    match code {
        1 => Ok(Anonymity::Transparent),
        2 => Ok(Anonymity::Anonymous),
        3 => Ok(Anonymity::Elite),
        // `other`: one that this host has no name for.
        0 | 4 => Ok(Anonymity::Unknown),
        _ => Err("a row with an anonymity that is none"),
    }
}

fn country(letters: [u8; 2]) -> Result<Option<Country>, &'static str> {
    if letters == [0, 0] {
        return Ok(None);
    }
    let text = std::str::from_utf8(&letters).ok().filter(|text| text.bytes().all(|letter| letter.is_ascii_uppercase()));
    text.and_then(|text| text.parse().ok()).map(Some).ok_or("a row with a country that is none")
}

#[cold]
fn rejection(words: [u64; 2], reason: &str) -> Rejection {
    let [first, _] = words;
    let (address, port) = (Ipv4Addr::from_bits(first as u32), (first >> 32) as u16);
    Rejection { line: line(words), excerpt: format!("{address}:{port}").into(), reason: reason.into() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_words_are_those_of_the_contract() {
        let found = entry([0x0031_1F90_0102_0304, 0x0000_4544_0000_0007]).unwrap();
        assert_eq!((found.host.unwrap().to_string().as_str(), found.port, found.line), ("1.2.3.4", 8080, 7));
        assert_eq!((found.scheme, found.anonymity), (Some(Scheme::Http), Anonymity::Elite));
        assert_eq!(found.country.unwrap().as_str(), "DE");
        let bare = entry([0x0050_0102_0304, 0]);
        assert_eq!(bare.map(|found| (found.scheme, found.anonymity)), Ok((None, Anonymity::Unknown)));
    }

    #[test]
    fn bits_that_mean_nothing_reject_the_row_and_tell_its_address() {
        let plain = 0x0050_0102_0304;
        for (words, reason) in [
            ([plain | 7 << 48, 7], "a scheme that this host does not speak"),
            ([plain | 8 << 48, 7], "a row with a scheme that is none"),
            ([plain | 5 << 52, 7], "a row with an anonymity that is none"),
            ([plain, 7 | 0x4100 << 32], "a row with a country that is none"),
            ([plain, 7 | 0x6564 << 32], "a row with a country that is none"),
            ([plain | 1 << 63, 7], "a row with bits that mean nothing"),
            ([plain, 7 | 1 << 48], "a row with bits that mean nothing"),
        ] {
            let rejection = entry(words).unwrap_err();
            assert_eq!((&*rejection.reason, &*rejection.excerpt, rejection.line), (reason, "1.2.3.4:80", 7));
        }
    }

    proptest! {
        #[test]
        fn bits_of_any_kind_are_an_entry_or_a_rejection(first in any::<u64>(), second in any::<u64>()) {
            let line = match entry([first, second]) {
                Ok(entry) => entry.line,
                Err(rejection) => rejection.line,
            };
            prop_assert_eq!(u64::from(line), second & 0xFFFF_FFFF);
        }
    }
}
