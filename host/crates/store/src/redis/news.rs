//! What others have changed, as the notices in the server say.
//!
//! Each save that changes rows leaves a notice with the URLs of their members, one with the names of sessions that are bound to another
//! one than before or were used, and one with what bans are about that were set or lifted. What became of them is read where it is
//! kept, so that the newest counts. Notices are numbered without gaps, and only some of them stay: whoever misses one, because it was
//! away for long, reads everything again.

use std::collections::BTreeSet;

use proxywhirl_core::endpoint::Endpoint;
use proxywhirl_core::store::News;

use super::link::Refusal;
use super::{Found, PAGE, Redis, many, row, script};

/// What stands for members that are too many to be named.
const ALL: &str = "all";

impl Redis {
    /// Reads the notices since, and the members that they name.
    pub(super) fn hear(&mut self) -> Result<News, Refusal> {
        self.found()?;
        if std::mem::take(&mut self.has_missed) {
            return Ok(News { is_cut: true, ..News::default() });
        }
        let names = ["layout", "notices"].map(|what| self.names.name(what));
        let [layout, notices] = names.each_ref().map(String::as_str);
        let ask = script(include_str!("news.lua"), &[layout, notices], &[&self.epoch, &self.heard.to_string()]);
        let told: Vec<String> = self.link.query(&ask)?;
        let [mut urls, mut names, mut places] = [const { BTreeSet::new() }; 3];
        let (mut heard, mut is_cut) = (self.heard, false);
        // A pool that is lost has no notices; that it is lost is found out by who looks for that.
        let [told_ever, same, newest, told @ ..] = told.as_slice() else { return Ok(News::default()) };
        // Others may have told as many since, or more.
        let is_another = !self.mark.is_empty() && !same.is_empty() && self.mark != *same;
        if is_another || told_ever.parse().is_ok_and(|told: u64| told < heard) {
            // It went back to what it was before: what came since is lost, and others will tell under numbers that were heard already.
            self.go_back()?;
            return Ok(News { is_cut: true, ..News::default() });
        }
        for notice in told.chunks_exact(4) {
            let [number, node, what, told] = notice else { continue };
            let number = number.parse().unwrap_or(heard);
            is_cut |= number != heard + 1;
            heard = number;
            if *node == self.node {
                continue;
            }
            match what.as_str() {
                "members" => {
                    is_cut |= told == ALL;
                    urls.extend(told.lines());
                }
                "sessions" => names.extend(told.lines()),
                "bans" => places.extend(told.lines()),
                // A later version may tell more.
                _ => {}
            }
        }
        let news = if is_cut {
            News { is_cut, ..News::default() }
        } else {
            let mut news = News::default();
            self.news_of(urls, &mut news)?;
            self.news_of_sessions(names, &mut news)?;
            self.news_of_bans(places, &mut news)?;
            // Not before all of it is there to be handed over: whoever is told of nothing knows what it knew.
            self.ledger.hear(&news);
            news
        };
        self.heard = heard;
        self.mark.clone_from(newest);
        Ok(news)
    }

    fn news_of(&mut self, urls: BTreeSet<&str>, news: &mut News) -> Result<(), Refusal> {
        let urls: Vec<&str> = urls.into_iter().collect();
        for urls in urls.chunks(PAGE) {
            let bytes: Vec<&[u8]> = urls.iter().map(|url| url.as_bytes()).collect();
            for (found, url) in self.find_members(&bytes)?.into_iter().zip(urls) {
                match found {
                    Found::Member(member) => news.members.push(*member),
                    Found::Nobody => {
                        // What is no URL names nobody who could leave.
                        news.left.extend(url.parse::<Endpoint>().map(|endpoint| endpoint.key()));
                    }
                    Found::Nonsense => {}
                }
            }
        }
        Ok(())
    }

    fn news_of_sessions(&mut self, names: BTreeSet<&str>, news: &mut News) -> Result<(), Refusal> {
        let names: Vec<&str> = names.into_iter().collect();
        for names in names.chunks(PAGE) {
            let bytes: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
            let held: Vec<Option<Vec<u8>>> = self.link.query(&many(&self.names.name("sessions"), &bytes))?;
            for (name, held) in bytes.iter().zip(held) {
                // One that is forgotten there may be remembered here.
                news.sessions.extend(held.and_then(|held| row::read_session(name, &held)));
            }
        }
        Ok(())
    }

    fn news_of_bans(&mut self, places: BTreeSet<&str>, news: &mut News) -> Result<(), Refusal> {
        let places: Vec<&str> = places.into_iter().collect();
        for places in places.chunks(PAGE) {
            let bytes: Vec<&[u8]> = places.iter().map(|place| place.as_bytes()).collect();
            let held: Vec<Option<Vec<u8>>> = self.link.query(&many(&self.names.name("bans"), &bytes))?;
            for (place, held) in places.iter().zip(held) {
                match held {
                    Some(held) => news.bans.extend(row::read_ban(place.as_bytes(), &held)),
                    None => news.lifted.extend(row::read_place(place.as_bytes())),
                }
            }
        }
        Ok(())
    }
}
