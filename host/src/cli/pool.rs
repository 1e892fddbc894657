//! `proxywhirl pool`: looks at, changes and copies a pool that is kept in a store, and changes that of a gateway that runs.

mod export;
mod forms;
mod import;
mod joining;
mod moving;
mod running;
mod sing_box;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use proxywhirl_core::endpoint::EndpointKey;
use proxywhirl_core::store::{Changes, Store, StoreError, StoredMember};
use proxywhirl_core::{Tag, Timestamp};
use proxywhirl_engine::source::as_entry;
use proxywhirl_store::{ClearText, StoreUrl};
use serde::Serialize;

use super::config::configured;
use super::output::{count, print, table, tell, to_json};
use super::sources;
use super::{ControlArgs, PluginDirArgs, ReadArgs, StoreArg};
use crate::config::{KeyPlace, PluginsSettings};
use crate::control::listed::MemberRow;
use crate::exit::{Exit, Failure};
use crate::pattern::Patterns;
use crate::secrets;
use joining::{Joining, listed};

/// Arguments of `pool`.
#[derive(Debug, Args)]
pub(super) struct PoolArgs {
    #[command(subcommand)]
    command: PoolCommand,
}

#[derive(Debug, Subcommand)]
enum PoolCommand {
    /// List the proxies in the pool
    List(ListArgs),
    /// Put proxies into the pool of the gateway that runs, at once; or into a store, with --db
    Add(AddArgs),
    /// Take proxies out of the pool of the gateway that runs, at once; or out of a store, with --db
    Remove(RemoveArgs),
    /// Count the pool: by protocol, by source, how uses went
    Stats(StatsArgs),
    /// Put proxies into the pool that `pool export` has written, with their tags and all that it says of them; or any other list
    Import(import::ImportArgs),
    /// Write the proxies in the pool as other programs read them
    Export(export::ExportArgs),
    /// Copy the pool with sessions and what plugins keep into another store
    Backup(moving::BackupArgs),
    /// Copy a backup back
    Restore(moving::RestoreArgs),
    /// Copy everything from one store to another, of whatever kind they are
    Migrate(moving::MigrateArgs),
}

#[derive(Debug, Args)]
pub(super) struct DbArgs {
    /// Where the pool is kept: sqlite:FILE, file:FILE.json, file:FILE.json.gz, file:FILE.jsonl or redis://HOST; FILE alone is SQLite
    #[arg(long, visible_alias = "store", value_name = "STORE", env = "PROXYWHIRL_DB")]
    db: Option<StoreArg>,
    /// The configuration that names the store
    #[arg(long, value_name = "FILE", env = "PROXYWHIRL_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    key: KeyArgs,
}

/// Where the keys are, for every command that opens a store.
#[derive(Debug, Args)]
pub(super) struct KeyArgs {
    /// The file with the keys that passwords in the store are sealed with [default: as the configuration says]
    #[arg(long, value_name = "FILE", env = "PROXYWHIRL_STORE_KEY_FILE")]
    key_file: Option<PathBuf>,
}

impl KeyArgs {
    /// Where the keys are; none when none is named, by the arguments or the configuration.
    ///
    /// # Errors
    /// When the configuration cannot be read: what it says of keys is not known, and a password is not to be written without.
    pub(super) fn place(&self, config: Option<&Path>) -> Result<Option<KeyPlace>, Failure> {
        match self.key_file.clone() {
            Some(file) => Ok(Some(KeyPlace::File(file))),
            None => Ok(configured(config)?.store_keys),
        }
    }
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    db: DbArgs,
    #[command(flatten)]
    control: ControlArgs,
    /// Only proxies with this tag, such as source:user
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// Print JSON, for scripts
    #[arg(long)]
    json: bool,
    /// Print passwords too
    #[arg(long)]
    show_passwords: bool,
}

#[derive(Debug, Args)]
struct AddArgs {
    #[command(flatten)]
    db: DbArgs,
    #[command(flatten)]
    control: ControlArgs,
    /// Proxies, such as http://user:pass@host:port or host:port
    #[arg(value_name = "PROXY")]
    proxies: Vec<String>,
    /// Lists to add: files, URLs, or - for standard input
    #[arg(long, value_name = "SOURCE")]
    from: Vec<String>,
    /// Labels for what is added
    #[arg(long, value_name = "TAG")]
    tag: Vec<Tag>,
    #[command(flatten)]
    read: ReadArgs,
    #[command(flatten)]
    plugins: PluginDirArgs,
}

