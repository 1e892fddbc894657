//! The functions that scripts use to hide a text.

use super::MAX_TEXT;
use super::value::Value;

/// The answer of a function; none when it is not known, or not for these arguments.
pub(super) fn call(name: &[u8], arguments: Vec<Value>) -> Option<Value> {
    match (name, <[Value; 1]>::try_from(arguments)) {
        (b"atob" | b"window.atob" | b"Base64.decode", Ok([text])) => base64(text.into_text().as_bytes()),
        (b"parseInt" | b"Number", Ok([value])) => whole(&value, 10),
        (b"String", Ok([value])) => Some(Value::Text(value.into_text())),
        (b"unescape" | b"decodeURIComponent" | b"decodeURI", Ok([text])) => percent(&text.into_text()),
        (b"String.fromCharCode", Ok([code])) => characters(&[code]),
        (b"String.fromCharCode", Err(codes)) => characters(&codes),
        (b"parseInt", Err(arguments)) => match arguments.as_slice() {
            [value, radix] => whole(value, radix.number().and_then(|radix| u32::try_from(radix).ok())?),
            _ => None,
        },
        _ => None,
    }
}

/// Base64 (RFC 4648 §4, or §5 with its other two letters), up to the first letter that is none of it.
fn base64(text: &[u8]) -> Option<Value> {
    let mut decoded = Vec::with_capacity(text.len() / 4 * 3 + 3);
    let (mut bits, mut count) = (0_u32, 0);
    for &letter in text {
        let six = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            b' ' | b'\n' | b'\r' => continue,
            b'=' => break,
            _ => return None,
        };
        bits = bits << 6 | u32::from(six);
        count += 6;
        if count >= 8 {
            count -= 8;
            decoded.push((bits >> count & 0xFF) as u8);
        }
    }
    String::from_utf8(decoded).ok().map(Value::Text)
}

fn whole(value: &Value, radix: u32) -> Option<Value> {
    let text = match value {
        Value::Number(number) => return Some(Value::Number(*number)).filter(|_| radix == 10),
        Value::Text(text) => text.trim(),
    };
    if !(2..=36).contains(&radix) {
        return None;
    }
    let digits = text.find(|letter: char| !letter.is_digit(radix)).unwrap_or(text.len());
    i64::from_str_radix(text.get(..digits)?, radix).ok().map(Value::Number)
}

fn characters(codes: &[Value]) -> Option<Value> {
    let letters = codes.iter().map(|code| code.number().and_then(|code| char::from_u32(u32::try_from(code).ok()?)));
    letters.take(MAX_TEXT / 4).collect::<Option<String>>().map(Value::Text)
}

fn percent(text: &str) -> Option<Value> {
    let mut parts = text.split('%');
    let mut decoded = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (code, rest) = part.split_at_checked(2)?;
        decoded.push(u8::from_str_radix(code, 16).ok()?);
        decoded.extend(rest.as_bytes());
    }
    String::from_utf8(decoded).ok().map(Value::Text)
}
