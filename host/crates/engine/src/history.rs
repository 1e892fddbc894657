//! The last requests, as they went, for who asks why.
//!
//! The place of a request is its number modulo the length, so it is found at no cost, and what was long ago is written
//! over. A place is locked for some instructions, by its request and by who reads it. Texts keep their room from one
//! request to the next, so a request that goes well allocates nothing here.
//!
//! Requests that were refused before anybody was picked have places and numbers of their own, so that a client that asks
//! without end for what it does not get pushes out nobody.

mod records;

use std::cmp::Reverse;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use proxywhirl_core::select::Filter;
use proxywhirl_core::time::micros;
use proxywhirl_core::{Endpoint, Fault, Timestamp};
use proxywhirl_net::stages::Stages;

use crate::engine::{Attempt, Completion, NoLease};
use crate::events::{FaultPayload, milliseconds};
use crate::strategy::Way;
pub use records::{AttemptRecord, BanRecord, Query, Refusal, RequestRecord};

/// Attempts that are remembered of a request.
const ATTEMPTS: usize = 32;

/// The first number of a request that was refused: no other one comes so far.
const FIRST_REFUSED: u64 = 1_000_000_000_000;

/// Refused requests that are remembered, if as many others are.
const REFUSED: usize = 1_000;

/// The longest text of a client that is remembered, in bytes.
const LONGEST: usize = 256;

/// What came of an attempt.
#[derive(Debug)]
enum Came {
    Open,
    Answered {
        latency: Duration,
    },
    /// With a latency when it had been answered: the answer broke off.
    Failed {
        fault: Fault,
        counted: bool,
        latency: Option<Duration>,
    },
}

impl Came {
    const fn latency(&self) -> Option<Duration> {
        match self {
            Self::Open => None,
            Self::Answered { latency } => Some(*latency),
            Self::Failed { latency, .. } => *latency,
        }
    }
}

#[derive(Debug)]
struct Try {
    number: u32,
    endpoint: Arc<Endpoint>,
    hedge: bool,
    tier: Option<Arc<str>>,
    way: Way,
    picked: Duration,
    stages: Stages,
    ended: Option<Duration>,
    came: Came,
}

/// A request in its place.
#[derive(Debug, Default)]
struct Place {
    /// 0 for none.
    request: u64,
    began: Timestamp,
    protocol: &'static str,
    method: String,
    target: String,
    /// Known when it is over, as what follows.
    user: Option<Arc<str>>,
    client: Option<SocketAddr>,
    listener: Option<Arc<str>>,
    filter: Option<Arc<Filter>>,
    /// That of its listener, where it is another one than that of the gateway.
    strategy: Option<Arc<str>>,
    session: bool,
    tries: Vec<Try>,
    bans: Vec<BanRecord>,
    refused: Option<String>,
    nobody: Option<String>,
    status: Option<u16>,
    duration: Option<Duration>,
    fault: Option<Fault>,
}

/// Places by number modulo their length.
type Places = Box<[Mutex<Place>]>;

/// The last requests.
#[derive(Debug)]
pub(crate) struct History {
    /// Replaced when another number of requests shall be remembered, as the other ones.
    served: ArcSwap<Places>,
    refused: ArcSwap<Places>,
    /// How many were refused.
    refusals: AtomicU64,
}

impl History {
    /// Remembers so many requests; 0 for none.
    pub(crate) fn new(length: usize) -> Self {
        Self {
            served: ArcSwap::from_pointee(empty(length)),
            refused: ArcSwap::from_pointee(empty(length.min(REFUSED))),
            refusals: AtomicU64::new(0),
        }
    }

    /// Remembers another number of requests from now on, of those before as many as have room. What is told of a request
    /// in this moment may be lost.
    pub(crate) fn resize(&self, length: usize) {
        resize(&self.served, length);
        resize(&self.refused, length.min(REFUSED));
    }

    /// An attempt got a member. `began` is when it asked.
    pub(crate) fn picked(
        &self,
        attempt: &Attempt<'_>,
        endpoint: &Arc<Endpoint>,
        way: Way,
        began: Timestamp,
        now: Timestamp,
    ) {
        self.begun(attempt, began, |place| {
            if place.tries.len() < ATTEMPTS {
                let picked = now.since(place.began);
                let endpoint = Arc::clone(endpoint);
                let Attempt { number, hedge, .. } = *attempt;
                let tier = attempt.tier.map(|tier| Arc::clone(tier.name));
                let (stages, ended, came) = (Stages::default(), None, Came::Open);
                if place.tries.capacity() == 0 {
                    // Most requests have one, and there are thousands of places.
                    place.tries.reserve_exact(1);
                }
                place.tries.push(Try { number, endpoint, hedge, tier, way, picked, stages, ended, came });
            }
        });
    }

    /// How far the attempt with this number came when.
    pub(crate) fn measured(&self, request: u64, number: u32, stages: Stages) {
        self.with(request, |place| {
            if let Some(attempt) = place.attempt(number) {
                attempt.stages = stages;
            }
        });
    }

