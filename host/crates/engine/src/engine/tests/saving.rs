//! What happens when the pool cannot be saved.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use proxywhirl_core::store::{News, StoredBan};

use super::*;
use crate::bans::Scope;

/// A store of which the test says what becomes of it, and what others have changed in it.
#[derive(Clone, Default)]
struct Rigged {
    shelf: Shelf,
    is_shared: bool,
    is_full: Arc<AtomicBool>,
    panics: Arc<AtomicBool>,
    is_away: Arc<AtomicBool>,
    /// Whether it comes back empty, which whoever comes next finds out.
    is_flushed: Arc<AtomicBool>,
    has_lost: Arc<AtomicBool>,
    news: Arc<Mutex<Vec<News>>>,
    saved: Arc<Mutex<Vec<Changes>>>,
}

impl Rigged {
    /// One that several share.
    fn shared() -> Self {
        Self { is_shared: true, ..Self::default() }
    }

    fn reached(&self) -> Result<(), StoreError> {
        let away = StoreError { place: "server".to_owned(), reason: "is away".to_owned() };
        if self.is_reached() { Ok(()) } else { Err(away) }
    }

    fn flush(&self) {
        if self.is_flushed.swap(false, Relaxed) {
            self.shelf.0.lock().unwrap().clear();
            self.shelf.1.lock().unwrap().clear();
            self.has_lost.store(true, Relaxed);
            self.news.lock().unwrap().push(News { is_cut: true, ..News::default() });
        }
    }
}

impl Store for Rigged {
    fn page(&mut self, after: Option<u64>, limit: usize) -> Result<Page, StoreError> {
        self.reached()?;
        self.shelf.page(after, limit)
    }

    fn load_sessions(&mut self) -> Result<Vec<StoredSession>, StoreError> {
        self.reached()?;
        self.shelf.load_sessions()
    }

    fn save(&mut self, changes: &Changes) -> Result<(), StoreError> {
        self.reached()?;
        assert!(!self.panics.load(Relaxed), "as it is meant to");
        if self.is_full.load(Relaxed) {
            return Err(StoreError { place: "disk".to_owned(), reason: "is full".to_owned() });
        }
        self.flush();
        self.saved.lock().unwrap().push(changes.clone());
        self.shelf.save(changes)
    }

    fn is_intact(&mut self) -> Result<bool, StoreError> {
        self.reached()?;
        self.flush();
        Ok(!self.has_lost.swap(false, Relaxed))
    }

    fn is_reached(&self) -> bool {
        !self.is_away.load(Relaxed)
    }

    fn is_shared(&self) -> bool {
        self.is_shared
    }

    fn news(&mut self) -> Result<News, StoreError> {
        Ok(self.news.lock().unwrap().pop().unwrap_or_default())
    }
}

