//! How other programs write proxies down, and what each of them cannot say.

use clap::ValueEnum;
use proxywhirl_core::endpoint::{Credentials, Endpoint};
use proxywhirl_core::{Host, Scheme};
use proxywhirl_store::exchange::RowForm;
use serde_json::json;

/// What a form does not say of a proxy that it names.
pub(super) type Unsaid = &'static str;

/// An entry, and what it does not say; or why the form cannot name the proxy.
type Entry = Result<(String, Vec<Unsaid>), &'static str>;

const PROTOCOL: Unsaid = "protocol";
const CREDENTIALS: Unsaid = "user name and password";
/// Who resolves names: SOCKS 5 and 5h are one word in most programs.
const RESOLVER: Unsaid = "that names are resolved by the proxy (socks5h)";
const RESOLVER_4: Unsaid = "that names are resolved by the proxy (socks4a)";
const NO_CHAINS: &str = "this form has no chains";
const NO_BLANKS: &str = "its login has blanks, which nobody else fills in";

/// How proxies are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Form {
    /// A URL a line
    Text,
    /// HOST:PORT a line, or HOST:PORT:USER:PASSWORD
    Plain,
    /// One JSON array of objects
    Json,
    /// A JSON object a line
    Jsonl,
    /// Comma-separated values with a header
    Csv,
    /// proxychains.conf: one of them at random for each connection
    Proxychains,
    /// A configuration of Clash or mihomo, in YAML
    Clash,
    /// A configuration of sing-box, in JSON
    SingBox,
    /// A script for browsers
    Pac,
    /// cache_peer lines of squid
    Squid,
    /// A backend of HAProxy
    Haproxy,
    /// A call of curl a line
    Curl,
    /// ALL_PROXY for a shell, a line each
    Env,
}

impl Form {
    /// The rows, for forms that say all that is known of a proxy.
    pub(super) const fn rows(self) -> Option<RowForm> {
        match self {
            Self::Json => Some(RowForm::Json),
            Self::Jsonl => Some(RowForm::JsonLines),
            Self::Csv => Some(RowForm::Csv),
            Self::Text
            | Self::Plain
            | Self::Proxychains
            | Self::Clash
            | Self::SingBox
            | Self::Pac
            | Self::Squid
            | Self::Haproxy
            | Self::Curl
            | Self::Env => None,
        }
    }

    /// Whether user names and passwords stand in it, for programs that take them as they are.
    const fn says_logins(self) -> bool {
        match self {
            Self::Text | Self::Json | Self::Jsonl | Self::Csv | Self::Pac | Self::Haproxy => false,
            Self::Plain | Self::Proxychains | Self::Clash | Self::SingBox | Self::Squid | Self::Curl | Self::Env => {
                true
            }
        }
    }

    /// A proxy in this form; they are numbered from 1.
    pub(super) fn entry(self, endpoint: &Endpoint, number: usize) -> Entry {
        if endpoint.via.is_some() && self != Self::Text {
            return Err(NO_CHAINS);
        }
        if endpoint.is_template() && self.says_logins() {
            return Err(NO_BLANKS);
        }
        match self {
            Self::Text | Self::Json | Self::Jsonl | Self::Csv => Ok((endpoint.to_url(), Vec::new())),
            Self::Plain => plain(endpoint),
            Self::Proxychains => proxychains(endpoint),
            Self::Clash => clash(endpoint, number),
            Self::SingBox => Ok(sing_box(endpoint, number)),
            Self::Pac => Ok(pac(endpoint)),
            Self::Squid => squid(endpoint, number),
            Self::Haproxy => haproxy(endpoint, number),
            // All that a URL may hold is percent-encoded, but for a zone, which no shell minds in quotes.
            Self::Curl => Ok((format!("curl --proxy '{}'", endpoint.to_url()), Vec::new())),
            Self::Env => Ok((format!("export ALL_PROXY='{}'", endpoint.to_url()), Vec::new())),
        }
    }

