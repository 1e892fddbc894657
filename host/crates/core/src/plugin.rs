//! What the host asks of plugins, whoever runs them.
//!
//! The traits are the contract of `wit/` in the domain's words. The engine knows only them; the crate
//! that runs WebAssembly implements them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::candidate::{Country, Rejection};
use crate::endpoint::{Credentials, Scheme};
use crate::event::{Event, Topic};
use crate::host::Host;
use crate::member::Member;
use crate::select::Plan;
use crate::symbol::Symbol;
use crate::time::Timestamp;
use crate::verdict::Anonymity;

/// What a plugin is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PluginKind {
    /// Chooses members.
    Strategy,
    /// Reads documents.
    Parser,
    /// Hears events.
    Hook,
}

impl PluginKind {
    /// The word for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Strategy => "strategy",
            Self::Parser => "parser",
            Self::Hook => "hook",
        }
    }
}

impl fmt::Display for PluginKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What follows when a plugin faults, as the user wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnFault {
    /// The fallback answers, and the plugin is started again after a pause that grows.
    #[default]
    Fallback,
    /// The plugin is started again at once, and the fallback answers only when it faults again or its budget of restarts
    /// is used up.
    Reload,
    /// What it was needed for fails: better no answer than the fallback's.
    Reject,
}

/// What stopped a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultCause {
    /// It ran longer than a call may.
    Deadline,
    /// It wanted more memory or table space than it may have.
    Memory,
    /// It trapped: unreachable code, a stack overflow, a division by zero.
    Trap,
    /// What it answered makes no sense.
    InvalidAnswer,
    /// It said no: an error of its own.
    Refused,
    /// It could not be started.
    Instantiate,
}

impl FaultCause {
    /// The word for logs, events and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deadline => "deadline",
            Self::Memory => "memory",
            Self::Trap => "trap",
            Self::InvalidAnswer => "invalid-answer",
            Self::Refused => "refused",
            Self::Instantiate => "instantiate",
        }
    }
}

/// Which plugin, and which build of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct PluginIdentity {
    /// The name that users write.
    pub name: Box<str>,
    /// The plugin's own version; empty when it is not known.
    pub version: Box<str>,
    /// SHA-256 of the component, in hexadecimal; empty when it is not known.
    pub digest: Box<str>,
}

impl PluginIdentity {
    /// A plugin of which only the name is known.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self { name: name.into(), ..Self::default() }
    }
}

impl fmt::Display for PluginIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if self.version.is_empty() { Ok(()) } else { write!(f, " {}", self.version) }
    }
}

/// What a plugin was doing when it was stopped.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scene {
    /// The guest's functions, the innermost first, by name where the component carries names.
    pub backtrace: Vec<Box<str>>,
    /// The last lines that the instance logged, the oldest first.
    pub log: Vec<Box<str>>,
    /// Bytes of linear memory that the instance had.
    pub memory: u64,
    /// How long the call had run.
    pub elapsed: Duration,
}

/// A plugin that did not do its part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginFault {
    /// The plugin.
    pub plugin: PluginIdentity,
    /// The function that was called.
    pub export: &'static str,
    /// What stopped it.
    pub cause: FaultCause,
    /// The particulars in one line: the limit, or the guest's message.
    pub detail: Box<str>,
    /// What it was doing. Empty where no guest code ran.
    pub scene: Box<Scene>,
}

impl PluginFault {
    /// A fault that is told by the host, not by a guest that was stopped.
    #[must_use]
    pub fn new(plugin: PluginIdentity, export: &'static str, cause: FaultCause, detail: &str) -> Self {
        Self { plugin, export, cause, detail: detail.into(), scene: Box::default() }
    }
}

impl fmt::Display for PluginFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "plugin {}: {} in {}", self.plugin, self.cause.as_str(), self.export)?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, ": {}", self.detail) }
    }
}

impl std::error::Error for PluginFault {}

/// What a use of a member came to, as strategies hear it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observation {
    /// The member's slot.
    pub slot: u32,
    /// The site, or none.
    pub site: Symbol,
    /// False when it failed by the member's fault.
    pub success: bool,
    /// Time to the first byte, in microseconds; 0 when none came.
    pub latency: u32,
}

/// A request that wants a member, in integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// The view that it is bound to; 0 is the whole pool.
    pub view: u32,
    /// The site, or none.
    pub site: Symbol,
    /// Hash of its session's name, or 0.
    pub session: u64,
    /// 1 for the first try.
    pub attempt: u32,
    /// The time.
    pub now: Timestamp,
    /// Chance.
    pub seed: u64,
}

/// The members that a kind of request may use, as a strategy is asked about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct View<'a> {
    /// Its number; 0 for the whole pool.
    pub id: u32,
    /// The site that the plan is for; [`Symbol::NONE`] for every site that has no plan of its own.
    pub site: Symbol,
    /// The slots of its members; none for all that are in the pool.
    pub members: Option<&'a [u32]>,
}

/// A rotation strategy.
///
/// After any fault the instance is gone: the next call runs on a fresh one that knows no member, so
/// the caller must begin again with `apply(reset)`. Calls may take as long as the plugin's deadline.
pub trait Strategy: Send {
    /// Which plugin it is.
    fn identity(&self) -> &PluginIdentity;

