//! Parsers: a document in, entries out, each of them checked again.
//!
//! Entries come as records and as packed rows, each in the document's order; here they become one list in that order.

mod row;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use proxywhirl_core::candidate::Rejection;
use proxywhirl_core::endpoint::Credentials;
use proxywhirl_core::host::Host;
use proxywhirl_core::plugin::{Document, Entry, FaultCause, Parsed, Parser, PluginFault};
use proxywhirl_core::secret::Zeroizing;
use wasmtime::Store;
use wasmtime::component::Instance;

use crate::bindings::parser::Parser as Exports;
use crate::bindings::parser::exports::proxywhirl::plugin::parser as wit;
use crate::convert::{anonymity_in, scheme_in, scheme_out};
use crate::guest::{Guest, Pace, World};
use crate::logbook::cut;
use crate::plugin::Plugin;
use crate::state::State;

/// Bytes of the body that `sniff` sees.
const SNIFFED: usize = 65_536;
/// Rejected entries that an answer shows.
const MAX_REJECTIONS: usize = 100;
/// The longest excerpt of a rejected entry, in bytes.
const MAX_EXCERPT: usize = 120;
/// The longest reason, in bytes.
const MAX_REASON: usize = 200;
/// Pages that a document may name to be fetched as well.
const MAX_FOLLOW: usize = 1_000;
/// The longest URL of such a page, in bytes.
const MAX_URL: usize = 4_096;

impl World for Exports {
    fn find(store: &mut Store<State>, instance: &Instance) -> wasmtime::Result<Self> {
        Self::new(store, instance)
    }

    /// A parser gets its options with each document.
    fn configure(&self, _: &mut Store<State>, _: &str) -> wasmtime::Result<Result<(), String>> {
        Ok(Ok(()))
    }
}

/// A parser; each call runs on an instance of its own.
pub(crate) struct Sandboxed {
    plugin: Arc<Plugin>,
}

impl Sandboxed {
    pub(crate) const fn new(plugin: Arc<Plugin>) -> Self {
        Self { plugin }
    }

    fn guest(&self) -> Guest<Exports> {
        Guest::new(Arc::clone(&self.plugin), Arc::from("{}"))
    }

    fn invalid(&self, export: &'static str, detail: &str) -> PluginFault {
        self.plugin.fault(export, FaultCause::InvalidAnswer, detail)
    }
}

impl Parser for Sandboxed {
    fn name(&self) -> &str {
        self.plugin.name()
    }

    fn sniff(&self, document: &Document) -> Result<u8, PluginFault> {
        let beginning = beginning(&document.body);
        let sure = self.guest().call("sniff", Pace::Quick, |exports, store| {
            exports.proxywhirl_plugin_parser().call_sniff(store, lower(document, beginning))
        })?;
        if sure > 100 {
            return Err(self.invalid("sniff", &format!("sure to {sure} of 100")));
        }
        Ok(sure)
    }

    fn parse(&self, document: &Document) -> Result<Parsed, PluginFault> {
        let mut guest = self.guest();
        let memory = guest.limits().memory_for_document(document.body.len());
        let answer = guest.call("parse", Pace::Patient, |exports, store| {
            store.data_mut().ceiling.raise(memory);
            exports.proxywhirl_plugin_parser().call_parse(store, lower(document, &document.body))
        })?;
        let parsed = answer.map_err(|reason| self.plugin.refused("parse", &reason))?;
        lift(parsed).map_err(|detail| self.invalid("parse", &detail))
    }
}

/// The beginning of a body, ending between characters.
fn beginning(body: &[u8]) -> &[u8] {
    let Some(mut beginning) = body.get(..SNIFFED) else { return body };
    // At most three bytes of a character stand before its last one.
    for _ in 0..3 {
        match (beginning, body.get(beginning.len())) {
            ([before @ .., _], Some(next)) if next & 0xc0 == 0x80 => beginning = before,
            _ => break,
        }
    }
    beginning
}

fn lower<'a>(document: &'a Document, body: &'a [u8]) -> wit::Document<'a> {
    wit::Document {
        url: &document.url,
        content_type: &document.content_type,
        body,
        options: &document.options,
        default_scheme: scheme_out(document.default_scheme),
    }
}

