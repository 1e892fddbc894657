//! The places that are open, as they come and go while the gateway runs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proxywhirl_core::{EndpointKey, Snapshot};
use proxywhirl_engine::{Attempt, EscalationWords};
use proxywhirl_gateway::access::Access;
use proxywhirl_gateway::wanted::{Grammar, Wanted};
use proxywhirl_gateway::{Doorway, Drained, Gateway, GatewayConfig, Turns};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::spot::{At, Spot};
use super::{Entrance, Listener, Opened, Spots, in_one_line, listen, may_be_reached};
use crate::config::{PluginUse, Settings};
use crate::exit::{Exit, Failure};
use crate::socket_file::SocketFile;
use crate::wiring::Besides;

/// How long a place that was given up a moment ago may take to be free.
const FREED: Duration = Duration::from_secs(1);

/// The places where clients come in.
pub struct Entrances {
    /// Held for some instructions.
    state: Mutex<State>,
    /// Wakes who serves them when there are new ones.
    news: Notify,
}

struct State {
    gateway: Gateway,
    access: Arc<Access>,
    /// The strategies of listeners.
    besides: Besides,
    /// In the order of the configuration.
    open: Vec<Open>,
    /// Nobody comes in there any more, but some are still there.
    leaving: Vec<Open>,
    /// Those that nobody serves yet.
    waiting: Vec<Waiting>,
    opened: u64,
}

/// A place that is open.
#[derive(Clone)]
struct Open {
    /// Tells it from every other one that there ever was.
    id: u64,
    spot: Spot,
    place: String,
    is_exposed: bool,
    /// Where it is a Unix socket.
    file: Option<SocketFile>,
    turns: Arc<Turns>,
    doorway: Doorway,
    /// Cancelled when nobody shall come in any more.
    closed: CancellationToken,
}

impl Open {
    /// What commands call it. A port that the system has chosen is in no name that the settings give.
    fn name(&self) -> &str {
        match &self.spot.at {
            At::Tcp(address) if *address == self.spot.name && address.ends_with(":0") => &self.place,
            At::Tcp(_) | At::Unix(_) => &self.spot.name,
        }
    }

    /// Whether this is its name or address.
    fn is_called(&self, listener: &str) -> bool {
        self.spot.name == listener || self.place == listener
    }
}

/// A place that is listened at, and not yet served.
struct Waiting {
    id: u64,
    listener: Listener,
    doorway: Doorway,
    closed: CancellationToken,
}

/// Other places, ready to be put in force.
pub struct Change {
    access: Arc<Access>,
    places: Vec<Next>,
    /// Listeners whose certificate is another one, by their names.
    pub certificates: Vec<String>,
    /// Listeners where nobody could come in any more, as the file of their socket was gone or another one's: they listen anew. By
    /// their names.
    pub anew: Vec<String>,
}

enum Next {
    /// One that is open, by its number, as it is wanted now.
    Stays(u64, Box<Spot>),
    Comes(Box<Entrance>),
}

impl Change {
    /// Whether there is more to it than what the settings tell.
    #[must_use]
    pub const fn is_news(&self) -> bool {
        !self.certificates.is_empty() || !self.anew.is_empty()
    }
}

impl Entrances {
    /// The places that were opened, before this gateway.
    #[must_use]
    pub fn new(gateway: Gateway, opened: Opened, besides: Besides) -> Arc<Self> {
        let Opened { entrances, access } = opened;
        let (open, leaving, waiting) = (Vec::new(), Vec::new(), Vec::new());
        let mut state = State { gateway, access, besides, open, leaving, waiting, opened: 0 };
        for entrance in entrances {
            let open = state.begin(entrance);
            state.open.push(open);
        }
        state.tell_dialer();
        Arc::new(Self { state: Mutex::new(state), news: Notify::new() })
    }

    /// Where they are, in one line.
    #[must_use]
    pub fn places(&self) -> String {
        let state = self.state();
        let places = state.open.iter().map(|open| (open.name(), open.place.as_str()));
        in_one_line(&places.collect::<Vec<_>>())
    }

    /// Those that go through one proxy which is not in the pool, by their names, and that.
    #[must_use]
    pub fn lost(&self, pool: &Snapshot) -> Vec<(String, EndpointKey)> {
        let state = self.state();
        let bound = state.open.iter().filter_map(|open| Some((open.name(), open.spot.proxy()?)));
        let mut lost: Vec<_> = bound.map(|(name, proxy)| (name.to_owned(), proxy.clone())).collect();
        drop(state);
        // Each port of a range has the same name.
        lost.dedup();
        lost.retain(|(_, proxy)| !pool.holds(proxy));
        lost
    }