    /// Tells what changed in the pool. With `reset` everything before is forgotten.
    ///
    /// # Errors
    /// A fault of the plugin.
    fn apply(&mut self, epoch: u64, reset: bool, upserts: &[Arc<Member>], removed: &[u32]) -> Result<(), PluginFault>;

    /// Tells how uses went. True when the strategy wants to be asked for a plan.
    ///
    /// # Errors
    /// A fault of the plugin.
    fn observe(&mut self, observations: &[Observation]) -> Result<bool, PluginFault>;

    /// The plan for a view.
    ///
    /// # Errors
    /// A fault of the plugin.
    fn plan(&mut self, view: &View<'_>, now: Timestamp, seed: u64) -> Result<Plan, PluginFault>;

    /// The slot for one request, or none.
    ///
    /// # Errors
    /// A fault of the plugin.
    fn select(&mut self, request: &Request) -> Result<Option<u32>, PluginFault>;

    /// What its successor should know; none when it has nothing to hand over. An instance is called again after it only
    /// when its successor could not take its place.
    ///
    /// # Errors
    /// A fault of the plugin.
    fn save(&mut self) -> Result<Option<Vec<u8>>, PluginFault> {
        Ok(None)
    }

    /// Takes over what its predecessor saved, as the first call of an instance. False when it cannot.
    ///
    /// # Errors
    /// A fault of the plugin; [`FaultCause::Refused`] when it makes nothing of that state.
    fn restore(&mut self, state: &[u8]) -> Result<bool, PluginFault> {
        let _ = state;
        Ok(false)
    }
}

/// What was fetched.
#[derive(Debug, Clone)]
pub struct Document {
    /// Where it came from: a URL without credentials, a file name, or `-`.
    pub url: String,
    /// The media type in lower case, without parameters; empty when unknown.
    pub content_type: String,
    /// The text, in UTF-8, without a byte order mark.
    pub body: Arc<[u8]>,
    /// JSON that fits the parser's schema.
    pub options: String,
    /// The scheme of entries that name none.
    pub default_scheme: Scheme,
}

/// An entry as a parser read it; the host has still to check it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// How one speaks to it; none for the document's default.
    pub scheme: Option<Scheme>,
    /// Where it listens, or the text that was no host.
    pub host: Result<Host, Box<str>>,
    /// Its port; 0 is a mistake.
    pub port: u16,
    /// What one proves to it, or why that cannot be.
    pub credentials: Result<Option<Credentials>, Box<str>>,
    /// Where it is said to be.
    pub country: Option<Country>,
    /// What its source claims.
    pub anonymity: Anonymity,
    /// Where it stands: the line, counted from 1; 0 when the document has no lines.
    pub line: u32,
}

/// What a document holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Parsed {
    /// In the document's order.
    pub entries: Vec<Entry>,
    /// The first rejected entries.
    pub rejections: Vec<Rejection>,
    /// How many were rejected in all.
    pub rejected: u32,
    /// Other pages to fetch.
    pub follow: Vec<String>,
}

/// A source parser. Each call runs on a fresh instance, so calls may run in parallel.
pub trait Parser: Send + Sync {
    /// The plugin's name.
    fn name(&self) -> &str;

    /// How sure it is that the document is in its format, 0 to 100. The body may be the document's beginning.
    ///
    /// # Errors
    /// A fault of the plugin.
    fn sniff(&self, document: &Document) -> Result<u8, PluginFault>;

    /// Reads the document.
    ///
    /// # Errors
    /// A fault of the plugin; [`FaultCause::Refused`] when it says that the document is not in its format.
    fn parse(&self, document: &Document) -> Result<Parsed, PluginFault>;
}

/// An event hook.
pub trait Hook: Send {
    /// Which plugin it is.
    fn identity(&self) -> &PluginIdentity;

    /// What follows when it faults. No request waits for a hook, so that one [rejects](OnFault::Reject) is like the default.
    fn on_fault(&self) -> OnFault {
        OnFault::Fallback
    }

    /// The topics that it wants to hear; empty for all.
    fn topics(&self) -> &[Topic];

    /// Tells it events, in order. After a fault the next call runs on a fresh instance.
    ///
    /// # Errors
    /// A fault of the plugin.
    fn handle(&mut self, events: &[Event]) -> Result<(), PluginFault>;

    /// What its successor should know; none when it has nothing to hand over. An instance is called again after it only
    /// when its successor could not take its place.
    ///
    /// # Errors
    /// A fault of the plugin.
    fn save(&mut self) -> Result<Option<Vec<u8>>, PluginFault> {
        Ok(None)
    }

    /// Takes over what its predecessor saved, as the first call of an instance. False when it cannot.
    ///
    /// # Errors
    /// A fault of the plugin; [`FaultCause::Refused`] when it makes nothing of that state.
    fn restore(&mut self, state: &[u8]) -> Result<bool, PluginFault> {
        let _ = state;
        Ok(false)
    }
}

/// Makes instances of a strategy: one for plans, and one for each shard that answers requests.
pub trait StrategyFactory: Send + Sync {
    /// Which plugin it is.
    fn identity(&self) -> &PluginIdentity;

    /// What follows for a request when the plugin faults.
    fn on_fault(&self) -> OnFault {
        OnFault::Fallback
    }

    /// A fresh instance that knows no member.
    ///
    /// # Errors
    /// A fault of the plugin.
    fn instance(&self) -> Result<Box<dyn Strategy>, PluginFault>;
}
