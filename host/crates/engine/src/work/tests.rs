#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proxywhirl_core::Endpoint;
use proxywhirl_core::pool::Admission;
use proxywhirl_core::shared::{Division, Finding, Saying};

use super::*;
use crate::{Engine, EngineConfig, Parts};

/// Leases as a server keeps them, that can be away.
#[derive(Clone)]
struct Board {
    node: &'static str,
    heard: usize,
    shared: Arc<Mutex<Posted>>,
}

#[derive(Default)]
struct Posted {
    holders: HashMap<Work, (String, Instant)>,
    done: HashMap<Work, Instant>,
    checkers: HashMap<String, Instant>,
    found: Vec<(&'static str, Found)>,
    is_away: bool,
}

impl Leases for Board {
    fn node(&self) -> &str {
        self.node
    }

    fn divide(&mut self, wishes: &[(Work, Wish)], is_checker: bool, term: Duration) -> Result<Division, StoreError> {
        let (mut posted, now) = (self.shared.lock().unwrap(), Instant::now());
        if posted.is_away {
            return Err(StoreError { place: "the board".to_owned(), reason: "is away".to_owned() });
        }
        posted.holders.retain(|_, (_, until)| *until > now);
        posted.checkers.retain(|_, until| *until > now);
        posted.checkers.remove(self.node);
        if is_checker {
            posted.checkers.insert(self.node.to_owned(), now + term);
        }
        let mut checkers: Vec<String> = posted.checkers.keys().cloned().collect();
        checkers.sort();
        let mut division = Division { checkers, ..Division::default() };
        for (work, wish) in wishes {
            let is_free = posted.holders.get(work).is_none_or(|(node, _)| node == self.node);
            match wish {
                Wish::Have if is_free => drop(posted.holders.insert(work.clone(), (self.node.to_owned(), now + term))),
                Wish::Leave if is_free => drop(posted.holders.remove(work)),
                Wish::Have | Wish::Leave => {}
            }
            division.holders.push(posted.holders.get(work).map(|(node, _)| node.clone()));
            let fresh = posted.done.get(work).map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
            division.fresh.push(fresh);
        }
        Ok(division)
    }

    fn done(&mut self, work: &Work, fresh: Duration) -> Result<(), StoreError> {
        self.shared.lock().unwrap().done.insert(work.clone(), Instant::now() + fresh);
        Ok(())
    }

    fn tell(&mut self, found: &[Found]) -> Result<Vec<Found>, StoreError> {
        let mut posted = self.shared.lock().unwrap();
        posted.found.extend(found.iter().map(|found| (self.node, *found)));
        let new = posted.found.iter().skip(self.heard).filter(|(node, _)| *node != self.node);
        let new = new.map(|(_, found)| *found).collect();
        self.heard = posted.found.len();
        Ok(new)
    }

