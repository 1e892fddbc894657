//! Delivery: which batch is sent when, and what follows.
//!
//! One batch is under way at a time. What follows an answer is one table, [`Verdict::of`]. A call ends
//! once it has taken [`PATIENCE`], so that the longest request after that still fits into the time that
//! the host gives it.

use crate::batch::Batch;
use crate::letters;
use crate::options::Settings;
use crate::sign;
use crate::waiting::{Waiter, Waiting};
use proxywhirl_plugin_sdk::hook::Event;
use proxywhirl_plugin_sdk::http::{self, Request, Response};
use proxywhirl_plugin_sdk::{clock, log, metrics, random};
use serde::{Deserialize, Serialize};

/// In microseconds: requests begin only before a call has taken so long.
const PATIENCE: u64 = 1_000_000;

/// Requests in one call: below what the host allows in a burst.
const MAX_REQUESTS: usize = 10;

/// How long to wait when the host says that it was too many requests, in microseconds.
const RATE_PAUSE: u64 = 1_000_000;

/// What the host hands over.
const MAX_SAVED: usize = 4 << 20;

/// What follows an answer, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Delivered,
    /// Later, perhaps; after so many seconds if the server says.
    Again(Option<u64>),
    /// It was not sent: the host wants fewer requests.
    Paused,
    /// It will never be taken.
    Never,
}

impl Verdict {
    fn of(answer: &Result<Response, http::Error>) -> Self {
        match answer {
            Ok(answer) if answer.is_success() => Self::Delivered,
            Ok(answer) if matches!(answer.status, 408 | 425 | 429 | 500..=599) => {
                Self::Again(answer.first("retry-after").and_then(|seconds| seconds.trim().parse().ok()))
            }
            // It was taken, but its answer is larger than the host reads: nothing says that it failed.
            Err(http::Error::Size) => Self::Delivered,
            Err(http::Error::Timeout | http::Error::Unreachable(_)) => Self::Again(None),
            Err(http::Error::Rate) => Self::Paused,
            Ok(_) | Err(http::Error::Denied(_) | http::Error::Invalid(_)) => Self::Never,
        }
    }
}

/// What is handed over to the next version.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    version: u32,
    batch: Option<Batch>,
    waiting: Vec<Waiter>,
}

/// Everything on its way.
#[derive(Debug)]
pub(crate) struct Delivery {
    settings: Settings,
    waiting: Waiting,
    batch: Option<Batch>,
    /// Whether dead letters may be there, and the server takes what it gets.
    replays: bool,
    /// Whether the last request failed; for the log.
    is_failing: bool,
}

impl Delivery {
    pub(crate) fn new(settings: Settings) -> Self {
        Self { settings, waiting: Waiting::default(), batch: None, replays: false, is_failing: false }
    }

    /// Takes events in.
    pub(crate) fn take(&mut self, events: &[Event]) {
        let now = clock::now();
        let dropped: usize = events.iter().map(|event| self.waiting.push(event, now)).sum();
        self.tell_dropped(dropped);
    }

    /// Sends what is due, and all that waits when it is `quiet`: nothing will fill the batch soon, and
    /// the host may be about to end.
    pub(crate) fn run(&mut self, quiet: bool) {
        let began = clock::now();
        for _ in 0..MAX_REQUESTS {
            let now = clock::now();
            if now.saturating_sub(began) >= PATIENCE || !self.step(now, quiet) {
                break;
            }
        }
        metrics::gauge("events_waiting", &[], self.waiting.len() as f64);
    }

    /// Sends one thing; false when nothing is due.
    fn step(&mut self, now: u64, quiet: bool) -> bool {
        let Settings { batch, max_age, .. } = self.settings;
        let max_age = if quiet { 0 } else { max_age };
        if self.batch.is_none() && self.waiting.is_due(batch, max_age, now) {
            self.batch = Some(Batch::new(&self.waiting.take(batch), now));
        }
        match self.batch.take() {
            Some(batch) if now >= batch.due => self.deliver(batch, now),
            Some(batch) => {
                self.batch = Some(batch);
                false
            }
            None => self.replays && self.replay(),
        }
    }

    /// One attempt; false when the next thing has to wait.
    fn deliver(&mut self, mut batch: Batch, now: u64) -> bool {
        let answer = self.send(&batch.id, &batch.body, batch.failed.saturating_add(1));
        let verdict = Verdict::of(&answer);
        match verdict {
            Verdict::Delivered => {
                metrics::count("events_sent_total", &[], batch.events as u64);
                self.succeed();
                return true;
            }
            Verdict::Paused => batch.due = now.saturating_add(RATE_PAUSE),
            Verdict::Never => {
                let line = format!("{} refuses batch {}: {}", self.settings.server, batch.id, said(&answer));
                // Once, and not for each batch that follows.
                if self.is_failing {
                    log::debug(line)
                } else {
                    log::error(line)
                }
                self.bury(&batch);
                return true;
            }
            Verdict::Again(_) if batch.failed >= self.settings.retries => {
                let attempts = batch.failed.saturating_add(1);
                log::error(format_args!("batch {} given up after {attempts} attempts: {}", batch.id, said(&answer)));
                self.bury(&batch);
                return true;
            }
            Verdict::Again(wanted) => {
                let pause = self.pause(batch.failed, wanted);
                if !self.is_failing {
                    let (server, seconds) = (&self.settings.server, pause as f64 / 1e6);
                    log::warn(format_args!("{server} cannot be told: {}; again in {seconds:.1} s", said(&answer)));
                }
                self.is_failing = true;
                batch.failed = batch.failed.saturating_add(1);
                batch.due = now.saturating_add(pause);
            }
        }
        self.batch = Some(batch);
        false
    }

