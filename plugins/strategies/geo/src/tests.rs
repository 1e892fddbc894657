#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use super::*;
use proptest::prelude::*;
use proxywhirl_plugin_sdk::Slot;
use proxywhirl_plugin_sdk::strategy::{Member, Membership};
use proxywhirl_plugin_sdk::testing::{Pool, member};

fn from(slot: Slot, country: &str) -> Member {
    let country = if country.is_empty() { 0 } else { symbols::intern(country) };
    Member { country, ..member(slot, u64::from(slot)) }
}

fn pool(options: &str, countries: &[&str]) -> Pool<Geo> {
    let mut pool = Pool::new(options).unwrap();
    (0..).zip(countries).for_each(|(slot, country)| pool.join(from(slot, country)));
    pool
}

/// The countries that serve, in the order in which they do when those before are ejected.
fn order(options: &str, countries: &[&'static str]) -> Vec<&'static str> {
    let mut pool = pool(options, countries);
    let mut served = Vec::new();
    while let Some(slot) = pool.pick() {
        served.push(countries[slot as usize]);
        pool.eject(slot);
    }
    served
}

#[test]
fn countries_serve_in_the_order_of_preference_then_region_continent_rest_and_the_unknown() {
    assert_eq!(
        order(r#"{"prefer":["FR","JP"]}"#, &["", "BR", "IN", "PL", "CN", "DE", "JP", "FR"]),
        ["FR", "JP", "DE", "CN", "PL", "IN", "BR", ""]
    );
}

#[test]
fn regions_and_continents_can_be_preferred_by_any_spelling_of_their_names() {
    for region in ["region:south-eastern-asia", "South-eastern Asia", "REGION:South_Eastern_Asia"] {
        let options = serde_json::json!({ "prefer": [region, "continent:eu"], "fallback": false });
        assert_eq!(order(&options.to_string(), &["US", "PL", "", "SG", "JP"]), ["SG", "PL"], "{region}");
    }
}

#[test]
fn without_fallback_only_the_preferred_serve() {
    assert_eq!(order(r#"{"prefer":["DE"],"fallback":false}"#, &["FR", "DE", ""]), ["DE"]);
    assert_eq!(pool(r#"{"prefer":["DE"],"fallback":false}"#, &["FR"]).pick(), None);
}

#[test]
fn the_united_kingdom_may_be_called_uk() {
    assert_eq!(order(r#"{"prefer":["uk"],"fallback":false}"#, &["FR", "GB"]), ["GB"]);
}

#[test]
fn a_country_that_nobody_knows_counts_as_none() {
    let mut options = order(r#"{"prefer":["DE"]}"#, &["", "ZZ", "BR"]);
    assert_eq!(options.remove(0), "BR");
}

#[test]
fn without_preferences_everybody_is_equal() {
    let plan = pool("{}", &["DE", ""]).plan(0);
    assert_eq!(plan, Plan::everyone(Mode::LeastLoaded));
}

#[test]
fn within_a_tier_the_mode_of_the_options_picks() {
    let countries = ["DE", "DE", "DE", "FR"];
    let mut cycling = pool(r#"{"prefer":["DE"],"within":"cycle"}"#, &countries);
    let slots: Vec<_> = (0..6).map(|_| cycling.pick().unwrap()).collect();
    assert_eq!(slots, [0, 1, 2, 0, 1, 2]);
    let mut drawing = pool(r#"{"prefer":["DE"],"within":"draw"}"#, &countries);
    assert!(drawing.picks(20_000).fit(&[(0, 1.0), (1, 1.0), (2, 1.0)]));
    let mut loaded = pool(r#"{"prefer":["DE"]}"#, &countries);
    loaded.set_in_flight(0, 50);
    assert!(loaded.picks(10_000).share(&[0]) < 0.15);
}

#[test]
fn a_member_whose_country_becomes_known_changes_its_tier() {
    let mut pool = pool(r#"{"prefer":["DE"],"fallback":false}"#, &[""]);
    assert_eq!(pool.pick(), None);
    pool.join(from(0, "DE"));
    assert_eq!(pool.pick(), Some(0));
}

#[test]
fn a_cycle_keeps_its_place_while_other_tiers_come_and_go() {
    let mut pool = pool(r#"{"prefer":["FR","DE"],"within":"cycle"}"#, &["DE", "DE", "DE"]);
    assert_eq!(pool.pick(), Some(0));
    pool.join(from(9, "BR"));
    assert_eq!(pool.pick(), Some(1));
    pool.join(from(8, "FR"));
    assert_eq!(pool.pick(), Some(8));
    pool.leave(8);
    assert_eq!(pool.pick(), Some(2));
}

#[test]
fn options_that_nobody_could_mean_are_refused() {
    for (options, part) in [
        (r#"{"prefer":["Germany"]}"#, "\"Germany\""),
        (r#"{"prefer":["region:mars"]}"#, "\"region:mars\""),
        (r#"{"prefer":["planet:mars"]}"#, "\"planet:mars\""),
        (r#"{"fallback":false}"#, "nobody would serve"),
    ] {
        let error = Pool::<Geo>::new(options).err().unwrap();
        assert!(error.starts_with("prefer: ") && error.contains(part), "{error}");
    }
    let many = serde_json::json!({ "prefer": vec!["DE"; 21] }).to_string();
    assert_eq!(Pool::<Geo>::new(&many).err().unwrap(), "prefer: 21 entries, at most 20");
}

#[test]
fn the_schema_says_the_defaults_and_its_examples_are_accepted() {
    let schema: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
    let properties = schema["properties"].as_object().unwrap();
    let defaults: serde_json::Map<_, _> =
        properties.iter().map(|(name, it)| (name.clone(), it["default"].clone())).collect();
    let defaults: Options = serde_json::from_value(defaults.into()).unwrap();
    assert_eq!(format!("{defaults:?}"), format!("{:?}", Options::default()));
    for example in schema["examples"].as_array().unwrap() {
        assert!(Pool::<Geo>::new(&example.to_string()).is_ok(), "{example}");
    }
    assert_eq!(schema["properties"]["prefer"]["maxItems"], MAX_PREFERENCES);
}

fn country() -> impl proptest::strategy::Strategy<Value = &'static str> {
    let countries: Vec<&str> = atlas::REGIONS.iter().flat_map(|(_, _, countries)| countries.split(' ')).collect();
    prop::sample::select(countries)
}

proptest! {
    #[test]
    fn with_fallback_every_member_is_in_exactly_one_of_at_most_64_tiers(
        prefer in prop::collection::vec(country(), 1..=20),
        members in prop::collection::vec(prop_oneof![country(), Just("")], 0..60),
    ) {
        let mut pool = pool(&serde_json::json!({ "prefer": prefer }).to_string(), &members);
        let plan = pool.plan(0);
        prop_assert!(plan.tiers.len() <= 64);
        let mut slots: Vec<Slot> = Vec::new();
        for tier in &plan.tiers {
            let Membership::These(members) = &tier.members else { panic!("expected a list") };
            slots.extend(members.iter().map(|member| member.slot));
        }
        slots.sort_unstable();
        prop_assert_eq!(slots, (0..members.len() as Slot).collect::<Vec<_>>());
    }
}
