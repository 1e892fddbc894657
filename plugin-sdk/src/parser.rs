//! Source parsers: plugins that turn a document into candidates.
//!
//! A parser is pure: a fresh instance for each document. A bad entry is a rejection and the rest is
//! read; an error means that the document is not in the format at all. What several formats share
//! is in [`entry`](crate::entry), [`fields`](crate::fields) and [`columns`](crate::columns).

mod collector;
mod row;

use crate::bindings::parser::exports::proxywhirl::plugin::parser;
use crate::bindings::shared::exports::proxywhirl::plugin::about;
use crate::describe::{self, Description};
use crate::{Scheme, panics};
use serde::de::DeserializeOwned;
use std::marker::PhantomData;

pub use collector::{Collector, Lines};
pub use parser::{Candidate, Host, Parsed, Rejection};
pub use row::Row;

/// The byte order mark, which the host has taken off already when it follows its contract.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// What was fetched.
#[derive(Debug, Clone, Copy)]
pub struct Document<'a> {
    /// Where it came from: a URL, a file name, or `-` for standard input.
    pub url: &'a str,
    /// The media type that the server told, in lower case and without parameters, or empty.
    pub content_type: &'a str,
    /// The text, in UTF-8, without a byte order mark.
    pub body: &'a [u8],
    /// The scheme of entries that name none.
    pub default_scheme: Scheme,
}

impl<'a> Document<'a> {
    /// A document that nothing is known about but its text, of HTTP proxies. For tests.
    #[must_use]
    pub fn of(body: &'a [u8]) -> Self {
        Self { url: "-", content_type: "", body: unmarked(body), default_scheme: Scheme::Http }
    }
}

/// A source parser. `export!(parser: Name)` makes it the component's export.
pub trait Parser: 'static {
    /// Its options, from JSON that fits the schema in its description.
    type Options: DeserializeOwned + Default;

    /// What it is. The same at every call.
    fn describe() -> Description;

    /// How sure it is that the document is in its format: 0 not at all, 100 certain. The body is
    /// only the first 65,536 bytes, and may end within a word.
    fn sniff(document: &Document<'_>) -> u8;

    /// Reads the document. An error means that it is not in this format at all.
    fn parse(document: &Document<'_>, options: &Self::Options, collector: &mut Collector) -> Result<(), String>;
}

/// Parses as the host does, with options as JSON. Every candidate is among `candidates`, none packed.
pub fn parse<P: Parser>(document: &Document<'_>, options: &str) -> Result<Parsed, String> {
    collect::<P>(document, options).map(Collector::into_parsed)
}

fn collect<P: Parser>(document: &Document<'_>, options: &str) -> Result<Collector, String> {
    let options = describe::options(options)?;
    let mut collector = Collector::default();
    P::parse(document, &options, &mut collector)?;
    Ok(collector)
}

fn unmarked(body: &[u8]) -> &[u8] {
    body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body)
}

/// The export of a parser.
#[doc(hidden)]
#[derive(Debug)]
pub struct Component<P>(PhantomData<P>);

impl<P: Parser> about::Guest for Component<P> {
    fn describe() -> about::Description {
        panics::report();
        P::describe().into()
    }
}

impl<P: Parser> parser::Guest for Component<P> {
    fn sniff(document: parser::Document) -> u8 {
        panics::report();
        P::sniff(&borrowed(&document)).min(100)
    }

    fn parse(document: parser::Document) -> Result<Parsed, String> {
        panics::report();
        collect::<P>(&borrowed(&document), &document.options).map(Collector::into_packed)
    }
}

fn borrowed(document: &parser::Document) -> Document<'_> {
    Document {
        url: &document.url,
        content_type: &document.content_type,
        body: unmarked(&document.body),
        default_scheme: document.default_scheme,
    }
}
