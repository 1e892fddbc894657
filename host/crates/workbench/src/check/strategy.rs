//! What the host relies on in a strategy.

use std::time::{Duration, Instant};

use proxywhirl_core::breaker::BreakerConfig;
use proxywhirl_core::plugin::{Observation, Request, View};
use proxywhirl_core::select::{Filter, Membership, Mode, Plan};
use proxywhirl_core::symbol::Symbol;
use proxywhirl_core::{Anonymity, Fault, Kind, Outcome, Side, Stage};

use super::memory::{self, kib, memory, stays_flat};
use super::{Examined, SEED};
use crate::population::{admission, key};
use crate::report::{Answer, Report};
use crate::rotation::{Ask, Rotation, Stopped};
use crate::subject::WorkbenchError;

/// Members of a small pool.
const SOME: u32 = 100;

/// A request of nobody in particular.
const ANY: Ask<'_> = Ask { view: 0, site: Symbol::NONE, session: None, tried: &[] };

pub(super) fn check(it: &Examined<'_>, report: &mut Report) -> Result<(), WorkbenchError> {
    report.add(
        "empty pool",
        "the pool is empty when the gateway starts, and whenever its sources fail",
        empty_pool(it),
    );
    report.add("one member", "a pool may shrink to one", one_member(it));
    report.add(
        "nobody eligible",
        "when every breaker is open the plan must still be one: the host does the masking",
        nobody_eligible(it),
    );
    report.add("bound requests", "a request may want a country, a tag or a plan of its site", bound(it));
    report.add("removal while selected", "a plan that names somebody who has left is thrown away whole", churn(it));
    report.add("places used again", "a slot whose member has changed is another member", reuse(it));
    report.add("large pool", "public lists have a hundred thousand proxies", large_pool(it));
    report.add("sensible plan", "what the plan promises must be possible", sensible(it));
    report.add("same seed, same answers", "a run that cannot be repeated cannot be understood", deterministic(it)?);
    match handover(it) {
        Ok(Some(answer)) => report.add("handover", HANDOVER, Ok(answer)),
        Ok(None) => report.skip("handover", HANDOVER, "it has nothing to hand over"),
        Err(error) => report.add("handover", HANDOVER, Err(error)),
    }
    memory::report(report, flat(it));
    Ok(())
}

const HANDOVER: &str = "what was learned should survive an update of the plugin";

fn rotation<'a>(it: &Examined<'a>) -> Result<Rotation<'a>, Stopped> {
    Rotation::new(it.loaded, it.options, SEED)
}

/// A rotation over members of the numbers 0 to `count`.
fn with_members<'a>(it: &Examined<'a>, count: u32) -> Result<Rotation<'a>, Stopped> {
    let mut rotation = rotation(it)?;
    for number in 0..count {
        rotation.join(admission(number, rotation.now()));
    }
    rotation.publish()?;
    Ok(rotation)
}

/// How many of so many picks found somebody. Whoever is picked is in the pool.
fn picks(rotation: &mut Rotation<'_>, count: u32) -> Result<u32, String> {
    let mut found = 0;
    for number in 0..count {
        let session = number.is_multiple_of(2).then_some(u64::from(number % 7) + 1);
        rotation.pass(Duration::from_millis(1))?;
        if let Some(member) = rotation.pick(&Ask { session, ..ANY })? {
            found += 1;
            let now = rotation.snapshot().get(member.slot);
            if now.is_none_or(|now| now.generation != member.generation) {
                return Err(format!("it picked slot {}, whose member has left", member.slot));
            }
        }
    }
    Ok(found)
}

fn empty_pool(it: &Examined<'_>) -> Answer {
    let mut rotation = rotation(it)?;
    rotation.publish()?;
    rotation.observe(&[])?;
    let found = picks(&mut rotation, 10)?;
    if found > 0 {
        Err(format!("{found} of 10 picks found somebody in an empty pool"))
    } else {
        Ok(describe(&rotation))
    }
}

fn one_member(it: &Examined<'_>) -> Answer {
    let mut rotation = with_members(it, 1)?;
    let found = picks(&mut rotation, 100)?;
    Ok(format!("{found} of 100 requests got it"))
}

