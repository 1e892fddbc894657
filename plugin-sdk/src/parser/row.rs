//! Candidates that fit two words: an IPv4 address, a port, and perhaps a scheme, a country, an
//! anonymity and a line, as `wit/parser.wit` lays them out.
//!
//! Nearly all entries of nearly all lists do. As records, each would cost an allocation for its
//! country and a look at every case and string of it on both sides of the boundary.

use super::{Candidate, Host};
use crate::{Anonymity, Scheme};

/// Schemes by their code less one.
const SCHEMES: [Scheme; 7] =
    [Scheme::Http, Scheme::Https, Scheme::Socks4, Scheme::Socks4a, Scheme::Socks5, Scheme::Socks5h, Scheme::Other];

/// Anonymities by their code.
const ANONYMITIES: [Anonymity; 5] =
    [Anonymity::Unknown, Anonymity::Transparent, Anonymity::Anonymous, Anonymity::Elite, Anonymity::Other];

/// A candidate that fits two words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// How one speaks to it, or none for the document's default.
    pub scheme: Option<Scheme>,
    /// An IPv4 address in host byte order.
    pub address: u32,
    /// 1 to 65535.
    pub port: u16,
    /// A country's code, in upper case.
    pub country: Option<[u8; 2]>,
    /// What the document claims.
    pub anonymity: Anonymity,
    /// Where it stands: the line, counted from 1.
    pub line: u32,
}

impl Row {
    /// An address and a port.
    #[must_use]
    pub const fn new(address: u32, port: u16, line: u32) -> Self {
        Self { scheme: None, address, port, country: None, anonymity: Anonymity::Unknown, line }
    }

    /// The candidate as a row, when it fits.
    pub(crate) fn of(candidate: &Candidate) -> Option<Self> {
        let Host::Ipv4(address) = candidate.host else { return None };
        let country = match candidate.country.as_bytes() {
            [] => None,
            &[first, second] if first.is_ascii_uppercase() && second.is_ascii_uppercase() => Some([first, second]),
            _ => return None,
        };
        let fits = candidate.username.is_none() && candidate.password.is_none();
        fits.then_some(Self {
            scheme: candidate.scheme,
            address,
            port: candidate.port,
            country,
            anonymity: candidate.anonymity,
            line: candidate.line,
        })
    }

    #[inline]
    pub(crate) fn pack(self) -> [u64; 2] {
        let scheme = self.scheme.map_or(0, |scheme| scheme as u64 + 1);
        let [first, second] = self.country.unwrap_or([0, 0]);
        let marks = u64::from(self.port) | scheme << 16 | (self.anonymity as u64) << 20;
        let letters = u64::from(first) | u64::from(second) << 8;
        [u64::from(self.address) | marks << 32, u64::from(self.line) | letters << 32]
    }

    /// What two words say that [`Self::pack`] made.
    pub(crate) fn unpack([first, second]: [u64; 2]) -> Self {
        let bits = |word: u64, from: u32, mask: u64| usize::try_from(word >> from & mask).unwrap_or(usize::MAX);
        let letters = [(second >> 32) as u8, (second >> 40) as u8];
        Self {
            scheme: bits(first, 48, 15).checked_sub(1).and_then(|place| SCHEMES.get(place)).copied(),
            address: first as u32,
            port: (first >> 32) as u16,
            country: (letters != [0, 0]).then_some(letters),
            anonymity: ANONYMITIES.get(bits(first, 52, 15)).copied().unwrap_or(Anonymity::Other),
            line: second as u32,
        }
    }
}

impl From<Row> for Candidate {
    fn from(row: Row) -> Self {
        Self {
            scheme: row.scheme,
            host: Host::Ipv4(row.address),
            port: row.port,
            username: None,
            password: None,
            country: row.country.map(|code| String::from_iter(code.map(char::from))).unwrap_or_default(),
            anonymity: row.anonymity,
            line: row.line,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_row() -> impl Strategy<Value = Row> {
        let country = prop::option::of((b'A'..=b'Z', b'A'..=b'Z').prop_map(|(first, second)| [first, second]));
        let scheme = prop::option::of(prop::sample::select(SCHEMES.to_vec()));
        let anonymity = prop::sample::select(ANONYMITIES.to_vec());
        (scheme, any::<u32>(), 1_u16.., country, anonymity, any::<u32>()).prop_map(
            |(scheme, address, port, country, anonymity, line)| Row { scheme, address, port, country, anonymity, line },
        )
    }

    proptest! {
        #[test]
        fn a_row_survives_being_packed_and_being_a_candidate(row in any_row()) {
            prop_assert_eq!(Row::unpack(row.pack()), row);
            prop_assert_eq!(Row::of(&row.into()), Some(row));
        }
    }

    #[test]
    fn the_words_are_those_of_the_contract() {
        let row = Row {
            scheme: Some(Scheme::Http),
            address: 0x0102_0304,
            port: 8080,
            country: Some(*b"DE"),
            anonymity: Anonymity::Elite,
            line: 7,
        };
        assert_eq!(row.pack(), [0x0031_1F90_0102_0304, 0x0000_4544_0000_0007]);
    }

    #[test]
    fn what_has_more_than_a_row_does_not_fit() {
        let plain = Candidate::from(Row::new(1, 80, 1));
        let others = [
            Candidate { host: Host::Text("proxy.example".to_owned()), ..plain.clone() },
            Candidate { username: Some(String::new()), ..plain.clone() },
            Candidate { country: "Narnia".to_owned(), ..plain.clone() },
            Candidate { country: "de".to_owned(), ..plain },
        ];
        assert!(others.iter().all(|one| Row::of(one).is_none()));
    }
}
