//! `proxywhirl sources add` and `remove`: changes of the configuration file that leave the rest of it, with its
//! comments, as it was.
//!
//! What is written is read as a configuration before it takes the file's place, so a change never breaks the file.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use proxywhirl_core::Scheme;
use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, value};

use super::command::ConfigArgs;
use crate::cli::config::{configured, layers};
use crate::cli::output::tell;
use crate::config::{Layers, catalogue};
use crate::exit::{Exit, Failure};
use crate::wiring::can_read;

/// Arguments of `sources add`.
#[derive(Debug, Args)]
pub(super) struct AddArgs {
    /// A URL, a file, or the name (or tag:TAG) of what the catalogue has
    #[arg(value_name = "URL|FILE|NAME|tag:TAG")]
    source: String,
    /// What it is called [default: its host or file name]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The parser; found out from the content if not given
    #[arg(long, value_name = "NAME")]
    parser: Option<String>,
    /// The scheme of entries that name none
    #[arg(long, value_name = "SCHEME")]
    scheme: Option<Scheme>,
    /// Use what it brings as it is, unproven
    #[arg(long)]
    trust: bool,
    /// A label for what it brings; may be given several times
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    /// Whether a browser makes the list
    #[arg(long, value_name = "static|javascript|auto")]
    render: Option<String>,
    /// A CSS selector: a rendered page is ready when an element matches
    #[arg(long, value_name = "SELECTOR")]
    wait_for: Option<String>,
    /// How often it is fetched, such as 30m
    #[arg(long, value_name = "TIME")]
    interval: Option<String>,
    /// How much more, or less, it is used, by strategies that weigh
    #[arg(long, value_name = "FACTOR")]
    weight: Option<f64>,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Arguments of `sources remove`.
#[derive(Debug, Args)]
pub(super) struct RemoveArgs {
    /// The source's name, or what was enabled of the catalogue
    #[arg(value_name = "NAME|tag:TAG")]
    name: String,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Carries out `sources add`.
pub(super) fn add(args: &AddArgs) -> Result<Exit, Failure> {
    let path = &file(&args.config)?;
    let mut document = open(path)?;
    let unknown = match catalogue::chosen(std::slice::from_ref(&args.source)) {
        Ok(_) => {
            enable(&mut document, &args.source)?;
            save(path, &document)?;
            tell(&format!("{}: {} of the catalogue is on", path.display(), args.source));
            tell_unproven(path);
            return Ok(Exit::Done);
        }
        Err(unknown) => unknown,
    };
    if is_word(&args.source) && !path.with_file_name(&args.source).exists() {
        let nowhere = format!("there is no file of that name beside {}, and {unknown}", path.display());
        return Err(Failure::new(Exit::Usage, nowhere).hint(
            "`proxywhirl sources list --all` shows the catalogue; a file that is yet to come is written ./NAME",
        ));
    }
    let location: proxywhirl_engine::source::Location =
        args.source.parse().map_err(|error| Failure::new(Exit::Usage, error))?;
    let name = args.name.clone().unwrap_or_else(|| proxywhirl_engine::source::Source::new(location).name);
    let sources = document.entry("sources").or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
    let Some(sources) = sources.as_array_of_tables_mut() else {
        return Err(Failure::new(Exit::Usage, format!("{}: sources is not written as [[sources]]", path.display())));
    };
    sources.push(args.table(&name));
    save(path, &document)?;
    tell(&format!("{}: source {name} added", path.display()));
    tell_unproven(path);
    Ok(Exit::Done)
}

/// Whether it looks like a name of the catalogue, and not like a file or a URL.
fn is_word(source: &str) -> bool {
    source != "-" && !source.contains(['/', '.'])
}

/// Whoever has added a source that nobody vouches for is told what `serve` wants besides.
fn tell_unproven(path: &Path) {
    let Ok(settings) = configured(Some(path)) else { return };
    if let Err(failure) = can_read(&settings.check, &settings.sources) {
        let remedy = failure.hint.map(|hint| format!(": {hint}")).unwrap_or_default();
        tell(&format!("warning: `serve` does not start like this: {}{remedy}", failure.message));
    }
}

impl AddArgs {
    fn table(&self, name: &str) -> Table {
        let mut table = Table::new();
        table.insert("name", value(name));
        table.insert("location", value(&self.source));
        let said = [
            ("parser", self.parser.as_deref()),
            ("scheme", self.scheme.map(Scheme::as_str)),
            ("render", self.render.as_deref()),
            ("wait_for", self.wait_for.as_deref()),
            ("interval", self.interval.as_deref()),
        ];
        for (key, said) in said {
            if let Some(said) = said {
                table.insert(key, value(said));
            }
        }
        if self.trust {
            table.insert("trust", value(true));
        }
        if let Some(weight) = self.weight {
            table.insert("weight", value(weight));
        }
        if !self.tag.is_empty() {
            table.insert("tags", value(self.tag.iter().collect::<Array>()));
        }
        table
    }
}

/// Carries out `sources remove`.
pub(super) fn remove(args: &RemoveArgs) -> Result<Exit, Failure> {
    let path = &file(&args.config)?;
    let mut document = open(path)?;
    let mut removed = 0;
    if let Some(sources) = document.get_mut("sources").and_then(Item::as_array_of_tables_mut) {
        let before = sources.len();
        sources.retain(|table| table.get("name").and_then(Item::as_str) != Some(&args.name));
        removed += before - sources.len();
    }
    if let Some(enabled) =
        document.get_mut("catalogue").and_then(|it| it.get_mut("enable")).and_then(Item::as_array_mut)
    {
        let before = enabled.len();
        enabled.retain(|choice| choice.as_str() != Some(&args.name));
        removed += before - enabled.len();
    }
    if removed == 0 {
        return Err(Failure::new(Exit::NoResult, format!("{} has no source {:?}", path.display(), args.name))
            .hint("`proxywhirl sources list` shows which are on; catalogue.disable turns off one of many"));
    }
    save(path, &document)?;
    tell(&format!("{}: source {} removed", path.display(), args.name));
    Ok(Exit::Done)
}

fn enable(document: &mut DocumentMut, choice: &str) -> Result<(), Failure> {
    let section = document.entry("catalogue").or_insert(Item::Table(Table::new()));
    let wrong = |what: &str| Failure::new(Exit::Usage, format!("{what} is not written as it is meant to be"));
    let section = section.as_table_like_mut().ok_or_else(|| wrong("catalogue"))?;
    let enabled = section.entry("enable").or_insert(value(Array::new()));
    let enabled = enabled.as_array_mut().ok_or_else(|| wrong("catalogue.enable"))?;
    if !enabled.iter().any(|known| known.as_str() == Some(choice)) {
        enabled.push(choice);
    }
    Ok(())
}

/// The file that is named, or else the one that is found.
fn file(config: &ConfigArgs) -> Result<PathBuf, Failure> {
    let file = match config.path() {
        Some(path) => Some(path.to_owned()),
        None => layers(None)?.file,
    };
    let file = file.ok_or_else(|| {
        Failure::new(Exit::Usage, "no configuration file is named, and none is found")
            .hint("name it with --config FILE, or make one: `proxywhirl config init`")
    })?;
    match file.extension().and_then(|end| end.to_str()) {
        Some("yaml" | "yml" | "json") => {
            Err(Failure::new(Exit::Usage, format!("{}: only TOML can be changed by command", file.display()))
                .hint("add it to `sources` there by hand, or keep the sources in a proxywhirl.toml"))
        }
        Some(_) | None => Ok(file),
    }
}

/// The file as it is written; one that is not there is empty.
fn open(path: &Path) -> Result<DocumentMut, Failure> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => {
            return Err(Failure::new(Exit::Input, format!("configuration {} cannot be read: {error}", path.display())));
        }
    };
    // Its mistakes are told as everywhere, with line and nearest key.
    check(&text, path)?;
    text.parse().map_err(|error: toml_edit::TomlError| {
        Failure::new(Exit::Usage, format!("configuration {}: {}", path.display(), error.message()))
    })
}

/// Puts the file in place, whole or not at all.
fn save(path: &Path, document: &DocumentMut) -> Result<(), Failure> {
    let text = document.to_string();
    check(&text, path)?;
    let failed = |error: std::io::Error| {
        Failure::new(Exit::Environment, format!("configuration {} cannot be written: {error}", path.display()))
    };
    // A link stays one: what it leads to is replaced.
    let place = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = place.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    proxywhirl_store::stay_with(&place, file.as_file()).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(&place).map_err(|error| failed(error.error))?;
    Ok(())
}

fn check(text: &str, path: &Path) -> Result<(), Failure> {
    let read = Layers::of_text(text, path).and_then(|layers| layers.settings_without_users());
    read.map(drop).map_err(|error| {
        let hint = error.hint.clone();
        Failure { hint, ..Failure::new(Exit::Usage, error) }
    })
}
