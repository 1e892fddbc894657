#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use super::*;
use crate::text;
use html5gum::Tokenizer;
use html5gum::emitters::callback::{CallbackEmitter, CallbackEvent};
use proptest::prelude::*;
use std::borrow::Cow;

/// What the tests tell apart: tags by what they mean, and the text between them.
#[derive(Debug, PartialEq)]
enum Seen {
    Start(Tag),
    End(Tag),
    Text(String),
}

fn add(seen: &mut Vec<Seen>, text: &str) {
    match seen.last_mut() {
        Some(Seen::Text(before)) => before.push_str(text),
        _ if text.is_empty() => {}
        _ => seen.push(Seen::Text(text.to_owned())),
    }
}

fn read(page: &str) -> Vec<Seen> {
    let mut seen = Vec::new();
    for token in Tokens::new(page.as_bytes()) {
        match token {
            Token::Start(tag, at) => {
                assert_eq!(page.as_bytes()[at], b'<');
                seen.push(Seen::Start(tag));
            }
            Token::End(tag) => seen.push(Seen::End(tag)),
            Token::Script(code) => add(&mut seen, std::str::from_utf8(code).unwrap()),
            Token::Text(piece) => {
                let mut text = Cow::Borrowed(&b""[..]);
                text::add(&mut text, piece);
                add(&mut seen, std::str::from_utf8(&text).unwrap());
            }
        }
    }
    seen
}

/// The same by the tokenizer of the standard; text that is hidden here is left out.
fn read_by_standard(page: &str) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut emitter = CallbackEmitter::new(|event: CallbackEvent<'_>, _: html5gum::Span<()>| -> Option<()> {
        match event {
            CallbackEvent::OpenStartTag { name } => seen.push(Seen::Start(tag(name))),
            CallbackEvent::EndTag { name } => seen.push(Seen::End(tag(name))),
            CallbackEvent::String { .. } if seen.last() == Some(&Seen::Start(Tag::Hidden)) => {}
            CallbackEvent::String { value } => add(&mut seen, std::str::from_utf8(value).unwrap()),
            CallbackEvent::AttributeName { .. }
            | CallbackEvent::AttributeValue { .. }
            | CallbackEvent::CloseStartTag { .. }
            | CallbackEvent::Comment { .. }
            | CallbackEvent::Doctype { .. }
            | CallbackEvent::Error(_) => {}
        }
        None
    });
    emitter.naively_switch_states(true);
    Tokenizer::new_with_emitter(page, emitter).for_each(drop);
    seen
}

fn agree(page: &str) {
    assert_eq!(read(page), read_by_standard(page), "{page:?}");
}

#[test]
fn corners_are_read_as_the_standard_says() {
    for page in [
        "",
        "a<b>c</b>d",
        "<td",
        "a < b",
        "<>",
        "</>",
        "</ x>y",
        "<!doctype html>x",
        "<?xml?>x",
        "<!-- a --> b",
        "<!-->x",
        "<!--->x",
        "<!---->x",
        "<!-- > -- --!>x",
        "<!-- --->x",
        "<!-- a",
        "<TD Class=x>y",
        "<td a=\">\">x",
        "<td a='>'>x",
        "<td a=x/>y",
        "<td/a>x",
        "<td = >x",
        "<td =x=y>z",
        "<td a = \"b\" c>x",
        "<td a=>x",
        "<br/>x",
        "</td a='>'>x",
        "<script>a<b></td></scriptx></SCRIPT >c",
        "<style></styl></style>x",
        "<title>a</b></title>b",
        "<script>x",
        "&lt;td&gt;&#49;",
        "<td\n\tx\n>y",
        "<p>a<p>b",
    ] {
        agree(page);
    }
}

proptest! {
    #[test]
    fn tags_in_any_order_are_read_as_the_standard_says(
        pieces in prop::collection::vec(
            prop::sample::select(vec![
                "<table>", "</table>", "<tr x>", "<td a=\"'>\">", "</TD>", "<th a='\"'>", "<a href=b/>", "<br/>", "<dl><dt>",
                "<style>", "</style>", "<script src=\"\">", "</script>", "1.2.3.4", "&#x31;", "&amp;", "<!", "<!--", "-->",
                "--", ">", "<", "</", "/", "=", "\"", "'", " ", "\n", "é", "<?", "x",
            ]),
            0..40,
        ),
    ) {
        // What is not closed at the end is no tag for the standard, and a comment in a script has rules of its own.
        let page = format!("{}'\">-->", pieces.concat());
        let in_script = page.split("<script").skip(1).any(|script| script.contains("<!--"));
        prop_assume!(!in_script);
        prop_assert_eq!(read(&page), read_by_standard(&page), "{}", page);
    }
}
