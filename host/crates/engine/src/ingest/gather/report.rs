//! A run's report: what became of each source. Its JSON is part of the command line's interface.

use std::collections::BTreeMap;
use std::time::Duration;

use proxywhirl_core::Rejection;
use serde::{Serialize, Serializer};

use crate::events::milliseconds;
use crate::ingest::{Candidates, Ingested};

/// What a source came to.
#[derive(Debug, Clone, Default, Serialize)]
pub struct SourceReport {
    /// Its name.
    pub name: String,
    /// Its location, without credentials.
    pub location: String,
    /// The parser that read it; empty when none did.
    pub parser: String,
    /// The size of its document in bytes.
    pub bytes: u64,
    /// How many entries it has: candidates and rejected ones.
    pub entries: u64,
    /// How many of them can be proxies.
    pub candidates: u64,
    /// How many of the candidates an earlier source, or this one, had named before.
    pub duplicates: u64,
    /// How many of the candidates nobody had named before.
    pub new: u64,
    /// How many entries were rejected.
    pub rejected: u64,
    /// How many were rejected for which reason.
    pub reasons: BTreeMap<String, u64>,
    /// The first rejected entries, by line.
    #[serde(serialize_with = "lines")]
    pub rejections: Vec<Rejection>,
    /// How many pages were read.
    pub pages: u64,
    /// Other pages that it names, not fetched: of another origin, or too many.
    pub follow: Vec<String>,
    /// Whether all of it was in the cache, by the server's own word.
    #[serde(rename = "unchanged")]
    pub is_unchanged: bool,
    /// Whether a browser made the list.
    #[serde(rename = "rendered")]
    pub is_rendered: bool,
    /// How long it took.
    #[serde(rename = "time_ms", serialize_with = "in_milliseconds")]
    pub time: Duration,
    /// How the list is not as usual.
    pub drift: Option<Drifted>,
    /// What part of it is missing, and why.
    pub incomplete: Option<String>,
    /// Why it came to nothing.
    pub error: Option<String>,
}

/// A list that is not as usual.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Drifted {
    /// How: `20 well-formed entries, usually 1040`.
    pub reason: String,
    /// Whether the last good list is in the place of what was found.
    pub kept: bool,
}

impl SourceReport {
    /// Takes over what was ingested; the candidates are the rest.
    pub(super) fn take(&mut self, ingested: Ingested) -> Candidates {
        let Ingested { parser, entries, candidates, rejections, rejected, reasons, follow } = ingested;
        self.parser = parser;
        self.entries = entries;
        self.candidates = candidates.len() as u64;
        self.new = self.candidates;
        self.rejections = rejections;
        self.rejected = rejected;
        self.reasons = reasons;
        self.follow = follow;
        candidates
    }
}

fn lines<S: Serializer>(rejections: &[Rejection], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(rejections.iter().map(ToString::to_string))
}

fn in_milliseconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(milliseconds(*time))
}