    /// A whole document with these entries.
    pub(super) fn document(self, entries: &[String]) -> String {
        let lines: String = entries.iter().map(|entry| format!("{entry}\n")).collect();
        match self {
            Self::Text | Self::Plain | Self::Json | Self::Jsonl | Self::Csv | Self::Squid | Self::Curl | Self::Env => {
                lines
            }
            Self::Proxychains => format!("random_chain\nchain_len = 1\nproxy_dns\n\n[ProxyList]\n{lines}"),
            Self::Clash => format!("proxies:\n{lines}"),
            Self::SingBox => format!("{{\"outbounds\": [\n{}\n]}}\n", entries.join(",\n")),
            Self::Pac => format!("function FindProxyForURL(url, host) {{\n  return \"{}\";\n}}\n", entries.join("; ")),
            Self::Haproxy => format!(
                "backend proxies\n    mode tcp\n    balance roundrobin\n    timeout connect 10s\n    timeout server 60s\n{lines}"
            ),
        }
    }
}

fn address(endpoint: &Endpoint) -> String {
    format!("{}:{}", endpoint.host, endpoint.port)
}

/// The host without the brackets of an IPv6 address.
fn bare(host: &Host) -> String {
    let text = host.to_string();
    text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).map(str::to_owned).unwrap_or(text)
}

/// Whether credentials can stand between white space or colons.
fn is_word(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control() || "#,;|\"'".contains(c))
}

fn plain(endpoint: &Endpoint) -> Entry {
    let unsaid = if endpoint.scheme == Scheme::Http { Vec::new() } else { vec![PROTOCOL] };
    let Some(Credentials { username, password }) = endpoint.credentials.as_deref() else {
        return Ok((address(endpoint), unsaid));
    };
    let password = password.expose();
    if !is_word(username) || !is_word(password) || username.contains([':', '@']) || password.contains(['[', '@']) {
        return Err("its user name or password has characters that divide fields, or is empty");
    }
    Ok((format!("{}:{username}:{password}", address(endpoint)), unsaid))
}

fn proxychains(endpoint: &Endpoint) -> Entry {
    let (kind, unsaid) = match endpoint.scheme {
        Scheme::Http => ("http", Vec::new()),
        Scheme::Https => return Err("proxychains speaks no TLS to proxies"),
        Scheme::Socks4 => ("socks4", Vec::new()),
        Scheme::Socks4a => ("socks4", vec![RESOLVER_4]),
        Scheme::Socks5 => ("socks5", Vec::new()),
        Scheme::Socks5h => ("socks5", vec![RESOLVER]),
    };
    if matches!(endpoint.host, Host::Name(_)) {
        return Err("proxychains wants an address, not a name");
    }
    let line = format!("{kind} {} {}", bare(&endpoint.host), endpoint.port);
    let Some(Credentials { username, password }) = endpoint.credentials.as_deref() else { return Ok((line, unsaid)) };
    if !is_word(username) || !is_word(password.expose()) {
        return Err("its user name or password has characters that divide fields, or is empty");
    }
    Ok((format!("{line} {username} {}", password.expose()), unsaid))
}

/// A text in quotes as JSON writes it, which YAML reads too.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn clash(endpoint: &Endpoint, number: usize) -> Entry {
    let (kind, unsaid) = match endpoint.scheme {
        Scheme::Http | Scheme::Https => ("http", Vec::new()),
        Scheme::Socks4 | Scheme::Socks4a => return Err("Clash speaks no SOCKS 4"),
        Scheme::Socks5 => ("socks5", Vec::new()),
        Scheme::Socks5h => ("socks5", vec![RESOLVER]),
    };
    let mut fields = format!(
        "name: proxy-{number}, type: {kind}, server: {}, port: {}",
        quoted(&bare(&endpoint.host)),
        endpoint.port
    );
    if let Some(Credentials { username, password }) = endpoint.credentials.as_deref() {
        fields += &format!(", username: {}, password: {}", quoted(username), quoted(password.expose()));
    }
    if endpoint.scheme == Scheme::Https {
        fields += ", tls: true";
    }
    Ok((format!("  - {{{fields}}}"), unsaid))
}

