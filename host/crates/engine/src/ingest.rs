//! From a document to candidates.
//!
//! The parser is the one that the source names, or the one that is most sure of the document. Whatever
//! a parser is, what it says is not believed: each entry is checked again here, and becomes a candidate
//! or a rejection with its line and the reason. One bad entry never costs the others.
//!
//! Invariants: entries = candidates + rejected; an address that only this machine or its network can
//! reach comes from a trusted source or not at all ([`address`]), because a public list could
//! otherwise make us talk to the router, or to the cloud's metadata service.

mod candidates;
mod chains;
mod encoded;
mod excerpt;
pub mod gather;
mod rejected;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use proxywhirl_core::address;
use proxywhirl_core::plugin::{Document, Entry, FaultCause, Parsed, Parser, PluginFault};
use proxywhirl_core::{Endpoint, Host, Rejection, Tag, Tags};

use crate::source::{Location, Source};
pub(crate) use candidates::Record;
pub use candidates::{Candidates, IntoIter};
use chains::Line;
use excerpt::cut;
pub use excerpt::mask;
use rejected::Rejected;

/// The tag of what the user vouches for.
pub const VOUCHED: &str = "source:user";

/// How much of a document is shown to a parser that is asked whether it knows the format.
const SNIFF: usize = 65_536;
/// How many other pages of one document are kept.
const MAX_FOLLOW: usize = 1_000;
/// The parser that loses a tie: nearly everything is lines of text.
const LAST_RESORT: &str = "text";

/// What stands for a parser where a document is made of chains, which need none.
const CHAINS: &str = "chains";

/// What a document came to.
#[derive(Debug, Clone)]
pub struct Ingested {
    /// The parser that read it; empty when there was nothing to read.
    pub parser: String,
    /// How many entries it has: candidates and rejected ones.
    pub entries: u64,
    /// What can be a proxy, in the document's order.
    pub candidates: Candidates,
    /// The first rejected entries, by line.
    pub rejections: Vec<Rejection>,
    /// How many entries were rejected in all.
    pub rejected: u64,
    /// How many were rejected for which reason. A parser tells its first ones only: the rest is `not listed`.
    pub reasons: BTreeMap<String, u64>,
    /// Other pages that the document names, not fetched.
    pub follow: Vec<String>,
}

impl Ingested {
    /// Adds another page of the same source.
    pub(crate) fn add(&mut self, page: Self) {
        if self.parser.is_empty() {
            self.parser = page.parser;
        }
        self.entries += page.entries;
        self.rejected += page.rejected;
        for candidate in page.candidates {
            self.candidates.push(candidate);
        }
        self.rejections.extend(page.rejections);
        self.rejections.truncate(rejected::MAX_LISTED);
        for (reason, count) in page.reasons {
            rejected::count(&mut self.reasons, reason, count);
        }
    }
}

/// Why nothing came of a document.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The source names a parser that is not there.
    #[error("there is no parser {name:?}; there are: {known}")]
    UnknownParser {
        /// What the source names.
        name: String,
        /// What is there.
        known: String,
    },
    /// No parser knows the format.
    #[error("no parser recognises the document; asked were: {asked}")]
    Unrecognised {
        /// The names of those that were asked.
        asked: String,
    },
    /// The parsers that know the format failed; this is what the first of them said.
    #[error("{0}{hint}", hint = more_memory(.0))]
    Parser(PluginFault),
    /// A parser's host panicked.
    #[error("the parser crashed")]
    Crashed,
}

/// Where a limit of memory that was too low can be raised; empty for what else a parser can fail by.
fn more_memory(fault: &PluginFault) -> String {
    match fault.cause {
        FaultCause::Memory => {
            format!("; `[plugins.settings.{}] memory = \"1GiB\"` in the configuration raises that", fault.plugin.name)
        }
        FaultCause::Deadline
        | FaultCause::Trap
        | FaultCause::InvalidAnswer
        | FaultCause::Refused
        | FaultCause::Instantiate => String::new(),
    }
}

