//! Any charset to UTF-8.
//!
//! What says which charset it is, in this order (WHATWG HTML §13.2.3): a byte order mark, the header
//! field, the page's own `<meta>`, and what the bytes look like. Nothing is refused: what cannot be
//! decoded becomes U+FFFD, and the line that holds it is rejected later by itself.

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};

/// How far a page may put its `<meta charset>` (WHATWG HTML §4.2.5.4).
const PRESCAN: usize = 1024;

/// Decodes a document, without its byte order mark.
pub(super) fn to_utf8(mut bytes: Vec<u8>, content_type: &str) -> Vec<u8> {
    let (encoding, mark) = match Encoding::for_bom(&bytes) {
        Some((encoding, length)) => (encoding, length),
        None => (declared(content_type).or_else(|| in_page(&bytes)).unwrap_or_else(|| guess(&bytes)), 0),
    };
    if encoding == UTF_8 && std::str::from_utf8(&bytes).is_ok() {
        // The usual case costs no copy of the document.
        bytes.drain(..mark);
        return bytes;
    }
    let (text, _) = encoding.decode_without_bom_handling(bytes.get(mark..).unwrap_or_default());
    text.into_owned().into_bytes()
}

/// The `charset` parameter of a media type.
fn declared(content_type: &str) -> Option<&'static Encoding> {
    content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let value = value.trim().trim_matches('"');
        name.trim().eq_ignore_ascii_case("charset").then(|| Encoding::for_label(value.as_bytes())).flatten()
    })
}

/// The charset that a page declares for itself, in either of the two forms of `<meta>`.
fn in_page(bytes: &[u8]) -> Option<&'static Encoding> {
    let head = String::from_utf8_lossy(bytes.get(..PRESCAN).unwrap_or(bytes)).to_ascii_lowercase();
    head.split("<meta").skip(1).find_map(|rest| {
        let tag = rest.split('>').next()?;
        let value = tag.split_once("charset")?.1.trim_start().strip_prefix('=')?.trim_start();
        let value = value.trim_start_matches(['"', '\'']);
        let label = value.split(|c: char| c.is_whitespace() || "\"';/".contains(c)).next()?;
        let encoding = Encoding::for_label(label.as_bytes())?;
        // A page whose `<meta>` can be read as ASCII is not in UTF-16, whatever it says.
        Some(if encoding.is_ascii_compatible() { encoding } else { UTF_8 })
    })
}

fn guess(bytes: &[u8]) -> &'static Encoding {
    if std::str::from_utf8(bytes).is_ok() { UTF_8 } else { WINDOWS_1252 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8], content_type: &str) -> String {
        String::from_utf8_lossy(&to_utf8(bytes.to_vec(), content_type)).into_owned()
    }

    #[test]
    fn a_byte_order_mark_wins_and_is_gone() {
        assert_eq!(text(b"\xef\xbb\xbf1.2.3.4:80", "text/plain; charset=utf-16le"), "1.2.3.4:80");
        assert_eq!(text(b"\xff\xfea\0b\0", "text/plain; charset=utf-8"), "ab");
        assert_eq!(text(b"\xfe\xff\0a\0b", ""), "ab");
    }

    #[test]
    fn the_header_field_wins_over_the_page() {
        let page = b"<meta charset=utf-8>\xcf\xf0\xee\xea\xf1\xe8";
        assert_eq!(text(page, "text/html; Charset=\"windows-1251\""), "<meta charset=utf-8>Прокси");
        assert_eq!(text(b"\x83v\x83\x8d", "text/html;charset=shift_jis"), "プロ");
    }

    #[test]
    fn a_page_says_its_charset_in_two_forms() {
        for meta in [
            "<html><META CharSet='windows-1251' />",
            "<meta name=a><meta http-equiv=\"Content-Type\" content=\"text/html; charset=windows-1251\">",
        ] {
            let page = [meta.as_bytes(), b"\xcf"].concat();
            assert_eq!(text(&page, "text/html"), format!("{meta}П"));
        }
        assert_eq!(text(b"<meta charset=utf-16>\xc3\xa9", ""), "<meta charset=utf-16>é");
    }

    #[test]
    fn what_says_nothing_is_utf_8_if_it_can_be() {
        assert_eq!(text("é".as_bytes(), ""), "é");
        assert_eq!(text(b"caf\xe9", "text/plain; charset=nonsense"), "café");
        assert_eq!(text(b"", "text/plain"), "");
        assert_eq!(text(b"ok\xff", "text/plain; charset=utf-8"), "ok\u{fffd}");
    }
}
