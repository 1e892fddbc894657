//! `proxywhirl credentials`: the logins of proxies of the running gateway, rotated without dropping a tunnel.

use std::io::{BufRead as _, IsTerminal as _};
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use proxywhirl_core::Credentials;
use proxywhirl_core::secret::Zeroizing;
use proxywhirl_engine::ingest::tag_of;
use serde::Serialize;

use super::ControlArgs;
use super::output::{count, print, table, tell, to_json};
use crate::control::api::{CredentialsRead, CredentialsRow, CredentialsSet, RefreshCredentials, UnsetCredentials};
use crate::exit::{Exit, Failure};

/// Arguments of `credentials`.
#[derive(Debug, Args)]
pub(super) struct CredentialsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the logins that stand in place of those that proxies came with
    List(ListArgs),
    /// Set a login; the password is read from standard input. It is kept where the pool is kept. What is connected stays so
    Set(SetArgs),
    /// Take a login back that was set, so that its proxies are used with what the configuration says, or with what they came with
    Unset(UnsetArgs),
    /// Read logins again from where the configuration says that they are kept
    Refresh(RefreshArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    control: ControlArgs,
    /// Print a JSON array with an object a login, for scripts
    #[arg(long)]
    json: bool,
}

/// Whose login is meant.
#[derive(Debug, Args)]
struct WhoseArgs {
    /// For the proxies with this tag
    #[arg(long, value_name = "TAG", conflicts_with_all = ["name", "source"])]
    tag: Option<String>,
    /// For those of this source
    #[arg(long, value_name = "SOURCE", conflicts_with = "name")]
    source: Option<String>,
    /// For those at this host
    #[arg(long, value_name = "HOST", conflicts_with = "name")]
    host: Option<String>,
    /// For this one; its password is not needed
    #[arg(long, value_name = "URL", conflicts_with = "name")]
    proxy: Option<String>,
}

impl WhoseArgs {
    /// Refuses a command that says neither a name nor whose login it is.
    fn or_named(&self, name: Option<&str>) -> Result<(), Failure> {
        let said = [name, self.tag.as_deref(), self.source.as_deref(), self.host.as_deref(), self.proxy.as_deref()];
        if said.iter().any(Option::is_some) {
            return Ok(());
        }
        Err(Failure::new(Exit::Usage, "whose login?")
            .hint("say its NAME, or whose it is with --tag TAG, --source SOURCE, --host HOST or --proxy URL"))
    }

    fn tag(&self) -> Result<Option<String>, Failure> {
        let Some(source) = &self.source else { return Ok(self.tag.clone()) };
        let tag = tag_of(source).ok_or_else(|| {
            Failure::new(Exit::Usage, format!("the proxies of a source {source:?} have no tag of its own"))
        })?;
        Ok(Some(tag.to_string()))
    }
}

