//! Places for requests and tunnels of users, in the server: those who hold some divide them in one script.
//!
//! Invariants: what is held is told as a number, not as a change, so that it may be told twice; and it is told again and again, so
//! that what a gateway held that has died, or what the server has lost, is right again by itself.

use std::time::Duration;

use proxywhirl_core::shared::{Held, Hold, Places};
use proxywhirl_core::store::StoreError;

use super::buckets::LIMITS;
use super::link::{Link, Refusal};
use super::url::RedisUrl;
use super::{Names, script};

/// Places in a Redis or Valkey server.
#[derive(Debug)]
pub struct RedisPlaces {
    link: Link,
    names: Names,
    /// Why those of some users cannot be divided; empty when all can.
    trouble: String,
}

impl RedisPlaces {
    /// Those of a pool. Connects when it has to.
    #[must_use]
    pub fn new(url: &RedisUrl) -> Self {
        Self { link: Link::new(url.clone(), LIMITS), names: Names::of(url), trouble: String::new() }
    }

    fn divide(&mut self, holds: &[Hold], term: Duration) -> Result<Vec<Option<Held>>, Refusal> {
        let keys: Vec<String> = holds.iter().map(|hold| self.names.name(&format!("places:{}", hold.user))).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let mut divide = script(include_str!("places.lua"), &keys, &[&term.as_millis().to_string()]);
        for Hold { holder, turn, open, keep, need, most, .. } in holds {
            divide.arg(format!("{holder:016x}")).arg(turn).arg(open).arg(keep).arg(need).arg(most);
        }
        let (told, trouble): (Vec<i64>, String) = self.link.query(&divide)?;
        if told.len() != 3 * holds.len() {
            return Err(Refusal::new("answers with something else than places"));
        }
        self.note(trouble);
        let held = |[places, is_scarce, is_idle]: &[i64; 3]| {
            let places = u32::try_from(*places).ok()?;
            Some(Held { places, is_scarce: *is_scarce == 1, is_idle_elsewhere: *is_idle == 1 })
        };
        Ok(told.as_chunks().0.iter().map(held).collect())
    }

    /// Says once why the places of some users cannot be divided.
    fn note(&mut self, trouble: String) {
        if !trouble.is_empty() && trouble != self.trouble {
            tracing::warn!(
                store.pool = %self.names.prefix, reason = trouble,
                "places of some users cannot be shared, each gateway has its own"
            );
        }
        self.trouble = trouble;
    }
}