fn nobody_eligible(it: &Examined<'_>) -> Answer {
    let mut rotation = with_members(it, SOME)?;
    let (now, config) = (rotation.now(), BreakerConfig { failures: 1, ..BreakerConfig::default() });
    let fault = Fault::new(Side::Upstream, Stage::Connect, Kind::Refused, "everything is down");
    for member in rotation.snapshot().iter() {
        member.live.record(&Outcome::Failure(fault.clone()), now, &config, now);
    }
    let failed = |slot| Observation { slot, site: Symbol::NONE, success: false, latency: 0 };
    let observations: Vec<_> = rotation.snapshot().iter().map(|member| failed(member.slot)).collect();
    rotation.observe(&observations)?;
    rotation.replan()?;
    let found = picks(&mut rotation, 10)?;
    if found > 0 { Err(format!("{found} of 10 picks found somebody")) } else { Ok(describe(&rotation)) }
}

fn bound(it: &Examined<'_>) -> Answer {
    let mut rotation = with_members(it, SOME)?;
    let germany = ["DE"].iter().filter_map(|code| code.parse().ok());
    let free = ["cost:0"].iter().filter_map(|tag| tag.parse().ok());
    let filters = [
        Filter::new(germany, [], [], Anonymity::Unknown),
        Filter::new([], free, [], Anonymity::Unknown),
        Filter::new([], ["no-such-tag"].iter().filter_map(|tag| tag.parse().ok()), [], Anonymity::Unknown),
    ];
    let mut told = Vec::new();
    for filter in filters {
        let view = rotation.view(&filter);
        let mut found = 0;
        for _ in 0..50 {
            if let Some(member) = rotation.pick(&Ask { view, ..ANY })? {
                found += 1;
                if !filter.admits(&member) {
                    return Err("it picked somebody whom the request does not want".to_owned());
                }
            }
        }
        told.push(found.to_string());
    }
    let site = it.loaded.symbols.intern("shop.example");
    rotation.plan_for(site)?;
    rotation.pick(&Ask { site, ..ANY })?;
    Ok(format!("of 50 requests each, served: {} (country, tag, a tag that nobody has)", told.join(", ")))
}

/// Members leave and join all the time.
fn churn(it: &Examined<'_>) -> Answer {
    let mut rotation = with_members(it, SOME)?;
    let mut inside: Vec<u32> = (0..SOME).collect();
    let mut next = SOME;
    let mut found = 0;
    for _ in 0..300 {
        for _ in 0..3 {
            let at = rotation.random().below(inside.len());
            if at < inside.len() && inside.len() > 10 {
                rotation.leave(&key(inside.swap_remove(at)));
            }
            rotation.join(admission(next, rotation.now()));
            inside.push(next);
            next += 1;
        }
        rotation.publish()?;
        found += picks(&mut rotation, 20)?;
    }
    Ok(format!("300 changes of the pool, {found} of 6000 requests served"))
}

/// The member of each slot is replaced by another one in a single change.
fn reuse(it: &Examined<'_>) -> Answer {
    let mut rotation = with_members(it, SOME)?;
    for round in 1..=5 {
        let before: Vec<_> = rotation.snapshot().iter().map(|member| (member.slot, member.generation)).collect();
        for number in 0..SOME {
            rotation.leave(&key(number + (round - 1) * SOME));
            rotation.join(admission(number + round * SOME, rotation.now()));
        }
        rotation.publish()?;
        let now = rotation.snapshot();
        if now.end() != SOME || before.iter().any(|(slot, old)| now.get(*slot).is_some_and(|it| it.generation == *old))
        {
            return Err("the places were not used again: this check is wrong".to_owned());
        }
        picks(&mut rotation, 200)?;
    }
    Ok(format!("{SOME} places used by 6 members each"))
}

