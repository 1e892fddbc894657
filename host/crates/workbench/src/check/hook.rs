//! What the host relies on in a hook.

use proxywhirl_core::event::{Event, Topic};
use proxywhirl_core::plugin::{FaultCause, Hook, PluginFault};

use super::Examined;
use super::memory::{self, stays_flat};
use super::samples::{all, event, payload};
use crate::report::{Answer, Report};
use crate::rotation::with_scene;
use crate::subject::WorkbenchError;

/// Events of a large batch.
const BATCH: u64 = 1_000;

/// Payloads that are not what the documentation says.
const MALFORMED: [&str; 9] = [
    "",
    "{",
    "null",
    "[]",
    "42",
    "{}",
    r#"{"request":"seven","fault":7,"proxy":null,"tags":"none"}"#,
    r#"{"fault":{"side":"somebody","stage":1,"kind":[]}}"#,
    "{\"target\":\"\\u0000\\ud83e\\udd80\",\"proxy\":\"\u{202e}http://[::1\"}",
];

pub(super) fn check(it: &Examined<'_>, report: &mut Report) -> Result<(), WorkbenchError> {
    report.add("topics", "it hears nothing of a topic that the host does not have", topics(it));
    report.add("an event of each topic", "the documented payloads are the contract", each_topic(it));
    report.add("no events", "an empty batch is how a hook gets time to try again", batch(it, &[]));
    report.add("many events", "after a pause the queue comes at once", many(it));
    report.add(
        "malformed payloads",
        "fields are added over time; what a hook cannot read it may refuse, but not die of",
        malformed(it),
    );
    report.add(
        "without its capabilities",
        "the user may grant less than it asks for; then a call answers `denied`",
        denied(it),
    );
    match handover(it) {
        Ok(Some(answer)) => report.add("handover", HANDOVER, Ok(answer)),
        Ok(None) => report.skip("handover", HANDOVER, "it has nothing to hand over"),
        Err(error) => report.add("handover", HANDOVER, Err(error)),
    }
    memory::report(report, flat(it));
    Ok(())
}

const HANDOVER: &str = "what it has not yet delivered should survive an update of the plugin";

fn hook(it: &Examined<'_>) -> Result<Box<dyn Hook>, String> {
    it.loaded.plugins.hook(it.loaded.name(), it.options).map_err(|error| error.to_string())
}

/// Hands events over. A refusal is an answer.
fn handle(hook: &mut dyn Hook, events: &[Event]) -> Result<bool, PluginFault> {
    match hook.handle(events) {
        Ok(()) => Ok(true),
        Err(fault) if fault.cause == FaultCause::Refused => Ok(false),
        Err(fault) => Err(fault),
    }
}

fn told(fault: &PluginFault) -> String {
    with_scene(fault)
}

fn topics(it: &Examined<'_>) -> Answer {
    let hook = hook(it)?;
    let names: Vec<&str> = hook.topics().iter().map(|topic| topic.as_str()).collect();
    Ok(if names.is_empty() { "all".to_owned() } else { names.join(", ") })
}

fn each_topic(it: &Examined<'_>) -> Answer {
    let mut hook = hook(it)?;
    let mut refused = 0;
    for event in all(1) {
        let taken = handle(&mut *hook, std::slice::from_ref(&event));
        let taken = taken.map_err(|fault| format!("{}: {}", event.topic, told(&fault)))?;
        refused += u32::from(!taken);
    }
    Ok(format!("{} topics, {refused} refused", Topic::ALL.len()))
}

fn batch(it: &Examined<'_>, events: &[Event]) -> Answer {
    let taken = handle(&mut *hook(it)?, events).map_err(|fault| told(&fault))?;
    Ok(if taken { "taken" } else { "refused" }.to_owned())
}

fn many(it: &Examined<'_>) -> Answer {
    let events: Vec<Event> = (0..BATCH).flat_map(|round| all(round * 12 + 1)).take(BATCH as usize).collect();
    batch(it, &events).map(|taken| format!("{taken}, {BATCH} at once"))
}

fn malformed(it: &Examined<'_>) -> Answer {
    let mut hook = hook(it)?;
    let long = format!("{{\"detail\":\"{}\"}}", "x".repeat(256 * 1024));
    let mut refused = 0;
    let mut sequence = 0;
    for topic in Topic::ALL {
        for text in MALFORMED.into_iter().chain([long.as_str()]) {
            // A gap, and then a number that was there before.
            sequence = if sequence > 50 { 1 } else { sequence + 3 };
            let taken = handle(&mut *hook, &[event(sequence, topic, text)]);
            let shown: String = text.chars().take(60).collect();
            let taken = taken.map_err(|fault| format!("{topic} with the payload {shown:?}: {}", told(&fault)))?;
            refused += u32::from(!taken);
        }
    }
    Ok(format!("{} payloads, {refused} refused", Topic::ALL.len() * (MALFORMED.len() + 1)))
}

/// Nothing is granted in this host.
fn denied(it: &Examined<'_>) -> Answer {
    let wanted = &it.loaded.info.capabilities;
    if wanted.is_empty() {
        return Ok("it asks for none".to_owned());
    }
    let mut hook = hook(it)?;
    for round in 0..10 {
        handle(&mut *hook, &all(round * 12 + 1)).map_err(|fault| told(&fault))?;
    }
    Ok(format!("runs without {}", wanted.join(", ")))
}

fn handover(it: &Examined<'_>) -> Result<Option<String>, String> {
    let mut old = hook(it)?;
    handle(&mut *old, &all(1)).map_err(|fault| told(&fault))?;
    let Some(state) = old.save().map_err(|fault| told(&fault))? else { return Ok(None) };
    let mut new = hook(it)?;
    match new.restore(&state) {
        Ok(true) => {}
        Ok(false) => return Err(format!("its own state of {} bytes is not taken over", state.len())),
        Err(fault) => return Err(told(&fault)),
    }
    handle(&mut *new, &all(13)).map_err(|fault| told(&fault))?;
    Ok(Some(format!("{} bytes", state.len())))
}

/// A thousand events in each round, in batches of fifty.
fn flat(it: &Examined<'_>) -> Result<Option<String>, String> {
    let mut hook = hook(it)?;
    let payloads: Vec<(Topic, String)> =
        Topic::ALL.into_iter().map(|topic| (topic, payload(topic).to_string())).collect();
    let mut sequence = 0;
    stays_flat(it.loaded, it.thoroughness.calls, it.thoroughness.patience, |_| {
        for _ in 0..20 {
            let events: Vec<Event> = payloads
                .iter()
                .cycle()
                .take(50)
                .map(|(topic, payload)| {
                    sequence += 1;
                    event(sequence, *topic, payload)
                })
                .collect();
            handle(&mut *hook, &events).map_err(|fault| told(&fault))?;
        }
        Ok(())
    })
}
