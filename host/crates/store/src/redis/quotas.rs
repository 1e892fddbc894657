//! What users have used of their quotas, in the server: several gateways count into the same counters.
//!
//! Invariants: what is counted goes in turns, and the server does each of them once, though its answer may be late or lost: one in
//! doubt is told again as it was before anything else is. What the server has lost, or has gone back behind, is brought back, as far as
//! it was heard.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proxywhirl_core::shared::{Quotas, Spending, Spent};
use proxywhirl_core::store::StoreError;

use super::buckets::LIMITS;
use super::link::{Link, Refusal};
use super::row::MOST;
use super::saving::REMEMBERED;
use super::url::RedisUrl;
use super::{Names, TURNS, script};

/// Users whose bytes are brought back with one command.
const BATCH: usize = 1_000;

/// Periods that end so soon are not brought back: they may just be over in the server.
const SOON: Duration = Duration::from_secs(1);

/// Two answers about the end of a period differ by so much at the most.
const ABOUT: Duration = Duration::from_millis(5);

/// Counters in a Redis or Valkey server.
#[derive(Debug)]
pub struct RedisQuotas {
    link: Link,
    names: Names,
    /// By whom turns are told apart from those of other processes.
    node: String,
    /// How many turns there were.
    turns: u64,
    /// The turn of which nobody knows whether it was done.
    doubtful: Option<Turn>,
    /// Bytes of such turns that turned out to be counted. They are told again by who could not know it.
    counted: HashMap<Arc<str>, u64>,
    /// Which pool it is; empty when that is not known, or there is none.
    epoch: String,
    /// What was heard last of users, and when their periods end.
    heard: HashMap<Arc<str>, (u64, Instant)>,
    /// Why some users cannot be counted; empty when all can.
    trouble: String,
}

/// What is counted in one step.
#[derive(Debug)]
struct Turn {
    number: u64,
    spent: Vec<Spent>,
}

impl RedisQuotas {
    /// Those of a pool. Connects when it has to.
    #[must_use]
    pub fn new(url: &RedisUrl) -> Self {
        Self {
            link: Link::new(url.clone(), LIMITS),
            names: Names::of(url),
            node: format!("{:016x}", fastrand::u64(..)),
            turns: 0,
            doubtful: None,
            counted: HashMap::new(),
            epoch: String::new(),
            heard: HashMap::new(),
            trouble: String::new(),
        }
    }

    fn count(&mut self, spent: &[Spent]) -> Result<Vec<Option<Spending>>, Refusal> {
        self.settle()?;
        let mut counted = self.counted.clone();
        let turn = self.turn(spent, &mut counted);
        match self.tell(&turn) {
            Ok(told) => {
                for (Spent { user, .. }, _) in spent.iter().zip(&told).filter(|(_, told)| told.is_none()) {
                    counted.extend(self.counted.remove_entry(user));
                }
                self.counted = counted;
                Ok(told)
            }
            Err(refusal) => {
                self.doubtful = Some(turn).filter(|turn| refusal.is_in_doubt && turn.number > 0);
                Err(refusal)
            }
        }
    }

    /// What there is to count of what came, without what was counted already.
    fn turn(&mut self, spent: &[Spent], counted: &mut HashMap<Arc<str>, u64>) -> Turn {
        let since = |spent: &Spent| {
            let before = counted.remove(&spent.user).unwrap_or(0);
            if before > spent.bytes {
                counted.insert(Arc::clone(&spent.user), before - spent.bytes);
            }
            Spent { bytes: spent.bytes.saturating_sub(before), ..spent.clone() }
        };
        let spent: Vec<Spent> = spent.iter().map(since).collect();
        let is_any = spent.iter().any(|spent| spent.bytes > 0);
        self.turns += u64::from(is_any);
        Turn { number: if is_any { self.turns } else { 0 }, spent }
    }

    /// Sees that a turn in doubt is done. What it has counted is not counted again.
    fn settle(&mut self) -> Result<(), Refusal> {
        let Some(turn) = self.doubtful.take() else { return Ok(()) };
        match self.tell(&turn) {
            Ok(told) => {
                for (spent, _) in turn.spent.into_iter().zip(told).filter(|(_, told)| told.is_some()) {
                    if spent.bytes > 0 {
                        *self.counted.entry(spent.user).or_default() += spent.bytes;
                    }
                }
                Ok(())
            }
            Err(refusal) => {
                self.doubtful = Some(turn);
                Err(refusal)
            }
        }
    }

