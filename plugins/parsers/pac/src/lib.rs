//! PAC: proxies that a browser's automatic configuration names.
//!
//! **When to use.** Proxy auto-configuration files: JavaScript with a function `FindProxyForURL`, whose
//! answers are texts such as `PROXY 192.0.2.1:8080; SOCKS5 192.0.2.2:1080; DIRECT`; or such a text alone.
//!
//! **Options.** None.
//!
//! The script is not run: it is read for the answers in its string literals, so that all of them count,
//! whatever they depend on, and an answer that is put together from parts does not. Comments do not
//! count. `SOCKS` is SOCKS 5, as everywhere here and in Firefox; Chromium takes it for SOCKS 4. A
//! keyword with something behind it that is no address is a rejection.
//!
//! Reference: <https://developer.mozilla.org/docs/Web/HTTP/Proxy_servers_and_tunneling/Proxy_Auto-Configuration_PAC_file>.

mod literals;

use proxywhirl_plugin_sdk::entry::{self, Entry};
use proxywhirl_plugin_sdk::parser::{Collector, Document, Parser};
use proxywhirl_plugin_sdk::{Description, NoOptions, Scheme};

/// The function that makes a script a PAC file.
const FUNCTION: &str = "FindProxyForURL";

/// Proxy auto-configuration.
#[derive(Debug)]
pub struct Pac;

impl Parser for Pac {
    type Options = NoOptions;

    fn describe() -> Description {
        Description::new("pac", env!("CARGO_PKG_VERSION"), "Proxies that a PAC file (FindProxyForURL) names.")
    }

    fn sniff(document: &Document<'_>) -> u8 {
        let text = String::from_utf8_lossy(document.body);
        let is_script = text.contains(FUNCTION);
        // A page about PAC files is no PAC file.
        let is_page = text.trim_start().starts_with('<');
        if is_script && !is_page {
            96
        } else if document.content_type.contains("ns-proxy-autoconfig") {
            80
        } else {
            let first = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
            if answers_alone(first).any(|(_, address)| entry::parse(address.as_bytes(), Scheme::Http).is_ok()) {
                70
            } else {
                0
            }
        }
    }

    fn parse(document: &Document<'_>, _: &NoOptions, collector: &mut Collector) -> Result<(), String> {
        let text = String::from_utf8_lossy(document.body);
        let mut read = |line: u32, answers: &mut dyn Iterator<Item = (Scheme, &str)>| {
            for (scheme, address) in answers {
                match entry::parse(address.as_bytes(), scheme) {
                    Ok(found) => {
                        let scheme = found.scheme.or(Some(scheme));
                        collector.accept(Entry { scheme, ..found }.into_candidate(line));
                    }
                    Err(fault) => collector.reject(line, address.as_bytes(), fault),
                }
            }
        };
        if text.contains(FUNCTION) {
            literals::each(&text, &mut |line, literal| read(line, &mut answers(literal)));
            return Ok(());
        }
        (1..).zip(text.lines()).for_each(|(line, text)| read(line, &mut answers_alone(text)));
        if collector.counts() == (0, 0) {
            return Err(format!("there is neither {FUNCTION} nor an answer of it"));
        }
        Ok(())
    }
}

/// The proxies of an answer, each with its scheme and the text of its address. Empty unless the text
/// begins as an answer does.
fn answers(text: &str) -> impl Iterator<Item = (Scheme, &str)> {
    let is_answer = |part: &str| part.eq_ignore_ascii_case("DIRECT") || answer(part).is_some();
    let first = text.split(';').map(str::trim).find(|part| !part.is_empty());
    let parts = first.filter(|part| is_answer(part)).map(|_| text.split(';'));
    parts.into_iter().flatten().filter_map(answer)
}

/// The proxies of an answer that stands in no script: in capitals, as everybody writes it, because lists
/// begin with `http` too.
fn answers_alone(text: &str) -> impl Iterator<Item = (Scheme, &str)> {
    let is_capital = |word: &str| !word.bytes().any(|byte| byte.is_ascii_lowercase());
    let text = text.trim();
    text.split_whitespace().next().filter(|first| is_capital(first)).map(|_| answers(text)).into_iter().flatten()
}

/// `KEYWORD ADDRESS`.
fn answer(part: &str) -> Option<(Scheme, &str)> {
    const KEYWORDS: [(&str, Scheme); 6] = [
        ("PROXY", Scheme::Http),
        ("HTTP", Scheme::Http),
        ("HTTPS", Scheme::Https),
        ("SOCKS", Scheme::Socks5),
        ("SOCKS4", Scheme::Socks4),
        ("SOCKS5", Scheme::Socks5),
    ];
    let (keyword, address) = part.trim().split_once(char::is_whitespace)?;
    let (_, scheme) = KEYWORDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(keyword))?;
    Some((*scheme, address.trim()))
}

proxywhirl_plugin_sdk::export!(parser: Pac);

#[cfg(test)]
mod tests;
