//! Documents that are in base64 as a whole (RFC 4648), as subscriptions of proxy clients are.
//!
//! They are decoded before anything else looks at them, so that what is in them means what it means in any other document:
//! lines that are chains, too.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use encoding_rs::{DecoderResult, Encoding, UTF_8};
use proxywhirl_core::plugin::Document;

/// Nothing shorter encodes a proxy: `1.1.1.1:1` takes 12 letters.
const MIN: usize = 12;

/// Padding is often left out, and the end may be cut off anywhere.
const CONFIG: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);

/// The document that a document in base64 encodes; any other as it is.
pub(super) fn decoded(document: Document) -> Document {
    match decode(&document.body) {
        Some(text) => Document { body: text.into(), ..document },
        None => document,
    }
}

/// The text that is encoded, never longer than its base64; none when it is not base64, or not of a text in UTF-8, or in
/// UTF-16 behind a byte order mark. A last character that a cut has left incomplete is left out. Lists hold dots and
/// colons, which base64 does not, so that for them the answer comes with the first address.
fn decode(body: &[u8]) -> Option<Vec<u8>> {
    let text = body.trim_ascii();
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_=\r\n".contains(byte);
    if text.len() < MIN || !text.iter().all(is_letter) {
        return None;
    }
    let mut letters: Vec<u8> = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    // A letter that is left over by a cut encodes nothing.
    if letters.len() % 4 == 1 {
        letters.pop();
    }
    let is_url_safe = letters.iter().any(|byte| b"-_".contains(byte));
    let alphabet = if is_url_safe { &alphabet::URL_SAFE } else { &alphabet::STANDARD };
    let decoded = GeneralPurpose::new(alphabet, CONFIG).decode(letters).ok()?;
    // No other charset is guessed: in windows-1252 whatever is decoded would be a text.
    let (charset, mark) = Encoding::for_bom(&decoded).unwrap_or((UTF_8, 0));
    let (decoded, mut decoder) = (decoded.get(mark..)?, charset.new_decoder_without_bom_handling());
    let mut text = String::with_capacity(decoder.max_utf8_buffer_length_without_replacement(decoded.len())?);
    // As if more might follow, so that half a character at the end is no error, and anywhere else it is one.
    let (result, _) = decoder.decode_to_string_without_replacement(decoded, &mut text, false);
    if result != DecoderResult::InputEmpty {
        return None;
    }
    let is_text = text.bytes().all(|byte| byte >= b' ' || byte.is_ascii_whitespace());
    // The cap of a document holds for what it encodes: of UTF-16, UTF-8 may make more than there was in base64.
    (is_text && text.contains(':') && text.len() <= body.len()).then(|| text.into_bytes())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::io::Write as _;

    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;

    const LIST: &[u8] = b"socks5://192.0.2.1:1080\n192.0.2.2:80\n";

    #[test]
    fn both_alphabets_are_read_with_and_without_padding_and_in_lines() {
        let text = BASE64_STANDARD.encode(LIST);
        let wrapped = format!("{}\r\n{}\n", text.get(..8).unwrap(), text.get(8..).unwrap());
        for text in [&text, text.trim_end_matches('='), &BASE64_URL_SAFE_NO_PAD.encode(LIST), &wrapped] {
            assert_eq!(decode(text.as_bytes()).as_deref(), Some(LIST), "{text}");
        }
    }

    #[test]
    fn what_is_encoded_may_have_a_byte_order_mark_and_be_in_utf_16() {
        let utf_16: Vec<u8> = "\u{feff}192.0.2.1:80".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for text in ["\u{feff}192.0.2.1:80".as_bytes(), &utf_16] {
            assert_eq!(decode(BASE64_STANDARD.encode(text).as_bytes()).unwrap(), b"192.0.2.1:80");
        }
    }

    #[test]
    fn a_list_whose_end_is_cut_off_anywhere_is_read_as_far_as_it_goes() {
        let list = "socks5://192.0.2.1:1080#café 🇩🇪\n192.0.2.2:80#🇫🇷\n";
        let text = BASE64_STANDARD.encode(list);
        for end in 24..text.len() {
            // Half a letter is none, and neither is half a character. At the end there is padding.
            let bytes = (end * 3 / 4).min(list.len());
            let length = (0..=bytes).rev().find(|length| list.is_char_boundary(*length)).unwrap();
            assert_eq!(decode(&text.as_bytes()[..end]).unwrap(), &list.as_bytes()[..length], "{end}");
        }
    }

    #[test]
    fn half_a_character_is_left_out_at_the_end_alone() {
        let bytes = |units: &[u16]| units.iter().flat_map(|unit| unit.to_le_bytes()).collect::<Vec<u8>>();
        let utf_16: Vec<u16> = "\u{feff}192.0.2.1:80#🇩".encode_utf16().collect();
        let whole = bytes(&utf_16);
        // The last character takes four bytes: two surrogates.
        for cut in 1..=4 {
            let cut = BASE64_STANDARD.encode(&whole[..whole.len() - cut]);
            assert_eq!(decode(cut.as_bytes()).unwrap(), b"192.0.2.1:80#");
        }
        let inside = [&utf_16[..utf_16.len() - 1], &[u16::from(b'x')]].concat();
        for bytes in [bytes(&inside).as_slice(), b"192.0.2.1:80#\xc3x", b"192.0.2.1:80#\xf0\x9f\x87\xff"] {
            assert_eq!(decode(BASE64_STANDARD.encode(bytes).as_bytes()), None, "{bytes:?}");
        }
    }

    #[test]
    fn no_text_is_longer_than_its_base64() {
        let utf_16 =
            |text: &str| BASE64_STANDARD.encode(text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>());
        let list = format!("\u{feff}192.0.2.1:80 {}", "中".repeat(100));
        assert_eq!(decode(utf_16(&list).as_bytes()), None);
        // In windows-1252 it would be a text, and in UTF-8 half as long again as its base64.
        assert_eq!(decode(BASE64_STANDARD.encode([b"a:".as_slice(), &[0xe9; 100]].concat()).as_bytes()), None);
    }

    #[test]
    fn other_texts_are_left_as_they_are() {
        for text in ["", "Array", "AAAAAAAAAAAAAAAAAAAAAAAA", "1.2.3.4:80\n1.2.3.5:80", "justalongwordwithoutmeaning"] {
            assert_eq!(decode(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn each_thing_that_makes_a_text_is_asked_for() {
        // Nothing but a colon is missing, and nothing but a control character is too much.
        for bytes in [b"a text without an address".as_slice(), b"\x01a:bcdefghi", &gzip(LIST)] {
            assert_eq!(decode(BASE64_STANDARD.encode(bytes).as_bytes()), None, "{bytes:?}");
        }
        // A token in hexadecimal that makes letters of windows-1252, and a colon among them.
        assert_eq!(decode(b"ff9243a8f506b40928b5b7a767c76fb0"), None);
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    proptest! {
        #[test]
        fn whatever_bytes_encode_no_text_that_is_longer(
            mark in prop::sample::select(vec!["", "\u{feff}"]), text in "[ -~é中]{0,40}", bytes: Vec<u8>,
        ) {
            let utf_16: Vec<u8> = format!("{mark}{text}:").encode_utf16().flat_map(u16::to_le_bytes).collect();
            let encoded = [&bytes, &utf_16].map(|bytes| BASE64_STANDARD.encode(bytes).into_bytes());
            for body in encoded.iter().chain([&bytes]) {
                prop_assert!(decode(body).is_none_or(|text| text.len() <= body.len()));
            }
        }

        #[test]
        fn a_text_that_was_encoded_is_the_same_again(text in "[ -~é\n]{9,99}:[ -~é\n]{0,99}") {
            prop_assert_eq!(decode(BASE64_STANDARD.encode(&text).as_bytes()), Some(text.into_bytes()));
        }
    }
}
