#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::Mutex;

use proxywhirl_core::fault::{Fault, Kind, Side, Stage};
use proxywhirl_core::member::mix;
use proxywhirl_core::plugin::{
    FaultCause, Hook, Observation, PluginFault, PluginIdentity, Request, Strategy, StrategyFactory, View,
};
use proxywhirl_core::pool::Pool;
use proxywhirl_core::select::{Filter, Membership, Mode, Plan, Refusals, Stick, Tier, Weighted};
use proxywhirl_core::store::{Changes, Page, Store, StoredMember, StoredSession};
use proxywhirl_core::symbol::Symbols;
use proxywhirl_core::{Candidate, Endpoint, Member, MemberId, Outcome};

use super::*;
use crate::limits::LimitsConfig;
use crate::sites::SitesConfig;
use crate::status::PluginStatus;
use crate::supervision::SupervisionConfig;
use crate::swap::SwapError;

mod actor;
mod at_sites;
mod conduct;
mod hooks;
mod limits;
mod memory;
mod plans;
mod saving;
mod shared_limits;
mod swaps;

/// What a scripted strategy does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Script {
    /// Always the member in slot 0.
    First,
    /// A plan that names a slot that nobody has.
    Nonsense,
    /// Traps in `plan`.
    Trap,
    /// Plans for the member in slot 0 once, and then traps.
    TrapLater,
    /// Is asked for each request, and names slot 1.
    Select,
    /// Is asked for each request, and names a slot that nobody has.
    SelectNonsense,
    /// Is asked for each request, and traps.
    SelectTrap,
    /// Is asked for each request, and says nobody.
    SelectNobody,
}

struct Scripted(Script, u32, PluginIdentity);

impl Scripted {
    fn new(script: Script) -> Self {
        Self(script, 0, PluginIdentity::named("scripted"))
    }
}

fn fault(export: &'static str) -> PluginFault {
    PluginFault::new(PluginIdentity::named("scripted"), export, FaultCause::Trap, "unreachable")
}

impl StrategyFactory for Scripted {
    fn identity(&self) -> &PluginIdentity {
        &self.2
    }

    fn instance(&self) -> Result<Box<dyn Strategy>, PluginFault> {
        Ok(Box::new(Self::new(self.0)))
    }
}

impl Strategy for Scripted {
    fn identity(&self) -> &PluginIdentity {
        &self.2
    }

    fn apply(&mut self, _: u64, _: bool, _: &[Arc<Member>], _: &[u32]) -> Result<(), PluginFault> {
        Ok(())
    }

    fn observe(&mut self, _: &[Observation]) -> Result<bool, PluginFault> {
        Ok(false)
    }

    fn plan(&mut self, _: &View<'_>, _: Timestamp, _: u64) -> Result<Plan, PluginFault> {
        self.1 += 1;
        match self.0 {
            Script::First => Ok(only(0)),
            Script::TrapLater if self.1 == 1 => Ok(only(0)),
            Script::TrapLater => Err(fault("plan")),
            Script::Nonsense => Ok(only(4_000)),
            Script::Trap => Err(fault("plan")),
            Script::Select | Script::SelectNonsense | Script::SelectTrap | Script::SelectNobody => Ok(Plan::default()),
        }
    }

    fn select(&mut self, _: &Request) -> Result<Option<u32>, PluginFault> {
        match self.0 {
            Script::SelectNonsense => Ok(Some(4_000)),
            Script::SelectTrap => Err(fault("select")),
            Script::SelectNobody => Ok(None),
            Script::First | Script::Nonsense | Script::Trap | Script::TrapLater | Script::Select => Ok(Some(1)),
        }
    }
}

/// A plan for the member in one slot.
fn only(slot: u32) -> Plan {
    let members = Membership::These(vec![Weighted { slot, weight: 1.0 }]);
    Plan { tiers: vec![Tier { mode: Mode::Draw, members }], ..Plan::default() }
}

fn candidate(n: u8) -> Candidate {
    format!("http://10.0.0.{n}:80").parse::<Endpoint>().unwrap().into()
}

async fn engine(script: Option<Script>, members: u8) -> Arc<Engine> {
    let strategy = script.map(|script| Arc::new(Scripted::new(script)) as Arc<dyn StrategyFactory>);
    let engine = Engine::start(EngineConfig::default(), Parts { strategy, ..Parts::default() }).unwrap();
    let candidates = (0..members).map(|n| Admission::Vouched(Box::new(candidate(n)))).collect();
    assert_eq!(engine.admit(candidates).await.new, usize::from(members));
    engine
}

fn attempt(tried: &[MemberId]) -> Attempt<'_> {
    let (request, number, target) = (1, 1, "origin.example:80");
    Attempt {
        request,
        whose: 0,
        number,
        target,
        site: Symbol::NONE,
        session: None,
        stick: Stick::default(),
        filter: None,
        tried,
        is_late: false,
        is_once: false,
        is_unproven: false,
        hedge: false,
        tier: None,
        by: None,
    }
}

/// Why nobody is left.
fn refused(engine: &Engine, tried: &[MemberId]) -> Refusals {
    match engine.acquire(&attempt(tried)) {
        Err(NoLease::Nobody(refusals)) => refusals,
        other => panic!("{other:?}"),
    }
}

/// How often each member is chosen in 30 requests.
fn spread(engine: &Engine) -> Vec<usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..30 {
        let lease = engine.acquire(&attempt(&[])).unwrap();
        *counts.entry(lease.member().slot).or_default() += 1;
    }
    counts.into_values().collect()
}

#[tokio::test]
async fn without_a_strategy_everybody_is_picked_in_turn() {
    assert_eq!(spread(&*engine(None, 3).await), [10, 10, 10]);
}

