//! What the configuration means, with the command line applied.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proxywhirl_core::breaker::BreakerConfig;
use proxywhirl_core::pool::Pool;
use proxywhirl_engine::{EngineConfig, LimitsConfig, SitesConfig};
use proxywhirl_gateway::wanted::{Grammar, Limits};
use proxywhirl_gateway::{GatewayConfig, IdleConfig};
use proxywhirl_store::StoreUrl;

use super::bans;
use super::check::CheckSettings;
use super::control::Socket;
use super::credentials::{self, CredentialsSettings};
use super::events::EventLogSettings;
use super::fetch::{BrowserSettings, FetchSettings};
use super::file::{ConfigError, ConfigFile, GatewaySection, HealthSection, HookSection, Span, UpstreamSection};
use super::listeners::{self, ListenerSettings};
use super::plugins::PluginsSettings;
use super::retry;
use super::size::Size;
use super::sources::{self, SourceSettings};
use super::users::AccessSettings;

/// Where the gateway listens if nothing else is said: on this machine only.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:8080";

/// The strategy if nothing else is said.
pub const DEFAULT_STRATEGY: &str = "round-robin";

/// Where the keys are that passwords in a store are sealed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyPlace {
    /// A file.
    File(PathBuf),
    /// An environment variable, also of `.env`.
    Environment(String),
}

/// A plugin that is used, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct PluginUse {
    /// The plugin's name.
    pub name: String,
    /// Its options, as JSON: an object, or null for none.
    pub options: serde_json::Value,
}

impl PluginUse {
    /// A plugin with its default options.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self { name: name.to_owned(), options: serde_json::Value::Null }
    }

    /// The options as plugins get them: JSON text, an object.
    #[must_use]
    pub fn options_json(&self) -> String {
        if self.options.is_null() { "{}".to_owned() } else { self.options.to_string() }
    }
}

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Where the gateway listens, `HOST:PORT`, beside its listeners.
    pub listen: Option<String>,
    /// Where clients come in, with what is particular about each place.
    pub listeners: Vec<ListenerSettings>,
    /// Who may use the gateway.
    pub access: AccessSettings,
    /// Whether other machines may use it without a password.
    pub insecure: bool,
    /// Whether a crash may leave an image of the memory.
    pub core_dumps: bool,
    /// The gateway.
    pub gateway: GatewayConfig,
    /// Whether the certificate of an `https://` proxy must hold.
    pub verify_upstream: bool,
    /// Certificates that are trusted beside the system's, in PEM.
    pub upstream_ca: Option<PathBuf>,
    /// The same, as text.
    pub upstream_ca_pem: Option<Vec<u8>>,
    /// How much may be asked of proxies and sites.
    pub limits: LimitsConfig,
    /// How many members the pool may have.
    pub capacity: usize,
    /// Whether sources that are not trusted may name addresses of private networks.
    pub allow_private: bool,
    /// The largest share of the members that may be banned at one site.
    pub max_banned: f32,
    /// When a proxy is kept away from requests.
    pub breaker: BreakerConfig,
    /// What is remembered of proxies at sites, and when one is passed over there.
    pub sites: SitesConfig,
    /// Where the pool is kept; none to keep nothing.
    pub store: Option<StoreUrl>,
    /// Where the keys are that passwords in it are sealed with; none to keep them in clear text.
    pub store_keys: Option<KeyPlace>,
    /// How often statistics are saved.
    pub save_interval: Duration,
    /// Where plugins are, and what they may use.
    pub plugins: PluginsSettings,
    /// How members are chosen.
    pub strategy: PluginUse,
    /// How proxies are proven.
    pub check: CheckSettings,
    /// Databases that say where addresses are.
    pub geo: Vec<PathBuf>,
    /// Where events are written.
    pub events: Option<EventLogSettings>,
    /// Where commands reach the running gateway.
    pub control: Socket,
    /// How sources are fetched.
    pub fetch: FetchSettings,
    /// How pages are rendered.
    pub browser: BrowserSettings,
    /// How many requests are remembered.
    pub history: usize,
    /// Who hears events.
    pub hooks: Vec<PluginUse>,
    /// Where proxies come from.
    pub sources: Vec<SourceSettings>,
    /// User names and passwords in place of those that proxies came with.
    pub credentials: Vec<CredentialsSettings>,
}

/// More requests than this are not remembered: that is what logs are for.
pub(super) const MOST_REMEMBERED: usize = 1_000_000;