    /// Those where nobody can come in, as the file of their socket is gone or another one's: their names, and that file.
    #[must_use]
    pub fn cut_off(&self) -> Vec<(String, SocketFile)> {
        let state = self.state();
        let files = state.open.iter().filter_map(|open| Some((open.spot.name.clone(), open.file.clone()?)));
        let files: Vec<_> = files.collect();
        drop(state);
        files.into_iter().filter(|(_, file)| !file.is_there()).collect()
    }

    /// Those of this name or address, all of them without one: their names and addresses, and when requests there get another proxy.
    #[must_use]
    pub fn turns(&self, listener: Option<&str>) -> Vec<(String, String, Arc<Turns>)> {
        let told = |open: &Open| (open.name().to_owned(), open.place.clone(), Arc::clone(&open.turns));
        let is_meant = |open: &&Open| listener.is_none_or(|listener| open.is_called(listener));
        self.state().open.iter().filter(is_meant).map(told).collect()
    }

    /// How clients say what they want at the listener of this name or address, and what all of them want there.
    #[must_use]
    pub fn wanted(&self, listener: &str) -> Option<(Grammar, Wanted)> {
        let state = self.state();
        let meant = state.open.iter().find(|open| open.is_called(listener));
        meant.map(|open| open.spot.wanted(&state.besides))
    }

    /// The listeners that have strategies of their own, by their names, and those.
    #[must_use]
    pub fn strategies(&self) -> Vec<(String, PluginUse)> {
        let own = |open: &Open| Some((open.name().to_owned(), open.spot.strategy.clone()?));
        let mut own: Vec<_> = self.state().open.iter().filter_map(own).collect();
        // Each port of a range has the same name.
        own.dedup();
        own
    }

    /// The strategies of listeners.
    #[must_use]
    pub fn besides(&self) -> Besides {
        self.state().besides.clone()
    }

    /// Who may come in, and where clients may go.
    #[must_use]
    pub fn access(&self) -> Arc<Access> {
        Arc::clone(&self.state().access)
    }

    /// Where a client that knows nothing of this gateway can use it: without TLS and without a password.
    #[must_use]
    pub fn plain_address(&self) -> Option<String> {
        let state = self.state();
        let is_plain = |open: &&Open| matches!(open.spot.at, At::Tcp(_)) && open.spot.tls.is_none();
        state.open.iter().find(is_plain).filter(|_| state.access.is_open()).map(|open| open.place.clone())
    }

    /// Makes ready what the settings say, whose spots these are: listens where it is new. Nothing has changed then.
    ///
    /// # Errors
    /// As for [`open`](super::open).
    pub async fn prepare(&self, settings: &Settings, Spots(spots): Spots) -> Result<Change, Failure> {
        let (access, mut open, leaving) = {
            let state = self.state();
            (Arc::clone(&state.access), state.open.clone(), state.leaving.clone())
        };
        let given = &settings.access;
        let access = access.configured(given.users.clone(), given.clients.clone(), given.destinations.clone());
        let access = access.map_err(|why| Failure::new(Exit::Environment, why))?.with_login(given.login);
        let (mut places, mut exposed) = (Vec::new(), Vec::new());
        let (mut certificates, mut anew) = (Vec::new(), Vec::new());
        for spot in spots.iter().cloned() {
            let Some(at) = open.iter().position(|open| open.spot.is(&spot)).or_else(|| {
                // One of another name may be meant, unless somebody else is that one: of two with port 0, each stays itself.
                open.iter().position(|open| open.spot.at == spot.at && !spots.iter().any(|other| open.spot.is(other)))
            }) else {
                let entrance = comes(spot, &leaving).await?;
                exposed.extend(entrance.listener.is_exposed().then(|| entrance.place.clone()));
                places.push(Next::Comes(Box::new(entrance)));
                continue;
            };
            let before = open.remove(at);
            if before.file.as_ref().is_some_and(|file| !file.is_there()) {
                anew.push(spot.name.clone());
                places.push(Next::Comes(Box::new(listen(spot).await?)));
                continue;
            }
            exposed.extend(before.is_exposed.then_some(before.place));
            let print = |spot: &Spot| spot.tls.as_ref().map(|tls| tls.print);
            if before.spot.tls.is_some() && print(&before.spot) != print(&spot) && !certificates.contains(&spot.name) {
                certificates.push(spot.name.clone());
            }
            places.push(Next::Stays(before.id, Box::new(spot)));
        }
        may_be_reached(settings, exposed.iter().map(String::as_str))?;
        Ok(Change { access: Arc::new(access), places, certificates, anew })
    }

