//! Where the pool outlives the process.

use std::cmp::Reverse;
use std::fmt;
use std::sync::Arc;

use crate::candidate::{Candidate, Country};
use crate::endpoint::{Endpoint, EndpointKey};
use crate::live::{Health, Statistics};
use crate::member::MemberId;
use crate::tag::Tags;
use crate::time::Timestamp;
use crate::verdict::Anonymity;

/// A member as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMember {
    /// Where it listens, with its credentials.
    pub endpoint: Endpoint,
    /// Its labels.
    pub tags: Tags,
    /// Where it is said to be.
    pub country: Option<Country>,
    /// What an origin can tell about the client behind it.
    pub anonymity: Anonymity,
    /// When it joined the pool.
    pub added: Timestamp,
    /// How its uses went.
    pub statistics: Statistics,
    /// How it did when it was saved: for people who look at what is kept. Whoever comes back begins anew.
    pub health: Health,
}

impl From<StoredMember> for Candidate {
    /// What may be checked, and join a pool.
    fn from(stored: StoredMember) -> Self {
        let StoredMember { endpoint, tags, country, anonymity, .. } = stored;
        Self { tags, country, anonymity, ..endpoint.into() }
    }
}

/// A session as it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredSession {
    /// The hash of its name.
    pub session: u64,
    /// The member that it is bound to.
    pub member: MemberId,
    /// When its present life began.
    pub began: Timestamp,
    /// When it was last used.
    pub used: Timestamp,
    /// How many lives it had before.
    pub life: u32,
}

/// A ban as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBan {
    /// The site; `*` for all, and `session NUMBER` where it is about one session.
    pub site: String,
    /// The member that is banned there.
    pub member: MemberId,
    /// When it ends.
    pub until: Timestamp,
    /// The rule that set it.
    pub rule: Arc<str>,
}

/// What a ban is about: a site, and a member that is banned there. There is one at a time.
pub type BanPlace = (String, MemberId);

impl StoredBan {
    /// What it is about.
    #[must_use]
    pub fn place(&self) -> BanPlace {
        (self.site.clone(), self.member)
    }
}

impl StoredSession {
    /// Whether it counts more than what another process has made of the same session, neither knowing of the other: the later
    /// life, then what began earlier, then the smaller member, so that all of them come to the same.
    #[must_use]
    pub fn wins_over(&self, other: &Self) -> bool {
        let rank = |session: &Self| (session.life, Reverse(session.began), Reverse(session.member));
        rank(self) > rank(other)
    }
}

/// What changed since the last save.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// Members that are new, or kept as they are here whatever is there.
    pub upserts: Vec<StoredMember>,
    /// Members that were kept before and are changed. Where several write and none hears of the others, who was removed by another one
    /// stays removed, and what another one has changed and this one has not, such as a password, stays as that one has made it.
    pub updates: Vec<StoredMember>,
    /// Tags that were taken from members among the updates; for stores that otherwise keep those that another process has given.
    pub untagged: Vec<(EndpointKey, Tags)>,
    /// Members that left.
    pub removed: Vec<EndpointKey>,
    /// Sessions that are new or changed.
    pub sessions: Vec<StoredSession>,
    /// Sessions that were forgotten. They go before `sessions`, which may bring one of them back.
    pub forgotten: Vec<u64>,
    /// Bans that are new or last longer. Where there is one already, the later end counts.
    pub bans: Vec<StoredBan>,
    /// Bans that were saved before and are saved again, because the store has lost them. One that was lifted since stays lifted.
    pub bans_again: Vec<StoredBan>,
    /// Bans that were lifted. They go before `bans`, which may set one of them again.
    pub lifted: Vec<BanPlace>,
    /// Bans of which a store that has lost something was told before that they were lifted, and when. They go before `bans_again`,
    /// which others may have brought back; one that was set since stays.
    pub lifted_again: Vec<(BanPlace, Timestamp)>,
}

/// Some of the members that are kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// The members, in the order of joining.
    pub members: Vec<StoredMember>,
    /// From where the next page goes on; none when this was the last.
    pub next: Option<u64>,
}

/// Everything that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Everything {
    /// The members, in the order of joining.
    pub members: Vec<StoredMember>,
    /// The sessions, the longest unused first.
    pub sessions: Vec<StoredSession>,
    /// The bans. Some of them may be over.
    pub bans: Vec<StoredBan>,
}

