//! Lines that are chains, taken out of a document before a parser reads the rest.
//!
//! A parser's entry is one proxy, and stays so in its contract; a line such as `socks5://a:1080 -> http://b:8080` means the
//! same whatever the document is, so the host reads it. What is left keeps its lines, and so their numbers.

use proxywhirl_core::candidate::Country;
use proxywhirl_core::endpoint::chain::{self, ARROW};
use proxywhirl_core::plugin::Document;
use proxywhirl_core::verdict::Anonymity;
use proxywhirl_core::{Endpoint, address};
use serde::Deserialize;

/// A line that is meant to be a chain, and the chain or why it is none.
pub(super) struct Line {
    pub(super) number: u32,
    pub(super) text: String,
    pub(super) chain: Result<Endpoint, String>,
    pub(super) country: Option<Country>,
    pub(super) anonymity: Anonymity,
}

/// Takes the lines of a document out that are chains.
pub(super) fn take(document: Document, allow_private: bool) -> (Document, Vec<Line>) {
    // Nearly no document has any.
    if !document.body.windows(ARROW.len()).any(|window| window == ARROW.as_bytes()) {
        return (document, Vec::new());
    }
    let (mut rest, mut lines) = (Vec::with_capacity(document.body.len()), Vec::new());
    for (number, line) in (1..).zip(document.body.split_inclusive(|byte| *byte == b'\n')) {
        match found(line) {
            Some(Found { text, country, anonymity, is_row }) => {
                let chain = read(&text, allow_private);
                lines.push(Line { number, text, chain, country, anonymity });
                if is_row {
                    no_comma_before_the_end(&mut rest, line);
                }
                rest.extend(line.iter().filter(|byte| **byte == b'\n'));
            }
            None => rest.extend_from_slice(line),
        }
    }
    (Document { body: rest.into(), ..document }, lines)
}

/// What a line says of a chain.
struct Found {
    text: String,
    country: Option<Country>,
    anonymity: Anonymity,
    /// Whether it is an object of JSON.
    is_row: bool,
}

/// The chain that a line is meant to be: alone, or as `fetch` and `pool export` write it in JSON and CSV.
fn found(line: &[u8]) -> Option<Found> {
    let line = std::str::from_utf8(line).ok()?.trim();
    if !line.contains(ARROW) {
        return None;
    }
    json(line).or_else(|| csv(line)).or_else(|| {
        // Without a comment behind it.
        let text = line.split_once(" #").map_or(line, |(text, _)| text).trim();
        let text = chain::is_meant(text).then(|| text.to_owned())?;
        Some(Found { text, country: None, anonymity: Anonymity::Unknown, is_row: false })
    })
}

/// An object of a chain.
#[derive(Deserialize)]
struct Row {
    url: String,
    #[serde(default)]
    country: Option<String>,
    #[serde(default)]
    anonymity: String,
}

fn json(line: &str) -> Option<Found> {
    let object = line.strip_suffix(',').unwrap_or(line);
    let row: Row = object.starts_with('{').then(|| serde_json::from_str(object).ok())??;
    chain::is_meant(&row.url).then(|| Found {
        country: row.country.and_then(|code| code.parse().ok()),
        anonymity: Anonymity::from_word(&row.anonymity),
        text: row.url,
        is_row: true,
    })
}

/// A row without a scheme, and with a chain for a host: scheme, host, port, username, password, country, anonymity.
fn csv(line: &str) -> Option<Found> {
    let rest = line.strip_prefix(',')?;
    // A chain that is quoted may hold no quotes: they are percent-encoded.
    let (text, rest) = match rest.strip_prefix('"') {
        Some(rest) => rest.split_once("\",")?,
        None => rest.split_once(',')?,
    };
    chain::is_meant(text).then(|| {
        let mut fields = rest.split(',').skip(3);
        Found {
            text: text.to_owned(),
            country: fields.next().and_then(|code| code.parse().ok()),
            anonymity: Anonymity::from_word(fields.next().unwrap_or_default()),
            is_row: false,
        }
    })
}

/// Takes the comma away that divided the object which was taken out, if it was the last, from the one before.
fn no_comma_before_the_end(rest: &mut Vec<u8>, taken: &[u8]) {
    if !taken.trim_ascii_end().ends_with(b",") {
        let end = rest.trim_ascii_end().len();
        if end.checked_sub(1).and_then(|at| rest.get(at)) == Some(&b',') {
            rest.remove(end - 1);
        }
    }
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
