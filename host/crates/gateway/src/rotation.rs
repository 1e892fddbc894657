//! When requests that name no session get another member: with each request, or less often, or whether they stick by their
//! client or their destination.
//!
//! Between two turns, the requests of a door (or of a client, or to a site) are one session, which the host keeps with its member; a turn begins it anew,
//! with another member. So a connection that is kept alive rotates as any other does, and a member that fails is replaced at
//! once, whatever the rotation is.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use proxywhirl_core::member::mix;
use proxywhirl_core::select::Stick;
use proxywhirl_engine::registrable;
use proxywhirl_net::Target;
use tokio::time::Instant;

use crate::wanted::{Wanted, in_words, session_hash};

/// The connections that there were.
static CONNECTIONS: AtomicU64 = AtomicU64::new(0);

/// A number of this process, and of no other: nobody has the session of one of its connections again.
static OWN: LazyLock<u64> = LazyLock::new(|| fastrand::u64(..));

/// A number for a connection, which no other one has, though doors are configured anew while it lasts.
pub(crate) fn connection() -> u64 {
    CONNECTIONS.fetch_add(1, Ordering::Relaxed)
}

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
    /// Each client, by its address (of IPv6, by its network), sticks to a member as sessions do.
    Client,
    /// So does each site, for all clients.
    Destination,
    /// All who come in by this port stick to a member together, as sessions do.
    Port,
}

/// Clients or sites whose turns are remembered. With more, some begin anew once more than they were told to.
const MAX_TURNED: usize = 65_536;

/// What a request that names no session is told by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin<'a> {
    /// The number of its connection.
    pub(crate) connection: u64,
    /// The number of its client's address; 0 where it has none.
    pub(crate) client: u64,
    /// Host and port that it is for.
    pub(crate) target: &'a Target,
    /// Hash of what it says of the members that it may have, 0 for nothing: with other words, its session is another one.
    pub(crate) words: u64,
}

/// The turns of a door.
#[derive(Debug)]
pub struct Turns {
    rotation: Rotation,
    /// The session of the door's requests between two turns.
    session: u64,
    requests: AtomicU64,
    /// When the turns began that are taken after so long, and how many there were before.
    period: Mutex<(Instant, u64)>,
    /// Turns by command, where it is neither requests nor time that make one.
    commanded: AtomicU64,
    /// The turn of which a request has begun the session.
    begun: AtomicU64,
    /// The turn of which each client or site has begun its session, once there was a command.
    turned: Mutex<HashMap<u64, u64>>,
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
            requests: AtomicU64::new(0),
            period: Mutex::new((Instant::now(), 0)),
            commanded: AtomicU64::new(0),
            begun: AtomicU64::new(0),
            turned: Mutex::default(),
        }
    }

    /// Makes the next request get another member, for a whole turn. False when each request gets one anyhow.
    pub fn turn(&self) -> bool {
        // Relaxed, as all of them here: numbers that stand for themselves.
        match self.rotation {
            Rotation::Request => return false,
            Rotation::Requests(most) => {
                let most = most.max(1);
                let next = |requests: u64| Some((requests / most).saturating_add(1).saturating_mul(most));
                // It never says no.
                self.requests.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).unwrap_or_default();
            }
            Rotation::Every(pause) => {
                let mut period = self.period.lock().unwrap_or_else(PoisonError::into_inner);
                *period = (Instant::now(), turns_since(*period, pause).saturating_add(1));
            }
            Rotation::Connection | Rotation::Failure | Rotation::Client | Rotation::Destination | Rotation::Port => {
                self.commanded.fetch_add(1, Ordering::Relaxed);
            }
        }
        true
    }

    /// Gives a request that names none its session. True when that is to begin anew.
    pub(crate) fn assign(&self, wanted: &mut Wanted, of: Origin<'_>) -> bool {
        if wanted.session.is_some() {
            return false;
        }
        let turn = match self.rotation {
            Rotation::Request => return false,
            Rotation::Requests(most) => self.requests.fetch_add(1, Ordering::Relaxed) / most.max(1),
            Rotation::Every(pause) => turns_since(*self.period.lock().unwrap_or_else(PoisonError::into_inner), pause),
            Rotation::Connection => {
                let own = mix(self.session ^ mix(of.connection ^ *OWN));
                wanted.session = Some(in_words(own.max(1), of.words));
                return false;
            }
            Rotation::Client => return self.stick(wanted, of.client, of.words),
            Rotation::Destination => {
                return self.stick(wanted, session_hash(registrable(&of.target.to_string())), of.words);
            }
            Rotation::Port => return self.stick(wanted, 0, of.words),
            Rotation::Failure => 0,
        };
        let session = in_words(self.session, of.words);
        wanted.session = Some(session);
        let turn = turn.wrapping_add(self.commanded.load(Ordering::Relaxed));
        wanted.stick = Stick { lifetime: wanted.stick.lifetime.or(Some(FOR_GOOD)), ..wanted.stick };
        if session == self.session { self.begins(turn) } else { self.is_turned(session, turn) }
    }

    /// Whether a turn begins with this request. Of two that come at once at the edge, the later number may be there first.
    fn begins(&self, turn: u64) -> bool {
        self.begun.fetch_max(turn, Ordering::Relaxed) < turn
    }

    /// Gives a request the session of its client, site or port. True when that is to begin anew.
    fn stick(&self, wanted: &mut Wanted, whose: u64, words: u64) -> bool {
        let session = in_words(mix(self.session ^ mix(whose)).max(1), words);
        wanted.session = Some(session);
        self.is_turned(session, self.commanded.load(Ordering::Relaxed))
    }

    /// Whether a session, one of several of this door, has not begun this turn yet. The first one begins by itself.
    fn is_turned(&self, session: u64, turn: u64) -> bool {
        if turn == 0 {
            return false;
        }
        let mut turned = self.turned.lock().unwrap_or_else(PoisonError::into_inner);
        if turned.len() >= MAX_TURNED && !turned.contains_key(&session) {
            turned.clear();
        }
        let begun = turned.entry(session).or_default();
        let is_new = *begun < turn;
        *begun = turn.max(*begun);
        is_new
    }
}