#[tokio::test]
async fn a_full_disk_is_told_once_and_nothing_is_lost_when_there_is_room_again() {
    let disk = Rigged::default();
    let parts = Parts { store: Some(Box::new(disk.clone())), ..Parts::default() };
    let config = EngineConfig { save_interval: Duration::from_millis(10), ..EngineConfig::default() };
    let engine = Engine::start(config, parts).unwrap();
    let mut told = engine.subscribe(&[Topic::StoreChanged], 100);
    let admission = |n| Admission::Vouched(Box::new(candidate(n)));
    engine.admit(vec![admission(0), admission(1)]).await;
    assert_eq!(engine.store_trouble(), None);

    disk.is_full.store(true, Relaxed);
    assert_eq!(engine.admit(vec![admission(2)]).await.new, 1, "members join all the same");
    assert_eq!(&*told.next().await.unwrap().payload, r#"{"error":"disk: is full"}"#);
    assert_eq!(engine.store_trouble().unwrap().error, "disk: is full");
    assert_eq!(engine.remove(vec![candidate(0).endpoint.key()]).await, 1);
    // And requests are served.
    let lease = engine.acquire(&attempt(&[])).unwrap();
    engine.settle(lease, &Outcome::Success { latency: Duration::from_millis(7) }, &attempt(&[]));
    assert!(engine.save().await.is_err());
    assert_eq!(disk.shelf.0.lock().unwrap().len(), 2, "nothing of it is kept yet");

    disk.is_full.store(false, Relaxed);
    assert_eq!(&*told.next().await.unwrap().payload, r#"{"error":null}"#, "told when it began and when it ended");
    assert_eq!(engine.store_trouble(), None);
    let kept = disk.shelf.0.lock().unwrap().clone();
    let keys: Vec<_> = [1, 2].map(|n| candidate(n).endpoint.key().to_string()).into();
    assert_eq!(kept.keys().cloned().collect::<Vec<_>>(), keys);
    assert_eq!(kept.values().map(|member| member.statistics.successes).sum::<u64>(), 1);
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn a_store_that_has_panicked_is_told_for_good() {
    let store = Rigged::default();
    let parts = Parts { store: Some(Box::new(store.clone())), ..Parts::default() };
    let engine = Engine::start(EngineConfig::default(), parts).unwrap();
    store.panics.store(true, Relaxed);
    engine.admit(vec![Admission::Vouched(Box::new(candidate(1)))]).await;
    for _ in 0..3 {
        assert!(engine.save().await.is_err());
        let told = engine.store_trouble().expect("nothing can be saved any more");
        assert!(told.error.contains("has panicked"), "{}", told.error);
    }
    assert!(engine.stop().await.is_err());
}

#[tokio::test]
async fn a_use_counts_when_it_has_ended_however_long_it_took() {
    let disk = Rigged::default();
    let parts = Parts { store: Some(Box::new(disk.clone())), ..Parts::default() };
    let config = EngineConfig { save_interval: Duration::from_secs(3_600), ..EngineConfig::default() };
    let engine = Engine::start(config, parts).unwrap();
    engine.admit(vec![Admission::Vouched(Box::new(candidate(0)))]).await;
    let lease = engine.acquire(&attempt(&[])).unwrap();
    engine.save().await.unwrap();
    engine.settle(lease, &Outcome::Success { latency: Duration::from_millis(7) }, &attempt(&[]));
    disk.is_full.store(true, Relaxed);
    engine.save().await.unwrap_err();
    disk.is_full.store(false, Relaxed);
    let saves = disk.saved.lock().unwrap().len();
    engine.save().await.unwrap();
    engine.save().await.unwrap();
    let kept: Vec<_> = disk.shelf.0.lock().unwrap().values().map(|member| member.statistics.successes).collect();
    assert_eq!(kept, [1]);
    assert_eq!(disk.saved.lock().unwrap().len(), saves + 1, "nothing has changed since");
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn what_the_store_has_lost_is_saved_again() {
    let disk = Rigged::default();
    let at = Timestamp::from_micros(1);
    let session = StoredSession { session: 1, member: MemberId(7), began: at, used: at, life: 3 };
    disk.shelf.1.lock().unwrap().insert(1, session);
    let parts = Parts { store: Some(Box::new(disk.clone())), ..Parts::default() };
    let config = EngineConfig { save_interval: Duration::from_millis(10), ..EngineConfig::default() };
    let engine = Engine::start(config, parts).unwrap();
    let admission = |n| Admission::Vouched(Box::new(candidate(n)));
    engine.admit(vec![admission(0), admission(1)]).await;
    let before = disk.shelf.0.lock().unwrap().clone();
    assert_eq!(before.len(), 2);
    disk.is_flushed.store(true, Relaxed);
    until(|| !disk.is_flushed.load(Relaxed) && *disk.shelf.0.lock().unwrap() == before).await;
    assert_eq!(disk.shelf.1.lock().unwrap().get(&1), Some(&session));
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn a_disk_that_is_full_at_the_end_is_an_error() {
    let disk = Rigged::default();
    let parts = Parts { store: Some(Box::new(disk.clone())), ..Parts::default() };
    let engine = Engine::start(EngineConfig::default(), parts).unwrap();
    disk.is_full.store(true, Relaxed);
    engine.admit(vec![Admission::Vouched(Box::new(candidate(0)))]).await;
    assert_eq!(engine.stop().await.unwrap_err().to_string(), "disk: is full");
}

/// Waits for what has to happen.
async fn until(holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap();
}

#[tokio::test]
async fn what_others_change_is_taken_over_and_not_saved_again() {
    let store = Rigged::shared();
    let parts = Parts { store: Some(Box::new(store.clone())), ..Parts::default() };
    let config = EngineConfig { save_interval: Duration::from_secs(3_600), ..EngineConfig::default() };
    let engine = Engine::start(config, parts).unwrap();
    let mut told = engine.subscribe(&[Topic::ProxyAdded, Topic::ProxyRemoved], 100);
    engine.admit(vec![Admission::Vouched(Box::new(candidate(0)))]).await;
    let tell = |news| store.news.lock().unwrap().push(news);
    let has = |number: u32| engine.snapshot().iter().any(|member| member.id == pool_member(number).id);
    tell(News { members: vec![stored(1), stored(2)], ..News::default() });
    until(|| engine.snapshot().len() == 3).await;
    let snapshot = engine.snapshot();
    let found = snapshot.iter().find(|member| member.id == pool_member(2).id).unwrap();
    assert_eq!(found.live.statistics().successes, 2);
    tell(News { left: vec![pool_member(1).endpoint.key()], ..News::default() });
    until(|| !has(1)).await;
    engine.save().await.unwrap();
    assert_eq!(store.shelf.0.lock().unwrap().len(), 1, "who told it has saved it");
    // More than can be told: what is stored counts.
    store.shelf.clone().save(&Changes { upserts: vec![stored(3)], ..Changes::default() }).unwrap();
    tell(News { is_cut: true, ..News::default() });
    until(|| has(3) && !has(2)).await;
    assert_eq!(engine.snapshot().len(), 2, "and who was there stays");
    let topics = [told.next().await, told.next().await, told.next().await, told.next().await, told.next().await];
    let (joined, left) = (Topic::ProxyAdded, Topic::ProxyRemoved);
    assert_eq!(topics.map(|event| event.unwrap().topic), [joined, joined, joined, left, joined]);
    assert_eq!(told.next().await.unwrap().topic, left);
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn sessions_that_others_tell_of_before_the_first_plan_are_known() {
    let store = Rigged::shared();
    let parts = Parts { store: Some(Box::new(store.clone())), ..Parts::default() };
    let engine = Engine::start(EngineConfig::default(), parts).unwrap();
    let (member, now) = (pool_member(0).id, engine.now());
    let session = StoredSession { session: 8, member, began: now, used: now, life: 0 };
    store.news.lock().unwrap().push(News { sessions: vec![session], ..News::default() });
    until(|| engine.selector.sessions().member_of(8) == Some(member)).await;
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn bans_and_sessions_are_told_soon_and_those_of_others_are_taken_over() {
    let store = Rigged::shared();
    let at = Timestamp::from_micros(1);
    let kept = StoredSession { session: 1, member: MemberId(1), began: at, used: at, life: 0 };
    store.shelf.clone().save(&Changes { sessions: vec![kept], ..Changes::default() }).unwrap();
    let parts = Parts { store: Some(Box::new(store.clone())), ..Parts::default() };
    let config = EngineConfig { save_interval: Duration::from_secs(3_600), ..EngineConfig::default() };
    let engine = Engine::start(config, parts).unwrap();
    engine.admit((0..4).map(|n| Admission::Vouched(Box::new(candidate(n)))).collect()).await;
    until(|| engine.selector.sessions().member_of(1).is_some()).await;
    let (member, end) = (MemberId::of(&candidate(0).endpoint.key()), engine.now() + Duration::from_secs(60));
    let ban = |site: &str| StoredBan { site: site.to_owned(), member, until: end, rule: "rule".into() };
    assert!(engine.ban(&Ban {
        request: 1,
        target: "a.example:80",
        upstream: &candidate(0).endpoint,
        rule: "rule",
        scope: Scope::Site,
        span: Duration::from_secs(60),
    }));
    engine.settle(
        engine.acquire(&of_session(7)).unwrap(),
        &Outcome::Success { latency: Duration::ZERO },
        &of_session(7),
    );
    until_saved(&store, |changes| changes.bans.iter().any(|ban| ban.site == "a.example")).await;
    until_saved(&store, |changes| changes.sessions.iter().any(|session| session.session == 7)).await;
    engine.lift_bans(Some("a.example"), None);
    until_saved(&store, |changes| changes.lifted == [ban("a.example").place()]).await;

    let session = StoredSession { session: 8, member, began: engine.now(), used: engine.now(), life: 0 };
    let news = News { bans: vec![ban("b.example")], sessions: vec![session], ..News::default() };
    store.news.lock().unwrap().push(news);
    until(|| engine.bans().iter().any(|ban| ban.site == "b.example")).await;
    until(|| engine.selector.sessions().member_of(8) == Some(member)).await;
    store.news.lock().unwrap().push(News { lifted: vec![ban("b.example").place()], ..News::default() });
    until(|| engine.bans().is_empty()).await;
    engine.stop().await.unwrap();
    assert!(store.saved.lock().unwrap().iter().all(|changes| changes.bans.iter().all(|ban| ban.site == "a.example")));
}

#[tokio::test]
async fn a_store_that_comes_back_empty_empties_no_pool() {
    let store = Rigged::shared();
    let at = Timestamp::from_micros(1);
    let kept = StoredSession { session: 1, member: MemberId(1), began: at, used: at, life: 0 };
    store.shelf.clone().save(&Changes { sessions: vec![kept], ..Changes::default() }).unwrap();
    let parts = Parts { store: Some(Box::new(store.clone())), ..Parts::default() };
    let config = EngineConfig { save_interval: Duration::from_secs(3_600), ..EngineConfig::default() };
    let engine = Engine::start(config, parts).unwrap();
    engine.admit((0..4).map(|n| Admission::Vouched(Box::new(candidate(n)))).collect()).await;
    until(|| engine.selector.sessions().member_of(1).is_some()).await;
    let before = store.shelf.0.lock().unwrap().clone();
    assert_eq!(before.len(), 4);
    // What tells of a session finds out that nothing else is there, before anybody looks whether it is.
    store.is_flushed.store(true, Relaxed);
    let lease = engine.acquire(&of_session(7)).unwrap();
    engine.settle(lease, &Outcome::Success { latency: Duration::ZERO }, &of_session(7));
    until_saved(&store, |changes| changes.sessions.iter().any(|session| session.session == 7)).await;
    // Heard of after everything was read again.
    until(|| store.news.lock().unwrap().is_empty()).await;
    store.news.lock().unwrap().push(News { members: vec![stored(9)], ..News::default() });
    until(|| engine.snapshot().iter().any(|member| member.id == pool_member(9).id)).await;
    assert_eq!(engine.snapshot().len(), 5, "nobody has left");
    engine.save().await.unwrap();
    let kept = store.shelf.0.lock().unwrap().clone();
    assert!(before.keys().all(|key| kept.contains_key(key)), "{:?}", kept.keys());
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn a_store_that_is_away_at_the_start_is_read_before_anything_is_saved() {
    let store = Rigged::shared();
    let mut known = stored(1);
    known.statistics.successes = 10;
    store.shelf.clone().save(&Changes { upserts: vec![known, stored(2)], ..Changes::default() }).unwrap();
    store.is_away.store(true, Relaxed);
    let parts = Parts { store: Some(Box::new(store.clone())), ..Parts::default() };
    let config = EngineConfig { save_interval: Duration::from_millis(10), ..EngineConfig::default() };
    let engine = Engine::start(config, parts).unwrap();
    assert_eq!(engine.store_trouble().unwrap().error, "server: is away");
    let named = |number| Candidate { endpoint: pool_member(number).endpoint.as_ref().clone(), ..candidate(0) };
    engine.admit([1, 3].map(|number| Admission::Vouched(Box::new(named(number)))).into()).await;
    for _ in 0..2 {
        let lease = engine.acquire(&attempt(&[])).unwrap();
        engine.settle(lease, &Outcome::Success { latency: Duration::from_millis(7) }, &attempt(&[]));
    }
    store.is_away.store(false, Relaxed);
    until(|| engine.snapshot().len() == 3 && engine.store_trouble().is_none()).await;
    engine.save().await.unwrap();
    let kept = store.shelf.0.lock().unwrap().clone();
    assert_eq!(kept.values().map(|member| member.statistics.successes).sum::<u64>(), 10 + 2 + 2);
    let of = |number: u32| kept[&pool_member(number).endpoint.key().to_string()].clone();
    assert_eq!((of(1).statistics.successes, of(1).added), (11, stored(1).added), "before and meanwhile are one");
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn who_was_put_out_while_the_store_was_away_leaves_it_before_others_are_heard() {
    let store = Rigged::shared();
    let parts = Parts { store: Some(Box::new(store.clone())), ..Parts::default() };
    let config = EngineConfig { save_interval: Duration::from_secs(3_600), ..EngineConfig::default() };
    let engine = Engine::start(config, parts).unwrap();
    engine.admit((0..2).map(|n| Admission::Vouched(Box::new(candidate(n)))).collect()).await;
    // The save at the start is over, and the next one far away.
    tokio::time::sleep(Duration::from_millis(50)).await;
    store.is_away.store(true, Relaxed);
    assert_eq!(engine.remove(vec![candidate(0).endpoint.key()]).await, 1);
    assert_eq!(store.shelf.0.lock().unwrap().len(), 2, "it could not be told");
    store.is_away.store(false, Relaxed);
    until(|| store.shelf.0.lock().unwrap().len() == 1).await;
    engine.stop().await.unwrap();
}

fn of_session(session: u64) -> Attempt<'static> {
    Attempt { session: Some(session), ..attempt(&[]) }
}

async fn until_saved(store: &Rigged, is_meant: impl Fn(&Changes) -> bool) {
    until(|| store.saved.lock().unwrap().iter().any(&is_meant)).await;
}

/// A store of so many members, of which each page after the first waits for the test.
struct Pages {
    members: u32,
    sessions: Vec<StoredSession>,
    go_on: std::sync::mpsc::Receiver<bool>,
}

fn stored(number: u32) -> StoredMember {
    let mut member = pool_member(number).to_stored();
    member.statistics.successes = u64::from(number);
    member
}

fn pool_member(number: u32) -> Arc<Member> {
    let mut candidate = candidate(0);
    candidate.endpoint.host = proxywhirl_core::Host::V4((0x0b00_0000 + number).into());
    let mut pool = Pool::new(Arc::default(), 1);
    pool.admit(Admission::Vouched(Box::new(candidate)), Timestamp::default());
    pool.iter().next().unwrap().clone()
}

impl Store for Pages {
    fn page(&mut self, after: Option<u64>, limit: usize) -> Result<Page, StoreError> {
        if after.is_some() {
            let refused = StoreError { place: "database".to_owned(), reason: "is locked".to_owned() };
            self.go_on.recv().unwrap().then_some(()).ok_or(refused)?;
        }
        let begin = after.map_or(0, |after| u32::try_from(after).unwrap());
        let end = (begin + u32::try_from(limit).unwrap()).min(self.members);
        let next = (end < self.members).then_some(u64::from(end));
        Ok(Page { members: (begin..end).map(stored).collect(), next })
    }

    fn load_sessions(&mut self) -> Result<Vec<StoredSession>, StoreError> {
        Ok(self.sessions.clone())
    }

    fn save(&mut self, _: &Changes) -> Result<(), StoreError> {
        Ok(())
    }
}

const MANY: u32 = 6_000;

#[tokio::test]
async fn a_large_pool_serves_while_the_rest_of_it_comes_in() {
    let (go, go_on) = std::sync::mpsc::sync_channel(1);
    let store = Pages { members: MANY, sessions: Vec::new(), go_on };
    let parts = Parts { store: Some(Box::new(store)), ..Parts::default() };
    let engine = Engine::start(EngineConfig::default(), parts).unwrap();
    engine.ready().await;
    assert!(engine.is_loading() && engine.snapshot().len() < MANY as usize);
    let lease = engine.acquire(&attempt(&[])).unwrap();
    engine.settle(lease, &Outcome::Success { latency: Duration::from_millis(7) }, &attempt(&[]));
    // One that is stored and not there yet is no stranger: it waits.
    let last = pool_member(MANY - 1);
    let mut named = candidate(0);
    named.endpoint = last.endpoint.as_ref().clone();
    let admission = engine.admit(vec![Admission::Vouched(Box::new(named))]);
    go.send(true).unwrap();
    assert_eq!(admission.await.new, 0);
    assert!(!engine.is_loading());
    let snapshot = engine.snapshot();
    assert_eq!(snapshot.len(), MANY as usize);
    let found = snapshot.iter().find(|member| member.id == last.id).unwrap();
    assert_eq!(found.live.statistics().successes, u64::from(MANY - 1));
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_loaded_now_is_loaded_later_and_told_until_then() {
    let (go, go_on) = std::sync::mpsc::sync_channel(1);
    let store = Pages { members: MANY, sessions: Vec::new(), go_on };
    let parts = Parts { store: Some(Box::new(store)), ..Parts::default() };
    let engine = Engine::start(EngineConfig::default(), parts).unwrap();
    let mut told = engine.subscribe(&[Topic::StoreChanged], 100);
    go.send(false).unwrap();
    assert_eq!(&*told.next().await.unwrap().payload, r#"{"error":"database: is locked"}"#);
    assert!(engine.is_loading() && engine.store_trouble().is_some());
    assert!(engine.acquire(&attempt(&[])).is_ok(), "who is there serves");
    let mut named = candidate(0);
    named.endpoint = pool_member(MANY - 1).endpoint.as_ref().clone();
    let admission = engine.admit(vec![Admission::Vouched(Box::new(named))]);
    go.send(true).unwrap();
    assert_eq!(admission.await.new, 0, "it is no stranger");
    assert_eq!(&*told.next().await.unwrap().payload, r#"{"error":null}"#);
    assert_eq!((engine.snapshot().len(), engine.store_trouble()), (MANY as usize, None));
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn whoever_a_session_is_bound_to_is_there_before_anybody_is_served() {
    let (go, go_on) = std::sync::mpsc::sync_channel(1);
    let member = pool_member(MANY - 1).id;
    let at = Clock::default().now();
    let session = StoredSession { session: 1, member, began: at, used: at, life: 0 };
    go.send(true).unwrap();
    let store = Pages { members: MANY, sessions: vec![session], go_on };
    let parts = Parts { store: Some(Box::new(store)), ..Parts::default() };
    let engine = Engine::start(EngineConfig::default(), parts).unwrap();
    assert!(engine.snapshot().iter().any(|found| found.id == member));
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn nobody_waits_for_whom_a_session_was_bound_to_long_ago() {
    let (go, go_on) = std::sync::mpsc::sync_channel(1);
    let used = Clock::default().now() - Duration::from_hours(25);
    // One that has left.
    let session = StoredSession { session: 1, member: MemberId(1), began: used, used, life: 0 };
    let store = Pages { members: MANY, sessions: vec![session], go_on };
    let parts = Parts { store: Some(Box::new(store)), ..Parts::default() };
    let starting = tokio::task::spawn_blocking(|| Engine::start(EngineConfig::default(), parts).unwrap());
    let engine = tokio::time::timeout(Duration::from_secs(10), starting).await;
    go.send(true).unwrap();
    let engine = engine.expect("it serves with the first page").unwrap();
    assert_eq!(engine.selector.sessions().member_of(1), Some(MemberId(1)), "and the session is there");
    engine.stop().await.unwrap();
}
