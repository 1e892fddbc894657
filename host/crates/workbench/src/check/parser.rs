//! What the host relies on in a parser.

use std::path::Path;
use std::time::Instant;

use proxywhirl_core::plugin::{Document, FaultCause, Parsed, Parser, PluginFault};
use proxywhirl_core::select::random::Random;

use super::mutate::mutate;
use super::{Examined, SEED};
use crate::fixture;
use crate::report::{Answer, Report};
use crate::rotation::with_scene;
use crate::subject::WorkbenchError;

/// Bytes of a huge document.
const HUGE: usize = 8 * 1024 * 1024;

/// A list in each of the formats that the field has, when the author has none beside the plugin.
const LISTS: [(&str, &str); 5] = [
    (
        "list.txt",
        "# list\n203.0.113.7:8080\nsocks5://user:pa%40ss@198.51.100.2:1080\n[2001:db8::1]:3128 # six\nnot a proxy\n",
    ),
    ("list.csv", "ip,port,protocol,country_code\n203.0.113.7,8080,http,DE\n198.51.100.2,1080,socks5,\"US\"\n"),
    (
        "list.json",
        r#"{"proxies":[{"ip":"203.0.113.7","port":8080,"protocol":"http","anonymity":"elite"},{"ip":"198.51.100.2","port":"1080"}]}"#,
    ),
    ("list.jsonl", "{\"host\":\"203.0.113.7\",\"port\":8080}\n{\"host\":\"198.51.100.2\",\"port\":1080}\n"),
    (
        "list.html",
        "<html><table><tr><th>IP</th><th>Port</th></tr><tr><td>203.0.113.7</td><td>8080</td></tr></table></html>",
    ),
];

pub(super) fn check(it: &Examined<'_>, report: &mut Report) -> Result<(), WorkbenchError> {
    let parser = match it.loaded.plugins.parser(it.loaded.name()) {
        Ok(parser) => parser,
        Err(error) => {
            report.add("starts", "", Err(error.to_string()));
            return Ok(());
        }
    };
    let fixtures = it.subject.project().map(fixture::documents).transpose()?.unwrap_or_default();
    let mut seeds: Vec<Document> = fixtures;
    let own = seeds.len();
    seeds.extend(LISTS.iter().map(|(name, text)| fixture::document(name, text.as_bytes(), it.options)));
    report.add(
        "odd documents",
        "what a source sends is not what it says: an error page, an image, nothing at all",
        odd(it, &*parser),
    );
    report.add("huge document", "a list may have millions of lines", huge(it, &*parser));
    report.add(
        "mutated documents",
        "whatever a source sends may cost its document, not an instance",
        fuzz(it, &*parser, &seeds),
    );
    report.add("bounded answers", "an answer larger than its document is a bomb", bounded(&*parser, &seeds));
    report.add(
        "same document, same answer",
        "parsers run in parallel, each on a fresh instance",
        twice(&*parser, &seeds),
    );
    const KNOWS: &str = "the host finds the parser of a document by asking each how sure it is";
    match seeds.get(..own) {
        Some(own) if !own.is_empty() => report.add("knows its own fixtures", KNOWS, knows(&*parser, own)),
        _ => report.skip("knows its own fixtures", KNOWS, "there are no tests/*.input.* beside it"),
    }
    Ok(())
}

/// What it made of a document: a refusal is an answer, everything else is not.
fn parse(parser: &dyn Parser, document: &Document) -> Result<Option<Parsed>, PluginFault> {
    parser.sniff(document)?;
    match parser.parse(document) {
        Ok(parsed) => Ok(Some(parsed)),
        Err(fault) if fault.cause == FaultCause::Refused => Ok(None),
        Err(fault) => Err(fault),
    }
}