#[derive(Debug, Args)]
struct RemoveArgs {
    #[command(flatten)]
    db: DbArgs,
    #[command(flatten)]
    control: ControlArgs,
    /// Proxies, as `pool list` prints them; without scheme and user name all that match are meant
    #[arg(value_name = "PROXY")]
    proxies: Vec<String>,
    /// All proxies with this tag
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
}

#[derive(Debug, Args)]
struct StatsArgs {
    #[command(flatten)]
    db: DbArgs,
    #[command(flatten)]
    control: ControlArgs,
    /// Print JSON, for scripts
    #[arg(long)]
    json: bool,
}

/// Carries out `pool`.
pub(super) async fn run(args: PoolArgs) -> Result<Exit, Failure> {
    match args.command {
        PoolCommand::List(args) => list(&args).await,
        PoolCommand::Add(args) => add(args).await,
        PoolCommand::Remove(args) => remove(&args).await,
        PoolCommand::Stats(args) => stats(&args).await,
        PoolCommand::Import(args) => import::import(args).await,
        PoolCommand::Export(args) => export::export(&args),
        PoolCommand::Backup(args) => moving::backup(&args),
        PoolCommand::Restore(args) => moving::restore(&args),
        PoolCommand::Migrate(args) => moving::migrate(&args),
    }
}

impl DbArgs {
    pub(super) fn url(&self) -> Result<StoreUrl, Failure> {
        if let Some(url) = &self.db {
            return url.url();
        }
        if let Some(url) = configured(self.config.as_deref())?.store {
            return Ok(url);
        }
        Err(Failure::new(Exit::Usage, "which store?")
            .hint("name it: --db FILE, or PROXYWHIRL_DB, or a configuration with [store] url"))
    }

    /// Where the keys of the store are.
    ///
    /// # Errors
    /// When the configuration, which may say so, cannot be read.
    pub(super) fn keys(&self) -> Result<Option<KeyPlace>, Failure> {
        self.key.place(self.config.as_deref())
    }

    /// What the configuration says of plugins, such as how much memory one may have. Who names the key does without one that can be read.
    fn plugins(&self) -> PluginsSettings {
        configured(self.config.as_deref()).map(|settings| settings.plugins).unwrap_or_default()
    }

    /// The members in a store that must exist, for whoever shows no password: those may stay sealed, and no key is needed.
    fn read_masked(&self) -> Result<Vec<StoredMember>, Failure> {
        let mut opened = existing(self.url()?)?.open_to_read().map_err(environment)?;
        opened.store.load().map_err(environment)
    }

    /// The members in a store that must exist, and whether they are all: those whose passwords cannot be opened are told, and are
    /// not among them.
    fn read(&self) -> Result<(Vec<StoredMember>, bool), Failure> {
        let url = existing(self.url()?)?;
        // Who reads may do without a configuration: a store that is sealed says which key is missing.
        let keys = secrets::keyring(self.keys().ok().flatten().as_ref())?;
        let mut opened = url.open_to_read().map_err(environment)?.sealed(keys, &url, ClearText::Expected);
        let members = opened.store.load().map_err(environment)?;
        Ok((members, !tell_unopened(&*opened.store)))
    }

    /// Opens a store that must exist, and reads it, for whoever takes something out: passwords stay sealed, and no key is needed.
    fn open_masked(&self) -> Result<ToChange, Failure> {
        let url = existing(self.url()?)?;
        let is_in_use = url.is_in_use();
        let mut store = url.open().map_err(|error| unopened(error, is_in_use))?.store;
        let members = store.load().map_err(environment)?;
        Ok(ToChange { store, members, is_in_use })
    }

    /// Opens a store that may not exist, and reads it. For nothing, none is made.
    fn open_or_create(&self, is_for_nothing: bool) -> Result<ToChange, Failure> {
        let url = self.url()?;
        let is_there = url.path().is_none_or(Path::exists);
        let url = if is_for_nothing && !is_there { StoreUrl::Memory } else { url };
        let is_in_use = url.is_in_use();
        let keys = secrets::keyring(self.keys()?.as_ref())?;
        let opened = url.open().map_err(|error| unopened(error, is_in_use))?;
        let mut store = opened.sealed(keys, &url, ClearText::Expected).store;
        let members = store.load().map_err(environment)?;
        tell_unopened(&*store);
        Ok(ToChange { store, members, is_in_use })
    }
}

/// A store that is to be changed.
struct ToChange {
    store: Box<dyn Store>,
    members: Vec<StoredMember>,
    /// Whether another process has it open, and hears of nothing.
    is_in_use: bool,
}

/// Whoever sees a gateway go on as before is to know why.
fn tell_in_use() {
    tell(&format!(
        "the database is used by another process: a gateway that uses it sees this at its next start; {AT_THE_GATEWAY}"
    ));
}

