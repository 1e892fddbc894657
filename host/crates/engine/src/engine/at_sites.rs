//! Members at sites: who is passed over by a pick, and what is known of whom.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use proxywhirl_core::live::Obstacle;
use proxywhirl_core::{EndpointKey, Lease, Member, MemberId, Timestamp};
use serde::{Deserialize, Serialize};

use super::drawing::RACES;
use super::waiting::Draw;
use super::{Attempt, Engine};
use crate::events::milliseconds;
use crate::sites::{PassedOver, Seen};
use crate::strategy::Way;

/// How a member does at a site.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AtSite {
    /// The site: a registrable domain, or an address.
    pub site: String,
    /// The port of its origins: who does well with `http://` may do nothing for `https://`.
    pub port: u16,
    /// The member's URL, its password masked.
    pub proxy: String,
    /// Of how many of its last uses there it is known how they went: a hundred at the most.
    pub uses: u32,
    /// The share of them that went well, from 0 to 1; none without any.
    pub success: Option<f64>,
    /// EWMA of its latency there; none when it was never measured.
    pub latency_ms: Option<f64>,
    /// When it was used there last: microseconds since the Unix epoch.
    pub last_used: u64,
    /// Until when it is passed over there, in the same form; then one request tries it again. None when it is not.
    pub passed_over_until: Option<u64>,
}

/// Which of them to tell of.
#[derive(Debug, Clone, Default)]
pub struct SiteQuery {
    /// So many at the most.
    pub limit: usize,
    /// Those at the site of this host.
    pub site: Option<String>,
    /// Those of this member.
    pub proxy: Option<EndpointKey>,
    /// Only those who are passed over.
    pub passed_over: bool,
}

impl AtSite {
    pub(super) fn of(seen: Seen, member: &Member) -> Self {
        Self {
            site: seen.site.into(),
            port: seen.port,
            proxy: member.endpoint.to_string(),
            uses: seen.uses,
            success: seen.success,
            latency_ms: seen.latency.map(milliseconds),
            last_used: seen.used.as_micros(),
            passed_over_until: seen.due.map(Timestamp::as_micros),
        }
    }
}

impl Engine {
    /// What is known of members at sites, by site and port; at each, who was used last before the others.
    #[must_use]
    pub fn at_sites(&self, query: &SiteQuery) -> Vec<AtSite> {
        let wanted = query.site.as_deref().map(crate::strategy::registrable);
        let proxy = query.proxy.as_ref().map(MemberId::of);
        let mut all = self.sites.all();
        all.retain(|seen| {
            wanted.is_none_or(|site| seen.site.eq_ignore_ascii_case(site))
                && proxy.is_none_or(|proxy| seen.member == proxy)
                && (!query.passed_over || seen.due.is_some())
        });
        all.sort_unstable_by(|one, other| (&one.site, one.port, other.used).cmp(&(&other.site, other.port, one.used)));
        let snapshot = self.snapshot.load();
        // What is known may outlast the member.
        let members: HashMap<MemberId, &Member> = snapshot.iter().map(|member| (member.id, &**member)).collect();
        let there = all.into_iter().filter_map(|seen| Some((members.get(&seen.member)?, seen)));
        there.map(|(member, seen)| AtSite::of(seen, member)).take(query.limit).collect()
    }

    /// Takes a member for an attempt: one of those who keep failing at its site only if there is nobody else.
    pub(super) fn draw_at_site(&self, attempt: &Attempt<'_>, now: Timestamp) -> Draw {
        let passed = self.sites.passed_over(attempt.target);
        let mut avoided = match &passed {
            // Who may be tried again costs a request one attempt at the most, and none that has no other.
            Some(passed) if attempt.number > 1 || attempt.is_once => passed.all(),
            Some(passed) => passed.members(now),
            None => Vec::new(),
        };
        if attempt.is_once {
            avoided.extend(self.sites.in_doubt(attempt.target, now));
        }
        if attempt.is_late
            && let Some(lease) = self.draw_proven(attempt, &avoided, now)
        {
            return Draw::Lease(lease, Way::Proven);
        }
        match passed {
            None if avoided.is_empty() && !attempt.is_once => self.draw_member(attempt, &[], now),
            passed => self.draw_past(attempt, passed.as_ref(), avoided, now),
        }
    }

