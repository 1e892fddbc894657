//! Text: one proxy a line.
//!
//! **When to use.** Most public lists, and what most vendors export. It reads the forms of
//! [`entry`], such as `host:port`, `scheme://user:password@host:port`, `host:port:user:password`, and
//! lines with several of them or with a country beside; comments after `#`, `//` or `;` at the
//! beginning of a line, and after a `#` that follows white space; blank lines; lines that end in CR
//! LF.
//!
//! **Options.** `sections` (default `true`): a comment of a scheme and the word "proxies", such as
//! `# SOCKS5 Proxies (28)`, gives the scheme of the lines below it that name none, until the next
//! such comment.
//!
//! What is neither an entry nor a comment is a rejection with its line: the title and the legend that
//! stand above some lists too.

mod section;

use proxywhirl_plugin_sdk::parser::{Collector, Document, Parser, Row};
use proxywhirl_plugin_sdk::{Description, Scheme, entry};
use serde::Deserialize;

/// The JSON Schema of [`Options`].
const SCHEMA: &str = include_str!("options.json");

/// Lines that tell what a document is.
const SNIFFED_LINES: usize = 200;

/// What users may set.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Whether a comment gives the scheme of the lines below it.
    sections: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { sections: true }
    }
}

/// One proxy a line.
#[derive(Debug)]
pub struct Text;

impl Parser for Text {
    type Options = Options;

    fn describe() -> Description {
        Description::new(
            "text",
            env!("CARGO_PKG_VERSION"),
            "One proxy a line, in any of the usual forms; for most public lists.",
        )
        .with_options(SCHEMA)
    }

    /// By the share of lines that are entries; rows of a table count half, because what reads tables
    /// knows their columns. A text that holds nothing but comments may be a list that is empty today;
    /// any other text is not likely to be one.
    fn sniff(document: &Document<'_>) -> u8 {
        if memchr::memchr(0, document.body).is_some() {
            return 0;
        }
        let (mut entries, mut rows, mut lines) = (0_u32, 0_u32, 0_u32);
        for line in document.body.split(|&byte| byte == b'\n').take(SNIFFED_LINES) {
            let text = content(line);
            if text.is_empty() {
                continue;
            }
            lines += 1;
            match entry::parse(text, document.default_scheme) {
                Ok(_) => entries += 1,
                Err(_) if !holds_entry(text, document.default_scheme) => {}
                Err(_) if text.iter().any(|byte| b",;|\t".contains(byte)) => rows += 1,
                Err(_) => entries += 1,
            }
        }
        match (entries, rows, lines) {
            (0, 0, 0) => 10,
            (0, 0, _) => 5,
            _ => u8::try_from(20 + (75 * entries + 40 * rows) / lines).unwrap_or(0),
        }
    }

    fn parse(document: &Document<'_>, options: &Options, collector: &mut Collector) -> Result<(), String> {
        if memchr::memchr(0, document.body).is_some() {
            return Err("not a text: it holds zero bytes".to_owned());
        }
        let mut rest = document.body;
        let mut ranges = entry::Ranges::default();
        collector.reserve(memchr::memchr_iter(b'\n', rest).count() + 1, rest.len());
        let mut scheme = None;
        let mut line = 0_u32;
        while !rest.is_empty() {
            line = line.saturating_add(1);
            // Nine lines of ten are no more than an address and a port.
            if let Some((address, port, used)) = entry::ipv4_port(rest)
                && let Some(after) = rest.get(used..).and_then(after_line_end)
            {
                rest = after;
                collector.accept_row(Row { scheme, ..Row::new(address, port, line) });
                continue;
            }
            let text = take_line(&mut rest);
            let default = scheme.unwrap_or(document.default_scheme);
            match content(text) {
                [] if options.sections => scheme = section::scheme(text).or(scheme),
                [] => {}
                text => entry::line(text, default, &mut ranges, &mut |found| match found {
                    Ok(mut found) => {
                        found.scheme = found.scheme.or(scheme);
                        collector.accept(found.into_candidate(line));
                    }
                    Err(fault) => collector.reject(line, text, fault),
                }),
            }
        }
        Ok(())
    }
}

/// Whether a line that is no entry as a whole has one in it.
fn holds_entry(line: &[u8], default: Scheme) -> bool {
    let mut holds = false;
    entry::line(line, default, &mut entry::Ranges::default(), &mut |found| holds |= found.is_ok());
    holds
}

/// What follows, when nothing more stands in the line.
#[inline]
fn after_line_end(rest: &[u8]) -> Option<&[u8]> {
    match rest {
        [] => Some(rest),
        [b'\n', after @ ..] | [b'\r', b'\n', after @ ..] => Some(after),
        _ => None,
    }
}

fn take_line<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let all = *rest;
    let end = memchr::memchr(b'\n', all).unwrap_or(all.len());
    let (line, after) = all.split_at_checked(end).unwrap_or((all, &[]));
    *rest = after.get(1..).unwrap_or_default();
    line
}

/// The line without white space and comments; nothing of it when it is one.
fn content(line: &[u8]) -> &[u8] {
    let line = line.trim_ascii();
    if line.starts_with(b"#") || line.starts_with(b"//") || line.starts_with(b";") {
        return &[];
    }
    let marks = memchr::memchr_iter(b'#', line);
    let comment = marks
        .into_iter()
        .find(|&mark| mark.checked_sub(1).and_then(|before| line.get(before)).is_some_and(u8::is_ascii_whitespace));
    line.get(..comment.unwrap_or(line.len())).unwrap_or(line).trim_ascii_end()
}

proxywhirl_plugin_sdk::export!(parser: Text);

#[cfg(test)]
mod tests;
