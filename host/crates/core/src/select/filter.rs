//! What a request demands of members: country, tags, scheme, anonymity.
//!
//! Two filters that demand the same are equal, however they were written, so that a filter can be the key of a view.
//!
//! Invariants: lists are sorted and without duplicates, and no list is longer than what can ever be met.

use crate::candidate::Country;
use crate::endpoint::Scheme;
use crate::member::Member;
use crate::tag::{Tag, Tags};
use crate::verdict::Anonymity;

/// Demands that a member must meet, all of them. An empty list demands nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Filter {
    countries: Vec<Country>,
    tags: Vec<Tag>,
    schemes: Vec<Scheme>,
    anonymity: Anonymity,
}

impl Filter {
    /// A filter for members that are in any of the countries, have all the tags, speak any of the schemes, and have at
    /// least the anonymity; [`Anonymity::Unknown`] demands none.
    #[must_use]
    pub fn new(
        countries: impl IntoIterator<Item = Country>,
        tags: impl IntoIterator<Item = Tag>,
        schemes: impl IntoIterator<Item = Scheme>,
        anonymity: Anonymity,
    ) -> Self {
        let mut tags = sorted(tags);
        // No member has more than `Tags::MAX`: with one more than that nobody is admitted, as with all of them.
        tags.truncate(Tags::MAX + 1);
        Self { countries: sorted(countries), tags, schemes: sorted(schemes), anonymity }
    }

    /// Whether the member meets the demands.
    #[must_use]
    pub fn admits(&self, member: &Member) -> bool {
        let in_country = || member.country.is_some_and(|country| self.countries.binary_search(&country).is_ok());
        (self.countries.is_empty() || in_country())
            && (self.schemes.is_empty() || self.schemes.contains(&member.endpoint.scheme))
            && member.anonymity >= self.anonymity
            && self.tags.iter().all(|tag| member.tags.contains(tag.as_str()))
    }

    /// Whether it demands nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The countries, any of which will do; empty when it does not matter.
    #[must_use]
    pub fn countries(&self) -> &[Country] {
        &self.countries
    }

    /// The tags, all of which are needed.
    #[must_use]
    pub fn tags(&self) -> &[Tag] {
        &self.tags
    }

    /// The schemes, any of which will do; empty when it does not matter.
    #[must_use]
    pub fn schemes(&self) -> &[Scheme] {
        &self.schemes
    }

    /// The least anonymity.
    #[must_use]
    pub const fn anonymity(&self) -> Anonymity {
        self.anonymity
    }
}

fn sorted<T: Ord>(values: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut values: Vec<T> = values.into_iter().collect();
    values.sort_unstable();
    values.dedup();
    values
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::pool::tests::candidate;
    use crate::pool::{Admission, Pool};
    use crate::time::Timestamp;

    fn countries(codes: &[&str]) -> Vec<Country> {
        codes.iter().map(|code| code.parse().unwrap()).collect()
    }

    fn tags(words: &[&str]) -> Vec<Tag> {
        words.iter().map(|word| word.parse().unwrap()).collect()
    }

    /// How many of three are admitted: a German elite one with two tags, an American one, and one of which nothing is known.
    fn admitted(filter: &Filter) -> usize {
        let mut pool = Pool::new(std::sync::Arc::default(), 10);
        let mut first = candidate("http://10.0.0.1:80");
        first.country = "DE".parse().ok();
        first.tags = tags(&["fast", "eu"]).into_iter().collect();
        first.anonymity = Anonymity::Elite;
        let mut second = candidate("socks5://10.0.0.2:80");
        second.country = "US".parse().ok();
        second.tags = tags(&["fast"]).into_iter().collect();
        second.anonymity = Anonymity::Transparent;
        for candidate in [first, second, candidate("http://10.0.0.3:80")] {
            pool.admit(Admission::Vouched(Box::new(candidate)), Timestamp::default());
        }
        pool.iter().filter(|member| filter.admits(member)).count()
    }

    #[test]
    fn any_country_and_all_tags() {
        let filter =
            |codes: &[&str], words: &[&str]| Filter::new(countries(codes), tags(words), [], Anonymity::Unknown);
        for (codes, words, expected) in [
            (&[][..], &[][..], 3),
            (&["DE"], &[], 1),
            (&["DE", "US"], &[], 2),
            (&["FR"], &[], 0),
            (&[], &["fast"], 2),
            (&[], &["fast", "eu"], 1),
            (&["US"], &["fast", "eu"], 0),
        ] {
            assert_eq!(admitted(&filter(codes, words)), expected, "{codes:?} {words:?}");
        }
    }

    #[test]
    fn scheme_and_least_anonymity() {
        let filter = |schemes: &[Scheme], least| Filter::new([], [], schemes.iter().copied(), least);
        for (schemes, least, expected) in [
            (&[Scheme::Http][..], Anonymity::Unknown, 2),
            (&[Scheme::Socks5, Scheme::Socks4], Anonymity::Unknown, 1),
            (&[], Anonymity::Transparent, 2),
            (&[], Anonymity::Anonymous, 1),
            (&[Scheme::Socks5], Anonymity::Elite, 0),
        ] {
            assert_eq!(admitted(&filter(schemes, least)), expected, "{schemes:?} {least:?}");
        }
    }

    #[test]
    fn the_same_demands_are_the_same_filter() {
        let one = Filter::new(countries(&["US", "DE", "US"]), tags(&["b", "a"]), [Scheme::Http], Anonymity::Elite);
        let two = Filter::new(countries(&["DE", "US"]), tags(&["a", "b", "b"]), [Scheme::Http], Anonymity::Elite);
        assert_eq!(one, two);
        assert!(!one.is_empty());
        assert!(Filter::new([], [], [], Anonymity::Unknown).is_empty());
    }

    #[test]
    fn more_tags_than_a_member_can_have_admit_nobody_and_are_not_kept() {
        let many: Vec<Tag> = (0..1_000).map(|n| format!("t{n:04}").parse().unwrap()).collect();
        let filter = Filter::new([], many, [], Anonymity::Unknown);
        assert_eq!(filter.tags().len(), Tags::MAX + 1);
        assert_eq!(admitted(&filter), 0);
    }
}
