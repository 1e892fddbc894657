//! An attempt that is under way.

use std::future::{Future, pending};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use super::Trial;

/// An attempt that is under way, with the use of the member that it makes: one piece of the heap, as both are handed from one to the
/// next until somebody is answered.
pub(super) struct Running<A>(Pin<Box<Attempt<A>>>);

pin_project! {
    struct Attempt<A> {
        // None once it is over.
        trial: Option<Trial>,
        #[pin]
        future: A,
    }
}

impl<A> Running<A> {
    pub(super) fn new(trial: Trial, future: A) -> Self {
        Self(Box::pin(Attempt { trial: Some(trial), future }))
    }

    pub(super) fn trial(&self) -> Option<&Trial> {
        self.0.trial.as_ref()
    }

    /// Breaks it off.
    pub(super) fn end(mut self) -> Option<Trial> {
        self.0.as_mut().project().trial.take()
    }
}

impl<A: Future> Running<A> {
    /// Waits for the answer, and takes the attempt out; for ever when there is nobody to wait for.
    pub(super) async fn answer(slot: &mut Option<Self>) -> (Trial, A::Output) {
        let Some(running) = slot else { return pending().await };
        let answered = running.0.as_mut().await;
        *slot = None;
        answered
    }
}

impl<A: Future> Future for Attempt<A> {
    type Output = (Trial, A::Output);

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.future.poll(context));
        // Whoever is over is polled no more.
        this.trial.take().map_or(Poll::Pending, |trial| Poll::Ready((trial, answer)))
    }
}