/// Reads a document that was fetched from `source`. Parsing runs on a thread that may block.
///
/// With `allow_private`, or when the source is trusted, addresses of this machine and its networks are allowed.
///
/// # Errors
/// When no parser reads it.
pub async fn ingest(
    document: Document,
    source: &Source,
    parsers: &[Arc<dyn Parser>],
    allow_private: bool,
) -> Result<Ingested, IngestError> {
    let parsers = choose(source, parsers)?;
    let rules = Rules { allow_private: allow_private || source.trust, tags: labels(source) };
    let is_named = source.parser.is_some();
    let work = tokio::task::spawn_blocking(move || {
        let (document, chains) = chains::take(encoded::decoded(document), rules.allow_private);
        if document.body.iter().all(u8::is_ascii_whitespace) {
            let parser = if chains.is_empty() { "" } else { CHAINS };
            return Ok(admit(parser.to_owned(), Parsed::default(), chains, &document, &rules));
        }
        let ranked = if is_named { parsers } else { rank(&document, parsers)? };
        let (parser, parsed) = parse(&document, &ranked)?;
        Ok(admit(parser, parsed, chains, &document, &rules))
    });
    work.await.unwrap_or(Err(IngestError::Crashed))
}

/// What holds for all entries of a document.
struct Rules {
    allow_private: bool,
    tags: Tags,
}

