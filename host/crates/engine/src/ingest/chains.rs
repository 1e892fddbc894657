//! Lines that are chains, taken out of a document before a parser reads the rest.
//!
//! A parser's entry is one proxy, and stays so in its contract; a line such as `socks5://a:1080 -> http://b:8080` means the
//! same whatever the document is, so the host reads it. What is left keeps its lines, and so their numbers.

use proxywhirl_core::endpoint::chain::{self, ARROW};
use proxywhirl_core::plugin::Document;
use proxywhirl_core::{Endpoint, address};

/// A line that is meant to be a chain, and the chain or why it is none.
pub(super) struct Line {
    pub(super) number: u32,
    pub(super) text: String,
    pub(super) chain: Result<Endpoint, String>,
}

/// Takes the lines of a document out that are chains.
pub(super) fn take(document: Document, allow_private: bool) -> (Document, Vec<Line>) {
    // Nearly no document has any.
    if !document.body.windows(ARROW.len()).any(|window| window == ARROW.as_bytes()) {
        return (document, Vec::new());
    }
    let (mut rest, mut lines) = (Vec::with_capacity(document.body.len()), Vec::new());
    for (number, line) in (1..).zip(document.body.split_inclusive(|byte| *byte == b'\n')) {
        match text(line) {
            Some(text) => {
                let chain = read(text, allow_private);
                lines.push(Line { number, text: text.to_owned(), chain });
                rest.extend(line.iter().filter(|byte| **byte == b'\n'));
            }
            None => rest.extend_from_slice(line),
        }
    }
    (Document { body: rest.into(), ..document }, lines)
}

/// The text of a line that is meant to be a chain, without a comment behind it.
fn text(line: &[u8]) -> Option<&str> {
    let line = std::str::from_utf8(line).ok()?;
    let text = line.split_once(" #").map_or(line, |(text, _)| text).trim();
    chain::is_meant(text).then_some(text)
}

fn read(text: &str, allow_private: bool) -> Result<Endpoint, String> {
    let chain: Endpoint = text.parse().map_err(|error| format!("{error}"))?;
    if !allow_private {
        for (number, hop) in (1..).zip(chain.hops()) {
            if let Some(class) = address::private(&hop.host) {
                return Err(format!("private address: {class}, hop {number}"));
            }
        }
    }
    Ok(chain)
}
