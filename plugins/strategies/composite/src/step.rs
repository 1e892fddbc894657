//! One line: who passes, what they weigh, how to pick.

use crate::filter::{self, Filter, Written};
use proxywhirl_plugin_sdk::Symbol;
use proxywhirl_plugin_sdk::strategy::rank::{self, Ranking};
use proxywhirl_plugin_sdk::strategy::{Member, Mode, Tier};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Rank {
    #[default]
    Equal,
    Success,
    Speed,
    Performance,
    Cost,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Pick {
    #[default]
    Draw,
    Cycle,
    LeastLoaded,
    Affinity,
}

/// What users write, but for the filters.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Ranked {
    rank: Rank,
    by_tag: BTreeMap<String, f64>,
    costs: BTreeMap<String, f64>,
    best: Option<usize>,
    explore: Option<f64>,
    mode: Pick,
}

/// Every key of a line. Serde cannot refuse the unknown in two structs that share one object.
const KEYS: [&str; 16] = [
    "tag",
    "not_tag",
    "country",
    "not_country",
    "scheme",
    "anonymity",
    "max_latency",
    "min_success",
    "min_tries",
    "max_tries",
    "rank",
    "by_tag",
    "costs",
    "best",
    "explore",
    "mode",
];

/// One line.
#[derive(Debug)]
pub(crate) struct Step {
    filter: Filter,
    /// None for tiers by cost.
    ranking: Option<Ranking>,
    factors: HashMap<Symbol, f64>,
    costs: HashMap<Symbol, f64>,
    best: Option<usize>,
    explore: f64,
    mode: Mode,
}

impl Step {
    /// Reads a line. The error names the key.
    pub(crate) fn read(line: Value) -> Result<Self, String> {
        let keys = line.as_object().ok_or("not an object")?;
        if let Some(key) = keys.keys().find(|key| !KEYS.contains(&key.as_str())) {
            return Err(format!("unknown key {key:?}: a line has {}", KEYS.join(", ")));
        }
        for (key, value) in keys {
            read_key(key, value)?;
        }
        let written = Written::deserialize(&line).map_err(|error| error.to_string())?;
        let ranked = Ranked::deserialize(&line).map_err(|error| error.to_string())?;
        if (ranked.rank == Rank::Cost) == ranked.costs.is_empty() {
            return Err("costs: what members with a tag cost, for the rank \"cost\" and no other".to_owned());
        }
        let explore = ranked.explore.unwrap_or(rank::EXPLORE);
        if !(0.0..=1.0).contains(&explore) {
            return Err(format!("explore: {explore} is not from 0 to 1"));
        }
        if ranked.best == Some(0) {
            return Err("best: 0: nobody would serve".to_owned());
        }
        Ok(Self {
            filter: Filter::new(&written)?,
            ranking: ranking(ranked.rank),
            factors: by_tag("by_tag", ranked.by_tag)?,
            costs: by_tag("costs", ranked.costs)?,
            best: ranked.best,
            explore,
            mode: mode(ranked.mode),
        })
    }

    pub(crate) const fn is_by_cost(&self) -> bool {
        self.ranking.is_none()
    }

    /// Whether its tiers depend on how uses went.
    pub(crate) fn follows_uses(&self) -> bool {
        self.filter.follows_uses() || !matches!(self.ranking, None | Some(Ranking::Equal))
    }

    /// The line as tiers: one, or one for each cost, `levels` at the most.
    pub(crate) fn tiers(&self, members: &[&Member], levels: usize) -> Vec<Tier> {
        let plain = self.ranking == Some(Ranking::Equal) && self.factors.is_empty() && self.best.is_none();
        let passing: Vec<&Member> = members.iter().copied().filter(|member| self.filter.admits(member)).collect();
        match self.ranking {
            // Everyone of the view: the host knows who that is.
            Some(_) if plain && self.filter.is_empty() => vec![Tier::everyone(self.mode)],
            Some(ranking) => vec![self.tier(&passing, ranking)],
            None => self.by_cost(passing, levels).iter().map(|level| self.tier(level, Ranking::Equal)).collect(),
        }
    }

