//! Whom an attempt speaks to: the member, with the login that stands in place of its own, as this request fills it in.

use std::borrow::Cow;
use std::sync::Arc;

use proxywhirl_core::endpoint::template::{Blank, Filling};
use proxywhirl_core::select::Filter;
use proxywhirl_core::{Credentials, Endpoint, Member};
use proxywhirl_engine::logins::Replaced;

use super::Failover;

/// The upstream of an attempt.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    /// The member's: by it, everybody knows who it is.
    pub(crate) endpoint: Arc<Endpoint>,
    /// The same with another login, or with the blanks of its login filled.
    filled: Option<Arc<Filled>>,
    /// Whether the next attempt through the same member is one through another exit: a vendor's gateway has many.
    pub(super) is_another_exit: bool,
    /// Where the member is in the pool.
    pub(crate) slot: u32,
    /// The number of the attempt.
    pub(crate) number: u32,
}

/// What is dialled where that is not the member's own endpoint. Held apart: most upstreams have none, and last as long as a tunnel.
#[derive(Debug)]
pub(crate) struct Filled {
    pub(crate) endpoint: Endpoint,
    /// Who else logs in alike.
    pub(crate) alike: Alike,
    /// The login in place of the member's own, as it was before it was filled.
    pub(super) login: Option<Arc<Credentials>>,
}

/// Which requests log in as one did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alike {
    /// Any that want the same.
    All,
    /// Those of a session, as long as the life lasts that this number stands for.
    Session { session: u64, in_life: u64 },
    /// None: it was drawn for this attempt.
    Nobody,
}

impl Upstream {
    /// What is dialled, and logged in to.
    pub(crate) fn dialled(&self) -> &Endpoint {
        self.filled.as_deref().map_or(&self.endpoint, |filled| &filled.endpoint)
    }

    /// The login in place of the member's own, as it was before it was filled; none where it is its own.
    pub(super) fn login(&self) -> Option<&Arc<Credentials>> {
        self.filled.as_ref()?.login.as_ref()
    }

    /// What is dialled where that is not the member's own endpoint: connections with another login are for other requests.
    pub(crate) const fn filled(&self) -> Option<&Arc<Filled>> {
        self.filled.as_ref()
    }
}

impl Failover<'_> {
    /// The member as this request speaks to it. A session fills blanks in the same way until its next life begins.
    pub(super) fn upstream(&self, member: &Member, number: u32) -> Upstream {
        let (endpoint, slot) = (Arc::clone(&member.endpoint), member.slot);
        let replaced = self.engine.logins().replaced(&endpoint, member.tags());
        let own = replaced.as_ref().map_or(&*endpoint, |replaced| &replaced.endpoint);
        if !own.is_template() {
            let filled =
                replaced.map(|Replaced { endpoint, login }| Filled { endpoint, alike: Alike::All, login: Some(login) });
            return Upstream { endpoint, filled: filled.map(Arc::new), is_another_exit: false, slot, number };
        }
        let in_life = |session| self.engine.session_in_life(session);
        let session = self.wanted.session.map(in_life);
        let filling = Filling { session, seed: fastrand::u64(..), ..Filling::default() };
        let filter = self.demanded();
        let filling = filter.as_deref().map_or(filling, |filter| filter.filling(filling));
        let is_another_exit = own.is_drawn_anew(session.is_some());
        let filled = own.filled(&filling);
        // What another draw makes no other is not drawn, or left out.
        let is_drawn = own.filled(&Filling { seed: !filling.seed, ..filling }) != filled;
        let alike = match (is_drawn, self.wanted.session.zip(session)) {
            (true, _) => Alike::Nobody,
            (false, Some((session, in_life))) if own.has_blank(Blank::Session) => Alike::Session { session, in_life },
            (false, _) => Alike::All,
        };
        let login = replaced.map(|replaced| replaced.login);
        let filled = Some(Arc::new(Filled { endpoint: filled, alike, login }));
        Upstream { endpoint, filled, is_another_exit, slot, number }
    }

    /// What the member was chosen by: what the request wants, and what the tier in force demands.
    fn demanded(&self) -> Option<Cow<'_, Filter>> {
        let own = self.wanted.filter.as_deref();
        match (own, self.escalation.and_then(|escalation| escalation.demands(self.climb))) {
            (Some(own), Some(tier)) => own.and(tier).map(Cow::Owned),
            (own, tier) => own.or(tier).map(Cow::Borrowed),
        }
    }
}
