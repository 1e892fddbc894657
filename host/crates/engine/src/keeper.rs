//! Keeps the pool true: proves who wants in, checks again who is in, and asks again who was turned away.
//!
//! What is known of a proxy is a course of verdicts ([`Schedule`]). Candidates of which something fresh is known are not
//! checked; members are checked when their verdict has become old, unless traffic has shown meanwhile how they are; and
//! strangers who failed are asked again, less and less often, because half of what lists name is merely down today.
//!
//! Checks of members go easy: few at a time, and only while the runtime keeps up ([`Checks`](crate::check::Checks)), so that
//! they are never in the way of traffic. A verdict counts as one use of the member: one failed check kills nobody.
//!
//! Where several gateways share the pool, each checks the members that fall to it ([`crate::work`]), and hears of the others.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use proxywhirl_core::live::Health;
use proxywhirl_core::pool::Admission;
use proxywhirl_core::shared::{Finding, Found};
use proxywhirl_core::{Candidate, Level, Member, MemberId, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::Engine;
use crate::check::schedule::{Schedule, ScheduleConfig};
use crate::check::{Checked, Checker};
use crate::geo::Geo;
use crate::writer::Admissions;

/// Checks that are taken from the schedule at once.
const ROUND: usize = 256;

/// How long to sleep at the most: newcomers and leavers are noticed by then.
const TICK: Duration = Duration::from_secs(1);

/// Members that are admitted at once while checks run: the pool grows while one watches, and not one by one.
const BATCH: usize = 64;

/// How the pool is kept true.
#[derive(Debug, Clone, Copy)]
pub struct KeeperConfig {
    /// How far checks go.
    pub level: Level,
    /// How often.
    pub schedule: ScheduleConfig,
    /// Checks of members at the same time; at least 1.
    pub concurrency: usize,
    /// Failed checks in a row after which a stranger is forgotten, and a member that is to leave then leaves.
    pub give_up: u32,
    /// Whether members that were given up leave the pool. Otherwise their breakers keep them from requests, and they are
    /// asked again for ever.
    pub remove_dead: bool,
    /// Strangers that are remembered at the most.
    pub strangers: usize,
}

impl KeeperConfig {
    /// The usual: 32 at a time, 12 failures, a million strangers.
    #[must_use]
    pub fn new(level: Level) -> Self {
        Self {
            level,
            schedule: ScheduleConfig::default(),
            concurrency: 32,
            give_up: 12,
            remove_dead: false,
            strangers: 1_000_000,
        }
    }
}

/// Keeps the pool true.
#[derive(Debug)]
pub struct Keeper {
    engine: Arc<Engine>,
    checker: Checker,
    config: KeeperConfig,
    geo: Option<Arc<Geo>>,
    book: Mutex<Book>,
}

/// What is known of whom. Locked for some instructions for each of those who are asked about.
#[derive(Debug)]
struct Book {
    schedule: Schedule<MemberId>,
    /// Candidates that failed: they are no members.
    strangers: HashMap<MemberId, Candidate>,
    /// The snapshot that the book has seen.
    epoch: u64,
    random: fastrand::Rng,
}

/// Who is to be checked.
#[derive(Debug, Default)]
struct Due {
    candidates: Vec<Candidate>,
    /// Those among them who are members.
    members: HashMap<MemberId, Arc<Member>>,
}

/// Candidates, by what is known of them.
#[derive(Debug, Default)]
struct Sifted {
    /// Nothing fresh.
    unknown: Vec<Candidate>,
    /// Something fresh, and they are members: for the tags of the sources that name them too.
    named: Vec<Admission>,
    /// Of how many something fresh is known.
    fresh: u64,
}

/// What became of candidates.
#[derive(Debug, Clone, Default)]
pub struct Proven {
    /// What their admission came to.
    pub admissions: Admissions,
    /// Of how many something fresh was known already.
    pub fresh: u64,
    /// How many passed.
    pub alive: u64,
    /// How many failed.
    pub dead: u64,
    /// How many came how far, the dead and the living.
    pub passed: BTreeMap<Level, u64>,
    /// Why the dead failed, in a word each: `connect refused`.
    pub faults: BTreeMap<String, u64>,
}

impl Keeper {
    /// A keeper of an engine's pool. With databases it labels who passes with where they come out.
    #[must_use]
    pub fn new(engine: Arc<Engine>, checker: Checker, config: KeeperConfig, geo: Option<Arc<Geo>>) -> Arc<Self> {
        let book = Book {
            schedule: Schedule::new(config.schedule),
            strangers: HashMap::new(),
            epoch: 0,
            random: fastrand::Rng::new(),
        };
        Arc::new(Self { engine, checker, config, geo, book: Mutex::new(book) })
    }

    /// What checks.
    #[must_use]
    pub const fn checker(&self) -> &Checker {
        &self.checker
    }

    /// How many strangers are asked again now and then.
    #[must_use]
    pub fn strangers(&self) -> usize {
        self.book().strangers.len()
    }

    /// Checks those candidates of which nothing fresh is known, and admits who passes. `each` hears of every verdict.
    pub async fn prove(&self, candidates: Vec<Candidate>, each: &(dyn Fn(&Checked) + Sync)) -> Proven {
        self.look_around();
        let mut proven = Proven::default();
        let Sifted { unknown, named, fresh } = self.sift(candidates);
        proven.fresh = fresh;
        if !named.is_empty() {
            proven.admissions.add(self.engine.admit(named).await);
        }
        let mut checks = self.checker.check_all(unknown, self.config.level);
        let mut batch = Vec::with_capacity(BATCH);
        while let Some(mut checked) = checks.next().await {
            self.label(&mut checked);
            each(&checked);
            self.engine.tell_checked(&checked);
            proven.count(&checked);
            self.note(&checked);
            if let Ok(verified) = checked.into_verified() {
                batch.push(Admission::Verified(Box::new(verified)));
            }
            if batch.len() == BATCH {
                proven.admissions.add(self.engine.admit(std::mem::take(&mut batch)).await);
            }
        }
        if !batch.is_empty() {
            proven.admissions.add(self.engine.admit(batch).await);
        }
        proven
    }

    /// Checks members and strangers as they become due, until the token is cancelled.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        if let Some(crew) = self.engine.crew() {
            crew.check().await;
        }
        let gentle = self.checker.with_concurrency(self.config.concurrency);
        loop {
            let pause = self.pause();
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            self.look_around();
            self.hear();
            let due = self.take_due();
            if due.candidates.is_empty() {
                continue;
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.round(&gentle, due) => {}
            }
        }
    }

    /// Checks some.
    async fn round(&self, checker: &Checker, due: Due) {
        let mut checks = checker.check_all(due.candidates, self.config.level);
        while let Some(mut checked) = checks.next().await {
            self.label(&mut checked);
            self.engine.tell_checked(&checked);
            match due.members.get(&MemberId::of(&checked.candidate.endpoint.key())) {
                Some(member) => self.apply(member, checked).await,
                None => {
                    self.note(&checked);
                    if let Ok(verified) = checked.into_verified() {
                        self.engine.admit(vec![Admission::Verified(Box::new(verified))]).await;
                    }
                }
            }
        }
    }

    /// Lets a verdict count for a member.
    async fn apply(&self, member: &Arc<Member>, checked: Checked) {
        self.engine.probed(member, &checked.verdict);
        if let Some(crew) = self.engine.crew() {
            let is_alive = checked.verdict.is_alive();
            let finding = if is_alive { Finding::Alive(checked.verdict.latency) } else { Finding::Dead };
            crew.found(Found { member: member.id, finding });
        }
        let failures = self.book().judged(member.id, &checked);
        if failures >= self.config.give_up && self.config.remove_dead {
            self.book().schedule.forget(&member.id);
            tracing::info!(upstream.url = %member.endpoint, check.failures = failures, "a dead proxy leaves the pool");
            self.engine.remove(vec![member.endpoint.key()]).await;
        } else if is_news(&checked.candidate, member)
            && let Ok(verified) = checked.into_verified()
        {
            self.engine.admit(vec![Admission::Verified(Box::new(verified))]).await;
        }
    }

    fn label(&self, checked: &mut Checked) {
        if let Some(geo) = self.geo.as_ref().filter(|_| checked.verdict.is_alive()) {
            geo.label(&mut checked.candidate, checked.verdict.exit);
        }
    }

    /// Writes a verdict about a stranger down.
    fn note(&self, checked: &Checked) {
        let id = MemberId::of(&checked.candidate.endpoint.key());
        let mut book = self.book();
        let failures = book.judged(id, checked);
        if failures == 0 {
            // About to become a member.
            book.strangers.remove(&id);
        } else if failures < self.config.give_up && book.strangers.len() < self.config.strangers {
            book.strangers.insert(id, checked.candidate.clone());
        } else {
            book.strangers.remove(&id);
            book.schedule.forget(&id);
        }
    }

    /// Tells candidates of which something fresh is known from those that are to be checked. What is known is known of
    /// credentials too: with other ones, nothing is.
    fn sift(&self, candidates: Vec<Candidate>) -> Sifted {
        let snapshot = self.engine.snapshot();
        let members: HashMap<MemberId, &Arc<Member>> = snapshot.iter().map(|member| (member.id, member)).collect();
        let mut sifted = Sifted::default();
        let mut book = self.book();
        for candidate in candidates {
            let id = MemberId::of(&candidate.endpoint.key());
            let knows = book.schedule.knows(&id);
            match (members.get(&id), book.strangers.get_mut(&id)) {
                (Some(member), _) if knows && *member.endpoint == candidate.endpoint => {
                    sifted.fresh += 1;
                    sifted.named.push(Admission::Named(Box::new(candidate)));
                }
                (None, Some(stranger)) if knows && stranger.endpoint == candidate.endpoint => {
                    sifted.fresh += 1;
                    stranger.tags.merge(&candidate.tags);
                }
                _ => sifted.unknown.push(candidate),
            }
        }
        sifted
    }

    /// Gets to know who has joined, and forgets who has left.
    fn look_around(&self) {
        let (snapshot, now) = (self.engine.snapshot(), self.engine.now());
        let mut book = self.book();
        if book.epoch == snapshot.epoch() {
            return;
        }
        book.epoch = snapshot.epoch();
        let members: HashSet<MemberId> = snapshot.iter().map(|member| member.id).collect();
        for id in &members {
            let chance = book.random.f64();
            book.schedule.welcome(*id, now, chance);
            book.strangers.remove(id);
        }
        let Book { schedule, strangers, .. } = &mut *book;
        schedule.retain(|id| members.contains(id) || strangers.contains_key(id));
    }

    /// Writes down what other gateways have found of members, which they check next time too, or this one if they die.
    fn hear(&self) {
        let Some(crew) = self.engine.crew() else { return };
        let (now, mut book) = (self.engine.now(), self.book());
        for Found { member, finding } in crew.judged() {
            if book.schedule.knows(&member) {
                let chance = book.random.f64();
                book.schedule.judged(member, matches!(finding, Finding::Alive(_)), now, chance);
            }
        }
    }

    /// Those who are to be checked now. Members whom traffic has shown to be well are not.
    fn take_due(&self) -> Due {
        let (snapshot, now) = (self.engine.snapshot(), self.engine.now());
        let mut book = self.book();
        let due = book.schedule.take_due(now, ROUND);
        if due.is_empty() {
            return Due::default();
        }
        let wanted: HashSet<&MemberId> = due.iter().collect();
        let members = snapshot.iter().filter(|member| wanted.contains(&member.id));
        let members: HashMap<_, _> = members.map(|member| (member.id, Arc::clone(member))).collect();
        let mut candidates = Vec::with_capacity(due.len());
        for id in due {
            let chance = book.random.f64();
            match (members.get(&id), book.strangers.get(&id)) {
                (Some(_), _) if !self.engine.crew().is_none_or(|crew| crew.checks(id)) => {
                    book.schedule.put_off(id, now, chance);
                }
                (Some(member), _) if self.is_proven_by_traffic(member, now) => {
                    book.schedule.judged(id, true, now, chance);
                }
                (Some(member), _) => candidates.push(candidate(member)),
                (None, Some(stranger)) => candidates.push(stranger.clone()),
                (None, None) => book.schedule.forget(&id),
            }
        }
        Due { candidates, members }
    }

    fn is_proven_by_traffic(&self, member: &Member, now: Timestamp) -> bool {
        let last_used = member.live.statistics().last_used;
        member.live.health() == Health::Healthy && now.since(last_used) < self.config.schedule.fresh
    }

    fn pause(&self) -> Duration {
        let now = self.engine.now();
        self.book().schedule.next_due().map_or(TICK, |due| due.since(now).min(TICK)).max(Duration::from_millis(1))
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    /// Takes a verdict; how many failures in a row there were.
    fn judged(&mut self, id: MemberId, checked: &Checked) -> u32 {
        let chance = self.random.f64();
        self.schedule.judged(id, checked.verdict.is_alive(), checked.verdict.at, chance).failures
    }
}

