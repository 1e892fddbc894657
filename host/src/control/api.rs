//! What is said over the socket. The fields are part of the interface: `--json` prints them as they are.

use std::collections::BTreeMap;
use std::path::PathBuf;

use proxywhirl_core::Secret;
use proxywhirl_engine::{Explanation, PluginStatus, StoreTrouble, WorkStatus};
use proxywhirl_store::StoreUrl;
use serde::{Deserialize, Serialize};

use crate::exit::{Exit, Failure};

/// `GET /v1/status`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The gateway's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Where it listens.
    pub listen: String,
    /// When it was started: microseconds since the Unix epoch.
    pub started: u64,
    /// Members in the pool.
    pub members: usize,
    /// Whether there are more in the store, which is still being read.
    #[serde(default)]
    pub is_loading: bool,
    /// Its configuration file.
    pub config: Option<PathBuf>,
    /// Its plugins directory.
    pub plugins: Option<PathBuf>,
    /// Whether it takes over what changes in them by itself.
    pub watch: bool,
    /// Sections of the configuration that have changed and are in force only after a restart.
    pub needs_restart: Vec<String>,
    /// Why what the configuration says now is not in force: it was refused when it was read last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// How members are chosen.
    pub strategy: Strategy,
    /// Listeners with strategies of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listener_strategies: Vec<ListenerStrategy>,
    /// Where the pool is kept; none when it is not.
    pub store: Option<StoreStatus>,
    /// What is shared with other gateways of the same pool; none when the store cannot be shared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sharing: Option<Sharing>,
    /// Sources that could not be read when it was tried last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub source_troubles: Vec<SourceTrouble>,
    /// Listeners where nobody can be served.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listener_troubles: Vec<ListenerTrouble>,
    /// Listeners where nobody can come in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cut_off: Vec<CutOff>,
    /// That it is stopping; none when it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopping: Option<Stopping>,
}

impl Status {
    /// Whether it keeps its pool there.
    #[must_use]
    pub fn uses(&self, store: &StoreUrl) -> bool {
        let own = self.store.as_ref().and_then(|own| own.url.parse::<StoreUrl>().ok());
        store.is_lasting() && own.is_some_and(|own| own.is_same(store))
    }
}

/// How far a gateway is that is stopping: it listens no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopping {
    /// Clients that are still connected.
    pub connections: usize,
    /// When they are cut at the latest: microseconds since the Unix epoch.
    pub until: u64,
}

/// A listener whose one proxy is not in the pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerTrouble {
    /// Its name.
    pub name: String,
    /// The proxy, without its password.
    pub proxy: String,
}

/// A listener at a Unix socket whose file is gone, or another one's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutOff {
    /// Its name.
    pub name: String,
    /// Where it was.
    pub socket: PathBuf,
    /// Whether another process's is there now.
    #[serde(default)]
    pub is_replaced: bool,
}

/// A source that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceTrouble {
    /// Its name.
    pub name: String,
    /// Why.
    pub error: String,
    /// Whether it never can, as it is configured.
    pub is_unusable: bool,
}

/// What is shared with other gateways of the same pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sharing {
    /// Whether anything has a rate, or a user any limit, that could be shared.
    #[serde(default)]
    pub has_limits: bool,
    /// Why such limits are this gateway's own, and since when; none when they are shared.
    pub limits_trouble: Option<StoreTrouble>,
    /// How the work is divided.
    pub work: Option<WorkStatus>,
}

/// Where the pool is kept, and whether it can be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreStatus {
    /// Its URL, which means the same in another folder.
    pub url: String,
    /// Why the pool cannot be saved, and since when; none when it can.
    pub trouble: Option<StoreTrouble>,
}

/// The strategy in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Strategy {
    /// The plugin's name.
    pub name: String,
    /// Its options; null for the default ones.
    pub options: serde_json::Value,
    /// Whether a command set it, or the configuration.
    pub set_by: SetBy,
    /// How the plugin is.
    pub plugin: Option<PluginStatus>,
}

/// The strategy of a listener, in place of the one in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListenerStrategy {
    /// The listener's name.
    pub name: String,
    /// The plugin's name.
    pub strategy: String,
    /// Its options; null for the default ones.
    pub options: serde_json::Value,
}

/// Who chose the strategy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SetBy {
    /// The configuration file or the command line of `serve`.
    Configuration,
    /// `strategy set`.
    Command,
}

