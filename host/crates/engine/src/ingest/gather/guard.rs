//! The drift guard at work: a list that is not as usual, and the last good one in its place.

use proxywhirl_core::Scheme;
use proxywhirl_core::plugin::Document;

use super::pages::{List, NoList};
use super::{Drifted, Gatherer, SourceReport};
use crate::ingest::Ingested;
use crate::source::Source;
use crate::source::drift::{Drift, Memory, Odd, Shape};

impl Gatherer {
    /// A source's list: what was found, or the last good one.
    pub(super) async fn list(
        &self,
        source: &Source,
        report: &mut SourceReport,
        on_bytes: &(dyn Fn(u64) + Sync),
    ) -> Result<Ingested, String> {
        let read = self.pages(source, report, on_bytes).await;
        let memory = Memory::of(source, self.fetcher.cache(), self.fetcher.limits().bytes);
        let Some(memory) = memory.filter(|_| self.drift != Drift::Off) else {
            return read.map(|list| list.ingested).map_err(NoList::reason);
        };
        let shape = match &read {
            Ok(list) => Shape::of(&list.ingested),
            Err(NoList::Unread(_)) => Shape::nothing(),
            // That a server is down says nothing about its list.
            Err(NoList::Unfetched(reason)) => return Err(reason.clone()),
        };
        let documents = read.as_ref().map(|list| list.documents.clone()).unwrap_or_default();
        let is_same = report.is_unchanged;
        match judge(memory.clone(), shape, documents, is_same).await {
            Some(odd) => self.odd(source, report, &memory, &odd, read).await,
            None => read.map(|list| list.ingested).map_err(NoList::reason),
        }
    }

    /// Tells that a source is not as usual, and finds its last good list if that is to stay.
    async fn odd(
        &self,
        source: &Source,
        report: &mut SourceReport,
        memory: &Memory,
        odd: &Odd,
        read: Result<List, NoList>,
    ) -> Result<Ingested, String> {
        let kept = if self.drift == Drift::Keep { self.last_good(source, memory).await } else { None };
        let reason = odd.to_string();
        tracing::warn!(source.name = %source.name, reason, kept = kept.is_some(), "a source is not as usual");
        report.drift = Some(Drifted { reason, kept: kept.is_some() });
        match kept {
            Some(kept) => Ok(kept),
            None => read.map(|list| list.ingested).map_err(NoList::reason),
        }
    }

    async fn last_good(&self, source: &Source, memory: &Memory) -> Option<Ingested> {
        let (memory, scheme) = (memory.clone(), source.default_scheme.unwrap_or(Scheme::Http));
        let documents = tokio::task::spawn_blocking(move || memory.list(scheme)).await.ok().flatten()?;
        let mut all: Option<Ingested> = None;
        for document in documents {
            let page = self.ingested(source, document).await.ok()?;
            match &mut all {
                Some(all) => all.add(page),
                None => all = Some(page),
            }
        }
        all
    }
}

impl NoList {
    fn reason(self) -> String {
        match self {
            Self::Unfetched(reason) | Self::Unread(reason) => reason,
        }
    }
}

/// Judges a list, and remembers it if it is good.
async fn judge(memory: Memory, shape: Shape, documents: Vec<Document>, is_same: bool) -> Option<Odd> {
    let work = move || {
        let mut history = memory.history();
        let odd = history.judge(shape);
        memory.remember(&history);
        let is_kept = is_same && memory.list(Scheme::Http).is_some();
        if odd.is_none() && !documents.is_empty() && !is_kept {
            memory.keep(&documents);
        }
        odd
    };
    // It fails only when the runtime ends: then nobody waits for a verdict.
    tokio::task::spawn_blocking(work).await.ok().flatten()
}

#[cfg(test)]
mod tests;