/// Ordinary clients send some hundred bytes, and more with cookies.
pub(super) const LEAST_HEAD: usize = 1 << 10;

/// Every tunnel that waits for its origin may keep so much.
pub(super) const MOST_FIRST_FLIGHT: Size = Size(64 << 10);

/// The outcomes that a breaker remembers.
pub(super) const MOST_SAMPLES: u32 = 100;

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: Some(DEFAULT_LISTEN.to_owned()),
            listeners: Vec::new(),
            access: AccessSettings::default(),
            insecure: false,
            core_dumps: false,
            gateway: GatewayConfig::default(),
            verify_upstream: true,
            upstream_ca: None,
            upstream_ca_pem: None,
            limits: LimitsConfig::default(),
            capacity: Pool::DEFAULT_CAPACITY,
            allow_private: false,
            max_banned: bans::MAX_BANNED,
            breaker: BreakerConfig::default(),
            sites: SitesConfig::default(),
            store: None,
            store_keys: None,
            save_interval: Duration::from_secs(1),
            plugins: PluginsSettings::default(),
            strategy: PluginUse::of(DEFAULT_STRATEGY),
            check: CheckSettings::default(),
            geo: Vec::new(),
            events: None,
            control: Socket::default(),
            fetch: FetchSettings::default(),
            browser: BrowserSettings::default(),
            history: EngineConfig::HISTORY,
            hooks: Vec::new(),
            sources: Vec::new(),
            credentials: Vec::new(),
        }
    }
}

impl Settings {
    /// What a file means. Relative paths in it are relative to its folder.
    ///
    /// # Errors
    /// When a value is out of its range.
    pub fn from_file(file: ConfigFile, path: &Path) -> Result<Self, ConfigError> {
        let wrong = |reason: String| ConfigError::in_file(path, reason);
        let folder = path.parent().unwrap_or(Path::new(""));
        let at = |relative: PathBuf| folder.join(relative);
        let default = Self::default();
        let gateway = gateway(&file.gateway).map_err(wrong)?;
        let limits = Limits { attempts: gateway.attempts, deadline: gateway.request_deadline };
        let listeners = listeners::meaning(file.listeners, limits, folder).map_err(wrong)?;
        let listen = listen(file.listen, default.listen, &listeners).map_err(wrong)?;
        let access = file.access.meaning(file.users).map_err(wrong)?;
        let grammars =
            listen.iter().map(|_| Grammar::default()).chain(listeners.iter().map(|listener| listener.grammar));
        access.can_log_in(&grammars.collect::<Vec<_>>(), limits).map_err(wrong)?;
        let sources = sources::meaning(file.sources, &file.catalogue, folder).map_err(wrong)?;
        let names: Vec<&str> = sources.iter().map(|source| source.name.as_str()).collect();
        let credentials = credentials::meaning(file.credentials, &names, folder).map_err(wrong)?;
        Ok(Self {
            credentials,
            listen,
            listeners,
            access,
            insecure: false,
            core_dumps: file.core_dumps.unwrap_or(default.core_dumps),
            gateway: GatewayConfig {
                bans: bans::meaning(&file.bans).map_err(wrong)?,
                upstream_idle: idle(&file.upstream),
                ..gateway
            },
            max_banned: bans::share(file.pool.max_banned).map_err(wrong)?,
            verify_upstream: file.upstream.verify.unwrap_or(true),
            upstream_ca: file.upstream.ca_file.map(at),
            upstream_ca_pem: None,
            limits: file.limits.meaning(&names).map_err(wrong)?,
            capacity: capacity(file.pool.capacity).map_err(wrong)?,
            allow_private: file.pool.allow_private.unwrap_or(default.allow_private),
            breaker: breaker(&file.health).map_err(wrong)?,
            sites: file.sites.meaning().map_err(wrong)?,
            store: store(file.store.url.as_deref(), folder).map_err(wrong)?,
            store_keys: store_keys(file.store.key_file, file.store.key_env, folder).map_err(wrong)?,
            save_interval: span(file.store.save_interval, default.save_interval),
            plugins: file.plugins.meaning(folder).map_err(wrong)?,
            strategy: PluginUse {
                name: file.strategy.name.unwrap_or(default.strategy.name),
                options: json(file.strategy.options).map_err(|why| wrong(format!("strategy.{why}")))?,
            },
            check: file.check.meaning().map_err(wrong)?,
            geo: file.geo.databases.into_iter().map(at).collect(),
            events: file.events.meaning(folder).map_err(wrong)?,
            control: file.control.meaning(folder),
            fetch: file.fetch.meaning(folder).map_err(wrong)?,
            browser: file.browser.meaning(folder).map_err(wrong)?,
            history: history(file.history.requests).map_err(wrong)?,
            hooks: file.hooks.into_iter().map(hook).collect::<Result<_, _>>().map_err(wrong)?,
            sources,
        })
    }
}