#[derive(Debug, Args)]
struct SetArgs {
    /// The name of [[credentials]] in the configuration; or say whose it is
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// The user name
    #[arg(long, value_name = "USER")]
    username: String,
    #[command(flatten)]
    whose: WhoseArgs,
    #[command(flatten)]
    control: ControlArgs,
    /// Print JSON, for scripts
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct UnsetArgs {
    /// Its name, as `credentials list` shows it; or say whose it is
    #[arg(value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    whose: WhoseArgs,
    #[command(flatten)]
    control: ControlArgs,
    /// Print JSON, for scripts
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct RefreshArgs {
    /// Only these; all of them when none is named
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    control: ControlArgs,
    /// Print a JSON array with an object a login, for scripts
    #[arg(long)]
    json: bool,
}

/// What is sent: only here does a password stand in clear text, on its way to a socket that only the user can open.
#[derive(Serialize)]
struct Sent<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proxy: Option<&'a str>,
    username: &'a str,
    password: &'a str,
}

/// Carries out `credentials`.
pub(super) async fn run(args: CredentialsArgs) -> Result<Exit, Failure> {
    match args.command {
        Command::List(args) => list(args).await,
        Command::Set(args) => set(args).await,
        Command::Unset(args) => unset(args).await,
        Command::Refresh(args) => refresh(args).await,
    }
}

async fn list(args: ListArgs) -> Result<Exit, Failure> {
    let client = args.control.running().await?;
    let rows: Vec<CredentialsRow> = client.get("/v1/credentials").await?;
    if args.json {
        print(&to_json(&rows)?)?;
    } else if rows.is_empty() {
        tell("every proxy is used with the login that it came with");
    } else {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        print(&in_rows(&rows, now))?;
    }
    Ok(if rows.is_empty() { Exit::NoResult } else { Exit::Done })
}

async fn set(args: SetArgs) -> Result<Exit, Failure> {
    args.whose.or_named(args.name.as_deref())?;
    let password = password()?;
    // What the gateway would refuse is refused before it is sent.
    Credentials::new(&args.username, &password).map_err(|error| Failure::new(Exit::Usage, error))?;
    let client = args.control.running().await?;
    let tag = args.whose.tag()?;
    let sent = Sent {
        name: args.name.as_deref(),
        tag: tag.as_deref(),
        host: args.whose.host.as_deref(),
        proxy: args.whose.proxy.as_deref(),
        username: &args.username,
        password: &password,
    };
    let set: CredentialsSet = client.post("/v1/credentials", &sent).await?;
    if args.username.contains(':') {
        // RFC 7617 §2: what is before the first colon is the user name.
        tell("warning: an HTTP proxy takes what follows the colon in the user name for the password; SOCKS5 does not");
    }
    if args.json {
        print(&to_json(&set)?)?;
    } else {
        let what = if set.changed { "in force" } else { "as before" };
        tell(&format!("{}: {what}, for {}, {}", set.name, count(set.proxies, "proxy", "proxies"), set.lasts));
    }
    if let Some(problem) = set.problem {
        return Err(Failure::new(Exit::Environment, format!("{} could not be kept: {problem}", set.name)));
    }
    Ok(Exit::Done)
}

async fn unset(args: UnsetArgs) -> Result<Exit, Failure> {
    args.whose.or_named(args.name.as_deref())?;
    let tag = args.whose.tag()?;
    let client = args.control.running().await?;
    let body = UnsetCredentials { name: args.name, tag, host: args.whose.host, proxy: args.whose.proxy };
    let unset: CredentialsSet = client.post("/v1/credentials/unset", &body).await?;
    if args.json {
        print(&to_json(&unset)?)?;
    } else {
        let what = if unset.changed { "taken back" } else { "there was nothing to take back" };
        tell(&format!("{}: {what}, for {}", unset.name, count(unset.proxies, "proxy", "proxies")));
    }
    Ok(if unset.changed { Exit::Done } else { Exit::NoResult })
}

async fn refresh(args: RefreshArgs) -> Result<Exit, Failure> {
    let client = args.control.running().await?;
    let body = RefreshCredentials { names: args.names };
    let read: Vec<CredentialsRead> = client.post("/v1/credentials/refresh", &body).await?;
    if args.json {
        print(&to_json(&read)?)?;
    } else {
        for CredentialsRead { name, changed, problem } in &read {
            let what = match problem {
                Some(problem) => format!("not read, those before stay: {problem}"),
                None if *changed => "new, and in force".to_owned(),
                None => "as before".to_owned(),
            };
            tell(&format!("{name}: {what}"));
        }
    }
    if read.is_empty() {
        tell("there are no credentials that are read from somewhere: see [[credentials]] in configuration.md");
        return Ok(Exit::NoResult);
    }
    Ok(if read.iter().any(|one| one.problem.is_some()) { Exit::Input } else { Exit::Done })
}

/// The password, from standard input.
fn password() -> Result<Zeroizing<String>, Failure> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        tell("the password, and Enter (it is shown while you type; a pipe shows nothing):");
    }
    let mut line = Zeroizing::new(String::with_capacity(Credentials::MAX + 3));
    let mut limited = std::io::Read::take(stdin.lock(), Credentials::MAX as u64 + 3);
    limited.read_line(&mut line).map_err(|error| Failure::new(Exit::Input, format!("standard input: {error}")))?;
    let length = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(length);
    let mut rest = [0];
    let more = if stdin.is_terminal() { Ok(0) } else { std::io::Read::read(&mut limited, &mut rest) };
    if more.map_err(|error| Failure::new(Exit::Input, format!("standard input: {error}")))? > 0 {
        return Err(Failure::new(Exit::Usage, "there is more than a line on standard input, and a password is one"));
    }
    if line.is_empty() {
        return Err(Failure::new(Exit::Usage, "there is no password on standard input")
            .hint("as in: printf %s \"$PASSWORD\" | proxywhirl credentials set vendor --username me"));
    }
    Ok(line)
}

fn in_rows(rows: &[CredentialsRow], now: Duration) -> String {
    let row = |row: &CredentialsRow| {
        let ago = row.read.map(|read| Duration::from_secs(now.saturating_sub(Duration::from_micros(read)).as_secs()));
        let read = ago.map_or_else(|| "never".to_owned(), |ago| format!("{} ago", humantime::format_duration(ago)));
        vec![
            row.name.clone(),
            row.whose.clone(),
            row.proxies.to_string(),
            row.username.clone().unwrap_or_else(|| "as they came".to_owned()),
            row.from.clone(),
            row.problem.as_ref().map_or(read.clone(), |problem| format!("{read}: {problem}")),
        ]
    };
    table(&["NAME", "WHOSE", "PROXIES", "USER", "FROM", "READ"], rows.iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_told_with_their_problems_and_without_passwords() {
        let row = |name: &str, username: Option<&str>, read, problem: Option<&str>| CredentialsRow {
            name: name.to_owned(),
            whose: "tag paid".to_owned(),
            proxies: 3,
            username: username.map(str::to_owned),
            from: "/run/login".to_owned(),
            read,
            problem: problem.map(str::to_owned),
        };
        let rows = [
            row("vendor", Some("me-7"), Some(1_000_000), None),
            row("other", None, None, None),
            row("broken", Some("me"), Some(61_000_000), Some("it is empty")),
        ];
        insta::assert_snapshot!(in_rows(&rows, Duration::from_secs(62)), @r"
        NAME    WHOSE     PROXIES  USER          FROM        READ
        vendor  tag paid  3        me-7          /run/login  1m 1s ago
        other   tag paid  3        as they came  /run/login  never
        broken  tag paid  3        me            /run/login  1s ago: it is empty
        ");
    }
}
