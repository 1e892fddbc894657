//! `[[credentials]]` at work: user names and passwords are read from where they are kept, at the start, at their intervals
//! and when a proxy refuses them, and take the place of those that proxies came with.
//!
//! What cannot be read leaves those in force that there are, and is told. A proxy that refuses and refuses has them read
//! again every few seconds at the most.

mod supply;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proxywhirl_core::{Credentials, EndpointKey, Timestamp};
use proxywhirl_engine::Engine;
use proxywhirl_engine::logins::{Covered, Login};
use tokio::task::JoinSet;

use crate::config::CredentialsSettings;
use crate::control::api::{CredentialsRead, CredentialsRow, CredentialsSet};
use crate::exit::{Exit, Failure};
pub use supply::Reader;

/// However often they are refused, they are not read more often.
const LEAST_PAUSE: Duration = Duration::from_secs(2);

/// Credentials that are kept up.
#[derive(Debug)]
pub struct Keeping {
    engine: Arc<Engine>,
    reader: Reader,
    /// Written by whoever configures or reads; held for a few instructions.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    settings: Vec<CredentialsSettings>,
    /// Those of commands, which are for no section. They count before the others, the newest first.
    ad_hoc: Vec<(String, Covered)>,
    /// What came of reading them last, by name.
    read: BTreeMap<String, Read>,
    /// How often a command has set them, by name.
    commanded: BTreeMap<String, u64>,
    tasks: JoinSet<()>,
}

#[derive(Debug, Clone)]
struct Read {
    at: Timestamp,
    problem: Option<String>,
}

impl Keeping {
    /// Keeps nothing up yet.
    #[must_use]
    pub fn new(engine: Arc<Engine>, reader: Reader) -> Arc<Self> {
        Arc::new(Self { engine, reader, state: Mutex::default() })
    }

    /// Keeps nothing up any more.
    pub fn stop(&self) {
        self.state().tasks = JoinSet::new();
    }

    /// Keeps these up from now on. What is new is read before this returns.
    pub async fn configure(self: &Arc<Self>, settings: Vec<CredentialsSettings>) {
        let before = {
            let mut state = self.state();
            state.tasks = JoinSet::new();
            std::mem::replace(&mut state.settings, settings.clone())
        };
        self.put_in_force();
        let is_new = |one: &&CredentialsSettings| !before.contains(one);
        let reads = settings.iter().filter(is_new).filter(|one| one.supply.is_some()).map(|one| self.read(one));
        futures_util::future::join_all(reads).await;
        for one in settings.into_iter().filter(|one| one.supply.is_some() && (one.interval.is_some() || one.on_407)) {
            let keeping = Arc::clone(self);
            self.state().tasks.spawn(async move { keeping.keep_up(one).await });
        }
    }

    /// Reads credentials again, all of them when none is named.
    ///
    /// # Errors
    /// When there are none of a name, or a command has to set them.
    pub async fn refresh(&self, names: &[String]) -> Result<Vec<CredentialsRead>, Failure> {
        let settings = self.state().settings.clone();
        for name in names {
            match settings.iter().find(|one| one.name == *name) {
                Some(one) if one.supply.is_some() => {}
                Some(_) => {
                    return Err(Failure::new(Exit::Usage, format!("credentials {name} are read from nowhere"))
                        .hint(format!("set them: proxywhirl credentials set {name}")));
                }
                None => return Err(self.unknown(name)),
            }
        }
        let is_meant =
            |one: &&CredentialsSettings| one.supply.is_some() && (names.is_empty() || names.contains(&one.name));
        let meant: Vec<_> = settings.iter().filter(is_meant).collect();
        let reads = meant.iter().map(|one| self.read(one));
        Ok(futures_util::future::join_all(reads).await)
    }

    /// Sets credentials that are named in the configuration.
    ///
    /// # Errors
    /// When there are none of that name.
    pub fn set(&self, name: &str, credentials: Credentials) -> Result<CredentialsSet, Failure> {
        let set = self.engine.set_login(name, credentials).ok_or_else(|| self.unknown(name))?;
        *self.state().commanded.entry(name.to_owned()).or_default() += 1;
        self.note(name, None);
        Ok(CredentialsSet { name: name.to_owned(), changed: set.is_new, proxies: set.members })
    }

    /// Sets credentials of whom the configuration says nothing: until the gateway ends.
    pub fn set_for(&self, covered: Covered, credentials: Credentials) -> Result<CredentialsSet, Failure> {
        let name = covered.in_words();
        {
            let mut state = self.state();
            state.ad_hoc.retain(|(own, _)| *own != name);
            state.ad_hoc.insert(0, (name.clone(), covered));
        }
        self.put_in_force();
        self.set(&name, credentials)
    }