    /// Takes one of the members that have served requests at the site last, the first that this attempt may have.
    fn draw_proven(&self, attempt: &Attempt<'_>, avoided: &[MemberId], now: Timestamp) -> Option<Lease> {
        // A session has a say in who it is.
        if attempt.session.is_some() {
            return None;
        }
        let (snapshot, breaker) = (self.snapshot.load(), self.breaker.load());
        self.with_wish(attempt, avoided, (now, snapshot.len()), |wish| {
            let served = self.sites.served_by(attempt.target, now).filter_map(|slot| snapshot.get(slot));
            let mut admitted = served.filter(|member| wish.admits(member));
            admitted.find_map(|member| Lease::take(Arc::clone(member), &breaker, now))
        })
    }

    /// Takes a member, one of those who are avoided only if there is nobody else.
    fn draw_past(
        &self,
        attempt: &Attempt<'_>,
        passed: Option<&PassedOver>,
        mut avoided: Vec<MemberId>,
        now: Timestamp,
    ) -> Draw {
        for _ in 0..RACES {
            let shunned = Cell::new(None);
            let shuns = |member: &Member| {
                let is_shunned = is_wary(attempt) && self.sites.has_just_failed(attempt.target, member, now);
                shunned.set(is_shunned.then_some(member.id));
                is_shunned
            };
            match (self.draw_unless(attempt, &avoided, now, shuns), shunned.get()) {
                (Draw::Lease(lease, way), _) => {
                    let member = lease.member().id;
                    if passed.is_none_or(|passed| !passed.has(member) || self.sites.admits(passed, member, now)) {
                        return Draw::Lease(lease, way);
                    }
                    // Another request tries it at this moment.
                    avoided.push(member);
                }
                (Draw::Nobody, Some(shunned)) => avoided.push(shunned),
                (Draw::Nobody, None) => return self.draw_avoided(attempt, &avoided, now),
                (draw @ (Draw::Rejected(_) | Draw::Site(_)), _) => return draw,
            }
        }
        // Of a list that is mostly dead, many may have just failed.
        match self.draw_proven(attempt, &avoided, now) {
            Some(lease) => Draw::Lease(lease, Way::Proven),
            None => self.draw_avoided(attempt, &avoided, now),
        }
    }

    /// Takes a member when only those are left who are avoided.
    fn draw_avoided(&self, attempt: &Attempt<'_>, avoided: &[MemberId], now: Timestamp) -> Draw {
        if avoided.is_empty() {
            return Draw::Nobody;
        }
        // Who may wait for somebody that does well here is served better by that.
        let is_waited_for = |avoided: &[MemberId]| self.refusals_among(attempt, avoided, now).0.limited > 0;
        let mut others_come = self.room.rules().is_on && is_waited_for(avoided);
        if others_come && is_wary(attempt) {
            // Not for those who have just failed as well.
            let snapshot = self.snapshot.load();
            let has_failed = |member: &&Arc<Member>| {
                member.live.obstacle(now) == Some(Obstacle::Limit)
                    && self.sites.has_just_failed(attempt.target, member, now)
            };
            let failed = snapshot.iter().filter(has_failed).map(|member| member.id);
            others_come = is_waited_for(&avoided.iter().copied().chain(failed).collect::<Vec<_>>());
        }
        if others_come { Draw::Nobody } else { self.draw_member(attempt, &[], now) }
    }
}

/// Whether an attempt avoids who has just failed. A session has a say in who it is.
const fn is_wary(attempt: &Attempt<'_>) -> bool {
    attempt.is_once && attempt.session.is_none()
}