/// How many turns there were when a period of them has begun then, after so many others.
fn turns_since((began, before): (Instant, u64), pause: Duration) -> u64 {
    let turns = began.elapsed().as_nanos() / pause.as_nanos().max(1);
    before.saturating_add(u64::try_from(turns).unwrap_or(u64::MAX))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn shop() -> Target {
        target("shop.test", 443)
    }

    fn target(host: &str, port: u16) -> Target {
        crate::ingress::target(host, port).unwrap()
    }

    fn by(connection: u64, target: &Target) -> Origin<'_> {
        Origin { connection, client: 1, target, words: 0 }
    }

    #[test]
    fn clients_and_sites_stick_until_told_otherwise() {
        let (www, api, other) = (target("www.shop.test", 443), target("api.shop.test", 80), target("other.test", 443));
        let of = |turns: &Turns, client, target| {
            let mut wanted = Wanted::default();
            let is_new = turns.assign(&mut wanted, Origin { connection: client, client, target, words: 0 });
            (wanted.session.unwrap(), is_new)
        };
        let clients = Turns::new(Rotation::Client, "a");
        assert_eq!(of(&clients, 7, &www), of(&clients, 7, &other));
        assert_ne!(of(&clients, 7, &www), of(&clients, 8, &www));
        let sites = Turns::new(Rotation::Destination, "a");
        assert_eq!(of(&sites, 7, &www), of(&sites, 8, &api));
        assert_ne!(of(&sites, 7, &www), of(&sites, 7, &other));
        assert_ne!(of(&sites, 7, &www), of(&Turns::new(Rotation::Destination, "b"), 7, &www));
        let (session, is_new) = of(&clients, 7, &www);
        assert!(!is_new && clients.turn());
        assert_eq!([of(&clients, 7, &www), of(&clients, 7, &www)], [(session, true), (session, false)]);
        assert!(of(&clients, 8, &www).1, "each of them");
    }

    #[test]
    fn a_port_is_one_session_until_told_otherwise() {
        let (turns, other) = (Turns::new(Rotation::Port, "a:1"), Turns::new(Rotation::Port, "a:2"));
        let of = |turns: &Turns, client| {
            let mut wanted = Wanted::default();
            let is_new = turns.assign(&mut wanted, Origin { connection: client, client, target: &shop(), words: 0 });
            // It lasts as long as any other session.
            assert_eq!(wanted.stick, Stick::default());
            (wanted.session.unwrap(), is_new)
        };
        assert_eq!(of(&turns, 7), of(&turns, 8));
        assert_ne!(of(&turns, 7), of(&other, 7));
        assert!(turns.turn());
        assert_eq!([of(&turns, 7).1, of(&turns, 8).1, of(&other, 7).1], [true, false, false]);
    }

    /// Which of so many requests begin the session anew.
    fn renewals(turns: &Turns, requests: usize) -> Vec<usize> {
        let renews = |_: &usize| {
            let mut wanted = Wanted::default();
            let is_new = turns.assign(&mut wanted, by(0, &shop()));
            assert_eq!(wanted.session, Some(turns.session));
            is_new
        };
        (0..requests).filter(renews).collect()
    }

    #[test]
    fn with_each_request_there_is_no_session_unless_the_client_names_one() {
        let turns = Turns::default();
        let mut wanted = Wanted::default();
        turns.assign(&mut wanted, by(0, &shop()));
        assert_eq!(wanted, Wanted::default());
        assert!(!turns.turn());
        let own = Wanted { session: Some(7), ..Wanted::default() };
        let mut wanted = own.clone();
        Turns::new(Rotation::Requests(1), "a").assign(&mut wanted, by(0, &shop()));
        assert_eq!(wanted, own);
    }

    #[test]
    fn every_so_many_requests_or_when_told() {
        let turns = Turns::new(Rotation::Requests(3), "a");
        assert_eq!(renewals(&turns, 10), [3, 6, 9]);
        assert!(turns.turn());
        assert_eq!(renewals(&turns, 4), [0, 3]);
        let turns = Turns::new(Rotation::Failure, "a");
        assert_eq!(renewals(&turns, 10), [0; 0]);
        turns.turn();
        assert_eq!(renewals(&turns, 10), [0]);
    }

    #[test]
    fn who_says_other_words_about_members_has_another_session() {
        let of = |turns: &Turns, words| {
            let mut wanted = Wanted::default();
            let is_new = turns.assign(&mut wanted, Origin { words, ..by(1, &shop()) });
            (wanted.session.unwrap(), is_new)
        };
        for rotation in
            [Rotation::Client, Rotation::Destination, Rotation::Port, Rotation::Failure, Rotation::Connection]
        {
            let turns = Turns::new(rotation, "a");
            let [none, one, other] = [0, 3, 4].map(|words| of(&turns, words));
            assert!(none.0 != one.0 && one.0 != other.0 && none.0 != other.0, "{rotation:?}");
            assert_eq!([0, 3, 4].map(|words| of(&turns, words)), [none, one, other], "{rotation:?}");
            turns.turn();
            let is_new = [0, 3, 4, 3].map(|words| of(&turns, words).1);
            assert_eq!(is_new, [true, true, true, false].map(|is_new| is_new && rotation != Rotation::Connection));
        }
    }

    #[test]
    fn a_turn_begins_once_whichever_request_comes_first() {
        let turns = Turns::new(Rotation::Requests(10), "a");
        // Number 11 overtakes number 10.
        assert_eq!(
            [1, 0, 1, 2, 1, 0, 2].map(|turn| turns.begins(turn)),
            [true, false, false, true, false, false, false]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_by_command_lasts_as_long_as_any() {
        let requests = Turns::new(Rotation::Requests(4), "a");
        assert_eq!(renewals(&requests, 2), [0; 0]);
        requests.turn();
        assert_eq!(renewals(&requests, 9), [0, 4, 8]);
        let every = Turns::new(Rotation::Every(Duration::from_mins(1)), "a");
        tokio::time::sleep(Duration::from_secs(50)).await;
        every.turn();
        assert_eq!(renewals(&every, 3), [0]);
        tokio::time::sleep(Duration::from_secs(50)).await;
        assert_eq!(renewals(&every, 3), [0; 0]);
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(renewals(&every, 3), [0]);
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
    fn each_connection_has_a_session_of_its_own_though_its_door_is_made_anew() {
        let turns = [Turns::new(Rotation::Connection, "a"), Turns::new(Rotation::Connection, "a")];
        let session = |door: usize, connection| {
            let mut wanted = Wanted::default();
            turns[door].assign(&mut wanted, by(connection, &shop()));
            wanted.session.unwrap()
        };
        let (one, two) = (connection(), connection());
        assert_eq!(session(0, one), session(1, one));
        assert_ne!(session(0, one), session(1, two));
    }
}
