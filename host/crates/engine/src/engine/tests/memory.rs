//! What strategies have learned, over restarts.

use proxywhirl_core::kv::KeyValues;
use proxywhirl_store::MemoryKeyValues;

use super::actor::{Actor, join, slot, state};
use super::*;

fn remembering(actor: &Actor, memory: &Arc<MemoryKeyValues>) -> Arc<Engine> {
    let memory: Arc<dyn KeyValues> = Arc::clone(memory) as _;
    let parts = Parts { strategy: Some(actor.factory()), memory: Some(memory), ..Parts::default() };
    Engine::start(EngineConfig::default(), parts).unwrap()
}

fn known(version: &str, state: &[u8]) -> Actor {
    let actor = Actor::new(version, 0);
    *actor.knobs.saves.lock().unwrap() = Some(state.to_vec());
    actor
}

#[tokio::test]
async fn what_it_has_learned_survives_a_restart() {
    let memory = Arc::new(MemoryKeyValues::new());
    for (life, state) in [&b"one"[..], b"two", b"three"].iter().enumerate() {
        let actor = known("1.0.0", state);
        let engine = remembering(&actor, &memory);
        join(&engine, 0..3).await;
        engine.stop().await.unwrap();
        let restored = actor.knobs.restored.lock().unwrap().clone();
        let before = [&b"one"[..], b"two"].get(life.wrapping_sub(1)).map(|state| state.to_vec());
        assert_eq!(restored, before.into_iter().collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn who_cannot_take_it_up_begins_without() {
    let memory = Arc::new(MemoryKeyValues::new());
    let engine = remembering(&known("1.0.0", b"poison"), &memory);
    join(&engine, 0..3).await;
    engine.stop().await.unwrap();
    let actor = known("1.0.1", b"fine");
    actor.knobs.trap(&["restore"]);
    let engine = remembering(&actor, &memory);
    join(&engine, 0..3).await;
    assert_eq!((slot(&engine), state(&engine)), (0, "active"));
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn one_that_comes_back_after_another_knows_what_it_knew() {
    let memory = Arc::new(MemoryKeyValues::new());
    let engine = remembering(&known("1.0.0", b"learned"), &memory);
    join(&engine, 0..3).await;
    engine.swap_strategy(Arc::new(Scripted::new(Script::First))).await.unwrap();
    let again = known("1.0.0", b"");
    let swapped = engine.swap_strategy(again.factory()).await.unwrap();
    assert_eq!(swapped.handover, crate::swap::Handover::Taken);
    assert_eq!(*again.knobs.restored.lock().unwrap(), [b"learned"]);
    engine.stop().await.unwrap();
}
