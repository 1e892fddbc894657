//! What others have changed, as the notices in the server say.
//!
//! Each save that changes rows leaves a notice with the URLs of their members. Notices are numbered without gaps, and only some
//! of them stay: whoever misses one, because it was away for long, reads everything again.

use std::collections::BTreeSet;

use proxywhirl_core::endpoint::Endpoint;
use proxywhirl_core::store::News;

use super::link::Refusal;
use super::{Found, PAGE, Redis, script};

/// What stands for members that are too many to be named.
const ALL: &str = "all";

impl Redis {
    /// Reads the notices since, and the members that they name.
    pub(super) fn hear(&mut self) -> Result<News, Refusal> {
        if std::mem::take(&mut self.has_missed) {
            return Ok(News { is_cut: true, ..News::default() });
        }
        let names = ["layout", "notices"].map(|what| self.names.name(what));
        let [layout, notices] = names.each_ref().map(String::as_str);
        let ask = script(include_str!("news.lua"), &[layout, notices], &[&self.epoch, &self.heard.to_string()]);
        let told: Vec<String> = self.link.query(&ask)?;
        let (mut urls, mut heard, mut is_cut) = (BTreeSet::new(), self.heard, false);
        // A pool that is lost has no notices; that it is lost is found out by who looks for that.
        for notice in told.chunks_exact(3) {
            let [number, node, members] = notice else { continue };
            let number = number.parse().unwrap_or(heard);
            is_cut |= number != heard + 1;
            heard = number;
            if *node != self.node {
                is_cut |= members == ALL;
                urls.extend(members.lines());
            }
        }
        let news = if is_cut { News { is_cut, ..News::default() } } else { self.news_of(urls)? };
        self.heard = heard;
        Ok(news)
    }

    fn news_of(&mut self, urls: BTreeSet<&str>) -> Result<News, Refusal> {
        let mut news = News::default();
        let urls: Vec<&str> = urls.into_iter().collect();
        for urls in urls.chunks(PAGE) {
            let bytes: Vec<&[u8]> = urls.iter().map(|url| url.as_bytes()).collect();
            for (found, url) in self.find_members(&bytes)?.into_iter().zip(urls) {
                match found {
                    Found::Member(member) => {
                        self.ledger.meet(&member);
                        news.members.push(*member);
                    }
                    Found::Nobody => {
                        // What is no URL names nobody who could leave.
                        let Ok(endpoint) = url.parse::<Endpoint>() else { continue };
                        self.ledger.part(&endpoint.key());
                        news.left.push(endpoint.key());
                    }
                    Found::Nonsense => {}
                }
            }
        }
        Ok(news)
    }
}
