//! What was picked in a step, and whether that is as expected.

use std::collections::{BTreeMap, BTreeSet};

use super::cast::Cast;
use super::format::Expectation;
use super::selector::{Selector, listed};
use crate::chi::{as_f64, fits};

/// Picks that are kept in their order.
const KEPT: usize = 10_000;

/// Names in a message.
const SHOWN: usize = 10;

/// The picks of a step.
pub(super) struct Picks {
    /// How many picks each member got.
    counts: Vec<u64>,
    nobody: u64,
    first: Vec<usize>,
    /// Whom each session was with, in order; only changes are kept.
    sessions: BTreeMap<u64, Vec<usize>>,
}

impl Picks {
    pub(super) fn new(members: usize) -> Self {
        Self { counts: vec![0; members], nobody: 0, first: Vec::new(), sessions: BTreeMap::new() }
    }

    pub(super) fn add(&mut self, at: usize, session: Option<u64>) {
        if let Some(count) = self.counts.get_mut(at) {
            *count += 1;
        }
        if self.first.len() < KEPT {
            self.first.push(at);
        }
        if let Some(session) = session {
            let homes = self.sessions.entry(session).or_default();
            if homes.last() != Some(&at) {
                homes.push(at);
            }
        }
    }

    pub(super) fn nobody(&mut self) {
        self.nobody += 1;
    }

    pub(super) fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Whom each session is with now.
    pub(super) fn homes(&self) -> impl Iterator<Item = (u64, usize)> {
        self.sessions.iter().filter_map(|(session, homes)| Some((*session, *homes.last()?)))
    }

    /// Compares with what is expected; the first thing that does not hold.
    pub(super) fn check(
        &self,
        expect: &Expectation,
        cast: &Cast,
        present: &BTreeSet<usize>,
        before: &BTreeMap<u64, usize>,
    ) -> Result<(), String> {
        if self.nobody != expect.none {
            return Err(format!("{} picks found nobody, expected are {}", self.nobody, expect.none));
        }
        self.check_shares(expect, cast)?;
        self.check_even(expect, cast, present)?;
        self.check_order(expect, cast)?;
        self.check_who(expect, cast)?;
        self.check_sessions(expect, cast, before)
    }

    fn sum(&self, members: &[usize]) -> u64 {
        members.iter().filter_map(|at| self.counts.get(*at)).sum()
    }

    fn share(&self, members: &[usize]) -> f64 {
        as_f64(self.sum(members)) / as_f64(self.total().max(1))
    }

    fn check_shares(&self, expect: &Expectation, cast: &Cast) -> Result<(), String> {
        let mut taken: BTreeSet<usize> = BTreeSet::new();
        let (mut counts, mut weights, mut told) = (Vec::new(), Vec::new(), Vec::new());
        for (selector, wanted) in &expect.shares {
            let members = cast.select_one(selector)?;
            if members.iter().any(|at| !taken.insert(*at)) {
                return Err(format!("`shares` counts somebody twice, with `{selector}`"));
            }
            let share = self.share(&members);
            told.push(format!("{selector} got {share:.4}, expected {wanted}"));
            if expect.within.is_some_and(|within| (share - wanted).abs() > within) {
                return Err(told.join("\n"));
            }
            counts.push(self.sum(&members));
            weights.push(*wanted);
        }
        if expect.within.is_none() && !counts.is_empty() {
            let (rest, left) = (1.0 - weights.iter().sum::<f64>(), self.total() - counts.iter().sum::<u64>());
            if rest < -1e-6 {
                return Err("`shares` are more than 1 together".to_owned());
            }
            // Less than that is how the shares were rounded.
            if rest > 1e-6 || left > 0 {
                counts.push(left);
                weights.push(if rest > 1e-6 { rest } else { 0.0 });
            }
            fits(&counts, &weights).map_err(|error| format!("{error}\n{}", told.join("\n")))?;
        }
        for (bounds, is_least) in [(&expect.at_least, true), (&expect.at_most, false)] {
            for (selector, bound) in bounds {
                let share = self.share(&cast.select_one(selector)?);
                if (is_least && share < *bound) || (!is_least && share > *bound) {
                    let word = if is_least { "at least" } else { "at most" };
                    return Err(format!("{selector} got {share:.4} of the picks, expected is {word} {bound}"));
                }
            }
        }
        Ok(())
    }