fn hook(written: HookSection) -> Result<PluginUse, String> {
    let options = json(written.options).map_err(|why| format!("hook {:?}: {why}", written.name))?;
    Ok(PluginUse { name: written.name, options })
}

/// Where it listens beside the listeners: at the default address when there are none.
fn listen(
    written: Option<String>,
    default: Option<String>,
    listeners: &[ListenerSettings],
) -> Result<Option<String>, String> {
    let listen = written.map(address).transpose()?.or(default.filter(|_| listeners.is_empty()));
    listeners::differ(listen.as_deref(), listeners)?;
    Ok(listen)
}

/// What every address of a gateway is, though not all that is this is one.
pub(super) const LISTEN: &str = r"^[\s\S]+:\+?[0-9]+$";

pub(super) fn address(address: String) -> Result<String, String> {
    let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
    match port.map(str::parse::<u16>) {
        Some(Ok(_)) => Ok(address),
        Some(Err(_)) | None => Err(format!("listen {address:?} is no address with a port, such as 127.0.0.1:8080")),
    }
}

fn span(written: Option<Span>, default: Duration) -> Duration {
    written.map_or(default, |span| span.0)
}

pub(super) fn at_least_one<T: PartialOrd + From<u8>>(key: &str, written: Option<T>, default: T) -> Result<T, String> {
    match written {
        Some(value) if value < T::from(1) => Err(format!("{key} must be at least 1")),
        Some(value) => Ok(value),
        None => Ok(default),
    }
}

/// A time in which something can happen.
pub(super) fn lasting(key: &str, written: Option<Span>, default: Duration) -> Result<Duration, String> {
    match written {
        Some(Span(Duration::ZERO)) => Err(format!("{key} must be longer than nothing")),
        written => Ok(span(written, default)),
    }
}

/// What grows, and where it ends: `(first, most)`, each with its key.
pub(super) fn in_order((first_key, first): (&str, Duration), (most_key, most): (&str, Duration)) -> Result<(), String> {
    if first <= most {
        return Ok(());
    }
    let written = humantime::format_duration;
    Err(format!("{first_key} {} is longer than {most_key}, {}", written(first), written(most)))
}

fn capacity(written: Option<usize>) -> Result<usize, String> {
    match written {
        Some(more) if more > Pool::MAX_CAPACITY => {
            Err(format!("pool.capacity {more} is more than a pool can have, {}", Pool::MAX_CAPACITY))
        }
        Some(0) => Err("pool.capacity must be at least 1".to_owned()),
        written => Ok(written.unwrap_or(Pool::DEFAULT_CAPACITY)),
    }
}

/// Where the pool is kept. Relative paths are relative to the folder.
fn store(url: Option<&str>, folder: &Path) -> Result<Option<StoreUrl>, String> {
    let store = url.map(|url| url.parse::<StoreUrl>().map_err(|error| format!("store.url: {error}"))).transpose()?;
    Ok(store.map(|store| store.within(folder)))
}

/// Where the keys of the store are. A relative path is relative to the folder.
fn store_keys(file: Option<PathBuf>, variable: Option<String>, folder: &Path) -> Result<Option<KeyPlace>, String> {
    match (file, variable) {
        (Some(_), Some(_)) => Err("store.key_file and store.key_env are two places, and there is one".to_owned()),
        (Some(file), None) => Ok(Some(KeyPlace::File(folder.join(file)))),
        (None, variable) => Ok(variable.map(KeyPlace::Environment)),
    }
}

fn history(written: Option<usize>) -> Result<usize, String> {
    match written {
        Some(more) if more > MOST_REMEMBERED => {
            Err(format!("history.requests {more} is more than {MOST_REMEMBERED}, which would be a gigabyte"))
        }
        written => Ok(written.unwrap_or(EngineConfig::HISTORY)),
    }
}

