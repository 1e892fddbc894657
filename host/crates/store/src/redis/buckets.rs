//! Token buckets in the server: several gateways take from the same ones, each token in one script.

use std::fmt;
use std::time::Duration;

use proxywhirl_core::shared::{BucketOf, Buckets, Granted, Token};
use proxywhirl_core::store::StoreError;

use super::link::{Limits, Link, Refusal};
use super::url::RedisUrl;
use super::{Names, script};

/// How long requests may be kept waiting by a server that is away, or stands still, until that is known.
pub(super) const LIMITS: Limits = Limits {
    connect: Duration::from_millis(500),
    answer: Duration::from_millis(250),
    bulk: Duration::from_millis(250),
    pause: Duration::from_millis(100),
};

/// How late a token may be taken at no loss, in microseconds: a gateway wakes up, and asks, some milliseconds after it is
/// there. In any second it lets so much of the rate more through, which is a fiftieth.
const LATE: u32 = 20_000;

/// Token buckets in a Redis or Valkey server.
#[derive(Debug)]
pub struct RedisBuckets {
    link: Link,
    names: Names,
}

impl RedisBuckets {
    /// Those of a pool. Connects when it has to.
    #[must_use]
    pub fn new(url: &RedisUrl) -> Self {
        Self { link: Link::new(url.clone(), LIMITS), names: Names::of(url) }
    }

    fn ask(&mut self, uses: &[Vec<Token>]) -> Result<Vec<Granted>, Refusal> {
        let (mut keys, mut arguments) = (Vec::new(), vec![LATE.to_string()]);
        if uses.is_empty() {
            // Who is asked about nothing is to be who would be asked about something: the part of a cluster where the buckets are.
            keys.push(self.names.name("bucket:none"));
        }
        for tokens in uses {
            arguments.push(tokens.len().to_string());
            for Token { of, rate } in tokens {
                keys.push(self.names.name(&format!("bucket:{}", Name(of))));
                arguments.push((1e6 / rate.per_second()).to_string());
                arguments.push(rate.burst().to_string());
            }
        }
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let told: Vec<u64> = self.link.query(&script(include_str!("buckets.lua"), &keys, &arguments))?;
        let mut told = told.into_iter();
        let granted = uses.iter().map(|tokens| {
            let is_granted = told.next()? == 1;
            let full = tokens.iter().map(|_| told.next().map(Duration::from_micros)).collect::<Option<_>>()?;
            Some(Granted { is_granted, full })
        });
        granted.collect::<Option<_>>().ok_or_else(|| Refusal::new("answers with something else than tokens"))
    }
}

impl Buckets for RedisBuckets {
    fn take(&mut self, uses: &[Vec<Token>]) -> Result<Vec<Granted>, StoreError> {
        self.ask(uses).map_err(|refusal| self.link.error(refusal))
    }
}

