//! A plugin: a component, what is known of it, and its compiled code once somebody needs that.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use proxywhirl_core::plugin::{FaultCause, OnFault, PluginFault, PluginIdentity, PluginKind};
use sha2::{Digest as _, Sha256};
use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre};

use crate::bindings::shared::Shared;
use crate::capability::pass::Pass;
use crate::config::Limits;
use crate::fault;
use crate::inspect::{Inspection, Unfit, inspect};
use crate::logbook::{Logbook, Voice, cut};
use crate::manifest::Manifest;
use crate::runtime::{Compilation, Runtime};
use crate::state::{State, Vocabulary};
use crate::ticker::Ticker;

/// A component's bytes.
#[derive(Clone)]
pub(crate) enum Bytes {
    Bundled(&'static [u8]),
    Read(Arc<[u8]>),
}

impl Bytes {
    pub(crate) fn get(&self) -> &[u8] {
        match self {
            Self::Bundled(bytes) => bytes,
            Self::Read(bytes) => bytes,
        }
    }
}

/// A call of an export.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) export: &'static str,
    /// The time that it has.
    pub(crate) limit: Duration,
}

/// A plugin, shared by all its instances.
pub(crate) struct Plugin {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) inspection: Inspection,
    pub(crate) manifest: Manifest,
    /// What it is called in reports. The digest is that of the component.
    pub(crate) identity: PluginIdentity,
    /// What it may use, and what the user says of it.
    pub(crate) pass: Arc<Pass>,
    bytes: Bytes,
    voice: Arc<Voice>,
    vocabulary: Arc<Vocabulary>,
    /// Bytes of memory of all its instances.
    held: Arc<AtomicU64>,
    /// Made by whoever needs it first; others wait for that.
    code: OnceLock<Result<Code, Box<str>>>,
}

/// Compiled and linked code.
pub(crate) struct Code {
    linked: InstancePre<State>,
    /// Whether it was compiled before, by this process or another one.
    pub(crate) cached: bool,
}

impl Plugin {
    /// Reads what a component says about itself, and asks it if it carries no manifest.
    pub(crate) fn load(runtime: &Arc<Runtime>, file: &str, bytes: Bytes) -> Result<Self, Unfit> {
        let inspection = inspect(bytes.get())?;
        let known = inspection.manifest.clone();
        let mut plugin = Self {
            manifest: known.clone().unwrap_or_else(|| nameless(file, &inspection)),
            // Nobody has been granted anything yet.
            pass: Arc::new(Pass::new(&inspection.imports, &[], runtime.accounts.of(""))),
            voice: Arc::new(Voice::new(file, "", runtime.on_log.clone())),
            vocabulary: Arc::new(Vocabulary::new(Arc::clone(&runtime.symbols))),
            runtime: Arc::clone(runtime),
            identity: PluginIdentity {
                digest: hex(&Sha256::digest(bytes.get())).into(),
                ..PluginIdentity::named(file)
            },
            inspection,
            bytes,
            held: Arc::default(),
            code: OnceLock::new(),
        };
        if known.is_none() {
            plugin.manifest = plugin.describe()?;
        }
        let manifest = &plugin.manifest;
        plugin.identity.name = manifest.name.as_str().into();
        plugin.identity.version = manifest.version.as_str().into();
        plugin.voice = Arc::new(Voice::new(&manifest.name, &manifest.version, runtime.on_log.clone()));
        let account = runtime.accounts.of(&manifest.name);
        plugin.pass = Arc::new(Pass::new(&plugin.inspection.imports, &manifest.capabilities, account));
        Ok(plugin)
    }

    /// What the component answers when it is asked about itself.
    pub(crate) fn describe(&self) -> Result<Manifest, Unfit> {
        let hint = "ask the plugin's author; it must describe itself without any options";
        let limits = self.limits();
        let asked = self.instantiate(&limits).and_then(|(mut store, instance)| {
            self.enter(&mut store, Call { export: "describe", limit: limits.call }, |store| {
                Shared::new(&mut *store, &instance)?.proxywhirl_plugin_about().call_describe(store)
            })
        });
        let description = asked.map_err(|fault| {
            Unfit::new(format!("{} in {}: {}", fault.cause.as_str(), fault.export, fault.detail), hint)
        })?;
        Manifest::described(description, self.kind(), &self.inspection.contract)
            .map_err(|error| Unfit::new(format!("its description cannot be used: {error}"), hint))
    }

