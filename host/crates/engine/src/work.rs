//! Work that gateways of one pool divide among them: each source is read by one, and each member checked by one.
//!
//! A lease holds for a [`TERM`] and is renewed several times in it. Whoever dies renews nothing, and another one takes over.
//! Sources go to whoever comes first; members are checked in shards, which are spread over those who check by rendezvous: a
//! gateway that comes or goes moves only what it has. When nobody can be asked for longer than a lease holds, each gateway does
//! everything itself: rather twice than not at all.

mod differences;
mod view;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use proxywhirl_core::MemberId;
use proxywhirl_core::member::mix;
use proxywhirl_core::shared::{Found, Leases, SHARDS, Saying, Wish, Work, shard_of};
use proxywhirl_core::store::StoreError;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::trouble::{Change, StoreTrouble, Trouble};
use differences::Differences;
use view::{Turn, View};

/// How long a lease holds. With a round more, so long does it take until the work of one who died is somebody else's.
pub const TERM: Duration = Duration::from_secs(12);

/// How often leases are renewed, and free ones looked for.
const ROUND: Duration = Duration::from_secs(3);

/// How often gateways tell each other what they have found: all know it within a second.
const TALK: Duration = Duration::from_millis(500);

/// Findings that wait to be told, or heard, at the most; of what is more nobody hears, and finds it out by itself.
const MOST_FOUND: usize = 10_000;

/// What was done and has to be told, at the most; who has more to tell waits.
const DONE: usize = 64;

/// How work is divided, for people and programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkStatus {
    /// The name of this gateway.
    pub node: String,
    /// Whether it does everything itself, because nobody can be asked.
    pub is_alone: bool,
    /// Why nobody can be asked, and since when; none when somebody can.
    pub trouble: Option<StoreTrouble>,
    /// The gateways that check members.
    pub checkers: Vec<String>,
    /// How many of the shards that members are in this one checks, and of how many: `22/64`.
    pub checks: String,
    /// Who reads which source; none for nobody yet. What is read by each gateway itself is not here.
    pub sources: HashMap<String, Option<String>>,
    /// What has to be the same at all gateways and is another one here, and the gateways where it is.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub differs: BTreeMap<String, Vec<String>>,
}

/// The work that this gateway does for all.
#[derive(Debug)]
pub struct Crew {
    node: String,
    view: watch::Sender<View>,
    trouble: Trouble,
    is_checker: AtomicBool,
    /// What this gateway has found and has to tell.
    found: Mutex<Vec<Found>>,
    /// What others have found: for the members, and for when they are checked.
    heard: Mutex<Vec<Found>>,
    judged: Mutex<Vec<Found>>,
    has_heard: Notify,
    differences: Mutex<Differences>,
    told: Mutex<Option<mpsc::Sender<Told>>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
enum Told {
    /// A source was read, and need not be read again for so long.
    Read(Arc<str>, Duration),
    /// Something else is wanted than before.
    Changed,
}

impl Crew {
    /// Joins those who share the work, of which these sources are a part. Must be called inside a tokio runtime.
    #[must_use]
    pub(crate) fn join(leases: Box<dyn Leases>, sources: Vec<Arc<str>>, clock: Clock) -> Arc<Self> {
        let (told, tells) = mpsc::channel(DONE);
        let turns = sources.into_iter().map(|source| (source, Turn::default())).collect();
        let view = View { is_known: false, until: Instant::now(), sources: turns, shards: 0, checkers: Vec::new() };
        let crew = Arc::new(Self {
            node: leases.node().to_owned(),
            view: watch::Sender::new(view),
            trouble: Trouble::default(),
            is_checker: AtomicBool::new(false),
            found: Mutex::default(),
            heard: Mutex::default(),
            judged: Mutex::default(),
            has_heard: Notify::new(),
            differences: Mutex::default(),
            told: Mutex::new(Some(told)),
            task: Mutex::default(),
        });
        let task = tokio::spawn(Arc::clone(&crew).divide(leases, tells, clock));
        *crew.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
        crew
    }

    /// Returns when it is known how the work is divided, or that nobody can be asked.
    pub async fn is_divided(&self) {
        let mut views = self.view.subscribe();
        // It ends with an error when nobody divides any more.
        drop(views.wait_for(|view| view.is_known).await);
    }

    /// Whether this gateway has to read a source now; it says so when it begins to. Of what is not divided, it has.
    pub fn claims(&self, source: &str) -> bool {
        let view = self.view.borrow();
        !view.sources.contains_key(source) || view.due(source, Instant::now()).is_some_and(|due| due <= Instant::now())
    }

    /// Returns when it is this gateway's turn to read a source: when nobody has read it for so long as it is fresh. When nobody
    /// can be asked, after `otherwise`.
    pub async fn turn(&self, source: &str, otherwise: Duration) {
        let otherwise = Instant::now() + otherwise;
        let mut views = self.view.subscribe();
        loop {
            let (due, until) = {
                let view = views.borrow_and_update();
                (view.due(source, otherwise), view.until)
            };
            if due.is_some_and(|due| due <= Instant::now()) {
                return;
            }
            // When the division is over, this gateway is alone, and nothing more changes by itself.
            let look = match due {
                Some(due) if until <= Instant::now() => due,
                Some(due) => due.min(until),
                None => until.max(Instant::now() + Duration::from_millis(10)),
            };
            tokio::select! {
                () = tokio::time::sleep_until(look) => {}
                _ = views.changed() => {}
            }
        }
    }

