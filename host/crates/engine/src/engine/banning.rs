//! Bans, as requests ask for them.

use std::time::Duration;

use proxywhirl_core::event::Topic;
use proxywhirl_core::{Endpoint, MemberId};

use super::Engine;
use crate::bans::Scope;
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

impl Engine {
    /// Bans a member at a site, or everywhere. False when the guard is against it: see [`bans`](crate::bans).
    pub fn ban(&self, ban: &Ban<'_>) -> bool {
        let Ban { request, target, upstream, rule, scope, span } = *ban;
        let (now, member) = (self.clock.now(), MemberId::of(&upstream.key()));
        let until = now + span;
        let banned = self.bans.set(target, scope, member, until, (now, self.snapshot.load().len()));
        self.measures.banned(banned);
        self.history.banned(request, || BanRecord {
            rule: rule.to_owned(),
            proxy: upstream.to_string(),
            site: scope.site(target).to_owned(),
            banned,
        });
        self.bus.publish(Topic::ProxyBanned, now, || BanPayload {
            request,
            target,
            site: scope.site(target),
            proxy: upstream.to_string(),
            rule,
            banned,
            until: until.as_micros(),
        });
        banned
    }
}
