//! JSON and JSON Lines.
//!
//! **When to use.** Answers of APIs, and lists that were published as JSON: arrays of strings
//! (`"1.2.3.4:80"`), arrays of objects (`{"ip": …, "port": …}`), lists by scheme
//! (`{"socks5": ["1.2.3.4:1080"]}`), and one value a line.
//!
//! **Options.** None.
//!
//! Keys are known by their names (`ip`, `port`, `protocols`, `country_code`, …, see
//! [`fields`](proxywhirl_plugin_sdk::fields)); an object that lists several protocols is a candidate
//! for each. Containers are walked whatever they are called. The document is read as it streams by:
//! where it breaks, there is a rejection, and what came before counts.
//!
//! Reference: RFC 8259; <https://jsonlines.org>.

mod walk;

use proxywhirl_plugin_sdk::parser::{Collector, Document, Lines, Parser};
use proxywhirl_plugin_sdk::{Description, NoOptions};
use serde::de::{DeserializeSeed, Error, IgnoredAny};
use walk::{Place, Value, Walker};

/// JSON and JSON Lines.
#[derive(Debug)]
pub struct Json;

impl Parser for Json {
    type Options = NoOptions;

    fn describe() -> Description {
        Description::new(
            "json",
            env!("CARGO_PKG_VERSION"),
            "JSON and JSON Lines: strings, objects, lists by scheme; for answers of APIs.",
        )
    }

    fn sniff(document: &Document<'_>) -> u8 {
        let text = document.body.trim_ascii_start();
        let Some((first, rest)) = text.split_first() else { return 0 };
        match (first, rest.trim_ascii_start().first()) {
            (b'{', Some(b'"' | b'}')) => 95,
            (b'[', Some(b'{' | b'[' | b'"' | b']')) => 95,
            // A string a line. Quoted CSV looks like it, and knows better.
            (b'"', Some(_)) => 30,
            _ => 0,
        }
    }

    fn parse(document: &Document<'_>, _: &NoOptions, collector: &mut Collector) -> Result<(), String> {
        let body = document.body;
        let mut walker = Walker { collector, lines: Lines::new(body), default: document.default_scheme };
        let mut place = Place::Root;
        let mut at = 0;
        while let Some(start) = next_value(body, at) {
            let rest = body.get(start..).unwrap_or_default();
            let first = walker.lines.at(start);
            match read_value(rest, Value { walker: &mut walker, place, section: None }) {
                Ok(length) => at = start + length,
                Err(error) if place == Place::Root && walker.collector.counts() == (0, 0) => {
                    return Err(format!("not JSON: {error}"));
                }
                Err(error) => {
                    let passed = u32::try_from(error.line()).unwrap_or(u32::MAX).saturating_sub(1);
                    walker.collector.reject(
                        first.saturating_add(passed),
                        b"",
                        format_args!("broken JSON at column {}: {}", error.column(), cause(&error)),
                    );
                    // In JSON Lines the next line is a value of its own.
                    match memchr::memchr(b'\n', rest) {
                        Some(end) if passed == 0 => at = start + end + 1,
                        _ => return Ok(()),
                    }
                }
            }
            place = Place::Element;
        }
        if place == Place::Root { Err("not JSON: empty".to_owned()) } else { Ok(()) }
    }
}

/// Walks the value at the beginning of a text, and tells its length.
fn read_value(text: &[u8], value: Value<'_, '_, '_>) -> Result<usize, serde_json::Error> {
    if !matches!(text.first(), Some(b'{' | b'[' | b'"')) {
        // `1.2.3.4` begins with a number.
        return Err(serde_json::Error::custom("expected an object, an array or a string"));
    }
    let mut values = serde_json::Deserializer::from_slice(text);
    value.deserialize(&mut values)?;
    Ok(values.into_iter::<IgnoredAny>().byte_offset())
}

/// Where the next value begins.
fn next_value(body: &[u8], at: usize) -> Option<usize> {
    let rest = body.get(at..)?;
    rest.iter().position(|byte| !byte.is_ascii_whitespace()).map(|skipped| at + skipped)
}

/// The error without its place, which the rejection has a field for.
fn cause(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(cause, _)| cause.to_owned())
}

proxywhirl_plugin_sdk::export!(parser: Json);

#[cfg(test)]
mod tests;
