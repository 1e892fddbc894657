//! Keeps the pool true: proves who wants in, checks again who is in, and asks again who was turned away.
//!
//! What is known of a proxy is a course of verdicts ([`schedule`](crate::check::schedule)). Candidates of which something fresh is known are not
//! checked; members are checked when their verdict has become old, unless traffic has shown meanwhile all that a check would; and
//! strangers who failed are asked again, less and less often, because half of what lists name is merely down today.
//!
//! Checks of members go easy: few at a time, and only while the runtime keeps up ([`Checks`](crate::check::Checks)), so that
//! they are never in the way of traffic. A verdict counts as one use of the member: one failed check kills nobody. But who answers TLS
//! in the place of the judge is kept from requests at once, and until a check passes.
//!
//! Where several gateways share the pool, each checks the members that fall to it ([`crate::work`]), and hears of the others.

mod book;
mod proven;
mod taken_out;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use proxywhirl_core::live::Health;
use proxywhirl_core::pool::{Admission, Relabelling};
use proxywhirl_core::shared::{Finding, Found};
use proxywhirl_core::{Candidate, Level, Member, MemberId, Timestamp, Verdict};
use tokio_util::sync::CancellationToken;

use crate::Engine;
use crate::check::schedule::ScheduleConfig;
use crate::check::{Checked, Checker};
use crate::geo::Geo;
use book::Book;
pub use proven::Proven;
pub use taken_out::{Meant, TakenOut};

/// Checks that are taken from the schedule at once.
const ROUND: usize = 256;

/// How long to sleep at the most: newcomers and leavers are noticed by then.
const TICK: Duration = Duration::from_secs(1);

/// How much longer than until its next check a member that breaks TLS stays in quarantine, if no check releases it.
const QUARANTINE: Duration = Duration::from_hours(24);

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
    /// Those who are being proven, as long as that takes. Written when it begins.
    proving: Mutex<Vec<Weak<Vec<Candidate>>>>,
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
    /// Those among them who are members, by other credentials or by name alone: they are no strangers, whatever comes of them.
    joined: HashSet<MemberId>,
    /// Something fresh, and they are members: for the tags of the sources that name them too.
    named: Vec<Admission>,
    /// Of how many something fresh is known.
    fresh: u64,
    /// How many a user has taken out: they are not even asked.
    kept_out: usize,
}