/// The name of a bucket.
struct Name<'a>(&'a BucketOf);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            BucketOf::Member(id) => write!(f, "proxy:{:016x}", id.0),
            BucketOf::Site(site) => write!(f, "site:{site}"),
            BucketOf::User(user) => write!(f, "user:{user}"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::time::Instant;

    use proxywhirl_core::MemberId;
    use proxywhirl_core::limit::Rate;
    use proxywhirl_tests::RedisServer;

    use super::*;
    use crate::StoreUrl;

    const PLAIN: [&str; 0] = [];

    fn of(url: &str) -> RedisBuckets {
        let StoreUrl::Redis(url) = url.parse().unwrap() else { panic!("{url}") };
        RedisBuckets::new(&url)
    }

    fn member(number: u64, per_second: f64, burst: u32) -> Token {
        Token { of: BucketOf::Member(MemberId(number)), rate: Rate::new(per_second, burst) }
    }

    fn site(name: &str, per_second: f64, burst: u32) -> Token {
        Token { of: BucketOf::Site(name.into()), rate: Rate::new(per_second, burst) }
    }

    fn granted(told: &[Granted]) -> Vec<bool> {
        told.iter().map(|told| told.is_granted).collect()
    }

    #[test]
    fn those_who_share_a_bucket_get_its_burst_and_its_rate_together() {
        let server = RedisServer::start(PLAIN);
        let (mut one, mut other) = (of(&server.url()), of(&server.url()));
        let uses = vec![vec![member(1, 1.0, 3)]; 2];
        assert_eq!(granted(&one.take(&uses).unwrap()), [true, true]);
        let told = other.take(&uses).unwrap();
        assert_eq!(granted(&told), [true, false]);
        let rate = uses[0][0].rate;
        assert!(told.iter().all(|told| rate.next(told.full[0]) > Duration::from_millis(500)), "{told:?}");
        assert_eq!(granted(&other.take(&[vec![member(2, 1.0, 3)]]).unwrap()), [true], "another bucket is another one");
        assert!(other.take(&[]).unwrap().is_empty());
        // Another pool has its own.
        let mut elsewhere = of(&format!("{}?pool=other", server.url()));
        assert_eq!(granted(&elsewhere.take(&uses).unwrap()), [true, true]);
    }

    #[test]
    fn who_could_give_no_token_does_not_answer_about_nothing_either() {
        let server = RedisServer::start(PLAIN);
        let mut buckets = of(&server.url());
        assert!(buckets.take(&[]).unwrap().is_empty());
        server.ask(&["CONFIG", "SET", "maxmemory", "1"]);
        for uses in [Vec::new(), vec![vec![member(1, 1.0, 3)]]] {
            let told = buckets.take(&uses).unwrap_err().to_string();
            assert!(told.contains("is out of memory"), "{told}");
        }
        server.ask(&["CONFIG", "SET", "maxmemory", "0"]);
        assert!(buckets.take(&[]).unwrap().is_empty());
    }

    #[test]
    fn a_use_has_all_its_tokens_or_none() {
        let server = RedisServer::start(PLAIN);
        let mut buckets = of(&server.url());
        let both = vec![member(1, 0.1, 5), site("shop.example", 0.1, 1)];
        let told = buckets.take(&[both.clone(), both.clone()]).unwrap();
        assert_eq!(granted(&told), [true, false]);
        let next = |token: usize| both[token].rate.next(told[1].full[token]);
        assert!(next(0).is_zero() && next(1) > Duration::from_secs(9), "{told:?}");
        // Four of the member are left.
        assert!((9..=10).contains(&told[1].full[0].as_secs()), "{told:?}");
        let alone = vec![vec![member(1, 0.1, 5)]; 5];
        assert_eq!(granted(&buckets.take(&alone).unwrap()), [true, true, true, true, false]);
    }

    #[test]
    fn in_some_seconds_there_is_no_more_and_no_less_than_the_rate() {
        let server = RedisServer::start(PLAIN);
        let mut buckets = [of(&server.url()), of(&server.url()), of(&server.url())];
        let (began, mut count, mut turn, mut is_late) = (Instant::now(), 0_u32, 0, false);
        // Each of them as soon as it may, one after the other.
        while began.elapsed() < Duration::from_secs(2) {
            turn += 1;
            let told = match buckets[turn % 3].take(&[vec![site("a.example", 50.0, 1)]]) {
                Ok(told) => told,
                // This machine is busy: nobody waits long for tokens.
                Err(error) if error.reason.contains("in time") => {
                    is_late = true;
                    continue;
                }
                Err(error) => panic!("{error}"),
            };
            count += u32::from(told[0].is_granted);
            if !told[0].is_granted {
                std::thread::sleep(told[0].full[0].min(Duration::from_millis(10)));
            }
        }
        // A hundred, and one at the beginning, and what 20 ms of lateness let through.
        assert!(count <= 103 && (count >= 95 || is_late), "{count} in {turn}");
    }

    #[test]
    fn a_rate_that_was_slower_before_keeps_nobody_waiting_longer_than_its_own_debt() {
        let server = RedisServer::start(PLAIN);
        let mut buckets = of(&server.url());
        assert_eq!(granted(&buckets.take(&[vec![member(1, 0.001, 1)]]).unwrap()), [true]);
        let told = buckets.take(&[vec![member(1, 10.0, 1)]]).unwrap();
        assert!(!told[0].is_granted && told[0].full[0] <= Duration::from_millis(100), "{told:?}");
        // What nobody uses is not kept.
        assert!(server.ask(&["PTTL", "{proxywhirl:default}:bucket:proxy:0000000000000001"]).starts_with(':'));
    }
}
