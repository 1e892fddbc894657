#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use proxywhirl_core::plugin::{FaultCause, PluginIdentity};
use proxywhirl_core::{Anonymity, Credentials, Scheme};

use super::*;

/// A parser of lines `host:port`, as sure as it is told, or one that fails.
pub(crate) struct Fake {
    name: &'static str,
    score: Result<u8, FaultCause>,
    parses: bool,
}

impl Fake {
    pub(crate) fn lines(name: &'static str, score: u8) -> Self {
        Self { name, score: Ok(score), parses: true }
    }

    fn fault(&self, export: &'static str, cause: FaultCause) -> PluginFault {
        PluginFault::new(PluginIdentity::named(self.name), export, cause, "")
    }
}

impl Parser for Fake {
    fn name(&self) -> &str {
        self.name
    }

    fn sniff(&self, document: &Document) -> Result<u8, PluginFault> {
        assert!(document.body.len() <= SNIFF);
        assert!(std::str::from_utf8(&document.body).is_ok());
        self.score.map_err(|cause| self.fault("sniff", cause))
    }

    fn parse(&self, document: &Document) -> Result<Parsed, PluginFault> {
        if !self.parses {
            return Err(self.fault("parse", FaultCause::Refused));
        }
        let mut parsed = Parsed::default();
        for (line, text) in (1..).zip(std::str::from_utf8(&document.body).unwrap().lines()) {
            if let Some(url) = text.strip_prefix("follow ") {
                parsed.follow.push(url.to_owned());
                continue;
            }
            match text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?))) {
                Some((host, port)) => parsed.entries.push(entry(host, port, line)),
                None => {
                    parsed.rejected += 1;
                    parsed.rejections.push(Rejection { line, excerpt: text.into(), reason: "no port".into() });
                }
            }
        }
        Ok(parsed)
    }
}

fn entry(host: &str, port: u16, line: u32) -> Entry {
    Entry {
        scheme: None,
        host: host.parse().map_err(|_| host.into()),
        port,
        credentials: Ok(None),
        country: None,
        anonymity: Anonymity::Unknown,
        line,
    }
}

pub(crate) fn parsers<const N: usize>(fakes: [Fake; N]) -> Vec<Arc<dyn Parser>> {
    fakes.into_iter().map(|fake| Arc::new(fake) as Arc<dyn Parser>).collect()
}

fn document(body: &str) -> Document {
    Document {
        url: "list.txt".to_owned(),
        content_type: String::new(),
        body: Arc::from(body.as_bytes()),
        options: "{}".to_owned(),
        default_scheme: Scheme::Socks5,
    }
}

fn source(text: &str) -> Source {
    Source::new(text.parse().unwrap())
}

async fn parser_of(fakes: impl IntoIterator<Item = Fake>) -> Result<String, IngestError> {
    let parsers: Vec<_> = fakes.into_iter().map(|fake| Arc::new(fake) as Arc<dyn Parser>).collect();
    ingest(document("1.1.1.1:80"), &source("list.txt"), &parsers, false).await.map(|ingested| ingested.parser)
}

#[tokio::test]
async fn the_surest_parser_reads_and_text_loses_a_tie() {
    let lines = Fake::lines;
    assert_eq!(parser_of([lines("text", 50), lines("json", 90), lines("csv", 60)]).await.unwrap(), "json");
    assert_eq!(parser_of([lines("text", 50), lines("csv", 50)]).await.unwrap(), "csv");
    assert_eq!(parser_of([lines("a", 50), lines("b", 50)]).await.unwrap(), "a");
}

#[tokio::test]
async fn a_parser_that_fails_leaves_the_document_to_the_next() {
    let trap = Fake { name: "json", score: Err(FaultCause::Trap), parses: true };
    assert_eq!(parser_of([trap, Fake::lines("text", 1)]).await.unwrap(), "text");
    let liar = || Fake { name: "json", score: Ok(99), parses: false };
    assert_eq!(parser_of([liar(), Fake::lines("text", 1)]).await.unwrap(), "text");
    let other = Fake { name: "csv", score: Ok(50), parses: false };
    let error = parser_of([other, liar()]).await.unwrap_err().to_string();
    assert_eq!(error, "plugin json: refused in parse");
    let error = parser_of([Fake::lines("json", 0), Fake::lines("csv", 0)]).await.unwrap_err().to_string();
    assert_eq!(error, "no parser recognises the document; asked were: json, csv");
    assert!(parser_of([]).await.unwrap_err().to_string().ends_with("asked were: none"));
}

#[tokio::test]
async fn a_named_parser_is_the_only_one_that_is_asked() {
    let parsers = parsers([Fake::lines("text", 100), Fake::lines("csv", 0)]);
    let mut source = source("list.txt");
    source.parser = Some("csv".to_owned());
    let ingested = ingest(document("1.1.1.1:80"), &source, &parsers, false).await.unwrap();
    assert_eq!(ingested.parser, "csv");
    source.parser = Some("xml".to_owned());
    let error = ingest(document("1.1.1.1:80"), &source, &parsers, false).await.unwrap_err().to_string();
    assert_eq!(error, "there is no parser \"xml\"; there are: text, csv");
}

