//! Whom an attempt speaks to: the member, and its login as this request fills it in.

use std::sync::Arc;

use proxywhirl_core::endpoint::template::Filling;
use proxywhirl_core::{Endpoint, Member};

use super::Failover;

/// The upstream of an attempt.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    /// The member's: by it, everybody knows who it is.
    pub(crate) endpoint: Arc<Endpoint>,
    /// The same with the blanks of its login filled, when there are any.
    filled: Option<Arc<Endpoint>>,
}

impl Upstream {
    /// An upstream whose login is what it is.
    pub(crate) const fn plain(endpoint: Arc<Endpoint>) -> Self {
        Self { endpoint, filled: None }
    }

    /// What is dialled, and logged in to.
    pub(crate) fn dialled(&self) -> &Endpoint {
        self.filled.as_deref().unwrap_or(&self.endpoint)
    }

    /// What this request has made of the member's login, if that has blanks: connections with another one are not its own.
    pub(crate) const fn filled(&self) -> Option<&Arc<Endpoint>> {
        self.filled.as_ref()
    }
}

impl Failover<'_> {
    /// The member as this request speaks to it. A session fills blanks in the same way until its next life begins.
    pub(super) fn upstream(&self, member: &Member) -> Upstream {
        let endpoint = Arc::clone(&member.endpoint);
        if !endpoint.is_template() {
            return Upstream::plain(endpoint);
        }
        let session = self.wanted.session.map(|session| self.engine.session_in_life(session));
        let filling = Filling { session, seed: fastrand::u64(..), ..Filling::default() };
        let filling = self.wanted.filter.as_ref().map_or(filling, |filter| filter.filling(filling));
        let filled = Some(Arc::new(endpoint.filled(&filling)));
        Upstream { endpoint, filled }
    }
}
