//! Which region and which continent a country lies in.
//!
//! Regions are the sub-regions and intermediate regions of the United Nations' standard country codes
//! (M49, <https://unstats.un.org/unsd/methodology/m49/>); Taiwan and Kosovo, which it does not list,
//! stand with their neighbours. It calls North and South America one continent, where people mean
//! two: the Caribbean and Central America are counted to the northern one.

/// A region's place in [`REGIONS`].
pub(crate) type Region = usize;

/// A continent, by the code that people use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Continent {
    Africa,
    Antarctica,
    Asia,
    Europe,
    NorthAmerica,
    Oceania,
    SouthAmerica,
}

use Continent::{Africa, Antarctica, Asia, Europe, NorthAmerica, Oceania, SouthAmerica};

/// Name, continent and countries of each region.
pub(crate) const REGIONS: [(&str, Continent, &str); 23] = [
    ("northern-africa", Africa, "DZ EG EH LY MA SD TN"),
    ("eastern-africa", Africa, "BI DJ ER ET IO KE KM MG MU MW MZ RE RW SC SO SS TF TZ UG YT ZM ZW"),
    ("middle-africa", Africa, "AO CD CF CG CM GA GQ ST TD"),
    ("southern-africa", Africa, "BW LS NA SZ ZA"),
    ("western-africa", Africa, "BF BJ CI CV GH GM GN GW LR ML MR NE NG SH SL SN TG"),
    ("antarctica", Antarctica, "AQ"),
    ("central-asia", Asia, "KG KZ TJ TM UZ"),
    ("eastern-asia", Asia, "CN HK JP KP KR MN MO TW"),
    ("south-eastern-asia", Asia, "BN ID KH LA MM MY PH SG TH TL VN"),
    ("southern-asia", Asia, "AF BD BT IN IR LK MV NP PK"),
    ("western-asia", Asia, "AE AM AZ BH CY GE IL IQ JO KW LB OM PS QA SA SY TR YE"),
    ("eastern-europe", Europe, "BG BY CZ HU MD PL RO RU SK UA"),
    ("northern-europe", Europe, "AX DK EE FI FO GB GG IE IM IS JE LT LV NO SE SJ"),
    ("southern-europe", Europe, "AD AL BA ES GI GR HR IT ME MK MT PT RS SI SM VA XK"),
    ("western-europe", Europe, "AT BE CH DE FR LI LU MC NL"),
    ("caribbean", NorthAmerica, "AG AI AW BB BL BQ BS CU CW DM DO GD GP HT JM KN KY LC MF MQ MS PR SX TC TT VC VG VI"),
    ("central-america", NorthAmerica, "BZ CR GT HN MX NI PA SV"),
    ("northern-america", NorthAmerica, "BM CA GL PM US"),
    ("australia-and-new-zealand", Oceania, "AU CC CX HM NF NZ"),
    ("melanesia", Oceania, "FJ NC PG SB VU"),
    ("micronesia", Oceania, "FM GU KI MH MP NR PW UM"),
    ("polynesia", Oceania, "AS CK NU PF PN TK TO TV WF WS"),
    ("south-america", SouthAmerica, "AR BO BR BV CL CO EC FK GF GS GY PE PY SR UY VE"),
];

/// Codes and names of the continents.
const CONTINENTS: [(&str, &str, Continent); 7] = [
    ("af", "africa", Africa),
    ("an", "antarctica", Antarctica),
    ("as", "asia", Asia),
    ("eu", "europe", Europe),
    ("na", "north-america", NorthAmerica),
    ("oc", "oceania", Oceania),
    ("sa", "south-america", SouthAmerica),
];

/// The region that a country lies in.
pub(crate) fn region_of(country: &str) -> Option<Region> {
    REGIONS.iter().position(|(_, _, countries)| countries.split(' ').any(|code| code == country))
}

/// The continent that a region lies in.
pub(crate) fn continent_of(region: Region) -> Option<Continent> {
    REGIONS.get(region).map(|&(_, continent, _)| continent)
}

/// The region of a name in lower case with hyphens.
pub(crate) fn region(name: &str) -> Option<Region> {
    REGIONS.iter().position(|&(known, _, _)| known == name)
}

/// The continent of a code or a name, in lower case with hyphens.
pub(crate) fn continent(name: &str) -> Option<Continent> {
    CONTINENTS.iter().find(|(code, known, _)| *code == name || *known == name).map(|&(_, _, continent)| continent)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use proxywhirl_plugin_sdk::country;
    use std::collections::BTreeSet;

    #[test]
    fn every_country_lies_in_exactly_one_region() {
        let listed: Vec<&str> = REGIONS.iter().flat_map(|(_, _, countries)| countries.split(' ')).collect();
        let known: BTreeSet<String> = (b'A'..=b'Z')
            .flat_map(|first| (b'A'..=b'Z').map(move |second| [first, second]))
            .filter(|code| country::code(std::str::from_utf8(code).unwrap()) == Some(*code))
            .map(|code| String::from_utf8(code.to_vec()).unwrap())
            .collect();
        assert_eq!(listed.len(), known.len());
        assert_eq!(listed.into_iter().map(str::to_owned).collect::<BTreeSet<_>>(), known);
    }

    #[test]
    fn countries_lie_where_people_expect_them() {
        for (code, name, continent) in [
            ("DE", "western-europe", Europe),
            ("GB", "northern-europe", Europe),
            ("RU", "eastern-europe", Europe),
            ("TR", "western-asia", Asia),
            ("EG", "northern-africa", Africa),
            ("US", "northern-america", NorthAmerica),
            ("MX", "central-america", NorthAmerica),
            ("BR", "south-america", SouthAmerica),
            ("NZ", "australia-and-new-zealand", Oceania),
        ] {
            let region = region_of(code).unwrap();
            assert_eq!((REGIONS[region].0, continent_of(region)), (name, Some(continent)), "{code}");
        }
    }
}