    /// Puts them in force, under this configuration. A place that is not wanted any more lets nobody in, and whoever is
    /// there goes on.
    pub fn put_in_force(&self, change: Change, besides: Besides, connect_timeout: Duration, config: GatewayConfig) {
        let mut state = self.state();
        state.besides = besides;
        let dialer = state.gateway.dialer().within(connect_timeout);
        state.gateway = state.gateway.configured(dialer, config);
        state.access = change.access;
        let mut before = std::mem::take(&mut state.open);
        for next in change.places {
            let open = match next {
                Next::Comes(entrance) => state.begin(*entrance),
                Next::Stays(id, spot) => {
                    let Some(at) = before.iter().position(|open| open.id == id) else { continue };
                    let mut open = before.remove(at);
                    if open.spot.rotation != spot.rotation {
                        open.turns = spot.turns();
                    }
                    open.spot = *spot;
                    state.renew(&open);
                    open
                }
            };
            state.open.push(open);
        }
        state.tell_dialer();
        for gone in before {
            gone.closed.cancel();
            state.leaving.push(gone);
        }
        // Who is there lives by the users and rules of now.
        state.leaving.iter().for_each(|open| state.renew(open));
        drop(state);
        self.news.notify_one();
    }

    /// How the tiers that attempts go through would be for a request now.
    #[must_use]
    pub fn tiers(&self, attempt: &Attempt<'_>, wanted: &Wanted) -> Vec<EscalationWords> {
        let gateway = self.state().gateway.clone();
        gateway.tiers(attempt, wanted)
    }

    /// Closes the connections to proxies that wait.
    pub fn close_idle(&self) {
        self.state().gateway.close_idle();
    }

    /// Serves the clients of all of them until the token is cancelled, then lets them finish.
    pub async fn serve(&self, shutdown: &CancellationToken) -> Drained {
        let mut serving = JoinSet::new();
        let mut all = Drained { ended: 0, cut: 0 };
        loop {
            for waiting in std::mem::take(&mut self.state().waiting) {
                serving.spawn(waiting.serve(shutdown.clone()));
            }
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(served) = serving.join_next() => self.ended(served, &mut all),
                () = self.news.notified() => {}
            }
        }
        while let Some(served) = serving.join_next().await {
            self.ended(served, &mut all);
        }
        all
    }

    fn ended(&self, served: Result<(u64, Drained), tokio::task::JoinError>, all: &mut Drained) {
        match served {
            Ok((id, drained)) => {
                all.ended += drained.ended;
                all.cut += drained.cut;
                self.state().leaving.retain(|open| open.id != id);
            }
            Err(error) => tracing::error!(%error, "a listener has panicked"),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Opens a place that is listened at.
    fn begin(&mut self, entrance: Entrance) -> Open {
        let Entrance { spot, place, listener } = entrance;
        self.opened += 1;
        let (id, turns, closed) = (self.opened, spot.turns(), CancellationToken::new());
        let door = spot.door(&place, &self.access, Arc::clone(&turns), &self.besides);
        let doorway = Doorway::new(self.gateway.behind(door));
        let (is_exposed, file) = (listener.is_exposed(), listener.file().cloned());
        self.waiting.push(Waiting { id, listener, doorway: doorway.clone(), closed: closed.clone() });
        Open { id, spot, place, is_exposed, file, turns, doorway, closed }
    }

    /// Whoever a list names where we listen would be asked through ourselves, round and round.
    fn tell_dialer(&self) {
        self.gateway.dialer().listens_at(self.open.iter().filter_map(|open| open.place.parse().ok()).collect());
    }

    fn renew(&self, open: &Open) {
        let door = open.spot.door(&open.place, &self.access, Arc::clone(&open.turns), &self.besides);
        open.doorway.change(self.gateway.behind(door));
    }
}

impl Waiting {
    async fn serve(self, stop: CancellationToken) -> (u64, Drained) {
        let Self { id, listener, doorway, closed } = self;
        let serving = async {
            match listener {
                Listener::Tcp(listener) => doorway.serve(listener, &closed, &stop).await,
                Listener::Unix(listener, bound) => {
                    // The file goes when nobody can come in any more, not when the last one has left.
                    let gone = async {
                        closed.cancelled().await;
                        drop(bound);
                    };
                    tokio::join!(doorway.serve_unix(listener, &closed, &stop), gone).0
                }
            }
        };
        let mut serving = std::pin::pin!(serving);
        tokio::select! {
            drained = &mut serving => return (id, drained),
            () = stop.cancelled() => closed.cancel(),
        }
        (id, serving.await)
    }
}

/// Listens at a place. One that was given up a moment ago may be so for a moment longer.
async fn comes(spot: Spot, leaving: &[Open]) -> Result<Entrance, Failure> {
    let is_leaving = leaving.iter().any(|open| open.spot.at == spot.at);
    let until = Instant::now() + FREED;
    loop {
        match listen(spot.clone()).await {
            Err(_) if is_leaving && Instant::now() < until => sleep(Duration::from_millis(10)).await,
            result => return result,
        }
    }
}
