//! Starts a plugin to see that it does, in the sandbox and with options that it says itself are an example.

use std::sync::Arc;
use std::time::{Duration, Instant};

use proxywhirl_core::Scheme;
use proxywhirl_core::plugin::{Document, PluginKind};
use proxywhirl_wasm::PluginInfo;
use serde_json::Value;

use crate::config::PluginUse;
use crate::exit::{Exit, Failure};
use crate::wiring::Registry;

/// Starts a plugin; how long that took, compiling included.
///
/// # Errors
/// Why it does not start.
pub(super) fn start(registry: &Registry, info: &PluginInfo) -> Result<Duration, Failure> {
    if let Some(problem) = &info.problem {
        let message = format!("plugin {}: {}", info.name, problem.reason);
        return Err(Failure::new(Exit::Input, message).hint(problem.hint.clone()));
    }
    let begun = Instant::now();
    let used = PluginUse { name: info.name.clone(), options: example(&info.options_schema) };
    match info.kind {
        Some(PluginKind::Strategy) => drop(started(registry.strategy(&used)?.instance())?),
        Some(PluginKind::Hook) => drop(registry.hook(&used)?),
        Some(PluginKind::Parser) => {
            let parser = registry.parser(&info.name)?;
            started(parser.sniff(&document(&used)))?;
        }
        None => return Err(Failure::new(Exit::Input, format!("{}: of no kind that is known", info.name))),
    }
    Ok(begun.elapsed())
}

fn started<T>(result: Result<T, proxywhirl_core::plugin::PluginFault>) -> Result<T, Failure> {
    result.map_err(|fault| Failure::new(Exit::Input, fault))
}

fn document(used: &PluginUse) -> Document {
    Document {
        url: "example.txt".to_owned(),
        content_type: "text/plain".to_owned(),
        body: Arc::from(&b"192.0.2.1:8080\n"[..]),
        options: used.options_json(),
        default_scheme: Scheme::Http,
    }
}

/// The first example of a schema; nothing where it has none, which most schemas allow.
fn example(schema: &str) -> Value {
    let schema: Value = serde_json::from_str(schema).unwrap_or_default();
    schema.pointer("/examples/0").cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_example_is_taken() {
        assert_eq!(example(r#"{"examples": [{"url": "http://a"}, {}]}"#), serde_json::json!({"url": "http://a"}));
        assert_eq!(example("{}"), Value::Null);
        assert_eq!(example(""), Value::Null);
    }
}