    pub(crate) const fn kind(&self) -> PluginKind {
        self.inspection.kind
    }

    pub(crate) fn name(&self) -> &str {
        &self.manifest.name
    }

    /// The limits of its next instance.
    pub(crate) fn limits(&self) -> Limits {
        self.runtime.limits.of(self.kind()).overridden(&self.pass.account.settings().limits)
    }

    pub(crate) fn on_fault(&self) -> OnFault {
        self.pass.account.settings().on_fault
    }

    pub(crate) fn size(&self) -> usize {
        self.bytes.get().len()
    }

    /// Bytes of linear memory that all its instances have together.
    pub(crate) fn memory(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// A fault of one of its exports, with a text of ours.
    pub(crate) fn fault(&self, export: &'static str, cause: FaultCause, detail: &str) -> PluginFault {
        PluginFault::new(self.identity.clone(), export, cause, detail)
    }

    /// The plugin's own no.
    pub(crate) fn refused(&self, export: &'static str, reason: &str) -> PluginFault {
        self.fault(export, FaultCause::Refused, &fault::one_line(reason))
    }

    /// Compiles and links it, unless that was done before.
    pub(crate) fn code(&self) -> Result<&Code, PluginFault> {
        let code = self.code.get_or_init(|| {
            let Compilation { component, cached } =
                self.runtime.compile(&self.identity.digest, self.bytes.get()).map_err(|error| format!("{error:#}"))?;
            let linked = self.runtime.linker.instantiate_pre(&component).map_err(|error| unlinked(&error))?;
            Ok(Code { linked, cached })
        });
        code.as_ref().map_err(|error| {
            let text: String = cut(error, 600).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            self.fault("instantiate", FaultCause::Instantiate, &text)
        })
    }

    /// A fresh instance in a store of its own.
    pub(crate) fn instantiate(&self, limits: &Limits) -> Result<(Store<State>, Instance), PluginFault> {
        let code = self.code()?;
        let logbook = Logbook::new(Arc::clone(&self.voice));
        let (vocabulary, pass) = (Arc::clone(&self.vocabulary), Arc::clone(&self.pass));
        let mut store = self.runtime.store(limits, logbook, vocabulary, pass, Arc::clone(&self.held));
        let call = Call { export: "instantiate", limit: limits.call };
        let made = self.enter(&mut store, call, |store| code.linked.instantiate(store));
        match made {
            Ok(instance) => Ok((store, instance)),
            Err(mut fault) => {
                fault.cause = match fault.cause {
                    FaultCause::Deadline => FaultCause::Deadline,
                    FaultCause::Memory => FaultCause::Memory,
                    FaultCause::Trap | FaultCause::InvalidAnswer | FaultCause::Refused | FaultCause::Instantiate => {
                        FaultCause::Instantiate
                    }
                };
                Err(fault)
            }
        }
    }

    /// Runs guest code with the deadline armed. Whatever the guest waits for in the host ends with it too.
    pub(crate) fn enter<R>(
        &self,
        store: &mut Store<State>,
        call: Call,
        run: impl FnOnce(&mut Store<State>) -> wasmtime::Result<R>,
    ) -> Result<R, PluginFault> {
        let started = Instant::now();
        let ticks = Ticker::ticks(call.limit);
        store.set_epoch_deadline(ticks);
        let _long = self.runtime.ticker.keep(ticks);
        if self.inspection.wasi || self.pass.waits() {
            store.data_mut().deadline = started.checked_add(call.limit);
        }
        run(store).map_err(|error| fault::stopped(&self.identity, call, &error, store.data(), started.elapsed()))
    }
}

/// What is wrong with the imports of a component, for its author.
fn unlinked(error: &wasmtime::Error) -> String {
    format!(
        "it imports what this host does not have: {error:#}; the contract here is {}, so update the host or rebuild the plugin",
        crate::inspect::CONTRACT
    )
}

/// Stands for the manifest until the component has described itself.
fn nameless(file: &str, inspection: &Inspection) -> Manifest {
    Manifest {
        name: file.to_owned(),
        version: String::new(),
        kind: inspection.kind.as_str().to_owned(),
        contract: inspection.contract.to_string(),
        summary: String::new(),
        options_schema: "{}".to_owned(),
        capabilities: Vec::new(),
        sources: String::new(),
    }
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
