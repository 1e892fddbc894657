//! Limits: how much is asked of members and of sites at a time, and what becomes of requests when that is used up.
//!
//! A member at its limit is masked from picks like one whose breaker is open ([`proxywhirl_core::live`]); a site at
//! its limit hands out nobody. A request that finds nobody for either reason stands in a line, first come, first
//! served, until somebody is there for it, or sheds load: when the line is full, or when its turn would come too late.
//!
//! Whoever makes room says so (`Room::stir`), and a task sees to it that those who wait are served, then and when a
//! token is due. Nobody waits for news that was told already: who stands in the line looks once more after it has said so,
//! and who makes room looks whether anybody waits after it has made it.

pub(crate) mod line;
pub mod places;
pub mod quotas;
pub(crate) mod room;
pub(crate) mod shared;
pub(crate) mod sites;

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use proxywhirl_core::Timestamp;
use proxywhirl_core::limit::{Limit, MemberLimits};
use proxywhirl_core::select::Refusals;
use proxywhirl_core::store::StoreError;

use crate::trouble::{Change, Trouble};
pub(crate) use room::Room;
pub(crate) use shared::Shared;

/// How often gateways tell each other what came to the uses of users.
const TELL: Duration = Duration::from_millis(250);

/// How long a request waits for what the other gateways say. A connection that has to be made anew first may take longer.
const PATIENCE: Duration = Duration::from_millis(250);

/// How long nobody is asked after nobody has answered.
const AGAIN: Duration = Duration::from_millis(500);

/// Users that are told of at once.
const BATCH: usize = 1_000;

/// Writes down whether it is known what gateways share: `what`, as a sentence begins with it.
fn note(trouble: &Trouble, what: &str, error: Option<&StoreError>, now: Timestamp) {
    match (trouble.note(error.map(ToString::to_string), now), error) {
        (Change::Began, Some(error)) => {
            tracing::warn!(%error, "{what} are not shared, each gateway has its own until they can be again");
        }
        (Change::Ended, _) => tracing::info!("{what} are shared again"),
        (Change::Began | Change::Same, _) => {}
    }
}

/// How much may be asked of whom, and how long requests wait for more.
#[derive(Debug, Clone, PartialEq)]
pub struct LimitsConfig {
    /// Of members.
    pub members: MemberLimits,
    /// Of sites, over all members.
    pub sites: SiteLimits,
    /// How long a request waits at the most.
    pub wait: Duration,
    /// How many requests wait at the most.
    pub queue: usize,
}

/// Limits of sites: registrable domains.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SiteLimits {
    /// Those of these sites, in lower case.
    pub named: HashMap<Box<str>, Limit>,
    /// That of each other one.
    pub others: Limit,
}

impl LimitsConfig {
    /// Whether nobody has a limit.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.members.is_none() && self.sites.is_none()
    }
}

impl Default for LimitsConfig {
    /// No limits. A thousand that wait are what a busy gateway serves in a second, and no more than some megabytes.
    fn default() -> Self {
        Self {
            members: MemberLimits::default(),
            sites: SiteLimits::default(),
            wait: Duration::from_secs(10),
            queue: 1_000,
        }
    }
}

impl SiteLimits {
    /// Whether no site has one.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.others.is_none() && self.named.values().all(Limit::is_none)
    }
}

/// A request that was sent away because of limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shed {
    /// What is at its limit.
    pub limited: Limited,
    /// Why it does not wait, or not any longer.
    pub why: NoWait,
    /// When it is worth to come again.
    pub retry_after: Duration,
}

/// What is at its limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Limited {
    /// Members.
    Members(Refusals),
    /// The request's site.
    Site(Box<str>),
}

/// Why a request does not wait, or not any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoWait {
    /// So many wait already.
    Full(usize),
    /// It would have its turn after so long, which is too late.
    Late(Duration),
    /// It has waited for so long.
    Waited(Duration),
}

impl fmt::Display for Shed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.limited {
            Limited::Members(refusals) => refusals.fmt(f)?,
            Limited::Site(site) => write!(f, "the site {site} is at its limit")?,
        }
        match self.why {
            NoWait::Full(1) => write!(f, "; 1 request waits already"),
            NoWait::Full(waiting) => write!(f, "; {waiting} requests wait already"),
            NoWait::Late(wait) => write!(f, "; its turn would be in {:.1} s, which is too late", wait.as_secs_f64()),
            NoWait::Waited(wait) => write!(f, "; it waited for {:.1} s in vain", wait.as_secs_f64()),
        }
    }
}
