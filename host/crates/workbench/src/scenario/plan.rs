//! Whether a plan is as a scenario expects it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::time::Duration;

use proxywhirl_core::Snapshot;
use proxywhirl_core::select::{Membership, Mode, Plan, Stickiness, Tier};
use proxywhirl_core::symbol::{Symbol, Symbols};

use super::cast::Cast;
use super::expect::set;
use super::format::{PlanExpectation, Span};
use super::selector::listed;
use crate::rotation::Rotation;

/// By how much a weight may differ from the expected one, relatively.
const TOLERANCE: f64 = 0.01;

/// Compares the plan in force with what is expected; the first thing that does not hold.
pub(super) fn check(
    rotation: &mut Rotation<'_>,
    cast: &Cast,
    symbols: &Symbols,
    expect: &PlanExpectation,
) -> Result<(), String> {
    let site = expect.site.as_deref().map_or(Symbol::NONE, |site| symbols.intern(site));
    let plan = rotation.plan_for(site)?.cloned().unwrap_or_default();
    same("asks", expect.asks, plan.tiers.is_empty())?;
    same("per_site", expect.per_site, plan.per_site)?;
    span("refresh", expect.refresh, plan.refresh)?;
    if let Some(modes) = &expect.modes {
        let found: Vec<&str> = plan.tiers.iter().map(|tier| word(tier.mode)).collect();
        if *modes != found {
            return Err(format!(
                "the tiers have the modes [{}], expected are [{}]",
                found.join(", "),
                modes.join(", ")
            ));
        }
    }
    check_sessions(expect, plan.sessions.as_ref())?;
    check_tiers(expect, &plan, rotation.snapshot(), cast)?;
    check_weights(expect, &plan, rotation.snapshot(), cast)
}

fn check_sessions(expect: &PlanExpectation, found: Option<&Stickiness>) -> Result<(), String> {
    same("sessions", expect.sessions, found.is_some())?;
    let Some(found) = found else {
        let wanted = expect.idle.is_some() || expect.lifetime.is_some() || expect.strict.is_some();
        let wanted = wanted || expect.capacity.is_some();
        return if wanted { Err("the plan says nothing about sessions".to_owned()) } else { Ok(()) };
    };
    span("idle", expect.idle, found.idle)?;
    span("lifetime", expect.lifetime, found.lifetime)?;
    same("strict", expect.strict, found.strict)?;
    same("capacity", expect.capacity, found.capacity)
}

fn check_tiers(expect: &PlanExpectation, plan: &Plan, snapshot: &Snapshot, cast: &Cast) -> Result<(), String> {
    let Some(tiers) = &expect.tiers else { return Ok(()) };
    if tiers.len() != plan.tiers.len() {
        return Err(format!("the plan has {} tiers, expected are {}", plan.tiers.len(), tiers.len()));
    }
    for (index, (tier, selectors)) in plan.tiers.iter().zip(tiers).enumerate() {
        let found: BTreeSet<usize> = weights(tier, snapshot, cast).into_keys().collect();
        let present: BTreeSet<usize> = snapshot.iter().filter_map(|member| cast.find(member.id)).collect();
        let wanted: BTreeSet<usize> = set(cast, selectors)?.intersection(&present).copied().collect();
        if let Some(at) = found.symmetric_difference(&wanted).next() {
            let word = if found.contains(at) { "has" } else { "lacks" };
            let listed = listed(selectors);
            return Err(format!("tier {} {word} {}, expected is [{listed}]", index + 1, cast.name(*at)));
        }
    }
    Ok(())
}

fn check_weights(expect: &PlanExpectation, plan: &Plan, snapshot: &Snapshot, cast: &Cast) -> Result<(), String> {
    if expect.weights.is_empty() {
        return Ok(());
    }
    let Some(tier) = plan.tiers.first() else { return Err("the plan has no tier, and so no weights".to_owned()) };
    let found = weights(tier, snapshot, cast);
    // The first one sets the scale.
    let mut scale: Option<f64> = None;
    for (selector, wanted) in &expect.weights {
        for at in cast.select_one(selector)? {
            let weight = f64::from(found.get(&at).copied().unwrap_or(0.0));
            if *wanted <= 0.0 {
                if weight > 0.0 {
                    return Err(format!("{} has the weight {weight}, expected is 0", cast.name(at)));
                }
                continue;
            }
            let scale = *scale.get_or_insert(weight / wanted);
            if (weight - wanted * scale).abs() > TOLERANCE * wanted * scale || weight <= 0.0 {
                let relative = if scale > 0.0 { weight / scale } else { weight };
                return Err(format!("{} has the weight {relative:.4}, expected is {wanted}", cast.name(at)));
            }
        }
    }
    Ok(())
}

/// Who is in a tier with a weight above 0.
fn weights(tier: &Tier, snapshot: &Snapshot, cast: &Cast) -> BTreeMap<usize, f32> {
    match &tier.members {
        Membership::Everyone => snapshot.iter().filter_map(|member| cast.find(member.id)).map(|at| (at, 1.0)).collect(),
        Membership::These(these) => these
            .iter()
            .filter(|member| member.weight > 0.0)
            .filter_map(|member| Some((cast.find(snapshot.get(member.slot)?.id)?, member.weight)))
            .collect(),
    }
}

const fn word(mode: Mode) -> &'static str {
    match mode {
        Mode::Cycle => "cycle",
        Mode::Draw => "draw",
        Mode::Affinity => "affinity",
        Mode::LeastLoaded => "least-loaded",
    }
}

fn same<T: PartialEq + Debug>(name: &str, expected: Option<T>, found: T) -> Result<(), String> {
    match expected {
        Some(expected) if expected != found => Err(format!("`{name}` is {found:?}, expected is {expected:?}")),
        _ => Ok(()),
    }
}

fn span(name: &str, expected: Option<Span>, found: Option<Duration>) -> Result<(), String> {
    same(name, expected.map(|span| span.0), found.unwrap_or_default())
}