    /// Tells a turn, which is counted once however often it is told; none for a user that cannot be counted.
    fn tell(&mut self, turn: &Turn) -> Result<Vec<Option<Spending>>, Refusal> {
        let mut keys = vec![self.names.name("layout"), self.names.name(&format!("quota-turn:{}", self.node))];
        keys.extend(turn.spent.iter().map(|spent| self.counter(&spent.user)));
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        for _ in 0..TURNS {
            let head: [&str; 3] = [&self.epoch, &turn.number.to_string(), &REMEMBERED.to_string()];
            let mut count = script(include_str!("quotas.lua"), &keys, &head);
            for Spent { bytes, period, .. } in &turn.spent {
                count.arg(bytes.min(&MOST)).arg(period.as_millis().clamp(1, u128::from(MOST)).to_string());
            }
            let (epoch, told, trouble): (String, Vec<i64>, String) = self.link.query(&count)?;
            if !self.epoch.is_empty() && self.epoch != epoch {
                self.bring_back(epoch)?;
                continue;
            }
            self.epoch = epoch;
            if told.len() != 2 * turn.spent.len() {
                return Err(Refusal::new("answers with something else than bytes"));
            }
            if self.has_raised(&turn.spent, &told)? {
                continue;
            }
            self.note(trouble);
            return Ok(self.hear(&turn.spent, &told));
        }
        Err(Refusal::new("has lost everything several times while bytes were counted"))
    }

