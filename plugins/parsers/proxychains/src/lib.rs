//! proxychains: the `[ProxyList]` section of `proxychains.conf`.
//!
//! **When to use.** The configuration of proxychains and proxychains-ng: below `[ProxyList]` stands
//! `TYPE HOST PORT [USER PASSWORD]` in each line, of type `http`, `socks4` or `socks5`; what stands
//! above are settings, which do not count. Lines of this form without the section are read by the
//! parser `text`.
//!
//! **Options.** None.
//!
//! Comments begin with `#`, at the beginning of a line or after white space. A line of the section
//! that is no proxy is a rejection.
//!
//! Reference: <https://github.com/rofl0r/proxychains-ng/blob/master/src/proxychains.conf>.

use proxywhirl_plugin_sdk::entry::{self, Entry, Fault, Host};
use proxywhirl_plugin_sdk::parser::{Collector, Document, Parser};
use proxywhirl_plugin_sdk::{Description, NoOptions, words};

/// The header of the section that is read, in any case.
const SECTION: &str = "[ProxyList]";

/// The configuration of proxychains.
#[derive(Debug)]
pub struct Proxychains;

impl Parser for Proxychains {
    type Options = NoOptions;

    fn describe() -> Description {
        Description::new("proxychains", env!("CARGO_PKG_VERSION"), "The [ProxyList] section of proxychains.conf.")
    }

    /// By the header of the section, which no other format has. Below many comments it may not be in
    /// the beginning that is shown; the words above it are those of no other program.
    fn sniff(document: &Document<'_>) -> u8 {
        let text = String::from_utf8_lossy(document.body);
        if text.lines().any(is_section) {
            98
        } else if text.lines().any(|line| ["strict_chain", "dynamic_chain", "random_chain"].contains(&line.trim())) {
            60
        } else {
            0
        }
    }

    fn parse(document: &Document<'_>, _: &NoOptions, collector: &mut Collector) -> Result<(), String> {
        let text = String::from_utf8_lossy(document.body);
        let mut lines = (1..).zip(text.lines()).skip_while(|(_, line)| !is_section(line));
        lines.next().ok_or("there is no [ProxyList]")?;
        for (line, text) in lines {
            let content = uncommented(text);
            if content.trim().is_empty() || content.trim_start().starts_with('[') {
                continue;
            }
            match read(content) {
                Ok(entry) => collector.accept(entry.into_candidate(line)),
                Err(reason) => collector.reject(line, content.as_bytes(), reason),
            }
        }
        Ok(())
    }
}

fn is_section(line: &str) -> bool {
    line.trim().eq_ignore_ascii_case(SECTION)
}

/// A line up to the first `#` that white space or nothing is before: others belong to a password.
fn uncommented(line: &str) -> &str {
    let is_comment = |start: &usize| {
        line.get(..*start).is_some_and(|before| before.is_empty() || before.ends_with(char::is_whitespace))
    };
    let start = line.match_indices('#').map(|(start, _)| start).find(is_comment);
    start.and_then(|start| line.get(..start)).unwrap_or(line)
}

/// `TYPE HOST PORT [USER PASSWORD]`.
fn read(line: &str) -> Result<Entry<'_>, String> {
    let mut fields = line.split_whitespace();
    let kind = fields.next().unwrap_or_default();
    let scheme = words::scheme(kind).ok_or_else(|| Fault::Scheme(kind.to_owned()).to_string())?;
    let host = fields.next().unwrap_or_default();
    let host = Host::parse(host).ok_or_else(|| Fault::NotAHost(host.to_owned()).to_string())?;
    let port = entry::port(fields.next().unwrap_or_default()).map_err(|fault| fault.to_string())?;
    let (username, password) = (fields.next(), fields.next());
    if fields.next().is_some() {
        return Err(Fault::Note.to_string());
    }
    let (username, password) = (username.map(Into::into), password.map(Into::into));
    Ok(Entry { scheme: Some(scheme), username, password, ..Entry::at(host, port) })
}

proxywhirl_plugin_sdk::export!(parser: Proxychains);

#[cfg(test)]
mod tests;
