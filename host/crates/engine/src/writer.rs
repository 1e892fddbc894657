//! The one writer: the only task that changes the pool.
//!
//! It applies commands in order, publishes a snapshot after each batch, tells strategy and listeners,
//! and saves. Changes of who is a member are saved at once and before the command is answered;
//! statistics at an interval, so that a crash loses at most that.

mod loading;
mod saving;
mod sharing;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use arc_swap::ArcSwap;
use proxywhirl_core::endpoint::EndpointKey;
use proxywhirl_core::event::Topic;
use proxywhirl_core::kv::KeyValues;
use proxywhirl_core::limit::MemberLimits;
use proxywhirl_core::pool::{Admission, Admitted, Pool, Relabelling, Snapshot};
use proxywhirl_core::store::{Store, StoreError};
use proxywhirl_core::tag::Tags;
use proxywhirl_core::{Member, MemberId, Timestamp};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::bans::Bans;
use crate::bus::Bus;
use crate::clock::Clock;
use crate::events::MemberPayload;
use crate::kept_out::KeptOut;
use crate::limits::Room;
use crate::measures::Measures;
use crate::strategy::Selector;
use crate::trouble::Trouble;

/// Commands that wait at the most; who sends one more waits.
const COMMANDS: usize = 64;

/// What admissions came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Admissions {
    /// New members.
    pub new: usize,
    /// Members about which something was new.
    pub merged: usize,
    /// Members about which nothing was new.
    pub known: usize,
    /// Turned away because the pool is full.
    pub full: usize,
    /// Turned away because a user has taken them out.
    pub kept_out: usize,
}

impl Admissions {
    /// Adds what others came to.
    pub const fn add(&mut self, other: Self) {
        self.new += other.new;
        self.merged += other.merged;
        self.known += other.known;
        self.full += other.full;
        self.kept_out += other.kept_out;
    }
}

/// Who reads what the writer writes.
pub(crate) struct Readers {
    /// The engine's clock.
    pub(crate) clock: Clock,
    /// Where joins and leaves are told.
    pub(crate) bus: Arc<Bus>,
    /// Where requests find the pool.
    pub(crate) snapshot: Arc<ArcSwap<Snapshot>>,
    /// The strategy, which also knows the sessions.
    pub(crate) selector: Arc<Selector>,
    /// The engine's numbers.
    pub(crate) measures: Arc<Measures>,
    /// The bans.
    pub(crate) bans: Arc<Bans>,
    /// What plugins keep, which a store may hold back until it is saved.
    pub(crate) keys: Option<Arc<dyn KeyValues>>,
    /// Those who wait for a member.
    pub(crate) room: Arc<Room>,
    /// Whether stored members are still being loaded.
    pub(crate) is_loading: Arc<AtomicBool>,
    /// Why the pool cannot be saved.
    pub(crate) trouble: Arc<Trouble>,
}

enum Command {
    Admit(Vec<Admission>, oneshot::Sender<Admissions>),
    Remove(Vec<EndpointKey>, oneshot::Sender<usize>),
    Resize(usize, oneshot::Sender<()>),
    Limit(MemberLimits, oneshot::Sender<()>),
    Relabel(Relabelling, oneshot::Sender<usize>),
    Save(oneshot::Sender<Result<(), StoreError>>),
}

/// The writer's handle.
#[derive(Debug)]
pub(crate) struct Writer {
    commands: Mutex<Option<mpsc::Sender<Command>>>,
    task: Mutex<Option<JoinHandle<Result<(), StoreError>>>>,
    /// Whom a user has taken out. The task has it too.
    kept_out: Arc<KeptOut>,
}

