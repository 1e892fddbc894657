//! `proxywhirl sites`: how proxies do at sites.

use std::time::{Duration, SystemTime};

use clap::Args;
use proxywhirl_engine::AtSite;

use super::ControlArgs;
use super::output::{print, table, tell, to_json};
use crate::exit::{Exit, Failure};

/// Arguments of `sites`.
#[derive(Debug, Args)]
pub(super) struct SitesArgs {
    /// Only this site: shop.example, or a host below it
    #[arg(value_name = "SITE")]
    site: Option<String>,
    /// Only this proxy; its password is not needed
    #[arg(long, value_name = "URL")]
    proxy: Option<String>,
    /// Only proxies that are passed over, because they keep failing there
    #[arg(long)]
    passed_over: bool,
    /// So many at the most
    #[arg(short = 'n', long, value_name = "N", default_value = "100")]
    limit: usize,
    #[command(flatten)]
    control: ControlArgs,
    /// Print a JSON array with an object for each proxy and site, for scripts
    #[arg(long)]
    json: bool,
}

/// Carries out `sites`; when nothing is known, there is no result.
pub(super) async fn run(args: SitesArgs) -> Result<Exit, Failure> {
    let client = args.control.running().await?;
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("limit", &args.limit.to_string());
    query.append_pair("passed_over", if args.passed_over { "true" } else { "false" });
    query.extend_pairs(args.site.iter().map(|site| ("site", site)));
    query.extend_pairs(args.proxy.iter().map(|proxy| ("proxy", proxy)));
    let rows: Vec<AtSite> = client.get(&format!("/v1/sites?{}", query.finish())).await?;
    if args.json {
        print(&to_json(&rows)?)?;
    } else if rows.is_empty() {
        tell("nothing is known of proxies there");
    } else {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        print(&in_rows(&rows, now))?;
    }
    Ok(if rows.is_empty() { Exit::NoResult } else { Exit::Done })
}

fn in_rows(rows: &[AtSite], now: Duration) -> String {
    let cells = rows.iter().map(|row| {
        let age = now.saturating_sub(Duration::from_micros(row.last_used));
        vec![
            format!("{}:{}", row.site, row.port),
            row.proxy.clone(),
            share_of(row.success, row.uses),
            latency(row.latency_ms),
            format!("{} ago", humantime::format_duration(Duration::from_secs(age.as_secs()))),
            row.passed_over_until.map_or_else(|| "-".to_owned(), |until| left(until, now)),
        ]
    });
    table(&["SITE", "PROXY", "WENT WELL", "LATENCY", "USED", "PASSED OVER FOR"], cells.collect())
}

/// What is left until then.
fn left(until: u64, now: Duration) -> String {
    match Duration::from_micros(until).saturating_sub(now).as_secs() {
        0 => "the next request tries it".to_owned(),
        seconds => humantime::format_duration(Duration::from_secs(seconds)).to_string(),
    }
}

/// A share of some uses, for people.
pub(super) fn share_of(share: Option<f64>, uses: u32) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.0} % of {uses}", share * 100.0))
}

/// A latency, for people.
pub(super) fn latency(milliseconds: Option<f64>) -> String {
    milliseconds.map_or_else(|| "-".to_owned(), |latency| format!("{latency:.0} ms"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_how_proxies_do_and_for_how_long_they_are_passed_over() {
        let row = |success, uses, passed_over_until| AtSite {
            site: "shop.example".to_owned(),
            port: 443,
            proxy: "http://u:***@1.2.3.4:80".to_owned(),
            uses,
            success,
            latency_ms: success.map(|_| 81.6),
            last_used: 1_000_000,
            passed_over_until,
        };
        let rows = [row(Some(0.974), 39, None), row(None, 0, Some(95_000_000)), row(None, 0, Some(0))];
        insta::assert_snapshot!(in_rows(&rows, Duration::from_secs(62)), @r"
        SITE              PROXY                    WENT WELL   LATENCY  USED       PASSED OVER FOR
        shop.example:443  http://u:***@1.2.3.4:80  97 % of 39  82 ms    1m 1s ago  -
        shop.example:443  http://u:***@1.2.3.4:80  -           -        1m 1s ago  33s
        shop.example:443  http://u:***@1.2.3.4:80  -           -        1m 1s ago  the next request tries it
        ");
    }
}
