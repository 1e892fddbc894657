//! A store that several share: what they have to know soon is saved soon, and what they change is taken over, and not saved again.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use proxywhirl_core::endpoint::{Endpoint, EndpointKey};
use proxywhirl_core::event::Topic;
use proxywhirl_core::pool::{Admission, Admitted};
use proxywhirl_core::store::{Changes, Everything, News, Store, StoreError, StoredMember, StoredSession};
use proxywhirl_core::verdict::Anonymity;
use proxywhirl_core::{Member, MemberId};

use super::loading::PAGE;
use super::{Desk, Readers, broken};

/// How often one tells a store that several share what is new, and asks it: what one of them changes is to be known everywhere
/// within a second, however seldom statistics are saved.
pub(super) const LISTEN: Duration = Duration::from_millis(250);

impl Desk {
    /// Tells others of sessions and bans, and takes over what they have changed. Members that could not be saved, or taken out, go first:
    /// what others have made of one counts less than what is new here, and until that is saved nobody could tell which is which.
    pub(super) async fn share(&mut self) {
        let is_clean = self.unsaved.is_empty() && self.removed.is_empty();
        if !is_clean && self.readers.clock.now() < self.again_at {
            return;
        }
        let told = match self.catch_up().await {
            Ok(()) if is_clean => self.write(Changes::default()).await,
            Ok(()) => self.save_first().await,
            Err(error) => Err(error),
        };
        match told {
            Ok(()) => self.listen().await,
            Err(error) => self.note(Err(error)),
        }
    }

    /// Saves what could not be saved. A store that is away costs a look; one that is there and refuses is asked again at the next
    /// save only, as there may be very much to save.
    async fn save_first(&mut self) -> Result<(), StoreError> {
        self.look().await?;
        let saved = self.save().await;
        if saved.is_err() {
            self.again_at = self.readers.clock.now() + self.save_interval;
        }
        saved
    }

    /// Goes on with an empty pool: sources may fill it, and what is stored comes in when the store is there.
    pub(super) fn begin_without(&mut self, error: &StoreError) {
        self.is_unread = true;
        let Readers { bans, clock, measures, trouble, .. } = &self.readers;
        bans.restore(Vec::new(), clock.now());
        measures.saved(false);
        trouble.note(Some(error.to_string()), clock.now());
        tracing::warn!(%error, "the store cannot be reached: begins without the pool that is kept there, which comes in when it can");
    }

    /// Reads everything, when nothing was read yet. Before anything is saved: what is stored and what was done since are one.
    pub(super) async fn catch_up(&mut self) -> Result<(), StoreError> {
        if !self.is_unread {
            return Ok(());
        }
        let Some(mut store) = self.store.take() else { return Ok(()) };
        let read = tokio::task::spawn_blocking(move || {
            let all = store.load_all();
            (store, all)
        });
        let (store, all) = read.await.map_err(|error| self.lose_store(&error))?;
        if let Some(error) = store.unopened() {
            tracing::error!(%error, "some of the pool cannot be used");
        }
        self.store = Some(store);
        let all = all?.ok_or_else(|| broken("was emptied while it was read, and is read again"))?;
        self.take_over_all(all).await;
        tracing::info!(
            pool.members = self.pool.len(),
            "the store is there, and the pool that is kept there has come in"
        );
        Ok(())
    }

    async fn listen(&mut self) {
        let Some(mut store) = self.store.take() else { return };
        let is_behind = self.is_behind;
        let heard = tokio::task::spawn_blocking(move || {
            let heard = hear(&mut *store, is_behind);
            (store, heard)
        });
        match heard.await {
            Ok((store, heard)) => {
                self.store = Some(store);
                match heard {
                    Ok(Heard::News(news)) => self.take_over(news),
                    Ok(Heard::All(all)) => self.take_over_all(all).await,
                    Ok(Heard::TooMuch) => self.is_behind = true,
                    // What others have saved since is read again, when all that is here counts as unsaved.
                    Ok(Heard::Lost) => self.note_loss(),
                    Err(error) => self.note(Err(error)),
                }
            }
            Err(error) => {
                let lost = self.lose_store(&error);
                self.note(Err(lost));
            }
        }
    }

