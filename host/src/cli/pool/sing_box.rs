//! Configurations of sing-box, as `pool import` reads them: `outbounds` that are HTTP or SOCKS proxies, and whether TLS is spoken to
//! them, which parsers of lists do not look at.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Configuration {
    outbounds: Vec<Value>,
}

#[derive(Deserialize)]
struct Outbound {
    r#type: String,
    #[serde(default)]
    server: Option<String>,
    /// A number, if it is right.
    #[serde(default)]
    server_port: Option<Value>,
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    tls: Option<Tls>,
}

#[derive(Deserialize)]
struct Tls {
    #[serde(default)]
    enabled: bool,
}

/// The proxies of a configuration as a list, one a line, in which an outbound that is another's business has its line too; none when it
/// is no such configuration.
pub(super) fn lines(bytes: &[u8]) -> Option<String> {
    let Configuration { outbounds } = serde_json::from_slice(bytes).ok()?;
    // One that makes no sense is no reason to take the others for something else, and for proxies without TLS.
    if !outbounds.is_empty() && outbounds.iter().all(|outbound| !outbound.get("type").is_some_and(Value::is_string)) {
        return None;
    }
    let line = |outbound: &Value| match serde_json::from_value::<Outbound>(outbound.clone()) {
        Ok(outbound) => outbound.line(),
        Err(_) => Some("an outbound that cannot be read".to_owned()),
    };
    Some(outbounds.iter().filter_map(line).map(|line| line + "\n").collect())
}

impl Outbound {
    /// Its line; none for one that leads to no server.
    fn line(&self) -> Option<String> {
        let server = self.server.as_deref()?;
        let has_tls = self.tls.as_ref().is_some_and(|tls| tls.enabled);
        let scheme = match (self.r#type.as_str(), self.version.as_deref(), has_tls) {
            ("http", _, false) => "http",
            ("http", _, true) => "https",
            ("socks", Some("4"), false) => "socks4",
            ("socks", Some("4a"), false) => "socks4a",
            ("socks", None | Some("5"), false) => "socks5",
            // What it is says why it is rejected.
            (other, _, _) => other,
        };
        let host = if server.contains(':') { format!("[{server}]") } else { server.to_owned() };
        let port = match &self.server_port {
            None => String::new(),
            Some(Value::String(port)) => format!(":{port}"),
            Some(port) => format!(":{port}"),
        };
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let login = self.username.as_deref().map_or_else(String::new, |username| {
            format!("{}:{}@", encoded(username), encoded(self.password.as_deref().unwrap_or_default()))
        });
        Some(format!("{scheme}://{login}{host}{port}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_makes_https_of_http_and_what_is_no_proxy_has_its_line() {
        let text = r#"{"log": {}, "outbounds": [
            {"type": "direct", "tag": "direct"},
            {"type": "http", "tag": "a", "server": "gate.example", "server_port": 8443, "username": "me", "password": "a b:c",
             "tls": {"enabled": true}},
            {"type": "http", "server": "2001:db8::1", "server_port": 80, "tls": {"enabled": false}},
            {"type": "socks", "server": "192.0.2.1", "server_port": 1080, "version": "4a"},
            {"type": "socks", "server": "192.0.2.2", "server_port": 1080},
            {"type": "vmess", "server": "192.0.2.3", "server_port": 443}
        ]}"#;
        let lines = lines(text.as_bytes()).unwrap();
        assert_eq!(
            lines,
            "https://me:a%20b%3Ac@gate.example:8443\nhttp://[2001:db8::1]:80\nsocks4a://192.0.2.1:1080\n\
             socks5://192.0.2.2:1080\nvmess://192.0.2.3:443\n"
        );
    }

    #[test]
    fn an_outbound_that_makes_no_sense_costs_no_other_its_tls() {
        let text = r#"{"outbounds": [
            {"type": "http", "server": "192.0.2.1", "server_port": 8080, "username": "a b", "password": "c:d", "tls": {"enabled": true}},
            {"type": "socks", "server": "192.0.2.3", "server_port": "1080"},
            {"type": "socks", "server": "192.0.2.4", "server_port": 70000},
            {"type": "http", "server": 7, "password": "hunter2"},
            7
        ]}"#;
        assert_eq!(
            lines(text.as_bytes()).unwrap(),
            "https://a%20b:c%3Ad@192.0.2.1:8080\nsocks5://192.0.2.3:1080\nsocks5://192.0.2.4:70000\n\
             an outbound that cannot be read\nan outbound that cannot be read\n"
        );
    }

    #[test]
    fn what_is_none_is_no_configuration() {
        for text in ["", "{}", "[]", "{\"outbounds\": 7}", "http://192.0.2.1:80\n", "{\"outbounds\": [{\"type\": 1}]}"]
        {
            assert_eq!(lines(text.as_bytes()), None, "{text}");
        }
    }
}