fn gateway(written: &GatewaySection) -> Result<GatewayConfig, String> {
    let default = GatewayConfig::default();
    let attempts = at_least_one("gateway.attempts", written.attempts, default.attempts)?;
    let deadline = lasting("gateway.request_deadline", written.request_deadline, default.request_deadline)?;
    let limits = Limits { attempts, deadline };
    Ok(GatewayConfig {
        attempts,
        connect_timeout: lasting("gateway.connect_timeout", written.connect_timeout, default.connect_timeout)?,
        response_timeout: lasting("gateway.response_timeout", written.response_timeout, default.response_timeout)?,
        request_deadline: deadline,
        first_flight: first_flight(written.first_flight, default.first_flight)?,
        first_byte_timeout: lasting(
            "gateway.first_byte_timeout",
            written.first_byte_timeout,
            default.first_byte_timeout,
        )?,
        retry_status: retry::statuses(written.retry_status.as_deref(), default.retry_status)?,
        retry: written.retry.meaning()?,
        hedge: written.hedge.meaning()?,
        escalation: written.escalation.meaning(limits)?,
        head_timeout: lasting("gateway.head_timeout", written.head_timeout, default.head_timeout)?,
        body_timeout: lasting("gateway.body_timeout", written.body_timeout, default.body_timeout)?,
        idle_timeout: span(written.idle_timeout, default.idle_timeout),
        stall_timeout: lasting("gateway.tunnel_idle_timeout", written.tunnel_idle_timeout, default.stall_timeout)?,
        drain: span(written.drain, default.drain),
        max_connections: at_least_one("gateway.max_connections", written.max_connections, default.max_connections)?,
        max_head: max_head(written.max_head, default.max_head)?,
        explain: written.explain.unwrap_or(default.explain),
        bans: default.bans,
        upstream_idle: default.upstream_idle,
        pseudonym: default.pseudonym,
    })
}

fn max_head(written: Option<usize>, default: usize) -> Result<usize, String> {
    match written {
        Some(less) if less < LEAST_HEAD => Err(format!("gateway.max_head {less} is less than {LEAST_HEAD} bytes")),
        written => Ok(written.unwrap_or(default)),
    }
}

fn first_flight(written: Option<Size>, default: usize) -> Result<usize, String> {
    let Some(size) = written else { return Ok(default) };
    if size.0 > MOST_FIRST_FLIGHT.0 {
        return Err(format!("gateway.first_flight {size} is more than {MOST_FIRST_FLIGHT}"));
    }
    Ok(usize::try_from(size.0).unwrap_or(default))
}

fn idle(written: &UpstreamSection) -> IdleConfig {
    let default = IdleConfig::default();
    IdleConfig {
        timeout: span(written.idle_timeout, default.timeout),
        per_member: written.idle_per_proxy.unwrap_or(default.per_member),
        total: written.idle_total.unwrap_or(default.total),
    }
}

fn breaker(written: &HealthSection) -> Result<BreakerConfig, String> {
    let default = BreakerConfig::default();
    let min_success = written.min_success.unwrap_or(default.min_success);
    if !(0.0..=1.0).contains(&min_success) {
        return Err(format!("health.min_success {min_success} is not in 0 to 1"));
    }
    let samples = written.samples.unwrap_or(default.samples);
    if !(1..=MOST_SAMPLES).contains(&samples) {
        return Err(format!("health.samples {samples} is not in 1 to {MOST_SAMPLES}"));
    }
    let cooldown = lasting("health.cooldown", written.cooldown, default.cooldown)?;
    let cooldown_max = span(written.cooldown_max, default.cooldown_max);
    in_order(("health.cooldown", cooldown), ("health.cooldown_max", cooldown_max))?;
    Ok(BreakerConfig {
        failures: at_least_one("health.failures", written.failures, default.failures)?,
        min_success,
        samples,
        cooldown,
        cooldown_max,
        successes: at_least_one("health.successes", written.successes, default.successes)?,
    })
}

