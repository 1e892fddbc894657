//! A store that several share: what they have to know soon is saved soon, and what they change is taken over, and not saved again.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use proxywhirl_core::endpoint::EndpointKey;
use proxywhirl_core::event::Topic;
use proxywhirl_core::pool::{Admission, Admitted};
use proxywhirl_core::store::{Changes, News, Store, StoreError, StoredBan, StoredMember};
use proxywhirl_core::{Member, MemberId};

use super::{Desk, panicked};

/// How often one tells a store that several share what is new, and asks it: what one of them changes is to be known everywhere
/// within a second, however seldom statistics are saved.
pub(super) const LISTEN: Duration = Duration::from_millis(250);

impl Desk {
    /// Tells others of sessions and bans, and takes over what they have changed.
    pub(super) async fn share(&mut self) {
        match self.write(Changes::default()).await {
            Ok(()) => self.listen().await,
            Err(error) => self.note(Err(error)),
        }
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
                    Ok(Heard::All(all)) => self.take_over_all(all),
                    Ok(Heard::TooMuch) => self.is_behind = true,
                    Err(error) => self.note(Err(error)),
                }
            }
            Err(error) => self.note(Err(panicked(&error))),
        }
    }

    /// Everything that is stored, and nothing else but what is not saved yet.
    fn take_over_all(&mut self, all: All) {
        self.is_behind = false;
        let stored: HashSet<MemberId> = all.members.iter().map(|member| MemberId::of(&member.endpoint.key())).collect();
        let left: Vec<EndpointKey> = self
            .pool
            .iter()
            .filter(|member| !stored.contains(&member.id))
            .map(|member| member.endpoint.key())
            .collect();
        self.take_over_members(all.members, &left);
        self.readers.bans.hear_all(all.bans, self.readers.clock.now());
    }

    fn take_over(&mut self, news: News) {
        let News { members, left, bans, lifted, .. } = news;
        self.take_over_members(members, &left);
        self.readers.bans.hear(bans, &lifted, self.readers.clock.now());
    }

    fn take_over_members(&mut self, members: Vec<StoredMember>, left: &[EndpointKey]) {
        let now = self.readers.clock.now();
        let mut is_changed = false;
        for member in members {
            // Whom one has just put out leaves there too, with the next save.
            if !self.removed.is_empty() && self.removed.contains(&member.endpoint.key()) {
                continue;
            }
            match self.pool.admit(Admission::Restored(Box::new(member)), now) {
                Admitted::New(member) => {
                    is_changed = true;
                    self.tell(Topic::ProxyAdded, &member);
                }
                Admitted::Merged(_) => is_changed = true,
                Admitted::Known(_) | Admitted::Full | Admitted::Stranger => {}
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

/// What was heard of others.
enum Heard {
    News(News),
    /// Everything, because more had changed than could be told.
    All(All),
    /// More than can be told.
    TooMuch,
}

/// Everything that is stored.
struct All {
    members: Vec<StoredMember>,
    bans: Vec<StoredBan>,
}

/// Asks a store for news, or for everything.
fn hear(store: &mut dyn Store, is_behind: bool) -> Result<Heard, StoreError> {
    if is_behind {
        // What comes while it is read is told afterwards.
        return Ok(Heard::All(All { members: store.load()?, bans: store.load_bans()? }));
    }
    store.news().map(|news| if news.is_cut { Heard::TooMuch } else { Heard::News(news) })
}
