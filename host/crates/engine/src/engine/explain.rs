//! Why a request gets whom it gets: what would be done for one now, and what was done for those before.

use std::cmp::Reverse;
use std::sync::Arc;

use proxywhirl_net::stages::Stages;
use serde::{Deserialize, Serialize};

use super::drawing::ask_of;
use super::{AtSite, Attempt, Engine};
use crate::events::milliseconds;
use crate::history::{Query, Refusal, RequestRecord};
use crate::sites::Seen;
use crate::status::Build;
use crate::strategy::{Ask, Beside, registrable};
use proxywhirl_core::live::Obstacle;
use proxywhirl_core::select::{Filter, Refusals, Wish};
use proxywhirl_core::{Member, Snapshot};

/// What would be done for a request now. Nobody is picked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// Host and port of the origin.
    pub target: String,
    /// Its registrable domain, or its address.
    pub site: String,
    /// What the request demands of a member, in words.
    pub wants: Vec<String>,
    /// The strategy in force, or that of the listener; none when everybody is picked in turn.
    pub strategy: Option<Build>,
    /// How it would be picked: `plan`, `site-plan`, `view-plan`, `select`, `in-turn`, or `fallback-no-plan`.
    pub picked_by: String,
    /// Members in the pool.
    pub members: usize,
    /// Those that are banned at this site, or everywhere.
    pub banned: usize,
    /// Those of the others that are not what the request demands.
    pub filter: usize,
    /// Those of the others whose breaker is open.
    pub breaker: usize,
    /// Those of the others that are used as much as they may be.
    pub limited: usize,
    /// Whether as much is asked of the site as may be.
    pub site_limited: bool,
    /// How many requests wait for members and sites at their limit.
    pub waiting: usize,
    /// Those who are left.
    pub eligible: usize,
    /// Those of them that are passed over, because they keep failing at this site: they serve when there is nobody else.
    #[serde(default)]
    pub passed_over: usize,
    /// Members that are what the request demands, and how they do at this site: those that were used there before the others,
    /// the last ones first.
    #[serde(default)]
    pub candidates: Vec<CandidateWords>,
    /// The plan's tiers, in order of preference; none when the strategy is asked for each request.
    pub tiers: Vec<TierWords>,
    /// Whether sessions stick to the members that they were given.
    pub sticky: bool,
    /// The member that the request's session is bound to, its password masked; none when it has no session, or its session nobody.
    #[serde(default)]
    pub bound_to: Option<String>,
    /// Why it would be refused whoever might serve it: the engine does not know, who asked adds it.
    #[serde(default)]
    pub refused: Option<String>,
    /// The tiers that attempts go through, where they escalate: the engine does not know them, who asked adds them.
    #[serde(default)]
    pub escalation: Vec<EscalationWords>,
}

/// A tier that attempts go through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EscalationWords {
    /// As it is configured.
    pub tier: String,
    /// How many members of it may be handed out; 1 for the way without a proxy, if that may be taken.
    pub eligible: usize,
    /// Why the way without a proxy may not be taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub barred: Option<String>,
    /// Whether a request would begin here.
    #[serde(default)]
    pub begins: bool,
    /// If because it has served the site, or the session, there: for how many seconds that is remembered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remembered_s: Option<u64>,
}

/// A tier of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierWords {
    /// `cycle`, `draw`, `affinity` or `least-loaded`.
    pub mode: String,
    /// How many members are in it.
    pub members: usize,
    /// How many of them may be handed out.
    pub eligible: usize,
}

/// A member that may serve a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CandidateWords {
    /// Its URL, its password masked.
    pub proxy: String,
    /// What keeps it away: `banned`, `breaker`, `limit` or `passed-over`; `eligible` if nothing does.
    pub standing: String,
    /// How it does at the site; none when it is not known there.
    pub here: Option<AtSite>,
    /// The share of its last uses at all sites that went well; none without any.
    pub success: Option<f64>,
    /// EWMA of its latency at all sites; none when it was never measured.
    pub latency_ms: Option<f64>,
}

/// Candidates that are told of at the most.
const CANDIDATES: usize = 100;