    /// All of them, as they are.
    #[must_use]
    pub fn list(&self) -> Vec<CredentialsRow> {
        let (settings, read) = {
            let state = self.state();
            (state.settings.clone(), state.read.clone())
        };
        let snapshot = self.engine.snapshot();
        let row = |login: &Arc<Login>| {
            let own = settings.iter().find(|one| one.name == login.name());
            let read = read.get(login.name());
            let is_covered =
                |member: &&Arc<proxywhirl_core::Member>| login.covered().holds(&member.endpoint, member.tags());
            CredentialsRow {
                name: login.name().to_owned(),
                whose: login.covered().in_words(),
                proxies: snapshot.iter().filter(is_covered).count(),
                username: login.credentials().map(|credentials| credentials.username.to_string()),
                from: own
                    .and_then(|one| one.supply.as_ref())
                    .map_or_else(|| "a command".to_owned(), ToString::to_string),
                read: read.map(|read| read.at.as_micros()),
                problem: read.and_then(|read| read.problem.clone()),
            }
        };
        self.engine.logins().all().iter().map(row).collect()
    }

    /// What the engine dials with follows what is configured and what was commanded.
    fn put_in_force(&self) {
        let state = self.state();
        let configured = state.settings.iter().map(|one| (one.name.clone(), one.covered.clone()));
        let all: Vec<_> = state.ad_hoc.iter().cloned().chain(configured).collect();
        self.engine.logins().configure(&all);
    }

    /// Reads credentials when they are due, until it is configured anew.
    async fn keep_up(&self, settings: CredentialsSettings) {
        let Some(login) = self.engine.logins().get(&settings.name) else { return };
        loop {
            let due = async {
                match settings.interval {
                    // Spread by a tenth, so that gateways do not ask together for ever.
                    Some(interval) => tokio::time::sleep(interval.mul_f64(0.9 + 0.2 * fastrand::f64())).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {}
                () = login.refused(), if settings.on_407 => {
                    tracing::info!(credentials.name = settings.name, "a proxy refuses its credentials: they are read again");
                }
            }
            self.read(&settings).await;
            tokio::time::sleep(LEAST_PAUSE).await;
        }
    }

    /// Reads credentials, and puts them in force.
    async fn read(&self, settings: &CredentialsSettings) -> CredentialsRead {
        let name = settings.name.clone();
        let before = self.state().commanded.get(&name).copied();
        match self.reader.read(settings).await {
            // It took its time, and something newer is said by now: by a command, or by the configuration.
            Ok(_) if !self.is_current(settings, before) => CredentialsRead { name, changed: false, problem: None },
            Ok(credentials) => {
                let set = self.engine.set_login(&name, credentials);
                let changed = set.as_ref().is_some_and(|set| set.is_new);
                if let Some(set) = set.filter(|set| set.is_new) {
                    tracing::info!(credentials.name = name, pool.members = set.members, "credentials are new");
                }
                self.note(&name, None);
                CredentialsRead { name, changed, problem: None }
            }
            Err(problem) => {
                tracing::warn!(credentials.name = name, reason = problem, "credentials not read, those before stay");
                self.note(&name, Some(problem.clone()));
                CredentialsRead { name, changed: false, problem: Some(problem) }
            }
        }
    }

    /// Whether these settings are those in force, and no command has set anything since there were so many.
    fn is_current(&self, settings: &CredentialsSettings, before: Option<u64>) -> bool {
        let state = self.state();
        state.settings.contains(settings) && state.commanded.get(&settings.name).copied() == before
    }

    fn note(&self, name: &str, problem: Option<String>) {
        let at = self.engine.now();
        self.state().read.insert(name.to_owned(), Read { at, problem });
    }

    fn unknown(&self, name: &str) -> Failure {
        let all = self.engine.logins().all();
        let names: Vec<&str> = all.iter().map(|login| login.name()).collect();
        let failure = Failure::new(Exit::NoResult, format!("there are no credentials {name:?}"));
        if names.is_empty() {
            return failure.hint("say whose: --tag, --source, --host or --proxy; or name them in [[credentials]]");
        }
        failure.hint(format!("there are {}", names.join(", ")))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whose credentials a command means.
///
/// # Errors
/// When it does not say whose, or what it says cannot be.
pub fn covered(tag: Option<&str>, host: Option<&str>, proxy: Option<EndpointKey>) -> Result<Covered, Failure> {
    let wrong = |error: String| Failure::new(Exit::Usage, error);
    let tag =
        tag.map(str::parse).transpose().map_err(|error: proxywhirl_core::tag::NotATag| wrong(error.to_string()))?;
    let host =
        host.map(str::parse).transpose().map_err(|error: proxywhirl_core::host::NotAHost| wrong(error.to_string()))?;
    let covered = Covered { tag, host, proxy };
    if covered == Covered::default() {
        return Err(wrong("it says not whose they are: name a tag, a source, a host or a proxy".to_owned()));
    }
    Ok(covered)
}
