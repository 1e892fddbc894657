//! Many candidates in little memory.
//!
//! A [`Candidate`] owns its tags, which is 300 bytes in a few allocations; a million of them from one
//! list have the same ones. So tags are kept once for each set that occurs, and a candidate is put
//! together when it is taken out: 64 bytes each, and what its name and credentials are long.

use std::collections::HashMap;

use proxywhirl_core::{Anonymity, Candidate, Country, Endpoint, Tags};

/// Candidates in the order in which they came.
#[derive(Debug, Clone, Default)]
pub struct Candidates {
    records: Vec<Record>,
    sets: TagSets,
}

/// A candidate without its tags.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) endpoint: Endpoint,
    /// Which of the tag sets.
    pub(crate) tags: u32,
    pub(crate) line: u32,
    pub(crate) country: Option<Country>,
    pub(crate) anonymity: Anonymity,
    pub(crate) is_guess: bool,
}

impl Candidates {
    /// None yet, and the tags of those that [`Candidates::push_labelled`] will bring.
    pub(super) fn labelled(tags: Tags) -> Self {
        let mut candidates = Self::default();
        candidates.sets.number(&tags);
        candidates
    }

    /// Adds a candidate with the tags of [`Candidates::labelled`], whatever its own are.
    pub(super) fn push_labelled(&mut self, record: Record) {
        self.records.push(Record { tags: 0, ..record });
    }

    /// Adds a candidate.
    pub fn push(&mut self, candidate: Candidate) {
        let Candidate { endpoint, tags, country, anonymity, line, is_guess } = candidate;
        let tags = self.sets.number(&tags);
        self.records.push(Record { endpoint, tags, line, country, anonymity, is_guess });
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Copies of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = Candidate> {
        self.records.iter().map(|record| record.clone().into_candidate(&self.sets))
    }

    /// Their parts, for those who keep them compact too.
    pub(crate) fn into_parts(self) -> (Vec<Record>, TagSets) {
        (self.records, self.sets)
    }

    /// Their parts, to look at.
    pub(crate) fn records(&self) -> &[Record] {
        &self.records
    }

    pub(crate) fn record(&self, index: u32) -> Option<&Record> {
        self.records.get(usize::try_from(index).ok()?)
    }

    /// A record to change, and the table that its tags are in.
    pub(crate) fn record_mut(&mut self, index: u32) -> Option<(&mut Record, &mut TagSets)> {
        Some((self.records.get_mut(usize::try_from(index).ok()?)?, &mut self.sets))
    }

    pub(crate) fn push_record(&mut self, record: Record) {
        self.records.push(record);
    }

    pub(crate) fn sets_mut(&mut self) -> &mut TagSets {
        &mut self.sets
    }
}

impl Record {
    fn into_candidate(self, sets: &TagSets) -> Candidate {
        let Self { endpoint, tags, line, country, anonymity, is_guess } = self;
        Candidate { endpoint, tags: sets.get(tags), country, anonymity, line, is_guess }
    }
}

impl FromIterator<Candidate> for Candidates {
    fn from_iter<I: IntoIterator<Item = Candidate>>(candidates: I) -> Self {
        let mut all = Self::default();
        for candidate in candidates {
            all.push(candidate);
        }
        all
    }
}

impl IntoIterator for Candidates {
    type Item = Candidate;
    type IntoIter = IntoIter;

    fn into_iter(self) -> IntoIter {
        IntoIter { records: self.records.into_iter(), sets: self.sets }
    }
}

/// Takes candidates out, in order.
#[derive(Debug)]
pub struct IntoIter {
    records: std::vec::IntoIter<Record>,
    sets: TagSets,
}

impl Iterator for IntoIter {
    type Item = Candidate;

    fn next(&mut self) -> Option<Candidate> {
        Some(self.records.next()?.into_candidate(&self.sets))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.records.size_hint()
    }
}

impl ExactSizeIterator for IntoIter {}

/// The sets of tags that occur, each with a number.
#[derive(Debug, Clone, Default)]
pub(crate) struct TagSets {
    sets: Vec<Tags>,
    numbers: HashMap<String, u32>,
    /// What the union of two is: the same two sources meet at many candidates.
    unions: HashMap<(u32, u32), u32>,
}

impl TagSets {
    pub(crate) fn number(&mut self, tags: &Tags) -> u32 {
        // No tag has a comma in it, so the text tells sets apart.
        let text = tags.to_string();
        if let Some(number) = self.numbers.get(&text) {
            return *number;
        }
        // There are never more sets than candidates, and of those fewer than 2^32 fit into memory.
        let number = u32::try_from(self.sets.len()).unwrap_or(u32::MAX);
        self.sets.push(tags.clone());
        self.numbers.insert(text, number);
        number
    }

    pub(crate) fn union(&mut self, own: u32, other: u32) -> u32 {
        if own == other {
            return own;
        }
        if let Some(union) = self.unions.get(&(own, other)) {
            return *union;
        }
        let mut tags = self.get(own);
        tags.merge(&self.get(other));
        let union = self.number(&tags);
        self.unions.insert((own, other), union);
        union
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Tags> {
        self.sets.iter()
    }

    fn get(&self, number: u32) -> Tags {
        usize::try_from(number).ok().and_then(|number| self.sets.get(number)).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out() {
        let candidate = |url: &str, tags: &[&str]| Candidate {
            endpoint: url.parse().unwrap(),
            tags: tags.iter().map(|tag| tag.parse().unwrap()).collect(),
            country: Some("DE".parse().unwrap()),
            anonymity: Anonymity::Elite,
            line: 7,
            is_guess: true,
        };
        let all = vec![
            candidate("http://1.2.3.4:80", &["a", "b"]),
            candidate("http://u:p@1.2.3.4:80", &[]),
            candidate("http://1.2.3.5:80", &["b", "a"]),
        ];
        let compact: Candidates = all.iter().cloned().collect();
        assert_eq!(compact.sets.sets.len(), 2);
        assert_eq!(compact.iter().collect::<Vec<_>>(), all);
        assert_eq!(compact.into_iter().collect::<Vec<_>>(), all);
    }

    #[test]
    fn a_million_fit_into_a_hundred_megabytes() {
        assert!(size_of::<Record>() <= 96, "{}", size_of::<Record>());
    }
}
