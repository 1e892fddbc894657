//! `proxywhirl bans`: who is kept away from which site, and its end.

use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use proxywhirl_engine::BanInForce;

use super::ControlArgs;
use super::output::{count, print, table, tell, to_json};
use crate::control::api::{Lift, Lifted};
use crate::exit::{Exit, Failure};

/// Arguments of `bans`.
#[derive(Debug, Args)]
pub(super) struct BansArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the bans that are in force, those that end first before the others
    List(ListArgs),
    /// End bans before their time
    Lift(LiftArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Only those at this site: shop.example, * for those at all sites, or "session NUMBER"
    #[arg(value_name = "SITE")]
    site: Option<String>,
    #[command(flatten)]
    control: ControlArgs,
    /// Print a JSON array with an object a ban, for scripts
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct LiftArgs {
    /// Those at this site: shop.example, * for those at all sites, or "session NUMBER"
    #[arg(long, value_name = "SITE")]
    site: Option<String>,
    /// Those of this proxy, of which the password is not needed; or direct, the way without one
    #[arg(long, value_name = "URL")]
    proxy: Option<String>,
    /// All of them
    #[arg(long, conflicts_with_all = ["site", "proxy"])]
    all: bool,
    #[command(flatten)]
    control: ControlArgs,
    /// Print JSON, for scripts
    #[arg(long)]
    json: bool,
}

/// Carries out `bans`; when there is none that is meant, there is no result.
pub(super) async fn run(args: BansArgs) -> Result<Exit, Failure> {
    match args.command {
        Command::List(args) => list(args).await,
        Command::Lift(args) => lift(args).await,
    }
}

async fn list(args: ListArgs) -> Result<Exit, Failure> {
    let client = args.control.running().await?;
    let mut bans: Vec<BanInForce> = client.get("/v1/bans").await?;
    bans.retain(|ban| args.site.as_ref().is_none_or(|site| site.eq_ignore_ascii_case(&ban.site)));
    if args.json {
        print(&to_json(&bans)?)?;
    } else if bans.is_empty() {
        tell("nobody is banned there");
    } else {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        print(&in_rows(&bans, now))?;
    }
    Ok(if bans.is_empty() { Exit::NoResult } else { Exit::Done })
}

async fn lift(args: LiftArgs) -> Result<Exit, Failure> {
    if args.site.is_none() && args.proxy.is_none() && !args.all {
        return Err(Failure::new(Exit::Usage, "which bans?")
            .hint("those at a site with --site SITE, those of a proxy with --proxy URL, or --all of them"));
    }
    let client = args.control.running().await?;
    let lifted: Lifted = client.post("/v1/bans/lift", &Lift { site: args.site, proxy: args.proxy }).await?;
    if args.json {
        print(&to_json(&lifted)?)?;
    } else {
        tell(&format!("{} lifted", count(lifted.lifted, "ban", "bans")));
    }
    Ok(if lifted.lifted == 0 { Exit::NoResult } else { Exit::Done })
}

fn in_rows(bans: &[BanInForce], now: Duration) -> String {
    let rows = bans.iter().map(|ban| {
        let left = Duration::from_micros(ban.until).saturating_sub(now);
        vec![
            ban.site.clone(),
            ban.proxy.clone().unwrap_or_else(|| "not in the pool".to_owned()),
            ban.rule.clone(),
            humantime::format_duration(Duration::from_secs(left.as_secs())).to_string(),
        ]
    });
    table(&["SITE", "PROXY", "RULE", "FOR"], rows.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bans_are_told_with_what_is_left_of_them() {
        let ban = |site: &str, proxy: Option<&str>, until| BanInForce {
            site: site.to_owned(),
            proxy: proxy.map(str::to_owned),
            rule: "captcha".to_owned(),
            until,
        };
        let bans = [ban("shop.example", Some("http://u:***@1.2.3.4:80"), 61_500_000), ban("*", None, 3_601_000_000)];
        insta::assert_snapshot!(in_rows(&bans, Duration::from_secs(1)), @r"
        SITE          PROXY                    RULE     FOR
        shop.example  http://u:***@1.2.3.4:80  captcha  1m
        *             not in the pool          captcha  1h
        ");
    }
}