#[tokio::test]
async fn an_empty_document_has_no_entries_and_is_no_error() {
    let ingested = ingest(document(" \r\n\n"), &source("list.txt"), &[], false).await.unwrap();
    assert_eq!((ingested.entries, ingested.parser.as_str()), (0, ""));
}

#[tokio::test]
async fn every_entry_is_a_candidate_or_a_rejection_with_its_line() {
    let body = "1.1.1.1:80\nad!\n1.1.1.400:80\n1.1.1.2:0\n127.0.0.1:80\ngate.example:99\n169.254.169.254:80";
    let ingested =
        ingest(document(body), &source("list.txt"), &parsers([Fake::lines("text", 1)]), false).await.unwrap();
    let urls: Vec<_> = ingested.candidates.iter().map(|c| (c.line, c.endpoint.to_url())).collect();
    assert_eq!(urls, [(1, "socks5://1.1.1.1:80".to_owned()), (6, "socks5://gate.example:99".to_owned())]);
    let rejections: Vec<_> = ingested.rejections.iter().map(ToString::to_string).collect();
    assert_eq!(
        rejections,
        [
            "line 2: no port (\"ad!\")",
            "line 3: not a host: neither an IPv4 address nor a name (\"1.1.1.400:80\")",
            "line 4: port 0 is not in 1..65535 (\"1.1.1.2:0\")",
            "line 5: private address: loopback (\"127.0.0.1:80\")",
            "line 7: private address: cloud metadata (\"169.254.169.254:80\")",
        ]
    );
    assert_eq!((ingested.entries, ingested.rejected), (7, 5));
    assert_eq!(ingested.reasons["private address"], 2);
}

#[tokio::test]
async fn a_trusted_source_may_name_private_addresses() {
    let parsers = parsers([Fake::lines("text", 1)]);
    let mut source = source("list.txt");
    let count = async |source: &Source, allow_private| {
        ingest(document("127.0.0.1:80"), source, &parsers, allow_private).await.unwrap().candidates.len()
    };
    assert_eq!(count(&source, false).await, 0);
    assert_eq!(count(&source, true).await, 1);
    source.trust = true;
    assert_eq!(count(&source, false).await, 1);
}

#[test]
fn labels_say_who_brought_it() {
    let labels = |text: &str, name: &str, trust| {
        let tags = std::iter::once("eu".parse().unwrap()).collect();
        super::labels(&Source { name: name.to_owned(), trust, tags, ..source(text) }).to_string()
    };
    assert_eq!(labels("list.txt", "mine", true), "eu,source:mine,source:user");
    assert_eq!(labels("https://lists.example/a", "list", false), "eu,source:fetched,source:list");
    assert_eq!(labels("list.txt", "my list, new", false), "eu,source:my-list--new");
    assert_eq!(labels("https://lists.example/a", "user", false), "eu,source:fetched", "no name makes a source trusted");
    assert!(labels("list.txt", &"x".repeat(99), false).contains(&"x".repeat(57)));
}

#[test]
fn credentials_that_cannot_be_are_a_reason() {
    let rules = Rules { allow_private: false, tags: Tags::default() };
    let mut bad = entry("1.1.1.1", 80, 1);
    bad.credentials = Err("a control character in the user name or password".into());
    let (excerpt, reason) = endpoint(bad, &document(""), &rules).unwrap_err();
    assert_eq!((&*excerpt, reason.as_str()), ("1.1.1.1:80", "a control character in the user name or password"));
    let mut good = entry("1.1.1.1", 80, 1);
    good.scheme = Some(Scheme::Https);
    good.credentials = Ok(Some(Credentials::new("u", "p").unwrap()));
    assert_eq!(endpoint(good, &document(""), &rules).unwrap().to_url(), "https://u:p@1.1.1.1:80");
    let with_token = |scheme| {
        let credentials = Ok(Some(Credentials::new("u", &"p".repeat(1_000)).unwrap()));
        endpoint(Entry { scheme: Some(scheme), credentials, ..entry("1.1.1.1", 80, 1) }, &document(""), &rules)
    };
    assert!(with_token(Scheme::Http).is_ok());
    assert!(with_token(Scheme::Socks5).unwrap_err().1.ends_with("which SOCKS cannot carry"));
}

#[tokio::test]
async fn a_long_document_is_shown_in_part_and_never_in_the_middle_of_a_character() {
    for padding in 0..4 {
        let body = format!("{}{}", "x".repeat(padding), "😀".repeat(SNIFF / 4 + 10));
        let ingested =
            ingest(document(&body), &source("list.txt"), &parsers([Fake::lines("text", 1)]), false).await.unwrap();
        assert_eq!(ingested.rejected, 1);
        assert!(ingested.rejections[0].excerpt.len() <= 120);
    }
}

