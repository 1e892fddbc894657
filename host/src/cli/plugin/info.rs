//! `proxywhirl plugin info`.

use clap::Args;
use proxywhirl_engine::status::on_fault_word;
use proxywhirl_wasm::{Access, Limits, PluginInfo};
use serde::Serialize;
use serde_json::Value;

use super::chosen::ChosenArgs;
use super::schema;
use crate::cli::output::{print, table, to_json};
use crate::config::Size;
use crate::exit::{Exit, Failure};
use crate::lock::Standing;
use crate::wiring::{Known, Registry, Surroundings};

/// Arguments of `plugin info`.
#[derive(Debug, Args)]
pub(super) struct InfoArgs {
    /// The plugin
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    chosen: ChosenArgs,
    /// Print JSON, for scripts
    #[arg(long)]
    json: bool,
}

/// A plugin as it is printed. The fields are part of the interface.
#[derive(Debug, Serialize)]
struct Info {
    name: String,
    kind: Option<&'static str>,
    version: String,
    summary: String,
    origin: String,
    overrides_bundled: bool,
    sha256: String,
    sources: String,
    bytes: usize,
    contract: String,
    handover: bool,
    imports: Vec<String>,
    capabilities: Vec<Capability>,
    limits: Option<ToldLimits>,
    on_fault: &'static str,
    lock: &'static str,
    /// What it asks for beyond what was accepted.
    asks_more: Vec<String>,
    options_schema: Value,
    problem: Option<String>,
    hint: Option<String>,
}

#[derive(Debug, Serialize)]
struct Capability {
    interface: &'static str,
    imported: bool,
    wanted: Vec<String>,
    granted: Vec<String>,
    unused: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ToldLimits {
    memory: usize,
    memory_per_member: usize,
    memory_per_byte: usize,
    call_ms: u64,
    select_ms: u64,
    answer: usize,
}

impl From<&Limits> for ToldLimits {
    fn from(limits: &Limits) -> Self {
        let milliseconds = |span: std::time::Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Self {
            memory: limits.memory,
            memory_per_member: limits.memory_per_member,
            memory_per_byte: limits.memory_per_byte,
            call_ms: milliseconds(limits.call),
            select_ms: milliseconds(limits.select),
            answer: limits.answer,
        }
    }
}

impl From<&Access> for Capability {
    fn from(access: &Access) -> Self {
        Self {
            interface: access.interface,
            imported: access.imported,
            wanted: access.wanted.clone(),
            granted: access.granted.clone(),
            unused: access.unused.clone(),
        }
    }
}

impl From<Known> for Info {
    fn from(known: Known) -> Self {
        let lock = known.lock();
        let asks_more = match known.standing {
            Some(Standing::AsksMore(more)) => more,
            Some(Standing::NotLocked | Standing::Locked | Standing::Changed) | None => Vec::new(),
        };
        let info: PluginInfo = known.info;
        let (problem, hint) = info.problem.map(|problem| (problem.reason, problem.hint)).unzip();
        Self {
            kind: info.kind.map(proxywhirl_core::plugin::PluginKind::as_str),
            origin: info.origin.to_string(),
            overrides_bundled: info.overrides,
            sha256: info.digest,
            bytes: info.size,
            capabilities: info.access.iter().map(Capability::from).collect(),
            limits: info.limits.as_ref().map(ToldLimits::from),
            on_fault: on_fault_word(info.on_fault),
            options_schema: serde_json::from_str(&info.options_schema).unwrap_or_default(),
            name: info.name,
            version: info.version,
            summary: info.summary,
            sources: info.sources,
            contract: info.contract,
            handover: info.handover,
            imports: info.imports,
            lock,
            asks_more,
            problem,
            hint,
        }
    }
}

/// Carries out `plugin info`.
pub(super) fn run(args: &InfoArgs) -> Result<Exit, Failure> {
    let registry = Registry::load(&args.chosen.settings()?, Surroundings::default())?;
    let known = registry.find(&args.name).ok_or_else(|| {
        Failure::new(Exit::Usage, format!("no plugin named {}", args.name))
            .hint("`proxywhirl plugin list` shows which plugins there are")
    })?;
    let info = Info::from(known);
    let exit = if info.problem.is_some() { Exit::Input } else { Exit::Done };
    print(&if args.json { to_json(&info)? } else { in_words(&info) })?;
    Ok(exit)
}

fn in_words(info: &Info) -> String {
    let mut lines = vec![format!("{} {}, a {}", info.name, info.version, info.kind.unwrap_or("file of no known kind"))];
    lines.extend((!info.summary.is_empty()).then(|| info.summary.clone()));
    lines.push(String::new());
    let mut rows = vec![
        ("from", info.origin.clone()),
        ("sha256", info.sha256.clone()),
        ("size", format!("{} bytes", info.bytes)),
        ("contract", format!("proxywhirl:plugin@{}", info.contract)),
        ("imports", list_or(&info.imports, "nothing")),
        ("hands over", if info.handover { "its knowledge to its successor" } else { "nothing" }.to_owned()),
        ("on fault", info.on_fault.to_owned()),
        ("lock", info.lock.to_owned()),
    ];
    if let Some(limits) = &info.limits {
        let memory = Size(limits.memory as u64);
        let more = match (limits.memory_per_member, limits.memory_per_byte) {
            (0, 0) => String::new(),
            (bytes, 0) => format!(" and {bytes} B for each proxy"),
            (_, bytes) => format!(" and {bytes} B for each byte of the document"),
        };
        let text = format!(
            "{memory} of memory{more}, {} ms a call, {} ms a select or sniff",
            limits.call_ms, limits.select_ms
        );
        rows.push(("limits", text));
    }
    if !info.asks_more.is_empty() {
        rows.push(("asks for more", info.asks_more.join(", ")));
    }
    if let Some(problem) = &info.problem {
        rows.push(("NOT USABLE", problem.clone()));
        rows.extend(info.hint.iter().map(|hint| ("what helps", hint.clone())));
    }
    lines.extend(rows.iter().map(|(what, fact)| format!("{what:<13} {fact}")));
    lines.push(String::new());
    lines.push(capabilities(&info.capabilities));
    lines.push(String::new());
    let options = schema::options(&info.options_schema);
    lines.push(if options.is_empty() {
        "It takes no options.".to_owned()
    } else {
        table(&["OPTION", "TYPE", "DEFAULT", "WHAT IT IS"], options)
    });
    lines.join("\n")
}

fn capabilities(capabilities: &[Capability]) -> String {
    if capabilities.is_empty() {
        return "It asks for no capability, and gets none.".to_owned();
    }
    let rows = capabilities.iter().map(|capability| {
        vec![
            capability.interface.to_owned(),
            if capability.imported { "yes" } else { "no" }.to_owned(),
            list_or(&capability.wanted, "-"),
            list_or(&capability.granted, "nothing"),
            list_or(&capability.unused, "-"),
        ]
    });
    table(&["CAPABILITY", "IMPORTED", "ASKED FOR", "IN FORCE", "GRANTED FOR NOTHING"], rows.collect())
}

fn list_or(words: &[String], none: &str) -> String {
    if words.is_empty() { none.to_owned() } else { words.join(", ") }
}
