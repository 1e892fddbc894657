//! Who gets a body that nobody has asked for: one of those who are silent, when nobody else is asked any more.
//!
//! Many an origin, and many a proxy, says nothing until it has the body, so that silence shows nothing. The youngest attempt has it
//! first: it went to who does well at the site, if anybody does, and the oldest has been silent for longest. Where that one is not
//! even reached a moment later, any other may have it.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::task::Poll;

const NOBODY: u32 = 0;
const ANYBODY: u32 = u32::MAX;

/// Which attempt may have the body though nobody has asked for it.
#[derive(Debug, Default)]
pub(crate) struct Resort {
    /// Its number. Relaxed: it stands for itself, and all of a request is done by one task.
    number: AtomicU32,
}

impl Resort {
    /// Leaves the body to this attempt; to any, where there is none, or it was left to one before. Whether it is this one alone.
    pub(super) fn leave_to(&self, number: Option<u32>) -> bool {
        let first = number.filter(|_| self.number.load(Relaxed) == NOBODY);
        self.number.store(first.unwrap_or(ANYBODY), Relaxed);
        first.is_some()
    }

    /// Ready when the attempt with this number may have the body. Nobody is woken by that: whoever leaves it to one polls them all then.
    pub(crate) async fn comes_to(&self, number: u32) {
        poll_fn(|_| {
            let to = self.number.load(Relaxed);
            if to == number || to == ANYBODY { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}