impl Places for RedisPlaces {
    fn hold(&mut self, holds: &[Hold], term: Duration) -> Result<Vec<Option<Held>>, StoreError> {
        self.divide(holds, term).map_err(|refusal| self.link.error(refusal))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use proxywhirl_tests::{RedisServer, wait_until};

    use super::*;
    use crate::StoreUrl;

    const TERM: Duration = Duration::from_secs(60);

    fn of(url: &str) -> RedisPlaces {
        let StoreUrl::Redis(url) = url.parse().unwrap() else { panic!("{url}") };
        RedisPlaces::new(&url)
    }

    /// Of 20 places of Anna.
    fn hold((holder, turn): (u64, u64), open: u32, keep: u32, need: u32) -> Hold {
        Hold { user: "anna {x}".into(), holder, turn, open, keep, need, most: 20 }
    }

    fn tell(places: &mut RedisPlaces, hold: Hold) -> Held {
        places.hold(&[hold], TERM).unwrap()[0].unwrap()
    }

    fn held(places: u32, is_scarce: bool, is_idle_elsewhere: bool) -> Held {
        Held { places, is_scarce, is_idle_elsewhere }
    }

    #[test]
    fn places_are_divided_and_there_are_never_more_than_there_are() {
        let server = RedisServer::start([""; 0]);
        let (mut one, mut other) = (of(&server.url()), of(&server.url()));
        assert!(one.hold(&[], TERM).unwrap().is_empty());
        assert_eq!(tell(&mut one, hold((1, 1), 0, 0, 0)), held(0, false, false));
        assert_eq!(server.ask(&["DBSIZE"]), ":0\r\n+OK\r\n", "nobody holds anything");
        // With room, more than is needed, so that the next ones need not ask; but only of the first half.
        assert_eq!(tell(&mut one, hold((1, 2), 2, 2, 3)), held(6, false, false));
        assert_eq!(tell(&mut other, hold((2, 1), 0, 0, 3)), held(4, false, true));
        assert_eq!(tell(&mut other, hold((2, 2), 4, 4, 5)), held(5, true, true));
        assert_eq!(tell(&mut other, hold((2, 3), 5, 5, 16)), held(14, true, true), "what is left");
        // What is given back can be had.
        assert_eq!(tell(&mut one, hold((1, 3), 3, 3, 3)), held(3, true, true));
        assert_eq!(tell(&mut other, hold((2, 4), 14, 14, 30)), held(17, true, false));
        assert_eq!(tell(&mut one, hold((1, 4), 3, 3, 4)), held(3, true, true));
        // What is open stays, though it is too much: under a limit of another gateway, or of a time without the server.
        // None that ends is followed by another, as long as there are too many.
        assert_eq!(tell(&mut one, hold((1, 5), 9, 3, 9)), held(3, true, true));
        assert_eq!(tell(&mut other, hold((2, 5), 17, 17, 17)), held(11, true, false));
        // A turn that comes late, or twice, changes nothing.
        assert_eq!(tell(&mut one, hold((1, 4), 3, 3, 3)), held(3, true, false));
        assert_eq!(tell(&mut one, hold((1, 5), 0, 0, 0)), held(3, true, false));
        assert_eq!(tell(&mut other, hold((2, 6), 17, 17, 17)), held(11, true, false));
        assert_eq!(tell(&mut one, hold((1, 6), 0, 0, 0)), held(0, true, false));
        assert_eq!(tell(&mut other, hold((2, 7), 0, 0, 0)), held(0, false, false));
        assert_eq!(server.ask(&["DBSIZE"]), ":0\r\n+OK\r\n");
    }

    #[test]
    fn places_of_who_is_silent_come_back_and_those_that_were_lost_are_kept_by_who_has_them() {
        let server = RedisServer::start([""; 0]);
        let (mut one, mut other) = (of(&server.url()), of(&server.url()));
        one.hold(&[hold((1, 1), 0, 0, 12)], Duration::from_millis(300)).unwrap();
        assert_eq!(tell(&mut other, hold((2, 1), 0, 0, 20)), held(8, true, true));
        let mut turn = 1;
        let mut all = || {
            turn += 1;
            tell(&mut other, hold((2, turn), 0, 8, 20)).places == 20
        };
        wait_until("the places of who is silent", &mut all);
        // It had them, and has none of them any more but those that are in use.
        assert_eq!(tell(&mut one, hold((1, 2), 2, 12, 12)), held(0, true, true));
        server.ask(&["FLUSHALL"]);
        assert_eq!(tell(&mut one, hold((1, 3), 2, 2, 2)), held(2, false, false));
        assert_eq!(tell(&mut other, hold((2, 1_000), 0, 20, 20)), held(18, true, false));
    }

    #[test]
    fn what_somebody_else_has_made_of_places_concerns_one_user_alone() {
        let server = RedisServer::start([""; 0]);
        server.ask(&["SET", "{proxywhirl:default}:places:bert", "x"]);
        server.ask(&["HSET", "{proxywhirl:default}:places:anna {x}", "x", "y"]);
        let mut places = of(&server.url());
        let bert = Hold { user: "bert".into(), ..hold((1, 1), 1, 1, 1) };
        let told = places.hold(&[bert, hold((2, 1), 0, 0, 1)], TERM).unwrap();
        assert_eq!(told, [None, Some(held(2, false, false))]);
        assert!(places.trouble.contains("WRONGTYPE"), "{}", places.trouble);
    }

    #[test]
    fn in_a_cluster_it_works_too_and_who_is_away_says_so() {
        let nodes = RedisServer::cluster();
        let mut places = of(&nodes[0].url());
        let users = (0..50).map(|n| Hold { user: format!("u{n}").into(), ..hold((n, 1), 0, 0, 12) });
        let told = places.hold(&users.collect::<Vec<_>>(), TERM).unwrap();
        assert!(told.len() == 50 && told.iter().all(|told| *told == Some(held(12, true, false))), "{told:?}");
        let told = of("redis://127.0.0.1:1").hold(&[hold((1, 1), 0, 0, 1)], TERM).unwrap_err().to_string();
        assert!(told.contains("cannot be reached"), "{told}");
    }
}
