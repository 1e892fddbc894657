//! {{Name}}: a proxy a line, `HOST:PORT` and perhaps a country.

use proxywhirl_plugin_sdk::parser::{Collector, Document, Parser};
use proxywhirl_plugin_sdk::{Description, country, entry};
use serde::Deserialize;

/// What users may set, as in `options.json`.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// What a line begins with that is to be passed over.
    comment: String,
}

impl Default for Options {
    fn default() -> Self {
        Self { comment: "#".to_owned() }
    }
}

/// A proxy a line.
#[derive(Debug)]
pub struct {{Name}};

impl Parser for {{Name}} {
    type Options = Options;

    fn describe() -> Description {
        Description::new("{{name}}", env!("CARGO_PKG_VERSION"), "A proxy a line, perhaps with a country.")
            .with_options(include_str!("../options.json"))
    }

    // How sure it is that the document is in its format, from 0 to 100; the document is its beginning only. The bundled
    // parsers are surer of what they know; a format that can be told from its beginning answers more.
    fn sniff(document: &Document<'_>) -> u8 {
        let mut lines = document.body.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
        let is_entry = |line: &[u8]| {
            let address = line.split(|&byte| byte == b' ').next().unwrap_or(line);
            entry::parse(address, document.default_scheme).is_ok()
        };
        if lines.any(is_entry) { 10 } else { 0 }
    }

    // A bad line is a rejection, and the rest is read. An error would mean: not this format at all.
    fn parse(document: &Document<'_>, options: &Options, collector: &mut Collector) -> Result<(), String> {
        let text = String::from_utf8_lossy(document.body);
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with(&options.comment) {
                continue;
            }
            let (address, place) = line.split_once(' ').unwrap_or((line, ""));
            // The SDK's grammar of entries: hosts, ports, schemes and credentials as in a URL.
            match entry::parse(address.as_bytes(), document.default_scheme) {
                Ok(found) => {
                    let mut candidate = found.into_candidate(number);
                    if let Some(code) = country::code(place.trim()) {
                        candidate.country = String::from_utf8_lossy(&code).into_owned();
                    }
                    collector.accept(candidate);
                }
                Err(fault) => collector.reject(number, line.as_bytes(), fault),
            }
        }
        Ok(())
    }
}

proxywhirl_plugin_sdk::export!(parser: {{Name}});

#[cfg(test)]
mod tests {
    use super::*;
    use proxywhirl_plugin_sdk::parser::parse;

    #[test]
    fn a_bad_line_is_a_rejection() {
        let parsed = parse::<{{Name}}>(&Document::of(b"203.0.113.7:8080 DE\nnot a proxy\n"), "{}").unwrap();
        assert_eq!((parsed.candidates.len(), parsed.rejected), (1, 1));
    }
}