/// What helps who changes a store that a gateway uses.
const AT_THE_GATEWAY: &str =
    "`pool add` and `pool remove` change the pool of a gateway that runs with --control SOCKET, or without --db";

/// A store that cannot be opened to be changed.
fn unopened(error: StoreError, is_in_use: bool) -> Failure {
    let failure = environment(error);
    if is_in_use { failure.hint(AT_THE_GATEWAY) } else { failure }
}

/// Tells of members that are left out because their passwords cannot be opened; whether there are any.
pub(super) fn tell_unopened(store: &dyn Store) -> bool {
    let unopened = store.unopened();
    if let Some(error) = &unopened {
        tell(&format!("warning: {error}"));
    }
    unopened.is_some()
}

/// A store that is there.
pub(super) fn existing(url: StoreUrl) -> Result<StoreUrl, Failure> {
    let Some(path) = url.path().filter(|path| !path.exists()) else { return Ok(url) };
    Err(Failure::new(Exit::Environment, format!("{} {} does not exist", url.kind(), path.display()))
        .hint("`proxywhirl pool add --db FILE PROXY` makes one, and so does `proxywhirl serve --db FILE`"))
}

pub(super) fn environment(error: StoreError) -> Failure {
    Failure::new(Exit::Environment, error)
}

fn cells(row: &MemberRow) -> Vec<String> {
    vec![
        row.url.clone(),
        row.tags.join(" "),
        row.country.clone().unwrap_or_else(|| "-".to_owned()),
        row.successes.to_string(),
        row.failures.to_string(),
        row.latency_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.0} ms")),
        row.last_used_at.as_deref().map_or_else(|| "never".to_owned(), ago),
    ]
}

/// How long ago, in words.
fn ago(time: &str) -> String {
    let time = humantime::parse_rfc3339(time).unwrap_or(SystemTime::UNIX_EPOCH);
    let span = SystemTime::now().duration_since(time).unwrap_or_default();
    format!("{} ago", humantime::format_duration(Duration::from_secs(span.as_secs())))
}

async fn list(args: &ListArgs) -> Result<Exit, Failure> {
    let mut rows = Vec::new();
    let wanted = |row: &MemberRow| args.tag.as_ref().is_none_or(|tag| row.tags.contains(tag));
    let is_whole = match args.db.shown(&args.control).await? {
        Some(_) if args.show_passwords => {
            return Err(Failure::new(Exit::Usage, "a gateway that runs tells no passwords")
                .hint("name the store where they are kept: --db STORE"));
        }
        Some(client) => {
            running::each(&client, |row| rows.extend(Some(row).filter(wanted))).await?;
            true
        }
        None => {
            let (members, is_whole) =
                if args.show_passwords { args.db.read()? } else { (args.db.read_masked()?, true) };
            rows.extend(members.iter().map(|member| MemberRow::new(member, args.show_passwords)).filter(wanted));
            is_whole
        }
    };
    if args.json {
        print(&to_json(&rows)?)?;
    } else if !rows.is_empty() {
        let header = ["PROXY", "TAGS", "COUNTRY", "OK", "FAILED", "LATENCY", "USED"];
        print(&table(&header, rows.iter().map(cells).collect()))?;
    }
    tell(&count(rows.len(), "proxy", "proxies"));
    Ok(match (is_whole, rows.is_empty()) {
        (false, _) => Exit::Environment,
        (true, true) => Exit::NoResult,
        (true, false) => Exit::Done,
    })
}

/// Who names nobody is told in which ways that can be done: clap would name one of them.
fn which_proxies(ways: &str) -> Failure {
    Failure::new(Exit::Usage, "which proxies?").hint(ways)
}

async fn add(args: AddArgs) -> Result<Exit, Failure> {
    if args.proxies.is_empty() && args.from.is_empty() {
        return Err(which_proxies("name them, PROXY as in http://user:pass@host:port, or lists with --from SOURCE"));
    }
    let gateway = args.db.gateway(&args.control).await?;
    let mut inputs: Vec<_> = args.from.iter().map(|from| sources::Input::Named(from.clone())).collect();
    if !args.proxies.is_empty() {
        let entries: Vec<_> = args.proxies.iter().map(|proxy| as_entry(proxy)).collect();
        inputs.push(sources::Input::Inline(entries.join("\n")));
    }
    let found = sources::read(&inputs, &args.read, &args.plugins, args.db.plugins(), None).await?;
    if let Some(failure) = found.failure() {
        return Err(failure);
    }
    let unread = found.sources.iter().filter(|source| source.error.is_some());
    let is_whole = unread.map(sources::tell_source).count() == 0;
    found.sources.iter().for_each(sources::tell_rejections);
    let exit = match gateway {
        Some(client) => running::add(&client, found, &args.tag).await?,
        None => {
            let is_for_nothing = found.candidates.is_empty();
            let ToChange { mut store, members, is_in_use } = args.db.open_or_create(is_for_nothing)?;
            let mut joining = Joining::new(members, &args.tag);
            joining.rejected = found.rejected();
            joining.again = found.duplicates;
            found.candidates.into_iter().for_each(|candidate| joining.member(listed(candidate)));
            joining.save(&mut *store, is_in_use)?
        }
    };
    Ok(if is_whole { exit } else { Exit::Input })
}

