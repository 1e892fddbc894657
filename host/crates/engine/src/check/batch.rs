//! Many checks at once, as a stream.
//!
//! Each check is a task of its own, so that all processors take part. A new one begins only while the runtime keeps up:
//! checks that wait for a processor would report that wait as the proxies' latency, and would delay whoever else uses the
//! runtime. Nobody's host gets more than a few at a time.
//!
//! Invariants: every candidate comes back exactly once; never more are under way than the checker's concurrency, and of
//! one host no more than its share.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use futures_util::future::BoxFuture;
use proxywhirl_core::{Candidate, Host, Level};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Checked, Checker};

/// The runtime is behind when a task that could run at once waits for so long.
const BEHIND: Duration = Duration::from_micros(500);

/// How long to rest while it is behind.
const REST: Duration = Duration::from_millis(1);

/// How often at the most: on a machine that is busy with other things checks are slow, and do not stop.
const RESTS: usize = 50;

/// Checks that are begun between two looks at whether the runtime keeps up.
const BETWEEN: usize = 8;

/// Checks under way, and candidates that wait for theirs.
pub struct Checks<I> {
    shared: Option<Work<I>>,
    /// The next result, and the work goes on with it.
    next: Option<BoxFuture<'static, (Work<I>, Option<Checked>)>>,
}

struct Work<I> {
    checker: Checker,
    candidates: I,
    level: Level,
    under_way: JoinSet<(Option<Host>, Checked)>,
    /// How many of each host are under way.
    busy: HashMap<Host, usize>,
    /// Candidates that wait for others of their host, by host.
    waiting: HashMap<Host, VecDeque<Candidate>>,
    /// Those among them whose turn it is.
    ready: VecDeque<Candidate>,
    begun: usize,
}

impl<I> std::fmt::Debug for Checks<I> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checks").finish_non_exhaustive()
    }
}

impl<I: Iterator<Item = Candidate>> Checks<I> {
    pub(super) fn new(checker: Checker, candidates: I, level: Level) -> Self {
        let work = Work {
            checker,
            candidates,
            level,
            under_way: JoinSet::new(),
            busy: HashMap::new(),
            waiting: HashMap::new(),
            ready: VecDeque::new(),
            begun: 0,
        };
        Self { shared: Some(work), next: None }
    }
}

impl<I: Iterator<Item = Candidate> + Send + Unpin + 'static> Stream for Checks<I> {
    type Item = Checked;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Checked>> {
        if let Some(work) = self.shared.take() {
            self.next = Some(Box::pin(work.next()));
        }
        let Some(next) = &mut self.next else { return Poll::Ready(None) };
        match next.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready((work, checked)) => {
                self.next = None;
                // At the end there is no more work.
                self.shared = checked.is_some().then_some(work);
                Poll::Ready(checked)
            }
        }
    }
}

impl<I: Iterator<Item = Candidate>> Work<I> {
    /// Begins what may begin, and waits for the first that is done.
    async fn next(mut self) -> (Self, Option<Checked>) {
        let most = self.checker.config.concurrency.max(1);
        loop {
            while self.under_way.len() < most {
                let Some(candidate) = self.candidate() else { break };
                self.begin(candidate).await;
            }
            match self.under_way.join_next().await {
                Some(Ok((host, checked))) => {
                    self.leave(host);
                    return (self, Some(checked));
                }
                Some(Err(error)) => {
                    // Its candidate is lost: nothing is known of it.
                    tracing::error!(error = %error, "a check has panicked");
                }
                None => return (self, None),
            }
        }
    }

    /// The next whose host has room.
    fn candidate(&mut self) -> Option<Candidate> {
        if let Some(candidate) = self.ready.pop_front() {
            return Some(candidate);
        }
        loop {
            let candidate = self.candidates.next()?;
            let Some(host) = counted(&candidate) else { return Some(candidate) };
            let busy = self.busy.entry(host.clone()).or_default();
            if *busy < self.checker.config.per_host.max(1) {
                *busy += 1;
                return Some(candidate);
            }
            self.waiting.entry(host).or_default().push_back(candidate);
        }
    }

    async fn begin(&mut self, candidate: Candidate) {
        if self.begun.is_multiple_of(BETWEEN) {
            keep_up().await;
        }
        self.begun = self.begun.wrapping_add(1);
        let (checker, level, host) = (self.checker.clone(), self.level, counted(&candidate));
        self.under_way.spawn(async move { (host, checker.check(candidate, level).await) });
    }

    /// Gives the place of a check to the next one of its host.
    fn leave(&mut self, host: Option<Host>) {
        let Some(host) = host else { return };
        if let Some(waiting) = self.waiting.get_mut(&host) {
            if let Some(candidate) = waiting.pop_front() {
                self.ready.push_back(candidate);
                return;
            }
            self.waiting.remove(&host);
        }
        if let Some(busy) = self.busy.get_mut(&host) {
            *busy -= 1;
            if *busy == 0 {
                self.busy.remove(&host);
            }
        }
    }
}

/// The host of which only so many are checked at a time; none for one of this machine.
fn counted(candidate: &Candidate) -> Option<Host> {
    // Of a chain we reach the first hop ourselves.
    let host = &candidate.endpoint.first_hop().host;
    let is_here = match host {
        Host::V4(address) => address.is_loopback(),
        Host::V6(addr) => addr.is_loopback(),
        Host::Zoned(zoned) => zoned.addr.is_loopback(),
        Host::Name(_) => false,
    };
    (!is_here).then(|| host.clone())
}

/// Waits until the runtime keeps up with its work.
async fn keep_up() {
    for _ in 0..RESTS {
        let asked = Instant::now();
        tokio::task::yield_now().await;
        if asked.elapsed() < BEHIND {
            return;
        }
        tokio::time::sleep(REST).await;
    }
}
