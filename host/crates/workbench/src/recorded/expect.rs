//! What came of recorded events, and whether that is as expected.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::format::{Expected, ExpectedMetric, ExpectedRequest};
use super::listen::Series;
use super::server::Arrived;

/// What came of the events.
pub(super) struct Effects {
    pub(super) topics: Vec<&'static str>,
    pub(super) requests: Vec<Arrived>,
    pub(super) log: Vec<String>,
    pub(super) metrics: BTreeMap<Series, f64>,
    pub(super) keys: BTreeMap<String, String>,
    /// The errors with which `handle` answered.
    pub(super) refusals: Vec<String>,
}

impl Effects {
    /// Compares with what is expected; the first thing that does not hold.
    pub(super) fn check(&self, expected: &Expected) -> Result<(), String> {
        match (&expected.refused, self.refusals.first()) {
            (None, Some(error)) => return Err(format!("`handle` ended with an error: {error}{}", self.said())),
            (Some(text), _) if !self.refusals.iter().any(|error| error.contains(text.as_str())) => {
                return Err(format!("no call of `handle` ended with an error that contains {text:?}"));
            }
            (Some(_) | None, _) => {}
        }
        if let Some(topics) = &expected.topics {
            let (wanted, found): (BTreeSet<&str>, BTreeSet<&str>) =
                (topics.iter().map(String::as_str).collect(), self.topics.iter().copied().collect());
            if wanted != found {
                return Err(format!("it wants to hear {found:?}, expected is {wanted:?}"));
            }
        }
        if let Some(requests) = &expected.requests {
            self.check_requests(requests)?;
        }
        for part in &expected.log {
            if !self.log.iter().any(|line| line.contains(part.as_str())) {
                return Err(format!("no log line contains {part:?}{}", self.said()));
            }
        }
        for metric in &expected.metrics {
            self.check_metric(metric)?;
        }
        expected.kv.as_ref().map_or(Ok(()), |wanted| self.check_keys(wanted))
    }

    fn said(&self) -> String {
        self.log.iter().take(20).fold(String::new(), |text, line| format!("{text}\nit logged: {line}"))
    }

    fn check_requests(&self, expected: &[ExpectedRequest]) -> Result<(), String> {
        if expected.len() != self.requests.len() {
            let (found, wanted) = (self.requests.len(), expected.len());
            return Err(format!("{found} requests arrived, expected are {wanted}{}", self.said()));
        }
        for (index, (wanted, found)) in expected.iter().zip(&self.requests).enumerate() {
            fits(wanted, found).map_err(|error| format!("request {}: {error}", index + 1))?;
        }
        Ok(())
    }

    fn check_metric(&self, expected: &ExpectedMetric) -> Result<(), String> {
        let name = format!("proxywhirl_plugin_{}", expected.name);
        let fits = |series: &Series| {
            series.name == name && expected.labels.iter().all(|(label, value)| series.labels.get(label) == Some(value))
        };
        let matching: Vec<f64> =
            self.metrics.iter().filter(|(series, _)| fits(series)).map(|(_, value)| *value).collect();
        let sum: f64 = matching.iter().sum();
        if matching.is_empty() {
            let names: Vec<String> = self.metrics.keys().map(ToString::to_string).collect();
            return Err(format!("no metric {name} {:?}; there are: {}", expected.labels, names.join(", ")));
        }
        if (sum - expected.value).abs() > 1e-9 * expected.value.abs().max(1.0) {
            return Err(format!("{name} {:?} is {sum}, expected is {}", expected.labels, expected.value));
        }
        Ok(())
    }

    fn check_keys(&self, expected: &BTreeMap<String, String>) -> Result<(), String> {
        let wanted: BTreeSet<&String> = expected.keys().collect();
        let found: BTreeSet<&String> = self.keys.keys().collect();
        if let Some(key) = wanted.symmetric_difference(&found).next() {
            let word = if found.contains(key) { "has a key that is not expected" } else { "has no key" };
            return Err(format!("kv {word}: {key:?}"));
        }
        for (key, value) in expected.iter().filter(|(_, value)| *value != "*") {
            if self.keys.get(key) != Some(value) {
                return Err(format!("kv {key:?} holds {:?}, expected is {value:?}", self.keys.get(key)));
            }
        }
        Ok(())
    }
}

fn fits(expected: &ExpectedRequest, found: &Arrived) -> Result<(), String> {
    if expected.method.as_ref().is_some_and(|method| *method != found.method) {
        return Err(format!("the method is {}", found.method));
    }
    if expected.path.as_ref().is_some_and(|path| *path != found.path) {
        return Err(format!("the path is {}", found.path));
    }
    for (name, value) in &expected.headers {
        let sent = found.headers.get(&name.to_ascii_lowercase());
        if sent.is_none_or(|sent| value != "*" && sent != value) {
            return Err(format!("the header {name} is {sent:?}, expected is {value:?}"));
        }
    }
    if let Some(part) = &expected.contains
        && !found.body.contains(part.as_str())
    {
        return Err(format!("the body does not contain {part:?}: {}", beginning(&found.body)));
    }
    if let Some(wanted) = &expected.body {
        let body: Value = serde_json::from_str(&found.body)
            .map_err(|error| format!("the body is not JSON: {error}: {}", beginning(&found.body)))?;
        within(wanted, &body, "").map_err(|error| format!("{error}\nthe body is {}", beginning(&found.body)))?;
    }
    Ok(())
}

/// Whether everything that is wanted is there; objects may have more.
fn within(wanted: &Value, found: &Value, place: &str) -> Result<(), String> {
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => {
            for (name, value) in wanted {
                let place = format!("{place}/{name}");
                let field = found.get(name).ok_or_else(|| format!("there is no {place}"))?;
                within(value, field, &place)?;
            }
            Ok(())
        }
        (Value::Array(wanted), Value::Array(found)) if wanted.len() == found.len() => {
            let mut pairs = wanted.iter().zip(found).enumerate();
            pairs.try_for_each(|(index, (wanted, found))| within(wanted, found, &format!("{place}/{index}")))
        }
        (Value::Number(a), Value::Number(b)) if a.as_f64() == b.as_f64() => Ok(()),
        _ if wanted == found => Ok(()),
        _ => Err(format!("{} is {found}, expected is {wanted}", if place.is_empty() { "the body" } else { place })),
    }
}

fn beginning(text: &str) -> String {
    text.chars().take(500).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_may_have_more_than_is_wanted_and_a_list_may_not() {
        let found = json!({"events": [{"topic": "a", "at": 1}], "more": true});
        assert!(within(&json!({"events": [{"topic": "a"}]}), &found, "").is_ok());
        assert!(within(&json!({"events": []}), &found, "").is_err());
        let error = within(&json!({"events": [{"topic": "b"}]}), &found, "");
        assert_eq!(error, Err(r#"/events/0/topic is "a", expected is "b""#.to_owned()));
        assert_eq!(within(&json!({"less": 1}), &found, ""), Err("there is no /less".to_owned()));
    }
}
