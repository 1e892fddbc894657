//! A plugin: a component, what is known of it, and its compiled code once somebody needs that.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use proxywhirl_core::plugin::{FaultCause, PluginFault, PluginIdentity, PluginKind};
use sha2::{Digest as _, Sha256};
use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre};

use crate::bindings::shared::Shared;
use crate::config::Limits;
use crate::fault::Call;
use crate::inspect::{Inspection, Unfit, inspect};
use crate::logbook::{Logbook, Voice, cut};
use crate::manifest::Manifest;
use crate::runtime::Runtime;
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

/// A plugin, shared by all its instances.
pub(crate) struct Plugin {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) inspection: Inspection,
    pub(crate) manifest: Manifest,
    /// What it is called in reports. The digest is that of the component.
    pub(crate) identity: PluginIdentity,
    bytes: Bytes,
    voice: Arc<Voice>,
    vocabulary: Arc<Vocabulary>,
    /// Made by whoever needs it first; others wait for that.
    code: OnceLock<Result<InstancePre<State>, Box<str>>>,
}

impl Plugin {
    /// Reads what a component says about itself, and asks it if it carries no manifest.
    pub(crate) fn load(runtime: &Arc<Runtime>, file: &str, bytes: Bytes) -> Result<Self, Unfit> {
        let inspection = inspect(bytes.get())?;
        let known = inspection.manifest.clone();
        let mut plugin = Self {
            manifest: known.clone().unwrap_or_else(|| nameless(file, &inspection)),
            voice: Arc::new(Voice::new(file, "")),
            vocabulary: Arc::new(Vocabulary::new(Arc::clone(&runtime.symbols))),
            runtime: Arc::clone(runtime),
            identity: PluginIdentity {
                digest: hex(&Sha256::digest(bytes.get())).into(),
                ..PluginIdentity::named(file)
            },
            inspection,
            bytes,
            code: OnceLock::new(),
        };
        if known.is_none() {
            plugin.manifest = plugin.describe()?;
        }
        plugin.identity.name = plugin.manifest.name.as_str().into();
        plugin.identity.version = plugin.manifest.version.as_str().into();
        plugin.voice = Arc::new(Voice::new(&plugin.manifest.name, &plugin.manifest.version));
        Ok(plugin)
    }

    /// What the component answers when it is asked about itself.
    pub(crate) fn describe(&self) -> Result<Manifest, Unfit> {
        let hint = "ask the plugin's author; it must describe itself without any options";
        let limit = self.limits().call;
        let asked = self.instantiate().and_then(|(mut store, instance)| {
            self.enter(&mut store, "describe", limit, |store| {
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

    pub(crate) fn limits(&self) -> &Limits {
        self.runtime.limits.of(self.kind())
    }

    pub(crate) fn size(&self) -> usize {
        self.bytes.get().len()
    }

    /// A call of one of its exports, for reports.
    pub(crate) fn call(&self, export: &'static str, limit: Duration) -> Call<'_> {
        Call { plugin: &self.identity, export, limit }
    }

    /// Compiles and links it, unless that was done before.
    pub(crate) fn code(&self) -> Result<&InstancePre<State>, PluginFault> {
        let code = self.code.get_or_init(|| {
            let component = self.runtime.compile(&self.identity.digest, self.bytes.get());
            component
                .and_then(|component| self.runtime.linker.instantiate_pre(&component))
                .map_err(|error| format!("{error:#}").into())
        });
        code.as_ref().map_err(|error| {
            let text: String = cut(error, 600).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            self.call("instantiate", Duration::ZERO).fault(FaultCause::Instantiate, &text)
        })
    }

    /// A fresh instance in a store of its own.
    pub(crate) fn instantiate(&self) -> Result<(Store<State>, Instance), PluginFault> {
        let code = self.code()?;
        let logbook = Logbook::new(Arc::clone(&self.voice));
        let mut store = self.runtime.store(self.kind(), logbook, Arc::clone(&self.vocabulary));
        let made = self.enter(&mut store, "instantiate", self.limits().call, |store| code.instantiate(store));
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

    /// Runs guest code: with the deadline armed, and on a thread of its own if the guest imports WASI,
    /// whose synchronous form must not run inside a worker of an asynchronous runtime.
    pub(crate) fn enter<R: Send>(
        &self,
        store: &mut Store<State>,
        export: &'static str,
        limit: Duration,
        run: impl FnOnce(&mut Store<State>) -> wasmtime::Result<R> + Send,
    ) -> Result<R, PluginFault> {
        let running = self.runtime.ticker.run();
        store.set_epoch_deadline(Ticker::ticks(limit));
        let result = if self.inspection.wasi {
            store.data_mut().deadline = Some(Instant::now() + limit);
            apart(|| run(store))
        } else {
            run(store)
        };
        drop(running);
        result.map_err(|error| self.call(export, limit).stopped(&error, &store.data().logbook))
    }
}

/// Runs something on a thread of its own, and waits for it.
fn apart<R: Send>(run: impl FnOnce() -> wasmtime::Result<R> + Send) -> wasmtime::Result<R> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("plugin".to_owned()).spawn_scoped(scope, run)?;
        thread.join().unwrap_or_else(|_| Err(wasmtime::Error::msg("the host panicked in this call")))
    })
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
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
