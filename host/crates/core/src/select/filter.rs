//! What a request demands of members: country, tags, names such as that of a city, scheme, anonymity.
//!
//! Two filters that demand the same are equal, however they were written, so that a filter can be the key of a view.
//!
//! Invariants: lists are sorted and without duplicates, and no list is longer than what can ever be met.

mod named;

use crate::candidate::Country;
use crate::endpoint::template::{Blank, Filling};
use crate::endpoint::{EndpointKey, Scheme};
use crate::member::Member;
use crate::tag::{Tag, Tags};
use crate::verdict::Anonymity;

pub use named::Named;

/// Demands that a member must meet, all of them. An empty list demands nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Filter {
    countries: Vec<Country>,
    tags: Vec<Tag>,
    names: Vec<Named>,
    schemes: Vec<Scheme>,
    anonymity: Anonymity,
    /// What members have in none of their fields.
    without: Without,
    endpoint: Option<Box<EndpointKey>>,
}

/// What a member must not have.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Without {
    countries: Vec<Country>,
    tags: Vec<Tag>,
    names: Vec<Named>,
}

/// The kind of the tag of an autonomous system.
const ASN: &str = "asn";

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
        let tags = demanded(tags);
        Self { countries: sorted(countries), tags, schemes: sorted(schemes), anonymity, ..Self::default() }
    }

    /// The same, for members that are in none of these countries and have none of these tags.
    #[must_use]
    pub fn without(
        mut self,
        countries: impl IntoIterator<Item = Country>,
        tags: impl IntoIterator<Item = Tag>,
    ) -> Self {
        self.without.countries = sorted(countries);
        self.without.tags = sorted(tags);
        self
    }

    /// The same, for members that have all these names in their tags.
    #[must_use]
    pub fn named(mut self, names: impl IntoIterator<Item = Named>) -> Self {
        self.names = demanded(names);
        self
    }

    /// The same, for members that have none of these names in their tags.
    #[must_use]
    pub fn not_named(mut self, names: impl IntoIterator<Item = Named>) -> Self {
        self.without.names = sorted(names);
        self
    }

    /// The same, for this one member.
    #[must_use]
    pub fn only(mut self, endpoint: EndpointKey) -> Self {
        self.endpoint = Some(Box::new(endpoint));
        self
    }

    /// The one member that it is for, if it is for one.
    #[must_use]
    pub fn endpoint(&self) -> Option<&EndpointKey> {
        self.endpoint.as_deref()
    }

    /// A filter that demands what both demand; none when nobody can meet both.
    #[must_use]
    pub fn and(&self, other: &Self) -> Option<Self> {
        let names = demanded(self.names.iter().chain(&other.names).cloned());
        // A member has one of each kind, and they are sorted by it.
        if names.windows(2).any(|pair| matches!(pair, [one, other] if one.kind() == other.kind())) {
            return None;
        }
        Some(Self {
            countries: common(&self.countries, &other.countries)?,
            tags: demanded(self.tags.iter().chain(&other.tags).cloned()),
            names,
            schemes: common(&self.schemes, &other.schemes)?,
            anonymity: self.anonymity.max(other.anonymity),
            without: Without {
                countries: sorted(self.without.countries.iter().chain(&other.without.countries).copied()),
                tags: sorted(self.without.tags.iter().chain(&other.without.tags).cloned()),
                names: sorted(self.without.names.iter().chain(&other.without.names).cloned()),
            },
            endpoint: either(&self.endpoint, &other.endpoint)?,
        })
    }

    /// Whether the member meets the demands. One whose login has a blank for a place is in any.
    #[must_use]
    pub fn admits(&self, member: &Member) -> bool {
        let fills = |blank| member.endpoint.has_blank(blank);
        let in_country = || member.country.is_some_and(|country| self.countries.binary_search(&country).is_ok());
        (self.countries.is_empty() || in_country() || fills(Blank::Country))
            && (self.schemes.is_empty() || self.schemes.contains(&member.endpoint.scheme))
            && member.anonymity >= self.anonymity
            && self.tags.iter().all(|tag| member.tags().contains(tag.as_str()) || blank_of(tag).is_some_and(fills))
            && self.names.iter().all(|name| name.is_on(member.tags()) || blank(name.kind()).is_some_and(fills))
            && !member.country.is_some_and(|country| self.without.countries.contains(&country))
            && !self.without.tags.iter().any(|tag| member.tags().contains(tag.as_str()))
            && !self.without.names.iter().any(|name| name.is_on(member.tags()))
            && self.endpoint.as_ref().is_none_or(|key| member.endpoint.has_key(key))
    }

    /// Its demands for people, one each.
    #[must_use]
    pub fn in_words(&self) -> Vec<String> {
        let any =
            |what: &str, words: Vec<String>| (!words.is_empty()).then(|| format!("{what} {}", words.join(" or ")));
        let mut demands: Vec<String> = Vec::new();
        demands.extend(any("country", self.countries.iter().map(ToString::to_string).collect()));
        demands.extend(any("protocol", self.schemes.iter().map(|scheme| scheme.as_str().to_owned()).collect()));
        demands.extend(self.tags.iter().map(|tag| format!("tag {tag}")));
        demands.extend(self.names.iter().map(ToString::to_string));
        if self.anonymity != Anonymity::Unknown {
            demands.push(format!("{} at least", self.anonymity.as_str()));
        }
        demands.extend(any("not country", self.without.countries.iter().map(ToString::to_string).collect()));
        demands.extend(self.without.tags.iter().map(|tag| format!("not tag {tag}")));
        demands.extend(self.without.names.iter().map(|name| format!("not {name}")));
        demands.extend(self.endpoint.iter().map(|endpoint| format!("proxy {endpoint}")));
        demands
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

    /// The names, all of which are needed.
    #[must_use]
    pub fn names(&self) -> &[Named] {
        &self.names
    }

    /// What the places that it demands fill the blanks of a login with. Of several countries it is one for each session.
    #[must_use]
    pub fn filling<'a>(&'a self, filling: Filling<'a>) -> Filling<'a> {
        let name = |kind: &'static str| self.names.iter().find(|name| name.kind() == kind).map(Named::written);
        let tag = |kind: &'static str| {
            self.tags.iter().find_map(|tag| tag.as_str().strip_prefix(kind).and_then(|rest| rest.strip_prefix(':')))
        };
        let count = (self.countries.len() as u64).max(1);
        let chosen = usize::try_from(filling.session.unwrap_or(filling.seed) % count).unwrap_or_default();
        Filling {
            country: self.countries.get(chosen).copied(),
            state: name(Named::STATE).or_else(|| tag(Named::STATE)),
            city: name(Named::CITY).or_else(|| tag(Named::CITY)),
            asn: tag(ASN),
            ..filling
        }
    }

    /// Countries, tags and names that a member must not have, in words.
    pub fn unwanted(&self) -> impl Iterator<Item = &str> {
        let Without { countries, tags, names } = &self.without;
        let tags = tags.iter().map(Tag::as_str).chain(names.iter().map(Named::written));
        countries.iter().map(Country::as_str).chain(tags)
    }

    /// The least anonymity.
    #[must_use]
    pub const fn anonymity(&self) -> Anonymity {
        self.anonymity
    }
}