    /// A rule about bans held.
    pub(crate) fn banned(&self, request: u64, ban: impl FnOnce() -> BanRecord) {
        self.with(request, |place| {
            if place.bans.len() < ATTEMPTS {
                place.bans.push(ban());
            }
        });
    }

    /// A request was refused.
    pub(crate) fn refused(&self, refusal: &Refusal<'_>, now: Timestamp) {
        let request = FIRST_REFUSED + self.refusals.fetch_add(1, Ordering::Relaxed);
        let places = self.refused.load();
        let Some(mut place) = place_in(&places, request).map(lock).filter(|place| place.request < request) else {
            return;
        };
        place.clear(request, now, refusal.target);
        place.protocol = refusal.protocol;
        place.method.push_str(cut(refusal.method));
        place.user = refusal.user.map(Arc::clone);
        place.client = refusal.client;
        place.listener = refusal.listener.map(Arc::clone);
        place.status = refusal.status;
        place.duration = Some(Duration::ZERO);
        place.refused = Some(cut(refusal.reason).to_owned());
    }

    /// An attempt got none.
    pub(crate) fn nobody(&self, attempt: &Attempt<'_>, why: &NoLease, began: Timestamp) {
        self.begun(attempt, began, |place| place.nobody = Some(why.to_string()));
    }

    /// An attempt was answered.
    pub(crate) fn answered(&self, attempt: &Attempt<'_>, latency: Duration, now: Timestamp) {
        self.came(attempt, now, |_| Came::Answered { latency });
    }

    /// An attempt failed; whether that counts against the member.
    pub(crate) fn failed(&self, attempt: &Attempt<'_>, fault: &Fault, counted: bool, now: Timestamp) {
        self.came(attempt, now, |before| Came::Failed { fault: fault.clone(), counted, latency: before.latency() });
    }

    /// An attempt was given up, or ended and says nothing of its member.
    pub(crate) fn ended(&self, attempt: &Attempt<'_>, now: Timestamp) {
        self.with(attempt.request, |place| {
            let ended = now.since(place.began);
            if let Some(attempt) = place.attempt(attempt.number) {
                attempt.ended.get_or_insert(ended);
            }
        });
    }

    /// A failure counts against the member after all.
    pub(crate) fn convicted(&self, attempt: &Attempt<'_>) {
        self.with(attempt.request, |place| {
            if let Some(Try { came: Came::Failed { counted, .. }, .. }) = place.attempt(attempt.number) {
                *counted = true;
            }
        });
    }

    /// A request is over. Of most the beginning is known, and nobody asks what time it is.
    pub(crate) fn over(&self, completion: &Completion<'_>, now: impl FnOnce() -> Timestamp) {
        // Its client may have broken it off before anybody was asked for.
        let begin = |place: &mut Place| {
            let began = now().as_micros().saturating_sub(micros(completion.duration));
            place.clear(completion.request, Timestamp::from_micros(began), completion.target);
        };
        self.tell(completion.request, begin, |place| {
            place.protocol = completion.protocol;
            place.method.push_str(cut(completion.method));
            place.user = completion.user.map(Arc::clone);
            place.client = completion.client;
            place.listener = completion.listener.map(Arc::clone);
            place.status = completion.status;
            place.duration = Some(completion.duration);
            place.fault = completion.fault.cloned();
        });
    }

    /// A request by its number, if it is still remembered.
    pub(crate) fn get(&self, request: u64) -> Option<RequestRecord> {
        self.with(request, |place| place.record())
    }

    /// Requests up to this one, and those that were refused, the newest first.
    pub(crate) fn last(&self, newest: u64, query: &Query) -> Vec<RequestRecord> {
        let refused = FIRST_REFUSED + self.refusals.load(Ordering::Relaxed);
        let mut records = self.among(&self.served, newest + 1, query);
        records.extend(self.among(&self.refused, refused, query));
        records.sort_by_key(|record| Reverse((record.began, record.request)));
        records.truncate(query.limit);
        records
    }

    /// Those of some places, below a number, the newest first.
    fn among(&self, places: &ArcSwap<Places>, end: u64, query: &Query) -> Vec<RequestRecord> {
        let length = places.load().len() as u64;
        let record = |place: &mut Place| place.is_meant(query).then(|| place.record());
        // None has the number 0.
        let numbers = (end.saturating_sub(length).max(1)..end).rev();
        numbers.filter_map(|request| self.with(request, record).flatten()).take(query.limit).collect()
    }

    /// Tells the place of a request that asks for a member; made anew when it asks for the first time.
    fn begun(&self, attempt: &Attempt<'_>, began: Timestamp, tell: impl FnOnce(&mut Place)) {
        self.tell(attempt.request, |place| place.begin(attempt, began), tell);
    }

    /// Tells of a request in its place, which is begun when nothing was told of it before.
    fn tell(&self, request: u64, begin: impl FnOnce(&mut Place), tell: impl FnOnce(&mut Place)) {
        let places = self.served.load();
        let Some(mut place) = place_in(&places, request).map(lock) else { return };
        if place.request < request {
            begin(&mut place);
        }
        // A request that is longer under way than all that are remembered has lost its place.
        if place.request == request {
            tell(&mut place);
        }
    }

