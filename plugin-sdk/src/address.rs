//! IPv4 addresses as bytes, for fields: whether the other ones of a row are text is not yet known, and
//! finding that out costs more than reading the address. The grammar is that of
//! [`Host::parse`](crate::entry::Host::parse), and tested to be.

/// The address that a text is, in host byte order: four numbers without leading zeros.
#[inline]
pub(crate) fn ipv4(text: &[u8]) -> Option<u32> {
    if text.len() > 15 {
        return None;
    }
    let (mut address, mut octet, mut digits, mut dots) = (0_u32, 0_u32, 0, 0);
    for &byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 {
            // More digits than an octet has, or a zero before others.
            if digits == 3 || (digits > 0 && octet == 0) {
                return None;
            }
            octet = octet * 10 + u32::from(digit);
            digits += 1;
        } else if byte == b'.' && digits > 0 && octet <= 255 && dots < 3 {
            address = address << 8 | octet;
            (octet, digits, dots) = (0, 0, dots + 1);
        } else {
            return None;
        }
    }
    (dots == 3 && digits > 0 && octet <= 255).then_some(address << 8 | octet)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Host;
    use proptest::prelude::*;

    fn by_grammar(text: &str) -> Option<u32> {
        match Host::parse(text) {
            Some(Host::Ipv4(address)) => Some(address),
            Some(Host::Text(_) | Host::Ipv6(..)) | None => None,
        }
    }

    #[test]
    fn an_octet_of_many_digits_is_none_and_not_what_is_left_of_it() {
        for text in ["21111111111", "4294967297.1.1.1", "1.1.1.4294967297"] {
            assert_eq!(ipv4(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn it_is_what_the_grammar_says(text in "[0-9]{0,4}(\\.[0-9]{0,4}){2,4}|[0-9.x]{0,16}", bits in any::<u32>()) {
            prop_assert_eq!(ipv4(text.as_bytes()), by_grammar(&text));
            prop_assert_eq!(ipv4(std::net::Ipv4Addr::from(bits).to_string().as_bytes()), Some(bits));
        }
    }
}
