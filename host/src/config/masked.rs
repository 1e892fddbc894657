//! Values without their secrets.

use proxywhirl_engine::source::masked_query;
use serde_json::Value;

/// What stands in place of a secret.
const MASK: &str = "***";

/// Parts of the names of keys whose values are secret.
const SECRET: [&str; 6] = ["password", "secret", "token", "api_key", "authorization", "cookie"];

/// Keys that only name where a secret is.
const NAMES: [&str; 1] = ["password_env"];

/// The value of a key without what is secret in it: passwords, fields of requests, and the passwords in URLs.
#[must_use]
pub fn masked(path: &[String], value: Value) -> Value {
    path.last().map_or(Value::Null, |name| mask(name, value))
}

fn mask(name: &str, value: Value) -> Value {
    match value {
        Value::Object(fields) if name.eq_ignore_ascii_case("headers") => {
            Value::Object(fields.into_iter().map(|(name, _)| (name, MASK.into())).collect())
        }
        Value::Object(fields) => {
            Value::Object(fields.into_iter().map(|(name, value)| (name.clone(), mask(&name, value))).collect())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(|value| mask(name, value)).collect()),
        Value::String(text) if is_secret(name) && !text.is_empty() => MASK.into(),
        Value::String(text) => Value::String(without_secrets(&text)),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_)) => other,
    }
}

/// Whether the value of a key of this name is secret.
pub(super) fn is_secret(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    !NAMES.contains(&lower.as_str()) && SECRET.iter().any(|part| lower.contains(part))
}

/// Stores that are servers: whatever stands before the last `@` of their URLs is user name and password.
const SERVERS: [&str; 4] = ["redis", "rediss", "valkey", "valkeys"];

/// A URL without the password in it, and without what sounds like a secret in its query.
pub(crate) fn without_secrets(text: &str) -> String {
    let shown = without_password(text);
    match shown.split_once('?') {
        Some((before, query)) if before.contains("://") => format!("{before}?{}", masked_query(query)),
        _ => shown,
    }
}

fn without_password(text: &str) -> String {
    if let Some((scheme, rest)) = text.split_once(':')
        && SERVERS.iter().any(|server| server.eq_ignore_ascii_case(scheme))
        && let Some((login, place)) = rest.rsplit_once('@')
    {
        let user = login.trim_start_matches('/').split_once(':').map_or("", |(user, _)| user);
        return format!("{scheme}://{user}:{MASK}@{place}");
    }
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    match authority.rsplit_once('@').and_then(|(user, _)| user.split_once(':')) {
        Some((user, password)) => {
            let after = rest.get(user.len() + 1 + password.len()..).unwrap_or_default();
            format!("{scheme}://{user}:{MASK}{after}")
        }
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_password_of_a_server_is_masked_though_it_is_not_encoded() {
        let shown = |url: &str| masked(&["store".to_owned(), "url".to_owned()], json!(url));
        assert_eq!(shown("redis://h:6379/1?pool=a"), json!("redis://h:6379/1?pool=a"));
        assert_eq!(shown("redis://:hunter2@h/1"), json!("redis://:***@h/1"));
        assert_eq!(shown("Valkeys://me:hun/ter?2@x@h,i/1"), json!("Valkeys://me:***@h,i/1"));
        // Mistakes, which are shown too.
        assert_eq!(shown("redis::hunter2@h"), json!("redis://:***@h"));
        assert_eq!(shown("rediss://hunter2@h"), json!("rediss://:***@h"));
    }

    #[test]
    fn secrets_are_masked_wherever_they_stand() {
        let sources = json!([{
            "name": "own",
            "location": "https://anna:s3cret@lists.example/a?b=c@d&token=s3cret&page=2",
            "password": "s3cret",
            "headers": { "X-Key": "s3cret" },
            "options": { "token": "s3cret", "field": "ip" },
        }]);
        let shown = masked(&["sources".to_owned()], sources).to_string();
        assert!(!shown.contains("s3cret"), "{shown}");
        assert!(
            shown.contains("https://anna:***@lists.example/a?b=c@d&token=***&page=2")
                && shown.contains("\"field\":\"ip\""),
            "{shown}"
        );
        let users = json!([{ "name": "anna", "password_env": "ANNA", "password_hash": "$argon2id$s3cret" }]);
        let shown = masked(&["users".to_owned()], users).to_string();
        assert!(shown.contains("ANNA") && !shown.contains("s3cret"), "{shown}");
        assert_eq!(masked(&["listen".to_owned()], json!("127.0.0.1:8080")), json!("127.0.0.1:8080"));
    }
}
