//! What is stored comes in: some of it before anybody is served, the rest while the pool serves.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use proxywhirl_core::MemberId;
use proxywhirl_core::pool::{Admission, Admitted};
use proxywhirl_core::store::{Page, Store, StoreError};
use tokio::sync::mpsc;

use super::{Command, Desk};

/// Stored members that are there before anybody is served: some ten milliseconds.
const FIRST_PAGE: usize = 5_000;

/// Stored members that come in at once after that. Each page is a snapshot, of which the strategy makes a plan.
pub(super) const PAGE: usize = 25_000;

/// Stored members that are loaded at the most before anybody is served: a second, from a server.
const MOST_AWAITED: usize = 100_000;

/// A page that could not be loaded is tried again after so long, and so often: what is in the way of a database, such as a checkpoint, is over by
/// then. Those who want to change the pool wait for that.
const AGAIN: Duration = Duration::from_secs(1);
const TRIES: u32 = 60;

/// What is told of it.
const UNLOADED: (&str, &str) =
    ("the rest of the pool could not be loaded, will try again", "the rest of the pool can be loaded again");

/// Whom a session was bound to that nobody has used for so long is not waited for: most of these sessions are over, and some members of
/// theirs may have left, and would be waited for to the end.
const RECENT: Duration = Duration::from_hours(24);

impl Desk {
    /// Begins with what is stored; without it, when the store cannot be reached yet. Not with a part of it: whose password cannot
    /// be opened has to be told now.
    pub(super) fn load(&mut self, store: Option<Box<dyn Store>>) -> Result<(), StoreError> {
        let Some(mut store) = store else { return Ok(()) };
        match self.load_first(&mut *store) {
            Err(error) if !store.is_reached() => self.begin_without(&error),
            loaded => {
                loaded?;
                // Nobody wants to find out by its refusals that most of a pool is missing.
                store.unopened().map_or(Ok(()), Err)?;
            }
        }
        self.store = Some(store);
        self.publish();
        Ok(())
    }

    /// Loads what has to be there before anybody is served: a first page, and whom sessions of late are bound to, because a session
    /// whose member is not there would get another. The rest comes in while the pool serves.
    fn load_first(&mut self, store: &mut dyn Store) -> Result<(), StoreError> {
        let sessions = store.load_sessions()?;
        let bans = store.load_bans()?;
        let now = self.readers.clock.now();
        let recent = sessions.iter().filter(|session| now.since(session.used) < RECENT);
        let mut awaited: HashSet<MemberId> = recent.map(|session| session.member).collect();
        let mut limit = FIRST_PAGE;
        loop {
            let page = store.page(self.rest, limit)?;
            if !awaited.is_empty() {
                for member in &page.members {
                    awaited.remove(&MemberId::of(&member.endpoint.key()));
                }
            }
            self.restore(page);
            if self.rest.is_none() || awaited.is_empty() || self.pool.len() >= MOST_AWAITED {
                break;
            }
            limit = PAGE;
        }
        // Before the strategy hears of the pool: its first plan says how many sessions are remembered.
        self.readers.selector.restore(sessions);
        self.readers.bans.restore(bans, now);
        Ok(())
    }

    /// Takes members in that are stored.
    fn restore(&mut self, page: Page) {
        let now = self.readers.clock.now();
        self.rest = page.next;
        for stored in page.members {
            if let Admitted::Full = self.pool.admit(Admission::Restored(Box::new(stored)), now) {
                tracing::warn!(pool.members = self.pool.len(), "the store holds more members than the pool may have");
                self.rest = None;
                break;
            }
        }
        self.readers.is_loading.store(self.rest.is_some(), Ordering::Relaxed);
    }

    /// Loads the rest, page by page. Until that is done nobody joins or leaves: who is stored has to be known first, or it
    /// would join as a stranger, without its statistics.
    pub(super) async fn load_rest(&mut self, queue: &mpsc::Receiver<Command>) {
        let mut failures = 0;
        while self.rest.is_some() && !queue.is_closed() {
            let (Some(mut store), after) = (self.store.take(), self.rest) else { return };
            let loaded = tokio::task::spawn_blocking(move || {
                let page = store.page(after, PAGE);
                (store, page)
            });
            match loaded.await {
                Ok((store, Ok(page))) => {
                    self.store = Some(store);
                    if failures > 0 {
                        failures = 0;
                        self.note_trouble(None, UNLOADED);
                    }
                    self.restore(page);
                    self.publish();
                }
                Ok((store, Err(error))) if !store.is_shared() && failures < TRIES => {
                    self.store = Some(store);
                    failures += 1;
                    self.note_trouble(Some(&error), UNLOADED);
                    tokio::time::sleep(AGAIN).await;
                }
                Ok((store, Err(error))) => {
                    // What others have changed is read again anyhow, and with it what is missing now.
                    self.is_behind = store.is_shared();
                    self.store = Some(store);
                    self.rest = None;
                    tracing::error!(%error, pool.members = self.pool.len(), "the rest of the pool cannot be loaded");
                }
                Err(error) => {
                    self.rest = None;
                    let error = self.lose_store(&error);
                    tracing::error!(%error, "the rest of the pool cannot be loaded");
                }
            }
        }
        // Of the first ones nobody was: that had been an error. The others serve.
        if let Some(error) = self.store.as_ref().and_then(|store| store.unopened()) {
            tracing::error!(%error, "some of the pool cannot be used");
        }
        self.readers.is_loading.store(false, Ordering::Relaxed);
    }
}
