//! What users have used of their quotas, in the server: several gateways count into the same counters.

use std::time::Duration;

use proxywhirl_core::shared::{Quotas, Spending, Spent};
use proxywhirl_core::store::StoreError;

use super::buckets::LIMITS;
use super::link::{Link, Refusal};
use super::row::MOST;
use super::url::RedisUrl;
use super::{Names, script};

/// Counters in a Redis or Valkey server.
#[derive(Debug)]
pub struct RedisQuotas {
    link: Link,
    names: Names,
}

impl RedisQuotas {
    /// Those of a pool. Connects when it has to.
    #[must_use]
    pub fn new(url: &RedisUrl) -> Self {
        Self { link: Link::new(url.clone(), LIMITS), names: Names::of(url) }
    }

    fn count(&mut self, spent: &[Spent]) -> Result<Vec<Spending>, Refusal> {
        let keys: Vec<String> = spent.iter().map(|spent| self.names.name(&format!("quota:{}", spent.user))).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let mut count = script(include_str!("quotas.lua"), &keys, &[]);
        for Spent { bytes, period, .. } in spent {
            count.arg(bytes.min(&MOST)).arg(period.as_millis().clamp(1, u128::from(MOST)).to_string());
        }
        let told: Vec<u64> = self.link.query(&count)?;
        if told.len() != 2 * spent.len() {
            return Err(Refusal::new("answers with something else than bytes"));
        }
        let spending = |told: &[u64; 2]| Spending { bytes: told[0], left: Duration::from_millis(told[1]) };
        Ok(told.as_chunks().0.iter().map(spending).collect())
    }
}

impl Quotas for RedisQuotas {
    fn spend(&mut self, spent: &[Spent]) -> Result<Vec<Spending>, StoreError> {
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

    #[test]
    fn those_who_share_a_counter_count_into_one_period_that_begins_with_the_first_byte() {
        let server = RedisServer::start([""; 0]);
        let (mut one, mut other) = (of(&server.url()), of(&server.url()));
        let minute = Duration::from_mins(1);
        assert_eq!(one.spend(&[spent("anna", 0, minute)]).unwrap(), [Spending { bytes: 0, left: Duration::ZERO }]);
        assert_eq!(server.ask(&["DBSIZE"]), ":0\r\n+OK\r\n", "nothing has begun");
        let told = one.spend(&[spent("anna", 600, minute), spent("bert {x}", 5, minute)]).unwrap();
        assert_eq!((told[0].bytes, told[1].bytes), (600, 5));
        let told = other.spend(&[spent("anna", 500, 10 * minute), spent("bert {x}", 0, minute)]).unwrap();
        assert_eq!((told[0].bytes, told[1].bytes), (1_100, 5));
        assert!(told[0].left <= minute && told[0].left > minute / 2, "{told:?}");
        assert!(one.spend(&[spent("anna", u64::MAX, minute)]).unwrap()[0].bytes >= MOST, "and not less than before");
        // A period that is shorter now ends sooner.
        let told = one.spend(&[spent("bert {x}", 0, minute / 2)]).unwrap();
        assert!(told[0].bytes == 5 && told[0].left <= minute / 2, "{told:?}");
        // The next one begins anew.
        other.spend(&[spent("carl", 7, Duration::from_millis(50))]).unwrap();
        wait_until("the period is over", || one.spend(&[spent("carl", 0, minute)]).unwrap()[0].bytes == 0);
        assert_eq!(one.spend(&[spent("carl", 3, minute)]).unwrap()[0].bytes, 3);
        assert!(one.spend(&[]).unwrap().is_empty());
    }

    #[test]
    fn in_a_cluster_it_works_too_and_who_is_away_says_so() {
        let nodes = RedisServer::cluster();
        let mut quotas = of(&nodes[0].url());
        let uses: Vec<Spent> = (0..50).map(|n| spent(&format!("u{n}"), n, Duration::from_mins(1))).collect();
        let told = quotas.spend(&uses).unwrap();
        assert!(told.iter().zip(0..50).all(|(told, n)| told.bytes == n), "{told:?}");
        let told = of("redis://127.0.0.1:1").spend(&uses).unwrap_err().to_string();
        assert!(told.contains("cannot be reached"), "{told}");
    }
}
