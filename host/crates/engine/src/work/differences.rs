//! What has to be the same at all gateways of a pool, and is not: sources of one name, rates.
//!
//! Each says it in hashes, once a round. A difference is told when it is there in a second round too: gateways are configured one
//! after another.

use std::collections::BTreeMap;

use proxywhirl_core::shared::Saying;

#[derive(Debug, Default)]
pub(super) struct Differences {
    /// What this gateway says.
    pub(super) own: Vec<Saying>,
    /// What differs, by what it is about: where, and in how many rounds it has been so.
    found: BTreeMap<Box<str>, (Vec<String>, u32)>,
}

impl Differences {
    /// Hears what the others say. Tells what differs, once.
    pub(super) fn hear(&mut self, others: &[(String, Vec<Saying>)]) {
        let mut found = BTreeMap::new();
        for Saying { what, hash } in &self.own {
            let differs = |said: &&Saying| said.what == *what && said.hash != *hash;
            let nodes = others.iter().filter(|(_, said)| said.iter().any(|said| differs(&said)));
            let mut nodes: Vec<String> = nodes.map(|(node, _)| node.clone()).collect();
            nodes.sort_unstable();
            if nodes.is_empty() {
                continue;
            }
            let rounds = self.found.get(what).map_or(0, |(_, rounds)| *rounds).saturating_add(1);
            if rounds == 2 {
                tracing::warn!(
                    what = &**what,
                    gateways = nodes.join(", "),
                    "gateways of one pool are configured otherwise in what has to be the same"
                );
            }
            found.insert(what.clone(), (nodes, rounds));
        }
        self.found = found;
    }

    /// What differs, and at which gateways.
    pub(super) fn in_words(&self) -> BTreeMap<String, Vec<String>> {
        self.found.iter().map(|(what, (nodes, _))| (what.to_string(), nodes.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_both_say_otherwise_differs_until_one_gives_in() {
        let say = |what: &str, hash| Saying { what: what.into(), hash };
        let mut differences =
            Differences { own: vec![say("source a", 1), say("source b", 2)], ..Differences::default() };
        let other = |hash| [("other".to_owned(), vec![say("source a", hash), say("source c", 3)])];
        differences.hear(&other(1));
        assert!(differences.in_words().is_empty(), "what one says alone differs from nothing");
        for round in 1..=3 {
            differences.hear(&other(9));
            assert_eq!(differences.in_words(), BTreeMap::from([("source a".to_owned(), vec!["other".to_owned()])]));
            assert_eq!(differences.found["source a"].1, round);
        }
        differences.hear(&other(1));
        assert!(differences.in_words().is_empty());
    }
}