impl Writer {
    /// Loads what is stored and starts the task.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) fn start(
        pool: Pool,
        store: Option<Box<dyn Store>>,
        save_interval: Duration,
        readers: Readers,
    ) -> Result<Self, StoreError> {
        let kept_out = Arc::<KeptOut>::default();
        let mut desk = Desk {
            pool,
            kept_out: Arc::clone(&kept_out),
            store: None,
            broken: None,
            readers,
            unsaved: HashSet::new(),
            unstored: HashSet::new(),
            untagged: Vec::new(),
            removed: HashSet::new(),
            rest: None,
            is_behind: false,
            is_unread: false,
            save_interval: save_interval.max(Duration::from_millis(10)),
            again_at: Timestamp::default(),
        };
        desk.load(store)?;
        let (commands, queue) = mpsc::channel(COMMANDS);
        let task = tokio::spawn(desk.run(queue));
        Ok(Self { commands: Mutex::new(Some(commands)), task: Mutex::new(Some(task)), kept_out })
    }

    async fn send<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let commands = self.commands.lock().await.clone()?;
        let (answer, waits) = oneshot::channel();
        commands.send(command(answer)).await.ok()?;
        waits.await.ok()
    }

    /// Takes members in. Nothing is taken in any more once the writer has stopped.
    pub(crate) async fn admit(&self, admissions: Vec<Admission>) -> Admissions {
        self.send(|answer| Command::Admit(admissions, answer)).await.unwrap_or_default()
    }

    /// Puts members out; how many there were.
    pub(crate) async fn remove(&self, keys: Vec<EndpointKey>) -> usize {
        self.send(|answer| Command::Remove(keys, answer)).await.unwrap_or_default()
    }

    /// Puts members out, and takes none of them in any more unless they are let in; how many there were, and how many are kept out.
    pub(crate) async fn keep_out(&self, keys: Vec<EndpointKey>) -> (usize, usize) {
        // First, so that whoever is about to come in does not come after they have left.
        let kept = self.kept_out.add(&keys);
        (self.remove(keys).await, kept)
    }

    /// Takes members in, even those that are kept out.
    pub(crate) async fn let_in(&self, admissions: Vec<Admission>) -> Admissions {
        self.kept_out.lift(&admissions);
        self.admit(admissions).await
    }

    /// Whether somebody is kept out.
    pub(crate) fn keeps_out(&self, id: MemberId) -> bool {
        self.kept_out.holds(id)
    }

    /// Changes how many members the pool may have.
    pub(crate) async fn resize(&self, capacity: usize) {
        self.send(|answer| Command::Resize(capacity, answer)).await.unwrap_or_default();
    }

    /// Says how much may be asked of members.
    pub(crate) async fn limit(&self, limits: MemberLimits) {
        self.send(|answer| Command::Limit(limits, answer)).await.unwrap_or_default();
    }

    /// Says what sources say of their members; how many that changes.
    pub(crate) async fn relabel(&self, relabelling: Relabelling) -> usize {
        self.send(|answer| Command::Relabel(relabelling, answer)).await.unwrap_or_default()
    }

    /// Saves what changed.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub(crate) async fn save(&self) -> Result<(), StoreError> {
        self.send(Command::Save).await.unwrap_or(Ok(()))
    }

    /// Works off what is queued, saves, and ends.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub(crate) async fn stop(&self) -> Result<(), StoreError> {
        drop(self.commands.lock().await.take());
        let Some(task) = self.task.lock().await.take() else { return Ok(()) };
        task.await.unwrap_or_else(|error| {
            Err(StoreError { place: "the pool's writer".to_owned(), reason: format!("has panicked: {error}") })
        })
    }
}

/// What the task owns.
struct Desk {
    pool: Pool,
    /// Whom a user has taken out.
    kept_out: Arc<KeptOut>,
    /// Given away to a blocking thread while it saves; none for a pool that is not kept, and when it has panicked there.
    store: Option<Box<dyn Store>>,
    /// Why nothing is saved any more.
    broken: Option<String>,
    readers: Readers,
    /// Members that are new or changed since the last save, by how many had joined before them.
    unsaved: HashSet<u64>,
    /// Those among them that the store is to have whatever is there: they are new, or it has lost them.
    unstored: HashSet<u64>,
    /// Tags that were taken from members since the last save.
    untagged: Vec<(EndpointKey, Tags)>,
    /// Members that left since the last save.
    removed: HashSet<EndpointKey>,
    /// Where the rest of the stored members begins, while they are loaded.
    rest: Option<u64>,
    /// Whether others have changed more than was heard of, so that everything has to be read again.
    is_behind: bool,
    /// Whether nothing was read yet of what is stored, because the store could not be reached.
    is_unread: bool,
    /// How often they are.
    save_interval: Duration,
    /// Until when a store that was there and refused members is not given them again before others are heard.
    again_at: Timestamp,
}