/// Options from TOML as JSON; null for none, so that no options and an empty table are the same. TOML can say what JSON
/// cannot: infinities and times.
pub(super) fn json(options: BTreeMap<String, toml::Value>) -> Result<serde_json::Value, String> {
    if options.is_empty() {
        return Ok(serde_json::Value::Null);
    }
    serde_json::to_value(options).map_err(|error| format!("options: JSON cannot express them: {error}"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn settings(text: &str) -> Result<Settings, ConfigError> {
        let path = Path::new("/etc/proxywhirl/proxywhirl.toml");
        Settings::from_file(ConfigFile::parse(text, path)?, path)
    }

    #[test]
    fn an_empty_file_means_the_defaults() {
        let settings = settings("").unwrap();
        assert_eq!(settings, Settings::default());
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let text = "[store]\npath = \"pool.db\"\n[[sources]]\nname = \"own\"\nlocation = \"own.txt\"\n";
        let settings = settings(text).unwrap();
        assert_eq!(settings.store, Some(StoreUrl::Sqlite("/etc/proxywhirl/pool.db".into())));
        assert_eq!(settings.sources[0].location, "/etc/proxywhirl/own.txt");
    }

    #[test]
    fn the_store_is_named_by_a_url() {
        let store = |text: &str| settings(&format!("[store]\n{text}")).map(|settings| settings.store);
        let of = |url: &str| Some(url.parse::<StoreUrl>().unwrap());
        assert_eq!(store("url = \"file:pool.json\"").unwrap(), of("file:/etc/proxywhirl/pool.json"));
        assert_eq!(store("url = \"pool.db\"").unwrap(), of("sqlite:/etc/proxywhirl/pool.db"));
        assert_eq!(store("url = \"memory:\"").unwrap(), of("memory:"));
        let wrong = |text: &str| store(text).unwrap_err().reason;
        assert_eq!(store("url = \"redis://:p@h\"").unwrap(), of("redis://:p@h:6379"));
        assert!(wrong("url = \"mysql://h\"").starts_with("store.url: unknown store mysql: (known are memory:,"));
        let told = wrong("url = \"redis://:hunter2@h:x\"");
        assert!(
            told.starts_with("store.url: the URL of the server has a port that") && !told.contains("hunter2"),
            "{told}"
        );
        // As it was called before.
        assert_eq!(store("path = \"pool.db\"").unwrap(), of("sqlite:/etc/proxywhirl/pool.db"));
        assert_eq!(wrong("url = \"memory:\"\npath = \"a\""), "unknown key store.path");
    }

    #[test]
    fn connections_that_wait_are_bounded_as_written() {
        let settings = settings("[upstream]\nidle_timeout = \"5s\"\nidle_per_proxy = 0\n").unwrap();
        let expected = IdleConfig { timeout: Duration::from_secs(5), per_member: 0, ..IdleConfig::default() };
        assert_eq!(settings.gateway.upstream_idle, expected);
    }

    #[test]
    fn values_out_of_range_are_told_with_their_key() {
        let error = |text: &str| settings(text).unwrap_err().to_string();
        insta::assert_snapshot!(error("[gateway]\nattempts = 0\n"), @"configuration /etc/proxywhirl/proxywhirl.toml: gateway.attempts must be at least 1");
        insta::assert_snapshot!(error("[gateway]\nmax_head = 1\n"), @"configuration /etc/proxywhirl/proxywhirl.toml: gateway.max_head 1 is less than 1024 bytes");
        insta::assert_snapshot!(error("[gateway]\nconnect_timeout = \"0ms\"\n"), @"configuration /etc/proxywhirl/proxywhirl.toml: gateway.connect_timeout must be longer than nothing");
        insta::assert_snapshot!(error("[health]\ncooldown = \"2m\"\ncooldown_max = \"1m\"\n"), @"configuration /etc/proxywhirl/proxywhirl.toml: health.cooldown 2m is longer than health.cooldown_max, 1m");
        insta::assert_snapshot!(error("[health]\nmin_success = 30\n"), @"configuration /etc/proxywhirl/proxywhirl.toml: health.min_success 30 is not in 0 to 1");
        insta::assert_snapshot!(error("[health]\nsamples = 0\n"), @"configuration /etc/proxywhirl/proxywhirl.toml: health.samples 0 is not in 1 to 100");
        insta::assert_snapshot!(error("[pool]\ncapacity = 20000000\n"), @"configuration /etc/proxywhirl/proxywhirl.toml: pool.capacity 20000000 is more than a pool can have, 16777216");
        insta::assert_snapshot!(error("[check]\nlevel = \"deep\"\n"), @r#"configuration /etc/proxywhirl/proxywhirl.toml: check.level "deep" is none of format, dns, tcp, protocol, http, tls, anonymity, target"#);
        insta::assert_snapshot!(error("[[sources]]\nname = \"x\"\nlocation = \"-\"\nscheme = \"ftp\"\n"), @r#"configuration /etc/proxywhirl/proxywhirl.toml: source "x": scheme: unknown scheme ftp: expected http, https, socks4, socks4a, socks5 or socks5h"#);
    }
}