/// The blank that a tag fills.
fn blank_of(tag: &Tag) -> Option<Blank> {
    tag.as_str().split_once(':').and_then(|(kind, _)| blank(kind))
}

/// The blank that what is of this kind fills.
fn blank(kind: &str) -> Option<Blank> {
    let kinds = [(Named::STATE, Blank::State), (Named::CITY, Blank::City), (ASN, Blank::Asn)];
    kinds.into_iter().find(|(known, _)| *known == kind).map(|(_, blank)| blank)
}

/// What is in both lists, of which an empty one stands for everything; none when that is nothing.
fn common<T: Ord + Copy>(own: &[T], other: &[T]) -> Option<Vec<T>> {
    match (own, other) {
        ([], all) | (all, []) => Some(all.to_vec()),
        (own, other) => {
            let both: Vec<T> = own.iter().copied().filter(|one| other.contains(one)).collect();
            (!both.is_empty()).then_some(both)
        }
    }
}

/// What either says; none when they differ.
#[allow(clippy::option_option, reason = "the outer one says whether both can be met")]
fn either<T: Clone + PartialEq>(own: &Option<T>, other: &Option<T>) -> Option<Option<T>> {
    match (own, other) {
        (Some(own), Some(other)) if own != other => None,
        (own, other) => Some(own.clone().or_else(|| other.clone())),
    }
}

