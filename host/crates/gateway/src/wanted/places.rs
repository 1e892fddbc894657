//! Places as vendors write them, and as the pool labels them.

/// The states of the United States: vendors name them, databases have their codes, and lists either.
const STATES: &[(&str, &str)] = &[
    ("alabama", "AL"),
    ("alaska", "AK"),
    ("arizona", "AZ"),
    ("arkansas", "AR"),
    ("california", "CA"),
    ("colorado", "CO"),
    ("connecticut", "CT"),
    ("delaware", "DE"),
    ("districtofcolumbia", "DC"),
    ("florida", "FL"),
    ("georgia", "GA"),
    ("hawaii", "HI"),
    ("idaho", "ID"),
    ("illinois", "IL"),
    ("indiana", "IN"),
    ("iowa", "IA"),
    ("kansas", "KS"),
    ("kentucky", "KY"),
    ("louisiana", "LA"),
    ("maine", "ME"),
    ("maryland", "MD"),
    ("massachusetts", "MA"),
    ("michigan", "MI"),
    ("minnesota", "MN"),
    ("mississippi", "MS"),
    ("missouri", "MO"),
    ("montana", "MT"),
    ("nebraska", "NE"),
    ("nevada", "NV"),
    ("newhampshire", "NH"),
    ("newjersey", "NJ"),
    ("newmexico", "NM"),
    ("newyork", "NY"),
    ("northcarolina", "NC"),
    ("northdakota", "ND"),
    ("ohio", "OH"),
    ("oklahoma", "OK"),
    ("oregon", "OR"),
    ("pennsylvania", "PA"),
    ("rhodeisland", "RI"),
    ("southcarolina", "SC"),
    ("southdakota", "SD"),
    ("tennessee", "TN"),
    ("texas", "TX"),
    ("utah", "UT"),
    ("vermont", "VT"),
    ("virginia", "VA"),
    ("washington", "WA"),
    ("westvirginia", "WV"),
    ("wisconsin", "WI"),
    ("wyoming", "WY"),
];

/// The members of the European Union, which vendors take for a country.
pub(super) const EUROPEAN_UNION: [&str; 27] = [
    "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE", "IT", "LT", "LU", "LV",
    "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK",
];

/// The country that stands before a state, as in `us_california`, the state as databases label it, and its name, if that is known.
pub(super) fn state(text: &str) -> (Option<&str>, String, Option<&'static str>) {
    let is_code = |code: &str| code.len() == 2 && code.bytes().all(|letter| letter.is_ascii_alphabetic());
    let (country, name) = match text.split_once('_') {
        Some((country, name)) if is_code(country) && !name.is_empty() => (Some(country), name),
        _ => (None, text),
    };
    let squeezed: String =
        name.chars().filter(|letter| letter.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    let american = country.is_none_or(|country| country.eq_ignore_ascii_case("us"));
    let is_it = |known: &str, code: &str| known == squeezed || code.eq_ignore_ascii_case(&squeezed);
    match STATES.iter().find(|(known, code)| american && is_it(known, code)) {
        Some((known, code)) => (country, (*code).to_owned(), Some(*known)),
        None => (country, dashed(name).to_uppercase(), None),
    }
}

/// Letters and digits with dashes between, as the pool writes names in labels.
pub(super) fn dashed(name: &str) -> String {
    let words = name.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_has_its_code_and_may_stand_behind_its_country() {
        assert_eq!(state("ny"), (None, "NY".to_owned(), Some("newyork")));
        assert_eq!(state("New York"), (None, "NY".to_owned(), Some("newyork")));
        assert_eq!(state("us_new_york"), (Some("us"), "NY".to_owned(), Some("newyork")));
        assert_eq!(state("de_by"), (Some("de"), "BY".to_owned(), None));
        assert_eq!(state("ge_georgia"), (Some("ge"), "GEORGIA".to_owned(), None));
        assert_eq!(state("nordrhein westfalen"), (None, "NORDRHEIN-WESTFALEN".to_owned(), None));
    }
}