    /// Says that this gateway begins to read a source, and that its turn does not come again for so long. The others are kept away by
    /// the lease meanwhile; for them it counts as read when it was.
    pub fn begin(&self, source: &str, fresh: Duration) {
        self.view.send_modify(|view| {
            if let Some(turn) = view.sources.get_mut(source) {
                turn.own_due = Some(Instant::now() + fresh);
            }
        });
    }

    /// Says that this gateway has read a source, and that it need not be read again for so long.
    pub async fn read(&self, source: &str, fresh: Duration) {
        self.begin(source, fresh);
        let name = self.view.borrow().sources.get_key_value(source).map(|(name, _)| Arc::clone(name));
        if let Some(name) = name {
            self.tell(Told::Read(name, fresh)).await;
        }
    }

    /// Says which sources are part of the work from now on. What this gateway has of others is somebody else's within a [`TERM`].
    pub async fn share(&self, sources: &[Arc<str>]) {
        self.view.send_modify(|view| {
            view.sources.retain(|name, _| sources.contains(name));
            for source in sources {
                view.sources.entry(Arc::clone(source)).or_default();
            }
        });
        self.tell(Told::Changed).await;
    }

    /// Says what has to be the same at all gateways of the pool, as it is here from now on.
    pub fn say(&self, said: Vec<Saying>) {
        self.differences.lock().unwrap_or_else(PoisonError::into_inner).own = said;
    }

    /// Whether this gateway is the one that reads a source: for all, or because each reads it.
    pub fn has(&self, source: &str) -> bool {
        let view = self.view.borrow();
        view.is_alone() || view.sources.get(source).is_none_or(|turn| turn.is_own)
    }

    /// Checks members from now on, those of the shards that fall to it.
    pub async fn check(&self) {
        self.is_checker.store(true, Ordering::Relaxed);
        self.tell(Told::Changed).await;
    }

    /// Whether this gateway checks a member.
    #[must_use]
    pub fn checks(&self, member: MemberId) -> bool {
        let view = self.view.borrow();
        view.is_alone() || (view.shards >> shard_of(member)) & 1 == 1
    }

    /// Has the others told what a check has found.
    pub fn found(&self, found: Found) {
        keep(&self.found, [found]);
    }

    /// What others have found since this was asked last; waits for something.
    pub(crate) async fn heard(&self) -> Vec<Found> {
        self.has_heard.notified().await;
        take(&self.heard)
    }

    /// What others have found, for who checks members here.
    pub(crate) fn judged(&self) -> Vec<Found> {
        take(&self.judged)
    }

    /// How the work is divided.
    #[must_use]
    pub fn status(&self) -> WorkStatus {
        let view = self.view.borrow();
        let holder = |turn: &Turn| turn.holder.clone();
        WorkStatus {
            node: self.node.clone(),
            is_alone: view.is_alone(),
            trouble: self.trouble.get(),
            checkers: view.checkers.clone(),
            checks: format!("{}/{SHARDS}", if view.is_alone() { u32::from(SHARDS) } else { view.shards.count_ones() }),
            sources: view.sources.iter().map(|(name, turn)| (name.to_string(), holder(turn))).collect(),
            differs: self.differences.lock().unwrap_or_else(PoisonError::into_inner).in_words(),
        }
    }

    /// Leaves all work to others.
    pub(crate) async fn leave(&self) {
        drop(self.told.lock().unwrap_or_else(PoisonError::into_inner).take());
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task
            && task.await.is_err()
        {
            tracing::error!("who divides the work has panicked");
        }
    }

    async fn tell(&self, what: Told) {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(told) = told
            && told.send(what).await.is_err()
        {
            tracing::debug!("nobody divides work any more");
        }
    }

    /// Renews what this gateway has, and takes what falls to it, until it leaves.
    async fn divide(self: Arc<Self>, mut leases: Box<dyn Leases>, mut tells: mpsc::Receiver<Told>, clock: Clock) {
        let mut checkers = Vec::new();
        loop {
            let wishes = self.wishes(&checkers);
            let Some((back, divided)) = self.ask(leases, wishes, self.is_checker.load(Ordering::Relaxed)).await else {
                return;
            };
            leases = back;
            self.note(divided.as_ref().err(), clock);
            let before = std::mem::replace(&mut checkers, self.view.borrow().checkers.clone());
            if before != checkers {
                // Others fall to it now, or are left to others.
                continue;
            }
            let again = Instant::now() + ROUND;
            while Instant::now() < again {
                tokio::select! {
                    () = tokio::time::sleep(TALK) => {
                        let Some(back) = self.talk(leases, clock).await else { return };
                        leases = back;
                    }
                    told = tells.recv() => match told {
                        Some(Told::Changed) => break,
                        Some(Told::Read(source, fresh)) => {
                            let Some(back) = self.mark(leases, source, fresh, clock).await else { return };
                            leases = back;
                        }
                        None => {
                            let nothing = self.wishes(&checkers).into_iter().map(|(work, _)| (work, Wish::Leave));
                            // It is over in any case: what nobody renews expires.
                            drop(self.ask(leases, nothing.collect(), false).await);
                            return;
                        }
                    },
                }
            }
        }
    }

