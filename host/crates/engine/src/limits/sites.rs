//! Limits of sites: how much is asked of one, over all members.
//!
//! Bounded: a site that is idle, and whose bucket is full again, is forgotten, because that is what a new one would be. When
//! too many are in use, those that come share one account until there is room.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use proxywhirl_core::Timestamp;
use proxywhirl_core::limit::{Bucket, Limit, Rate};
use proxywhirl_core::select::Outlook;
use tokio::sync::Notify;

use super::SiteLimits;
use crate::strategy::registrable;

/// Sites in use at a time that have accounts of their own.
const MOST: usize = 65_536;

/// Accounts from which on those that are idle are looked for.
const SWEEP: usize = 1_024;

/// The account of those that get none of their own: no site has this name.
const SHARED: &str = "*";

/// The limits of sites, and what is used of them.
#[derive(Debug)]
pub(crate) struct Sites {
    limits: ArcSwap<SiteLimits>,
    /// Held for a few instructions; for a sweep, once each time the number of accounts has doubled.
    accounts: Mutex<Accounts>,
}

#[derive(Debug)]
struct Accounts {
    by_site: HashMap<Arc<str>, Account>,
    /// How many there may be before the next sweep.
    sweep: usize,
}

#[derive(Debug, Default)]
struct Account {
    in_use: u32,
    bucket: Bucket,
    /// Tells one of those who wait for a place outside of the line, if there ever was one.
    freed: Option<Arc<Notify>>,
}

/// The right to ask something of a site once. Its drop gives the place back.
#[derive(Debug)]
pub(crate) struct Permit {
    sites: Arc<Sites>,
    site: Arc<str>,
}

impl Sites {
    pub(crate) fn new(limits: SiteLimits) -> Self {
        let accounts = Accounts { by_site: HashMap::new(), sweep: SWEEP };
        Self { limits: ArcSwap::from_pointee(limits), accounts: Mutex::new(accounts) }
    }

    /// Says what the limits are from now on. What is used counts, but no more than can be used at the new rate.
    pub(crate) fn limit(&self, limits: SiteLimits, now: Timestamp) {
        self.limits.store(Arc::new(limits));
        for (site, account) in &mut self.accounts().by_site {
            if let Some(rate) = self.limit_of(site).rate {
                account.bucket.fit(&rate, now);
            }
        }
    }

    /// Whether the site of a target has a limit.
    pub(crate) fn is_limited(&self, target: &str) -> bool {
        !self.limit_of(registrable(target)).is_none()
    }

    /// Takes a place at the site of a target, and a token; none when it has no limit. If it is at its limit: until when.
    pub(crate) fn enter(self: &Arc<Self>, target: &str, now: Timestamp) -> Result<Option<Permit>, Outlook> {
        if self.limits.load().is_none() {
            return Ok(None);
        }
        let site = registrable(target);
        let limit = self.limit_of(site);
        if limit.is_none() {
            return Ok(None);
        }
        let mut accounts = self.accounts();
        let (site, account) = accounts.account(site, now);
        if let Some(outlook) = account.outlook(&limit, now) {
            return Err(outlook);
        }
        account.in_use += 1;
        limit.take(&mut account.bucket, now);
        Ok(Some(Permit { sites: Arc::clone(self), site }))
    }

    /// When the site of a target is not at its limit any more; none when it is not now.
    pub(crate) fn outlook(&self, target: &str, now: Timestamp) -> Option<Outlook> {
        let site = registrable(target);
        let limit = self.limit_of(site);
        if limit.is_none() { None } else { self.accounts().account(site, now).1.outlook(&limit, now) }
    }

    /// What tells one who waits there that a place at the site of a target has become free.
    pub(crate) fn freed(&self, target: &str, now: Timestamp) -> Arc<Notify> {
        Arc::clone(self.accounts().account(registrable(target), now).1.freed.get_or_insert_default())
    }

    /// Begins to ask those who share the rate of a target's site for a token that was taken here: for which site, and at which
    /// rate. None, and nothing begins, when it has no rate, or no account of its own. [`Sites::told`] must follow.
    pub(crate) fn ask(&self, target: &str) -> Option<(Arc<str>, Rate)> {
        if self.limits.load().is_none() {
            return None;
        }
        let site = registrable(target);
        let rate = self.limit_of(site).rate?;
        let mut accounts = self.accounts();
        let name = accounts.by_site.get_key_value(site).map(|(name, _)| Arc::clone(name))?;
        accounts.by_site.get_mut(site)?.bucket.ask();
        Some((name, rate))
    }

    /// What those who share the rate of a site say: when its bucket is full; none when nobody has said anything.
    pub(crate) fn told(&self, site: &str, full: Option<Timestamp>) {
        let Some(rate) = self.limit_of(site).rate else { return };
        if let Some(account) = self.accounts().by_site.get_mut(site) {
            account.bucket.told(&rate, full);
        }
    }

    fn limit_of(&self, site: &str) -> Limit {
        let limits = self.limits.load();
        limits.named.get(site).copied().unwrap_or(limits.others)
    }