    fn tier(&self, members: &[&Member], ranking: Ranking) -> Tier {
        let mut weights = rank::weigh(members, ranking);
        if !self.factors.is_empty() {
            for (weight, member) in weights.iter_mut().zip(members) {
                *weight *= member.tags.iter().filter_map(|tag| self.factors.get(tag)).product::<f64>();
            }
        }
        if ranking != Ranking::Equal {
            rank::bound_unproven(members, &mut weights, self.explore);
        }
        if let Some(best) = self.best {
            keep_best(&mut weights, best);
        }
        // Who has no weight is not drawn, and has no turn either.
        let mut shares = rank::shares(members, &weights);
        shares.retain(|share| share.weight > 0.0);
        Tier::these(self.mode, shares)
    }

    /// Members by what they cost, the cheapest first; what is beyond so many levels is one.
    fn by_cost<'a>(&self, members: Vec<&'a Member>, levels: usize) -> Vec<Vec<&'a Member>> {
        // By the highest of the tags that match; without one, it is free.
        let cost =
            |member: &Member| member.tags.iter().filter_map(|tag| self.costs.get(tag)).copied().fold(0.0, f64::max);
        let mut priced: Vec<(f64, &Member)> = members.into_iter().map(|member| (cost(member), member)).collect();
        priced.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut tiers: Vec<Vec<&Member>> = Vec::new();
        let mut last = None;
        for (cost, member) in priced {
            if last != Some(cost) && tiers.len() < levels {
                tiers.push(Vec::new());
                last = Some(cost);
            }
            if let Some(tier) = tiers.last_mut() {
                tier.push(member);
            }
        }
        tiers
    }
}

/// Numbers by tag.
fn by_tag(key: &str, numbers: BTreeMap<String, f64>) -> Result<HashMap<Symbol, f64>, String> {
    let read = |(tag, number): (String, f64)| {
        if !(number.is_finite() && number >= 0.0) {
            return Err(format!("{key}: {tag}: {number} is not a number from 0"));
        }
        filter::tag(&tag).map(|symbol| (symbol, number)).map_err(|error| format!("{key}: {error}"))
    };
    numbers.into_iter().map(read).collect()
}

/// Reads one key by itself, for the sake of an error that names it.
fn read_key(key: &str, value: &Value) -> Result<(), String> {
    let alone = Value::Object([(key.to_owned(), value.clone())].into_iter().collect());
    let read = Written::deserialize(&alone).err().or_else(|| Ranked::deserialize(&alone).err());
    read.map_or(Ok(()), |error| Err(format!("{key}: {error}")))
}

const fn ranking(rank: Rank) -> Option<Ranking> {
    match rank {
        Rank::Equal => Some(Ranking::Equal),
        Rank::Success => Some(Ranking::Success),
        Rank::Speed => Some(Ranking::Speed),
        Rank::Performance => Some(Ranking::Performance),
        Rank::Cost => None,
    }
}

const fn mode(pick: Pick) -> Mode {
    match pick {
        Pick::Draw => Mode::Draw,
        Pick::Cycle => Mode::Cycle,
        Pick::LeastLoaded => Mode::LeastLoaded,
        Pick::Affinity => Mode::Affinity,
    }
}

/// Sets all but the highest weights to 0. Among equals, those who joined first are kept.
fn keep_best(weights: &mut [f64], best: usize) {
    if best >= weights.len() {
        return;
    }
    let mut order: Vec<usize> = (0..weights.len()).collect();
    let weight = |index: &usize| weights.get(*index).copied().unwrap_or(0.0);
    order.select_nth_unstable_by(best, |a, b| weight(b).total_cmp(&weight(a)).then(a.cmp(b)));
    for index in order.into_iter().skip(best) {
        if let Some(weight) = weights.get_mut(index) {
            *weight = 0.0;
        }
    }
}