/// Everything at once, changes, uses, and requests; told with what they took.
fn large_pool(it: &Examined<'_>) -> Answer {
    let count = it.thoroughness.members;
    let mut rotation = rotation(it)?;
    for number in 0..count {
        rotation.join(admission(number, rotation.now()));
    }
    let whole = timed(|| rotation.publish())?;
    let (mut changes, mut observations) = (Vec::new(), Vec::new());
    for round in 0..5 {
        for number in 0..100 {
            rotation.leave(&key(round * 100 + number));
            rotation.join(admission(count + round * 100 + number, rotation.now()));
        }
        changes.push(timed(|| rotation.publish())?);
        let random = rotation.random();
        let uses: Vec<_> = (0..1_000)
            .filter_map(|n| Some((u32::try_from(random.below(count as usize)).ok()?, n)))
            .map(|(slot, n)| Observation { slot, site: Symbol::NONE, success: n % 5 != 0, latency: 50_000 + n })
            .collect();
        observations.push(timed(|| rotation.observe(&uses))?);
    }
    picks(&mut rotation, 1_000)?;
    let (limits, change) = (it.limits.strategy, median(changes));
    let told = format!(
        "{count} members at once: {whole:.1?}; 100 changes: {change:.1?}; 1000 uses: {:.1?}, each with its plan if it \
         makes one (limit {:.1?} a call); memory {} (limit {})",
        median(observations),
        limits.call,
        memory(it.loaded).map_or_else(|| "unknown".to_owned(), kib),
        kib(limits.memory_for(usize::try_from(count).unwrap_or(usize::MAX)) as u64),
    );
    // Whoever is over it has failed. How near it is depends on the machine, and on what else it does.
    let near = if change * 2 > limits.call { "; half as fast a machine would bring it over its limit" } else { "" };
    Ok(told + near)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn timed(work: impl FnOnce() -> Result<(), Stopped>) -> Result<Duration, Stopped> {
    let started = Instant::now();
    work()?;
    Ok(started.elapsed())
}

fn sensible(it: &Examined<'_>) -> Answer {
    let rotation = with_members(it, SOME)?;
    let plan = rotation.plan().cloned().unwrap_or_default();
    let sticks = plan.tiers.iter().any(|tier| tier.mode == Mode::Affinity);
    if let Some(sessions) = plan.sessions {
        if !sticks {
            return Err("it says how sessions stick, but no tier has the mode `affinity`".to_owned());
        }
        if sessions.lifetime.zip(sessions.idle).is_some_and(|(lifetime, idle)| idle > lifetime) {
            return Err("sessions may be idle for longer than they may last".to_owned());
        }
    }
    for (index, tier) in plan.tiers.iter().enumerate() {
        if let Membership::These(these) = &tier.members
            && !these.is_empty()
            && these.iter().all(|member| member.weight <= 0.0)
        {
            return Err(format!("in tier {} everybody has the weight 0, so nobody is ever picked from it", index + 1));
        }
    }
    Ok(describe(&rotation))
}

/// The plan in force, for people.
fn describe(rotation: &Rotation<'_>) -> String {
    let plan = rotation.plan().cloned().unwrap_or_default();
    if plan.tiers.is_empty() {
        return "it wants to be asked for each request".to_owned();
    }
    let tier = |tier: &proxywhirl_core::select::Tier| match &tier.members {
        Membership::Everyone => format!("{:?} over everyone", tier.mode),
        Membership::These(these) => format!("{:?} over {}", tier.mode, these.len()),
    };
    let mut parts: Vec<String> = plan.tiers.iter().map(tier).collect();
    parts.extend(plan.sessions.map(|sessions| format!("{} sessions remembered", sessions.capacity)));
    parts.extend(plan.per_site.then(|| "plans for sites".to_owned()));
    parts.extend(plan.refresh.map(|span| format!("anew each {span:?}")));
    parts.join(", then ").to_lowercase()
}

/// Two instances in two hosts of the same seed get the same calls.
fn deterministic(it: &Examined<'_>) -> Result<Answer, WorkbenchError> {
    let (first, second) = (it.again()?, it.again()?);
    let run = |loaded| -> Result<(Vec<Plan>, Vec<Option<u32>>), String> {
        let mut rotation = Rotation::new(loaded, it.options, SEED)?;
        let (mut plans, mut slots) = (Vec::new(), Vec::new());
        for round in 0..20 {
            for number in 0..10 {
                rotation.join(admission(round * 10 + number, rotation.now()));
            }
            rotation.publish()?;
            let uses: Vec<_> = (0..round * 10)
                .map(|slot| Observation { slot, site: Symbol::NONE, success: slot % 3 != 0, latency: 1_000 + slot })
                .collect();
            rotation.observe(&uses)?;
            plans.extend(rotation.plan().cloned());
            for _ in 0..50 {
                rotation.pass(Duration::from_millis(10))?;
                slots.push(rotation.pick(&ANY)?.map(|member| member.slot));
            }
        }
        Ok((plans, slots))
    };
    Ok(match (run(&first), run(&second)) {
        (Err(error), _) | (_, Err(error)) => Err(error),
        (Ok(one), Ok(other)) if one.0 != other.0 => {
            Err("two instances with the same seed make different plans".to_owned())
        }
        (Ok(one), Ok(other)) if one.1 != other.1 => Err("two instances with the same seed pick differently".to_owned()),
        (Ok(one), Ok(_)) => Ok(format!("{} plans and {} picks", one.0.len(), one.1.len())),
    })
}

/// Whether a successor takes over and plans the same; none when there is nothing to take over.
fn handover(it: &Examined<'_>) -> Result<Option<String>, String> {
    let mut old = with_members(it, SOME)?;
    let uses: Vec<_> = (0..SOME)
        .flat_map(|slot| [slot; 20])
        .map(|slot| Observation { slot, site: Symbol::NONE, success: slot % 4 != 0, latency: 1_000 * (slot + 1) })
        .collect();
    old.observe(&uses)?;
    let Some(state) = old.strategy().save().map_err(Stopped::from)? else { return Ok(None) };
    let mut new = rotation(it)?;
    let taken = new.strategy().restore(&state).map_err(Stopped::from)?;
    if !taken {
        return Err(format!("its own state of {} bytes is not taken over", state.len()));
    }
    let rows: Vec<_> = old.snapshot().iter().cloned().collect();
    let (epoch, now) = (old.snapshot().epoch(), old.now());
    let mut plans = Vec::new();
    for rotation in [&mut old, &mut new] {
        let strategy = rotation.strategy();
        strategy.apply(epoch + 1, true, &rows, &[]).map_err(Stopped::from)?;
        plans.push(strategy.plan(&View::default(), now, SEED).map_err(Stopped::from)?);
    }
    if plans.first() != plans.get(1) {
        return Err(format!("after a handover of {} bytes the plan for the same seed is another one", state.len()));
    }
    Ok(Some(format!("{} bytes, and the same plan after it", state.len())))
}

/// A thousand calls in each round: most are `select`, some tell of uses and changes, a few ask for a plan.
fn flat(it: &Examined<'_>) -> Result<Option<String>, String> {
    let mut rotation = with_members(it, SOME)?;
    let rows: Vec<_> = rotation.snapshot().iter().cloned().collect();
    let (mut epoch, mut now) = (rotation.snapshot().epoch(), rotation.now());
    let mut random = rotation.random().clone();
    let strategy = rotation.strategy();
    let sites: Vec<Symbol> = (0..50).map(|n| it.loaded.symbols.intern(&format!("site-{n}.example"))).collect();
    stays_flat(it.loaded, it.thoroughness.calls, it.thoroughness.patience, |round| {
        for call in 0..1_000_u64 {
            now = now + Duration::from_millis(1);
            let site = sites.get(random.below(sites.len())).copied().unwrap_or_default();
            let done = match call {
                0..5 => strategy.plan(&View { site, ..View::default() }, now, random.bits()).map(drop),
                5..10 => {
                    epoch += 1;
                    let at = random.below(rows.len() - 10);
                    let changed = rows.get(at..at + 10).unwrap_or_default();
                    let removed: Vec<u32> = changed.iter().map(|member| member.slot).collect();
                    strategy.apply(
                        epoch,
                        round % 100 == 0 && call == 5,
                        if round % 100 == 0 { &rows } else { changed },
                        &removed,
                    )
                }
                10..30 => {
                    let slot =
                        |random: &mut proxywhirl_core::select::random::Random| random.below(SOME as usize) as u32;
                    let uses: Vec<_> = (0..32)
                        .map(|n| Observation {
                            slot: slot(&mut random),
                            site,
                            success: n % 5 != 0,
                            latency: 20_000 + n,
                        })
                        .collect();
                    strategy.observe(&uses).map(drop)
                }
                _ => strategy
                    .select(&Request { view: 0, site, session: call % 11, attempt: 1, now, seed: random.bits() })
                    .map(drop),
            };
            done.map_err(Stopped::from)?;
        }
        Ok(())
    })
}
