//! The last requests, as they went, for who asks why.
//!
//! The place of a request is its number modulo the length, so it is found at no cost, and what was long ago is written
//! over. A place is locked for some instructions, by its request and by who reads it. Texts keep their room from one
//! request to the next, so a request that goes well allocates nothing here.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proxywhirl_core::select::Filter;
use proxywhirl_core::{Endpoint, Fault, Timestamp};
use serde::{Deserialize, Serialize};

use crate::engine::{Attempt, Completion, NoLease};
use crate::events::{FaultPayload, milliseconds};
use crate::strategy::Way;

/// Attempts that are remembered of a request.
const ATTEMPTS: usize = 32;

/// The longest text of a client that is remembered, in bytes.
const LONGEST: usize = 256;

/// A request as it went. Times are milliseconds from its first pick.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestRecord {
    /// Its number.
    pub request: u64,
    /// When it began: microseconds since the Unix epoch.
    pub began: u64,
    /// `http`, `connect`, `socks4`, `socks4a` or `socks5`; empty while it goes on.
    pub protocol: String,
    /// The HTTP method, or `CONNECT`; empty while it goes on.
    pub method: String,
    /// Host and port of the origin.
    pub target: String,
    /// What it demanded of a member, in words.
    pub wants: Vec<String>,
    /// Whether it belonged to a session.
    pub session: bool,
    /// The attempts, in the order in which they began.
    pub attempts: Vec<AttemptRecord>,
    /// Why it got no member, or no further one.
    pub nobody: Option<String>,
    /// The status that the client got.
    pub status: Option<u16>,
    /// From the request's head to the end of the answer; none while it goes on.
    pub duration_ms: Option<f64>,
    /// Why it failed.
    pub fault: Option<FaultPayload<'static>>,
}

/// One attempt of a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// Its number, from 1.
    pub number: u32,
    /// The member's URL, its password masked.
    pub proxy: String,
    /// Whether it was begun while another attempt was slow.
    #[serde(default)]
    pub hedge: bool,
    /// The tier that it was made in, where requests escalate.
    #[serde(default)]
    pub tier: Option<String>,
    /// How it was picked: `plan`, `site-plan`, `view-plan`, `select`, `in-turn`, `direct`, or `fallback-` and why.
    pub picked_by: String,
    /// When it was picked.
    pub picked_ms: f64,
    /// When what is told in `answered` or `fault` happened.
    pub ended_ms: Option<f64>,
    /// From the start of the dial to the first byte of the answer, or to the tunnel's opening.
    pub latency_ms: Option<f64>,
    /// Why it failed.
    pub fault: Option<FaultPayload<'static>>,
    /// Whether the failure counts against the member.
    pub counted: bool,
}

/// Which requests to tell of.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// So many at the most.
    pub limit: usize,
    /// Only those to this host.
    pub host: Option<String>,
    /// Only those that failed.
    pub failed: bool,
}

/// What came of an attempt.
#[derive(Debug)]
enum Came {
    Open,
    Answered { latency: Duration },
    Failed { fault: Fault, counted: bool },
}

#[derive(Debug)]
struct Try {
    number: u32,
    endpoint: Arc<Endpoint>,
    hedge: bool,
    tier: Option<Arc<str>>,
    way: Way,
    picked: Duration,
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
    filter: Option<Arc<Filter>>,
    session: bool,
    tries: Vec<Try>,
    nobody: Option<String>,
    status: Option<u16>,
    duration: Option<Duration>,
    fault: Option<Fault>,
}

/// The last requests.
#[derive(Debug)]
pub(crate) struct History {
    places: Box<[Mutex<Place>]>,
}

impl History {
    /// Remembers so many requests; 0 for none.
    pub(crate) fn new(length: usize) -> Self {
        Self { places: (0..length).map(|_| Mutex::default()).collect() }
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
        let Some(mut place) = self.begun(attempt, began) else { return };
        if place.tries.len() < ATTEMPTS {
            let picked = now.since(place.began);
            let endpoint = Arc::clone(endpoint);
            let Attempt { number, hedge, .. } = *attempt;
            let tier = attempt.tier.map(|tier| Arc::clone(tier.name));
            place.tries.push(Try { number, endpoint, hedge, tier, way, picked, ended: None, came: Came::Open });
        }
    }

    /// An attempt got none.
    pub(crate) fn nobody(&self, attempt: &Attempt<'_>, why: &NoLease, began: Timestamp) {
        if let Some(mut place) = self.begun(attempt, began) {
            place.nobody = Some(why.to_string());
        }
    }

