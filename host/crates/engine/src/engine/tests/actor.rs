//! A strategy that does as the test says, while it runs.

use std::sync::atomic::{AtomicBool, AtomicU32};

use proxywhirl_core::plugin::OnFault;

use super::*;

/// What a strategy plans for a view.
type Planning = Box<dyn Fn(&View<'_>) -> Plan + Send>;

/// What a strategy is told to do; shared by all its instances.
pub(super) struct Knobs {
    /// Whether calls of these functions trap.
    pub(super) traps: Mutex<Vec<&'static str>>,
    /// How long `make-plan` takes.
    pub(super) hangs: Mutex<Duration>,
    pub(super) plan: Mutex<Planning>,
    /// The slot that `select` names.
    pub(super) selects: AtomicU32,
    /// Whether `observe` asks for a plan.
    pub(super) wants_plan: AtomicBool,
    pub(super) plans: AtomicU32,
    pub(super) instances: AtomicU32,
    pub(super) observed: Mutex<Vec<Observation>>,
    /// What `save` hands over.
    pub(super) saves: Mutex<Option<Vec<u8>>>,
    pub(super) restored: Mutex<Vec<Vec<u8>>>,
}

impl Knobs {
    pub(super) fn trap(&self, exports: &[&'static str]) {
        *self.traps.lock().unwrap() = exports.to_vec();
    }
}

/// The strategy, and the factory of it.
#[derive(Clone)]
pub(super) struct Actor {
    identity: PluginIdentity,
    on_fault: OnFault,
    pub(super) knobs: Arc<Knobs>,
}

impl Actor {
    /// A strategy of a version, which plans for the member in one slot.
    pub(super) fn new(version: &str, slot: u32) -> Self {
        let identity =
            PluginIdentity { name: "actor".into(), version: version.into(), digest: format!("d{version}").into() };
        let knobs = Knobs {
            traps: Mutex::default(),
            hangs: Mutex::default(),
            plan: Mutex::new(Box::new(move |_| only(slot))),
            selects: AtomicU32::new(slot),
            wants_plan: AtomicBool::new(false),
            plans: AtomicU32::new(0),
            instances: AtomicU32::new(0),
            observed: Mutex::default(),
            saves: Mutex::default(),
            restored: Mutex::default(),
        };
        Self { identity, on_fault: OnFault::Fallback, knobs: Arc::new(knobs) }
    }

    pub(super) fn on_fault(mut self, on_fault: OnFault) -> Self {
        self.on_fault = on_fault;
        self
    }

    /// Plans as the function says.
    pub(super) fn planning(self, plan: impl Fn(&View<'_>) -> Plan + Send + 'static) -> Self {
        *self.knobs.plan.lock().unwrap() = Box::new(plan);
        self
    }

    /// Is asked for each request.
    pub(super) fn asked(self) -> Self {
        self.planning(|_| Plan::default())
    }

    pub(super) fn factory(&self) -> Arc<dyn StrategyFactory> {
        Arc::new(self.clone())
    }

    fn call(&self, export: &'static str) -> Result<(), PluginFault> {
        if self.knobs.traps.lock().unwrap().contains(&export) {
            return Err(PluginFault::new(self.identity.clone(), export, FaultCause::Trap, "told to"));
        }
        Ok(())
    }
}

impl StrategyFactory for Actor {
    fn identity(&self) -> &PluginIdentity {
        &self.identity
    }

    fn on_fault(&self) -> OnFault {
        self.on_fault
    }

    fn instance(&self) -> Result<Box<dyn Strategy>, PluginFault> {
        self.call("instantiate")?;
        self.knobs.instances.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(self.clone()))
    }
}

impl Strategy for Actor {
    fn identity(&self) -> &PluginIdentity {
        &self.identity
    }

    fn apply(&mut self, _: u64, _: bool, _: &[Arc<Member>], _: &[u32]) -> Result<(), PluginFault> {
        self.call("apply")
    }

    fn observe(&mut self, observations: &[Observation]) -> Result<bool, PluginFault> {
        self.call("observe")?;
        self.knobs.observed.lock().unwrap().extend(observations);
        Ok(self.knobs.wants_plan.load(Ordering::Relaxed))
    }

    fn plan(&mut self, view: &View<'_>, _: Timestamp, _: u64) -> Result<Plan, PluginFault> {
        let hangs = *self.knobs.hangs.lock().unwrap();
        std::thread::sleep(hangs);
        self.knobs.plans.fetch_add(1, Ordering::Relaxed);
        self.call("make-plan")?;
        Ok((self.knobs.plan.lock().unwrap())(view))
    }

    fn select(&mut self, _: &Request) -> Result<Option<u32>, PluginFault> {
        self.call("select")?;
        Ok(Some(self.knobs.selects.load(Ordering::Relaxed)))
    }

    fn save(&mut self) -> Result<Option<Vec<u8>>, PluginFault> {
        self.call("save")?;
        Ok(self.knobs.saves.lock().unwrap().clone())
    }

    fn restore(&mut self, state: &[u8]) -> Result<bool, PluginFault> {
        self.call("restore")?;
        self.knobs.restored.lock().unwrap().push(state.to_vec());
        Ok(true)
    }
}

/// Quick enough for tests: restarts after a millisecond, quarantines of ten.
pub(super) fn impatient() -> EngineConfig {
    let supervision = SupervisionConfig {
        pause: Duration::from_millis(1),
        quarantine: Duration::from_millis(10),
        ..SupervisionConfig::default()
    };
    EngineConfig { supervision, observe_interval: Duration::from_millis(5), ..EngineConfig::default() }
}

/// An engine with this strategy and this many members, whose slots are 0 and up.
pub(super) async fn playing(actor: &Actor, config: EngineConfig, members: u8) -> Arc<Engine> {
    let engine = Engine::start(config, Parts { strategy: Some(actor.factory()), ..Parts::default() }).unwrap();
    join(&engine, 0..members).await;
    engine
}

pub(super) async fn join(engine: &Engine, members: std::ops::Range<u8>) {
    engine.admit(members.map(|n| Admission::Vouched(Box::new(candidate(n)))).collect()).await;
}

/// The slot of the next pick.
pub(super) fn slot(engine: &Engine) -> u32 {
    engine.acquire(&attempt(&[])).unwrap().member().slot
}

/// Waits until something is so, for ten seconds at the most.
pub(super) async fn until(mut is_so: impl FnMut() -> bool) {
    for _ in 0..5_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("it did not come true");
}

/// How the strategy does, in one word.
pub(super) fn state(engine: &Engine) -> &'static str {
    engine.plugins().first().map_or("gone", |plugin| plugin.state.as_str())
}