fn lift(parsed: wit::Parsed) -> Result<Parsed, String> {
    if parsed.follow.len() > MAX_FOLLOW {
        return Err(format!("{} pages to follow, the limit is {MAX_FOLLOW}", parsed.follow.len()));
    }
    if let Some(url) = parsed.follow.iter().find(|url| url.len() > MAX_URL) {
        return Err(format!("a page to follow with a URL of {} bytes, the limit is {MAX_URL}", url.len()));
    }
    let (rows, []) = parsed.rows.as_chunks() else {
        return Err(format!("rows of {} words, which is odd", parsed.rows.len()));
    };
    let rejections: Vec<_> = parsed.rejections.into_iter().take(MAX_REJECTIONS).map(rejection).collect();
    let mut answer = Parsed {
        entries: Vec::with_capacity(parsed.candidates.len() + rows.len()),
        // A parser that shows rejections and does not count them has miscounted.
        rejected: parsed.rejected.max(u32::try_from(rejections.len()).unwrap_or(u32::MAX)),
        rejections,
        follow: parsed.follow,
    };
    let mut rows = rows.iter().peekable();
    for candidate in parsed.candidates {
        while let Some(&row) = rows.next_if(|&&row| row::line(row) <= candidate.line) {
            add(&mut answer, row::entry(row));
        }
        add(&mut answer, entry(candidate));
    }
    rows.for_each(|&row| add(&mut answer, row::entry(row)));
    Ok(answer)
}

#[inline]
fn add(answer: &mut Parsed, found: Result<Entry, Rejection>) {
    match found {
        Ok(entry) => answer.entries.push(entry),
        Err(rejection) => {
            answer.rejected = answer.rejected.saturating_add(1);
            if answer.rejections.len() < MAX_REJECTIONS {
                answer.rejections.push(rejection);
            }
        }
    }
}

fn entry(it: wit::Candidate) -> Result<Entry, Rejection> {
    let scheme = match it.scheme.map(scheme_in) {
        None => None,
        Some(Some(scheme)) => Some(scheme),
        Some(None) => {
            let excerpt = match it.host {
                wit::Host::Text(text) => text,
                wit::Host::Ipv4(bits) => Ipv4Addr::from_bits(bits).to_string(),
                wit::Host::Ipv6(halves) => ipv6(halves).to_string(),
            };
            return Err(rejection(wit::Rejection {
                line: it.line,
                excerpt,
                reason: "a scheme that this host does not speak".to_owned(),
            }));
        }
    };
    let host = match it.host {
        wit::Host::Text(text) => text.parse().map_err(|_| excerpt(&text)),
        wit::Host::Ipv4(bits) => Ok(Host::V4(Ipv4Addr::from_bits(bits))),
        wit::Host::Ipv6(halves) => Ok(Host::V6(ipv6(halves))),
    };
    let credentials = match (it.username, it.password.map(Zeroizing::new)) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err("a password without a user name".into()),
        (Some(username), password) => Credentials::new(&username, password.as_deref().map_or("", String::as_str))
            .map(Some)
            .map_err(|error| error.to_string().into()),
    };
    Ok(Entry {
        scheme,
        host,
        port: it.port,
        credentials,
        country: it.country.parse().ok(),
        anonymity: anonymity_in(it.anonymity),
        line: it.line,
    })
}

fn ipv6((upper, lower): (u64, u64)) -> Ipv6Addr {
    Ipv6Addr::from_bits((u128::from(upper) << 64) | u128::from(lower))
}

fn rejection(it: wit::Rejection) -> Rejection {
    Rejection { line: it.line, excerpt: excerpt(&it.excerpt), reason: cut(&it.reason, MAX_REASON).into() }
}

