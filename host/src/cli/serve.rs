//! `proxywhirl serve`: the gateway.

mod files;
mod operating;

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;

use clap::Args;
use proxywhirl_engine::source::Location;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::config::{self, wrong};
use super::output::{count, print, tell};
use super::sources::{self, SourceReport};
use super::{PluginDirArgs, ReadArgs, StoreArg, StrategyArgs, UpstreamArgs};
use crate::config::{EventLogSettings, Layers, PluginUse, Settings, Socket, SourceSettings};
use crate::exit::{Exit, Failure};
use crate::live::Configuration;
use crate::logging::Logging;
use crate::wiring::listeners::Entrances;
use crate::wiring::{self, Filled, Filling, Service};
use operating::{Operating, Prepared};

/// Arguments of `serve`. What is given here wins over the configuration.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// The configuration file, see host/docs/configuration.md [default: the first of proxywhirl.toml here, in
    /// ~/.config/proxywhirl, in /etc/proxywhirl]
    #[arg(long, value_name = "FILE", env = "PROXYWHIRL_CONFIG")]
    config: Option<PathBuf>,
    /// Where to listen [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR", env = "PROXYWHIRL_LISTEN")]
    listen: Option<String>,
    /// Listen where other machines can reach it, although nobody has to log in
    #[arg(long)]
    insecure: bool,
    #[command(flatten)]
    plugins: PluginDirArgs,
    #[command(flatten)]
    strategy: StrategyArgs,
    /// Proxies to use as they are, unproven: a file, a URL of a list, - for standard input, or a proxy itself; may be
    /// given several times
    #[arg(long, value_name = "FILE|URL|-")]
    proxies: Vec<String>,
    #[command(flatten)]
    read: ReadArgs,
    /// Where the pool and its statistics are kept over restarts: sqlite:FILE, file:FILE.json, file:FILE.jsonl, redis://HOST or memory:; FILE alone is SQLite
    #[arg(long, visible_alias = "store", value_name = "STORE", env = "PROXYWHIRL_DB")]
    db: Option<StoreArg>,
    /// How many proxies a request tries at the most [default: 5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    attempts: Option<u32>,
    #[command(flatten)]
    upstream: UpstreamArgs,
    /// Where commands reach the gateway while it runs; `off` for nowhere [default: a socket of yours in the runtime
    /// directory]
    #[arg(long, value_name = "SOCKET|off", env = "PROXYWHIRL_CONTROL")]
    control: Option<Socket>,
    /// Take over changes of the configuration file and the plugins directory only when told to
    #[arg(long)]
    no_watch: bool,
    /// Write every event to this file, a JSON object a line
    #[arg(long, value_name = "FILE")]
    event_log: Option<PathBuf>,
}

/// Reads JSON from the command line.
pub(super) fn parse_json(text: &str) -> Result<serde_json::Value, serde_json::Error> {
    serde_json::from_str(text)
}

impl StrategyArgs {
    /// What is given here wins over the configuration.
    pub(super) fn apply(&self, settings: &mut Settings) {
        if let Some(name) = &self.strategy {
            // The options in the file are for the strategy in the file.
            settings.strategy = PluginUse::of(name);
        }
        set(&mut settings.strategy.options, self.strategy_options.as_ref());
    }
}

impl ServeArgs {
    fn settings(&self, layers: &Layers) -> Result<Settings, Failure> {
        let mut settings = layers.settings().map_err(wrong)?;
        settings.listen = self.listen.clone().or(settings.listen);
        settings.insecure = self.insecure;
        self.strategy.apply(&mut settings);
        set(&mut settings.gateway.attempts, self.attempts.as_ref());
        settings.store = self.db.as_ref().map(StoreArg::url).transpose()?.or(settings.store);
        settings.plugins.directory = self.plugins.plugins.clone().or(settings.plugins.directory);
        self.upstream.apply(&mut settings);
        settings.plugins.watch &= !self.no_watch;
        set(&mut settings.control, self.control.as_ref());
        if let Some(file) = &self.event_log {
            settings.events = Some(EventLogSettings::new(file.clone()));
        }
        for named in &self.proxies {
            settings.sources.push(typed(named, &self.read)?);
        }
        Ok(settings)
    }

    fn configuration(&self, layers: &Layers) -> Result<Configuration, Failure> {
        Ok(Configuration { settings: self.settings(layers)?, has_keys: layers.has_keys })
    }
}

impl UpstreamArgs {
    /// What is given here wins over the configuration.
    pub(super) fn apply(&self, settings: &mut Settings) {
        set(&mut settings.gateway.connect_timeout, self.connect_timeout.as_ref());
        settings.verify_upstream &= !self.proxy_insecure;
        settings.upstream_ca = self.proxy_cacert.clone().or(settings.upstream_ca.take());
    }
}

fn set<T: Clone>(setting: &mut T, given: Option<&T>) {
    if let Some(given) = given {
        setting.clone_from(given);
    }
}

/// A source as a user has typed it.
///
/// # Errors
/// When it can be none: that is wrong usage, while one of the configuration costs the others nothing.
pub(super) fn typed(named: &str, read: &ReadArgs) -> Result<SourceSettings, Failure> {
    named.parse::<Location>().map_err(|error| Failure::new(Exit::Usage, error))?;
    Ok(trusted(named, read))
}

/// A source that the command line names: the user vouches for it.
pub(super) fn trusted(named: &str, read: &ReadArgs) -> SourceSettings {
    SourceSettings { parser: read.parser.clone(), scheme: read.scheme, trust: true, ..SourceSettings::at(named) }
}