impl Proven {
    fn count(&mut self, checked: &Checked) {
        if let Some(level) = checked.verdict.passed {
            *self.passed.entry(level).or_default() += 1;
        }
        match &checked.verdict.fault {
            None => self.alive += 1,
            Some(fault) => {
                self.dead += 1;
                *self.faults.entry(format!("{} {}", fault.stage.as_str(), fault.kind.as_str())).or_default() += 1;
            }
        }
    }

    /// Adds what became of others.
    pub fn add(&mut self, other: Self) {
        self.admissions.add(other.admissions);
        self.fresh += other.fresh;
        self.alive += other.alive;
        self.dead += other.dead;
        for (level, count) in other.passed {
            *self.passed.entry(level).or_default() += count;
        }
        for (fault, count) in other.faults {
            *self.faults.entry(fault).or_default() += count;
        }
    }
}

/// Whether a check found out something about a member that was not known.
fn is_news(candidate: &Candidate, member: &Member) -> bool {
    candidate.anonymity != member.anonymity || candidate.country != member.country || candidate.tags != *member.tags()
}

/// A member as it may be checked.
fn candidate(member: &Member) -> Candidate {
    Candidate {
        tags: member.tags().clone(),
        country: member.country,
        anonymity: member.anonymity,
        ..member.endpoint.as_ref().clone().into()
    }
}

#[cfg(test)]
mod tests;
