//! `proxywhirl requests`: the last requests of the running gateway.

use std::time::SystemTime;

use clap::Args;
use proxywhirl_core::Stage;
use proxywhirl_engine::history::{AttemptRecord, RequestRecord};

use super::ControlArgs;
use super::output::{print, table, tell, to_json};
use crate::control::Client;
use crate::exit::{Exit, Failure};

/// Arguments of `requests`.
#[derive(Debug, Args)]
pub(super) struct RequestsArgs {
    /// Only those to this host
    #[arg(value_name = "HOST")]
    host: Option<String>,
    /// So many at the most
    #[arg(short = 'n', long, value_name = "N", default_value = "20")]
    limit: usize,
    /// Only those that failed
    #[arg(long)]
    failed: bool,
    #[command(flatten)]
    control: ControlArgs,
    /// Print a JSON array with an object a request, for scripts
    #[arg(long)]
    json: bool,
}

/// Carries out `requests`; without any there is no result.
pub(super) async fn run(args: RequestsArgs) -> Result<Exit, Failure> {
    let client = args.control.running().await?;
    let records = last(&client, args.host.as_deref(), args.limit, args.failed).await?;
    if args.json {
        print(&to_json(&records)?)?;
    } else if records.is_empty() {
        tell("no such request is remembered");
    } else {
        print(&in_rows(&records))?;
        tell("`proxywhirl explain NUMBER` says how one of them went");
    }
    Ok(if records.is_empty() { Exit::NoResult } else { Exit::Done })
}

/// Asks for the last requests, the newest first.
pub(super) async fn last(
    client: &Client,
    host: Option<&str>,
    limit: usize,
    failed: bool,
) -> Result<Vec<RequestRecord>, Failure> {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("limit", &limit.to_string()).append_pair("failed", if failed { "true" } else { "false" });
    if let Some(host) = host {
        query.append_pair("host", host);
    }
    client.get(&format!("/v1/requests?{}", query.finish())).await
}

/// A table of requests.
pub(super) fn in_rows(records: &[RequestRecord]) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let rows = records.iter().map(|record| {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let age = now.as_secs().saturating_sub(record.began / 1_000_000);
        vec![
            record.request.to_string(),
            format!("{age} s"),
            if record.protocol.is_empty() { "-".to_owned() } else { record.protocol.clone() },
            if record.method.is_empty() { "-".to_owned() } else { record.method.clone() },
            if record.target.is_empty() { "-".to_owned() } else { record.target.clone() },
            or_dash(record.status.map(|status| status.to_string())),
            or_dash(record.duration_ms.map(|duration| format!("{duration:.1} ms"))),
            record.attempts.len().to_string(),
            or_dash(by(record).map(|attempt| attempt.proxy.clone())),
            match (&record.fault, record.duration_ms) {
                _ if record.refused.is_some() => "refused: ".to_owned() + record.refused.as_deref().unwrap_or_default(),
                (Some(fault), _) => format!("{} {} at {}", fault.side, fault.kind, fault.stage),
                (None, Some(_)) => String::new(),
                (None, None) => "goes on".to_owned(),
            },
        ]
    });
    let mut header = vec!["REQUEST", "AGE", "BY", "METHOD", "TARGET", "STATUS", "TIME", "TRIES", "PROXY", "FAULT"];
    let mut rows: Vec<Vec<String>> = rows.collect();
    // Where nobody logs in, there is no such column.
    if records.iter().any(|record| record.user.is_some()) {
        header.insert(2, "USER");
        for (row, record) in rows.iter_mut().zip(records) {
            row.insert(2, record.user.clone().unwrap_or_else(|| "-".to_owned()));
        }
    }
    table(&header, rows)
}

/// The attempt whose answer the client got; of a request that goes on, the one that it has come to.
fn by(record: &RequestRecord) -> Option<&AttemptRecord> {
    let attempts = record.attempts.as_slice();
    if record.duration_ms.is_none() {
        return attempts.last();
    }
    // An answer that was as good as a fault, such as a refusal that a rule is about, is kept for a client that gets no better one.
    let is_kept = |attempt: &&AttemptRecord| {
        let fault = attempt.fault.as_ref().filter(|fault| fault.stage == Stage::FirstByte.as_str());
        fault.and_then(|fault| fault.code).is_some_and(|code| Some(code) == record.status)
    };
    attempts.iter().rfind(|attempt| attempt.latency_ms.is_some()).or_else(|| attempts.iter().find(is_kept))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn whose_answer_the_client_got_is_told_of_one_that_was_kept_back_as_well() {
        let attempt = |number: u32, latency: Option<f64>, code: Option<u16>| {
            let fault =
                json!({ "side": "origin", "stage": "first-byte", "kind": "denied", "code": code, "detail": "" });
            json!({ "number": number, "proxy": "http://192.0.2.1:8080", "picked_by": "plan", "picked_ms": 0.0,
                "ended_ms": 5.0, "latency_ms": latency, "fault": fault, "counted": false })
        };
        let told = |duration: Option<f64>, attempts: &[Value]| {
            let record = json!({ "request": 1, "began": 0, "protocol": "http", "method": "GET", "target": "a.test:80",
                "wants": [], "session": false, "attempts": attempts, "nobody": null, "status": 403,
                "duration_ms": duration, "fault": null });
            by(&serde_json::from_value(record).unwrap()).map(|attempt| attempt.number)
        };
        let (refused, closed) = (|number| attempt(number, None, Some(403)), |number| attempt(number, None, None));
        assert_eq!(told(Some(9.0), &[closed(1), refused(2), refused(3)]), Some(2), "the first of them");
        assert_eq!(told(Some(9.0), &[refused(1), attempt(2, Some(3.0), None), closed(3)]), Some(2));
        assert_eq!(told(Some(9.0), &[closed(1), attempt(2, None, Some(503))]), None);
        assert_eq!(told(None, &[refused(1), closed(2)]), Some(2), "as far as it has come");
    }
}
