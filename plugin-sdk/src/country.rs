//! Two-letter country codes (ISO 3166-1 alpha-2, <https://www.iso.org/iso-3166-country-codes.html>),
//! and `XK`, which everybody uses for Kosovo; and the English names that lists use for them.

/// All of them, in order.
const CODES: &str = "ADAEAFAGAIALAMAOAQARASATAUAWAXAZBABBBDBEBFBGBHBIBJBLBMBNBOBQBRBSBTBVBWBYBZ\
CACCCDCFCGCHCICKCLCMCNCOCRCUCVCWCXCYCZDEDJDKDMDODZECEEEGEHERESETFIFJFKFMFOFRGAGBGDGEGFGGGHGIGLGMGN\
GPGQGRGSGTGUGWGYHKHMHNHRHTHUIDIEILIMINIOIQIRISITJEJMJOJPKEKGKHKIKMKNKPKRKWKYKZLALBLCLILKLRLSLTLULV\
LYMAMCMDMEMFMGMHMKMLMMMNMOMPMQMRMSMTMUMVMWMXMYMZNANCNENFNGNINLNONPNRNUNZOMPAPEPFPGPHPKPLPMPNPRPSPT\
PWPYQARERORSRURWSASBSCSDSESGSHSISJSKSLSMSNSOSRSSSTSVSXSYSZTCTDTFTGTHTJTKTLTMTNTOTRTTTVTWTZUAUGUMUS\
UYUZVAVCVEVGVIVNVUWFWSXKYEYTZAZMZW";

/// The codes as bits: a row for each first letter, a bit for each second one.
static KNOWN: [u32; 26] = known();

const fn known() -> [u32; 26] {
    let codes = CODES.as_bytes();
    let mut rows = [0; 26];
    let mut at = 0;
    while at + 1 < codes.len() {
        #[allow(clippy::indexing_slicing)] // Evaluated by the compiler only.
        {
            rows[(codes[at] - b'A') as usize] |= 1 << (codes[at + 1] - b'A');
        }
        at += 2;
    }
    rows
}

/// The code that a text is, in upper case; none for anything else. `UK` is `GB`.
#[must_use]
pub fn code(text: &str) -> Option<[u8; 2]> {
    code_in(text.trim().as_bytes())
}

/// The same, of a text that has no white space around it.
pub(crate) fn code_in(text: &[u8]) -> Option<[u8; 2]> {
    let &[first, second] = text else { return None };
    let code = [first.to_ascii_uppercase(), second.to_ascii_uppercase()];
    if code == *b"UK" {
        return Some(*b"GB");
    }
    let row = KNOWN.get(usize::from(code[0].checked_sub(b'A')?))?;
    let bit = code[1].checked_sub(b'A').filter(|&bit| bit < 26)?;
    (row >> bit & 1 == 1).then_some(code)
}

/// A code, a space and a name in each line; a country has as many lines as names in use.
const NAMES: &str = include_str!("country/names.txt");

/// The code of the country that has this English name, in any case; none when it is no such name.
#[must_use]
pub fn named(name: &str) -> Option<[u8; 2]> {
    let name = name.trim();
    let line = NAMES.lines().find(|line| line.get(3..).is_some_and(|known| known.eq_ignore_ascii_case(name)))?;
    code(line.get(..2)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_country_has_a_name() {
        let mut codes: Vec<_> = NAMES.lines().filter_map(|line| code(line.get(..2)?)).collect();
        assert_eq!(codes.len(), NAMES.lines().count());
        codes.dedup();
        assert_eq!(codes.len(), 250);
    }

    #[test]
    fn names_are_known_in_any_case_and_by_more_than_one_word() {
        assert_eq!(named("brazil"), Some(*b"BR"));
        assert_eq!(named(" Russian Federation "), Some(*b"RU"));
        assert_eq!(named("Korea, Republic of"), Some(*b"KR"));
        for text in ["", "Bra", "BR Brazil", "Atlantis"] {
            assert_eq!(named(text), None, "{text}");
        }
    }

    #[test]
    fn there_are_249_codes_and_kosovo() {
        assert_eq!(KNOWN.iter().map(|row| row.count_ones()).sum::<u32>(), 250);
    }

    #[test]
    fn codes_are_known_in_any_case_and_names_are_not() {
        assert_eq!(code("de"), Some(*b"DE"));
        assert_eq!(code(" US "), Some(*b"US"));
        assert_eq!(code("uk"), Some(*b"GB"));
        for text in ["", "U", "USA", "XX", "ZZ", "1A", "A[", "Unknown", "é"] {
            assert_eq!(code(text), None, "{text}");
        }
    }
}
