//! One strategy in another's place, while requests come.

use std::sync::atomic::{AtomicBool, AtomicU32};

use proxywhirl_core::plugin::OnFault;

use super::actor::{Actor, impatient, join, playing, slot, state, until};
use super::*;
use crate::swap::Handover;

#[tokio::test]
async fn a_swap_hands_over_the_state_and_is_in_force_when_it_returns() {
    let (old, new) = (Actor::new("1.0.0", 1), Actor::new("2.0.0", 2));
    *old.knobs.saves.lock().unwrap() = Some(b"learned".to_vec());
    let engine = playing(&old, EngineConfig::default(), 3).await;
    let mut told = engine.subscribe(&[Topic::PluginChanged], 10);
    let swapped = engine.swap_strategy(new.factory()).await.unwrap();
    assert_eq!(slot(&engine), 2);
    assert_eq!((swapped.before.unwrap().version.as_str(), swapped.after.version.as_str()), ("1.0.0", "2.0.0"));
    assert_eq!(swapped.handover, Handover::Taken);
    assert_eq!(*new.knobs.restored.lock().unwrap(), [b"learned".to_vec()]);
    assert_eq!(&*engine.strategy().unwrap().version, "2.0.0");
    let status = engine.plugins();
    assert_eq!((status.len(), status[0].build.version.as_str()), (1, "2.0.0"));
    assert!(status[0].probation.is_some());
    let event = told.next().await.unwrap();
    assert!(event.payload.contains("\"change\":\"replaced\""), "{}", event.payload);
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn a_newcomer_that_faults_on_its_way_changes_nothing() {
    let old = Actor::new("1.0.0", 1);
    *old.knobs.saves.lock().unwrap() = Some(b"learned".to_vec());
    let engine = playing(&old, EngineConfig::default(), 3).await;
    for export in ["instantiate", "restore", "apply", "make-plan"] {
        let new = Actor::new("2.0.0", 2);
        new.knobs.trap(&[export]);
        let Err(SwapError::Fault(fault)) = engine.swap_strategy(new.factory()).await else { panic!("{export}") };
        assert_eq!((fault.export, &*fault.plugin.version), (export, "2.0.0"));
        assert_eq!((slot(&engine), state(&engine)), (1, "active"));
        assert_eq!(&*engine.strategy().unwrap().version, "1.0.0");
    }
    let nonsense = Actor::new("2.0.0", 4_000);
    assert!(matches!(engine.swap_strategy(nonsense.factory()).await, Err(SwapError::Fault(_))));
    join(&engine, 3..4).await;
    assert_eq!(slot(&engine), 1);
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn one_that_cannot_even_save_is_replaced_all_the_same() {
    let (old, new) = (Actor::new("1.0.0", 1), Actor::new("2.0.0", 2));
    let engine = playing(&old, EngineConfig::default(), 3).await;
    old.knobs.trap(&["save", "make-plan", "apply"]);
    let swapped = engine.swap_strategy(new.factory()).await.unwrap();
    assert_eq!((swapped.handover, slot(&engine)), (Handover::Failed, 2));
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn a_fault_on_probation_brings_the_one_before_back_with_its_state() {
    let (old, new) = (Actor::new("1.0.0", 1), Actor::new("2.0.0", 2));
    *old.knobs.saves.lock().unwrap() = Some(b"learned".to_vec());
    let engine = playing(&old, EngineConfig::default(), 3).await;
    engine.swap_strategy(new.factory()).await.unwrap();
    let mut told = engine.subscribe(&[Topic::PluginChanged], 10);
    new.knobs.trap(&["apply"]);
    join(&engine, 3..4).await;
    assert_eq!((slot(&engine), state(&engine)), (1, "active"));
    assert_eq!(&*engine.strategy().unwrap().version, "1.0.0");
    assert_eq!(*old.knobs.restored.lock().unwrap(), [b"learned".to_vec()]);
    let event = told.next().await.unwrap();
    assert!(event.payload.contains("\"change\":\"rolled-back\""), "{}", event.payload);
    assert!(event.payload.contains("\"version\":\"1.0.0\""), "{}", event.payload);
    let status = engine.plugins().remove(0);
    assert_eq!((status.faults, status.last_faults[0].version.as_str()), (1, "2.0.0"));
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn on_probation_what_was_in_force_before_answers_for_a_request_that_meets_a_fault() {
    let old = Actor::new("1.0.0", 1);
    // Who rejects would fail the request otherwise.
    let new = Actor::new("2.0.0", 2).on_fault(OnFault::Reject).asked();
    let engine = playing(&old, EngineConfig::default(), 3).await;
    engine.swap_strategy(new.factory()).await.unwrap();
    assert_eq!(slot(&engine), 2);
    new.knobs.trap(&["select"]);
    assert_eq!(slot(&engine), 1);
    until(|| &*engine.strategy().unwrap().version == "1.0.0").await;
    assert_eq!(slot(&engine), 1);
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn after_probation_a_fault_is_an_ordinary_one() {
    let (old, new) = (Actor::new("1.0.0", 1), Actor::new("2.0.0", 2));
    let mut config = impatient();
    config.supervision.probation = Duration::from_millis(1);
    let engine = playing(&old, config, 3).await;
    engine.swap_strategy(new.factory()).await.unwrap();
    until(|| engine.plugins()[0].probation.is_none()).await;
    new.knobs.trap(&["apply"]);
    join(&engine, 3..4).await;
    until(|| state(&engine) != "active").await;
    assert_eq!(&*engine.strategy().unwrap().version, "2.0.0");
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn a_strategy_can_be_put_where_there_is_none_and_rolled_back_to_that() {
    let engine = engine(None, 3).await;
    assert_eq!(spread(&engine), [10, 10, 10]);
    let actor = Actor::new("1.0.0", 1);
    assert!(engine.swap_strategy(actor.factory()).await.unwrap().before.is_none());
    assert_eq!(slot(&engine), 1);
    actor.knobs.trap(&["apply"]);
    join(&engine, 3..4).await;
    assert_eq!(engine.strategy(), None);
    assert_eq!(engine.plugins(), []);
    engine.acquire(&attempt(&[])).unwrap();
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn another_plugin_takes_the_place_and_a_swap_clears_a_quarantine() {
    let old = Actor::new("1.0.0", 1);
    let engine = playing(&old, impatient(), 3).await;
    old.knobs.trap(&["make-plan", "apply"]);
    join(&engine, 3..4).await;
    until(|| state(&engine) == "disabled").await;
    let new = Scripted::new(Script::First);
    engine.swap_strategy(Arc::new(new)).await.unwrap();
    assert_eq!((slot(&engine), state(&engine)), (0, "active"));
    let plugins = engine.plugins();
    assert_eq!((plugins.len(), plugins[0].build.name.as_str()), (1, "scripted"));
    engine.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_swaps_under_eight_threads_fail_no_request() {
    let engine = playing(&Actor::new("0", 0), EngineConfig::default(), 4).await;
    let stop = Arc::new(AtomicBool::new(false));
    let began = Arc::new(AtomicU32::new(0));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let (engine, stop, began) = (Arc::clone(&engine), Arc::clone(&stop), Arc::clone(&began));
            std::thread::spawn(move || {
                began.fetch_add(1, Ordering::Relaxed);
                while !stop.load(Ordering::Relaxed) {
                    let lease = engine.acquire(&attempt(&[])).unwrap();
                    engine.settle(lease, &Outcome::Success { latency: Duration::from_millis(1) }, &attempt(&[]));
                }
            })
        })
        .collect();
    until(|| began.load(Ordering::Relaxed) == 8).await;
    for n in 0..100_u32 {
        let actor = Actor::new(&n.to_string(), n % 4);
        // By plan and by request in turn; every tenth is broken.
        let actor = if n % 2 == 0 { actor } else { actor.asked() };
        if n % 10 == 9 {
            actor.knobs.trap(&["apply"]);
            engine.swap_strategy(actor.factory()).await.unwrap_err();
        } else {
            engine.swap_strategy(actor.factory()).await.unwrap();
        }
    }
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().unwrap();
    }
    engine.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swaps_at_once_are_carried_out_one_after_the_other() {
    let engine = playing(&Actor::new("0", 0), EngineConfig::default(), 4).await;
    let swaps: Vec<_> = (1..=4_u32)
        .map(|n| {
            let engine = Arc::clone(&engine);
            tokio::spawn(
                async move { engine.swap_strategy(Actor::new(&n.to_string(), n % 4).factory()).await.unwrap() },
            )
        })
        .collect();
    let mut before = Vec::new();
    for swap in swaps {
        before.push(swap.await.unwrap().before.unwrap().version);
    }
    // Each took the place of another: none was lost between two.
    before.sort();
    before.dedup();
    assert_eq!(before.len(), 4);
    engine.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strategy_that_hangs_delays_its_swap_and_no_request() {
    let old = Actor::new("1.0.0", 1);
    let engine = playing(&old, EngineConfig::default(), 3).await;
    *old.knobs.hangs.lock().unwrap() = Duration::from_millis(80);
    let plans = old.knobs.plans.load(Ordering::Relaxed);
    let swap = tokio::spawn({
        let engine = Arc::clone(&engine);
        async move {
            join(&engine, 3..4).await;
            engine.swap_strategy(Actor::new("2.0.0", 2).factory()).await.unwrap()
        }
    });
    let mut served = 0_u32;
    while old.knobs.plans.load(Ordering::Relaxed) == plans {
        // The last look may come after the swap.
        assert!([1, 2].contains(&slot(&engine)));
        served += 1;
    }
    // As many as a thread can in the time of one hanging call.
    assert!(served > 100, "{served}");
    assert_eq!(swap.await.unwrap().after.version, "2.0.0");
    assert_eq!(slot(&engine), 2);
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn an_engine_that_has_stopped_swaps_nothing() {
    let engine = playing(&Actor::new("1.0.0", 1), EngineConfig::default(), 1).await;
    engine.stop().await.unwrap();
    assert_eq!(engine.swap_strategy(Actor::new("2.0.0", 0).factory()).await, Err(SwapError::Stopped));
}
