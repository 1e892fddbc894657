//! What becomes of a strategy that faults, and of the requests meanwhile.

use proxywhirl_core::plugin::OnFault;

use super::actor::{Actor, impatient, join, playing, slot, state, until};
use super::*;

#[tokio::test]
async fn a_fault_degrades_and_the_restart_puts_back_in_force() {
    let actor = Actor::new("1.0.0", 1);
    let engine = playing(&actor, impatient(), 3).await;
    let mut told = engine.subscribe(&[Topic::PluginChanged, Topic::PluginFaulted], 100);
    actor.knobs.trap(&["apply"]);
    join(&engine, 3..4).await;
    until(|| engine.plugins()[0].restarts > 0).await;
    actor.knobs.trap(&[]);
    until(|| state(&engine) == "active").await;
    assert_eq!(slot(&engine), 1);
    let status = engine.plugins().remove(0);
    assert_eq!((status.build.version.as_str(), status.build.digest.as_str()), ("1.0.0", "d1.0.0"));
    assert!(status.faults > 0 && status.restarts > 0);
    let last = status.last_faults.last().unwrap();
    assert_eq!((last.export.as_str(), last.cause.as_str(), last.detail.as_str()), ("apply", "trap", "told to"));
    let faulted = told.next().await.unwrap();
    assert!(faulted.payload.contains("\"digest\":\"d1.0.0\""), "{}", faulted.payload);
    let degraded = told.next().await.unwrap();
    assert!(degraded.payload.contains("\"from\":\"active\",\"to\":\"degraded\""), "{}", degraded.payload);
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn one_that_goes_on_faulting_is_quarantined_and_then_disabled_until_it_is_enabled() {
    let actor = Actor::new("1.0.0", 1);
    let engine = playing(&actor, impatient(), 3).await;
    let mut told = engine.subscribe(&[Topic::PluginChanged], 1_000);
    actor.knobs.trap(&["make-plan"]);
    join(&engine, 3..4).await;
    until(|| state(&engine) == "disabled").await;
    let mut states = Vec::new();
    while states.last().is_none_or(|state| state != "disabled") {
        let event = told.next().await.unwrap();
        let payload: serde_json::Value = serde_json::from_str(&event.payload).unwrap();
        states.push(payload["to"].as_str().unwrap().to_owned());
    }
    assert_eq!(states.iter().filter(|state| *state == "quarantined").count(), 5);
    assert_eq!(engine.plugins()[0].last_faults.len(), crate::status::FAULTS);
    // Its last plan stays in force.
    assert_eq!(slot(&engine), 1);
    assert!(!engine.enable_plugin("nobody"));
    actor.knobs.trap(&[]);
    *actor.knobs.plan.lock().unwrap() = Box::new(|_| only(2));
    assert!(engine.enable_plugin("actor"));
    until(|| state(&engine) == "active" && slot(&engine) == 2).await;
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn reload_starts_again_at_once() {
    let actor = Actor::new("1.0.0", 1).on_fault(OnFault::Reload).asked();
    // With the pause of a fallback, the restart would not come within the test.
    let supervision = SupervisionConfig { pause: Duration::from_secs(3_600), ..SupervisionConfig::default() };
    let engine = playing(&actor, EngineConfig { supervision, ..EngineConfig::default() }, 3).await;
    assert_eq!(slot(&engine), 1);
    actor.knobs.trap(&["select"]);
    slot(&engine);
    actor.knobs.trap(&[]);
    until(|| engine.plugins()[0].restarts == 1 && state(&engine) == "active").await;
    assert_eq!([slot(&engine), slot(&engine)], [1, 1]);
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn the_fallback_answers_for_instances_that_fault_and_they_come_back() {
    let actor = Actor::new("1.0.0", 1).asked();
    let engine = playing(&actor, impatient(), 3).await;
    actor.knobs.trap(&["select"]);
    for _ in 0..100 {
        engine.acquire(&attempt(&[])).unwrap();
    }
    until(|| engine.plugins()[0].faults > 0).await;
    actor.knobs.trap(&[]);
    until(|| state(&engine) == "active" && (0..10).all(|_| slot(&engine) == 1)).await;
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn who_rejects_gives_no_lease_instead_of_the_fallback_and_says_why() {
    let actor = Actor::new("1.0.0", 1).on_fault(OnFault::Reject).asked();
    let engine = playing(&actor, impatient(), 3).await;
    assert_eq!(slot(&engine), 1);
    actor.knobs.trap(&["select", "apply"]);
    let refusal = engine.acquire(&attempt(&[])).unwrap_err();
    assert!(matches!(&refusal, NoLease::Plugin { plugin, .. } if &*plugin.name == "actor"), "{refusal}");
    until(|| engine.plugins()[0].faults > 0).await;
    let refusal = loop {
        // Until every instance has faulted.
        if let Err(refusal @ NoLease::Plugin { fault: Some(_), .. }) = engine.acquire(&attempt(&[])) {
            break refusal;
        }
    };
    assert!(refusal.to_string().contains("told to"), "{refusal}");
    actor.knobs.trap(&[]);
    engine.enable_plugin("actor");
    until(|| engine.acquire(&attempt(&[])).is_ok_and(|lease| lease.member().slot == 1)).await;
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn who_rejects_goes_on_with_the_plan_that_it_has_made() {
    let actor = Actor::new("1.0.0", 1).on_fault(OnFault::Reject);
    let engine = playing(&actor, impatient(), 3).await;
    actor.knobs.trap(&["apply"]);
    join(&engine, 3..4).await;
    assert_eq!(slot(&engine), 1);
    // But nobody is picked whom it did not plan for.
    assert_eq!(engine.remove(vec![candidate(1).endpoint.key()]).await, 1);
    assert!(matches!(engine.acquire(&attempt(&[])), Err(NoLease::Plugin { .. })));
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn the_faults_of_parsers_are_remembered() {
    let engine = engine(None, 0).await;
    let parser = PluginIdentity::named("table");
    for _ in 0..3 {
        engine.parser_faulted(&PluginFault::new(parser.clone(), "parse", FaultCause::Deadline, "30 s"));
    }
    let plugins = engine.plugins();
    assert_eq!((plugins.len(), plugins[0].faults, plugins[0].kind.as_str()), (1, 3, "parser"));
    engine.stop().await.unwrap();
}