/// What others have changed in a store that several share, since it was asked last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct News {
    /// Members that joined, or of whom something is known that was not.
    pub members: Vec<StoredMember>,
    /// Members that left.
    pub left: Vec<EndpointKey>,
    /// Sessions that began, moved, began anew, or were used.
    pub sessions: Vec<StoredSession>,
    /// Bans that were set, or last longer.
    pub bans: Vec<StoredBan>,
    /// Bans that were lifted.
    pub lifted: Vec<BanPlace>,
    /// Whether more has changed than can be told: everything is to be read again.
    pub is_cut: bool,
}

/// Why a store could not do it.
#[derive(Debug)]
pub struct StoreError {
    /// What is stored where: `database /var/lib/proxywhirl/pool.db`.
    pub place: String,
    /// What went wrong, and what to do, in words for people.
    pub reason: String,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.reason)
    }
}

impl std::error::Error for StoreError {}

/// Keeps members and sessions. One task owns it; calls may block, on a disk or on a network.
pub trait Store: Send {
    /// Some of the members that are kept, in the order of joining: about `limit` of them, from the beginning or from where
    /// a page before ended. Of what is saved meanwhile, pages that come later may have some or nothing.
    ///
    /// # Errors
    /// When it cannot be read, or is corrupt.
    fn page(&mut self, after: Option<u64>, limit: usize) -> Result<Page, StoreError>;

    /// All members that are kept, in the order of joining.
    ///
    /// # Errors
    /// When it cannot be read, or is corrupt.
    fn load(&mut self) -> Result<Vec<StoredMember>, StoreError> {
        let Page { mut members, mut next } = self.page(None, usize::MAX)?;
        while next.is_some() {
            let page = self.page(next, usize::MAX)?;
            members.extend(page.members);
            next = page.next;
        }
        Ok(members)
    }

    /// The sessions that are kept, the longest unused first.
    ///
    /// # Errors
    /// When they cannot be read.
    fn load_sessions(&mut self) -> Result<Vec<StoredSession>, StoreError>;

    /// The bans that are kept. Some of them may be over.
    ///
    /// # Errors
    /// When they cannot be read.
    fn load_bans(&mut self) -> Result<Vec<StoredBan>, StoreError> {
        Ok(Vec::new())
    }

    /// Everything that is kept, or nothing, and what was read in vain counts as not read: none when some of it was lost before it was
    /// read to its end, of which [`Store::is_intact`] does not tell then.
    ///
    /// # Errors
    /// When it cannot be read.
    fn load_all(&mut self) -> Result<Option<Everything>, StoreError> {
        let all = Everything { members: self.load()?, sessions: self.load_sessions()?, bans: self.load_bans()? };
        Ok(self.is_intact()?.then_some(all))
    }

    /// Keeps the changes, all or none.
    ///
    /// # Errors
    /// When they cannot be written; what was kept before is then untouched.
    fn save(&mut self, changes: &Changes) -> Result<(), StoreError>;

    /// Whether everything that was saved is still there, as far as can be known; false once for each time that it was lost: then
    /// all of it is to be saved again. Only a store that others have in their hands loses something.
    ///
    /// # Errors
    /// When the store cannot be asked.
    fn is_intact(&mut self) -> Result<bool, StoreError> {
        Ok(true)
    }

    /// Whether it was ever reached since it was opened. Until then nobody knows what is kept: it has to be read before anything is
    /// saved.
    fn is_reached(&self) -> bool {
        true
    }

    /// Whether others may change it meanwhile, so that it has news.
    fn is_shared(&self) -> bool {
        false
    }

    /// What others have changed since this was asked last, or since the store was opened.
    ///
    /// # Errors
    /// When the store cannot be asked; what is new is then told the next time.
    fn news(&mut self) -> Result<News, StoreError> {
        Ok(News::default())
    }

    /// Which of the members that were read so far cannot be made out, because what they are sealed with is not there; none when
    /// there are none. They are not among those that were read, and stay as they are, whatever is saved.
    fn unopened(&self) -> Option<StoreError> {
        None
    }

    /// Whether the member of this key is one of them.
    fn is_unopened(&self, _: &EndpointKey) -> bool {
        false
    }

    /// Leaves nothing of what was kept before and is no more: a password in clear text, say, that is sealed now.
    ///
    /// # Errors
    /// When it cannot be written.
    fn purge(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}