    fn came(&self, attempt: &Attempt<'_>, now: Timestamp, came: impl FnOnce(&Came) -> Came) {
        self.with(attempt.request, |place| {
            let ended = now.since(place.began);
            if let Some(attempt) = place.attempt(attempt.number) {
                attempt.ended = Some(ended);
                attempt.came = came(&attempt.came);
            }
        });
    }

    /// What is known of a request, if it has not lost its place.
    fn with<T>(&self, request: u64, look: impl FnOnce(&mut Place) -> T) -> Option<T> {
        let places = self.places_of(request).load();
        let mut place = lock(place_in(&places, request)?);
        (place.request == request).then(|| look(&mut place))
    }

    /// The places among which that of a request is.
    const fn places_of(&self, request: u64) -> &ArcSwap<Places> {
        if request < FIRST_REFUSED { &self.served } else { &self.refused }
    }
}

fn resize(places: &ArcSwap<Places>, length: usize) {
    let old = places.load();
    if old.len() == length {
        return;
    }
    let new = empty(length);
    for place in old.iter() {
        let mut place = lock(place);
        let Some(there) = place_in(&new, place.request) else { continue };
        let mut there = lock(there);
        // The newer one of two that would stand in the same place.
        if there.request < place.request {
            *there = std::mem::take(&mut *place);
        }
    }
    places.store(Arc::new(new));
}

fn empty(length: usize) -> Places {
    (0..length).map(|_| Mutex::default()).collect()
}

fn place_in(places: &Places, request: u64) -> Option<&Mutex<Place>> {
    places.get(usize::try_from(request.checked_rem(places.len() as u64)?).ok()?)
}

fn lock(place: &Mutex<Place>) -> MutexGuard<'_, Place> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Place {
    fn begin(&mut self, attempt: &Attempt<'_>, began: Timestamp) {
        self.clear(attempt.request, began, attempt.target);
        self.filter = attempt.filter.map(Arc::clone);
        self.strategy = attempt.by.map(|beside| Arc::clone(beside.name()));
        self.session = attempt.session.is_some();
    }

    fn clear(&mut self, request: u64, began: Timestamp, target: &str) {
        self.request = request;
        self.began = began;
        self.protocol = "";
        self.method.clear();
        self.target.clear();
        self.target.push_str(cut(target));
        self.user = None;
        self.client = None;
        self.listener = None;
        self.filter = None;
        self.strategy = None;
        self.session = false;
        self.tries.clear();
        self.bans.clear();
        self.refused = None;
        self.nobody = None;
        self.status = None;
        self.duration = None;
        self.fault = None;
    }

    fn attempt(&mut self, number: u32) -> Option<&mut Try> {
        self.tries.iter_mut().find(|attempt| attempt.number == number)
    }

    fn is_meant(&self, query: &Query) -> bool {
        let host = || self.target.rsplit_once(':').map_or(self.target.as_str(), |(host, _)| host);
        let is_there = query.host.as_ref().is_none_or(|wanted| host().eq_ignore_ascii_case(wanted));
        is_there && (!query.failed || self.fault.is_some() || self.refused.is_some())
    }

    fn record(&self) -> RequestRecord {
        RequestRecord {
            request: self.request,
            began: self.began.as_micros(),
            protocol: self.protocol.to_owned(),
            method: self.method.clone(),
            target: self.target.clone(),
            user: self.user.as_deref().map(str::to_owned),
            client: self.client,
            listener: self.listener.as_deref().map(str::to_owned),
            wants: self.filter.as_deref().map(Filter::in_words).unwrap_or_default(),
            strategy: self.strategy.as_deref().map(str::to_owned),
            session: self.session,
            attempts: self.tries.iter().map(Try::record).collect(),
            bans: self.bans.clone(),
            refused: self.refused.clone(),
            nobody: self.nobody.clone(),
            status: self.status,
            duration_ms: self.duration.map(milliseconds),
            fault: self.fault.as_ref().map(|fault| FaultPayload::from(fault).into_owned()),
        }
    }
}

impl Try {
    fn record(&self) -> AttemptRecord {
        let (fault, counted) = match &self.came {
            Came::Open | Came::Answered { .. } => (None, false),
            Came::Failed { fault, counted, .. } => (Some(fault), *counted),
        };
        let after = |stage: Option<Duration>| stage.map(|stage| milliseconds(self.picked + stage));
        AttemptRecord {
            number: self.number,
            proxy: self.endpoint.to_string(),
            hedge: self.hedge,
            tier: self.tier.as_deref().map(str::to_owned),
            picked_by: self.way.as_str().to_owned(),
            picked_ms: milliseconds(self.picked),
            dialled_ms: after(self.stages.dialled),
            ready_ms: after(self.stages.ready),
            sent_ms: after(self.stages.sent),
            ended_ms: self.ended.map(milliseconds),
            latency_ms: self.came.latency().map(milliseconds),
            fault: fault.map(|fault| FaultPayload::from(fault).into_owned()),
            counted,
        }
    }
}

/// The beginning of what may be long.
fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(LONGEST)).unwrap_or(text)
}

#[cfg(test)]
mod tests;
