//! Recorded events of a hook, and what must come of them.

mod expect;
mod format;
mod keys;
mod listen;
mod server;

use std::path::Path;
use std::sync::Arc;

use proxywhirl_core::event::{Event, Topic};
use proxywhirl_core::kv::KeyValues;
use proxywhirl_core::plugin::{FaultCause, Hook};
use proxywhirl_wasm::{Grant, PluginSettings};
use serde_json::Value;

use crate::fixture;
use crate::report::Answer;
use crate::rotation::with_scene;
use crate::subject::{Loaded, Subject, WorkbenchError, Workplace};
use expect::Effects;
use format::{Recording, WrittenEvent};
use keys::Keys;
use listen::Ear;
use server::Server;

/// Stands for the URL of the fake server in options.
const SERVER: &str = "{server}";

/// Events of a recording.
const MAX_EVENTS: usize = 1_000_000;

/// Runs the recording that a file holds, in a plugin host of its own.
///
/// # Errors
/// When the component does not load, or a file cannot be read. What does not hold is the answer.
pub(crate) fn run(subject: &Subject, place: &Workplace, file: &Path, text: &str) -> Result<Answer, WorkbenchError> {
    let recording: Recording = match toml::from_str(text) {
        Ok(recording) => recording,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let recorded = match &recording.events {
        None => Vec::new(),
        Some(name) => {
            let file = file.with_file_name(name);
            String::from_utf8_lossy(&fixture::read(&file)?).lines().map(str::to_owned).collect()
        }
    };
    let events = match events(&recording, &recorded) {
        Ok(events) => events,
        Err(error) => return Ok(Err(error)),
    };
    let server =
        Server::start(&recording.server).map_err(|error| WorkbenchError::read(Path::new("127.0.0.1"), error))?;
    let (keys, ear) = (Arc::new(Keys::default()), Ear::default());
    let known = subject.load(place, recording.seed)?;
    let grants = match grants(&known, &recording, &server) {
        Ok(grants) => grants,
        Err(error) => return Ok(Err(error)),
    };
    let settings = PluginSettings { grants, ..PluginSettings::default() };
    let loaded = subject.load_with(place, recording.seed, |config| {
        config.settings.insert(known.name().to_owned(), settings);
        config.key_values = Some(Arc::clone(&keys) as Arc<dyn KeyValues>);
        config.on_log = Some(ear.log());
    })?;
    let options = with_server(&recording.options, &server.url()).to_string();
    let about = recording.about.clone();
    let scene = Scene { loaded: &loaded, recording: &recording, server: &server, keys: &keys, ear: &ear };
    let answer = play(&scene, &options, &events);
    Ok(answer.map(|counted| if about.is_empty() { counted } else { format!("{about} ({counted})") }))
}

/// What the user of this plugin would grant: all that it asks for unless the file says otherwise, and the fake server.
fn grants(known: &Loaded, recording: &Recording, server: &Server) -> Result<Vec<Grant>, String> {
    let mut texts = recording.grant.clone().unwrap_or_else(|| known.info.capabilities.clone());
    if recording.grant.as_ref().is_none_or(|grants| !grants.is_empty()) {
        texts.push(format!("http:{}+private", server.url()));
    }
    texts.iter().map(|text| text.parse().map_err(|error| format!("grant {text:?}: {error}"))).collect()
}

fn events(recording: &Recording, recorded: &[String]) -> Result<Vec<Event>, String> {
    let mut written = Vec::new();
    for (index, line) in recorded.iter().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let event: WrittenEvent =
            serde_json::from_str(line).map_err(|error| format!("event {}: {error}", index + 1))?;
        written.push(event);
    }
    written.extend(recording.event.iter().cloned());
    if written.len() > MAX_EVENTS {
        return Err(format!("{} events, the limit is {MAX_EVENTS}", written.len()));
    }
    let numbered = written.into_iter().zip(1..);
    numbered.map(|(event, sequence)| event.read(sequence)).collect()
}

/// Options in which the fake server's address stands where the file says `{server}`.
fn with_server(options: &Value, url: &str) -> Value {
    match options {
        Value::String(text) => Value::String(text.replace(SERVER, url)),
        Value::Array(items) => items.iter().map(|item| with_server(item, url)).collect(),
        Value::Object(fields) => {
            Value::Object(fields.iter().map(|(name, field)| (name.clone(), with_server(field, url))).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => options.clone(),
    }
}

/// A recording and what surrounds its hook.
struct Scene<'a> {
    loaded: &'a Loaded,
    recording: &'a Recording,
    server: &'a Server,
    keys: &'a Keys,
    ear: &'a Ear,
}

fn play(scene: &Scene<'_>, options: &str, events: &[Event]) -> Answer {
    let Scene { loaded, recording, server, keys, ear } = *scene;
    let made = ear.listen(|| loaded.plugins.hook(loaded.name(), options));
    let mut hook = match (made, &recording.error) {
        (Ok(hook), None) => hook,
        (Ok(_), Some(_)) => return Err("the options must be refused, but were accepted".to_owned()),
        (Err(error), None) => return Err(error.to_string()),
        (Err(error), Some(expected)) => {
            let error = error.to_string();
            let fits = error.contains(expected.as_str());
            return if fits { Ok(error) } else { Err(format!("refused without saying {expected:?}: {error}")) };
        }
    };
    let topics: Vec<&'static str> = hook.topics().iter().map(|topic| topic.as_str()).collect();
    let refusals = ear.listen(|| deliver(loaded, recording, events, &mut *hook))?;
    let effects = Effects {
        topics,
        requests: server.requests(),
        log: ear.lines(),
        metrics: ear.metrics(),
        keys: keys.texts(loaded.name()),
        refusals,
    };
    effects.check(&recording.expect)?;
    Ok(format!("{} events, {} requests, {} log lines", events.len(), effects.requests.len(), effects.log.len()))
}

/// Hands the events over that the hook wants to hear; the errors with which it answered.
fn deliver(
    loaded: &Loaded,
    recording: &Recording,
    events: &[Event],
    hook: &mut dyn Hook,
) -> Result<Vec<String>, String> {
    let topics: Vec<Topic> = hook.topics().to_vec();
    let wanted: Vec<Event> =
        events.iter().filter(|event| topics.is_empty() || topics.contains(&event.topic)).cloned().collect();
    let mut refusals = Vec::new();
    let size = recording.batch.unwrap_or(usize::MAX).max(1);
    let batches = wanted.chunks(size.min(wanted.len().max(1)));
    let empty = std::iter::repeat_n([].as_slice(), recording.calls as usize);
    for batch in batches.chain(empty) {
        match hook.handle(batch) {
            Ok(()) => {}
            Err(fault) if fault.cause == FaultCause::Refused => refusals.push(fault.detail.to_string()),
            Err(fault) => return Err(with_scene(&fault)),
        }
        loaded.clock.pass(recording.every.0);
    }
    Ok(refusals)
}