/// `POST /v1/strategy`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetStrategy {
    /// The plugin's name.
    pub name: String,
    /// Its options; null or nothing for the default ones.
    #[serde(default)]
    pub options: serde_json::Value,
}

/// What became of `POST /v1/strategy`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StrategySet {
    /// The strategy before.
    pub before: String,
    /// The strategy in force.
    pub name: String,
    /// The version of its plugin.
    pub version: String,
    /// The SHA-256 of its component.
    pub digest: String,
    /// What it made of the knowledge of the one before: `taken`, `nothing`, `declined` or `failed`.
    pub handover: String,
    /// From the command to the new plan being in force.
    pub took_ms: f64,
}

/// `POST /v1/rotate`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotate {
    /// The listener's name or address; none for all of them.
    pub listener: Option<String>,
}

/// What became of `POST /v1/rotate`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotated {
    /// The listeners where the next request gets another proxy, by their names, or by the port that was named: not those where each
    /// one does anyhow.
    pub listeners: Vec<String>,
}

/// An entry of `GET /v1/users`: a user, and what of its limits is used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UserRow {
    /// Its name.
    pub name: String,
    /// Its requests and tunnels under way at this gateway.
    pub open: u32,
    /// How many there may be; none for any number.
    pub concurrency: Option<u32>,
    /// Its bytes in the period that goes on; none where it has no quota, and nobody counts them.
    pub bytes: Option<u64>,
    /// How many there may be in a period; none for any number.
    pub quota: Option<u64>,
    /// When the period ends: microseconds since the Unix epoch. None where none goes on: the next one begins with the next byte.
    pub period_ends: Option<u64>,
    /// Requests that it may begin in a second; none for any number.
    pub rate: Option<f64>,
    /// Why its next request would be refused, whatever its rate is; none when it would not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// `GET /v1/explain`: what would be done for a request now, and where a user with limits asks, what it has used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explained {
    /// What would be done.
    #[serde(flatten)]
    pub explanation: Explanation,
    /// The user that the user name is of, where users log in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserRow>,
}

/// An entry of `GET /v1/credentials`: credentials in place of those that proxies came with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialsRow {
    /// Their name.
    pub name: String,
    /// Whose they are, in words.
    pub whose: String,
    /// How many members of the pool that is.
    pub proxies: usize,
    /// The user name; none before they were read or set.
    pub username: Option<String>,
    /// Where they come from.
    pub from: String,
    /// When they were read or set last: microseconds since the Unix epoch.
    pub read: Option<u64>,
    /// Why they could not be read then.
    pub problem: Option<String>,
}

/// `POST /v1/credentials`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetCredentials {
    /// The name of those in the configuration, or of nobody: then it is said whose they are.
    pub name: Option<String>,
    /// The tag of those whose they are.
    pub tag: Option<String>,
    /// Their host.
    pub host: Option<String>,
    /// The URL of the one whose they are; its password does not matter.
    pub proxy: Option<String>,
    /// The user name.
    pub username: String,
    /// The password.
    pub password: Secret,
}

/// What became of `POST /v1/credentials`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialsSet {
    /// Their name.
    pub name: String,
    /// Whether they are other ones than before.
    pub changed: bool,
    /// How many members of the pool they are for.
    pub proxies: usize,
    /// How long they hold, in words; empty for those that were taken back.
    #[serde(default)]
    pub lasts: String,
    /// Why they could not be kept.
    #[serde(default)]
    pub problem: Option<String>,
}

/// `POST /v1/credentials/unset`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnsetCredentials {
    /// The name, as `GET /v1/credentials` has it; or whose they are is said.
    pub name: Option<String>,
    /// The tag of those whose they are.
    pub tag: Option<String>,
    /// Their host.
    pub host: Option<String>,
    /// The URL of the one whose they are; its password does not matter.
    pub proxy: Option<String>,
}

/// `POST /v1/credentials/refresh`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefreshCredentials {
    /// Names of credentials; all of them when there is none.
    #[serde(default)]
    pub names: Vec<String>,
}

/// An entry of what became of `POST /v1/credentials/refresh`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialsRead {
    /// Their name.
    pub name: String,
    /// Whether they are other ones than before.
    pub changed: bool,
    /// Why they could not be read; those before stay.
    pub problem: Option<String>,
}

/// `POST /v1/bans/lift`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lift {
    /// Those at this site, `*` for those at all, or of this `session NUMBER`; none for every one.
    pub site: Option<String>,
    /// Those of the proxy with this URL; none for every one.
    pub proxy: Option<String>,
}

