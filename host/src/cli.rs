//! The command line: what can be typed, and who carries it out.
//!
//! Standard output is data, standard error is talk. Each command is a module below with one `run`.

mod bans;
mod check;
mod checking;
mod completions;
mod config;
mod credentials;
mod demo;
mod explain;
mod fetch;
mod get;
mod judge;
mod man;
mod output;
mod plugin;
mod pool;
mod progress;
mod refresh;
mod reload;
mod requests;
mod rotate;
mod secrets;
mod serve;
mod sites;
mod sources;
mod status;
mod strategy;
mod user;
mod users;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use proxywhirl_core::{Anonymity, Level, Scheme};
use proxywhirl_store::{NotAStore, StoreUrl};

use crate::config::Socket;
use crate::control::Client;
use crate::exit::{Exit, Failure};
use crate::logging::{LogArgs, Logging};

/// Finds proxies, proves that they work, and rotates over them.
#[derive(Debug, Parser)]
#[command(
    name = "proxywhirl",
    version,
    max_term_width = 110,
    after_help = "See it work, with no network and no configuration:  proxywhirl demo\n\n\
                  Exit codes: 0 done; 1 no result; 2 wrong usage or configuration; 3 an input cannot be read; \
                  4 the machine does not allow it."
)]
pub struct Cli {
    #[command(flatten)]
    log: LogArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway: one port for HTTP, CONNECT, SOCKS4(a) and SOCKS5, a new proxy for each request
    Serve(serve::ServeArgs),
    /// Read proxy lists and print the proxies in them
    Fetch(fetch::FetchArgs),
    /// See to the sources of a configuration file, and to the catalogue of public lists
    Sources(sources::command::SourcesArgs),
    /// Check which proxies of a list work
    Check(check::CheckArgs),
    /// Send one request through a proxy of the pool
    Get(Box<get::GetArgs>),
    /// Look at and change a pool: in a store, or that of the running gateway
    Pool(pool::PoolArgs),
    /// Have the running gateway read its sources again, and say what became of what they name
    Refresh(refresh::RefreshArgs),
    /// Say how the running gateway is; ends with 3 when something is not well
    Status(status::StatusArgs),
    /// List the last requests of the running gateway, the newest first
    Requests(requests::RequestsArgs),
    /// Say how a request went, or how one to a URL would be served now
    Explain(explain::ExplainArgs),
    /// Look at and change the strategy of the running gateway
    Strategy(strategy::StrategyCommandArgs),
    /// Have the running gateway take over its configuration file and its plugins directory
    Reload(reload::ReloadArgs),
    /// Give the next request of a listener of the running gateway another proxy
    Rotate(rotate::RotateArgs),
    /// See how proxies do at each site, and who is passed over where
    Sites(sites::SitesArgs),
    /// See who is banned at which site of the running gateway, and lift bans
    Bans(bans::BansArgs),
    /// See and change the logins of proxies of the running gateway, without dropping a tunnel
    Credentials(credentials::CredentialsArgs),
    /// See to the keys that passwords in a store are sealed with: make one, rotate it, see what is sealed
    Secrets(secrets::SecretsArgs),
    /// Look at the configuration: what holds and why, whether all is well, a file to begin with
    Config(config::ConfigCommandArgs),
    /// See to users: hash a password for the configuration
    User(user::UserArgs),
    /// See the users of the running gateway, and what of their limits is used
    Users(users::UsersArgs),
    /// See to plugins, as a user and as an author: strategies, parsers, hooks
    Plugin(plugin::PluginArgs),
    /// Run a judge: the server that proxies are checked against
    Judge(judge::JudgeArgs),
    /// See the whole road at work on this machine, with proxies that are slow, flaky and dead
    Demo(demo::DemoArgs),
    /// Print a script with which a shell completes commands and options
    Completions(completions::CompletionsArgs),
    /// Print the manual page, or write one for each command into a directory
    Man(man::ManArgs),
}

