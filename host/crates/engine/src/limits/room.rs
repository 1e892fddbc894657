//! Where requests wait: the [line](super::line), who is to be told of what, and the numbers.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use metrics::{Counter, Gauge, Histogram};
use proxywhirl_core::lease::Held;
use proxywhirl_core::select::{Filter, Outlook, Stick};
use proxywhirl_core::{Lease, MemberId, Timestamp};
use tokio::sync::{Notify, oneshot};

use super::line::{Line, Place};
use super::sites::{Permit, Sites};
use super::{Limited, LimitsConfig, NoWait, Shared};
use crate::engine::{Attempt, NoLease};
use crate::strategy::{Beside, Way};

/// Requests that could use the same members, if any of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Class {
    filter: Option<Arc<Filter>>,
    session: Option<(u64, Stick)>,
    tried: Box<[MemberId]>,
    /// The site, where that makes a difference.
    site: Option<Box<str>>,
    by: Option<Beside>,
    /// Where they are sent, if once: whom they avoid more than others do differs from one origin to the other.
    once_at: Option<Box<str>>,
}

impl Class {
    /// That of an attempt; `site` is its site, if that makes a difference.
    pub(crate) fn of(attempt: &Attempt<'_>, site: Option<&str>) -> Self {
        Self {
            filter: attempt.admitted().map(Arc::clone),
            session: attempt.session.map(|session| (session, attempt.stick)),
            tried: attempt.tried.into(),
            site: site.map(Into::into),
            by: attempt.by.cloned(),
            once_at: attempt.is_once.then(|| attempt.target.into()),
        }
    }

    /// An attempt of this class.
    pub(crate) fn attempt<'a>(&'a self, (request, number): Place, waiter: &'a Waiter) -> Attempt<'a> {
        Attempt {
            request,
            number,
            whose: waiter.whose,
            target: &waiter.target,
            site: waiter.site,
            session: self.session.map(|(session, _)| session),
            stick: self.session.map(|(_, stick)| stick).unwrap_or_default(),
            filter: self.filter.as_ref(),
            tried: &self.tried,
            is_late: false,
            is_once: self.once_at.is_some(),
            is_unproven: false,
            hedge: false,
            tier: None,
            by: self.by.as_ref(),
        }
    }
}

/// Somebody who waits.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) whose: u64,
    pub(crate) target: Box<str>,
    pub(crate) site: proxywhirl_core::symbol::Symbol,
    pub(crate) hand: oneshot::Sender<Handed>,
}

/// What somebody who waits gets.
pub(crate) type Handed = Result<(Lease, Way), NoLease>;

/// What a class waits for, as it was when that was looked at last.
#[derive(Debug, Clone)]
pub(crate) struct Situation {
    pub(crate) limited: Limited,
    pub(crate) outlook: Outlook,
    pub(crate) at: Timestamp,
    /// When one of it has last seen somebody to wait for.
    pub(crate) hoped: Timestamp,
}

impl Situation {
    /// That which a class waits for, as it is now.
    pub(crate) fn new(limited: Limited, outlook: Outlook, at: Timestamp) -> Self {
        let is_hopeful = matches!(&limited, Limited::Members(refusals) if refusals.leave_somebody());
        let hoped = if is_hopeful { at } else { Timestamp::default() };
        Self { limited, outlook, at, hoped }
    }

    /// The same where this was known before.
    pub(crate) fn after(self, known: &Self) -> Self {
        Self { hoped: self.hoped.max(known.hoped), ..self }
    }
}

/// The line as it is used here.
pub(crate) type Waiting = Line<Class, Waiter, Situation>;

/// Where requests wait.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) sites: Arc<Sites>,
    rules: ArcSwap<Rules>,
    /// Held while those who wait are served: for a pick for each class.
    line: Mutex<Waiting>,
    /// How many stand in it. Written under its lock, and read without it.
    waiting: AtomicUsize,
    /// Whether there is news for those who wait that nobody has looked at.
    is_stirred: AtomicBool,
    /// When to look next without news, in microseconds.
    due: AtomicU64,
    stirred: Notify,
    /// The way to those who share the limits; none when nobody does.
    shared: Option<Shared>,
    numbers: Numbers,
}

/// What requests may do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// Whether there are limits at all.
    pub(crate) is_on: bool,
    pub(crate) wait: Duration,
    queue: usize,
}

#[derive(Debug)]
struct Numbers {
    waiting: Gauge,
    members: Counter,
    sites: Counter,
    waits: Histogram,
    full: Counter,
    late: Counter,
    waited: Counter,
}

impl Numbers {
    fn new() -> Self {
        let refused = |reason: &'static str| metrics::counter!("proxywhirl_refusals_total", "reason" => reason);
        let limited = |by: &'static str| metrics::counter!("proxywhirl_limited_total", "by" => by);
        Self {
            waiting: metrics::gauge!("proxywhirl_requests_waiting"),
            members: limited("member"),
            sites: limited("site"),
            waits: metrics::histogram!("proxywhirl_wait_seconds"),
            full: refused("queue-full"),
            late: refused("queue-late"),
            waited: refused("queue-timeout"),
        }
    }
}

impl From<&LimitsConfig> for Rules {
    fn from(config: &LimitsConfig) -> Self {
        Self { is_on: !config.is_none(), wait: config.wait, queue: config.queue }
    }
}

