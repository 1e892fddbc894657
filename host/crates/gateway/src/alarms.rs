//! Timers that are kept from one wait to the next.
//!
//! Nearly every wait of a request ends before its limit. To set a timer up for each of them, and to take it away, costs as much as a
//! pick. One that is kept stands at the limit of an earlier wait, rings too early now and then, and is moved then.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

pin_project! {
    /// A timer that can be set anew as often as there is something to wait for.
    pub(crate) struct Alarm {
        // It may be earlier than `until`, and is moved when it rings.
        #[pin]
        timer: Sleep,
        until: Instant,
    }
}

impl Alarm {
    /// One that rings then.
    pub(crate) fn at(until: Instant) -> Self {
        Self { timer: sleep_until(until), until }
    }

    /// Has it ring then, and not before.
    pub(crate) fn set(self: Pin<&mut Self>, until: Instant) {
        let mut this = self.project();
        *this.until = until;
        if this.timer.deadline() > until || this.timer.is_elapsed() {
            this.timer.as_mut().reset(until);
        }
    }
}

impl Future for Alarm {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        loop {
            ready!(this.timer.as_mut().poll(context));
            if Instant::now() >= *this.until {
                return Poll::Ready(());
            }
            this.timer.as_mut().reset(*this.until);
        }
    }
}

/// The alarms that are kept for the requests of one client.
#[derive(Default)]
pub(crate) struct Alarms {
    /// What limits how long attempts are waited for.
    pub(crate) attempts: Kept,
    /// What limits how long an answer is waited for.
    pub(crate) answer: Kept,
    /// How many answers have begun and are held back: whoever brings one is slow no more. Relaxed: all of a request is done by one task.
    holding: AtomicU8,
}

impl Alarms {
    /// Holds an answer back that has begun, for as long as this lasts.
    pub(crate) fn hold(&self) -> Holding<'_> {
        self.holding.fetch_add(1, Relaxed);
        Holding(self)
    }

    /// Whether an answer is held back.
    pub(crate) fn is_holding(&self) -> bool {
        self.holding.load(Relaxed) > 0
    }

    /// Those of a client that stays: each has its own, as they belong to the runtime that they were made in.
    #[cfg(test)]
    pub(crate) fn of_tests() -> &'static Self {
        Box::leak(Box::default())
    }
}

/// That an answer is held back.
#[must_use]
pub(crate) struct Holding<'a>(&'a Alarms);

impl Drop for Holding<'_> {
    fn drop(&mut self) {
        self.0.holding.fetch_sub(1, Relaxed);
    }
}

/// An alarm that is kept as long as nobody waits with it. Where there is none, a new one is made.
#[derive(Default)]
pub(crate) struct Kept(Mutex<Option<Pin<Box<Alarm>>>>);

impl Kept {
    /// One that rings then.
    pub(crate) fn at(&self, until: Instant) -> Wait<'_> {
        let alarm = match self.slot().take() {
            Some(mut alarm) => {
                alarm.as_mut().set(until);
                alarm
            }
            None => Box::pin(Alarm::at(until)),
        };
        Wait { alarm: Some(alarm), home: self }
    }

    fn slot(&self) -> MutexGuard<'_, Option<Pin<Box<Alarm>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An alarm in use, which goes back to where it is kept.
pub(crate) struct Wait<'k> {
    // None when it has gone.
    alarm: Option<Pin<Box<Alarm>>>,
    home: &'k Kept,
}

impl Wait<'_> {
    /// Has it ring then, and not before.
    pub(crate) fn set(&mut self, until: Instant) {
        if let Some(alarm) = &mut self.alarm {
            alarm.as_mut().set(until);
        }
    }
}

impl Future for Wait<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.alarm.as_mut().map_or(Poll::Pending, |alarm| alarm.as_mut().poll(context))
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        *self.home.slot() = self.alarm.take();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn an_alarm_rings_when_it_was_set_for_last() {
        let kept = Kept::default();
        // Later than before, earlier, and when it has rung, or its time has passed with nobody there.
        for seconds in [2, 5, 1, 1, 3] {
            let began = Instant::now();
            kept.at(began + SECOND * seconds).await;
            assert_eq!(began.elapsed(), SECOND * seconds);
            drop(kept.at(Instant::now() + SECOND / 2));
            tokio::time::sleep(SECOND).await;
        }
        let mut wait = kept.at(Instant::now() + SECOND);
        for seconds in [3, 2, 4] {
            let began = Instant::now();
            wait.set(began + SECOND * seconds);
            (&mut wait).await;
            assert_eq!(began.elapsed(), SECOND * seconds);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn two_can_wait_at_a_time_and_one_is_kept() {
        let (kept, began) = (Kept::default(), Instant::now());
        let first = kept.at(began + SECOND);
        let second = kept.at(began + SECOND * 2);
        first.await;
        assert_eq!(began.elapsed(), SECOND);
        assert!(kept.slot().is_some());
        second.await;
        assert_eq!(began.elapsed(), SECOND * 2);
    }
}