    /// Within a period bytes only become more. Where they are less than was heard, the server has gone back to what it held before: it is
    /// told what it was; whether there was any such user.
    fn has_raised(&mut self, spent: &[Spent], told: &[i64]) -> Result<bool, Refusal> {
        let now = Instant::now();
        let (mut names, mut known) = (Vec::new(), Vec::new());
        for (Spent { user, .. }, [bytes, left]) in spent.iter().zip(told.as_chunks().0) {
            let (Some((heard, ends)), Ok(bytes), Ok(left)) =
                (self.heard.get(user), u64::try_from(*bytes), u64::try_from(*left))
            else {
                continue;
            };
            // One that ends later is another one: somebody has taken the counter away.
            let is_same_period = left > 0 && now + Duration::from_millis(left) <= *ends + ABOUT;
            if is_same_period && bytes < *heard {
                names.push(self.counter(user));
                known.extend([heard.to_string(), ends.saturating_duration_since(now).as_millis().to_string()]);
            }
        }
        if names.is_empty() {
            return Ok(false);
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        self.link.query::<u64>(&script(include_str!("quotas_raised.lua"), &names, &known))?;
        tracing::warn!(
            users = names.len(),
            "the store has gone back to what users had used before, and is told what they have"
        );
        Ok(true)
    }

    fn hear(&mut self, spent: &[Spent], told: &[i64]) -> Vec<Option<Spending>> {
        let now = Instant::now();
        let hear = |(Spent { user, .. }, [bytes, left]): (&Spent, &[i64; 2])| {
            let left = Duration::from_millis(u64::try_from(*left).unwrap_or(0));
            let spending = Spending { bytes: u64::try_from(*bytes).ok()?, left };
            match now.checked_add(left).filter(|_| !left.is_zero()) {
                Some(ends) => self.heard.insert(Arc::clone(user), (spending.bytes, ends)),
                None => self.heard.remove(user),
            };
            Some(spending)
        };
        spent.iter().zip(told.as_chunks().0).map(hear).collect()
    }

    /// The server has lost everything: brings back what was heard of users whose periods are not over. Others bring it too.
    fn bring_back(&mut self, epoch: String) -> Result<(), Refusal> {
        let now = Instant::now();
        self.heard.retain(|_, (_, ends)| *ends > now + SOON);
        let heard: Vec<_> = self.heard.iter().collect();
        for batch in heard.chunks(BATCH) {
            let names = batch.iter().flat_map(|(user, _)| [self.counter(user), self.brought(user)]);
            let names: Vec<String> = names.collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let mut again = script(include_str!("quotas_again.lua"), &names, &[]);
            for (_, (bytes, ends)) in batch {
                again.arg(bytes).arg(ends.saturating_duration_since(now).as_millis().to_string());
            }
            self.link.query::<u64>(&again)?;
        }
        tracing::warn!(users = self.heard.len(), "the store has lost what users have used, and it is brought back");
        self.epoch = epoch;
        Ok(())
    }

    /// Says once why some users cannot be counted.
    fn note(&mut self, trouble: String) {
        if !trouble.is_empty() && trouble != self.trouble {
            tracing::warn!(
                store.pool = %self.names.prefix, reason = trouble,
                "what some users have used cannot be shared, each gateway counts its own"
            );
        }
        self.trouble = trouble;
    }

    fn counter(&self, user: &str) -> String {
        self.names.name(&format!("quota:{user}"))
    }

    fn brought(&self, user: &str) -> String {
        self.names.name(&format!("quota-brought:{user}"))
    }
}

impl Quotas for RedisQuotas {
    fn spend(&mut self, spent: &[Spent]) -> Result<Vec<Option<Spending>>, StoreError> {
        self.count(spent).map_err(|refusal| self.link.error(refusal))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use proxywhirl_tests::{RedisServer, wait_until};

    use super::*;
    use crate::StoreUrl;

    fn of(url: &str) -> RedisQuotas {
        let StoreUrl::Redis(url) = url.parse().unwrap() else { panic!("{url}") };
        RedisQuotas::new(&url)
    }

    fn spent(user: &str, bytes: u64, period: Duration) -> Spent {
        Spent { user: user.into(), bytes, period }
    }

    /// What is told when everybody can be counted.
    fn tell(quotas: &mut RedisQuotas, spent: &[Spent]) -> Vec<Spending> {
        quotas.spend(spent).unwrap().into_iter().map(Option::unwrap).collect()
    }

    #[test]
    fn those_who_share_a_counter_count_into_one_period_that_begins_with_the_first_byte() {
        let server = RedisServer::start([""; 0]);
        let (mut one, mut other) = (of(&server.url()), of(&server.url()));
        let minute = Duration::from_mins(1);
        assert_eq!(tell(&mut one, &[spent("anna", 0, minute)]), [Spending { bytes: 0, left: Duration::ZERO }]);
        assert_eq!(server.ask(&["DBSIZE"]), ":0\r\n+OK\r\n", "nothing has begun");
        let told = tell(&mut one, &[spent("anna", 600, minute), spent("bert {x}", 5, minute)]);
        assert_eq!((told[0].bytes, told[1].bytes), (600, 5));
        let told = tell(&mut other, &[spent("anna", 500, 10 * minute), spent("bert {x}", 0, minute)]);
        assert_eq!((told[0].bytes, told[1].bytes), (1_100, 5));
        assert!(told[0].left <= minute && told[0].left > minute / 2, "{told:?}");
        assert!(tell(&mut one, &[spent("anna", u64::MAX, minute)])[0].bytes >= MOST, "and not less than before");
        // A period that is shorter now ends sooner.
        let told = tell(&mut one, &[spent("bert {x}", 0, minute / 2)]);
        assert!(told[0].bytes == 5 && told[0].left <= minute / 2, "{told:?}");
        // The next one begins anew.
        tell(&mut other, &[spent("carl", 7, Duration::from_millis(50))]);
        wait_until("the period is over", || tell(&mut one, &[spent("carl", 0, minute)])[0].bytes == 0);
        assert_eq!(tell(&mut one, &[spent("carl", 3, minute)])[0].bytes, 3);
        assert!(tell(&mut one, &[]).is_empty());
    }

    #[test]
    fn bytes_count_once_though_the_answer_is_late() {
        let server = RedisServer::start([""; 0]);
        let mut quotas = of(&server.url());
        let minute = Duration::from_mins(1);
        tell(&mut quotas, &[spent("anna", 1, minute)]);
        for (round, before) in [(1, 1), (2, 701)] {
            server.stand_still(true);
            let told = quotas.spend(&[spent("anna", 600, minute), spent("bert", 5, minute)]).unwrap_err().to_string();
            assert!(told.contains("does not answer in time"), "{told}");
            assert!(quotas.spend(&[spent("anna", 640, minute)]).is_err(), "and is in doubt still");
            server.stand_still(false);
            let counter = || server.ask(&["GET", "{proxywhirl:default}:quota:anna"]);
            wait_until("it is counted, late", || counter().contains(&(before + 600).to_string()));
            // They are told again, with some that came since; in several parts, as they come.
            let mut asked =
                || quotas.spend(&[spent("anna", 0, minute)]).is_ok_and(|told| told[0].unwrap().bytes == before + 600);
            wait_until("it can be asked again", &mut asked);
            let told = tell(&mut quotas, &[spent("anna", 500, minute), spent("anna", 200, minute)]);
            assert_eq!((told[0].bytes, told[1].bytes), (before + 600, before + 700));
            assert_eq!(tell(&mut quotas, &[spent("bert", 5, minute)])[0].bytes, 5 * round);
        }
        assert_eq!(tell(&mut quotas, &[spent("anna", 9, minute)])[0].bytes, 1_410);
    }

    #[test]
    fn who_cannot_be_counted_does_not_make_others_count_twice() {
        let server = RedisServer::start([""; 0]);
        server.ask(&["HSET", "{proxywhirl:default}:quota:bert", "x", "y"]);
        let mut quotas = of(&server.url());
        let minute = Duration::from_mins(1);
        let all = [spent("anna", 600, minute), spent("bert", 5, minute), spent("carl", 7, minute)];
        let bytes =
            |told: Vec<Option<Spending>>| told.iter().map(|told| told.map(|told| told.bytes)).collect::<Vec<_>>();
        assert_eq!(bytes(quotas.spend(&all).unwrap()), [Some(600), None, Some(7)]);
        assert!(quotas.trouble.contains("WRONGTYPE"), "{}", quotas.trouble);
        server.ask(&["DEL", "{proxywhirl:default}:quota:bert"]);
        assert_eq!(
            bytes(quotas.spend(&[spent("anna", 1, minute), spent("bert", 5, minute)]).unwrap()),
            [Some(601), Some(5)]
        );
        assert_eq!(quotas.trouble, "");
    }

    #[test]
    fn what_users_have_used_is_brought_back_to_a_server_that_has_lost_it() {
        let server = RedisServer::start([""; 0]);
        let make = |epoch| server.ask(&["HSET", "{proxywhirl:default}:layout", "epoch", epoch]);
        make("1");
        let (mut one, mut other) = (of(&server.url()), of(&server.url()));
        let minute = Duration::from_mins(1);
        tell(&mut one, &[spent("anna", 600, minute), spent("carl", 5, Duration::from_millis(900))]);
        tell(&mut other, &[spent("anna", 100, minute), spent("bert", 7, minute)]);
        server.ask(&["FLUSHALL"]);
        make("2");
        // What came since is added, and the period is the one of before.
        let mut newcomer = of(&server.url());
        tell(&mut newcomer, &[spent("anna", 3, 10 * minute)]);
        assert_eq!(tell(&mut one, &[spent("anna", 10, minute)])[0].bytes, 613);
        let told = tell(&mut other, &[spent("anna", 20, minute), spent("carl", 0, minute)]);
        assert_eq!((told[0].bytes, told[1].bytes), (733, 0), "of what is nearly over nothing is brought");
        assert!(told[0].left <= minute, "{told:?}");
        assert_eq!(tell(&mut newcomer, &[spent("bert", 0, minute)])[0].bytes, 7, "who is not asked about, too");
        // A counter that somebody takes away is not brought back: its next period ends later, by more than answers differ.
        std::thread::sleep(2 * ABOUT);
        server.ask(&["DEL", "{proxywhirl:default}:quota:anna"]);
        assert_eq!(tell(&mut one, &[spent("anna", 4, minute)])[0].bytes, 4);
    }

    #[test]
    fn a_server_that_went_back_is_told_what_users_have_used_since() {
        let mut server = RedisServer::start(["--appendonly", "no"]);
        let (mut one, mut other) = (of(&server.url()), of(&server.url()));
        let (minute, anna) = (Duration::from_mins(1), |bytes| [spent("anna", bytes, Duration::from_mins(1))]);
        tell(&mut one, &anna(600));
        server.ask(&["SAVE"]);
        tell(&mut one, &anna(100));
        tell(&mut other, &anna(50));
        server.kill();
        server.start_again();
        wait_until("it is there again", || one.spend(&anna(0)).is_ok());
        assert_eq!(tell(&mut one, &anna(0))[0].bytes, 700, "as much as this one had heard");
        wait_until("it is reached by the other one", || other.spend(&anna(0)).is_ok());
        let told = tell(&mut other, &anna(0));
        assert!(told[0].bytes == 750 && told[0].left < minute, "who knows most is right: {told:?}");
        assert_eq!(tell(&mut one, &anna(3))[0].bytes, 753);
    }

    #[test]
    fn in_a_cluster_it_works_too_and_who_is_away_says_so() {
        let nodes = RedisServer::cluster();
        let mut quotas = of(&nodes[0].url());
        let uses: Vec<Spent> = (0..50).map(|n| spent(&format!("u{n}"), n, Duration::from_mins(1))).collect();
        let told = tell(&mut quotas, &uses);
        assert!(told.iter().zip(0..50).all(|(told, n)| told.bytes == n), "{told:?}");
        let told = of("redis://127.0.0.1:1").spend(&uses).unwrap_err().to_string();
        assert!(told.contains("cannot be reached"), "{told}");
    }
}