#[tokio::test]
async fn lines_that_are_chains_are_read_whatever_reads_the_rest() {
    let body = "1.1.1.1:80\n  socks5://u:p@2.2.2.2:1080 -> http://3.3.3.3:8080  # mine\r\nno port\n4.4.4.4:80\n";
    let parsers = parsers([Fake::lines("text", 1)]);
    let ingested = ingest(document(body), &source("list.txt"), &parsers, false).await.unwrap();
    let found: Vec<_> = ingested.candidates.iter().map(|found| (found.endpoint.to_url(), found.line)).collect();
    let expected = [
        ("socks5://1.1.1.1:80", 1),
        ("socks5://u:p@2.2.2.2:1080 -> http://3.3.3.3:8080", 2),
        ("socks5://4.4.4.4:80", 4),
    ];
    assert_eq!(found, expected.map(|(url, line)| (url.to_owned(), line)));
    // The parser sees an empty line where the chain was.
    assert_eq!(ingested.rejections.iter().map(|rejection| rejection.line).collect::<Vec<_>>(), [2, 3]);
    let alone = ingest(document("http://1.1.1.1->http://2.2.2.2"), &source("list.txt"), &[], false).await.unwrap();
    assert_eq!((alone.parser.as_str(), alone.candidates.len(), alone.entries), ("chains", 1, 1));
}

#[tokio::test]
async fn a_document_in_base64_is_read_as_the_text_that_it_is() {
    let body = "\u{feff}1.1.1.1:80\nsocks5://2.2.2.2:1080 -> http://u:p@3.3.3.3:8080\nno port\n";
    let encoded = document(&BASE64_STANDARD.encode(body));
    let ingested = ingest(encoded, &source("list.txt"), &parsers([Fake::lines("mine", 1)]), false).await.unwrap();
    let found: Vec<_> = ingested.candidates.iter().map(|found| (found.endpoint.to_url(), found.line)).collect();
    let expected = [("socks5://1.1.1.1:80", 1), ("socks5://2.2.2.2:1080 -> http://u:p@3.3.3.3:8080", 2)];
    assert_eq!(found, expected.map(|(url, line)| (url.to_owned(), line)));
    assert_eq!(ingested.rejections.last().unwrap().line, 3);
}

#[tokio::test]
async fn rows_that_are_chains_are_read_with_what_they_say() {
    let chain = "socks5://u:p%22@2.2.2.2:1080 -> http://3.3.3.3:8080";
    let row = format!(r#"{{"url":"{chain}","scheme":null,"country":"DE","anonymity":"elite","tags":[]}}"#);
    // What the parser gets of it is JSON still, wherever the chain stood.
    for (body, left) in [
        (format!("[\n{row},\n{{\"a\":1}}\n]\n"), "[\n\n{\"a\":1}\n]\n"),
        (format!("[\n{{\"a\":1}},\n{row}\n]\n"), "[\n{\"a\":1}\n\n]\n"),
        (format!("[\n{row},\n{row}\n]\n"), "[\n\n\n]\n"),
        (format!("{{\"a\":1}}\n{row}\n"), "{\"a\":1}\n\n"),
        (format!("scheme,host\n,{chain},,,,DE,elite,,\n"), "scheme,host\n\n"),
        (format!("scheme,host\n,\"{chain}\",,,,DE,elite,,\n"), "scheme,host\n\n"),
    ] {
        let (document, lines) = chains::take(document(&body), true);
        assert_eq!(String::from_utf8_lossy(&document.body), left);
        for line in lines {
            assert_eq!(line.chain.unwrap().to_url(), chain);
            assert_eq!((line.country, line.anonymity), ("DE".parse().ok(), Anonymity::Elite));
        }
    }
}

#[tokio::test]
async fn a_chain_that_cannot_be_costs_no_other_and_shows_no_password() {
    let body = "http://1.1.1.1:80 -> http://u:hunter2@2.2.2.2:0\n\
                http://1.1.1.1:80 -> http://10.0.0.1:80\n\
                http://1.1.1.1:80 -> http://2.2.2.2:80\n";
    let ingested = ingest(document(body), &source("list.txt"), &[], false).await.unwrap();
    assert_eq!((ingested.candidates.len(), ingested.rejected), (1, 2));
    let reasons: Vec<_> = ingested.rejections.iter().map(|rejection| &*rejection.reason).collect();
    assert_eq!(reasons, ["hop 2: port 0 is not in 1..65535", "private address: private network, hop 2"]);
    assert!(ingested.rejections.iter().all(|rejection| !rejection.excerpt.contains("hunter2")));
    let vouched = ingest(document(body), &source("list.txt"), &[], true).await.unwrap();
    assert_eq!(vouched.candidates.len(), 2);
}

#[test]
fn that_a_parser_has_too_little_memory_says_what_gives_it_more() {
    let told = |cause| {
        let fault =
            PluginFault::new(PluginIdentity::named("mine"), "parse", cause, "wanted 5 bytes of memory, the limit is 4");
        IngestError::Parser(fault).to_string()
    };
    assert!(
        told(FaultCause::Memory)
            .ends_with("the limit is 4; `[plugins.settings.mine] memory = \"1GiB\"` in the configuration raises that")
    );
    assert!(told(FaultCause::Trap).ends_with("the limit is 4"));
}
