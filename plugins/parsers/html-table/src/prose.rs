//! The last resort, for pages without a table or a definition list of proxies: entries in the text of
//! list items, paragraphs and `<pre>`.
//!
//! A word is an entry when it has a port and its host is an address or has a dot. One that begins as
//! an address and a port do and is no entry is a rejection; all other words are prose.

use crate::page::add_written;
use crate::script::Scripts;
use crate::text;
use crate::tokens::{Tag, Token, Tokens};
use proxywhirl_plugin_sdk::parser::{Collector, Lines};
use proxywhirl_plugin_sdk::{Scheme, entry};
use std::borrow::Cow;

/// Gives the collector what is found, and tells whether anything was.
pub(crate) fn collect(body: &[u8], default: Scheme, collector: &mut Collector) -> bool {
    let before = collector.counts();
    let mut lines = Lines::new(body);
    let mut scripts = Scripts::default();
    let mut tokens = Tokens::new(body);
    let mut block = Cow::Borrowed(&b""[..]);
    let mut line = 1;
    loop {
        let at = tokens.place();
        let token = tokens.next();
        if block.is_empty() && matches!(token, Some(Token::Text(_) | Token::Script(_))) {
            line = lines.at(at);
        }
        match token {
            Some(Token::Text(piece)) => text::add(&mut block, piece),
            Some(Token::Script(code)) => add_written(&mut block, &scripts.run(code)),
            Some(Token::Start(Tag::Inline | Tag::Script | Tag::Image | Tag::Hidden, _)) => {}
            Some(Token::End(Tag::Inline | Tag::Script | Tag::Image | Tag::Hidden)) => {}
            Some(Token::Start(..) | Token::End(_)) => words(&std::mem::take(&mut block), line, default, collector),
            None => break,
        }
    }
    words(&block, line, default, collector);
    collector.counts() != before
}

fn words(block: &[u8], first_line: u32, default: Scheme, collector: &mut Collector) {
    for (line, text) in (first_line..).zip(block.split(|&byte| byte == b'\n')) {
        for word in text.split(|byte| byte.is_ascii_whitespace()).map(bare).filter(|word| has_port(word)) {
            match entry::parse(word, default) {
                Ok(found) if found.host.is_certain() => collector.accept(found.into_candidate(line)),
                Err(fault) if is_address(word) => collector.reject(line, word, fault),
                Ok(_) | Err(_) => {}
            }
        }
    }
}

/// The word without the punctuation after it.
fn bare(word: &[u8]) -> &[u8] {
    let end = word.iter().rposition(|byte| !b",;.".contains(byte)).map_or(0, |last| last + 1);
    word.get(..end).unwrap_or(word)
}

fn has_port(word: &[u8]) -> bool {
    word.array_windows().any(|[mark, digit]| *mark == b':' && digit.is_ascii_digit())
}

/// Whether it begins with numbers and dots, and a colon.
fn is_address(word: &[u8]) -> bool {
    let mut parts = word.splitn(2, |&byte| byte == b':');
    let address = parts.next().unwrap_or_default();
    let dots = address.iter().filter(|&&byte| byte == b'.').count();
    dots == 3 && address.iter().all(|&byte| byte.is_ascii_digit() || byte == b'.')
}
