//! What a hook costs: events a second, against reading their payloads natively.

use std::hint::black_box;

use proxywhirl_core::event::Event;
use serde_json::Value;

use super::{BenchError, Measured, Measurement, tolerate};
use crate::check::samples;

pub(super) fn measure(it: &Measured<'_>) -> Result<Vec<Measurement>, BenchError> {
    let mut hook = it.loaded.plugins.hook(it.loaded.name(), it.options)?;
    let topics = hook.topics().to_vec();
    let wanted = |event: &Event| topics.is_empty() || topics.contains(&event.topic);
    let mut measurements = vec![it.alone("handle, no events", &mut || tolerate(hook.handle(&[])))?];
    for count in [1, 100, 1_000] {
        let events: Vec<Event> =
            (0..).flat_map(|round| samples::all(round * 12 + 1)).filter(wanted).take(count).collect();
        let mut call = || tolerate(hook.handle(&events));
        let mut baseline = || {
            for event in &events {
                black_box(serde_json::from_str::<Value>(&event.payload).is_ok());
            }
            Ok(())
        };
        let name = format!("handle, {count} events");
        measurements
            .push(it.against(&name, &mut call, "reading the JSON natively", &mut baseline)?.doing("events", count));
    }
    Ok(measurements)
}
