//! When requests that name no session get another member: with each request, or less often.
//!
//! Between two turns, the requests of a door are one session, which the host keeps with its member; a turn begins it anew,
//! with another member. So a connection that is kept alive rotates as any other does, and a member that fails is replaced at
//! once, whatever the rotation is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proxywhirl_core::member::mix;
use proxywhirl_core::select::Stick;
use tokio::time::Instant;

use crate::wanted::{Wanted, session_hash};

/// A session that nothing but a turn ends.
const FOR_GOOD: Duration = Duration::from_hours(100 * 365 * 24);

/// When requests that name no session get another member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rotation {
    /// Whenever the strategy says so: with each request.
    #[default]
    Request,
    /// After so many requests; at least 1.
    Requests(u64),
    /// After so long.
    Every(Duration),
    /// With each connection.
    Connection,
    /// When the member fails, and when told to.
    Failure,
}

/// The turns of a door.
#[derive(Debug)]
pub struct Turns {
    rotation: Rotation,
    /// The session of the door's requests between two turns.
    session: u64,
    began: Instant,
    requests: AtomicU64,
    /// Turns by command.
    commanded: AtomicU64,
    /// The turn of which a request has begun the session.
    begun: AtomicU64,
    connections: AtomicU64,
}

impl Default for Turns {
    fn default() -> Self {
        Self::new(Rotation::Request, "")
    }
}

impl Turns {
    /// Turns of a door with this name, under which its session is known over restarts.
    #[must_use]
    pub fn new(rotation: Rotation, door: &str) -> Self {
        Self {
            rotation,
            session: session_hash(&format!("door {door}")),
            began: Instant::now(),
            requests: AtomicU64::new(0),
            commanded: AtomicU64::new(0),
            begun: AtomicU64::new(0),
            connections: AtomicU64::new(0),
        }
    }

    /// Makes the next request get another member. False when each request gets one anyhow.
    pub fn turn(&self) -> bool {
        // Relaxed, as all of them here: numbers that stand for themselves.
        self.commanded.fetch_add(1, Ordering::Relaxed);
        self.rotation != Rotation::Request
    }

    /// A number for a connection.
    pub(crate) fn connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed)
    }

    /// The session of a request that names none.
    pub(crate) fn assign(&self, wanted: &mut Wanted, connection: u64) {
        if wanted.session.is_some() {
            return;
        }
        let turn = match self.rotation {
            Rotation::Request => return,
            Rotation::Requests(most) => self.requests.fetch_add(1, Ordering::Relaxed) / most.max(1),
            Rotation::Every(pause) => {
                u64::try_from(self.began.elapsed().as_nanos() / pause.as_nanos().max(1)).unwrap_or(u64::MAX)
            }
            Rotation::Connection => {
                // Of this process, and of no other: nobody has such a session again.
                let own = mix(self.session ^ mix(connection ^ mix(std::process::id().into())));
                wanted.session = Some(own.max(1));
                return;
            }
            Rotation::Failure => 0,
        };
        wanted.session = Some(self.session);
        let turn = turn.wrapping_add(self.commanded.load(Ordering::Relaxed));
        let is_new = self.begun.swap(turn, Ordering::Relaxed) != turn;
        wanted.stick = Stick {
            lifetime: wanted.stick.lifetime.or(Some(FOR_GOOD)),
            renew: wanted.stick.renew || is_new,
            ..wanted.stick
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of so many requests begin the session anew.
    fn renewals(turns: &Turns, requests: usize) -> Vec<usize> {
        let renews = |_: &usize| {
            let mut wanted = Wanted::default();
            turns.assign(&mut wanted, 0);
            assert_eq!(wanted.session, Some(turns.session));
            wanted.stick.renew
        };
        (0..requests).filter(renews).collect()
    }

    #[test]
    fn with_each_request_there_is_no_session_unless_the_client_names_one() {
        let turns = Turns::default();
        let mut wanted = Wanted::default();
        turns.assign(&mut wanted, 0);
        assert_eq!(wanted, Wanted::default());
        assert!(!turns.turn());
        let own = Wanted { session: Some(7), ..Wanted::default() };
        let mut wanted = own.clone();
        Turns::new(Rotation::Requests(1), "a").assign(&mut wanted, 0);
        assert_eq!(wanted, own);
    }

    #[test]
    fn every_so_many_requests_or_when_told() {
        let turns = Turns::new(Rotation::Requests(3), "a");
        assert_eq!(renewals(&turns, 10), [3, 6, 9]);
        assert!(turns.turn());
        assert_eq!(renewals(&turns, 4), [0, 2]);
        let turns = Turns::new(Rotation::Failure, "a");
        assert_eq!(renewals(&turns, 10), [0; 0]);
        turns.turn();
        assert_eq!(renewals(&turns, 10), [0]);
    }

    #[tokio::test(start_paused = true)]
    async fn every_so_often() {
        let turns = Turns::new(Rotation::Every(Duration::from_mins(1)), "a");
        assert_eq!(renewals(&turns, 3), [0; 0]);
        tokio::time::sleep(Duration::from_secs(61)).await;
        assert_eq!(renewals(&turns, 3), [0]);
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(renewals(&turns, 3), [0; 0]);
    }

    #[test]
    fn each_connection_has_a_session_of_its_own() {
        let turns = Turns::new(Rotation::Connection, "a");
        let session = |connection| {
            let mut wanted = Wanted::default();
            turns.assign(&mut wanted, connection);
            wanted.session.unwrap()
        };
        let (one, two) = (turns.connection(), turns.connection());
        assert_eq!(session(one), session(one));
        assert_ne!(session(one), session(two));
    }
}
