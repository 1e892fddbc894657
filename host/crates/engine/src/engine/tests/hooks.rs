//! Hooks: told in order, never waited for, swapped with what waits for them.

use std::sync::atomic::AtomicUsize;
use std::sync::mpsc;

use proxywhirl_core::event::Event;
use proxywhirl_core::plugin::OnFault;

use super::actor::{impatient, until};
use super::*;
use crate::swap::Handover;

/// What a hook has heard, and what it is told to do.
#[derive(Clone)]
struct Listener {
    identity: PluginIdentity,
    on_fault: OnFault,
    topics: Vec<Topic>,
    heard: Arc<Mutex<Vec<u64>>>,
    traps: Arc<Mutex<bool>>,
    /// Taken before each batch: a hook that is slow.
    gate: Arc<Mutex<()>>,
    calls: Arc<AtomicUsize>,
    restored: Arc<Mutex<Vec<u8>>>,
}

impl Listener {
    fn new(version: &str) -> Self {
        Self {
            identity: PluginIdentity { name: "listener".into(), version: version.into(), digest: "".into() },
            on_fault: OnFault::Fallback,
            topics: vec![Topic::HealthCheck],
            heard: Arc::default(),
            traps: Arc::default(),
            gate: Arc::default(),
            calls: Arc::default(),
            restored: Arc::default(),
        }
    }

    /// The same that has heard what another one has.
    fn after(version: &str, other: &Self) -> Self {
        Self { heard: Arc::clone(&other.heard), ..Self::new(version) }
    }

    fn heard(&self) -> Vec<u64> {
        self.heard.lock().unwrap().clone()
    }
}

impl Hook for Listener {
    fn identity(&self) -> &PluginIdentity {
        &self.identity
    }

    fn on_fault(&self) -> OnFault {
        self.on_fault
    }

    fn topics(&self) -> &[Topic] {
        &self.topics
    }

    fn handle(&mut self, events: &[Event]) -> Result<(), PluginFault> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        drop(self.gate.lock().unwrap());
        if *self.traps.lock().unwrap() {
            return Err(PluginFault::new(self.identity.clone(), "handle", FaultCause::Trap, "told to"));
        }
        self.heard.lock().unwrap().extend(events.iter().map(|event| event.payload.parse::<u64>().unwrap()));
        Ok(())
    }

    fn save(&mut self) -> Result<Option<Vec<u8>>, PluginFault> {
        Ok(Some(self.identity.version.as_bytes().to_vec()))
    }

    fn restore(&mut self, state: &[u8]) -> Result<bool, PluginFault> {
        *self.restored.lock().unwrap() = state.to_vec();
        Ok(true)
    }
}

fn listening(listener: &Listener) -> Arc<Engine> {
    Engine::start(impatient(), Parts { hooks: vec![Box::new(listener.clone())], ..Parts::default() }).unwrap()
}

fn publish(engine: &Engine, numbers: std::ops::Range<u64>) {
    for n in numbers {
        engine.bus().publish(Topic::HealthCheck, engine.now(), || n);
    }
}

fn status(engine: &Engine) -> PluginStatus {
    engine.plugins().remove(0)
}

#[tokio::test]
async fn a_slow_hook_delays_nobody_and_what_it_misses_is_counted() {
    let listener = Listener::new("1.0.0");
    let engine = listening(&listener);
    let gate = listener.gate.lock().unwrap();
    publish(&engine, 0..20_000);
    let queue = status(&engine).queue.unwrap();
    assert!(queue.waiting <= queue.capacity && queue.dropped > 0, "{queue:?}");
    drop(gate);
    engine.stop().await.unwrap();
    let heard = listener.heard();
    assert!(heard.is_sorted(), "out of order");
    assert_eq!(heard.len() as u64 + queue.dropped, 20_000);
}

