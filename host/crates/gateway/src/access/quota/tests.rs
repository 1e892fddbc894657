use futures_util::FutureExt as _;
use proxywhirl_core::shared::Quotas;
use proxywhirl_core::store::StoreError;
use proxywhirl_engine::{EngineConfig, Parts};

use super::*;

/// Takes a place, where nobody shares the pool.
fn begin(meter: &Meter) -> Result<(), Exceeded> {
    meter.enter(Instant::now(), None).now_or_never().unwrap()?;
    meter.draw(None).now_or_never().unwrap().inspect_err(|_| meter.used.seats.leave())
}

#[tokio::test(start_paused = true)]
async fn a_rate_has_a_burst_and_says_when_to_come_again() {
    let meter = Meter::new("anna", UserLimits { rate: Some(2.0), burst: 3, ..UserLimits::default() });
    let begin = || begin(&meter);
    assert!((0..3).all(|_| begin().is_ok()));
    assert_eq!(begin(), Err(Exceeded::Rate(Duration::from_millis(500))));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(begin().is_ok() && begin().is_err());
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((0..10).filter(|_| begin().is_ok()).count(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_rate_that_is_given_later_has_its_burst_and_another_one_what_was_not_used_of_it() {
    let limited = |rate, burst| UserLimits { rate: Some(rate), burst, ..UserLimits::default() };
    let left = |meter: &Meter| (0..100).filter(|_| begin(meter).is_ok()).count();
    let meter = Meter::new("anna", UserLimits::default());
    assert!((0..30).all(|_| begin(&meter).is_ok()));
    let meter = meter.limited(limited(0.001, 5));
    assert_eq!(left(&meter), 5, "what came while nobody counted is none of it");
    let meter = meter.limited(limited(0.001, 50));
    assert_eq!(left(&meter), 45);
    let meter = meter.limited(limited(0.5, 3));
    assert_eq!(begin(&meter), Err(Exceeded::Rate(Duration::from_secs(2))), "no more is owed than there is");
    let meter = meter.limited(UserLimits::default());
    assert_eq!(left(&meter), 100);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(left(&meter.limited(limited(0.5, 3))), 2);
}

#[tokio::test(start_paused = true)]
async fn who_is_refused_takes_no_place() {
    let meter = Meter::new("anna", UserLimits { rate: Some(0.1), concurrency: Some(2), ..UserLimits::default() });
    assert!(begin(&meter).is_ok());
    assert!(matches!(begin(&meter), Err(Exceeded::Rate(_))));
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(begin(&meter).is_ok());
    assert_eq!(meter.enter(Instant::now(), None).await, Err(Exceeded::Concurrency(2)));
    // Who ends one and asks for the next may be quicker than who notices the end.
    let ends = async {
        sleep(PAUSE * 2).await;
        meter.used.seats.leave();
    };
    assert_eq!(tokio::join!(meter.enter(Instant::now(), None), ends).0, Ok(()));
    meter.used.seats.leave();
    assert!(begin(&meter).is_err_and(|why| matches!(why, Exceeded::Rate(_))), "one was free");
}

#[tokio::test(start_paused = true)]
async fn bytes_are_counted_for_a_period() {
    let period = Duration::from_mins(1);
    let meter = Meter::new("anna", UserLimits { quota: Some(1_000), period, ..UserLimits::default() });
    assert!(meter.count(600) && begin(&meter).is_ok());
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(!meter.count(600));
    assert_eq!(begin(&meter), Err(Exceeded::Quota(Duration::from_secs(40))));
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert!(begin(&meter).is_ok() && meter.count(1_000) && !meter.count(1));
}

#[tokio::test(start_paused = true)]
async fn what_was_used_in_a_period_that_is_over_does_not_count_on() {
    let period = Duration::from_mins(1);
    let meter = Meter::new("anna", UserLimits { quota: Some(1_000), period, ..UserLimits::default() });
    for _ in 0..3 {
        // A period begins with its first byte.
        tokio::time::sleep(period * 3 / 2).await;
        assert!(begin(&meter).is_ok() && meter.count(900) && meter.count(100));
        tokio::time::sleep(period / 2).await;
        assert!(!meter.count(1));
        assert_eq!(begin(&meter), Err(Exceeded::Quota(period / 2)));
    }
    tokio::time::sleep(period / 2).await;
    assert!(meter.count(900), "in the next one");
    tokio::time::sleep(period * 2).await;
    assert!(meter.count(900) && !meter.count(900), "once in each");
    // A longer one that is under way goes on.
    let meter = meter.limited(UserLimits { quota: Some(10_000), period: period * 2, ..UserLimits::default() });
    tokio::time::sleep(period).await;
    assert!(meter.count(8_200) && !meter.count(1));
    tokio::time::sleep(period).await;
    assert!(meter.count(10_000) && !meter.count(1));
}

#[tokio::test(start_paused = true)]
async fn it_is_told_what_is_used_and_until_when() {
    let hour = Duration::from_hours(1);
    let meter = Meter::new("anna", UserLimits { quota: Some(1_000), period: hour, ..UserLimits::default() });
    let told = |meter: &Meter| {
        let usage = meter.usage();
        (usage.open, usage.bytes, usage.left)
    };
    assert_eq!(told(&meter), (0, Some(0), None), "no period has begun");
    assert!(begin(&meter).is_ok() && meter.count(600));
    tokio::time::sleep(hour / 4).await;
    assert_eq!((told(&meter), meter.usage().refused()), ((1, Some(600), Some(hour / 4 * 3)), None));
    assert!(meter.count(400));
    assert_eq!(meter.usage().refused().as_deref(), Some("the user anna has used up its bytes"));
    meter.used.seats.leave();
    tokio::time::sleep(hour / 4 * 3).await;
    assert_eq!((told(&meter), meter.usage().refused()), ((0, Some(0), None), None), "it is over");
    assert!(begin(&meter).is_ok());
    // Without a quota nobody counts bytes.
    let meter = meter.limited(UserLimits { concurrency: Some(3), ..UserLimits::default() });
    assert_eq!(told(&meter), (1, None, None));
    assert_eq!((meter.usage().user.as_str(), meter.usage().limits.concurrency), ("anna", Some(3)));
    assert_eq!(meter.usage().refused(), None);
    let meter = meter.limited(UserLimits { concurrency: Some(1), ..UserLimits::default() });
    assert_eq!(meter.usage().refused().as_deref(), Some("the user anna has 1 requests open, and may have no more"));
}

#[tokio::test(start_paused = true)]
async fn what_was_said_under_other_limits_does_not_hold_under_these() {
    let hour = Duration::from_hours(1);
    let meter = Meter::new("anna", UserLimits { rate: Some(0.001), ..UserLimits::default() });
    lock(&meter.used.bucket).refused = Some(Instant::now() + hour);
    assert_eq!(begin(&meter), Err(Exceeded::Rate(hour)));
    let limits = UserLimits { rate: Some(100.0), quota: Some(1_000), period: hour, ..UserLimits::default() };
    let meter = meter.limited(limits);
    assert!(begin(&meter).is_ok());
    // What is left of a longer period is not left of this one.
    let spent = Spent { user: "anna".into(), bytes: 0, period: hour };
    let left = Duration::from_hours(30 * 24);
    Arc::clone(&meter.used).told(spent, Some(Spending { bytes: 2_000, left }));
    tokio::time::sleep(hour / 2).await;
    assert_eq!(begin(&meter), Err(Exceeded::Quota(hour / 2)));
    tokio::time::sleep(hour / 2).await;
    assert!(begin(&meter).is_ok());
}

/// Counters as a server keeps them.
#[derive(Default, Clone)]
struct Shelf(Arc<Mutex<u64>>);

impl Quotas for Shelf {
    fn spend(&mut self, spent: &[Spent]) -> Result<Vec<Option<Spending>>, StoreError> {
        let mut bytes = lock(&self.0);
        let count = |spent: &Spent| {
            *bytes += spent.bytes;
            Some(Spending { bytes: *bytes, left: Duration::from_secs(40) })
        };
        Ok(spent.iter().map(count).collect())
    }
}

#[tokio::test]
async fn bytes_that_are_used_elsewhere_count() {
    let shelf = Shelf::default();
    let engine = || {
        let parts = Parts { quotas: Some(Box::new(shelf.clone())), ..Parts::default() };
        Engine::start(EngineConfig::default(), parts).unwrap()
    };
    let limits = UserLimits { quota: Some(1_000), period: Duration::from_mins(1), ..UserLimits::default() };
    let [(one, meter), (other, elsewhere)] = [(); 2].map(|()| (engine(), Meter::new("anna", limits)));
    meter.hear(&one).await;
    assert!(meter.count(600) && meter.enter(Instant::now(), None).await.is_ok());
    elsewhere.hear(&other).await;
    // It counts at once, or as soon as the other one was told.
    let told = async |bytes| {
        let waits = async {
            while *lock(&shelf.0) < bytes {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), waits).await.unwrap();
    };
    told(600).await;
    lock(&elsewhere.used.period).heard = None;
    elsewhere.hear(&other).await;
    assert!(elsewhere.count(300) && !elsewhere.count(200));
    let refused = elsewhere.enter(Instant::now(), None).await.unwrap_err();
    assert!(matches!(refused, Exceeded::Quota(left) if left <= Duration::from_secs(40)), "{refused:?}");
    told(1_100).await;
    lock(&meter.used.period).heard = None;
    meter.hear(&one).await;
    assert!(matches!(meter.enter(Instant::now(), None).await, Err(Exceeded::Quota(_))));
    // What was told is not told again.
    one.stop().await.unwrap();
    other.stop().await.unwrap();
    assert_eq!(*lock(&shelf.0), 1_100);
}
