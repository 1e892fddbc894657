//! Geo: countries in order of preference.
//!
//! **When to use.** An origin answers by country, or is close to one: the preferred countries serve as
//! long as they can, and those around them before anybody else.
//!
//! **Options.**
//!
//! * `prefer` (default `[]`): countries (ISO 3166-1 codes: `DE`), regions (UN M49 names:
//!   `region:western-europe`, or `western-europe`) and continents (`continent:EU`), the most wanted
//!   first; 20 at the most. Without any, everybody is equal.
//! * `fallback` (default `true`): after them, the regions that the preferred countries lie in, then the
//!   continents of these, then everybody else, members without a country last. Without it, a request
//!   fails when none of the preferred can serve it.
//! * `within` (default `least-loaded`): how to pick among members of equal preference; or `draw`, or
//!   `cycle`.
//!
//! A member belongs to the first tier that it fits. Its country is what its source said or a check
//! found out.
//!
//! Reference: <https://unstats.un.org/unsd/methodology/m49/>.

mod atlas;

use atlas::{Continent, Region};
use proxywhirl_plugin_sdk::strategy::{Mode, Moment, Plan, Strategy, Table, Tier, View, Weighted};
use proxywhirl_plugin_sdk::{Description, Symbol, country, symbols};
use serde::Deserialize;
use std::collections::HashMap;

/// The JSON Schema of [`Options`].
const SCHEMA: &str = include_str!("../options.json");

/// Preferences at the most: each can bring a region and a continent, and a plan has 64 tiers.
const MAX_PREFERENCES: usize = 20;

/// How to pick among members of equal preference.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Within {
    /// Of two drawn at random, the one with less load.
    #[default]
    LeastLoaded,
    /// At random.
    Draw,
    /// In turn.
    Cycle,
}

/// What users may set.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Countries, regions and continents, the most wanted first.
    prefer: Vec<String>,
    /// Whether others serve when none of them can.
    fallback: bool,
    /// How to pick among equals.
    within: Within,
}

impl Default for Options {
    fn default() -> Self {
        Self { prefer: Vec::new(), fallback: true, within: Within::LeastLoaded }
    }
}

/// A part of the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Area {
    Country([u8; 2]),
    Region(Region),
    Continent(Continent),
    /// Whoever has a country.
    World,
    /// Everybody.
    Anywhere,
}

impl Area {
    /// Reads a preference.
    fn parse(text: &str) -> Result<Self, String> {
        let name = text.trim().to_ascii_lowercase().replace([' ', '_'], "-");
        let area = match name.split_once(':') {
            Some(("region", name)) => atlas::region(name).map(Self::Region),
            Some(("continent", name)) => atlas::continent(name).map(Self::Continent),
            Some(("country", code)) => country::code(code).map(Self::Country),
            Some(_) => None,
            None => country::code(&name).map(Self::Country).or_else(|| atlas::region(&name).map(Self::Region)),
        };
        area.ok_or_else(|| {
            format!("prefer: {text:?} is no country (DE), region (region:western-europe) or continent (continent:EU)")
        })
    }

    fn holds(self, country: Option<[u8; 2]>, region: Option<Region>) -> bool {
        match self {
            Self::Country(code) => country == Some(code),
            Self::Region(wanted) => region == Some(wanted),
            Self::Continent(wanted) => region.and_then(atlas::continent_of) == Some(wanted),
            Self::World => country.is_some(),
            Self::Anywhere => true,
        }
    }

    /// The region that it lies in, or is.
    fn region(self) -> Option<Region> {
        match self {
            Self::Country(code) => std::str::from_utf8(&code).ok().and_then(atlas::region_of),
            Self::Region(region) => Some(region),
            Self::Continent(_) | Self::World | Self::Anywhere => None,
        }
    }
}

/// Countries in order of preference.
#[derive(Debug)]
pub struct Geo {
    areas: Vec<Area>,
    mode: Mode,
    /// The tier of each country that a member has had, so that a plan looks no name up twice.
    tiers: HashMap<Symbol, Option<usize>>,
}

impl Geo {
    /// The tier of the members with a country; none when they are not to serve.
    fn tier(&mut self, symbol: Symbol) -> Option<usize> {
        let areas = &self.areas;
        *self.tiers.entry(symbol).or_insert_with(|| {
            let code = if symbol == 0 { None } else { symbols::resolve(symbol) };
            let country = code.as_deref().and_then(country::code);
            let region = country.and_then(|code| Area::Country(code).region());
            areas.iter().position(|area| area.holds(country, region))
        })
    }
}

/// The preferred areas, and those that follow them, without repetition.
fn areas(prefer: &[Area], fallback: bool) -> Vec<Area> {
    let mut areas = prefer.to_vec();
    if fallback {
        let regions = prefer.iter().filter_map(|area| area.region());
        areas.extend(regions.clone().map(Area::Region));
        areas.extend(regions.filter_map(atlas::continent_of).map(Area::Continent));
        areas.extend([Area::World, Area::Anywhere]);
    }
    let mut distinct = Vec::with_capacity(areas.len());
    for area in areas {
        if !distinct.contains(&area) {
            distinct.push(area);
        }
    }
    distinct
}

impl Strategy for Geo {
    type Options = Options;

    fn describe() -> Description {
        Description::new(
            "geo",
            env!("CARGO_PKG_VERSION"),
            "Countries in order of preference, then those around them; when an origin answers by country.",
        )
        .with_options(SCHEMA)
    }

    fn new(options: Options) -> Result<Self, String> {
        if options.prefer.len() > MAX_PREFERENCES {
            return Err(format!("prefer: {} entries, at most {MAX_PREFERENCES}", options.prefer.len()));
        }
        if options.prefer.is_empty() && !options.fallback {
            return Err("prefer: nothing preferred and no fallback: nobody would serve".to_owned());
        }
        let prefer: Vec<Area> = options.prefer.iter().map(|text| Area::parse(text)).collect::<Result<_, _>>()?;
        let mode = match options.within {
            Within::LeastLoaded => Mode::LeastLoaded,
            Within::Draw => Mode::Draw,
            Within::Cycle => Mode::Cycle,
        };
        let areas = if prefer.is_empty() { vec![Area::Anywhere] } else { areas(&prefer, options.fallback) };
        Ok(Self { areas, mode, tiers: HashMap::new() })
    }

    fn reads_table(&self) -> bool {
        self.areas != [Area::Anywhere]
    }

    fn plan(&mut self, table: &Table, view: &View, _: Moment) -> Plan {
        if !self.reads_table() {
            return Plan::everyone(self.mode);
        }
        // Tiers without members stay, so that the host's place in a cycle keeps its tier.
        let mut tiers = vec![Vec::new(); self.areas.len()];
        for member in table.members(view) {
            if let Some(tier) = self.tier(member.country).and_then(|index| tiers.get_mut(index)) {
                tier.push(Weighted { slot: member.slot, weight: 1.0 });
            }
        }
        Plan::tiers(tiers.into_iter().map(|members| Tier::these(self.mode, members)).collect())
    }
}

proxywhirl_plugin_sdk::export!(strategy: Geo);

#[cfg(test)]
mod tests;
