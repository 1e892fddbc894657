#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use super::*;
use proptest::prelude::*;
use serde_json::Value;

/// The value that a text is, read with the scanner.
fn read(text: &[u8]) -> Option<Value> {
    let mut scan = Scanner::new(text);
    let value = value(&mut scan, 0).ok()?;
    scan.peek().is_none().then_some(value)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_owned()).unwrap()
}

fn value(scan: &mut Scanner<'_>, depth: u32) -> Result<Value, Broken> {
    let mut first = true;
    match scan.peek() {
        Some(b'"') => Ok(text(&scan.string()?).into()),
        Some(b'-' | b'0'..=b'9') => Ok(serde_json::from_slice(scan.number()?).expect("a number")),
        Some(b'[') => {
            scan.enter(depth)?;
            let mut items = Vec::new();
            while scan.next_element(&mut first)? {
                items.push(value(scan, depth + 1)?);
            }
            Ok(items.into())
        }
        Some(b'{') => {
            scan.enter(depth)?;
            let mut entries = serde_json::Map::new();
            while scan.next_key(&mut first)? {
                let key = text(&scan.key()?.0);
                entries.insert(key, value(scan, depth + 1)?);
            }
            Ok(entries.into())
        }
        _ => {
            let start = scan.at;
            scan.literal()?;
            Ok(serde_json::from_slice(&scan.body[start..scan.at]).unwrap())
        }
    }
}

/// The scanner and `serde_json` say the same, whether the value is wanted or passed over.
fn agree(text: &[u8]) {
    let expected = serde_json::from_slice::<Value>(text).ok();
    assert_eq!(read(text), expected, "{:?}", String::from_utf8_lossy(text));
    let mut scan = Scanner::new(text);
    let passed = scan.skip(0).is_ok() && scan.peek().is_none();
    assert_eq!(passed, expected.is_some(), "{:?}", String::from_utf8_lossy(text));
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e9..1e9_f64).prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 60, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::btree_map("\\PC{0,10}", inner, 0..8)
                .prop_map(|entries| entries.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

#[test]
fn corners_are_read_as_serde_json_reads_them() {
    for text in [
        "",
        " ",
        "0",
        "-0",
        "01",
        "-",
        "1.",
        "1.5e+3",
        "1e",
        ".5",
        "+1",
        "tru",
        "true",
        "nul",
        "[",
        "]",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{",
        "{}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "{\"a\" : 1 }",
        "\"",
        "\"\\",
        "\"\\u12\"",
        "\"\\ud83e\\udd80\"",
        "\"\\ud83e\"",
        "\"\\udd80\"",
        "\"\\ud83e\\u0041\"",
        "\"\\x\"",
        "\"a\tb\"",
        "\"\u{7f}é\"",
        "\"12345678\\n12345678é\"",
        "[1]x",
        "\u{feff}1",
    ] {
        agree(text.as_bytes());
    }
    agree(b"\"\xff\"");
    agree(b"\"12345678\xc3\"");
    for depth in [126, 127, 128, 129] {
        agree(format!("{}{}", "[".repeat(depth), "]".repeat(depth)).as_bytes());
    }
}

proptest! {
    #[test]
    fn values_are_read_as_serde_json_reads_them(value in any_value(), pretty in any::<bool>()) {
        agree(if pretty { format!("{value:#}") } else { value.to_string() }.as_bytes());
    }

    #[test]
    fn damaged_values_are_refused_as_serde_json_refuses_them(
        value in any_value(), place in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>(),
    ) {
        let mut text = value.to_string().into_bytes();
        let place = place.index(text.len());
        text[place] = byte;
        if cut {
            text.truncate(place);
        }
        // A digit may become an exponent, beyond the range of numbers.
        if !serde_json::from_slice::<Value>(&text).is_err_and(|error| error.to_string().contains("out of range")) {
            agree(&text);
        }
    }

    #[test]
    fn marks_in_any_order_are_read_as_serde_json_reads_them(
        text in "([\\[\\]{},:\" \n0-9.eE+-]|\"a\"|\\\\u00e9|true|null|\\\\){0,20}",
    ) {
        agree(text.as_bytes());
    }

    #[test]
    fn bytes_of_any_kind_are_read_as_serde_json_reads_them(bytes in any::<Vec<u8>>()) {
        agree(&bytes);
        agree(&[b"\"", &*bytes, b"\""].concat());
    }

    #[test]
    fn texts_of_one_length_are_equal_when_each_byte_is(pairs in prop::collection::vec((0_u8..2, 0_u8..2), 0..24)) {
        let (one, mut other): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        prop_assert_eq!(string::equal(&one, &other), one == other);
        other.copy_from_slice(&one);
        prop_assert!(string::equal(&one, &other));
        for place in 0..one.len() {
            other[place] ^= 1;
            prop_assert!(!string::equal(&one, &other));
            other[place] ^= 1;
        }
    }

    #[test]
    fn a_line_is_counted_at_each_line_end(value in any_value()) {
        let text = format!("{value:#}");
        let mut scan = Scanner::new(text.as_bytes());
        scan.skip(0).unwrap();
        prop_assert_eq!(scan.line() as usize, text.lines().count());
    }
}