#[tokio::test]
async fn a_swap_loses_no_event_and_hands_the_state_over() {
    let old = Listener::new("1.0.0");
    let new = Listener::after("2.0.0", &old);
    let engine = listening(&old);
    publish(&engine, 0..1_000);
    let swapped = engine.swap_hook("listener", Box::new(new.clone())).await.unwrap();
    assert_eq!((swapped.handover, swapped.after.version.as_str()), (Handover::Taken, "2.0.0"));
    assert_eq!(*new.restored.lock().unwrap(), b"1.0.0");
    publish(&engine, 1_000..2_000);
    assert_eq!(status(&engine).build.version, "2.0.0");
    let missing = engine.swap_hook("nobody", Box::new(new)).await.unwrap_err();
    assert_eq!(missing, SwapError::Unknown("nobody".to_owned()));
    engine.stop().await.unwrap();
    assert_eq!(old.heard(), (0..2_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_new_version_that_faults_is_rolled_back_and_the_topics_follow() {
    let old = Listener::new("1.0.0");
    let new = Listener { topics: vec![Topic::HealthCheck, Topic::PoolEmpty], ..Listener::new("2.0.0") };
    *new.traps.lock().unwrap() = true;
    let engine = listening(&old);
    engine.swap_hook("listener", Box::new(new.clone())).await.unwrap();
    publish(&engine, 0..1);
    until(|| status(&engine).build.version == "1.0.0").await;
    publish(&engine, 1..2);
    let known = status(&engine);
    assert_eq!((known.state.as_str(), known.faults, known.queue.unwrap().dropped), ("active", 1, 1));
    assert_eq!(known.last_faults[0].version, "2.0.0");
    engine.stop().await.unwrap();
    assert_eq!(old.heard(), [1]);
}

#[tokio::test]
async fn a_hook_that_faults_is_started_again_and_hears_what_waited() {
    let listener = Listener::new("1.0.0");
    let engine = listening(&listener);
    *listener.traps.lock().unwrap() = true;
    publish(&engine, 0..1);
    until(|| status(&engine).state.as_str() == "degraded").await;
    *listener.traps.lock().unwrap() = false;
    publish(&engine, 1..5);
    until(|| listener.heard() == [1, 2, 3, 4]).await;
    assert_eq!(status(&engine).state.as_str(), "active");
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn a_hook_that_reloads_is_started_again_at_once() {
    let listener = Listener { on_fault: OnFault::Reload, ..Listener::new("1.0.0") };
    // With the pause of a fallback, the restart would not come within the test.
    let supervision = SupervisionConfig { pause: Duration::from_secs(3_600), ..SupervisionConfig::default() };
    let config = EngineConfig { supervision, ..EngineConfig::default() };
    let parts = Parts { hooks: vec![Box::new(listener.clone())], ..Parts::default() };
    let engine = Engine::start(config, parts).unwrap();
    *listener.traps.lock().unwrap() = true;
    publish(&engine, 0..1);
    until(|| status(&engine).faults > 0).await;
    *listener.traps.lock().unwrap() = false;
    publish(&engine, 1..3);
    until(|| listener.heard() == [1, 2]).await;
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn a_hook_that_goes_on_faulting_is_left_alone_until_it_is_enabled() {
    let listener = Listener::new("1.0.0");
    let engine = listening(&listener);
    *listener.traps.lock().unwrap() = true;
    for n in 0..1_000 {
        publish(&engine, n..n + 1);
        tokio::time::sleep(Duration::from_millis(1)).await;
        if status(&engine).state.as_str() == "disabled" {
            break;
        }
    }
    assert_eq!(status(&engine).state.as_str(), "disabled");
    let calls = listener.calls.load(Ordering::Relaxed);
    publish(&engine, 1_000..1_010);
    *listener.traps.lock().unwrap() = false;
    assert_eq!(listener.calls.load(Ordering::Relaxed), calls);
    assert!(engine.enable_plugin("listener"));
    until(|| listener.heard().ends_with(&[1_009])).await;
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn at_the_end_a_hook_is_called_once_more_for_what_waits_in_it() {
    let listener = Listener::new("1.0.0");
    let engine = listening(&listener);
    publish(&engine, 0..1);
    until(|| listener.calls.load(Ordering::Relaxed) == 1).await;
    engine.stop().await.unwrap();
    assert_eq!((listener.calls.load(Ordering::Relaxed), listener.heard()), (2, vec![0]));
}

#[tokio::test]
async fn hooks_come_and_go_while_it_runs() {
    let listener = Listener::new("1.0.0");
    let engine = Engine::start(EngineConfig::default(), Parts::default()).unwrap();
    publish(&engine, 0..1);
    engine.add_hook(Box::new(listener.clone())).unwrap();
    publish(&engine, 1..3);
    assert!(engine.remove_hook("listener").await);
    publish(&engine, 3..4);
    assert!(!engine.remove_hook("listener").await);
    assert_eq!((listener.heard(), engine.plugins()), (vec![1, 2], Vec::new()));
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn an_engine_that_is_dropped_lets_its_threads_go() {
    let listener = Listener::new("1.0.0");
    let (gone, is_gone) = mpsc::sync_channel::<()>(1);
    struct Last(#[allow(dead_code, reason = "its drop is what counts")] mpsc::SyncSender<()>, Listener);
    impl Hook for Last {
        fn identity(&self) -> &PluginIdentity {
            self.1.identity()
        }
        fn topics(&self) -> &[Topic] {
            self.1.topics()
        }
        fn handle(&mut self, _: &[Event]) -> Result<(), PluginFault> {
            Ok(())
        }
    }
    let parts = Parts { hooks: vec![Box::new(Last(gone, listener))], ..Parts::default() };
    drop(Engine::start(EngineConfig::default(), parts).unwrap());
    let ended = tokio::task::spawn_blocking(move || is_gone.recv_timeout(Duration::from_secs(10)));
    assert_eq!(ended.await.unwrap(), Err(mpsc::RecvTimeoutError::Disconnected));
}
