//! When an attempt came how far.
//!
//! What dials and what sends says so as it happens, and whoever measures the attempt reads it when that is over. The marks
//! lie in the attempt's own future: nothing is allocated, and nothing is passed through all that is between.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::Instant;

/// When an attempt came how far, from its beginning. What it did not come to, or did not need, is none: a connection that
/// had waited was not dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stages {
    /// The upstream had accepted the connection.
    pub dialled: Option<Duration>,
    /// TLS and handshake were over: bytes could be sent.
    pub ready: Option<Duration>,
    /// The request was sent.
    pub sent: Option<Duration>,
}

#[derive(Debug, Clone, Copy)]
struct Marks {
    began: Instant,
    stages: Stages,
}

thread_local! {
    /// Those of the attempt that is being polled. (A task-local would cost five times as much, and these are for nobody else.)
    static MARKS: Cell<Option<Marks>> = const { Cell::new(None) };
}

pin_project! {
    /// An attempt that is measured, of which it is told when this is dropped. A type of its own, because an `async` block would
    /// have room for the attempt twice.
    #[must_use = "futures do nothing unless they are polled"]
    pub struct Measured<F, T>
    where
        T: FnOnce(Stages),
    {
        #[pin]
        attempt: F,
        marks: Marks,
        tell: Option<T>,
    }

    impl<F, T> PinnedDrop for Measured<F, T>
    where
        T: FnOnce(Stages),
    {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if let Some(tell) = this.tell.take() {
                tell(this.marks.stages);
            }
        }
    }
}

/// Carries out an attempt that begins now, and tells when it came how far: when it is over, and also when it is given up
/// before that.
pub fn measured<F: Future, T: FnOnce(Stages)>(now: Instant, attempt: F, tell: T) -> Measured<F, T> {
    Measured { attempt, marks: Marks { began: now, stages: Stages::default() }, tell: Some(tell) }
}

impl<F: Future, T: FnOnce(Stages)> Future for Measured<F, T> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let turn = Turn { before: MARKS.replace(Some(*this.marks)), marks: this.marks };
        let polled = this.attempt.poll(context);
        drop(turn);
        polled
    }
}

/// The time for which an attempt is polled, in whatever way that ends.
struct Turn<'m> {
    marks: &'m mut Marks,
    /// Those of what polls it.
    before: Option<Marks>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(marks) = MARKS.replace(self.before) {
            *self.marks = marks;
        }
    }
}

impl<F, T: FnOnce(Stages)> std::fmt::Debug for Measured<F, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Measured").finish_non_exhaustive()
    }
}

/// The upstream has accepted the connection. The last one counts: of those that are dialled at the same time, and of those
/// that one leads to.
pub(crate) fn dialled() {
    mark(|stages, now| stages.dialled = Some(now));
}

/// Bytes can be sent.
pub fn ready() {
    mark(|stages, now| stages.ready = Some(now));
}

/// The request is sent.
pub fn sent() {
    mark(|stages, now| stages.sent = Some(now));
}

fn mark(set: impl FnOnce(&mut Stages, Duration)) {
    // Where nobody measures, there is nothing to mark.
    if let Some(mut marks) = MARKS.get() {
        set(&mut marks.stages, marks.began.elapsed());
        MARKS.set(Some(marks));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_attempt_has_its_own_marks_and_what_nobody_measures_has_none() {
        sent();
        let attempt = |pause: u64| async move {
            dialled();
            tokio::time::sleep(Duration::from_millis(pause)).await;
            ready();
            tokio::time::sleep(Duration::from_millis(pause)).await;
            pause
        };
        let now = Instant::now();
        let told = |attempt| async move {
            let mut told = None;
            let output = measured(now, attempt, |stages| told = Some(stages)).await;
            (output, told.unwrap_or_default())
        };
        let (one, two) = tokio::join!(told(attempt(10)), told(attempt(30)));
        let stages = |pause: u64| Stages {
            dialled: Some(Duration::ZERO),
            ready: Some(Duration::from_millis(pause)),
            sent: None,
        };
        assert_eq!((one, two), ((10, stages(10)), (30, stages(30))));
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_attempt_came_to_is_told_when_it_is_given_up() {
        let mut told = None;
        let attempt = async {
            dialled();
            tokio::time::sleep(Duration::from_secs(60)).await;
            ready();
        };
        let given_up = tokio::time::timeout(
            Duration::from_secs(1),
            measured(Instant::now(), attempt, |stages| told = Some(stages)),
        )
        .await;
        assert!(given_up.is_err());
        assert_eq!(told, Some(Stages { dialled: Some(Duration::ZERO), ..Stages::default() }));
    }
}
