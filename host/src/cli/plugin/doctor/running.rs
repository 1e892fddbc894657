//! The plugins of a gateway that runs, as it tells them itself.

use proxywhirl_engine::status::{FaultRecord, PluginStatus, on_fault_word};
use proxywhirl_engine::supervision::State;

use super::ago;
use crate::cli::output::{count, print, table, tell, to_json};
use crate::config::Size;
use crate::control::Client;
use crate::control::api::Plugin;
use crate::exit::{Exit, Failure};

/// Faults of a plugin that people are shown, the newest; scripts get all.
const SHOWN: usize = 3;

/// Prints what the gateway tells.
pub(super) async fn run(client: &Client, json: bool) -> Result<Exit, Failure> {
    let plugins: Vec<Plugin> = client.get("/v1/plugins").await?;
    if json {
        print(&to_json(&plugins)?)?;
    } else {
        let of_interest = |plugin: &&Plugin| plugin.status.is_some() || plugin.problem.is_some();
        let rows = plugins.iter().filter(of_interest).map(cells).collect();
        print(&table(&["NAME", "KIND", "VERSION", "STATE", "FAULTS", "RESTARTS", "ON FAULT", "LOCK"], rows))?;
        for status in plugins.iter().filter_map(|plugin| plugin.status.as_ref()) {
            for fault in status.last_faults.iter().rev().take(SHOWN) {
                print(&in_words(&status.build.name, fault))?;
            }
        }
        plugins.iter().filter_map(problem).for_each(|problem| tell(&problem));
    }
    let ill = plugins.iter().filter(|plugin| !is_well(plugin)).count();
    if ill > 0 {
        tell(&format!(
            "{} not well, in the gateway at {}",
            count(ill, "plugin is", "plugins are"),
            client.path().display()
        ));
    }
    Ok(if ill > 0 { Exit::Input } else { Exit::Done })
}

fn is_well(plugin: &Plugin) -> bool {
    plugin.problem.is_none() && plugin.status.as_ref().is_none_or(|status| status.state == State::Active)
}

fn cells(plugin: &Plugin) -> Vec<String> {
    let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    let of = |tell: fn(&PluginStatus) -> String| plugin.status.as_ref().map_or_else(|| "-".to_owned(), tell);
    let state = match (&plugin.status, &plugin.problem) {
        (Some(status), _) => state(status),
        (None, Some(_)) => "NOT USABLE".to_owned(),
        (None, None) => "-".to_owned(),
    };
    vec![
        plugin.name.clone(),
        or_dash(plugin.kind.as_deref().unwrap_or_default()),
        or_dash(plugin.status.as_ref().map_or(&plugin.version, |status| &status.build.version)),
        state,
        of(|status| status.faults.to_string()),
        of(|status| status.restarts.to_string()),
        of(|status| on_fault_word(status.on_fault).to_owned()),
        plugin.lock.clone(),
    ]
}

fn state(status: &PluginStatus) -> String {
    let since = ago(status.since);
    let probation = if status.probation.is_some() { ", on probation" } else { "" };
    format!("{} since {since}{probation}", status.state.as_str())
}

fn problem(plugin: &Plugin) -> Option<String> {
    let problem = plugin.problem.as_ref()?;
    let hint = plugin.hint.as_ref().map_or_else(String::new, |hint| format!("\n  hint: {hint}"));
    Some(format!("{}: {problem}{hint}", plugin.name))
}

/// A fault with all that is known of it.
fn in_words(name: &str, fault: &FaultRecord) -> String {
    let mut lines = vec![
        String::new(),
        format!("{name} {}: {} in {}, {}", fault.version, fault.cause, fault.export, ago(fault.at)),
        format!("  {}", fault.detail),
        format!(
            "  after {} ms, with {} of memory, build {}",
            fault.elapsed_ms,
            Size(fault.memory),
            fault.digest.get(..12).unwrap_or("unknown")
        ),
    ];
    let mut list = |title: &str, texts: &[String]| {
        if !texts.is_empty() {
            lines.push(format!("  {title}:"));
            lines.extend(texts.iter().map(|text| format!("    {text}")));
        }
    };
    list("backtrace", &fault.backtrace);
    list("log", &fault.log);
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use proxywhirl_core::Timestamp;

    use super::*;

    #[test]
    fn a_fault_is_told_with_backtrace_and_log() {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let fault = FaultRecord {
            at: Timestamp::from_micros(u64::MAX),
            version: "1.2.0".to_owned(),
            digest: "0123456789abcdef".to_owned(),
            export: "make-plan".to_owned(),
            cause: "trap".to_owned(),
            detail: "unreachable".to_owned(),
            backtrace: texts(&["fastest::plan", "fastest::main"]),
            log: texts(&["panicked at src/lib.rs:7"]),
            memory: 1 << 20,
            elapsed_ms: 3,
        };
        insta::assert_snapshot!(in_words("fastest", &fault).trim_start(), @r"
        fastest 1.2.0: trap in make-plan, just now
          unreachable
          after 3 ms, with 1 MiB of memory, build 0123456789ab
          backtrace:
            fastest::plan
            fastest::main
          log:
            panicked at src/lib.rs:7
        ");
    }
}