    fn check_even(&self, expect: &Expectation, cast: &Cast, present: &BTreeSet<usize>) -> Result<(), String> {
        if expect.even.is_empty() {
            return if expect.exact { Err("`exact` belongs to `even`".to_owned()) } else { Ok(()) };
        }
        // Those who have left, or shall get nothing, are not meant.
        let never = if expect.never.is_empty() { BTreeSet::new() } else { set(cast, &expect.never)? };
        let mut members = cast.select(&expect.even)?;
        members.retain(|at| present.contains(at) && !never.contains(at));
        let counts: Vec<u64> = members.iter().filter_map(|at| self.counts.get(*at).copied()).collect();
        let (least, most) = (counts.iter().min().copied().unwrap_or(0), counts.iter().max().copied().unwrap_or(0));
        let told = format!("of {}, the least used got {least} picks and the most used {most}", listed(&expect.even));
        if expect.exact {
            return if most - least <= 1 { Ok(()) } else { Err(format!("{told}; expected are equal counts")) };
        }
        match expect.within {
            Some(within) => {
                let fair = as_f64(counts.iter().sum()) / as_f64(counts.len().max(1) as u64);
                let total = as_f64(self.total().max(1));
                let worst = (as_f64(most) - fair).max(fair - as_f64(least)) / total;
                if worst <= within { Ok(()) } else { Err(told) }
            }
            None => fits(&counts, &vec![1.0; counts.len()]).map(drop).map_err(|error| format!("{told}\n{error}")),
        }
    }

    fn check_order(&self, expect: &Expectation, cast: &Cast) -> Result<(), String> {
        let names: Vec<&str> = self.first.iter().take(expect.order.len()).map(|at| cast.name(*at)).collect();
        if expect.order.iter().map(String::as_str).eq(names.iter().copied()) {
            return Ok(());
        }
        Err(format!("the picks begin with {}\nexpected is   {}", names.join(", "), expect.order.join(", ")))
    }

    fn check_who(&self, expect: &Expectation, cast: &Cast) -> Result<(), String> {
        let picked = |at: &usize| self.counts.get(*at).is_some_and(|count| *count > 0);
        if !expect.only.is_empty() {
            let only: BTreeSet<usize> = cast.select(&expect.only)?.into_iter().collect();
            let others = (0..self.counts.len()).filter(|at| picked(at) && !only.contains(at));
            none_of(others, cast, "picked, though not in `only`")?;
        }
        if !expect.never.is_empty() {
            none_of(cast.select(&expect.never)?.into_iter().filter(picked), cast, "picked, though in `never`")?;
        }
        if !expect.each.is_empty() {
            let passed_over = cast.select(&expect.each)?.into_iter().filter(|at| !picked(at));
            none_of(passed_over, cast, "never picked, though in `each`")?;
        }
        Ok(())
    }

    fn check_sessions(&self, expect: &Expectation, cast: &Cast, before: &BTreeMap<u64, usize>) -> Result<(), String> {
        if expect.sticky {
            let restless = self.sessions.values().filter(|homes| homes.len() > 1);
            if let Some(homes) = restless.clone().next() {
                let path: Vec<&str> = homes.iter().take(SHOWN).map(|at| cast.name(*at)).collect();
                let (some, all) = (restless.count(), self.sessions.len());
                return Err(format!("{some} of {all} sessions moved, one of them through {}", path.join(", ")));
            }
        }
        let moves = |(session, homes): (&u64, &Vec<usize>)| {
            let (old, new) = (*before.get(session)?, *homes.first()?);
            (old != new).then_some((old, new))
        };
        let moved: Vec<(usize, usize)> = self.sessions.iter().filter_map(moves).collect();
        let count = moved.len() as u64;
        if expect.moved.is_some_and(|expected| expected != count) {
            return Err(format!("{count} sessions moved, expected are {}", expect.moved.unwrap_or_default()));
        }
        if expect.moved_at_most.is_some_and(|most| count > most) {
            let most = expect.moved_at_most.unwrap_or_default();
            return Err(format!("{count} sessions moved, expected are {most} at the most"));
        }
        if let Some(from) = &expect.moved_from {
            let from: BTreeSet<usize> = cast.select(from)?.into_iter().collect();
            if let Some((old, new)) = moved.iter().find(|(old, _)| !from.contains(old)) {
                let (old, new) = (cast.name(*old), cast.name(*new));
                return Err(format!("a session moved from {old} to {new}, though {old} is not in `moved_from`"));
            }
        }
        Ok(())
    }
}

fn none_of(mut members: impl Iterator<Item = usize>, cast: &Cast, what: &str) -> Result<(), String> {
    let shown: Vec<&str> = members.by_ref().take(SHOWN).map(|at| cast.name(at)).collect();
    if shown.is_empty() {
        return Ok(());
    }
    let more = members.count();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Err(format!("{what}: {}{more}", shown.join(", ")))
}

/// Who selectors mean, as a set.
pub(super) fn set(cast: &Cast, selectors: &[Selector]) -> Result<BTreeSet<usize>, String> {
    Ok(cast.select(selectors)?.into_iter().collect())
}