fn sing_box(endpoint: &Endpoint, number: usize) -> (String, Vec<Unsaid>) {
    let (kind, version, unsaid) = match endpoint.scheme {
        Scheme::Http | Scheme::Https => ("http", None, Vec::new()),
        Scheme::Socks4 => ("socks", Some("4"), Vec::new()),
        Scheme::Socks4a => ("socks", Some("4a"), Vec::new()),
        Scheme::Socks5 => ("socks", Some("5"), Vec::new()),
        Scheme::Socks5h => ("socks", Some("5"), vec![RESOLVER]),
    };
    let mut outbound = json!({
        "type": kind, "tag": format!("proxy-{number}"), "server": bare(&endpoint.host), "server_port": endpoint.port,
    });
    let mut set = |key: &str, value: serde_json::Value| {
        if let Some(fields) = outbound.as_object_mut() {
            fields.insert(key.to_owned(), value);
        }
    };
    if let Some(version) = version {
        set("version", version.into());
    }
    if let Some(Credentials { username, password }) = endpoint.credentials.as_deref() {
        set("username", (**username).into());
        set("password", password.expose().into());
    }
    if endpoint.scheme == Scheme::Https {
        set("tls", json!({ "enabled": true }));
    }
    (outbound.to_string(), unsaid)
}

fn pac(endpoint: &Endpoint) -> (String, Vec<Unsaid>) {
    let (word, resolver) = match endpoint.scheme {
        Scheme::Http => ("PROXY", None),
        Scheme::Https => ("HTTPS", None),
        Scheme::Socks4 => ("SOCKS4", None),
        Scheme::Socks4a => ("SOCKS4", Some(RESOLVER_4)),
        Scheme::Socks5 => ("SOCKS5", None),
        Scheme::Socks5h => ("SOCKS5", Some(RESOLVER)),
    };
    let credentials = endpoint.credentials.as_deref().map(|_| CREDENTIALS);
    (format!("{word} {}", address(endpoint)), resolver.into_iter().chain(credentials).collect())
}

fn squid(endpoint: &Endpoint, number: usize) -> Entry {
    if !endpoint.scheme.is_http() {
        return Err("squid speaks no SOCKS to proxies");
    }
    let host = bare(&endpoint.host);
    let mut line = format!("cache_peer {host} parent {} 0 no-query round-robin name=proxy-{number}", endpoint.port);
    if let Some(Credentials { username, password }) = endpoint.credentials.as_deref() {
        if username.is_empty() || username.starts_with('*') {
            return Err("squid wants a user name before the password, without an asterisk at its beginning");
        }
        // Percent-encoded, as in a URL, so that a white space ends nothing.
        let text = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        line +=
            &format!(" login={}:{}", text(username).replace('+', "%20"), text(password.expose()).replace('+', "%20"));
    }
    if endpoint.scheme == Scheme::Https {
        line += " tls";
    }
    Ok((line, Vec::new()))
}

fn haproxy(endpoint: &Endpoint, number: usize) -> Entry {
    let tls = if endpoint.scheme == Scheme::Https { " ssl verify required ca-file @system-ca" } else { "" };
    // Whose certificate it is to be.
    let whose = match &endpoint.host {
        Host::Name(name) if !tls.is_empty() => format!(" sni str({name}) verifyhost {name}"),
        Host::Name(_) | Host::V4(_) | Host::V6(_) | Host::Zoned(_) => String::new(),
    };
    let protocol = (!endpoint.scheme.is_http()).then_some(PROTOCOL);
    let credentials = endpoint.credentials.as_deref().map(|_| CREDENTIALS);
    // A name that does not resolve when it starts is no reason for HAProxy not to start.
    let line = format!("    server proxy-{number} {} check init-addr last,libc,none{tls}{whose}", address(endpoint));
    Ok((line, protocol.into_iter().chain(credentials).collect()))
}
