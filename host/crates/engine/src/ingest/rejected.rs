//! Entries that are no proxies: the first of them, and how many for which reason.

use std::collections::BTreeMap;

use proxywhirl_core::Rejection;

use super::excerpt::{cut, mask};

/// How many rejections are kept with their text.
pub(super) const MAX_LISTED: usize = 100;
/// How many reasons are told apart: a parser that makes up a new one for each entry must not fill the memory.
const MAX_REASONS: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Rejected {
    listed: Vec<Rejection>,
    count: u64,
    reasons: BTreeMap<String, u64>,
}

impl Rejected {
    /// Begins with what the parser rejected: its examples, and how many there are in all.
    pub(super) fn new(examples: Vec<Rejection>, count: u64) -> Self {
        let mut rejected = Self::default();
        for example in examples {
            rejected.add(
                example.line,
                cut(&mask(&example.excerpt)),
                reason(example.excerpt.as_ref(), example.reason.as_ref()),
            );
        }
        let unlisted = count.saturating_sub(rejected.count);
        if unlisted > 0 {
            rejected.count += unlisted;
            rejected.reasons.insert("not listed".to_owned(), unlisted);
        }
        rejected
    }

    pub(super) fn add(&mut self, line: u32, excerpt: Box<str>, reason: String) {
        self.count += 1;
        count(&mut self.reasons, class(&reason), 1);
        // Twice as many as are told: the parser's and ours are put in order at the end.
        if self.listed.len() < 2 * MAX_LISTED {
            self.listed.push(Rejection { line, excerpt, reason: cut(&reason) });
        }
    }

    pub(super) fn finish(mut self) -> (Vec<Rejection>, u64, BTreeMap<String, u64>) {
        self.listed.sort_by_key(|rejection| rejection.line);
        self.listed.truncate(MAX_LISTED);
        (self.listed, self.count, self.reasons)
    }
}

/// A parser's reason; of a name beyond ASCII with how it is to be written, which no parser can know to say.
fn reason(excerpt: &str, reason: &str) -> String {
    let is_name = reason.starts_with("not a host") && !(excerpt.is_ascii() && reason.is_ascii());
    if is_name { format!("{reason}; a name beyond ASCII is written in punycode (xn--…)") } else { reason.to_owned() }
}

/// Counts a reason, as itself or, when there are too many, among the others.
pub(super) fn count(reasons: &mut BTreeMap<String, u64>, reason: String, count: u64) {
    let is_told_apart = reasons.len() < MAX_REASONS || reasons.contains_key(&reason);
    *reasons.entry(if is_told_apart { reason } else { "other".to_owned() }).or_default() += count;
}

/// What reasons have in common that differ in their particulars: `port N is not in 1..65535`, `private address`.
fn class(reason: &str) -> String {
    let head = reason.split(':').next().unwrap_or(reason);
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    let words: Vec<_> = head.split(' ').map(|word| if is_number(word) { "N" } else { word }).collect();
    cut(&words.join(" ")).into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn rejection(line: u32, excerpt: &str, reason: &str) -> Rejection {
        Rejection { line, excerpt: excerpt.into(), reason: reason.into() }
    }

    #[test]
    fn examples_are_in_order_and_counts_are_whole() {
        let examples = vec![
            rejection(2, "1.2.3.4:0:u:hunter2", "port 0 is not in 1..65535"),
            rejection(9, "1.2.3.4:70000", "port 70000 is not in 1..65535"),
        ];
        let mut rejected = Rejected::new(examples, 5);
        rejected.add(4, "10.0.0.1:80".into(), "private address: private network".to_owned());
        let (listed, count, reasons) = rejected.finish();
        assert_eq!(listed.iter().map(|rejection| rejection.line).collect::<Vec<_>>(), [2, 4, 9]);
        assert_eq!(&*listed.first().unwrap().excerpt, "1.2.3.4:0:u:***");
        assert_eq!(count, 6);
        let expected = [("not listed", 3), ("port N is not in 1..65535", 2), ("private address", 1)];
        assert_eq!(reasons.iter().map(|(class, count)| (class.as_str(), *count)).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_name_beyond_ascii_is_told_how_to_be_written() {
        let examples = vec![
            rejection(1, "bücher.example:80", "not a host: bücher.example"),
            rejection(2, "a..b:80", "not a host"),
        ];
        let (listed, _, reasons) = Rejected::new(examples, 2).finish();
        let told: Vec<_> = listed.iter().map(|rejection| &*rejection.reason).collect();
        let punycode = "not a host: bücher.example; a name beyond ASCII is written in punycode (xn--…)";
        assert_eq!((told, reasons["not a host"]), (vec![punycode, "not a host"], 2));
    }

    #[test]
    fn neither_examples_nor_reasons_grow_without_end() {
        let mut rejected = Rejected::new(Vec::new(), 0);
        for line in 0..1000 {
            rejected.add(line, "x".into(), format!("reason {}", "i".repeat(line as usize % 90)));
        }
        let (listed, count, reasons) = rejected.finish();
        assert_eq!((listed.len(), count), (MAX_LISTED, 1000));
        assert_eq!(reasons.len(), MAX_REASONS + 1);
        assert_eq!(reasons.values().sum::<u64>(), 1000);
    }
}
