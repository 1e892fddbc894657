//! Bans, as requests ask for them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use proxywhirl_core::event::Topic;
use proxywhirl_core::live::Obstacle;
use proxywhirl_core::select::Sessions;
use proxywhirl_core::store::StoredBan;
use proxywhirl_core::{Endpoint, EndpointKey, Member, MemberId, Timestamp};
use serde::{Deserialize, Serialize};

use super::Engine;
use crate::bans::Scope;
use crate::clock::Clock;
use crate::events::BanPayload;
use crate::history::BanRecord;

/// A member that a rule bans.
#[derive(Debug, Clone, Copy)]
pub struct Ban<'a> {
    /// The request's number.
    pub request: u64,
    /// Host and port of the origin.
    pub target: &'a str,
    /// The member.
    pub upstream: &'a Endpoint,
    /// The rule's name.
    pub rule: &'a str,
    /// Where it is banned.
    pub scope: Scope,
    /// For how long.
    pub span: Duration,
}

/// A ban that is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BanInForce {
    /// The site; `*` for all, and `session NUMBER` where it is about one session.
    pub site: String,
    /// The member's URL, its password masked; none when it has left the pool.
    pub proxy: Option<String>,
    /// The rule that set it.
    pub rule: String,
    /// When it ends: microseconds since the Unix epoch.
    pub until: u64,
}

/// A use of a session that goes on.
#[derive(Debug)]
pub struct SessionUse {
    sessions: Arc<Sessions>,
    session: u64,
    life: u32,
    clock: Clock,
}

impl Drop for SessionUse {
    fn drop(&mut self) {
        self.sessions.closed(self.session, self.life, self.clock.now());
    }
}

impl Engine {
    /// Bans a member at a site, or everywhere. False when the guard is against it: see [`bans`](crate::bans).
    pub fn ban(&self, ban: &Ban<'_>) -> bool {
        let Ban { request, target, upstream, rule, scope, span } = *ban;
        let (now, member) = (self.clock.now(), MemberId::of(&upstream.key()));
        let until = now + span;
        let banned = self.bans.set(target, scope, (member, rule), until, (now, self.able(target, now)));
        let site = scope.site(target);
        self.measures.banned(banned);
        self.history.banned(request, || BanRecord {
            rule: rule.to_owned(),
            proxy: upstream.to_string(),
            site: site.clone().into_owned(),
            banned,
        });
        self.bus.publish(Topic::ProxyBanned, now, || BanPayload {
            request,
            target,
            site: &site,
            proxy: upstream.to_string(),
            rule,
            banned,
            until: until.as_micros(),
        });
        banned
    }

    /// How many members could serve a site if nobody were banned: those that are dead anyway are no reason to ban the others. Counted as
    /// far as it makes a difference.
    fn able(&self, target: &str, now: Timestamp) -> usize {
        let passed: HashSet<MemberId> =
            self.sites.passed_over(target).map(|passed| passed.all()).unwrap_or_default().into_iter().collect();
        let is_able = |member: &&Arc<Member>| {
            member.live.obstacle(now) != Some(Obstacle::Breaker) && !passed.contains(&member.id)
        };
        self.snapshot.load().iter().filter(is_able).take(self.bans.enough()).count()
    }

    /// Has a session begin anew, with another member, when it is used next. False when too many wait for that.
    pub fn rotate_session(&self, session: u64) -> bool {
        self.bans.rotate(session)
    }

    /// Whether a session begins with its next request: it was never bound to a member, or has to begin anew.
    #[must_use]
    pub fn begins_session(&self, session: u64) -> bool {
        self.selector.sessions().begins(session) || self.bans.wants_rotation(session)
    }

    /// Has a session begin anew that has come to nothing with this member, unless others use it.
    pub fn forsake_session(&self, session: u64, member: MemberId) {
        self.selector.sessions().forsake(session, member);
    }

    /// A number that stands for a session in its present life: when it begins anew, it is another one.
    #[must_use]
    pub fn session_in_life(&self, session: u64) -> u64 {
        self.selector.sessions().in_life(session)
    }

    /// Says that a use of a session goes on, until what is returned is dropped: it does not count as unused meanwhile. None where
    /// it is not remembered.
    #[must_use]
    pub fn use_session(&self, session: u64) -> Option<SessionUse> {
        let sessions = self.selector.sessions();
        sessions.opened(session).map(|life| SessionUse { sessions, session, life, clock: self.clock })
    }

    /// Says that a member that was drawn [beside](proxywhirl_core::select::Stick::beside) the one of a session has served it: the
    /// session moves there, unless it has moved meanwhile.
    pub fn session_served(&self, session: u64, before: MemberId, member: &Member) {
        self.selector.sessions().served(session, before, member, self.clock.now());
    }

    /// The bans that are in force, those that end first before the others.
    #[must_use]
    pub fn bans(&self) -> Vec<BanInForce> {
        let mut all = self.bans.all(self.clock.now());
        all.sort_unstable_by(|one, other| (one.until, &one.site).cmp(&(other.until, &other.site)));
        // Looked for only among those who are there: a ban may outlast its member.
        let wanted: HashSet<MemberId> = all.iter().map(|ban| ban.member).collect();
        let snapshot = self.snapshot.load();
        let members: HashMap<MemberId, String> = snapshot
            .iter()
            .filter(|member| wanted.contains(&member.id))
            .map(Arc::as_ref)
            .chain([&*self.direct])
            .map(|member| (member.id, member.endpoint.to_string()))
            .collect();
        all.into_iter()
            .map(|StoredBan { site, member, until, rule }| BanInForce {
                site,
                proxy: members.get(&member).cloned(),
                rule: rule.to_string(),
                until: until.as_micros(),
            })
            .collect()
    }

    /// Ends bans: those at this site (or of this session), and of this member, of all where none is named. How many there
    /// were.
    pub fn lift_bans(&self, site: Option<&str>, upstream: Option<&EndpointKey>) -> usize {
        let member = upstream.map(MemberId::of);
        let is_meant = |at: &str, banned: MemberId| {
            site.is_none_or(|site| site.eq_ignore_ascii_case(at)) && member.is_none_or(|member| member == banned)
        };
        self.bans.lift(is_meant, self.now())
    }
}