/// What has to be met by a tag each. No member has more than `Tags::MAX`: with one more than that nobody is admitted, as with all
/// of them.
fn demanded<T: Ord>(values: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut values = sorted(values);
    values.truncate(Tags::MAX + 1);
    values
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
    use crate::endpoint::Endpoint;
    use crate::pool::tests::candidate;
    use crate::pool::{Admission, Pool};
    use crate::time::Timestamp;

    fn countries(codes: &[&str]) -> Vec<Country> {
        codes.iter().map(|code| code.parse().unwrap()).collect()
    }

    fn tags(words: &[&str]) -> Vec<Tag> {
        words.iter().map(|word| word.parse().unwrap()).collect()
    }

    fn city(name: &str) -> Option<Named> {
        Named::new(Named::CITY, name)
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
    fn demands_are_said_in_words() {
        let schemes = [Scheme::Socks5];
        let filter = Filter::new(countries(&["DE", "AT"]), tags(&["fast"]), schemes, Anonymity::Elite);
        let filter = filter.without(countries(&["US"]), tags(&["slow"]));
        let filter = filter.named(city("New York")).not_named(city("Rome"));
        let words = ["country AT or DE", "protocol socks5", "tag fast", "city New York", "elite at least"];
        assert_eq!(filter.in_words(), [&words[..], &["not country US", "not tag slow", "not city Rome"]].concat());
        assert!(Filter::default().in_words().is_empty());
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
    fn what_a_member_must_not_have() {
        let without = |codes: &[&str], words: &[&str]| Filter::default().without(countries(codes), tags(words));
        for (codes, words, expected) in [
            (&[][..], &[][..], 3),
            (&["DE"], &[], 2),
            (&["DE", "US"], &[], 1),
            (&[], &["fast"], 1),
            (&["US"], &["eu"], 1),
        ] {
            assert_eq!(admitted(&without(codes, words)), expected, "{codes:?} {words:?}");
        }
    }

    #[test]
    fn one_member_alone() {
        let key = |url: &str| url.parse::<Endpoint>().unwrap().key();
        let only = |url: &str| Filter::default().only(key(url));
        assert_eq!(admitted(&only("http://10.0.0.1:80")), 1);
        let others = ["http://10.0.0.1:81", "http://me@10.0.0.1:80", "http://10.0.0.9:80 -> http://10.0.0.1:80"];
        assert_eq!(
            others.map(|url| admitted(&only(url))),
            [0; 3],
            "whoever is bound to a chain goes through all of it"
        );
    }

    #[test]
    fn a_name_is_met_and_kept_out_however_it_is_written() {
        let mut pool = Pool::new(std::sync::Arc::default(), 10);
        for (url, tag) in [("http://10.0.0.1:80", "city:new_york"), ("http://10.0.0.2:80", "city:Rome")] {
            let mut candidate = candidate(url);
            candidate.tags = tags(&[tag, "fast"]).into_iter().collect();
            pool.admit(Admission::Vouched(Box::new(candidate)), Timestamp::default());
        }
        let admitted = |filter: &Filter| pool.iter().filter(|member| filter.admits(member)).count();
        for name in ["New York", "new-york", "newyork", "NEW_YORK"] {
            assert_eq!(admitted(&Filter::default().named(city(name))), 1, "{name}");
            assert_eq!(admitted(&Filter::default().not_named(city(name))), 1, "{name}");
            let none =
                Filter::default().named(city("rome")).not_named([city(name), city("rome")].into_iter().flatten());
            assert_eq!(admitted(&none), 0, "{name}");
        }
        assert_eq!(admitted(&Filter::default().not_named(city("york"))), 2);
    }

    #[test]
    fn who_has_a_blank_for_a_place_is_in_any_and_is_told_which() {
        let mut pool = Pool::new(std::sync::Arc::default(), 10);
        let gate = candidate("http://me[-{country}][-{city}][-{asn}]:x@gate.example:80");
        for candidate in [gate, candidate("http://me:x@other.example:80")] {
            pool.admit(Admission::Vouched(Box::new(candidate)), Timestamp::default());
        }
        let admitted = |filter: &Filter| pool.iter().filter(|member| filter.admits(member)).count();
        let filter = Filter::new(countries(&["DE", "FR"]), tags(&["asn:1"]), [], Anonymity::Unknown);
        let filter = filter.named(city("Le Mans"));
        assert_eq!(admitted(&filter), 1);
        assert_eq!(admitted(&Filter::new([], tags(&["state:ny"]), [], Anonymity::Unknown)), 0, "no blank for it");
        assert_eq!(admitted(&Filter::new(countries(&["DE"]), tags(&["fast"]), [], Anonymity::Unknown)), 0);
        let of = |session| filter.filling(Filling { session: Some(session), ..Filling::default() });
        assert_eq!((of(0).country, of(1).country), ("DE".parse().ok(), "FR".parse().ok()));
        assert_eq!((of(0).city, of(0).asn, of(0).state), (Some("Le Mans"), Some("1"), None));
    }

    #[test]
    fn two_filters_demand_what_both_demand() {
        let here = |codes: &[&str]| Filter::new(countries(codes), [], [], Anonymity::Unknown);
        assert_eq!(here(&["DE", "US"]).and(&here(&["US", "FR"])), Some(here(&["US"])));
        assert_eq!(here(&["DE"]).and(&here(&["US"])), None);
        assert_eq!(here(&["DE"]).and(&Filter::default()), Some(here(&["DE"])));
        let fast = Filter::new([], tags(&["fast"]), [], Anonymity::Elite);
        let both = fast.and(&here(&["DE"]).without([], tags(&["bad"]))).unwrap();
        assert_eq!(
            both,
            Filter::new(countries(&["DE"]), tags(&["fast"]), [], Anonymity::Elite).without([], tags(&["bad"]))
        );
        let here = |name: &str| Filter::default().named(city(name)).not_named(city("c"));
        assert_eq!(here("a").and(&here("b")), None);
        assert_eq!(here("a").and(&fast), fast.and(&here("a")));
        let state = |name: &str| Filter::default().named(Named::new(Named::STATE, name));
        assert_eq!(state("a").and(&state("b")), None);
        assert!(state("a").and(&here("a")).is_some());
        assert_eq!(here("a b").and(&here("A_B")), Some(here("ab")));
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
