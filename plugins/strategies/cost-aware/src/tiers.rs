//! From members by cost to the tiers of a plan.

use proxywhirl_plugin_ranking::board::{Policy, Standing, weigh};
use proxywhirl_plugin_sdk::strategy::{Member, Mode, Tier, Weighted, rank};
use std::cmp::Ordering;
use std::fmt;

/// What a request costs: finite, and 0 or more.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost(f64);

impl Cost {
    pub(crate) const fn of(cost: f64) -> Self {
        // Adding zero makes minus zero zero, so that there is one kind of free.
        Self(cost + 0.0)
    }

    pub(crate) const fn value(self) -> f64 {
        self.0
    }

    pub(crate) const fn is_free(self) -> bool {
        self.0 <= 0.0
    }
}

impl PartialEq for Cost {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Cost {}

impl PartialOrd for Cost {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Cost {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The members of one cost.
#[derive(Debug)]
pub(crate) struct Level<'a> {
    pub(crate) cost: Cost,
    pub(crate) misses: bool,
    pub(crate) members: Vec<&'a Member>,
}

impl Level<'_> {
    fn weights(&self) -> Vec<Weighted> {
        let standing = |member: &Member| match (member.successes, member.failures) {
            (0, 0) => Standing::Unproven,
            (0, failures) => Standing::Failed(failures),
            _ => Standing::Proven(rank::success(member)),
        };
        let members = self.members.iter().map(|member| (member.slot, 1.0, standing(member)));
        weigh(members, &Policy::default())
    }
}

/// The tiers, in order of preference, for levels that go from the cheapest to the dearest. Never none,
/// which would mean that each request asks.
///
/// First the cheapest level that keeps the bounds, with the cheaper ones, which miss them, on their
/// probe; then the others that keep the bounds, and then all that miss them.
pub(crate) fn tiers(levels: &[Level<'_>], probe: f64) -> Vec<Tier> {
    let first = levels.iter().position(|level| !level.misses);
    let mut tiers = Vec::with_capacity(levels.len() + 1);
    if let Some((first, chosen)) = first.and_then(|first| Some((first, levels.get(first)?))) {
        let mut members = chosen.weights();
        let cheaper = levels.iter().take(first).flat_map(Level::weights).collect();
        add_probes(&mut members, cheaper, probe);
        tiers.push(Tier::these(Mode::Draw, members));
    }
    let later = levels.iter().enumerate().filter(|&(place, level)| Some(place) != first && !level.misses);
    let missing = levels.iter().enumerate().filter(|(_, level)| level.misses);
    tiers.extend(later.chain(missing).map(|(_, level)| Tier::these(Mode::Draw, level.weights())));
    if tiers.is_empty() {
        tiers.push(Tier::these(Mode::Draw, Vec::new()));
    }
    tiers
}

/// Adds members that get a share of the draws, all together.
fn add_probes(members: &mut Vec<Weighted>, probes: Vec<Weighted>, share: f64) {
    let sum = |members: &[Weighted]| members.iter().map(|member| f64::from(member.weight)).sum::<f64>();
    let (others, all) = (sum(members), sum(&probes));
    if others > 0.0 && all > 0.0 && share > 0.0 {
        let scale = share / (1.0 - share) * others / all;
        let scaled = |probe: Weighted| Weighted { weight: (f64::from(probe.weight) * scale) as f32, ..probe };
        members.extend(probes.into_iter().map(scaled));
    }
}
