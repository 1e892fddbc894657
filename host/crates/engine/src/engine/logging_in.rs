//! Logins in place of those that members came with, as requests and those who rotate them use them.

use std::sync::Arc;

use proxywhirl_core::event::Topic;
use proxywhirl_core::{Credentials, Member};

use super::Engine;
use crate::events::MemberPayload;
use crate::logins::Logins;

/// What came of setting the credentials of a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoginSet {
    /// Whether they are other ones than before.
    pub is_new: bool,
    /// How many members they are for.
    pub members: usize,
}

impl Engine {
    /// Logins in place of those that members came with.
    #[must_use]
    pub const fn logins(&self) -> &Arc<Logins> {
        &self.logins
    }

    /// Sets the credentials of a login; none when there is no login of that name. Where they are new, members that they are
    /// for begin anew: what they refused was another login.
    pub fn set_login(&self, name: &str, credentials: Credentials) -> Option<LoginSet> {
        let is_new = self.logins.set(name, credentials)?;
        self.begin_anew(name, is_new)
    }

    /// Takes the credentials of a login back, so that members are dialled with those of the next one, or with their own; none when
    /// there is no login of that name.
    pub fn unset_login(&self, name: &str) -> Option<LoginSet> {
        let is_new = self.logins.unset(name)?;
        self.begin_anew(name, is_new)
    }

    fn begin_anew(&self, name: &str, is_new: bool) -> Option<LoginSet> {
        let login = self.logins.get(name)?;
        let (snapshot, now) = (self.snapshot.load(), self.clock.now());
        let mut members = 0;
        for member in snapshot.iter().filter(|member| login.covered().holds(&member.endpoint, member.tags())) {
            members += 1;
            if is_new && member.live.forgive(now) {
                self.measures.breaker_changed();
                self.bus.publish(Topic::BreakerChanged, now, || MemberPayload::from(&**member));
            }
        }
        if is_new {
            self.room.stir();
        }
        Some(LoginSet { is_new, members })
    }

    /// Says that a member has refused what it was dialled with.
    pub fn login_refused(&self, member: &Member) {
        self.logins.refused(&member.endpoint, member.tags());
    }

    /// Whether a member that has refused these credentials, none for its own, is dialled with other ones by now, which it waits
    /// for as [`Logins::renewed`] does.
    pub async fn login_renewed(&self, member: &Member, refused: Option<&Arc<Credentials>>) -> bool {
        self.logins.renewed(&member.endpoint, member.tags(), refused).await
    }
}
