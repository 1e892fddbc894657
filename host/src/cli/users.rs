//! `proxywhirl users`: who may use how much, and uses it.

use std::time::{Duration, SystemTime};

use clap::Args;

use super::ControlArgs;
use super::output::{count, print, table, tell, to_json};
use crate::control::api::UserRow;
use crate::exit::{Exit, Failure};

/// Arguments of `users`.
#[derive(Debug, Args)]
pub(super) struct UsersArgs {
    #[command(flatten)]
    control: ControlArgs,
    /// Print a JSON array with an object a user, for scripts
    #[arg(long)]
    json: bool,
}

/// Carries out `users`; where nobody has to log in, there is no result.
pub(super) async fn run(args: UsersArgs) -> Result<Exit, Failure> {
    let client = args.control.running().await?;
    let rows: Vec<UserRow> = client.get("/v1/users").await?;
    if args.json {
        print(&to_json(&rows)?)?;
    } else if rows.is_empty() {
        tell("there are no users: nobody has to log in");
    } else {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        print(&in_rows(&rows, now))?;
    }
    Ok(if rows.is_empty() { Exit::NoResult } else { Exit::Done })
}

fn in_rows(rows: &[UserRow], now: Duration) -> String {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let cells = rows.iter().map(|row| {
        vec![
            row.name.clone(),
            match row.concurrency {
                Some(most) => format!("{} of {most}", row.open),
                None => row.open.to_string(),
            },
            or_dash(row.bytes.zip(row.quota).map(|(used, quota)| format!("{} of {}", bytes(used), bytes(quota)))),
            or_dash(row.period_ends.map(|ends| left(ends, now))),
            or_dash(row.rate.map(|rate| format!("{rate}/s"))),
        ]
    });
    table(&["USER", "UNDER WAY", "BYTES", "PERIOD ENDS IN", "RATE"], cells.collect())
}

/// What a user has used of what, in a line.
pub(super) fn in_words(row: &UserRow, now: Duration) -> String {
    let mut words = vec![match row.concurrency {
        Some(most) => format!("{} of {most} requests under way", row.open),
        None => count(u64::from(row.open), "request under way", "requests under way"),
    }];
    words.extend(row.bytes.zip(row.quota).map(|(used, quota)| format!("{} of {} used", bytes(used), bytes(quota))));
    words.extend(row.period_ends.map(|ends| format!("the period ends in {}", left(ends, now))));
    words.extend(row.rate.map(|rate| format!("at most {rate} requests a second")));
    format!("the user {}: {}", row.name, words.join(", "))
}

/// What is left until then.
fn left(ends: u64, now: Duration) -> String {
    let seconds = Duration::from_micros(ends).saturating_sub(now).as_secs();
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

/// Bytes, for people: rather fewer than there are, so that what seems used up is.
fn bytes(number: u64) -> String {
    let units: [(&str, u64); 3] = [("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];
    match units.into_iter().find(|(_, factor)| number >= *factor) {
        Some((unit, factor)) => format!("{}.{} {unit}", number / factor, number % factor * 10 / factor),
        None => format!("{number} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_what_users_have_used_of_what() {
        let anna = UserRow {
            name: "anna".to_owned(),
            open: 3,
            concurrency: Some(200),
            bytes: Some(9_999_999_999),
            quota: Some(10_000_000_000),
            period_ends: Some(3_662_500_000),
            rate: Some(0.5),
            refused: None,
        };
        let idle = UserRow { name: "idle".to_owned(), bytes: Some(0), period_ends: None, rate: None, ..anna.clone() };
        let free = UserRow { name: "free".to_owned(), concurrency: None, bytes: None, quota: None, ..idle.clone() };
        assert_eq!(
            in_words(&anna, Duration::from_secs(1)),
            "the user anna: 3 of 200 requests under way, 9.9 GB of 10.0 GB used, the period ends in 1h 1m 1s, at most 0.5 \
             requests a second"
        );
        assert_eq!(in_words(&free, Duration::from_secs(1)), "the user free: 3 requests under way");
        insta::assert_snapshot!(in_rows(&[anna, idle, free], Duration::from_secs(1)), @r"
        USER  UNDER WAY  BYTES              PERIOD ENDS IN  RATE
        anna  3 of 200   9.9 GB of 10.0 GB  1h 1m 1s        0.5/s
        idle  3 of 200   0 B of 10.0 GB     -               -
        free  3          -                  -               -
        ");
    }
}