impl Engine {
    /// Says what would be done for an attempt. Looks at the whole pool.
    #[must_use]
    pub fn explain(&self, attempt: &Attempt<'_>) -> Explanation {
        let snapshot = self.snapshot.load();
        let filter = attempt.filter.map(|filter| &**filter);
        let now = self.clock.now();
        let banned = self.bans.of(attempt.target, attempt.session, (now, snapshot.len()));
        let wish = Wish { now, tried: &banned, filter, session: attempt.session, stick: attempt.stick, seed: 0 };
        let ask = Ask { filter: attempt.filter, ..ask_of(attempt) };
        let Refusals { members, tried: banned, filter: refused, breaker, limited, unplanned, .. } =
            Refusals::count(&snapshot, &wish);
        let (passed_over, candidates) = self.candidates(&snapshot, attempt, &wish);
        let (way, tiers, sticky) = self.selector.look(&snapshot, &wish, &ask);
        let tiers = tiers.into_iter().map(|tier| TierWords {
            mode: tier.mode.as_str().to_owned(),
            members: tier.members,
            eligible: tier.eligible,
        });
        Explanation {
            target: attempt.target.to_owned(),
            site: registrable(attempt.target).to_owned(),
            wants: filter.map(Filter::in_words).unwrap_or_default(),
            strategy: attempt.by.map_or_else(|| self.strategy(), Beside::strategy).as_ref().map(Build::from),
            picked_by: way.as_str().to_owned(),
            members,
            banned,
            filter: refused,
            breaker,
            limited,
            site_limited: self.room.sites.outlook(attempt.target, now).is_some(),
            waiting: self.room.line().len(),
            eligible: unplanned,
            passed_over,
            candidates,
            tiers: tiers.collect(),
            sticky,
            bound_to: attempt.session.and_then(|session| self.bound_to(session, &snapshot)),
            refused: None,
            escalation: Vec::new(),
        }
    }

    /// How many members an attempt may be handed. Looks at the whole pool.
    #[must_use]
    pub fn eligible(&self, attempt: &Attempt<'_>) -> usize {
        let snapshot = self.snapshot.load();
        let filter = attempt.admitted().map(|filter| &**filter);
        let now = self.clock.now();
        let banned = self.bans.of(attempt.target, attempt.session, (now, snapshot.len()));
        let wish = Wish { now, tried: &banned, filter, session: attempt.session, stick: attempt.stick, seed: 0 };
        Refusals::count(&snapshot, &wish).unplanned
    }

    fn bound_to(&self, session: u64, snapshot: &Snapshot) -> Option<String> {
        let bound = self.selector.sessions().member_of(session)?;
        snapshot.iter().find(|member| member.id == bound).map(|member| member.endpoint.to_string())
    }

    /// How many members that are eligible are passed over at the site, and who there is.
    fn candidates(&self, snapshot: &Snapshot, attempt: &Attempt<'_>, wish: &Wish<'_>) -> (usize, Vec<CandidateWords>) {
        let passed = self.sites.passed_over(attempt.target).map(|passed| passed.members(wish.now)).unwrap_or_default();
        let is_wanted = |member: &&Arc<Member>| wish.filter.is_none_or(|filter| filter.admits(member));
        let is_passed_over = |member: &Member| wish.admits(member) && passed.contains(&member.id);
        let passed_over = snapshot.iter().filter(|member| is_passed_over(member)).count();
        let mut all: Vec<(Option<Seen>, &Arc<Member>)> = snapshot
            .iter()
            .filter(is_wanted)
            .map(|member| (self.sites.seen(attempt.target, member.id), member))
            .collect();
        all.sort_by_key(|(seen, _)| Reverse(seen.as_ref().map(|seen| seen.used)));
        all.truncate(CANDIDATES);
        let in_words = |(seen, member): (Option<Seen>, &Arc<Member>)| CandidateWords {
            proxy: member.endpoint.to_string(),
            standing: match member.live.obstacle(wish.now) {
                _ if wish.tried.contains(&member.id) => "banned",
                Some(Obstacle::Breaker) => "breaker",
                Some(Obstacle::Limit) => "limit",
                None if passed.contains(&member.id) => "passed-over",
                None => "eligible",
            }
            .to_owned(),
            here: seen.map(|seen| AtSite::of(seen, member)),
            success: member.live.success_rate(),
            latency_ms: member.live.latency().map(milliseconds),
        };
        (passed_over, all.into_iter().map(in_words).collect())
    }

    /// Says how far the attempt with this number came when: when it is over, or given up.
    pub fn measured(&self, request: u64, number: u32, stages: Stages) {
        self.history.measured(request, number, stages);
    }

    /// Remembers a request that was refused before anybody was picked.
    pub fn refused(&self, refusal: &Refusal<'_>) {
        self.history.refused(refusal, self.clock.now());
    }

    /// A request as it went, by its number; none when that is too long ago.
    #[must_use]
    pub fn request(&self, number: u64) -> Option<RequestRecord> {
        self.history.get(number)
    }

    /// The last requests, the newest first.
    #[must_use]
    pub fn requests(&self, query: &Query) -> Vec<RequestRecord> {
        self.history.last(self.requests.load(std::sync::atomic::Ordering::Relaxed), query)
    }
}