impl Keeper {
    /// A keeper of an engine's pool. With databases it labels who passes with where they come out.
    #[must_use]
    pub fn new(engine: Arc<Engine>, checker: Checker, config: KeeperConfig, geo: Option<Arc<Geo>>) -> Arc<Self> {
        let (book, proving) = (Mutex::new(Book::new(config.schedule)), Mutex::default());
        Arc::new(Self { engine, checker, config, geo, book, proving })
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
        let Sifted { unknown, joined, named, fresh, kept_out } = self.sift(candidates);
        proven.fresh = fresh;
        proven.admissions.kept_out = kept_out;
        // First of all: who is taken out while others are let in is meant too.
        let unknown = Arc::new(unknown);
        self.proving().push(Arc::downgrade(&unknown));
        if !named.is_empty() {
            proven.admissions.add(self.engine.admit(named).await);
        }
        let listed = (0..unknown.len()).filter_map({
            let unknown = Arc::clone(&unknown);
            move |place| unknown.get(place).cloned()
        });
        let mut checks = self.checker.check_all(listed, self.config.level);
        let mut batch = Vec::with_capacity(BATCH);
        while let Some(mut checked) = checks.next().await {
            self.label(&mut checked);
            each(&checked);
            self.engine.tell_checked(&checked);
            proven.count(&checked);
            let id = MemberId::of(&checked.candidate.endpoint.key());
            // Whom a user has taken out meanwhile nobody asks again.
            if !joined.contains(&id) && !self.engine.keeps_out(id) {
                self.note(id, &checked);
            }
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

    /// Says to those who were turned away what their sources say of them by now.
    pub fn relabel(&self, relabelling: &Relabelling) {
        for stranger in self.book().strangers.values_mut() {
            if let Some(tags) = relabelling.of(&stranger.tags) {
                stranger.tags = tags;
            }
        }
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
            let id = MemberId::of(&checked.candidate.endpoint.key());
            match due.members.get(&id) {
                Some(member) => self.apply(member, checked).await,
                None => {
                    // Unless it has become a member meanwhile.
                    if self.book().strangers.contains_key(&id) {
                        self.note(id, &checked);
                    }
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
        let (next, given_up_after) = {
            let mut book = self.book();
            // In one step with the verdict, so that its slot is not another one's.
            let next = book.judged_member(member, &checked);
            let failures = next.map_or(0, |next| next.failures);
            let is_given_up = failures >= self.config.give_up && self.config.remove_dead;
            if is_given_up {
                book.members.forget(member.slot);
            }
            (next, is_given_up.then_some(failures))
        };
        // Its tunnels are opened as well as before: no use would show it.
        let quarantine = next.filter(|_| checked.is_intercepted()).map(|next| next.due + QUARANTINE);
        if let Some(until) = quarantine {
            self.engine.quarantine(member, until);
        }
        self.tell_others(member.id, &checked.verdict, quarantine);
        if let Some(failures) = given_up_after {
            tracing::info!(upstream.url = %member.endpoint, check.failures = failures, "a dead proxy leaves the pool");
            self.engine.remove(vec![member.endpoint.key()]).await;
        } else if is_news(&checked.candidate, member)
            && let Ok(verified) = checked.into_verified()
        {
            self.engine.admit(vec![Admission::Verified(Box::new(verified))]).await;
        }
    }

    /// Tells the gateways that share the pool.
    fn tell_others(&self, member: MemberId, verdict: &Verdict, quarantine: Option<Timestamp>) {
        let Some(crew) = self.engine.crew() else { return };
        let finding = match quarantine {
            Some(until) => Finding::Intercepts(until.since(self.engine.now())),
            None if verdict.is_alive() => Finding::Alive(verdict.latency),
            None => Finding::Dead,
        };
        crew.found(Found { member, finding });
    }

    fn label(&self, checked: &mut Checked) {
        if let Some(geo) = self.geo.as_ref().filter(|_| checked.verdict.is_alive()) {
            geo.label(&mut checked.candidate, checked.verdict.exit);
        }
    }

    /// Writes a verdict about a stranger down.
    fn note(&self, id: MemberId, checked: &Checked) {
        let mut book = self.book();
        let failures = book.judged(id, checked);
        // Without a failure it is about to become a member.
        if (1..self.config.give_up).contains(&failures) && book.strangers.len() < self.config.strangers {
            book.strangers.insert(id, checked.candidate.clone());
        } else {
            book.forget(&id);
        }
    }

    /// Tells candidates of which something fresh is known from those that are to be checked. What is known is known of
    /// credentials too: with other ones, nothing is.
    fn sift(&self, candidates: Vec<Candidate>) -> Sifted {
        let snapshot = self.engine.snapshot();
        let ids: Vec<MemberId> = candidates.iter().map(|candidate| MemberId::of(&candidate.endpoint.key())).collect();
        let mut slots: HashMap<MemberId, Option<u32>> = ids.iter().map(|id| (*id, None)).collect();
        for (slot, id) in snapshot.ids() {
            if let Some(found) = id.and_then(|id| slots.get_mut(&id)) {
                *found = Some(slot);
            }
        }
        let mut sifted = Sifted::default();
        let mut book = self.book();
        let Book { members, strangers, .. } = &mut *book;
        for (candidate, id) in candidates.into_iter().zip(ids) {
            if self.engine.keeps_out(id) {
                sifted.kept_out += 1;
                continue;
            }
            let member = slots.get(&id).copied().flatten().and_then(|slot| snapshot.get(slot));
            match (member, strangers.get_mut(&id)) {
                (Some(member), _) if members.knows(member.slot, id) && *member.endpoint == candidate.endpoint => {
                    sifted.fresh += 1;
                    sifted.named.push(Admission::Named(Box::new(candidate)));
                }
                (None, Some(stranger)) if stranger.endpoint == candidate.endpoint => {
                    sifted.fresh += 1;
                    stranger.tags.merge(&candidate.tags);
                }
                (member, _) => {
                    sifted.joined.extend(member.map(|member| member.id));
                    sifted.unknown.push(candidate);
                }
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
        for (slot, id) in snapshot.ids() {
            match id {
                Some(id) if book.members.knows(slot, id) => {}
                Some(id) => {
                    let chance = book.random.f64();
                    book.members.welcome(slot, id, now, chance);
                    book.forget(&id);
                }
                None => book.members.forget(slot),
            }
        }
    }

    /// Writes down what other gateways have found of members, which they check next time too, or this one if they die.
    fn hear(&self) {
        let Some(crew) = self.engine.crew() else { return };
        let findings = crew.judged().into_iter().fold(HashMap::new(), |mut all: HashMap<_, Vec<_>>, found| {
            all.entry(found.member).or_default().push(found.finding);
            all
        });
        if findings.is_empty() {
            return;
        }
        let (snapshot, now, mut book) = (self.engine.snapshot(), self.engine.now(), self.book());
        for (slot, id) in snapshot.ids() {
            let Some((id, findings)) = id.and_then(|id| Some((id, findings.get(&id)?))) else { continue };
            for finding in findings {
                let chance = book.random.f64();
                book.members.judged(slot, id, matches!(finding, Finding::Alive(_)), now, chance);
            }
        }
    }

    /// Those who are to be checked now. Members whom traffic has proven are not.
    fn take_due(&self) -> Due {
        let (snapshot, now) = (self.engine.snapshot(), self.engine.now());
        let mut book = self.book();
        // Half of a round for each of both, and what the one leaves for the other.
        let mut slots = book.members.take_due(now, ROUND / 2);
        let strangers = book.schedule.take_due(now, ROUND - slots.len());
        slots.extend(book.members.take_due(now, ROUND - slots.len() - strangers.len()));
        let mut due = Due::default();
        for slot in slots {
            let chance = book.random.f64();
            match snapshot.get(slot).filter(|member| book.members.knows(slot, member.id)) {
                Some(member) if !self.engine.crew().is_none_or(|crew| crew.checks(member.id)) => {
                    book.members.put_off(slot, member.id, now, chance);
                }
                Some(member) if self.is_proven_by_traffic(member, now) => {
                    book.members.judged(slot, member.id, true, now, chance);
                }
                Some(member) => {
                    due.candidates.push(candidate(member));
                    due.members.insert(member.id, Arc::clone(member));
                }
                None => book.members.forget(slot),
            }
        }
        for id in strangers {
            match book.strangers.get(&id).filter(|_| !due.members.contains_key(&id) && !self.engine.keeps_out(id)) {
                Some(stranger) => due.candidates.push(stranger.clone()),
                // It has become a member, or a user has taken it out.
                None => book.forget(&id),
            }
        }
        due
    }

    /// Whether what was asked of a member shows what a check would. Bytes that went through a tunnel prove nothing of TLS, of anonymity
    /// or of a target: whoever reads along carries them too, until the client refuses the certificate.
    fn is_proven_by_traffic(&self, member: &Member, now: Timestamp) -> bool {
        let last_used = member.live.statistics().last_used;
        self.config.level < Level::Tls
            && member.live.health() == Health::Healthy
            && now.since(last_used) < self.config.schedule.fresh
    }

    fn pause(&self) -> Duration {
        let now = self.engine.now();
        let mut book = self.book();
        let due = [book.members.next_due(), book.schedule.next_due()].into_iter().flatten().min();
        due.map_or(TICK, |due| due.since(now).min(TICK)).max(Duration::from_millis(1))
    }

    /// The lists of those who are being proven, without those that are done with.
    fn proving(&self) -> MutexGuard<'_, Vec<Weak<Vec<Candidate>>>> {
        let mut proving = self.proving.lock().unwrap_or_else(PoisonError::into_inner);
        proving.retain(|candidates| candidates.strong_count() > 0);
        proving
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
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
