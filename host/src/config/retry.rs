//! `[gateway.retry]` and `[gateway.hedge]`: how many attempts there may be beyond the first of each request, because one
//! failed or because it is slow.

use std::ops::RangeInclusive;
use std::time::Duration;

use proxywhirl_gateway::{HedgeConfig, RetryConfig};
use schemars::JsonSchema;
use serde::Deserialize;

use super::file::{LASTING, Span};

/// The most attempts for each request.
const MOST_SHARE: f32 = 100.0;

/// Statuses that may be asked about twice.
pub(super) const STATUSES: RangeInclusive<u16> = 400..=599;

/// `[gateway.retry]`, as it was written.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetrySection {
    /// So many of each request.
    #[schemars(range(min = 0, max = MOST_SHARE))]
    pub share: Option<f32>,
    /// So many in a window in any case.
    pub minimum: Option<u32>,
    /// How long an attempt is counted.
    #[schemars(extend("pattern" = LASTING))]
    pub window: Option<Span>,
}

impl RetrySection {
    /// What it means.
    pub(super) fn meaning(self) -> Result<RetryConfig, String> {
        self.budget("gateway.retry", MOST_SHARE, RetryConfig::default())
    }

    fn budget(self, section: &str, most: f32, default: RetryConfig) -> Result<RetryConfig, String> {
        let share = self.share.unwrap_or(default.share);
        if !(0.0..=most).contains(&share) {
            return Err(format!("{section}.share {share} is not in 0 to {most}"));
        }
        let window = self.window.map_or(default.window, |span| span.0);
        if !(Duration::from_secs(1)..=Duration::from_hours(1)).contains(&window) {
            return Err(format!("{section}.window is not in 1s to 1h"));
        }
        Ok(RetryConfig { share, minimum: self.minimum.unwrap_or(default.minimum), window })
    }
}

/// `[gateway.hedge]`, as it was written.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HedgeSection {
    /// Whether requests that say nothing of it are hedged.
    pub always: Option<bool>,
    /// So many hedges for each request.
    #[schemars(range(min = 0, max = 1))]
    pub share: Option<f32>,
    /// So many in a window in any case.
    pub minimum: Option<u32>,
    /// How long a hedge is counted.
    #[schemars(extend("pattern" = LASTING))]
    pub window: Option<Span>,
}

impl HedgeSection {
    /// What it means.
    pub(super) fn meaning(self) -> Result<HedgeConfig, String> {
        let Self { always, share, minimum, window } = self;
        let default = HedgeConfig::default();
        // No request has more than one.
        let budget = RetrySection { share, minimum, window }.budget("gateway.hedge", 1.0, default.budget)?;
        Ok(HedgeConfig { always: always.unwrap_or(default.always), budget })
    }
}

/// Statuses that are asked about twice.
pub(super) fn statuses(written: Option<&[u16]>, default: Vec<u16>) -> Result<Vec<u16>, String> {
    let Some(written) = written else { return Ok(default) };
    match written.iter().find(|status| !STATUSES.contains(*status)) {
        Some(status) => {
            Err(format!("gateway.retry_status {status} is not in {} to {}", STATUSES.start(), STATUSES.end()))
        }
        None => Ok(written.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{ConfigError, ConfigFile, Settings};

    fn settings(text: &str) -> Result<Settings, ConfigError> {
        let path = Path::new("proxywhirl.toml");
        Settings::from_file(ConfigFile::parse(text, path)?, path)
    }

    #[test]
    fn what_is_written_is_taken_over() {
        let text = "[gateway]\nfirst_flight = \"4KiB\"\nfirst_byte_timeout = \"2s\"\nretry_status = [503]\n\
                    [gateway.retry]\nshare = 0.5\nminimum = 3\nwindow = \"30s\"\n";
        let gateway = settings(text).unwrap().gateway;
        assert_eq!((gateway.first_flight, gateway.first_byte_timeout), (4096, Duration::from_secs(2)));
        assert_eq!(gateway.retry_status, [503]);
        assert_eq!(gateway.retry, RetryConfig { share: 0.5, minimum: 3, window: Duration::from_secs(30) });
    }

    #[test]
    fn hedges_are_as_written() {
        let hedge = settings("[gateway.hedge]\nalways = true\nshare = 0.5\nminimum = 0\n").unwrap().gateway.hedge;
        let budget = RetryConfig { share: 0.5, minimum: 0, window: Duration::from_secs(10) };
        assert_eq!(hedge, HedgeConfig { always: true, budget });
    }

    #[test]
    fn values_out_of_range_are_told_with_their_key() {
        let error = |text: &str| settings(text).unwrap_err().reason;
        insta::assert_snapshot!(error("[gateway.retry]\nshare = -1\n"), @"gateway.retry.share -1 is not in 0 to 100");
        insta::assert_snapshot!(error("[gateway.retry]\nwindow = \"0s\"\n"), @"gateway.retry.window is not in 1s to 1h");
        insta::assert_snapshot!(error("[gateway.hedge]\nshare = 2\n"), @"gateway.hedge.share 2 is not in 0 to 1");
        insta::assert_snapshot!(error("[gateway]\nretry_status = [200]\n"), @"gateway.retry_status 200 is not in 400 to 599");
        insta::assert_snapshot!(error("[gateway]\nfirst_flight = \"1MiB\"\n"), @"gateway.first_flight 1 MiB is more than 64 KiB");
    }
}