    fn accounts(&self) -> MutexGuard<'_, Accounts> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Accounts {
    fn account(&mut self, site: &str, now: Timestamp) -> (Arc<str>, &mut Account) {
        if !self.by_site.contains_key(site) && self.by_site.len() >= self.sweep.min(MOST) {
            self.by_site.retain(|_, account| account.in_use > 0 || !account.bucket.is_full(now));
            self.sweep = (2 * self.by_site.len()).max(SWEEP);
        }
        let is_known = self.by_site.contains_key(site);
        let name = if is_known || self.by_site.len() < MOST { site } else { SHARED };
        let name = self.by_site.get_key_value(name).map_or_else(|| name.into(), |(name, _)| Arc::clone(name));
        (Arc::clone(&name), self.by_site.entry(name).or_default())
    }
}

impl Account {
    /// Until when nothing is left of a limit; none when something is.
    fn outlook(&self, limit: &Limit, now: Timestamp) -> Option<Outlook> {
        let mut outlook = Outlook::default();
        let due = limit.due(&self.bucket);
        if !limit.has_place(self.in_use) {
            outlook.open();
            return Some(outlook);
        }
        outlook.expect(due, limit.rate.map_or(0.0, |rate| rate.per_second()));
        (due > now).then_some(outlook)
    }
}

impl Permit {
    /// Gives everything back, the token too: nothing was asked of the site.
    pub(crate) fn unused(self) {
        if let Some(rate) = self.sites.limit_of(&self.site).rate
            && let Some(account) = self.sites.accounts().by_site.get_mut(&self.site)
        {
            account.bucket.give_back(&rate);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(account) = self.sites.accounts().by_site.get_mut(&self.site) {
            account.in_use = account.in_use.saturating_sub(1);
            if let Some(freed) = &account.freed {
                freed.notify_one();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000 + millis * 1_000)
    }

    fn sites(named: &[(&str, Limit)], others: Limit) -> Arc<Sites> {
        let named = named.iter().map(|(site, limit)| ((*site).into(), *limit)).collect();
        Arc::new(Sites::new(SiteLimits { named, others }))
    }

    fn rate(per_second: f64, burst: u32) -> Limit {
        Limit { concurrency: None, rate: Some(Rate::new(per_second, burst)) }
    }

    #[test]
    fn names_of_a_site_share_its_limit_and_others_have_theirs() {
        let sites = sites(&[("shop.example", rate(2.0, 1))], Limit::NONE);
        assert!(sites.enter("www.shop.example:443", at(0)).unwrap().is_some());
        let outlook = sites.enter("api.shop.example:80", at(0)).unwrap_err();
        assert_eq!(outlook.wait(0, at(0)), Some(Duration::from_millis(500)));
        assert_eq!(outlook.wait(2, at(0)), Some(Duration::from_millis(1_500)));
        assert!(sites.enter("other.example:443", at(0)).unwrap().is_none());
        assert!(sites.is_limited("shop.example:443") && !sites.is_limited("other.example:443"));
        assert!(sites.enter("api.shop.example:80", at(500)).unwrap().is_some());
    }

    #[test]
    fn a_place_comes_back_and_a_token_when_it_was_not_used() {
        let limit = Limit { concurrency: Some(2), rate: Some(Rate::new(1.0, 3)) };
        let sites = sites(&[], limit);
        let enter = || sites.enter("a.example:80", at(0));
        let (first, second) = (enter().unwrap().unwrap(), enter().unwrap().unwrap());
        assert_eq!(enter().unwrap_err().wait(0, at(0)), None, "nobody knows when a place is left");
        first.unused();
        drop(second);
        let (third, fourth) = (enter().unwrap().unwrap(), enter().unwrap().unwrap());
        drop((third, fourth));
        assert_eq!(enter().unwrap_err().wait(0, at(0)), Some(Duration::from_secs(1)));
    }

    #[test]
    fn at_a_higher_rate_nobody_pays_the_debts_of_the_lower_one() {
        let sites = sites(&[], rate(0.001, 1));
        drop(sites.enter("a.example:80", at(0)).unwrap());
        sites.limit(SiteLimits { others: rate(10.0, 1), ..SiteLimits::default() }, at(0));
        assert_eq!(sites.enter("a.example:80", at(0)).unwrap_err().wait(0, at(0)), Some(Duration::from_millis(100)));
        assert!(sites.enter("a.example:80", at(100)).unwrap().is_some());
    }

    #[test]
    fn idle_sites_are_forgotten_and_a_flood_of_them_is_bounded() {
        let sites = sites(&[], rate(1.0, 1));
        for number in 0..10 * SWEEP as u64 {
            drop(sites.enter(&format!("site{number}.example:80"), at(number)));
        }
        // A bucket is full again after a second: a thousand are in use.
        assert!(sites.accounts().by_site.len() <= 3 * SWEEP);
        let held: Vec<_> =
            (0..MOST + 10).map(|number| sites.enter(&format!("held{number}.example:80"), at(0))).collect();
        assert!(sites.accounts().by_site.len() <= MOST + 1);
        assert!(held.iter().filter(|entered| entered.is_err()).count() >= 9, "those without an account share one");
    }
}