fn names(parsers: &[Arc<dyn Parser>]) -> String {
    let names: Vec<_> = parsers.iter().map(|parser| parser.name()).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn choose(source: &Source, parsers: &[Arc<dyn Parser>]) -> Result<Vec<Arc<dyn Parser>>, IngestError> {
    let Some(name) = &source.parser else { return Ok(parsers.to_vec()) };
    match parsers.iter().find(|parser| parser.name() == name) {
        Some(parser) => Ok(vec![Arc::clone(parser)]),
        None => Err(IngestError::UnknownParser { name: name.clone(), known: names(parsers) }),
    }
}

/// The labels of what a source brings.
fn labels(source: &Source) -> Tags {
    let mut words = Vec::new();
    if source.trust {
        words.push(VOUCHED);
    } else if matches!(source.location, Location::Http(_)) {
        words.push("source:fetched");
    }
    let mut tags: Tags = words.iter().filter_map(|word| word.parse::<Tag>().ok()).collect();
    if let Some(tag) = tag_of(&source.name) {
        tags.insert(tag);
    }
    tags.merge(&source.tags);
    tags
}

/// The tag of what a source of this name brings: `source:NAME`, with what no tag may hold replaced, and cut at 64 characters.
/// None for a name that would be the user's trust.
#[must_use]
pub fn tag_of(source: &str) -> Option<Tag> {
    if matches!(source, "user" | "fetched") {
        return None;
    }
    let sane = |c: char| if c.is_whitespace() || c.is_control() || c == ',' { '-' } else { c };
    format!("source:{source}").chars().take(64).map(sane).collect::<String>().parse().ok()
}

/// The parsers that recognise a document, the surest first.
fn rank(document: &Document, parsers: Vec<Arc<dyn Parser>>) -> Result<Vec<Arc<dyn Parser>>, IngestError> {
    let beginning = beginning(document);
    let asked = names(&parsers);
    let mut scored: Vec<_> = parsers
        .into_iter()
        .map(|parser| {
            let score = parser.sniff(&beginning).unwrap_or_else(|fault| {
                tracing::warn!(document.url = %document.url, plugin.fault = %fault, "a parser failed to look at a document");
                0
            });
            (score, parser)
        })
        .filter(|(score, _)| *score > 0)
        .collect();
    // The sort is stable: among equals the caller's order holds.
    scored.sort_by_key(|(score, parser)| (std::cmp::Reverse(*score), parser.name() == LAST_RESORT));
    if scored.is_empty() {
        return Err(IngestError::Unrecognised { asked });
    }
    Ok(scored.into_iter().map(|(_, parser)| parser).collect())
}

/// The document's beginning, cut between two characters.
fn beginning(document: &Document) -> Document {
    let Some(mut head) = document.body.get(..SNIFF).filter(|head| head.len() < document.body.len()) else {
        return document.clone();
    };
    // The last character may be cut: it has at most three bytes of its four here.
    for _ in 0..3 {
        if std::str::from_utf8(head).is_ok() {
            break;
        }
        head = head.get(..head.len() - 1).unwrap_or_default();
    }
    Document { body: Arc::from(head), ..document.clone() }
}

/// The answer of the first parser that does not fail.
fn parse(document: &Document, ranked: &[Arc<dyn Parser>]) -> Result<(String, Parsed), IngestError> {
    let mut first = None;
    for parser in ranked {
        match parser.parse(document) {
            Ok(parsed) => return Ok((parser.name().to_owned(), parsed)),
            Err(fault) => {
                if fault.cause == FaultCause::Refused {
                    // An answer: another parser may read it, or a browser. When nothing does, it is the source's error.
                    tracing::debug!(document.url = %document.url, plugin.fault = %fault, "a parser does not read a document");
                } else {
                    tracing::warn!(document.url = %document.url, plugin.fault = %fault, "a parser failed to read a document");
                }
                first.get_or_insert(fault);
            }
        }
    }
    Err(first.map_or_else(|| IngestError::Unrecognised { asked: names(ranked) }, IngestError::Parser))
}

/// Checks what a parser says, and adds the chains that it was not shown.
fn admit(parser: String, parsed: Parsed, chains: Vec<Line>, document: &Document, rules: &Rules) -> Ingested {
    let mut rejected = Rejected::new(parsed.rejections, u64::from(parsed.rejected));
    let mut candidates = Candidates::labelled(rules.tags.clone());
    let mut chains = chains.into_iter().peekable();
    for entry in parsed.entries {
        let (line, country, anonymity) = (entry.line, entry.country, entry.anonymity);
        let is_guess = entry.scheme.is_none();
        while let Some(chain) = chains.next_if(|chain| chain.number < line) {
            admit_chain(chain, &mut candidates, &mut rejected);
        }
        match endpoint(entry, document, rules) {
            Ok(endpoint) => {
                candidates.push_labelled(Record { endpoint, tags: 0, line, country, anonymity, is_guess });
            }
            Err((excerpt, reason)) => rejected.add(line, excerpt, reason),
        }
    }
    chains.for_each(|chain| admit_chain(chain, &mut candidates, &mut rejected));
    let (rejections, rejected, reasons) = rejected.finish();
    let mut follow = parsed.follow;
    follow.truncate(MAX_FOLLOW);
    Ingested { parser, entries: candidates.len() as u64 + rejected, candidates, rejections, rejected, reasons, follow }
}

fn admit_chain(line: Line, candidates: &mut Candidates, rejected: &mut Rejected) {
    let Line { number: line, text, chain, country, anonymity } = line;
    match chain {
        Ok(endpoint) => {
            candidates.push_labelled(Record { endpoint, tags: 0, line, country, anonymity, is_guess: false })
        }
        Err(reason) => rejected.add(line, cut(&mask(&text)), reason),
    }
}

/// An entry's endpoint, or its text and why it is none.
fn endpoint(entry: Entry, document: &Document, rules: &Rules) -> Result<Endpoint, (Box<str>, String)> {
    let shown = |host: &str| cut(&format!("{host}:{}", entry.port));
    let host = match entry.host {
        Ok(host) => host,
        Err(text) => {
            let reason = text.parse::<Host>().map_or_else(|error| error.to_string(), |_| "not a host".to_owned());
            return Err((shown(&text), reason));
        }
    };
    let refuse = |reason: String| (shown(&host.to_string()), reason);
    if entry.port == 0 {
        return Err(refuse("port 0 is not in 1..65535".to_owned()));
    }
    let scheme = entry.scheme.unwrap_or(document.default_scheme);
    let credentials = entry.credentials.map_err(|reason| refuse(reason.into()))?.map(Box::new);
    if let Some(credentials) = &credentials {
        credentials.fit(scheme).map_err(|error| refuse(error.to_string()))?;
    }
    if !rules.allow_private
        && let Some(class) = address::private(&host)
    {
        return Err(refuse(format!("private address: {class}")));
    }
    Ok(Endpoint { scheme, port: entry.port, credentials, host, via: None })
}

#[cfg(test)]
pub(crate) mod tests;
