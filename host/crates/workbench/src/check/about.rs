//! What every kind of plugin says about itself, and about its options.

use proxywhirl_core::plugin::PluginKind;
use proxywhirl_wasm::{Manifest, OptionsError, PluginError, PluginInfo};
use serde_json::Value;

use crate::report::{Answer, Report};
use crate::subject::Loaded;

/// A key that no schema knows.
const UNKNOWN: &str = r#"{"no-plugin-has-this-option":true}"#;

/// Asks two fresh instances, and compares with the manifest.
pub(super) fn check(loaded: &Loaded, report: &mut Report) {
    const WHY: &str =
        "the host reads the manifest and never asks again; a plugin that answers otherwise is not what it says";
    let ask = || loaded.plugins.describe(loaded.kind, loaded.name()).map(|said| self::said(&said));
    let answer = match (ask(), ask()) {
        (Err(error), _) | (_, Err(error)) => Err(error.to_string()),
        (Ok(first), Ok(second)) if first != second => {
            Err("two fresh instances describe themselves differently".to_owned())
        }
        (Ok(first), Ok(_)) => differences(&first, &manifest(&loaded.info)),
    };
    report.add("describes itself", WHY, answer);
}

/// What a plugin says about itself, by name.
type Said = [(&'static str, String); 5];

fn said(it: &Manifest) -> Said {
    [
        ("name", it.name.clone()),
        ("version", it.version.clone()),
        ("summary", it.summary.clone()),
        ("schema of its options", it.options_schema.clone()),
        ("capabilities", it.capabilities.join(", ")),
    ]
}

/// The same, as the host knows it.
fn manifest(info: &PluginInfo) -> Said {
    [
        ("name", info.name.clone()),
        ("version", info.version.clone()),
        ("summary", info.summary.clone()),
        ("schema of its options", info.options_schema.clone()),
        ("capabilities", info.capabilities.join(", ")),
    ]
}

fn differences(asked: &Said, manifest: &Said) -> Answer {
    let pairs = asked.iter().zip(manifest).filter(|(asked, manifest)| asked.1 != manifest.1);
    let wrong: Vec<String> =
        pairs.map(|(asked, manifest)| format!("{}: asked {:?}, manifest {:?}", asked.0, asked.1, manifest.1)).collect();
    let (Some((_, name)), Some((_, version))) = (asked.first(), asked.get(1)) else { return Err(String::new()) };
    if wrong.is_empty() { Ok(format!("{name} {version}, the same each time")) } else { Err(wrong.join("\n")) }
}

/// Asks about the options; those with which it runs, if there are any.
pub(super) fn options(loaded: &Loaded, report: &mut Report) -> Option<String> {
    const WHY_SCHEMA: &str = "options are checked against it before the plugin sees them, and people read it";
    const WHY_UNKNOWN: &str = "a misspelt option that is ignored in silence costs its user an afternoon";
    const WHY_EXAMPLES: &str = "examples are what people copy";
    let check = |options: &str| loaded.plugins.check_options(loaded.kind, loaded.name(), options);
    let schema: Option<Value> = serde_json::from_str(&loaded.info.options_schema).ok();
    let by_default = match check("{}") {
        Err(PluginError::Options(OptionsError::Unusable { reason, .. })) => {
            report.add("options: schema", WHY_SCHEMA, Err(reason));
            return None;
        }
        other => other,
    };
    report.add("options: schema", WHY_SCHEMA, Ok("a JSON Schema that can be checked against".to_owned()));
    let answer = match check(UNKNOWN) {
        Ok(_) => Err("an unknown key is accepted; say `\"additionalProperties\": false`".to_owned()),
        Err(error) => Ok(error.to_string()),
    };
    report.add("options: unknown key", WHY_UNKNOWN, answer);
    let examples = schema.as_ref().and_then(|schema| schema.get("examples")?.as_array().cloned()).unwrap_or_default();
    let mut usable = None;
    match by_default {
        Ok(_) => {
            let answer = starts(loaded, "{}");
            usable = answer.is_ok().then(|| "{}".to_owned());
            report.add("options: none", "most people begin without any", answer.map(|()| "it starts".to_owned()));
        }
        Err(error) if examples.is_empty() => {
            let detail = format!("it needs options, and its schema has no `examples`: {error}");
            report.add("options: none", "nobody can start it without guessing", Err(detail));
        }
        Err(_) => report.skip("options: none", "", "its schema says that it needs options"),
    }
    if examples.is_empty() {
        report.skip("options: examples", WHY_EXAMPLES, "the schema has no `examples`");
        return usable;
    }
    let mut wrong = Vec::new();
    for example in examples.iter().map(Value::to_string) {
        match check(&example).map_err(|error| error.to_string()).and_then(|_| starts(loaded, &example)) {
            Ok(()) => usable = usable.or(Some(example)),
            Err(error) => wrong.push(format!("{example}: {error}")),
        }
    }
    let answer =
        if wrong.is_empty() { Ok(format!("it starts with all {}", examples.len())) } else { Err(wrong.join("\n")) };
    report.add("options: examples", WHY_EXAMPLES, answer);
    usable
}

/// Whether it takes these options.
fn starts(loaded: &Loaded, options: &str) -> Result<(), String> {
    let started = match loaded.kind {
        PluginKind::Strategy => loaded.plugins.strategy(loaded.name(), options).map(drop),
        PluginKind::Hook => loaded.plugins.hook(loaded.name(), options).map(drop),
        PluginKind::Parser => loaded.plugins.parser(loaded.name()).map(drop),
    };
    started.map_err(|error| error.to_string())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_a_manifest_says_otherwise_is_named() {
        let own = |version: &str| ["p", version, "s", "{}", ""].map(str::to_owned);
        let said = |version| {
            let [name, version, summary, schema, capabilities] = own(version);
            [
                ("name", name),
                ("version", version),
                ("summary", summary),
                ("schema", schema),
                ("capabilities", capabilities),
            ]
        };
        assert_eq!(differences(&said("1.0.0"), &said("1.0.0")).unwrap(), "p 1.0.0, the same each time");
        let error = differences(&said("1.0.1"), &said("1.0.0")).unwrap_err();
        assert_eq!(error, r#"version: asked "1.0.1", manifest "1.0.0""#);
    }
}
