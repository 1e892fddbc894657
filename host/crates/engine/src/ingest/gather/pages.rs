//! A source with all its pages: what a document names is read too.
//!
//! Invariants: a page is read once, whatever names it; there are no more pages than the limit, and all
//! of them together are no larger than one document may be; a page of another origin is read only if the
//! source allows that. A page that fails costs itself and what it would have named.

use std::collections::{HashSet, VecDeque};

use proxywhirl_core::plugin::Document;
use url::Url;

use super::{Gatherer, SourceReport};
use crate::ingest::{Ingested, ingest};
use crate::source::render::has_scripts;
use crate::source::{Fetched, Follow, Location, Render, Source};

/// A list, and the documents that it was read from.
#[derive(Debug)]
pub(super) struct List {
    pub(super) ingested: Ingested,
    pub(super) documents: Vec<Document>,
}

/// Why there is no list.
#[derive(Debug)]
pub(super) enum NoList {
    /// There is no document.
    Unfetched(String),
    /// There is one, and nobody can read it.
    Unread(String),
}

impl Gatherer {
    /// Reads a source with all its pages.
    pub(super) async fn pages(
        &self,
        source: &Source,
        report: &mut SourceReport,
        on_bytes: &(dyn Fn(u64) + Sync),
    ) -> Result<List, NoList> {
        let unfetched = |error: crate::source::SourceError| NoList::Unfetched(error.to_string());
        let fetched = self.fetcher.fetch(source, on_bytes).await.map_err(unfetched)?;
        let (place, ingested) = match self.page(source, report, &fetched).await {
            read if self.is_worth_a_browser(source, &fetched, read.as_ref().ok()) => {
                let rendered = self.fetcher.render(source).await.map_err(unfetched)?;
                // What was found without it counts for nothing.
                (report.is_rendered, report.pages, report.bytes) = (true, 0, 0);
                (
                    rendered.place.clone(),
                    self.page(source, report, &rendered).await.map(|read| (read, rendered.document)),
                )
            }
            read => {
                report.is_rendered = source.render == Render::JavaScript;
                (fetched.place.clone(), read.map(|read| (read, fetched.document)))
            }
        };
        let (ingested, document) = ingested.map_err(NoList::Unread)?;
        report.is_unchanged = fetched.is_unchanged && !report.is_rendered;
        let mut list = List { ingested, documents: vec![document] };
        if let (Location::Http(home), Some(place)) = (&source.location, place) {
            self.follow(source, Trail::new(home, &place, source.follow), &mut list, report, on_bytes).await;
        }
        Ok(list)
    }

    /// Reads the pages that a list names, and those that they name.
    async fn follow(
        &self,
        source: &Source,
        mut trail: Trail,
        list: &mut List,
        report: &mut SourceReport,
        on_bytes: &(dyn Fn(u64) + Sync),
    ) {
        let limits = self.fetcher.limits();
        let named = std::mem::take(&mut list.ingested.follow);
        let first = trail.place.clone();
        trail.add(&first, named);
        while let Some(url) = trail.next(limits.pages) {
            let so_far = report.bytes;
            let fetched = match self.fetcher.fetch_page(source, &url, &|bytes| on_bytes(so_far + bytes)).await {
                Ok(fetched) if so_far + fetched.bytes > limits.bytes => {
                    report.incomplete = Some(format!("all pages together are larger than {} bytes", limits.bytes));
                    return;
                }
                Ok(fetched) => fetched,
                Err(error) => {
                    report.incomplete = Some(error.to_string());
                    continue;
                }
            };
            report.is_unchanged &= fetched.is_unchanged;
            match self.page(source, report, &fetched).await {
                Ok(mut page) => {
                    trail.add(&fetched.place.unwrap_or(url), std::mem::take(&mut page.follow));
                    list.ingested.add(page);
                    list.documents.push(fetched.document);
                }
                Err(error) => report.incomplete = Some(error),
            }
        }
        list.ingested.follow = trail.left();
    }

    async fn page(&self, source: &Source, report: &mut SourceReport, fetched: &Fetched) -> Result<Ingested, String> {
        report.bytes += fetched.bytes;
        report.pages += 1;
        self.ingested(source, fetched.document.clone()).await
    }

    /// What a document of a source comes to.
    pub(super) async fn ingested(&self, source: &Source, document: Document) -> Result<Ingested, String> {
        let ingested = ingest(document, source, &self.parsers, self.allow_private).await;
        ingested.map_err(|error| format!("source {}: {error}", source.name))
    }

    fn is_worth_a_browser(&self, source: &Source, fetched: &Fetched, read: Option<&Ingested>) -> bool {
        source.render == Render::Auto
            && read.is_none_or(|read| read.candidates.is_empty())
            && has_scripts(&fetched.document)
    }
}

/// Which pages are still to be read.
struct Trail {
    home: Url,
    place: Url,
    follow: Follow,
    seen: HashSet<Url>,
    waiting: VecDeque<Url>,
    taken: usize,
    elsewhere: Vec<String>,
}

impl Trail {
    fn new(home: &Url, place: &Url, follow: Follow) -> Self {
        Self {
            home: home.clone(),
            place: place.clone(),
            follow,
            seen: [bare(home.clone()), bare(place.clone())].into(),
            waiting: VecDeque::new(),
            taken: 1,
            elsewhere: Vec::new(),
        }
    }

    /// Adds what the page at `place` names.
    fn add(&mut self, place: &Url, named: Vec<String>) {
        for name in named {
            let Some(url) = place.join(&name).ok().map(bare) else { continue };
            if !matches!(url.scheme(), "http" | "https") || !self.seen.insert(url.clone()) {
                continue;
            }
            let is_allowed = match self.follow {
                Follow::No => false,
                Follow::SameOrigin => url.origin() == self.home.origin(),
                Follow::Any => true,
            };
            if is_allowed { self.waiting.push_back(url) } else { self.elsewhere.push(shown(&url)) }
        }
    }

    fn next(&mut self, most: usize) -> Option<Url> {
        if self.taken >= most {
            return None;
        }
        self.taken += 1;
        self.waiting.pop_front()
    }

    /// What was named and not read.
    fn left(self) -> Vec<String> {
        self.elsewhere.into_iter().chain(self.waiting.iter().map(shown)).collect()
    }
}

/// A URL without its fragment, which no server sees.
fn bare(mut url: Url) -> Url {
    url.set_fragment(None);
    url
}

fn shown(url: &Url) -> String {
    Location::Http(url.clone()).to_string()
}

#[cfg(test)]
mod tests;