impl Cli {
    /// Carries out what was typed.
    ///
    /// # Errors
    /// Why it could not be done, with the exit code.
    pub async fn run(self) -> Result<Exit, Failure> {
        let watching_service = matches!(self.command, Command::Serve(_) | Command::Judge(_));
        let logging = Logging::start(&self.log, watching_service)?;
        match self.command {
            Command::Serve(args) => serve::run(args, &logging).await,
            Command::Fetch(args) => fetch::run(args, &logging).await,
            Command::Sources(args) => sources::command::run(args, &logging).await,
            Command::Check(args) => check::run(args, &logging).await,
            Command::Get(args) => get::run(*args).await,
            Command::Pool(args) => pool::run(args).await,
            Command::Refresh(args) => refresh::run(args).await,
            Command::Status(args) => status::run(args).await,
            Command::Requests(args) => requests::run(args).await,
            Command::Explain(args) => explain::run(args).await,
            Command::Strategy(args) => strategy::run(args).await,
            Command::Reload(args) => reload::run(args).await,
            Command::Rotate(args) => rotate::run(args).await,
            Command::Sites(args) => sites::run(args).await,
            Command::Bans(args) => bans::run(args).await,
            Command::Credentials(args) => credentials::run(args).await,
            Command::Secrets(args) => secrets::run(&args),
            Command::Config(args) => config::run(&args).await,
            Command::User(args) => user::run(&args),
            Command::Users(args) => users::run(args).await,
            Command::Plugin(args) => plugin::run(args, &logging).await,
            Command::Judge(args) => judge::run(args).await,
            Command::Demo(args) => demo::run(args).await,
            Command::Completions(args) => completions::run(&args),
            Command::Man(args) => man::run(&args),
        }
    }
}

/// The plugins directory, for every command that uses plugins.
#[derive(Debug, Clone, Default, Args)]
struct PluginDirArgs {
    /// Directory with plugins (*.wasm); one of the same name as a bundled plugin replaces it
    #[arg(long, value_name = "DIR", env = "PROXYWHIRL_PLUGINS")]
    plugins: Option<PathBuf>,
}

/// How to reach the gateway that runs, for every command that speaks to it.
#[derive(Debug, Clone, Default, Args)]
struct ControlArgs {
    /// Its control socket [default: that of the configuration, or of the only gateway that runs]
    #[arg(long, value_name = "SOCKET", env = "PROXYWHIRL_CONTROL")]
    control: Option<PathBuf>,
}

impl ControlArgs {
    /// The gateway that is meant; none when none runs, or the configuration gives it no socket. Where no socket is named, it is that of
    /// the configuration: this file, or the one that every command finds. A mistake elsewhere in it does not matter, as somebody looks how
    /// the gateway is because of it.
    ///
    /// # Errors
    /// When several run, and it is not known which is meant, or what the configuration says of it cannot be read.
    async fn find(&self, config: Option<&Path>) -> Result<Option<Client>, Failure> {
        if let Some(socket) = &self.control {
            return Ok(Some(Client::at(socket)));
        }
        let settings = config::place_of_gateway(config).await?;
        if settings.control == Socket::Off {
            return Ok(None);
        }
        Client::find(settings.control.path(), settings.store.as_ref()).await
    }

    /// The same, where there must be one.
    ///
    /// # Errors
    /// When none runs, or several do.
    async fn running(&self) -> Result<Client, Failure> {
        self.find(None).await?.ok_or_else(|| {
            let why = "no gateway of yours is running on this machine, or it has no control socket";
            Failure::new(Exit::Environment, why)
                .hint("start one with `proxywhirl serve`, or name its socket with --control SOCKET")
        })
    }
}

/// The strategy, for every command that serves requests.
#[derive(Debug, Clone, Default, Args)]
struct StrategyArgs {
    /// How proxies are chosen: the name of a strategy, see `proxywhirl plugin list` [default: round-robin]
    #[arg(long, value_name = "NAME", env = "PROXYWHIRL_STRATEGY")]
    strategy: Option<String>,
    /// Options of the strategy, as JSON
    #[arg(long, value_name = "JSON", value_parser = serve::parse_json)]
    strategy_options: Option<serde_json::Value>,
}

