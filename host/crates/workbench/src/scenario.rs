//! Scenarios: what an author expects of a strategy, written down as members, steps and expectations.

mod cast;
mod expect;
mod format;
mod plan;
mod run;
mod selector;

use serde_json::Value;

use crate::report::Answer;
use crate::rotation::Rotation;
use crate::subject::{Loaded, Subject, WorkbenchError, Workplace};
pub(crate) use format::Span;
use format::{Refused, Scenario, Step};
use run::Run;

/// Runs the scenario that a file holds, in a plugin host of its own.
///
/// # Errors
/// When the component does not load. What does not hold is the answer.
pub(crate) fn run(subject: &Subject, place: &Workplace, text: &str) -> Result<Answer, WorkbenchError> {
    let scenario: Scenario = match toml::from_str(text) {
        Ok(scenario) => scenario,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let about = scenario.about.clone();
    let loaded = subject.load(place, scenario.seed)?;
    let counted = play(&loaded, scenario);
    Ok(counted.map(|counted| if about.is_empty() { counted } else { format!("{about} ({counted})") }))
}

fn play(loaded: &Loaded, scenario: Scenario) -> Answer {
    let mut options = 0;
    for accepted in &scenario.accepts {
        accept(loaded, accepted, scenario.seed)?;
        options += 1;
    }
    for Refused { options: refused, error } in &scenario.refuses {
        refuse(loaded, refused, error)?;
        options += 1;
    }
    if let Some(error) = &scenario.error {
        if !scenario.steps.is_empty() || !scenario.members.is_empty() {
            return Err("a scenario with `error` has neither members nor steps".to_owned());
        }
        refuse(loaded, &scenario.options, error)?;
        return Ok(format!("{} options", options + 1));
    }
    let mut run = Run::new(loaded, &scenario.options, scenario.seed)?;
    run.step(Step::Join(scenario.members))?;
    let count = scenario.steps.len();
    for (index, step) in scenario.steps.into_iter().enumerate() {
        let place = |error: String| format!("step {}: {error}", index + 1);
        run.step(step.read().map_err(place)?).map_err(place)?;
    }
    let (members, picks) = run.totals();
    Ok(format!("{count} steps, {members} members, {picks} picks, {options} options"))
}

fn accept(loaded: &Loaded, options: &Value, seed: u64) -> Result<(), String> {
    match Rotation::new(loaded, &options.to_string(), seed) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("the options {options} must be accepted, but: {error}")),
    }
}

fn refuse(loaded: &Loaded, options: &Value, expected: &str) -> Result<(), String> {
    match loaded.plugins.strategy(loaded.name(), &options.to_string()) {
        Ok(_) => Err(format!("the options {options} must be refused, but were accepted")),
        Err(error) => {
            let error = error.to_string();
            if error.contains(expected) {
                Ok(())
            } else {
                Err(format!("the options {options} are refused, but without saying {expected:?}: {error}"))
            }
        }
    }
}