fn excerpt(text: &str) -> Box<str> {
    cut(text, MAX_EXCERPT).into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use proxywhirl_core::endpoint::Scheme;

    use super::*;
    use crate::bindings::shared::proxywhirl::plugin::types;

    fn candidate() -> wit::Candidate {
        wit::Candidate {
            scheme: None,
            host: wit::Host::Ipv4(0x0102_0304),
            port: 8080,
            username: None,
            password: None,
            country: String::new(),
            anonymity: types::Anonymity::Unknown,
            line: 7,
        }
    }

    fn parsed(candidates: Vec<wit::Candidate>) -> wit::Parsed {
        wit::Parsed { candidates, rejections: Vec::new(), rejected: 0, follow: Vec::new(), rows: Vec::new() }
    }

    fn lifted(candidate: wit::Candidate) -> Entry {
        lift(parsed(vec![candidate])).unwrap().entries.remove(0)
    }

    #[test]
    fn addresses_in_numbers_are_the_addresses() {
        assert_eq!(lifted(candidate()).host.unwrap().to_string(), "1.2.3.4");
        let six = wit::Host::Ipv6((0x2001_0db8_0000_0000, 1));
        assert_eq!(lifted(wit::Candidate { host: six, ..candidate() }).host.unwrap().to_string(), "[2001:db8::1]");
    }

    #[test]
    fn every_field_is_checked_again() {
        let bad_host = wit::Candidate { host: wit::Host::Text("not a host!".repeat(50)), ..candidate() };
        assert_eq!(lifted(bad_host).host.unwrap_err().len(), MAX_EXCERPT);
        let injected = wit::Candidate { username: Some("a\r\nX: y".to_owned()), password: None, ..candidate() };
        assert!(lifted(injected).credentials.unwrap_err().contains("control character"));
        let alone = wit::Candidate { password: Some("p".to_owned()), ..candidate() };
        assert_eq!(&*lifted(alone).credentials.unwrap_err(), "a password without a user name");
        assert_eq!(lifted(wit::Candidate { country: "Narnia".to_owned(), ..candidate() }).country, None);
        let known = wit::Candidate { country: "de".to_owned(), scheme: Some(types::Scheme::Socks5h), ..candidate() };
        let known = lifted(known);
        assert_eq!((known.country.unwrap().as_str(), known.scheme), ("DE", Some(Scheme::Socks5h)));
    }

    #[test]
    fn a_scheme_that_nobody_speaks_rejects_the_entry_and_keeps_the_others() {
        let other = wit::Candidate { scheme: Some(types::Scheme::Other), ..candidate() };
        let answer = lift(parsed(vec![candidate(), other, candidate()])).unwrap();
        assert_eq!((answer.entries.len(), answer.rejected), (2, 1));
        assert_eq!((answer.rejections[0].line, &*answer.rejections[0].excerpt), (7, "1.2.3.4"));
    }

    #[test]
    fn rows_and_candidates_come_together_in_the_order_of_their_lines() {
        let row = |port: u64, line| [port << 32, line];
        let mut both = parsed([2, 2, 5].map(|line| wit::Candidate { line, port: 80, ..candidate() }).to_vec());
        both.rows = [row(1, 1), row(2, 2), row(3, 3), row(4, 9)].concat();
        let entries: Vec<_> = lift(both).unwrap().entries.into_iter().map(|one| (one.line, one.port)).collect();
        assert_eq!(entries, [(1, 1), (2, 2), (2, 80), (2, 80), (3, 3), (5, 80), (9, 4)]);
    }

    #[test]
    fn a_bad_row_is_counted_and_half_a_row_is_nonsense() {
        let mut bad = parsed(Vec::new());
        bad.rows = [[80 << 32, 1], [u64::MAX, 2], [81 << 32, 3]].concat();
        let answer = lift(bad).unwrap();
        assert_eq!((answer.entries.len(), answer.rejected, answer.rejections[0].line), (2, 1, 2));
        let mut half = parsed(vec![candidate()]);
        half.rows = vec![0; 3];
        assert_eq!(lift(half).unwrap_err(), "rows of 3 words, which is odd");
    }

    #[test]
    fn rejections_are_capped_and_cut_and_too_many_pages_are_nonsense() {
        let row = wit::Rejection { line: 1, excerpt: "ü".repeat(100), reason: "r".repeat(999) };
        let mut many = parsed(Vec::new());
        many.rejections = vec![row; 150];
        let answer = lift(many).unwrap();
        assert_eq!((answer.rejections.len(), answer.rejected), (100, 100));
        assert_eq!((answer.rejections[0].excerpt.len(), answer.rejections[0].reason.len()), (120, 200));
        let mut pages = parsed(Vec::new());
        pages.follow = vec!["/2".to_owned(); 1_001];
        assert!(lift(pages).unwrap_err().starts_with("1001 pages"));
        let mut long = parsed(Vec::new());
        long.follow = vec!["/".repeat(5_000)];
        assert!(lift(long).is_err());
    }

    #[test]
    fn what_is_sniffed_ends_between_characters() {
        assert_eq!(beginning(b"abc"), b"abc");
        for offset in 0..4 {
            let body = format!("{}{}", "x".repeat(SNIFFED - offset), "🦀".repeat(10)).into_bytes();
            let beginning = beginning(&body);
            assert!(std::str::from_utf8(beginning).is_ok() && beginning.len() >= SNIFFED - 3);
        }
        assert_eq!(beginning(&[0x80; SNIFFED + 1]).len(), SNIFFED - 3);
    }
}