/// How to speak to proxies, for every command that dials them.
#[derive(Debug, Clone, Default, Args)]
struct UpstreamArgs {
    /// For dial, TLS and handshake with a proxy together, such as 5s
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    connect_timeout: Option<Duration>,
    /// Accept any certificate of https:// proxies, as curl does
    #[arg(long)]
    proxy_insecure: bool,
    /// Certificates (PEM) to trust for https:// proxies, beside the system's, as curl does
    #[arg(long, value_name = "FILE")]
    proxy_cacert: Option<PathBuf>,
}

/// Where a pool is kept, as it was written. What it means is found out later, because a refusal of the command line repeats what
/// was written, and passwords are in URLs.
#[derive(Debug, Clone)]
struct StoreArg(String);

impl From<&str> for StoreArg {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl StoreArg {
    fn url(&self) -> Result<StoreUrl, Failure> {
        self.0.parse().map_err(|error: NotAStore| Failure::new(Exit::Usage, error))
    }
}

/// How to read lists, for every command that reads them.
#[derive(Debug, Clone, Default, Args)]
struct ReadArgs {
    /// The parser, such as text, json, csv or html-table; found out from the content if not given
    #[arg(long, value_name = "NAME")]
    parser: Option<String>,
    /// The scheme of entries that name none [default: http]
    #[arg(long, value_name = "SCHEME")]
    scheme: Option<Scheme>,
}

/// How to check, for every command that checks.
#[derive(Debug, Clone, Default, Args)]
struct CheckingArgs {
    /// URL of a judge, for level http and deeper; not needed when all proxies are on this machine. Can be given again
    #[arg(long, value_name = "URL")]
    judge: Vec<String>,
    /// The least anonymity that passes level anonymity: transparent, anonymous or elite
    #[arg(long, value_name = "WORD", value_parser = parse_anonymity)]
    anonymity: Option<Anonymity>,
    /// Leave the protocol as guessed where a list names none, instead of finding it out
    #[arg(long)]
    no_detect: bool,
    /// Your own URL, for level target
    #[arg(long, value_name = "URL")]
    target: Option<String>,
    /// Statuses that the target may answer, such as 200-299,304 [default: 200-299]
    #[arg(long, value_name = "STATUSES", requires = "target")]
    expect_status: Option<String>,
    /// A regular expression that the target's body must match
    #[arg(long, value_name = "REGEX", requires = "target")]
    expect_body: Option<String>,
    /// A field that the target's answer must have, and a regular expression for its value. Can be given again
    #[arg(long, value_name = "NAME: REGEX", requires = "target", value_parser = parse_field)]
    expect_header: Vec<(String, String)>,
    /// For one connection of a check, such as 5s [default: 5s]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
    /// Checks at once [default: 256]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: Option<u16>,
    /// Checks of one host at once [default: 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    per_host: Option<u16>,
}

fn parse_anonymity(word: &str) -> Result<Anonymity, String> {
    crate::config::check::anonymity(word)
}

fn parse_field(text: &str) -> Result<(String, String), String> {
    let (name, pattern) = text.split_once(':').ok_or("a field is written NAME: REGEX")?;
    Ok((name.trim().to_owned(), pattern.trim_start().to_owned()))
}

/// How far a check goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LevelArg {
    /// It is written as a proxy is written
    Format,
    /// Its name has an address
    Dns,
    /// Something accepts connections there
    Tcp,
    /// It speaks the protocol of a proxy
    Protocol,
    /// A request through it reaches the judge, and the judge's own answer comes back
    Http,
    /// A tunnel through it reaches the judge, and TLS in it is the judge's own
    Tls,
    /// The judge sees as little of us as --anonymity asks for
    Anonymity,
    /// The --target answers through it as expected
    Target,
}

impl From<LevelArg> for Level {
    fn from(level: LevelArg) -> Self {
        match level {
            LevelArg::Format => Self::Format,
            LevelArg::Dns => Self::Dns,
            LevelArg::Tcp => Self::Tcp,
            LevelArg::Protocol => Self::Protocol,
            LevelArg::Http => Self::Http,
            LevelArg::Tls => Self::Tls,
            LevelArg::Anonymity => Self::Anonymity,
            LevelArg::Target => Self::Target,
        }
    }
}