#[tokio::test]
async fn a_plan_is_in_force_when_the_admission_returns() {
    assert_eq!(spread(&*engine(Some(Script::First), 3).await), [30]);
    assert_eq!(spread(&*engine(Some(Script::Select), 3).await), [30]);
}

#[tokio::test]
async fn whatever_a_plugin_does_the_fallback_answers_and_the_fault_is_told() {
    for (script, export, cause) in [
        (Script::Nonsense, "plan", "invalid-answer"),
        (Script::Trap, "plan", "trap"),
        (Script::SelectNonsense, "select", "invalid-answer"),
        (Script::SelectTrap, "select", "trap"),
    ] {
        let strategy: Arc<dyn StrategyFactory> = Arc::new(Scripted::new(script));
        let parts = Parts { strategy: Some(strategy), ..Parts::default() };
        let engine = Engine::start(EngineConfig::default(), parts).unwrap();
        let mut told = engine.subscribe(&[Topic::PluginFaulted], 100);
        engine.admit((0..3).map(|n| Admission::Vouched(Box::new(candidate(n)))).collect()).await;
        assert_eq!(spread(&engine), [10, 10, 10]);
        let event = told.next().await.unwrap();
        assert!(event.payload.contains(export) && event.payload.contains(cause), "{}", event.payload);
        engine.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_plan_that_could_not_be_renewed_loses_no_request() {
    let engine = engine(Some(Script::TrapLater), 3).await;
    assert_eq!(spread(&engine), [30]);
    assert_eq!(engine.remove(vec![candidate(0).endpoint.key()]).await, 1);
    assert_eq!(spread(&engine), [15, 15]);
}

#[tokio::test]
async fn a_strategy_that_says_nobody_is_obeyed() {
    let refusals = refused(&*engine(Some(Script::SelectNobody), 3).await, &[]);
    assert_eq!((refusals.members, refusals.unplanned), (3, 3));
}

#[tokio::test]
async fn who_was_tried_is_not_chosen_again() {
    let engine = engine(None, 3).await;
    let mut tried = Vec::new();
    for _ in 0..3 {
        let lease = engine.acquire(&attempt(&tried)).unwrap();
        assert!(!tried.contains(&lease.member().id));
        tried.push(lease.member().id);
    }
    let refusals = refused(&engine, &tried);
    assert_eq!((refusals.members, refusals.tried), (3, 3));
}

#[tokio::test]
async fn a_member_that_fails_in_a_row_is_kept_away_and_the_change_is_told() {
    let engine = engine(None, 1).await;
    let mut told = engine.subscribe(&[Topic::BreakerChanged, Topic::PoolEmpty], 10);
    for _ in 0..BreakerConfig::default().failures {
        let lease = engine.acquire(&attempt(&[])).unwrap();
        let fault = Fault::new(Side::Upstream, Stage::Connect, Kind::Refused, "");
        engine.settle(lease, &Outcome::Failure(fault), &attempt(&[]));
    }
    assert_eq!(refused(&engine, &[]).breaker, 1);
    assert_eq!(told.next().await.unwrap().topic, Topic::BreakerChanged);
    assert_eq!(told.next().await.unwrap().topic, Topic::PoolEmpty);
}

/// A store whose content the test sees.
#[derive(Clone, Default)]
struct Shelf(Arc<Mutex<BTreeMap<String, StoredMember>>>, Arc<Mutex<BTreeMap<u64, StoredSession>>>);

impl Store for Shelf {
    fn page(&mut self, _: Option<u64>, _: usize) -> Result<Page, StoreError> {
        Ok(Page { members: self.0.lock().unwrap().values().cloned().collect(), next: None })
    }

    fn load_sessions(&mut self) -> Result<Vec<StoredSession>, StoreError> {
        Ok(self.1.lock().unwrap().values().copied().collect())
    }

    fn save(&mut self, changes: &Changes) -> Result<(), StoreError> {
        let mut members = self.0.lock().unwrap();
        for key in &changes.removed {
            members.remove(&key.to_string());
        }
        let mut sessions = self.1.lock().unwrap();
        sessions.extend(changes.sessions.iter().map(|session| (session.session, *session)));
        sessions.retain(|session, _| !changes.forgotten.contains(session));
        for member in changes.upserts.iter().chain(&changes.updates) {
            members.insert(member.endpoint.key().to_string(), member.clone());
        }
        Ok(())
    }
}

#[tokio::test]
async fn members_are_stored_when_the_admission_returns_and_statistics_at_the_end() {
    let shelf = Shelf::default();
    let parts = || Parts { store: Some(Box::new(shelf.clone())), ..Parts::default() };
    let config = EngineConfig { save_interval: Duration::from_secs(3_600), ..EngineConfig::default() };
    let engine = Engine::start(config, parts()).unwrap();
    engine.admit((0..3).map(|n| Admission::Vouched(Box::new(candidate(n)))).collect()).await;
    assert_eq!(shelf.0.lock().unwrap().len(), 3);
    let lease = engine.acquire(&attempt(&[])).unwrap();
    engine.settle(lease, &Outcome::Success { latency: Duration::from_millis(7) }, &attempt(&[]));
    assert_eq!(engine.remove(vec![candidate(2).endpoint.key()]).await, 1);
    engine.stop().await.unwrap();

    let engine = Engine::start(config, parts()).unwrap();
    let snapshot = engine.snapshot();
    assert_eq!(snapshot.len(), 2);
    assert_eq!(snapshot.iter().map(|member| member.live.statistics().successes).sum::<u64>(), 1);
}