    /// Everything that is stored, and nothing else but what is not saved yet.
    async fn take_over_all(&mut self, all: Everything) {
        self.is_behind = false;
        let is_first = std::mem::take(&mut self.is_unread);
        let stored: HashSet<MemberId> = all.members.iter().map(|member| MemberId::of(&member.endpoint.key())).collect();
        let left: Vec<EndpointKey> = self
            .pool
            .iter()
            .filter(|member| !stored.contains(&member.id))
            .map(|member| member.endpoint.key())
            .collect();
        let mut members = all.members.into_iter();
        while members.len() > 0 {
            self.take_over_members(members.by_ref().take(PAGE).collect(), &[], is_first);
            // A large pool takes a while, in which others want the thread.
            tokio::task::yield_now().await;
        }
        self.take_over_members(Vec::new(), &left, is_first);
        self.take_over_sessions(&all.sessions);
        self.readers.bans.hear_all(all.bans, self.readers.clock.now());
    }

    fn take_over(&mut self, news: News) {
        let News { members, left, sessions, bans, lifted, is_cut: _ } = news;
        self.take_over_members(members, &left, false);
        self.take_over_sessions(&sessions);
        self.readers.bans.hear(bans, &lifted, self.readers.clock.now());
    }

    /// After the members: whether those are there whom sessions are bound to is asked of the pool.
    fn take_over_sessions(&self, sessions: &[StoredSession]) {
        // Few of them are bound to two members, and then to many the same way: of a member that left.
        let members = OnceCell::new();
        let members = || members.get_or_init(|| self.pool.iter().map(|member| member.id).collect::<HashSet<_>>());
        self.readers.selector.sessions().hear(sessions, &|member| members().contains(&member));
    }

    /// What is read for the first time has counts of before, that those who are there already have not.
    fn take_over_members(&mut self, members: Vec<StoredMember>, left: &[EndpointKey], is_first: bool) {
        let now = self.readers.clock.now();
        let mut is_changed = false;
        for mut member in members {
            let key = member.endpoint.key();
            // Whom one has just put out leaves there too, with the next save.
            if self.removed.contains(&key) {
                continue;
            }
            if let Some(known) = self.pool.find(&key).filter(|known| self.unsaved.contains(&known.joined)) {
                keep_unsaved(&mut member, known);
            }
            let before = member.statistics;
            match self.pool.admit(Admission::Restored(Box::new(member)), now) {
                Admitted::New(member) => {
                    is_changed = true;
                    self.tell(Topic::ProxyAdded, &member);
                }
                merged @ (Admitted::Merged(_) | Admitted::Known(_)) => {
                    is_changed |= matches!(merged, Admitted::Merged(_));
                    if let Admitted::Merged(member) | Admitted::Known(member) = merged
                        && is_first
                    {
                        member.live.absorb(&before);
                    }
                }
                Admitted::Full | Admitted::Stranger => {}
            }
        }
        for key in left {
            // Whoever has news of its own stays, and is saved again.
            let is_unsaved = |member: &Arc<Member>| self.unsaved.contains(&member.joined);
            if self.pool.find(key).is_none_or(is_unsaved) {
                continue;
            }
            if let Some(member) = self.pool.remove(key) {
                is_changed = true;
                self.tell(Topic::ProxyRemoved, &member);
            }
        }
        if is_changed {
            self.publish();
        }
    }
}

/// Of what is stored of a member, leaves what is not known here: what is, was named since, and is to be saved.
fn keep_unsaved(stored: &mut StoredMember, known: &Member) {
    stored.endpoint = Endpoint::clone(&known.endpoint);
    stored.country = known.country.or(stored.country);
    if known.anonymity != Anonymity::Unknown {
        stored.anonymity = known.anonymity;
    }
}

/// What was heard of others.
enum Heard {
    News(News),
    /// Everything, because more had changed than could be told.
    All(Everything),
    /// More than can be told.
    TooMuch,
    /// The store has lost the pool, so that what it holds is not all.
    Lost,
}

/// Asks a store for news, or for everything.
fn hear(store: &mut dyn Store, is_behind: bool) -> Result<Heard, StoreError> {
    if is_behind {
        // What comes while it is read is told afterwards. Where something was lost, who is not there has not left.
        let all = if store.is_intact()? { store.load_all()? } else { None };
        return Ok(all.map_or(Heard::Lost, Heard::All));
    }
    store.news().map(|news| if news.is_cut { Heard::TooMuch } else { Heard::News(news) })
}
