//! `proxywhirl config`: what is configured, where it was said, and whether all is well.

mod absent;
mod refused;

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::PluginDirArgs;
use super::output::{count, print, tell};
use crate::config::layers::{MOST_MISTAKES, folders};
use crate::config::masked::masked;
use crate::config::mistakes::Mistake;
use crate::config::said::{Origin, Spot};
use crate::config::schema::{keys, schema};
use crate::config::{ConfigError, Environment, Layers, Settings, readable, reference};
use crate::exit::{Exit, Failure};
use crate::live::Reading;

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
    /// Say whether all is well, and if not, all that is wrong, with line, column and what is allowed
    Check(CheckArgs),
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
struct CheckArgs {
    #[command(flatten)]
    file: FileArgs,
    #[command(flatten)]
    plugins: PluginDirArgs,
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
    for stranger in strangers(&layers) {
        tracing::warn!("{stranger}");
    }
    Ok(layers)
}

/// The same, while the gateway runs: from the file that it has found at its start.
pub(super) fn layers_again(file: Option<&Path>) -> Result<Layers, Failure> {
    if let Some(file) = file {
        readable::again(file).map_err(|what| wrong(ConfigError::in_file(file, format!("is {what}"))))?;
    }
    layers(file)
}

fn strangers(layers: &Layers) -> impl Iterator<Item = String> {
    layers.strangers.iter().map(|(variable, nearest)| {
        let meant = nearest.as_ref().map_or_else(String::new, |nearest| format!("; did you mean {nearest}?"));
        format!("the variable {variable} sets nothing: there is no such key{meant}")
    })
}

/// What it means to every command but `serve`.
pub(super) fn configured(named: Option<&Path>) -> Result<Settings, Failure> {
    layers(named)?.settings_without_users().map_err(wrong)
}

/// Where the gateway is, for who looks for it: its control socket and its store, whatever is wrong elsewhere. Without a file, and with one
/// that says nothing, anywhere.
///
/// # Errors
/// When that cannot be read: another gateway would be taken for it.
pub(super) async fn place_of_gateway(named: Option<&Path>) -> Result<Settings, Failure> {
    let unknown = |failure: Failure| {
        let message = format!("the configuration cannot be read: {}", failure.message);
        Failure { message, ..failure }.hint("name the gateway's socket with --control SOCKET")
    };
    let (environment, layers) = read_in_time(named).await.map_err(unknown)?;
    let is_absent = || Layers::chosen(named, &environment).is_some_and(|file| matches!(file.try_exists(), Ok(false)));
    match layers {
        Err(_) if is_absent() => Ok(Settings::default()),
        read => read.and_then(|layers| layers.settings_of_place()).map_err(|error| unknown(wrong(error))),
    }
}

/// Everything that is configured, unless it hangs.
async fn read_in_time(named: Option<&Path>) -> Result<(Environment, Result<Layers, ConfigError>), Failure> {
    let named = named.map(Path::to_owned);
    let reading = Reading::new();
    let read = reading.run(move || {
        let environment = Environment::read().map_err(wrong)?;
        let layers = Layers::read(named.as_deref(), &environment);
        Ok((environment, layers))
    });
    read.await
}

/// A configuration that cannot be used is wrong usage.
pub(super) fn wrong(error: ConfigError) -> Failure {
    let hint = error.hint.clone();
    Failure { hint, ..Failure::new(Exit::Usage, error) }
}

/// Carries out `config`.
pub(super) async fn run(args: &ConfigCommandArgs) -> Result<Exit, Failure> {
    match &args.command {
        ConfigCommand::Show(args) => show(args),
        ConfigCommand::Check(args) => check(args).await,
        ConfigCommand::Init(args) => init(args),
        ConfigCommand::Schema => {
            print_pretty(&schema())?;
            Ok(Exit::Done)
        }
    }
}