    fn say(&mut self, _: &[Saying], _: Duration) -> Result<Vec<(String, Vec<Saying>)>, StoreError> {
        Ok(Vec::new())
    }
}

const LIST: &str = "list";
const HOUR: Duration = Duration::from_hours(1);

fn board(shared: &Arc<Mutex<Posted>>, node: &'static str) -> Box<dyn Leases> {
    Box::new(Board { node, heard: 0, shared: Arc::clone(shared) })
}

fn join(shared: &Arc<Mutex<Posted>>, node: &'static str) -> Arc<Crew> {
    Crew::join(board(shared, node), vec![LIST.into()], Clock::default())
}

/// Lets so much time go by, in which everybody does what there is to be done.
async fn pass(span: Duration) {
    let steps = span.as_millis() / 100;
    for _ in 0..steps {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits for something that comes in its rounds. Whoever is asked answers from another thread, which a busy machine may leave waiting
/// while the clock here, which is paused, goes on by itself.
async fn until(is_so: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
        pass(Duration::from_millis(100)).await;
    }
    panic!("it never is");
}

fn checked_by(crew: &Crew) -> Vec<u64> {
    (0..u64::from(SHARDS)).filter(|shard| crew.checks(MemberId(*shard))).collect()
}

#[tokio::test(start_paused = true)]
async fn a_source_is_read_by_who_came_first_and_by_another_one_when_it_dies() {
    let shared = Arc::default();
    let (one, other) = (join(&shared, "one"), join(&shared, "other"));
    one.is_divided().await;
    other.is_divided().await;
    assert!(one.claims("another list") && other.claims("another list"), "it is not divided");
    let (first, second) = if one.claims(LIST) { (one, other) } else { (other, one) };
    assert!(!second.claims(LIST));
    first.read(LIST, Duration::from_secs(20)).await;
    assert!(!first.claims(LIST), "it has just read it");
    pass(Duration::from_secs(15)).await;
    assert!(!second.claims(LIST), "the lease is renewed");
    // Dies without a word.
    first.task.lock().unwrap().take().unwrap().abort();
    let began = Instant::now();
    second.turn(LIST, HOUR).await;
    assert!(began.elapsed() <= TERM + ROUND && second.claims(LIST), "{:?}", began.elapsed());
    assert_eq!(second.status().sources[LIST], Some(second.status().node));
}

#[tokio::test(start_paused = true)]
async fn who_takes_over_does_not_read_before_it_is_due() {
    let shared = Arc::default();
    let first = join(&shared, "one");
    first.is_divided().await;
    first.read(LIST, Duration::from_secs(100)).await;
    let (second, began) = (join(&shared, "other"), Instant::now());
    first.leave().await;
    second.turn(LIST, HOUR).await;
    let took = began.elapsed().as_secs();
    assert!((95..=101).contains(&took), "{took}");
    // And not again before it is due then.
    second.read(LIST, Duration::from_secs(50)).await;
    let began = Instant::now();
    second.turn(LIST, HOUR).await;
    assert!((45..=51).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_source_that_was_not_read_to_its_end_is_read_by_the_next_one() {
    let shared = Arc::default();
    let first = join(&shared, "one");
    first.is_divided().await;
    first.begin(LIST, HOUR);
    assert!(!first.claims(LIST), "it is at it");
    pass(ROUND).await;
    first.leave().await;
    let second = join(&shared, "other");
    second.is_divided().await;
    assert!(second.claims(LIST));
}

#[tokio::test(start_paused = true)]
async fn each_member_is_checked_by_one_of_those_who_check() {
    let shared = Arc::default();
    let crews = [join(&shared, "one"), join(&shared, "two"), join(&shared, "three")];
    let idle = join(&shared, "idle");
    for crew in &crews {
        crew.check().await;
    }
    let parts = || crews.iter().map(|crew| checked_by(crew)).collect::<Vec<_>>();
    let each_once = (0..64).collect::<Vec<_>>();
    until(|| {
        let parts = parts();
        let mut all = parts.concat();
        all.sort_unstable();
        all == each_once && parts.iter().all(|part| part.len() > 8)
    })
    .await;
    let parts = parts();
    assert!(checked_by(&idle).is_empty(), "who checks nobody has nobody to check");
    // One leaves: the others keep what they have, and take what was its own.
    crews[0].leave().await;
    let after = || crews.iter().skip(1).map(|crew| checked_by(crew)).collect::<Vec<_>>();
    until(|| after().concat().len() == 64).await;
    let after = after();
    assert!(
        parts[1].iter().all(|shard| after[0].contains(shard)) && parts[2].iter().all(|shard| after[1].contains(shard))
    );
    assert_eq!(crews[1].status().checks, format!("{}/64", after[0].len()));
}

#[tokio::test(start_paused = true)]
async fn who_can_ask_nobody_does_everything_and_says_so() {
    let shared: Arc<Mutex<Posted>> = Arc::default();
    let (one, other) = (join(&shared, "one"), join(&shared, "other"));
    one.check().await;
    pass(ROUND).await;
    let reader = if one.status().sources[LIST].as_deref() == Some("one") { &one } else { &other };
    reader.read(LIST, HOUR).await;
    shared.lock().unwrap().is_away = true;
    pass(2 * ROUND).await;
    assert!(one.status().trouble.is_some() && !one.status().is_alone && !other.claims(LIST), "its lease still holds");
    pass(TERM).await;
    assert!(one.status().is_alone && checked_by(&other).len() == 64);
    let began = Instant::now();
    let waits = if std::ptr::eq(reader, &one) { &other } else { &one };
    waits.turn(LIST, Duration::from_secs(30)).await;
    assert!((29..=31).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    shared.lock().unwrap().is_away = false;
    pass(2 * ROUND).await;
    assert!(one.status().trouble.is_none() && checked_by(&other).is_empty() && checked_by(&one).len() == 64);
    // One that has never been told anything begins alone.
    shared.lock().unwrap().is_away = true;
    let third = join(&shared, "third");
    third.is_divided().await;
    assert!(third.claims(LIST) && checked_by(&third).len() == 64);
}

#[tokio::test(start_paused = true)]
async fn what_one_finds_the_others_hear_within_a_second() {
    let shared = Arc::default();
    let (one, other) = (join(&shared, "one"), join(&shared, "other"));
    other.check().await;
    pass(ROUND).await;
    let found = Found { member: MemberId(7), finding: Finding::Dead };
    let began = Instant::now();
    one.found(found);
    assert_eq!(other.heard().await, [found]);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!((other.judged(), one.judged()), (vec![found], Vec::new()));
    // What nobody can be told is not kept for ever.
    (0..2 * MOST_FOUND).for_each(|_| one.found(found));
    assert_eq!(one.found.lock().unwrap().len(), MOST_FOUND);
}

#[tokio::test]
async fn who_reads_along_is_out_for_all_until_one_of_them_finds_that_it_works() {
    let shared = Arc::default();
    let other = join(&shared, "other");
    let parts = Parts { leases: Some(board(&shared, "one")), ..Parts::default() };
    let engine = Engine::start(EngineConfig::default(), parts).unwrap();
    let endpoints = ["http://10.0.0.1:80", "http://10.0.0.2:80"].map(|url| url.parse::<Endpoint>().unwrap());
    engine.admit(endpoints.map(|endpoint| Admission::Vouched(Box::new(endpoint.into()))).into()).await;
    let members: Vec<_> = engine.snapshot().iter().cloned().collect();
    for member in &members {
        other.found(Found { member: member.id, finding: Finding::Intercepts(HOUR) });
    }
    until(|| members.iter().all(|member| !member.live.is_admissible(engine.now()))).await;
    for (member, finding) in members.iter().zip([Finding::Dead, Finding::Alive(None)]) {
        other.found(Found { member: member.id, finding });
    }
    until(|| members[1].live.is_admissible(engine.now())).await;
    // That was heard before.
    assert!(!members[0].live.is_admissible(engine.now()), "a failed check ends no quarantine");
    engine.stop().await.unwrap();
}
