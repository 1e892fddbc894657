//! What happens when the pool cannot be saved.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use super::*;

/// A store whose disk is full when the test says so.
#[derive(Clone, Default)]
struct Disk {
    shelf: Shelf,
    is_full: Arc<AtomicBool>,
}

impl Store for Disk {
    fn page(&mut self, after: Option<u64>, limit: usize) -> Result<Page, StoreError> {
        self.shelf.page(after, limit)
    }

    fn load_sessions(&mut self) -> Result<Vec<StoredSession>, StoreError> {
        self.shelf.load_sessions()
    }

    fn save(&mut self, changes: &Changes) -> Result<(), StoreError> {
        if self.is_full.load(Relaxed) {
            return Err(StoreError { place: "disk".to_owned(), reason: "is full".to_owned() });
        }
        self.shelf.save(changes)
    }
}

#[tokio::test]
async fn a_full_disk_is_told_once_and_nothing_is_lost_when_there_is_room_again() {
    let disk = Disk::default();
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
async fn a_disk_that_is_full_at_the_end_is_an_error() {
    let disk = Disk::default();
    let parts = Parts { store: Some(Box::new(disk.clone())), ..Parts::default() };
    let engine = Engine::start(EngineConfig::default(), parts).unwrap();
    disk.is_full.store(true, Relaxed);
    engine.admit(vec![Admission::Vouched(Box::new(candidate(0)))]).await;
    assert_eq!(engine.stop().await.unwrap_err().to_string(), "disk: is full");
}