impl Desk {
    async fn run(mut self, mut queue: mpsc::Receiver<Command>) -> Result<(), StoreError> {
        self.load_rest(&queue).await;
        let mut tick = tokio::time::interval(self.save_interval);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let is_shared = self.store.as_ref().is_some_and(|store| store.is_shared());
        let mut listen = tokio::time::interval(sharing::LISTEN);
        listen.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                command = queue.recv() => match command {
                    Some(command) => self.obey(command).await,
                    None => {
                        let kept = self.keep_keys().await;
                        return self.look_and_save().await.and(kept);
                    }
                },
                _ = listen.tick(), if is_shared => self.share().await,
                _ = tick.tick() => {
                    self.readers.measures.pulse(self.pool.len(), self.readers.selector.sessions().len());
                    let saved = self.look_and_save().await;
                    let kept = self.keep_keys().await;
                    self.note(saved.and(kept));
                }
            }
        }
    }

    async fn obey(&mut self, command: Command) {
        // Whoever asked may have given up; the command is carried out all the same.
        match command {
            Command::Admit(admissions, answer) => {
                let admitted = self.admit(admissions);
                self.save_or_warn().await;
                if answer.send(admitted).is_err() {
                    tracing::debug!("nobody waits for the answer");
                }
            }
            Command::Remove(keys, answer) => {
                let removed = self.remove(&keys);
                self.save_or_warn().await;
                if answer.send(removed).is_err() {
                    tracing::debug!("nobody waits for the answer");
                }
            }
            Command::Resize(capacity, answer) => {
                self.pool.resize(capacity);
                if answer.send(()).is_err() {
                    tracing::debug!("nobody waits for the answer");
                }
            }
            Command::Limit(limits, answer) => {
                self.pool.limit(limits);
                if answer.send(()).is_err() {
                    tracing::debug!("nobody waits for the answer");
                }
            }
            Command::Relabel(relabelling, answer) => {
                let relabelled = self.relabel(relabelling);
                self.save_or_warn().await;
                if answer.send(relabelled).is_err() {
                    tracing::debug!("nobody waits for the answer");
                }
            }
            Command::Save(answer) => drop(answer.send(self.save().await)),
        }
    }

    fn admit(&mut self, mut admissions: Vec<Admission>) -> Admissions {
        let now = self.readers.clock.now();
        let kept_out = self.kept_out.sift(&mut admissions);
        let mut counts = Admissions { kept_out, ..Admissions::default() };
        for admission in admissions {
            match self.pool.admit(admission, now) {
                Admitted::New(member) => {
                    counts.new += 1;
                    self.unsaved.insert(member.joined);
                    self.unstored.insert(member.joined);
                    self.tell(Topic::ProxyAdded, &member);
                }
                Admitted::Merged(member) => {
                    counts.merged += 1;
                    self.unsaved.insert(member.joined);
                }
                Admitted::Known(_) => counts.known += 1,
                Admitted::Full => counts.full += 1,
                Admitted::Stranger => {}
            }
        }
        self.publish();
        counts
    }

    fn relabel(&mut self, relabelling: Relabelling) -> usize {
        let right = relabelling.clone();
        let members = self.pool.relabel(relabelling);
        for member in &members {
            self.unsaved.insert(member.joined);
            let tags = right.of(member.tags()).unwrap_or_default();
            let gone: Tags = member.tags().iter().filter(|tag| !tags.contains(tag.as_str())).cloned().collect();
            if gone != Tags::default() {
                self.untagged.push((member.endpoint.key(), gone));
            }
        }
        self.publish();
        members.len()
    }

    fn remove(&mut self, keys: &[EndpointKey]) -> usize {
        let mut count = 0;
        for key in keys {
            if let Some(member) = self.pool.remove(key) {
                count += 1;
                self.unsaved.remove(&member.joined);
                self.unstored.remove(&member.joined);
                self.removed.insert(key.clone());
                self.tell(Topic::ProxyRemoved, &member);
            }
        }
        self.publish();
        count
    }

    fn tell(&self, topic: Topic, member: &Member) {
        self.readers.bus.publish(topic, self.readers.clock.now(), || MemberPayload::from(member));
    }

    /// The store has panicked, and is gone.
    fn lose_store(&mut self, error: &tokio::task::JoinError) -> StoreError {
        let reason = format!("has panicked, and nothing is saved any more: {error}");
        broken(self.broken.insert(reason))
    }

    fn publish(&mut self) {
        let (snapshot, delta) = self.pool.publish();
        let snapshot = Arc::new(snapshot);
        self.readers.snapshot.store(Arc::clone(&snapshot));
        self.readers.selector.changed(snapshot, delta);
        self.readers.room.stir();
    }
}

fn broken(reason: &str) -> StoreError {
    StoreError { place: "the store".to_owned(), reason: reason.to_owned() }
}
