//! What others change in a store that several share: taken over, and not saved again.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use proxywhirl_core::endpoint::EndpointKey;
use proxywhirl_core::event::Topic;
use proxywhirl_core::pool::{Admission, Admitted};
use proxywhirl_core::store::{News, Store, StoreError, StoredMember};
use proxywhirl_core::{Member, MemberId};

use super::{Desk, panicked};

/// How often one asks a store that several share what is new: what one of them changes is to be known everywhere within a second.
pub(super) const LISTEN: Duration = Duration::from_millis(250);

impl Desk {
    /// Takes over what others have changed in a store that several share.
    pub(super) async fn listen(&mut self) {
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
                    Ok(Heard::News(news)) => self.take_over(news.members, &news.left),
                    Ok(Heard::All(members)) => self.take_over_all(members),
                    Ok(Heard::TooMuch) => self.is_behind = true,
                    Err(error) => self.note(Err(error)),
                }
            }
            Err(error) => self.note(Err(panicked(&error))),
        }
    }

    /// Everybody who is stored, and nobody else but who is not saved yet.
    fn take_over_all(&mut self, members: Vec<StoredMember>) {
        self.is_behind = false;
        let stored: HashSet<MemberId> = members.iter().map(|member| MemberId::of(&member.endpoint.key())).collect();
        let left: Vec<EndpointKey> = self
            .pool
            .iter()
            .filter(|member| !stored.contains(&member.id))
            .map(|member| member.endpoint.key())
            .collect();
        self.take_over(members, &left);
    }

    fn take_over(&mut self, members: Vec<StoredMember>, left: &[EndpointKey]) {
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
    All(Vec<StoredMember>),
    /// More than can be told.
    TooMuch,
}

/// Asks a store for news, or for everything.
fn hear(store: &mut dyn Store, is_behind: bool) -> Result<Heard, StoreError> {
    if is_behind {
        // What comes while it is read is told afterwards.
        return store.load().map(Heard::All);
    }
    store.news().map(|news| if news.is_cut { Heard::TooMuch } else { Heard::News(news) })
}