/// What became of `POST /v1/bans/lift`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifted {
    /// How many bans were lifted.
    pub lifted: usize,
}

/// What became of `POST /v1/reload` and `POST /v1/plugins/reload`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// What is in force now, in words.
    pub changed: Vec<String>,
    /// What stays as it was, and why.
    pub kept: Vec<String>,
    /// Sections of the configuration that have changed and are in force only after a restart.
    pub needs_restart: Vec<String>,
}

impl Reloaded {
    /// The same with what another step came to.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.changed.extend(other.changed);
        self.kept.extend(other.kept);
        self.needs_restart.extend(other.needs_restart);
        self
    }
}

/// `POST /v1/pool/add`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddToPool {
    /// URLs, with their passwords.
    pub proxies: Vec<Secret>,
    /// Labels for them, beside that of what the user vouches for.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// What became of `POST /v1/pool/add`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Added {
    /// How many are new in the pool.
    pub added: usize,
    /// How many it had already.
    pub known: usize,
    /// How many it had no room for.
    pub full: usize,
    /// Why the pool could not be saved; it is tried again.
    #[serde(default)]
    pub problem: Option<String>,
}

/// `POST /v1/pool/remove`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoveFromPool {
    /// URLs, of which the passwords do not matter, or host and port: without scheme and user name all that match are meant.
    #[serde(default)]
    pub proxies: Vec<String>,
    /// Those with one of these tags too.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// What became of `POST /v1/pool/remove`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// How many have left.
    pub removed: usize,
    /// How many are left.
    pub left: usize,
    /// How many of those that have left no source brings back while the gateway runs; fewer when there was no room to remember more.
    pub kept_out: usize,
    /// How many more were not in yet, and are kept out too: they are being checked, or would be asked again. Fewer
    /// when there was no room to remember more.
    #[serde(default)]
    pub unproven: usize,
    /// Why the pool could not be saved; it is tried again.
    #[serde(default)]
    pub problem: Option<String>,
}

/// `POST /v1/refresh`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refresh {
    /// Names of sources; all of them when there is none.
    #[serde(default)]
    pub sources: Vec<String>,
}

/// What became of `POST /v1/refresh`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RefreshReport {
    /// What each source came to, as `fetch --report` says it.
    pub sources: Vec<serde_json::Value>,
    /// Entries that can be proxies.
    pub found: u64,
    /// Of those: named more than once.
    pub duplicates: u64,
    /// Entries that cannot.
    pub rejected: u64,
    /// Why, and how many.
    pub reasons: BTreeMap<String, u64>,
    /// Of how many something fresh was known, so that they were not checked.
    pub fresh: u64,
    /// How many passed their check.
    pub alive: u64,
    /// How many failed it.
    pub dead: u64,
    /// How many came how far.
    pub passed: BTreeMap<String, u64>,
    /// Why the dead failed, and how many: stage and kind.
    pub faults: BTreeMap<String, u64>,
    /// New members of the pool.
    pub new: u64,
    /// Members that were known.
    pub known: u64,
    /// Left out because the pool is full.
    pub full: u64,
    /// Left out because a user has taken them out.
    #[serde(default)]
    pub kept_out: u64,
    /// How long it took.
    pub time_ms: f64,
}

/// An entry of `GET /v1/plugins`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plugin {
    /// The name that users write; the file's name when there is a problem.
    pub name: String,
    /// `strategy`, `parser` or `hook`, if that could be told.
    pub kind: Option<String>,
    /// Its version; empty when there is a problem.
    pub version: String,
    /// SHA-256 of the component.
    pub digest: String,
    /// Its file, or `bundled`.
    pub origin: String,
    /// How it stands to the lock: `locked`, `changed`, `not-locked`, `refused`, or `bundled`.
    pub lock: String,
    /// Why it cannot be used, if it cannot.
    pub problem: Option<String>,
    /// What to do about that.
    pub hint: Option<String>,
    /// How it is, if it runs.
    pub status: Option<PluginStatus>,
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What happened; lower case, no full stop.
    pub error: String,
    /// What helps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What a command ends with.
    pub exit: u8,
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        Self { error: failure.message, hint: failure.hint, exit: failure.exit.code() }
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        let exit = Exit::of(problem.exit).unwrap_or(Exit::Environment);
        Self { exit, message: problem.error, hint: problem.hint }
    }
}
