//! What a strategy costs: per call, per plan, and for each pick from its plan.

use std::hint::black_box;
use std::sync::Arc;

use proxywhirl_core::plugin::{Observation, Request, Strategy, View};
use proxywhirl_core::select::sessions::Sessions;
use proxywhirl_core::select::{Membership, Mode, Picker, Plan, Stick, Tier, Weighted, Wish};
use proxywhirl_core::symbol::Symbol;
use proxywhirl_core::{Member, Pool, Snapshot, Timestamp};

use super::{BenchError, Measured, Measurement, SEED, tolerate};
use crate::population::{admission, key};
use crate::rotation::ROWS;
use crate::subject::{Loaded, Subject};

/// The smallest strategy there is: `select` answers a number and does nothing else. A test can make it anew.
pub(crate) const EMPTY: &[u8] = include_bytes!("empty.wasm");

/// Members that change at once.
const CHANGED: u32 = 100;

const EMPTY_CALL: &str = "an empty call";

pub(super) fn measure(it: &Measured<'_>) -> Result<Vec<Measurement>, BenchError> {
    let empty = Subject::from_bytes("empty", EMPTY.to_vec()).load(it.place, SEED)?;
    let mut measurements = vec![instantiate(it, &empty)?, select(it, &empty)?, observe(it, &empty)?];
    measurements.push(reset(it)?);
    measurements.push(change(it)?);
    for count in [100, it.effort.members / 10, it.effort.members] {
        measurements.push(plan(it, count)?);
    }
    measurements.extend(pick(it)?);
    Ok(measurements)
}

fn instance(loaded: &Loaded, options: &str) -> Result<Box<dyn Strategy>, BenchError> {
    Ok(loaded.plugins.strategy(loaded.name(), options)?.instance()?)
}

/// A pool, and a strategy that has been told of it.
struct Taught {
    pool: Pool,
    snapshot: Snapshot,
    strategy: Box<dyn Strategy>,
    now: Timestamp,
}

fn taught(it: &Measured<'_>, count: u32) -> Result<Taught, BenchError> {
    let now = it.loaded.clock.now();
    let mut pool = Pool::new(Arc::clone(&it.loaded.symbols), Pool::DEFAULT_CAPACITY);
    for number in 0..count {
        pool.admit(admission(number, now), now);
    }
    let (snapshot, _) = pool.publish();
    let mut strategy = instance(it.loaded, it.options)?;
    let rows: Vec<_> = snapshot.iter().cloned().collect();
    teach(&mut *strategy, &rows)?;
    Ok(Taught { pool, snapshot, strategy, now })
}

fn teach(strategy: &mut dyn Strategy, rows: &[Arc<Member>]) -> Result<(), proxywhirl_core::plugin::PluginFault> {
    for (number, chunk) in rows.chunks(ROWS).enumerate() {
        strategy.apply(number as u64 + 1, number == 0, chunk, &[])?;
    }
    Ok(())
}

fn instantiate(it: &Measured<'_>, empty: &Loaded) -> Result<Measurement, BenchError> {
    let factory = it.loaded.plugins.strategy(it.loaded.name(), it.options)?;
    let other = empty.plugins.strategy(empty.name(), "{}")?;
    let mut call = || factory.instance().map(|made| drop(black_box(made)));
    let mut baseline = || other.instance().map(|made| drop(black_box(made)));
    it.against("instantiate and configure", &mut call, "an empty component", &mut baseline)
}

fn select(it: &Measured<'_>, empty: &Loaded) -> Result<Measurement, BenchError> {
    let Taught { mut strategy, now, .. } = taught(it, it.effort.members)?;
    let mut other = instance(empty, "{}")?;
    let request = |number| Request { view: 0, site: Symbol::NONE, session: number % 7, attempt: 1, now, seed: number };
    let (mut number, mut others) = (0, 0);
    let mut call = || {
        number += 1;
        tolerate(strategy.select(&request(number)))
    };
    let mut baseline = || {
        others += 1;
        tolerate(other.select(&request(others)))
    };
    it.against(&format!("select, {} members", it.effort.members), &mut call, EMPTY_CALL, &mut baseline)
}

fn observe(it: &Measured<'_>, empty: &Loaded) -> Result<Measurement, BenchError> {
    let Taught { mut strategy, .. } = taught(it, it.effort.members)?;
    let mut other = instance(empty, "{}")?;
    let uses: Vec<_> = (0..1_000.min(it.effort.members))
        .map(|slot| Observation { slot, site: Symbol::NONE, success: slot % 5 != 0, latency: 50_000 + slot })
        .collect();
    let mut call = || tolerate(strategy.observe(&uses));
    let mut baseline = || tolerate(other.observe(&[]));
    let measured = it.against(&format!("observe, {} uses", uses.len()), &mut call, EMPTY_CALL, &mut baseline)?;
    Ok(measured.doing("uses", uses.len()))
}