impl Room {
    pub(crate) fn new(config: &LimitsConfig, shared: Option<Shared>) -> Arc<Self> {
        Arc::new(Self {
            sites: Arc::new(Sites::new(config.sites.clone())),
            rules: ArcSwap::from_pointee(Rules::from(config)),
            line: Mutex::default(),
            waiting: AtomicUsize::new(0),
            is_stirred: AtomicBool::new(false),
            due: AtomicU64::new(u64::MAX),
            stirred: Notify::new(),
            shared,
            numbers: Numbers::new(),
        })
    }

    /// Says what the limits are from now on, but for those of members.
    pub(crate) fn limit(&self, config: &LimitsConfig, now: Timestamp) {
        self.sites.limit(config.sites.clone(), now);
        self.rules.store(Arc::new(Rules::from(config)));
        self.stir();
    }

    pub(crate) fn rules(&self) -> Rules {
        **self.rules.load()
    }

    /// The way to those who share the limits; none when nobody does.
    pub(crate) const fn shared(&self) -> Option<&Shared> {
        self.shared.as_ref()
    }

    /// Those who have to be asked for tokens, if there are any.
    pub(crate) fn others(&self) -> Option<&Shared> {
        self.shared.as_ref().filter(|shared| shared.answers() && self.rules().is_on)
    }

    pub(crate) fn line(&self) -> MutexGuard<'_, Waiting> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody waits.
    pub(crate) fn is_anybody_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Whether those who wait are to be looked at.
    pub(crate) fn has_news(&self, now: Timestamp) -> bool {
        self.is_stirred.load(Ordering::Relaxed) || self.due.load(Ordering::Relaxed) <= now.as_micros()
    }

    /// Says that somebody who waits may be served now.
    pub(crate) fn stir(&self) {
        // With the fence of `counted`: either this sees who waits, or who waits sees what was before this.
        fence(Ordering::SeqCst);
        if self.is_anybody_waiting() {
            self.is_stirred.store(true, Ordering::Release);
            self.stirred.notify_one();
        }
    }

    /// Returns when there may be news, or another time at which to look.
    pub(crate) async fn stirred(&self) {
        self.stirred.notified().await;
    }

    /// Begins to look at those who wait: what is told from now on is news again.
    pub(crate) fn look(&self) {
        self.is_stirred.swap(false, Ordering::AcqRel);
    }

    /// Ends it, with when to look again.
    pub(crate) fn looked(&self, line: &Waiting, again: Timestamp) {
        self.counted(line);
        let due = if line.len() == 0 { u64::MAX } else { again.as_micros() };
        if due < self.due.swap(due, Ordering::Relaxed) {
            // Who attends sleeps until a later time.
            self.stirred.notify_one();
        }
    }

    /// When to look at those who wait, if there is no news before; none when nobody waits.
    pub(crate) fn due(&self) -> Option<Timestamp> {
        Some(self.due.load(Ordering::Relaxed)).filter(|due| *due != u64::MAX).map(Timestamp::from_micros)
    }

    /// Tells those who do not hold the line how many wait. Whoever joined has to look once more after this.
    #[allow(clippy::cast_precision_loss, reason = "a queue is short")]
    pub(crate) fn counted(&self, line: &Waiting) {
        self.waiting.store(line.len(), Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.numbers.waiting.set(line.len() as f64);
    }

    /// Counts a request that found what it wants at its limit.
    pub(crate) fn limited(&self, limited: &Limited) {
        match limited {
            Limited::Members(refusals) => self.numbers.members.increment(u64::from(refusals.limited > 0)),
            Limited::Site(_) => self.numbers.sites.increment(1),
        }
    }

    /// Counts a request that has waited, and was served.
    pub(crate) fn served(&self, wait: Duration) {
        self.numbers.waits.record(wait);
    }

    /// Counts a request that does not wait, or not any longer.
    pub(crate) fn shed(&self, why: NoWait) {
        match why {
            NoWait::Full(_) => &self.numbers.full,
            NoWait::Late(_) => &self.numbers.late,
            NoWait::Waited(_) => &self.numbers.waited,
        }
        .increment(1);
    }

    /// Why a request may not join the line, of whose class so many wait; none when it may.
    pub(crate) fn refusal(
        &self,
        line: &Waiting,
        ahead: usize,
        outlook: &Outlook,
        wait: Duration,
        now: Timestamp,
    ) -> Option<NoWait> {
        let turn = outlook.wait(ahead, now).filter(|turn| *turn > wait);
        let full = || (line.len() >= self.rules().queue).then(|| NoWait::Full(line.len()));
        turn.map(NoWait::Late).or_else(full)
    }
}

/// What a lease holds where there are limits: its place at the site, and that its end is news.
#[derive(Debug)]
pub(crate) struct Holding {
    pub(crate) permit: Option<Permit>,
    pub(crate) room: Arc<Room>,
}

impl Held for Holding {}

impl Drop for Holding {
    fn drop(&mut self) {
        // First the place, then the news of it.
        drop(self.permit.take());
        self.room.stir();
    }
}

/// Somebody's place in the line, which is free when this is dropped.
pub(crate) struct Standing<'r> {
    pub(crate) room: &'r Room,
    /// Whose it is, and where in its queue.
    pub(crate) place: (u64, Place),
}

impl Standing<'_> {
    /// Leaves the line; false when it has been served.
    pub(crate) fn leave(&self) -> bool {
        let mut line = self.room.line();
        let is_waiting = line.leave(self.place).is_some();
        self.room.counted(&line);
        is_waiting
    }
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}