    /// All work, and what this gateway wants of it, as long as these check.
    fn wishes(&self, checkers: &[String]) -> Vec<(Work, Wish)> {
        let wish = |shard: u8| match chosen(checkers, shard) {
            Some(node) if *node == self.node => Wish::Have,
            Some(_) | None => Wish::Leave,
        };
        let view = self.view.borrow();
        let sources = view.sources.keys().map(|source| (Work::Source(Arc::clone(source)), Wish::Have));
        sources.chain((0..SHARDS).map(|shard| (Work::Checks(shard), wish(shard)))).collect()
    }

    async fn ask(
        &self,
        mut leases: Box<dyn Leases>,
        wishes: Vec<(Work, Wish)>,
        is_checker: bool,
    ) -> Option<(Box<dyn Leases>, Result<(), StoreError>)> {
        let asked = Instant::now();
        let own = self.differences.lock().unwrap_or_else(PoisonError::into_inner).own.clone();
        let divided = tokio::task::spawn_blocking(move || {
            let divided = leases.divide(&wishes, is_checker, TERM);
            // Of a server that cannot be asked the next question is as good as this one.
            let said = divided.is_ok().then(|| leases.say(&own, TERM));
            (leases, wishes, divided, said)
        });
        let Ok((leases, wishes, divided, said)) = divided.await else {
            tracing::error!("who divides the work has panicked, this gateway does all of it from now on");
            return None;
        };
        if let Some(Ok(said)) = said {
            self.differences.lock().unwrap_or_else(PoisonError::into_inner).hear(&said);
        }
        let divided = divided.map(|division| {
            self.view.send_modify(|view| view.take(&self.node, division, &wishes, asked));
        });
        Some((leases, divided))
    }

    async fn mark(
        &self,
        mut leases: Box<dyn Leases>,
        source: Arc<str>,
        fresh: Duration,
        clock: Clock,
    ) -> Option<Box<dyn Leases>> {
        let marked = tokio::task::spawn_blocking(move || {
            let marked = leases.done(&Work::Source(source), fresh);
            (leases, marked)
        });
        let (leases, marked) = marked.await.ok()?;
        if let Err(error) = marked {
            self.note(Some(&error), clock);
        }
        Some(leases)
    }

    /// Tells what was found here, and hears what was found elsewhere.
    async fn talk(&self, mut leases: Box<dyn Leases>, clock: Clock) -> Option<Box<dyn Leases>> {
        let found = take(&self.found);
        let told = tokio::task::spawn_blocking(move || {
            let told = leases.tell(&found);
            (leases, found, told)
        });
        let (leases, found, told) = told.await.ok()?;
        match told {
            Ok(heard) if heard.is_empty() => {}
            Ok(heard) => {
                if self.is_checker.load(Ordering::Relaxed) {
                    keep(&self.judged, heard.iter().copied());
                }
                keep(&self.heard, heard);
                self.has_heard.notify_one();
            }
            Err(error) => {
                // Twice is better than never: a verdict more or less opens no breaker.
                keep(&self.found, found);
                self.note(Some(&error), clock);
            }
        }
        Some(leases)
    }

    /// Writes down whether the work can be divided.
    fn note(&self, error: Option<&StoreError>, clock: Clock) {
        match (self.trouble.note(error.map(ToString::to_string), clock.now()), error) {
            (Change::Began, Some(error)) => {
                tracing::warn!(%error, "work cannot be divided: what this gateway has it keeps for a while, and then does all of it");
            }
            (Change::Ended, _) => tracing::info!("work is divided again"),
            (Change::Began | Change::Same, _) => {}
        }
        // Who has never been told anything begins alone.
        if error.is_some() && !self.view.borrow().is_known {
            self.view.send_modify(|view| view.is_known = true);
        }
    }
}

fn keep(kept: &Mutex<Vec<Found>>, found: impl IntoIterator<Item = Found>) {
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    let room = MOST_FOUND.saturating_sub(kept.len());
    kept.extend(found.into_iter().take(room));
}

fn take(kept: &Mutex<Vec<Found>>) -> Vec<Found> {
    std::mem::take(&mut *kept.lock().unwrap_or_else(PoisonError::into_inner))
}

/// To whom a shard falls, of those who check: by rendezvous, so that whoever comes or goes moves what is its own alone.
fn chosen(checkers: &[String], shard: u8) -> Option<&String> {
    let weight = |node: &String| {
        let seed = node.bytes().fold(u64::from(shard) + 1, |hash, byte| mix(hash ^ u64::from(byte)));
        mix(seed)
    };
    checkers.iter().max_by_key(|node| (weight(node), node.as_str()))
}

#[cfg(test)]
mod tests;