fn odd(it: &Examined<'_>, parser: &dyn Parser) -> Answer {
    let mut random = Random::new(SEED);
    let noise: Vec<u8> = (0..65_536).map(|_| u8::try_from(random.below(256)).unwrap_or(0)).collect();
    let documents: [(&str, Vec<u8>); 12] = [
        ("nothing", Vec::new()),
        ("one line break", b"\n".to_vec()),
        ("a zero byte", vec![0]),
        ("65,536 zero bytes", vec![0; 65_536]),
        ("65,536 random bytes", noise),
        ("text in Latin-1", b"203.0.113.7:8080 M\xfcnchen\n".repeat(100)),
        ("UTF-8 that is cut in a character", b"203.0.113.7:8080 \xf0\x9f\xa6".to_vec()),
        ("a line of a mebibyte", vec![b'7'; 1024 * 1024]),
        ("brackets a hundred thousand deep", b"[".repeat(100_000)),
        ("objects fifty thousand deep", br#"{"a":"#.repeat(50_000)),
        ("tables fifty thousand deep", b"<table><tr><td>".repeat(50_000)),
        ("an error page", b"<!doctype html><title>429</title><h1>Too Many Requests</h1>".to_vec()),
    ];
    let mut refused = 0;
    for (name, body) in &documents {
        let parsed = parse(parser, &fixture::document("odd.txt", body, it.options));
        refused += u32::from(parsed.map_err(|fault| format!("{name}: {}", with_scene(&fault)))?.is_none());
    }
    Ok(format!("{} documents, {refused} refused", documents.len()))
}

fn huge(it: &Examined<'_>, parser: &dyn Parser) -> Answer {
    let limit = it.limits.parser.call;
    let mut told = Vec::new();
    for (name, text) in LISTS {
        let body: Vec<u8> = text.as_bytes().iter().copied().cycle().take(HUGE).collect();
        let document = fixture::document(name, &body, it.options);
        let started = Instant::now();
        let parsed = parse(parser, &document);
        let parsed = parsed.map_err(|fault| format!("{name} again and again: {}", with_scene(&fault)))?;
        if started.elapsed() > limit {
            return Err(format!("{name} again and again took {:.1?}, the limit is {limit:.1?}", started.elapsed()));
        }
        if let Some(parsed) = parsed {
            told.push(format!("{name} {} entries in {:.1?}", parsed.entries.len(), started.elapsed()));
        }
    }
    Ok(format!(
        "8 MiB each: {} (limit {limit:.1?})",
        if told.is_empty() { "all refused".to_owned() } else { told.join(", ") }
    ))
}

fn fuzz(it: &Examined<'_>, parser: &dyn Parser, seeds: &[Document]) -> Answer {
    let (mut random, started) = (Random::new(SEED), Instant::now());
    let (mut done, mut refused, mut entries) = (0_u32, 0_u32, 0_usize);
    while done < it.thoroughness.mutations && started.elapsed() < it.thoroughness.patience {
        let Some(seed) = seeds.get(random.below(seeds.len())) else { break };
        let document = Document { body: mutate(&seed.body, &mut random).into(), ..seed.clone() };
        match parse(parser, &document) {
            Ok(parsed) => {
                entries += parsed.as_ref().map_or(0, |parsed| parsed.entries.len());
                refused += u32::from(parsed.is_none());
            }
            Err(fault) => return Err(format!("{}\n{}", with_scene(&fault), keep(&document, it.loaded.name()))),
        }
        done += 1;
    }
    Ok(format!("{done} documents, {refused} refused, {entries} entries in the others"))
}

/// Writes a document that breaks the plugin where the author can look at it.
fn keep(document: &Document, name: &str) -> String {
    let file = std::env::temp_dir().join(format!("proxywhirl-{name}-breaks.{}", extension(&document.url)));
    match std::fs::write(&file, &document.body) {
        Ok(()) => format!("the document is {} ({} bytes)", file.display(), document.body.len()),
        Err(error) => format!("the document has {} bytes and could not be kept: {error}", document.body.len()),
    }
}

fn extension(url: &str) -> &str {
    Path::new(url).extension().and_then(|extension| extension.to_str()).unwrap_or("bin")
}

fn bounded(parser: &dyn Parser, seeds: &[Document]) -> Answer {
    for seed in seeds {
        let body: Vec<u8> = seed.body.iter().copied().cycle().take(256 * 1024).collect();
        let parsed =
            parse(parser, &Document { body: body.into(), ..seed.clone() }).map_err(|fault| with_scene(&fault))?;
        if let Some(parsed) = parsed
            && parsed.entries.len() + parsed.rejected as usize > 256 * 1024
        {
            return Err(format!("{} entries of a document of 262144 bytes", parsed.entries.len()));
        }
    }
    Ok("never more entries than bytes".to_owned())
}

fn twice(parser: &dyn Parser, seeds: &[Document]) -> Answer {
    for seed in seeds {
        let both = [(); 2].map(|()| parse(parser, seed));
        let [one, other] = both.map(|parsed| parsed.map_err(|fault| with_scene(&fault)));
        if one? != other? {
            return Err(format!("{} is parsed differently the second time", seed.url));
        }
    }
    Ok(format!("{} documents", seeds.len()))
}

fn knows(parser: &dyn Parser, own: &[Document]) -> Answer {
    let mut told = Vec::new();
    for document in own {
        let sure = parser.sniff(document).map_err(|fault| with_scene(&fault))?;
        let parsed = parse(parser, document).map_err(|fault| with_scene(&fault))?;
        if parsed.is_some_and(|parsed| !parsed.entries.is_empty()) && sure == 0 {
            return Err(format!("it parses {}, but says that it is not in its format", document.url));
        }
        told.push(sure.to_string());
    }
    Ok(format!("how sure, of 100: {}", told.join(", ")))
}