    /// An attempt was answered.
    pub(crate) fn answered(&self, attempt: &Attempt<'_>, latency: Duration, now: Timestamp) {
        self.came(attempt, now, Came::Answered { latency });
    }

    /// An attempt failed; whether that counts against the member.
    pub(crate) fn failed(&self, attempt: &Attempt<'_>, fault: &Fault, counted: bool, now: Timestamp) {
        if !self.places.is_empty() {
            self.came(attempt, now, Came::Failed { fault: fault.clone(), counted });
        }
    }

    /// A failure counts against the member after all.
    pub(crate) fn convicted(&self, attempt: &Attempt<'_>) {
        let Some(mut place) = self.place_of(attempt.request) else { return };
        if let Some(Try { came: Came::Failed { counted, .. }, .. }) = place.attempt(attempt.number) {
            *counted = true;
        }
    }

    /// A request is over.
    pub(crate) fn over(&self, completion: &Completion<'_>) {
        let Some(mut place) = self.place_of(completion.request) else { return };
        place.protocol = completion.protocol;
        place.method.push_str(cut(completion.method));
        place.status = completion.status;
        place.duration = Some(completion.duration);
        place.fault = completion.fault.cloned();
    }

    /// A request by its number, if it is still remembered.
    pub(crate) fn get(&self, request: u64) -> Option<RequestRecord> {
        self.place_of(request).map(|place| place.record())
    }

    /// Requests up to this one, the newest first.
    pub(crate) fn last(&self, newest: u64, query: &Query) -> Vec<RequestRecord> {
        let oldest = newest.saturating_sub(self.places.len() as u64);
        let places = (oldest + 1..=newest).rev().filter_map(|request| self.place_of(request));
        places.filter(|place| place.is_meant(query)).take(query.limit).map(|place| place.record()).collect()
    }

    /// The place of a request that asks for a member; made anew when it asks for the first time.
    fn begun(&self, attempt: &Attempt<'_>, began: Timestamp) -> Option<MutexGuard<'_, Place>> {
        let mut place = self.lock(attempt.request)?;
        if place.request < attempt.request {
            place.begin(attempt, began);
        }
        // A request that is longer under way than all that are remembered has lost its place.
        (place.request == attempt.request).then_some(place)
    }

    fn came(&self, attempt: &Attempt<'_>, now: Timestamp, came: Came) {
        let Some(mut place) = self.place_of(attempt.request) else { return };
        let ended = now.since(place.began);
        if let Some(attempt) = place.attempt(attempt.number) {
            attempt.ended = Some(ended);
            attempt.came = came;
        }
    }

    fn place_of(&self, request: u64) -> Option<MutexGuard<'_, Place>> {
        self.lock(request).filter(|place| place.request == request)
    }

    fn lock(&self, request: u64) -> Option<MutexGuard<'_, Place>> {
        let length = self.places.len() as u64;
        let at = usize::try_from(request.checked_rem(length)?).ok()?;
        Some(self.places.get(at)?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Place {
    fn begin(&mut self, attempt: &Attempt<'_>, began: Timestamp) {
        self.request = attempt.request;
        self.began = began;
        self.protocol = "";
        self.method.clear();
        self.target.clear();
        self.target.push_str(cut(attempt.target));
        self.filter = attempt.filter.map(Arc::clone);
        self.session = attempt.session.is_some();
        self.tries.clear();
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
        is_there && (!query.failed || self.fault.is_some())
    }

    fn record(&self) -> RequestRecord {
        RequestRecord {
            request: self.request,
            began: self.began.as_micros(),
            protocol: self.protocol.to_owned(),
            method: self.method.clone(),
            target: self.target.clone(),
            wants: self.filter.as_deref().map(Filter::in_words).unwrap_or_default(),
            session: self.session,
            attempts: self.tries.iter().map(Try::record).collect(),
            nobody: self.nobody.clone(),
            status: self.status,
            duration_ms: self.duration.map(milliseconds),
            fault: self.fault.as_ref().map(|fault| FaultPayload::from(fault).into_owned()),
        }
    }
}

impl Try {
    fn record(&self) -> AttemptRecord {
        let (latency, fault, counted) = match &self.came {
            Came::Open => (None, None, false),
            Came::Answered { latency } => (Some(*latency), None, false),
            Came::Failed { fault, counted } => (None, Some(fault), *counted),
        };
        AttemptRecord {
            number: self.number,
            proxy: self.endpoint.to_string(),
            hedge: self.hedge,
            tier: self.tier.as_deref().map(str::to_owned),
            picked_by: self.way.as_str().to_owned(),
            picked_ms: milliseconds(self.picked),
            ended_ms: self.ended.map(milliseconds),
            latency_ms: latency.map(milliseconds),
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