fn show(args: &ShowArgs) -> Result<Exit, Failure> {
    let layers = layers(args.file.config.as_deref())?;
    // What is out of its range does not hold.
    layers.settings_without_users().map_err(wrong)?;
    let default =
        |name: &str| reference::defaults().iter().find(|(key, _)| key.dotted() == name).map(|(_, value)| value);
    let mut rows = Vec::new();
    for key in keys() {
        let name = key.dotted();
        let said = layers.said(key);
        let origin = said.map_or_else(|| "default".to_owned(), |said| said.key_at.to_string());
        let value = said.and_then(|said| serde_json::to_value(said.value()).ok());
        if let Some(value) = value.or_else(|| default(&name).cloned()) {
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
        print_pretty(&rows.into())?;
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

async fn check(args: &CheckArgs) -> Result<Exit, Failure> {
    let (environment, layers) = read_in_time(args.file.config.as_deref()).await?;
    let layers = match layers {
        // Nothing else can be told of what cannot be read.
        Err(error) if args.json => {
            let row = serde_json::json!({ "place": error.place, "message": error.reason, "hint": error.hint });
            print_pretty(&serde_json::json!({ "file": null, "mistakes": [row], "warnings": [] }))?;
            return Ok(Exit::Usage);
        }
        read => read.map_err(wrong)?,
    };
    let (mistakes, absent) = match layers.settings() {
        Ok(mut settings) => {
            settings.plugins.directory = args.plugins.plugins.clone().or(settings.plugins.directory);
            let mut mistakes: Vec<_> =
                refused::refused(&settings).into_iter().map(|reason| layers.refused(reason)).collect();
            mistakes.sort_by(|a, b| a.origin.cmp(&b.origin));
            (mistakes, absent::absent(&settings, &environment))
        }
        Err(_) => (layers.mistakes(), Vec::new()),
    };
    let warnings: Vec<String> = strangers(&layers).chain(absent).collect();
    if args.json {
        return check_json(&layers, &mistakes, &warnings);
    }
    for warning in &warnings {
        tell(&format!("warning: {warning}"));
    }
    if mistakes.is_empty() {
        well(&layers, &environment)?;
        return Ok(Exit::Done);
    }
    for mistake in &mistakes {
        let place = mistake.origin.as_ref().map_or_else(|| named(&layers), Origin::exact);
        print(&format!("{place}: {}", mistake.reason))?;
        if let Some(hint) = &mistake.hint {
            print(&format!("    {hint}"))?;
        }
    }
    let more = if mistakes.len() < MOST_MISTAKES { "" } else { ", and perhaps more" };
    tell(&format!("error: {}{more}", count(mistakes.len(), "mistake", "mistakes")));
    Ok(Exit::Usage)
}

fn print_pretty(value: &serde_json::Value) -> Result<(), Failure> {
    print(&format!("{value:#}"))
}

fn named(layers: &Layers) -> String {
    layers.file.as_ref().map_or_else(|| "configuration".to_owned(), |file| file.display().to_string())
}

/// What is read where, when nothing is wrong.
fn well(layers: &Layers, environment: &Environment) -> Result<(), Failure> {
    let origins = || keys().iter().filter_map(|key| layers.said(key)).map(|said| &said.key_at);
    let variables = origins().filter(|origin| matches!(origin, Origin::Variable(..))).count();
    let set = count(origins().count() - variables, "key", "keys");
    match &layers.file {
        Some(file) => print(&format!("{}: no mistakes; {set} set", file.display()))?,
        None => {
            print("there is no configuration file, and none is needed")?;
            let shown = |folder: &PathBuf| match folder.as_os_str() {
                here if here.is_empty() => "here".to_owned(),
                folder => format!("in {}", folder.display()),
            };
            let looked: Vec<String> = folders(environment).iter().map(shown).collect();
            tell(&format!("looked for proxywhirl.toml, .yaml, .yml and .json {}", looked.join(", ")));
        }
    }
    if variables > 0 {
        print(&format!("environment: {} set", count(variables, "key", "keys")))?;
    }
    Ok(())
}

fn check_json(layers: &Layers, mistakes: &[Mistake], warnings: &[String]) -> Result<Exit, Failure> {
    let row = |mistake: &Mistake| {
        let (file, spot, variable) = match &mistake.origin {
            Some(Origin::File(file, spot)) => (Some(file.display().to_string()), *spot, None),
            Some(Origin::Variable(variable, _)) => (None, Spot::default(), Some(variable.to_string())),
            None => (layers.file.as_ref().map(|file| file.display().to_string()), Spot::default(), None),
        };
        let known = |number: usize| (number > 0).then_some(number);
        let place = mistake.origin.as_ref().map_or_else(|| named(layers), Origin::exact);
        serde_json::json!({
            "place": place,
            "file": file,
            "line": known(spot.line),
            "column": known(spot.column),
            "variable": variable,
            "message": mistake.reason,
            "hint": mistake.hint,
        })
    };
    let told = serde_json::json!({
        "file": layers.file,
        "mistakes": mistakes.iter().map(row).collect::<Vec<_>>(),
        "warnings": warnings,
    });
    print_pretty(&told)?;
    Ok(if mistakes.is_empty() { Exit::Done } else { Exit::Usage })
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