/// The whole pool at once, as after a start, against a snapshot of it.
fn reset(it: &Measured<'_>) -> Result<Measurement, BenchError> {
    let Taught { snapshot, mut strategy, now, pool } = taught(it, it.effort.members)?;
    drop(pool);
    let rows: Vec<_> = snapshot.iter().cloned().collect();
    let mut call = || teach(&mut *strategy, &rows);
    let mut baseline = || {
        let mut pool = Pool::new(Arc::default(), Pool::DEFAULT_CAPACITY);
        for row in &rows {
            pool.admit(proxywhirl_core::pool::Admission::Restored(Box::new(row.to_stored())), now);
        }
        black_box(pool.publish());
        Ok(())
    };
    let name = format!("apply, all {} members", rows.len());
    Ok(it.against(&name, &mut call, "the host's own pool", &mut baseline)?.doing("members", rows.len()))
}

/// A hundred members of many leave and others take their places, against what that costs the host's own pool.
fn change(it: &Measured<'_>) -> Result<Measurement, BenchError> {
    let count = it.effort.members;
    let Taught { mut pool, mut strategy, now, .. } = taught(it, count)?;
    let changed = CHANGED.min(count);
    // Two sets of members that come to the same places in turn.
    let replace = |pool: &mut Pool, leave: u32, join: u32| {
        for number in 0..changed {
            pool.remove(&key(leave + number));
            pool.admit(admission(join + number, now), now);
        }
        let (snapshot, delta) = pool.publish();
        delta.upserts.iter().filter_map(|slot| snapshot.get(*slot).cloned()).collect::<Vec<_>>()
    };
    let sets = [replace(&mut pool, 0, count), replace(&mut pool, count, count + changed)];
    let slots: Vec<u32> = sets.iter().flatten().take(changed as usize).map(|member| member.slot).collect();
    let mut epoch = 1_000;
    let mut call = || {
        epoch += 1;
        let [one, other] = &sets;
        strategy.apply(epoch, false, if epoch % 2 == 0 { one } else { other }, &slots)
    };
    let mut round = 0;
    let mut baseline = || {
        round += 1;
        let (leave, join) = if round % 2 == 1 { (changed, 0) } else { (0, changed) };
        black_box(replace(&mut pool, count + leave, count + join));
        Ok(())
    };
    it.against(&format!("apply, {changed} of {count} members"), &mut call, "the host's own pool", &mut baseline)
}

/// A plan, against one that the host makes itself and that names everybody.
fn plan(it: &Measured<'_>, count: u32) -> Result<Measurement, BenchError> {
    let Taught { snapshot, mut strategy, now, .. } = taught(it, count)?;
    let mut seed = 0;
    let mut call = || {
        seed += 1;
        tolerate(strategy.plan(&View::default(), now, seed))
    };
    let mut baseline = || {
        black_box(listed(&snapshot));
        Ok(())
    };
    it.against(&format!("make-plan, {count} members"), &mut call, "a native list of all", &mut baseline)
}

fn listed(snapshot: &Snapshot) -> Plan {
    let all = snapshot.iter().map(|member| Weighted { slot: member.slot, weight: 1.0 }).collect();
    let tier = Tier { mode: Mode::Draw, members: Membership::These(all) };
    Plan { tiers: vec![tier], ..Plan::default() }
}

/// Making the plan ready, and a pick from it, both native, against the fallback's: everybody in turn.
fn pick(it: &Measured<'_>) -> Result<Vec<Measurement>, BenchError> {
    let Taught { snapshot, mut strategy, now, .. } = taught(it, it.effort.members)?;
    let plan = strategy.plan(&View::default(), now, SEED)?;
    let nonsense = |error: proxywhirl_core::select::PlanError| BenchError::Plugin(error.to_string());
    let picker = Picker::compile(&plan, &snapshot, None).map_err(nonsense)?;
    if picker.asks_per_request() {
        return Ok(Vec::new());
    }
    let fallback = Picker::compile(&Plan::fallback(), &snapshot, None).map_err(nonsense)?;
    let sessions = Sessions::new(plan.sessions.map_or(0, |sessions| sessions.capacity));
    let other = Sessions::default();
    let mut call = || {
        black_box(Picker::compile(&plan, &snapshot, None).is_ok());
        Ok(())
    };
    let mut baseline = || {
        black_box(Picker::compile(&listed(&snapshot), &snapshot, None).is_ok());
        Ok(())
    };
    let ready = it.against("make the plan ready (native)", &mut call, "a native list of all", &mut baseline)?;
    let mut measurements = vec![ready];
    for (name, session) in [("pick from the plan (native)", None), ("pick, of a session (native)", Some(7))] {
        let mut seed = 0;
        let mut wish = || {
            seed += 1;
            Wish {
                now,
                tried: &[],
                filter: None,
                session: session.map(|it: u64| it + seed % 1_000),
                stick: Stick::default(),
                seed,
            }
        };
        let mut call = || {
            black_box(picker.pick(&snapshot, &wish(), &sessions).is_some());
            Ok(())
        };
        let turn = Wish { now, tried: &[], filter: None, session: None, stick: Stick::default(), seed: SEED };
        let mut baseline = || {
            black_box(fallback.pick(&snapshot, &turn, &other).is_some());
            Ok(())
        };
        measurements.push(it.against(name, &mut call, "everybody in turn", &mut baseline)?);
    }
    Ok(measurements)
}