fn now() -> Timestamp {
    Timestamp::default() + SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

async fn remove(args: &RemoveArgs) -> Result<Exit, Failure> {
    if args.proxies.is_empty() && args.tag.is_empty() {
        return Err(which_proxies(
            "name them, PROXY as `pool list` prints them, or all that have a tag with --tag TAG",
        ));
    }
    if let Some(client) = args.db.gateway(&args.control).await? {
        return running::remove(&client, &args.proxies, &args.tag).await;
    }
    let patterns = Patterns::parse(&args.proxies)?;
    let ToChange { mut store, members, is_in_use } = args.db.open_masked()?;
    let keys: Vec<EndpointKey> = members
        .iter()
        .filter(|member| {
            let key = member.endpoint.key();
            patterns.matches(&key) || args.tag.iter().any(|tag| member.tags.contains(tag))
        })
        .map(|member| member.endpoint.key())
        .collect();
    let count = keys.len();
    store.save(&Changes { removed: keys, ..Changes::default() }).map_err(environment)?;
    tell(&format!("{count} removed, {} left", members.len() - count));
    if is_in_use && count > 0 {
        tell_in_use();
    }
    Ok(if count == 0 { Exit::NoResult } else { Exit::Done })
}

/// The pool in numbers. The fields are part of the interface.
#[derive(Debug, Default, Serialize)]
struct Stats {
    members: usize,
    never_used: usize,
    successes: u64,
    failures: u64,
    by_scheme: BTreeMap<String, usize>,
    by_source: BTreeMap<String, usize>,
}

impl Stats {
    fn count(&mut self, scheme: &str, tags: impl Iterator<Item = impl AsRef<str>>, successes: u64, failures: u64) {
        self.members += 1;
        self.never_used += usize::from(successes == 0 && failures == 0);
        self.successes = self.successes.saturating_add(successes);
        self.failures = self.failures.saturating_add(failures);
        *self.by_scheme.entry(scheme.to_owned()).or_default() += 1;
        for tag in tags {
            if let Some(source) = tag.as_ref().strip_prefix("source:") {
                *self.by_source.entry(source.to_owned()).or_default() += 1;
            }
        }
    }
}

async fn stats(args: &StatsArgs) -> Result<Exit, Failure> {
    let mut stats = Stats::default();
    match args.db.shown(&args.control).await? {
        Some(client) => {
            let count = |row: MemberRow| stats.count(scheme(&row.url), row.tags.iter(), row.successes, row.failures);
            running::each(&client, count).await?;
        }
        None => {
            for member in args.db.read_masked()? {
                let (tags, uses) = (member.tags.iter().map(Tag::as_str), &member.statistics);
                stats.count(member.endpoint.scheme.as_str(), tags, uses.successes, uses.failures);
            }
        }
    }
    if args.json {
        print(&to_json(&stats)?)?;
        return Ok(Exit::Done);
    }
    let mut rows = vec![
        vec!["proxies".to_owned(), stats.members.to_string()],
        vec!["never used".to_owned(), stats.never_used.to_string()],
        vec!["uses that went well".to_owned(), stats.successes.to_string()],
        vec!["uses that failed".to_owned(), stats.failures.to_string()],
    ];
    rows.extend(stats.by_scheme.iter().map(|(scheme, count)| vec![format!("protocol {scheme}"), count.to_string()]));
    rows.extend(stats.by_source.iter().map(|(source, count)| vec![format!("source {source}"), count.to_string()]));
    print(&table(&["WHAT", "COUNT"], rows))?;
    Ok(Exit::Done)
}

/// The protocol of a URL, of a chain that of its last hop.
fn scheme(url: &str) -> &str {
    let before = url.rsplit_once("://").map_or("", |(before, _)| before);
    before.rsplit(' ').next().unwrap_or_default()
}
