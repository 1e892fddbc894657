//! The lists that a world publishes: the same upstreams spread over four formats, with the overlap and the dirt that
//! lists on the web have.

use std::fmt::Write;

use crate::json::{Object, array};
use crate::origin::Origin;
use crate::upstream::{Credentials, Upstream};

/// The four lists, in the order of the formats below.
pub(super) const NAMES: [&str; 4] = ["proxies.txt", "proxies.json", "proxies.csv", "proxies.html"];
/// All upstreams, clean.
pub(super) const COMPLETE: &str = "all.txt";

const TEXT: usize = 0;
const JSON: usize = 1;
const CSV: usize = 2;
const HTML: usize = 3;

pub(super) fn publish(origin: &Origin, upstreams: &[Upstream]) {
    let on = |format: usize| {
        upstreams
            .iter()
            .enumerate()
            .filter(move |(index, upstream)| is_on(format, *index, upstream))
            .map(|(_, upstream)| upstream)
    };
    let complete: String = upstreams.iter().map(|upstream| format!("{}\n", upstream.url())).collect();
    let [text_name, json_name, csv_name, html_name] = NAMES;
    origin.publish(COMPLETE, "text/plain", complete);
    origin.publish(text_name, "text/plain; charset=utf-8", text(on(TEXT)));
    origin.publish(json_name, "application/json", json(on(JSON)));
    origin.publish(csv_name, "text/csv; charset=utf-8", csv(on(CSV)));
    origin.publish(html_name, "text/html; charset=utf-8", html(on(HTML)));
}

/// Each upstream is on two neighbouring lists; one with credentials never on the HTML list, which has no column for
/// them.
fn is_on(format: usize, index: usize, upstream: &Upstream) -> bool {
    let first = index % NAMES.len();
    let second = (index + 1) % NAMES.len();
    (format == first || format == second) && (format != HTML || upstream.credentials().is_none())
}

fn text<'a>(upstreams: impl Iterator<Item = &'a Upstream>) -> String {
    let mut out = String::from("# a list of the loopback world\r\n\r\n");
    for upstream in upstreams {
        out.push_str(&upstream.url());
        out.push_str("\r\n");
    }
    out.push_str("http://127.0.0.1:70000\r\nnot a proxy at all\r\n");
    out
}

fn json<'a>(upstreams: impl Iterator<Item = &'a Upstream>) -> String {
    array(upstreams.map(|upstream| {
        let object = Object::new()
            .text("protocol", upstream.protocol().scheme())
            .text("ip", &upstream.addr().ip().to_string())
            .number("port", upstream.addr().port().into());
        match upstream.credentials() {
            None => object.end(),
            Some(Credentials { user, password }) => object.text("username", user).text("password", password).end(),
        }
    }))
}

fn csv<'a>(upstreams: impl Iterator<Item = &'a Upstream>) -> String {
    let mut out = String::from("protocol,ip,port,username,password,country\r\n");
    for upstream in upstreams {
        let (user, password) =
            upstream.credentials().map_or(("", ""), |credentials| (&credentials.user, &credentials.password));
        // Writing to a String cannot fail.
        write!(
            out,
            "{},{},{},{},{},ZZ\r\n",
            upstream.protocol(),
            upstream.addr().ip(),
            upstream.addr().port(),
            quote(user),
            quote(password),
        )
        .ok();
    }
    out.push_str("http,127.0.0.1,,,,ZZ\r\n");
    out
}

/// A CSV field (RFC 4180), in quotes where it needs them.
fn quote(field: &str) -> String {
    if field.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

fn html<'a>(upstreams: impl Iterator<Item = &'a Upstream>) -> String {
    let mut out = String::from(
        "<!doctype html>\n<html><head><title>Free proxies</title></head><body>\n<table>\n\
         <thead><tr><th>IP Address</th><th>Port</th><th>Protocol</th><th>Country</th></tr></thead>\n<tbody>\n",
    );
    for upstream in upstreams {
        // Writing to a String cannot fail.
        writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>ZZ</td></tr>",
            upstream.addr().ip(),
            upstream.addr().port(),
            upstream.protocol().scheme().to_uppercase(),
        )
        .ok();
    }
    out.push_str("</tbody>\n</table>\n</body></html>\n");
    out
}