/// Says where it listens, and with what.
fn announce(entrances: &Entrances, with: &str) -> Result<(), Failure> {
    let address = entrances.places();
    print(&format!("listening on {address}"))?;
    let plain = entrances.plain_address();
    let example = plain.map_or_else(String::new, |at| format!("; try: curl -x http://{at} http://example.com/"));
    tell(&format!("HTTP, CONNECT, SOCKS4a and SOCKS5 at {address}; {with}{example}"));
    Ok(())
}

/// What the system is to allow, and what not.
fn ask_the_system(settings: &Settings) {
    files::forbid_core_dumps(settings.core_dumps);
    files::raise_limit(settings.gateway.max_connections);
}

/// What proxies are called decides how much may be asked of them, and with which credentials: both come first.
async fn before_dialling(service: &Service, settings: &Settings) {
    service.relabel(&settings.sources).await;
    service.credentials().configure(settings.credentials.clone()).await;
}

/// Carries out `serve`: serves until it is told to stop.
pub(super) async fn run(args: ServeArgs, logging: &Logging) -> Result<Exit, Failure> {
    let layers = config::layers(args.config.as_deref())?;
    let settings = args.settings(&layers)?;
    if settings.sources.is_empty() && settings.store.is_none() {
        return Err(Failure::new(Exit::Usage, "there is nothing to serve: no proxies, no sources, no database")
            .hint("name a list with --proxies FILE, or try `proxywhirl demo`"));
    }
    ask_the_system(&settings);
    // First of all, so that an address in use costs no waiting for sources.
    let opened = wiring::listeners::open(&settings).await?;
    let prepared = Prepared::new(&settings, layers.file.clone()).await?;
    let service = Service::start(&settings, prepared.bus())?;
    let entrances = Entrances::new(service.gateway().clone(), opened, service.besides(&settings)?);
    let (trusted, unproven): (Vec<_>, Vec<_>) = settings.sources.iter().cloned().partition(|source| source.trust);
    service.can_read(&unproven)?;
    let (checked, listed) = (if unproven.is_empty() { "" } else { ", more are being checked" }, trusted.len());
    before_dialling(&service, &settings).await;
    let strategy = settings.strategy.name.clone();
    // The file that was found stays the one, whatever else appears where files are looked for.
    let configuration = Configuration { settings, has_keys: layers.has_keys };
    let reader = Box::new(move || args.configuration(&config::layers_again(layers.file.as_deref())?));
    let operating = prepared.start((service.clone(), Arc::clone(&entrances)), configuration, reader, logging);
    let shutdown = operating.shutdown();
    let (trusted, unproven) = (service.own(trusted).await, service.own(unproven).await);
    let read = trusted.len();
    let filling = tokio::select! {
        filling = service.fill_at_start(trusted) => filling?,
        () = shutdown.cancelled() => {
            operating.stop(&service).await?;
            return Ok(Exit::Done);
        }
    };
    let members = service.engine().snapshot().len();
    // Those that another gateway reads come from there, and a store that cannot be reached yet may bring some.
    let may_have_some = read < listed || service.engine().store_trouble().is_some();
    let more = match &filling {
        Filling::Over(filled) if members == 0 && checked.is_empty() && !may_have_some => {
            operating.stop(&service).await?;
            return Err(nothing(filled));
        }
        Filling::Over(filled) => {
            report(filled);
            if service.engine().is_loading() { ", more are being loaded" } else { checked }
        }
        Filling::GoesOn(_) => ", more are being read",
    };
    let mut filling = service.fill_in_background(filling, unproven);
    announce(&entrances, &format!("{}{more}, strategy {strategy}", count(members, "proxy", "proxies")))?;
    operating.tell();
    let keeping = service.keep(shutdown.clone());
    service.read_at_intervals(&shutdown);
    serve(&entrances, &shutdown, &operating, &mut filling).await;
    filling.abort();
    service.read_no_more();
    if let Some(keeping) = keeping {
        keeping.abort();
    }
    operating.stop(&service).await?;
    Ok(Exit::Done)
}

/// Serves until it is told to stop, and clients have left; meanwhile it says when the sources of the start have been read.
async fn serve(
    entrances: &Entrances,
    shutdown: &CancellationToken,
    operating: &Operating,
    filling: &mut JoinHandle<()>,
) {
    let mut serving = pin!(entrances.serve(shutdown));
    let drained = tokio::select! {
        biased;
        drained = &mut serving => drained,
        _ = filling => {
            operating.filled();
            serving.await
        }
    };
    tracing::info!(connections.ended = drained.ended, connections.cut = drained.cut, "stopped listening");
}

fn report(filled: &Filled) {
    for source in &filled.sources {
        sources::tell_source(source);
    }
    if filled.admissions.full > 0 {
        tell(&format!(
            "warning: the pool is full, {} left out (pool.capacity)",
            count(filled.admissions.full, "proxy", "proxies")
        ));
    }
}

/// Why there is nothing to serve, from what became of the sources.
fn nothing(filled: &Filled) -> Failure {
    let error = filled.sources.iter().find_map(|source: &SourceReport| source.error.clone());
    match error {
        Some(error) => Failure::new(Exit::Input, error),
        None if filled.sources.is_empty() => {
            Failure::new(Exit::NoResult, "the database holds no proxy, so there is nothing to serve")
                .hint("add some with `proxywhirl pool add --db FILE PROXY`, or name a list with --proxies FILE")
        }
        None => {
            report(filled);
            Failure::new(Exit::NoResult, "no proxy was found, so there is nothing to serve")
                .hint("`proxywhirl fetch` shows what is in a list, and what is wrong with its lines")
        }
    }
}
