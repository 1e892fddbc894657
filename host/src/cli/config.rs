//! `proxywhirl config`: what is configured, where it was said, and whether all is well.

mod masked;

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::output::{count, print, tell};
use crate::config::layers::{Origin, at, places};
use crate::config::schema::{keys, schema};
use crate::config::{ConfigError, Environment, Layers, Settings, reference};
use crate::exit::{Exit, Failure};
use masked::masked;

/// What `config init` writes, if nothing else is said.
const FILE: &str = "proxywhirl.toml";

#[derive(Debug, Args)]
pub(super) struct ConfigCommandArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print what holds: what was said in the file and the environment, and the defaults of the rest
    Show(ShowArgs),
    /// Say whether all is well, and if not, what is wrong in which line
    Check(FileArgs),
    /// Write a configuration file to begin with, in which every key is explained and none is set
    Init(InitArgs),
    /// Print the JSON Schema of the configuration, for editors
    Schema,
}

/// The configuration, as every command reads it.
#[derive(Debug, Args)]
struct FileArgs {
    /// The configuration file [default: the first of proxywhirl.toml here, in ~/.config/proxywhirl, in /etc/proxywhirl]
    #[arg(long, value_name = "FILE", env = "PROXYWHIRL_CONFIG")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct ShowArgs {
    #[command(flatten)]
    file: FileArgs,
    /// Say of each value where it comes from
    #[arg(long)]
    origin: bool,
    /// Print JSON, for scripts
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct InitArgs {
    /// The file to write; - for standard output
    #[arg(default_value = FILE, value_name = "FILE")]
    file: PathBuf,
    /// Write it although there is one
    #[arg(long)]
    force: bool,
}

/// Everything that is configured, apart from the command line.
pub(super) fn layers(named: Option<&Path>) -> Result<Layers, Failure> {
    let layers = Environment::read().and_then(|environment| Layers::read(named, &environment)).map_err(wrong)?;
    for (stranger, nearest) in &layers.strangers {
        let meant = nearest.as_deref().unwrap_or("nothing that there is");
        tracing::warn!(variable = stranger.as_str(), nearest = meant, "an environment variable that sets nothing");
    }
    Ok(layers)
}

/// What it means.
pub(super) fn configured(named: Option<&Path>) -> Result<Settings, Failure> {
    layers(named)?.settings().map_err(wrong)
}

/// A configuration that cannot be used is wrong usage.
pub(super) fn wrong(error: ConfigError) -> Failure {
    let hint = error.hint.clone();
    Failure { hint, ..Failure::new(Exit::Usage, error) }
}

/// Carries out `config`.
pub(super) fn run(args: &ConfigCommandArgs) -> Result<Exit, Failure> {
    match &args.command {
        ConfigCommand::Show(args) => show(args),
        ConfigCommand::Check(args) => check(args),
        ConfigCommand::Init(args) => init(args),
        ConfigCommand::Schema => {
            print(&serde_json::to_string_pretty(&schema()).unwrap_or_default())?;
            Ok(Exit::Done)
        }
    }
}

fn show(args: &ShowArgs) -> Result<Exit, Failure> {
    let layers = layers(args.file.config.as_deref())?;
    // What is out of its range does not hold.
    layers.settings().map_err(wrong)?;
    let default =
        |name: &str| reference::defaults().iter().find(|(key, _)| key.dotted() == name).map(|(_, value)| value);
    let mut rows = Vec::new();
    for key in keys() {
        let name = key.dotted();
        let said = at(&layers.said, &key.path).and_then(|value| serde_json::to_value(value).ok());
        let origin = layers.origins.get(&name).map_or_else(|| "default".to_owned(), Origin::to_string);
        if let Some(value) = said.or_else(|| default(&name).cloned()) {
            rows.push((name, masked(&key.path, value), origin));
        }
    }
    if args.json {
        let rows: serde_json::Map<_, _> = rows
            .into_iter()
            .map(|(name, value, origin)| {
                let value = if args.origin { serde_json::json!({ "value": value, "origin": origin }) } else { value };
                (name, value)
            })
            .collect();
        print(&serde_json::to_string_pretty(&rows).unwrap_or_default())?;
        return Ok(Exit::Done);
    }
    let lines: Vec<(String, String)> =
        rows.into_iter().map(|(name, value, origin)| (format!("{name} = {}", toml_text(value)), origin)).collect();
    let width =
        lines.iter().map(|(line, _)| line.chars().count()).filter(|width| *width < 60).max().unwrap_or_default();
    for (line, origin) in lines {
        print(&if args.origin { format!("{line:width$}  # {origin}") } else { line })?;
    }
    Ok(Exit::Done)
}

/// A value as TOML writes it in a line.
fn toml_text(value: serde_json::Value) -> String {
    toml::Value::try_from(value).map_or_else(|error| format!("# {error}"), |value| value.to_string())
}

fn check(args: &FileArgs) -> Result<Exit, Failure> {
    let layers = layers(args.config.as_deref())?;
    layers.settings().map_err(wrong)?;
    let variables = layers.origins.values().filter(|origin| matches!(origin, Origin::Variable(..))).count();
    let set = count(layers.origins.len() - variables, "key", "keys");
    match &layers.file {
        Some(file) => print(&format!("{}: all is well; {set} set", file.display()))?,
        None => {
            print("there is no configuration file, and none is needed")?;
            let environment = Environment::read().map_err(wrong)?;
            let looked: Vec<String> = places(&environment).iter().map(|place| place.display().to_string()).collect();
            tell(&format!("looked for: {}", looked.join(", ")));
        }
    }
    if variables > 0 {
        print(&format!("environment: {} set", count(variables, "key", "keys")))?;
    }
    Ok(Exit::Done)
}

fn init(args: &InitArgs) -> Result<Exit, Failure> {
    let template = reference::template();
    if args.file == Path::new("-") {
        print(template.trim_end())?;
        return Ok(Exit::Done);
    }
    let mut options = OpenOptions::new();
    options.write(true).truncate(true).create(args.force).create_new(!args.force);
    let shown = args.file.display();
    let written = options.open(&args.file).and_then(|mut file| file.write_all(template.as_bytes()));
    match written {
        Ok(()) => {
            tell(&format!("{shown} is written; nothing in it is set yet"));
            Ok(Exit::Done)
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(Failure::new(Exit::Usage, format!("{shown} is there already")).hint("--force writes over it"))
        }
        Err(error) => Err(Failure::new(Exit::Environment, format!("{shown} cannot be written: {error}"))),
    }
}