    /// Sends the oldest dead letter; false when there is none, or it has to wait for the next success.
    fn replay(&mut self) -> bool {
        self.replays = false;
        let (id, body, letters) = match letters::oldest() {
            Ok(Some(letter)) => letter,
            Ok(None) => {
                metrics::gauge("dead_letters", &[], 0.0);
                return false;
            }
            Err(error) => {
                log::debug(format_args!("dead letters cannot be read: {error}"));
                return false;
            }
        };
        let answer = self.send(&id, &body, 0);
        match Verdict::of(&answer) {
            Verdict::Delivered => metrics::count("batches_replayed_total", &[], 1),
            Verdict::Never => {
                log::warn(format_args!("dead letter {id} is refused and dropped: {}", said(&answer)));
                metrics::count("letters_dropped_total", &[], 1);
            }
            Verdict::Again(_) | Verdict::Paused => return false,
        }
        letters::forget(&id);
        metrics::gauge("dead_letters", &[], letters.saturating_sub(1) as f64);
        self.replays = true;
        true
    }

    fn send(&self, id: &str, body: &str, attempt: u32) -> Result<Response, http::Error> {
        let began = clock::now();
        let Settings { url, secret, headers, timeout, .. } = &self.settings;
        let mut request = Request::post(url, body.as_bytes().to_vec())
            .header("Content-Type", "application/json")
            .header("ProxyWhirl-Delivery", id)
            .header("ProxyWhirl-Attempt", &attempt.to_string())
            .within(*timeout);
        let seconds = began / 1_000_000;
        if let Some(value) = secret.as_ref().and_then(|secret| sign::header(secret, seconds, body.as_bytes())) {
            request = request.header("ProxyWhirl-Signature", &value);
        }
        let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        let answer = http::send(request);
        metrics::observe("request_duration_seconds", &[], clock::now().saturating_sub(began) as f64 / 1e6);
        if Verdict::of(&answer) != Verdict::Delivered {
            metrics::count("requests_failed_total", &[("reason", reason(&answer))], 1);
        }
        answer
    }

    fn succeed(&mut self) {
        if self.is_failing {
            log::info(format_args!("{} is told again", self.settings.server));
        }
        self.is_failing = false;
        self.replays = true;
    }

    /// Makes a batch a dead letter.
    fn bury(&mut self, batch: &Batch) {
        self.is_failing = true;
        let kept = letters::keep(&batch.id, &batch.body, self.settings.dead_letters);
        if kept.stored {
            metrics::count("batches_dead_total", &[], 1);
        } else {
            self.tell_dropped(batch.events);
        }
        if kept.dropped > 0 {
            log::warn(format_args!("{} old dead letters dropped for newer ones", kept.dropped));
            metrics::count("letters_dropped_total", &[], kept.dropped);
        }
        metrics::gauge("dead_letters", &[], letters::count() as f64);
    }

    /// Microseconds until the next attempt: half of it fixed, half of it by chance.
    fn pause(&self, failed: u32, wanted: Option<u64>) -> u64 {
        let Settings { backoff, max_backoff, .. } = self.settings;
        let full = backoff.saturating_mul(1_u64.checked_shl(failed).unwrap_or(u64::MAX)).min(max_backoff);
        let wanted = wanted.map_or(0, |seconds| seconds.saturating_mul(1_000_000).min(max_backoff));
        (full / 2 + random::next() % (full / 2 + 1)).max(wanted)
    }

    fn tell_dropped(&self, events: usize) {
        if events > 0 {
            log::warn(format_args!("{events} events dropped: too large, or too many wait"));
            metrics::count("events_dropped_total", &[], events as u64);
        }
    }

    pub(crate) fn save(&self) -> Vec<u8> {
        let waiting = self.waiting.iter().cloned().collect();
        let mut state = State { version: 1, batch: self.batch.clone(), waiting };
        loop {
            let saved = serde_json::to_vec(&state).unwrap_or_default();
            if saved.len() <= MAX_SAVED || state.waiting.is_empty() {
                return saved;
            }
            // Texts within texts take up to twice as much: the newer half fits.
            let newer = state.waiting.split_off(state.waiting.len().div_ceil(2));
            self.tell_dropped(std::mem::replace(&mut state.waiting, newer).len());
        }
    }

    pub(crate) fn restore(&mut self, state: &[u8]) -> Result<(), String> {
        if state.is_empty() {
            return Ok(());
        }
        let state: State = serde_json::from_slice(state).map_err(|error| format!("saved state: {error}"))?;
        if state.version != 1 {
            return Err(format!("saved state of version {}, but this one reads 1", state.version));
        }
        let dropped = state.waiting.into_iter().map(|waiter| self.waiting.put(waiter)).sum();
        self.tell_dropped(dropped);
        self.batch = state.batch;
        Ok(())
    }
}

/// An answer in words.
fn said(answer: &Result<Response, http::Error>) -> String {
    match answer {
        Ok(answer) => format!("it answers {}", answer.status),
        Err(error) => error.to_string(),
    }
}

/// An answer as a metric's label.
const fn reason(answer: &Result<Response, http::Error>) -> &'static str {
    match answer {
        Ok(Response { status: 400..=499, .. }) => "client_error",
        Ok(Response { status: 500..=599, .. }) => "server_error",
        Ok(_) => "status",
        Err(http::Error::Denied(_)) => "denied",
        Err(http::Error::Rate) => "rate",
        Err(http::Error::Invalid(_)) => "invalid",
        Err(http::Error::Size) => "size",
        Err(http::Error::Timeout) => "timeout",
        Err(http::Error::Unreachable(_)) => "unreachable",
    }
}
