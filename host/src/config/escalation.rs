//! `[gateway.escalation]`: through which tiers requests go, from what costs nothing to what costs most.

use std::time::Duration;

use proxywhirl_gateway::wanted::{Limits, Wanted};
use proxywhirl_gateway::{EscalationConfig, Tier, Way};
use schemars::JsonSchema;
use serde::Deserialize;

use super::file::Span;
use super::settings::at_least_one;

/// More tiers than this are a mistake.
const MOST: usize = 8;

/// `[gateway.escalation]`, as it was written.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EscalationSection {
    /// `direct`, `any`, or what a proxy must be: `tag:cheap`, `country:de tag:dear`.
    #[serde(default)]
    #[schemars(length(max = MOST))]
    pub tiers: Vec<String>,
    /// Attempts in a tier before the next one is asked.
    #[schemars(range(min = 1))]
    pub attempts: Option<u32>,
    /// How long a site begins at the tier that it needed.
    pub remember: Option<Span>,
    /// Whether `direct` may lead to private addresses.
    pub allow_private: Option<bool>,
}

impl EscalationSection {
    /// What it means.
    pub(super) fn meaning(&self, limits: Limits) -> Result<EscalationConfig, String> {
        let default = EscalationConfig::default();
        if self.tiers.len() > MOST {
            return Err(format!("gateway.escalation.tiers has {}: there may be {MOST}", self.tiers.len()));
        }
        let remember = self.remember.map_or(default.remember, |span| span.0);
        if remember > Duration::from_hours(24) {
            return Err("gateway.escalation.remember is more than 1d".to_owned());
        }
        let tier =
            |text: &String| tier(text, limits).map_err(|why| format!("gateway.escalation.tiers: {text:?}: {why}"));
        Ok(EscalationConfig {
            tiers: self.tiers.iter().map(tier).collect::<Result<_, String>>()?,
            attempts: at_least_one("gateway.escalation.attempts", self.attempts, default.attempts)?,
            remember,
            allow_private: self.allow_private.unwrap_or(default.allow_private),
        })
    }
}

fn tier(text: &str, limits: Limits) -> Result<Tier, String> {
    let way = match text {
        "direct" => Way::Direct,
        "any" => Way::Pool(None),
        text => {
            let form = "a tier is direct, any, or KEY:VALUE such as tag:cheap, several with a space between";
            let word = |word| str::split_once(word, ':').ok_or_else(|| form.to_owned());
            let words = text.split_whitespace().map(word).collect::<Result<Vec<_>, _>>()?;
            let wanted = Wanted::by_words(words, limits)?;
            let filter = wanted.filter.clone().ok_or_else(|| form.to_owned())?;
            if wanted != (Wanted { filter: Some(filter.clone()), ..Wanted::default() }) {
                return Err("it says more than what a proxy must be".to_owned());
            }
            Way::Pool(Some(filter))
        }
    };
    Ok(Tier { name: text.into(), way })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::tests::settings;

    #[test]
    fn tiers_are_ways_and_filters() {
        let text = "[gateway.escalation]\ntiers = [\"direct\", \"tag:cheap country:de\", \"any\"]\nattempts = 1\n\
                    remember = \"1h\"\nallow_private = true\n";
        let escalation = settings(text).unwrap().gateway.escalation;
        let names: Vec<_> = escalation.tiers.iter().map(|tier| &*tier.name).collect();
        assert_eq!(names, ["direct", "tag:cheap country:de", "any"]);
        assert_eq!((escalation.attempts, escalation.remember), (1, Duration::from_hours(1)));
        assert!(escalation.allow_private);
        let ways: Vec<_> = escalation.tiers.iter().map(|tier| &tier.way).collect();
        assert!(matches!(ways[..], [Way::Direct, Way::Pool(Some(_)), Way::Pool(None)]));
    }

    #[test]
    fn what_is_no_tier_is_told_with_its_text() {
        let error = |text: &str| settings(&format!("[gateway.escalation]\n{text}\n")).unwrap_err().reason;
        insta::assert_snapshot!(error("tiers = [\"cheap\"]"), @r#"gateway.escalation.tiers: "cheap": a tier is direct, any, or KEY:VALUE such as tag:cheap, several with a space between"#);
        insta::assert_snapshot!(error("tiers = [\"contry:de\"]"), @r#"gateway.escalation.tiers: "contry:de": contry: nobody knows it; there are country, state, city, asn, isp, zip, os, anonymity, protocol, tag, pool, session, hardsession, lifetime, sticky, sessionmode, strict, rotate, hedge, timeout, attempts, explain, residential, mobile and datacenter"#);
        insta::assert_snapshot!(error("tiers = [\"tag:a session:7\"]"), @r#"gateway.escalation.tiers: "tag:a session:7": it says more than what a proxy must be"#);
        insta::assert_snapshot!(error("attempts = 0"), @"gateway.escalation.attempts must be at least 1");
        insta::assert_snapshot!(error("remember = \"2d\""), @"gateway.escalation.remember is more than 1d");
    }
}
