//! What changed is saved, and everything when the store has lost it.

use std::sync::Arc;

use proxywhirl_core::Member;
use proxywhirl_core::event::Topic;
use proxywhirl_core::select::sessions::SessionChanges;
use proxywhirl_core::store::{Changes, StoreError};

use super::{Desk, Readers, broken};
use crate::bans::BanChanges;
use crate::events::StorePayload;
use crate::trouble::Change;

impl Desk {
    /// Saves after a change of who is a member.
    pub(super) async fn save_or_warn(&mut self) {
        let saved = self.save().await;
        // Whether all is well again only the next tick knows, which saves what plugins keep too.
        if saved.is_err() {
            self.note(saved);
        }
    }

    /// Writes down whether the pool can be saved.
    pub(super) fn note(&self, saved: Result<(), StoreError>) {
        self.readers.measures.saved(saved.is_ok());
        let words = ("the pool could not be saved, will try again until it can", "the pool is saved again");
        self.note_trouble(saved.err().as_ref(), words);
    }

    /// Notes what is wrong with the store, or that nothing is, and tells it in words for either when it changes: a full disk would fill
    /// the log too.
    pub(super) fn note_trouble(&self, error: Option<&StoreError>, (begins, ends): (&str, &str)) {
        let Readers { trouble, bus, clock, .. } = &self.readers;
        let (error, now) = (error.map(ToString::to_string), clock.now());
        if trouble.note(error.clone(), now) != Change::Same {
            match &error {
                Some(error) => tracing::warn!(%error, "{begins}"),
                None => tracing::info!("{ends}"),
            }
            bus.publish(Topic::StoreChanged, now, || StorePayload { error: error.as_deref() });
        }
    }

    /// Writes what plugins keep and the store has held back.
    pub(super) async fn keep_keys(&mut self) -> Result<(), StoreError> {
        let Some(keys) = self.readers.keys.clone() else { return Ok(()) };
        let failed = |reason: String| StoreError { place: "what plugins keep".to_owned(), reason };
        match tokio::task::spawn_blocking(move || keys.sync()).await {
            Ok(synced) => synced.map_err(|error| failed(error.to_string())),
            Err(error) => Err(failed(format!("the store has panicked: {error}"))),
        }
    }

    /// Saves what changed, and everything when the store has lost it.
    pub(super) async fn look_and_save(&mut self) -> Result<(), StoreError> {
        self.look().await?;
        self.save().await
    }

    /// Sees whether the store is there, and has what was saved.
    pub(super) async fn look(&mut self) -> Result<(), StoreError> {
        let Some(mut store) = self.store.take() else { return Ok(()) };
        let looked = tokio::task::spawn_blocking(move || {
            let is_intact = store.is_intact();
            (store, is_intact)
        });
        let (store, is_intact) = looked.await.map_err(|error| self.lose_store(&error))?;
        self.store = Some(store);
        if !is_intact? {
            self.note_loss();
        }
        Ok(())
    }

    /// All that is here is to be saved again, because the store has lost it.
    pub(super) fn note_loss(&mut self) {
        tracing::warn!(pool.members = self.pool.len(), "the store has lost the pool, which is saved again");
        self.unsaved.extend(self.pool.iter().map(|member| member.joined));
        self.unstored.extend(&self.unsaved);
        self.readers.selector.sessions().all_unsaved();
        self.readers.bans.all_unsaved(self.readers.clock.now());
    }

    /// Saves what changed. When that fails, it stays to be saved.
    pub(super) async fn save(&mut self) -> Result<(), StoreError> {
        if self.store.is_none() {
            return self.broken.as_deref().map_or(Ok(()), |reason| Err(broken(reason)));
        }
        self.catch_up().await?;
        let is_due = |member: &Member| {
            let is_used = member.live.take_unsaved();
            is_used || (!self.unsaved.is_empty() && self.unsaved.contains(&member.joined))
        };
        let due: Vec<Arc<Member>> = self.pool.iter().filter(|member| is_due(member)).cloned().collect();
        let (new, known): (Vec<_>, Vec<_>) = due.iter().partition(|member| self.unstored.contains(&member.joined));
        let stored = |members: Vec<&Arc<Member>>| members.iter().map(|member| member.to_stored()).collect();
        let (upserts, updates) = (stored(new), stored(known));
        let (untagged, removed) = (self.untagged.clone(), self.removed.iter().cloned().collect());
        let changes = Changes { upserts, updates, untagged, removed, ..Changes::default() };
        if let Err(error) = self.write(changes).await {
            due.iter().for_each(|member| member.live.leave_unsaved());
            return Err(error);
        }
        self.unsaved.clear();
        self.unstored.clear();
        self.untagged.clear();
        self.removed.clear();
        Ok(())
    }

    /// Saves changes of members, and those of sessions and bans that there are.
    pub(super) async fn write(&mut self, members: Changes) -> Result<(), StoreError> {
        let Some(mut store) = self.store.take() else { return Ok(()) };
        let sessions = self.readers.selector.sessions();
        let SessionChanges { sessions: used, forgotten } = sessions.changes();
        let BanChanges { bans, bans_again, lifted, lifted_again } = self.readers.bans.changes(self.readers.clock.now());
        let changes = Changes { sessions: used, forgotten, bans, bans_again, lifted, lifted_again, ..members };
        if changes == Changes::default() {
            self.store = Some(store);
            return Ok(());
        }
        let saved = tokio::task::spawn_blocking(move || {
            let result = store.save(&changes);
            (store, result, changes)
        });
        let (store, result, changes) = saved.await.map_err(|error| self.lose_store(&error))?;
        self.store = Some(store);
        if result.is_err() {
            let Changes { sessions: used, forgotten, bans, bans_again, lifted, lifted_again, .. } = changes;
            sessions.unsaved(SessionChanges { sessions: used, forgotten });
            self.readers.bans.unsaved(BanChanges { bans, bans_again, lifted, lifted_again });
        }
        result
    }
}
