//! `[[credentials]]` at work: user names and passwords are read from where they are kept, at the start, at their intervals
//! and when a proxy refuses them, and take the place of those that proxies came with.
//!
//! What cannot be read leaves those in force that there are, and is told. A proxy that refuses and refuses has them read
//! again every few seconds at the most.
//!
//! Those that a command sets are kept where the pool is kept, until a command takes them back: for whom is said, or for a section
//! that is read from nowhere. They go before what the configuration says, the newest first.

mod commanded;
mod kept;
mod supply;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proxywhirl_core::{EndpointKey, Timestamp};
use proxywhirl_engine::Engine;
use proxywhirl_engine::logins::{Covered, Login};
use proxywhirl_store::{StoredLogin, UnreadLogin};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::config::CredentialsSettings;
use crate::control::api::{CredentialsRead, CredentialsRow};
use crate::exit::{Exit, Failure};
use commanded::hiding;
pub use kept::Kept;
pub use supply::Reader;

/// For so long after a reading it is not heard that they are refused.
const LEAST_PAUSE: Duration = Duration::from_secs(2);

/// How often a store that others share is asked for logins, what one gateway is told is to be known everywhere within a second; and one
/// that could not keep a login is tried again.
const LISTEN: Duration = Duration::from_millis(500);

/// Credentials that are kept up.
#[derive(Debug)]
pub struct Keeping {
    engine: Arc<Engine>,
    reader: Reader,
    /// Where logins of commands are kept; none when nothing outlives the gateway.
    kept: Option<Kept>,
    /// Held while what is kept is read or written, so that nothing older takes the place of what is newer.
    turn: tokio::sync::Mutex<()>,
    /// Written by whoever configures or reads; held for a few instructions.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    settings: Vec<CredentialsSettings>,
    /// Those of commands, which are for no section. They count before the others, the newest first.
    ad_hoc: Vec<(String, Covered)>,
    /// What is kept of commands, as it was read or written last; none before it was read.
    stored: Option<Vec<StoredLogin>>,
    /// What a command has set and could not be kept yet: newer than what is kept of the same.
    unkept: Vec<StoredLogin>,
    /// What is kept, and cannot be made out.
    unread: Vec<UnreadLogin>,
    /// Sections whose credentials are those of a command now.
    by_command: BTreeSet<String>,
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
    pub fn new(engine: Arc<Engine>, reader: Reader, kept: Option<Kept>) -> Arc<Self> {
        Arc::new(Self { engine, reader, kept, turn: tokio::sync::Mutex::default(), state: Mutex::default() })
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
        self.read_kept(true).await;
        self.tell_hidden();
        let is_new = |one: &&CredentialsSettings| !before.contains(one);
        let reads = settings.iter().filter(is_new).filter(|one| one.supply.is_some()).map(|one| self.read(one));
        futures_util::future::join_all(reads).await;
        for one in settings.into_iter().filter(|one| one.supply.is_some() && (one.interval.is_some() || one.on_407)) {
            let keeping = Arc::clone(self);
            self.state().tasks.spawn(async move { keeping.keep_up(one).await });
        }
        if let Some(is_shared) = self.kept.as_ref().map(|kept| kept.is_shared) {
            let keeping = Arc::clone(self);
            self.state().tasks.spawn(async move {
                loop {
                    tokio::time::sleep(LISTEN).await;
                    if is_shared || !keeping.state().unkept.is_empty() {
                        keeping.read_kept(false).await;
                    }
                }
            });
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

    /// All of them, as they are.
    #[must_use]
    pub fn list(&self) -> Vec<CredentialsRow> {
        let (read, unread) = {
            let state = self.state();
            (state.read.clone(), state.unread.clone())
        };
        let from = self.origins();
        let snapshot = self.engine.snapshot();
        let ad_hoc = self.state().ad_hoc.clone();
        let hidden = |login: &Login| {
            let first = hiding(&ad_hoc, login.covered()).filter(|first| *first != login.name())?;
            Some(format!("not used: {first} goes first"))
        };
        let row = |login: &Arc<Login>| {
            let read = read.get(login.name());
            let is_covered =
                |member: &&Arc<proxywhirl_core::Member>| login.covered().holds(&member.endpoint, member.tags());
            CredentialsRow {
                name: login.name().to_owned(),
                whose: login.covered().in_words(),
                proxies: snapshot.iter().filter(is_covered).count(),
                username: login.credentials().map(|credentials| credentials.username.to_string()),
                from: from.get(login.name()).cloned().unwrap_or_default(),
                read: read.map(|read| read.at.as_micros()),
                problem: read.and_then(|read| read.problem.clone()).or_else(|| hidden(login)),
            }
        };
        let unread = unread.into_iter().map(|UnreadLogin { name, reason }| CredentialsRow {
            name,
            whose: "unknown".to_owned(),
            proxies: 0,
            username: None,
            from: self.kept.as_ref().map(|kept| format!("a command, kept in {}", kept.place)).unwrap_or_default(),
            read: None,
            problem: Some(reason),
        });
        self.engine.logins().all().iter().map(row).chain(unread).collect()
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
        // Spread by a tenth, so that gateways do not ask together for ever.
        let next = |begun: Instant| settings.interval.map(|it| begun + it.mul_f64(0.9 + 0.2 * fastrand::f64()));
        let (mut due_at, mut hears_from) = (next(Instant::now()), Instant::now());
        loop {
            let due = async move {
                match due_at {
                    Some(due_at) => tokio::time::sleep_until(due_at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::pin!(due);
            let is_due = tokio::select! {
                () = &mut due => true,
                () = tokio::time::sleep_until(hears_from) => false,
            };
            let listening = settings.on_407.then(|| login.listen());
            if !is_due {
                let refused = async {
                    match &listening {
                        Some(listening) => listening.refused().await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = due => {}
                    () = refused => {
                        tracing::info!(credentials.name = settings.name, "a proxy refuses its credentials: they are read again");
                    }
                }
            }
            due_at = next(Instant::now());
            self.read(&settings).await;
            drop(listening);
            hears_from = Instant::now() + LEAST_PAUSE;
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
                self.state().by_command.remove(&name);
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
