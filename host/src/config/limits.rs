//! `[limits]`: how much is asked of proxies and of sites, and how long requests wait for more.

use std::collections::HashMap;
use std::time::Duration;

use proxywhirl_core::Tag;
use proxywhirl_core::limit::{Limit, MemberLimits, Rate};
use proxywhirl_engine::ingest::tag_of;
use proxywhirl_engine::{LimitsConfig, SiteLimits};
use schemars::JsonSchema;
use serde::Deserialize;

use super::file::Span;

/// The most requests that may wait: each is a task with its buffers.
const MOST_WAITING: usize = 100_000;

/// The longest that a request may wait.
const LONGEST: Duration = Duration::from_hours(1);

/// `[limits]`, as it was written.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitsSection {
    /// How long a request waits at the most.
    pub wait: Option<Span>,
    /// How many requests wait at the most.
    #[schemars(range(max = MOST_WAITING))]
    pub queue: Option<usize>,
    /// Of each proxy.
    pub per_proxy: Option<LimitSection>,
    /// Of each site.
    pub per_site: Option<LimitSection>,
    /// Of some proxies.
    #[serde(default)]
    pub proxies: Vec<ProxiesSection>,
    /// Of some sites.
    #[serde(default)]
    pub sites: Vec<SiteSection>,
}

/// A limit.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitSection {
    /// Requests and tunnels at the same time.
    #[schemars(range(min = 1))]
    pub concurrency: Option<u32>,
    /// Requests in a second.
    #[schemars(range(min = *Rate::RANGE.start(), max = *Rate::RANGE.end()))]
    pub rate: Option<f64>,
    /// Requests at once after a pause.
    #[schemars(range(min = 1, max = Rate::MOST_BURST))]
    pub burst: Option<u32>,
}

/// `[[limits.proxies]]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProxiesSection {
    /// The source that they come from.
    pub source: Option<String>,
    /// Tags, of which they have all.
    #[serde(default)]
    pub tags: Vec<String>,
    /// As in [`LimitSection`].
    #[schemars(range(min = 1))]
    pub concurrency: Option<u32>,
    /// As in [`LimitSection`].
    #[schemars(range(min = *Rate::RANGE.start(), max = *Rate::RANGE.end()))]
    pub rate: Option<f64>,
    /// As in [`LimitSection`].
    #[schemars(range(min = 1, max = Rate::MOST_BURST))]
    pub burst: Option<u32>,
}

/// `[[limits.sites]]`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SiteSection {
    /// The registrable domain, or the address.
    pub site: String,
    /// As in [`LimitSection`].
    #[schemars(range(min = 1))]
    pub concurrency: Option<u32>,
    /// As in [`LimitSection`].
    #[schemars(range(min = *Rate::RANGE.start(), max = *Rate::RANGE.end()))]
    pub rate: Option<f64>,
    /// As in [`LimitSection`].
    #[schemars(range(min = 1, max = Rate::MOST_BURST))]
    pub burst: Option<u32>,
}

impl LimitsSection {
    /// What it means. `sources` are the names of those that there are.
    ///
    /// # Errors
    /// When a value is out of its range, or names what there is not.
    pub(super) fn meaning(&self, sources: &[&str]) -> Result<LimitsConfig, String> {
        let default = LimitsConfig::default();
        let wait = self.wait.map_or(default.wait, |span| span.0);
        if wait > LONGEST {
            return Err("limits.wait is longer than 1h".to_owned());
        }
        let queue = self.queue.unwrap_or(default.queue);
        if queue > MOST_WAITING {
            return Err(format!("limits.queue {queue} is more than {MOST_WAITING}"));
        }
        let each = |key: &str, limit: Option<LimitSection>| match limit {
            None => Ok(Limit::NONE),
            Some(limit) => limit.meaning().map_err(|why| format!("limits.{key}: {why}")),
        };
        let tagged =
            self.proxies.iter().enumerate().map(|(index, proxies)| {
                proxies.meaning(sources).map_err(|why| format!("limits.proxies[{index}]: {why}"))
            });
        let mut named = HashMap::new();
        for site in &self.sites {
            let limit = site.meaning()?;
            if named.insert(site.site.to_ascii_lowercase().into_boxed_str(), limit).is_some() {
                return Err(format!("limits.sites {:?}: site: it is there twice", site.site));
            }
        }
        Ok(LimitsConfig {
            members: MemberLimits {
                tagged: tagged.collect::<Result<_, _>>()?,
                others: each("per_proxy", self.per_proxy)?,
            },
            sites: SiteLimits { named, others: each("per_site", self.per_site)? },
            wait,
            queue,
        })
    }
}

impl LimitSection {
    fn meaning(self) -> Result<Limit, String> {
        let Self { concurrency, rate, burst } = self;
        if concurrency == Some(0) {
            return Err("concurrency must be at least 1".to_owned());
        }
        if let Some(rate) = rate.filter(|rate| !Rate::RANGE.contains(rate)) {
            return Err(format!("rate {rate} is not between one a day and {} a second", Rate::RANGE.end()));
        }
        if let Some(burst) = burst.filter(|burst| !(1..=Rate::MOST_BURST).contains(burst)) {
            return Err(format!("burst {burst} is not in 1 to {}", Rate::MOST_BURST));
        }
        let rate = match (rate, burst) {
            (None, Some(_)) => return Err("burst means nothing without rate".to_owned()),
            (None, None) => None,
            (Some(rate), Some(burst)) => Some(Rate::new(rate, burst)),
            // As many as come in a second, so that a rate alone is enough.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is in its range")]
            (Some(rate), None) => Some(Rate::new(rate, rate.ceil() as u32)),
        };
        Ok(Limit { concurrency, rate })
    }
}

impl ProxiesSection {
    fn meaning(&self, sources: &[&str]) -> Result<(Vec<Tag>, Limit), String> {
        let Self { source, tags, concurrency, rate, burst } = self;
        let of_source = |source: &str| {
            let tag = tag_of(source).filter(|_| sources.contains(&source));
            tag.ok_or_else(|| format!("source: there is no source {source:?}"))
        };
        let tag = |tag: &String| tag.parse::<Tag>().map_err(|error| format!("tags: {error}"));
        let tags: Vec<_> = tags.iter().map(tag).chain(source.as_deref().map(of_source)).collect::<Result<_, _>>()?;
        let limit = LimitSection { concurrency: *concurrency, rate: *rate, burst: *burst };
        let limit = limit.meaning()?;
        // Last, since it is about the whole of an entry.
        if tags.is_empty() {
            return Err("it says of no proxies: set source or tags, or use limits.per_proxy".to_owned());
        }
        Ok((tags, limit))
    }
}

impl SiteSection {
    fn meaning(&self) -> Result<Limit, String> {
        let Self { site, concurrency, rate, burst } = self;
        let registrable = proxywhirl_engine::registrable(site);
        if registrable.is_empty() || registrable != site || site.contains(|c: char| c.is_whitespace() || c == '/') {
            return Err(format!(
                "limits.sites {site:?}: site is none: write a domain as it is registered{}",
                if registrable.is_empty() || registrable == site {
                    String::new()
                } else {
                    format!(", {registrable:?}")
                }
            ));
        }
        let limit = LimitSection { concurrency: *concurrency, rate: *rate, burst: *burst };
        limit.meaning().map_err(|why| format!("limits.sites {site:?}: {why}"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::settings::tests::settings;
    use super::*;

    #[test]
    fn limits_mean_what_they_say() {
        let text = "[limits]\nwait = \"3s\"\nqueue = 50\nper_proxy = { concurrency = 100 }\nper_site = { rate = 2.5 }\n\
                    [[limits.proxies]]\nsource = \"paid\"\ntags = [\"fast\"]\nrate = 10\nburst = 20\n\
                    [[limits.sites]]\nsite = \"Shop.example\"\nconcurrency = 4\n\
                    [[sources]]\nname = \"paid\"\nlocation = \"-\"\n";
        let limits = settings(text).unwrap().limits;
        let tags: Vec<Tag> = ["fast", "source:paid"].map(|tag| tag.parse().unwrap()).to_vec();
        let rate = |per_second, burst| Some(Rate::new(per_second, burst));
        let expected = LimitsConfig {
            members: MemberLimits {
                tagged: vec![(tags, Limit { concurrency: None, rate: rate(10.0, 20) })],
                others: Limit { concurrency: Some(100), rate: None },
            },
            sites: SiteLimits {
                named: HashMap::from([("shop.example".into(), Limit { concurrency: Some(4), rate: None })]),
                others: Limit { concurrency: None, rate: rate(2.5, 3) },
            },
            wait: Duration::from_secs(3),
            queue: 50,
        };
        assert_eq!(limits, expected);
        assert!(settings("").unwrap().limits.is_none());
    }

    #[test]
    fn what_cannot_be_a_limit_is_told_with_its_place() {
        let error = |text: &str| settings(text).unwrap_err().reason;
        insta::assert_snapshot!(error("[limits]\nper_proxy = { concurrency = 0 }\n"), @"limits.per_proxy: concurrency must be at least 1");
        insta::assert_snapshot!(error("[limits]\nper_site = { burst = 3 }\n"), @"limits.per_site: burst means nothing without rate");
        insta::assert_snapshot!(error("[limits]\nper_site = { rate = 0 }\n"), @"limits.per_site: rate 0 is not between one a day and 1000000 a second");
        insta::assert_snapshot!(error("[limits]\nwait = \"2h\"\n"), @"limits.wait is longer than 1h");
        insta::assert_snapshot!(error("[limits]\nqueue = 1000000\n"), @"limits.queue 1000000 is more than 100000");
        insta::assert_snapshot!(error("[[limits.proxies]]\nrate = 1\n"), @"limits.proxies[0]: it says of no proxies: set source or tags, or use limits.per_proxy");
        insta::assert_snapshot!(error("[[limits.proxies]]\nsource = \"payd\"\nrate = 1\n"), @r#"limits.proxies[0]: source: there is no source "payd""#);
        insta::assert_snapshot!(error("[[limits.sites]]\nsite = \"www.shop.example.com\"\nrate = 1\n"), @r#"limits.sites "www.shop.example.com": site is none: write a domain as it is registered, "example.com""#);
        insta::assert_snapshot!(error("[[limits.sites]]\nsite = \"a.com\"\nrate = 1\n[[limits.sites]]\nsite = \"a.com\"\nrate = 2\n"), @r#"limits.sites "a.com": site: it is there twice"#);
        let unknown = settings("[limits]\nper_proxies = { rate = 1 }\n").unwrap_err();
        assert_eq!(unknown.hint.as_deref(), Some("did you mean per_proxy?"));
    }
}
