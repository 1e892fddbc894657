//! Leases on work in the server: a key that expires for each piece of work, with the gateway that has it.

use std::fmt;
use std::time::Duration;

use proxywhirl_core::MemberId;
use proxywhirl_core::shared::{Division, Finding, Found, Leases, Saying, Wish, Work};
use proxywhirl_core::store::StoreError;

use super::link::{Limits, Link, Refusal};
use super::url::RedisUrl;
use super::{Names, command, script};

/// No request waits for these: as long as is well below the term of a lease.
const LIMITS: Limits = Limits {
    connect: Duration::from_secs(2),
    answer: Duration::from_secs(2),
    bulk: Duration::from_secs(2),
    pause: Duration::from_millis(500),
};

/// Leases in a Redis or Valkey server.
#[derive(Debug)]
pub struct RedisLeases {
    link: Link,
    names: Names,
    node: String,
    /// The last of what was found by anybody that was heard; empty until then.
    heard: String,
}

impl RedisLeases {
    /// Those of a pool. Connects when it has to. `node` is the name of this gateway, which no other one may have.
    #[must_use]
    pub fn new(url: &RedisUrl, node: &str) -> Self {
        Self {
            link: Link::new(url.clone(), LIMITS),
            names: Names::of(url),
            node: node.to_owned(),
            heard: String::new(),
        }
    }

    fn ask(&mut self, wishes: &[(Work, Wish)], is_checker: bool, term: Duration) -> Result<Division, Refusal> {
        let mut keys = vec![self.names.name("checkers")];
        let mut arguments = vec![self.node.as_str()];
        let term = term.as_millis().to_string();
        arguments.extend([if is_checker { "1" } else { "0" }, &term]);
        for (work, wish) in wishes {
            keys.extend([self.names.name(&format!("lease:{}", Name(work))), self.mark(work)]);
            arguments.push(match wish {
                Wish::Have => "have",
                Wish::Leave => "leave",
            });
        }
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let ask = script(include_str!("leases.lua"), &keys, &arguments);
        let (checkers, holders, fresh): (Vec<String>, Vec<String>, Vec<u64>) = self.link.query(&ask)?;
        if holders.len() != wishes.len() || fresh.len() != wishes.len() {
            return Err(Refusal::new("answers with something else than leases"));
        }
        Ok(Division {
            checkers,
            holders: holders.into_iter().map(|holder| Some(holder).filter(|holder| !holder.is_empty())).collect(),
            fresh: fresh.into_iter().map(Duration::from_millis).collect(),
        })
    }

    /// The key that says that a piece of work was done.
    fn mark(&self, work: &Work) -> String {
        self.names.name(&format!("done:{}", Name(work)))
    }
}

impl Leases for RedisLeases {
    fn node(&self) -> &str {
        &self.node
    }

    fn divide(&mut self, wishes: &[(Work, Wish)], is_checker: bool, term: Duration) -> Result<Division, StoreError> {
        self.ask(wishes, is_checker, term).map_err(|refusal| self.link.error(refusal))
    }

    fn done(&mut self, work: &Work, fresh: Duration) -> Result<(), StoreError> {
        let (mark, fresh) = (self.mark(work), fresh.as_millis().max(1).to_string());
        let set = command("SET", [mark.as_str(), &self.node, "PX", &fresh]);
        self.link.query(&set).map_err(|refusal| self.link.error(refusal))
    }

    fn tell(&mut self, found: &[Found]) -> Result<Vec<Found>, StoreError> {
        let stream = self.names.name("found");
        let told: String = found.iter().map(write).collect();
        let tell = script(include_str!("found.lua"), &[&stream], &[&self.node, &self.heard, &told]);
        let (last, texts): (String, Vec<String>) =
            self.link.query(&tell).map_err(|refusal| self.link.error(refusal))?;
        self.heard = last;
        Ok(texts.iter().flat_map(|text| text.lines()).filter_map(read).collect())
    }

    fn say(&mut self, said: &[Saying], term: Duration) -> Result<Vec<(String, Vec<Saying>)>, StoreError> {
        let (key, term) = (self.names.name("said"), term.as_millis().to_string());
        // Names have no line breaks: they are told in lines of the log as well.
        let text: String = said.iter().map(|it| format!("{:016x} {}\n", it.hash, it.what.replace('\n', " "))).collect();
        let say = script(include_str!("said.lua"), &[&key], &[&self.node, &term, &text]);
        let others: Vec<(String, String)> = self.link.query(&say).map_err(|refusal| self.link.error(refusal))?;
        let saying = |line: &str| {
            let (hash, what) = line.split_once(' ')?;
            Some(Saying { what: what.into(), hash: u64::from_str_radix(hash, 16).ok()? })
        };
        Ok(others.into_iter().map(|(node, text)| (node, text.lines().filter_map(saying).collect())).collect())
    }
}

/// A line that says how a member was found.
fn write(found: &Found) -> String {
    let finding = match found.finding {
        Finding::Alive(Some(latency)) => latency.as_micros().to_string(),
        Finding::Alive(None) => "alive".to_owned(),
        Finding::Dead => "dead".to_owned(),
        Finding::Intercepts(quarantine) => format!("intercepts {}", quarantine.as_secs()),
    };
    format!("{:016x} {finding}\n", found.member.0)
}

/// What a line says; none when it says something else.
fn read(line: &str) -> Option<Found> {
    let (member, finding) = line.split_once(' ')?;
    let finding = match finding.split_once(' ') {
        None if finding == "alive" => Finding::Alive(None),
        None if finding == "dead" => Finding::Dead,
        None => Finding::Alive(Some(Duration::from_micros(finding.parse().ok()?))),
        Some(("intercepts", quarantine)) => Finding::Intercepts(Duration::from_secs(quarantine.parse().ok()?)),
        Some(_) => return None,
    };
    Some(Found { member: MemberId(u64::from_str_radix(member, 16).ok()?), finding })
}

/// The name of a piece of work.
struct Name<'a>(&'a Work);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Work::Source(name) => write!(f, "source:{name}"),
            Work::Checks(shard) => write!(f, "checks:{shard}"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::thread::sleep;

    use proxywhirl_core::limit::Rate;
    use proxywhirl_core::shared::{BucketOf, Buckets, Token};
    use proxywhirl_tests::{RedisServer, wait_until};

    use super::*;
    use crate::{RedisBuckets, StoreUrl};

    const PLAIN: [&str; 0] = [];
    const TERM: Duration = Duration::from_secs(60);

    fn of(url: &str, node: &str) -> RedisLeases {
        let StoreUrl::Redis(url) = url.parse().unwrap() else { panic!("{url}") };
        RedisLeases::new(&url, node)
    }

    fn source(name: &str) -> Work {
        Work::Source(name.into())
    }

    fn holder(leases: &mut RedisLeases, work: Work, wish: Wish, term: Duration) -> Option<String> {
        leases.divide(&[(work, wish)], false, term).unwrap().holders.remove(0)
    }

    #[test]
    fn a_piece_of_work_has_one_holder_until_it_is_left() {
        let server = RedisServer::start(PLAIN);
        let (mut one, mut other) = (of(&server.url(), "one"), of(&server.url(), "other"));
        let is = |name: &str| Some(name.to_owned());
        assert_eq!(holder(&mut one, source("a b"), Wish::Have, TERM), is("one"));
        for wish in [Wish::Have, Wish::Leave, Wish::Have] {
            assert_eq!(holder(&mut other, source("a b"), wish, TERM), is("one"), "{wish:?}");
        }
        assert_eq!(holder(&mut other, Work::Checks(3), Wish::Have, TERM), is("other"), "other work is other work");
        assert_eq!(holder(&mut one, source("a b"), Wish::Leave, TERM), None);
        assert_eq!(holder(&mut other, source("a b"), Wish::Have, TERM), is("other"));
    }

    #[test]
    fn who_says_nothing_for_its_term_has_nothing_any_more() {
        let server = RedisServer::start(PLAIN);
        let (mut one, mut other) = (of(&server.url(), "one"), of(&server.url(), "other"));
        let term = Duration::from_millis(400);
        let wish = [(Work::Checks(0), Wish::Have)];
        assert_eq!(one.divide(&wish, true, term).unwrap().checkers, ["one"]);
        sleep(Duration::from_millis(250));
        one.divide(&wish, true, term).unwrap();
        sleep(Duration::from_millis(250));
        let division = other.divide(&wish, true, term).unwrap();
        assert_eq!((division.checkers.len(), division.holders), (2, vec![Some("one".to_owned())]), "it was renewed");
        wait_until("the lease is over", || {
            let division = other.divide(&wish, true, term).unwrap();
            division.checkers == ["other"] && division.holders == [Some("other".to_owned())]
        });
        assert!(one.divide(&wish, false, term).unwrap().checkers == ["other"]);
    }

    #[test]
    fn what_one_finds_the_others_hear_once() {
        let server = RedisServer::start(PLAIN);
        let (mut one, mut other) = (of(&server.url(), "one"), of(&server.url(), "other"));
        let found = |member, finding| Found { member: MemberId(member), finding };
        let all = [
            found(u64::MAX, Finding::Alive(Some(Duration::from_micros(1_234)))),
            found(0, Finding::Alive(None)),
            found(7, Finding::Dead),
            found(8, Finding::Intercepts(Duration::from_hours(25))),
        ];
        assert!(one.tell(&all[..1]).unwrap().is_empty());
        assert!(other.tell(&[]).unwrap().is_empty(), "what was before is past");
        assert!(one.tell(&all).unwrap().is_empty());
        assert_eq!(other.tell(&all[2..]).unwrap(), all);
        assert!(other.tell(&[]).unwrap().is_empty());
        assert_eq!(one.tell(&[]).unwrap(), all[2..], "not its own");
        // What is no finding is passed over.
        let text = "nonsense\nxyz dead\n0 dead 1\n1 intercepts\n2 intercepts -1\n0000000000000009 dead\n";
        server.ask(&["XADD", "{proxywhirl:default}:found", "*", "node", "else", "found", text]);
        assert_eq!(one.tell(&[]).unwrap(), [found(9, Finding::Dead)]);
        server.ask(&["FLUSHALL"]);
        one.tell(&all[..1]).unwrap();
        assert_eq!(other.tell(&[]).unwrap(), all[..1]);
    }

    #[test]
    fn what_each_says_the_others_hear_for_a_while() {
        let server = RedisServer::start(PLAIN);
        let (mut one, mut other) = (of(&server.url(), "one"), of(&server.url(), "other"));
        let says =
            |hash| vec![Saying { what: "source a b".into(), hash }, Saying { what: "limits".into(), hash: u64::MAX }];
        assert_eq!(one.say(&says(1), Duration::from_millis(300)).unwrap(), []);
        assert_eq!(other.say(&says(2), TERM).unwrap(), [("one".to_owned(), says(1))]);
        assert_eq!(one.say(&says(3), Duration::from_millis(300)).unwrap(), [("other".to_owned(), says(2))]);
        wait_until("it is over", || other.say(&[], TERM).unwrap().is_empty());
        assert_eq!(one.say(&[], TERM).unwrap(), [("other".to_owned(), Vec::new())]);
    }

    #[test]
    fn what_was_done_need_not_be_done_again_for_a_while() {
        let server = RedisServer::start(PLAIN);
        let (mut one, mut other) = (of(&server.url(), "one"), of(&server.url(), "other"));
        let fresh =
            |leases: &mut RedisLeases| leases.divide(&[(source("a"), Wish::Leave)], false, TERM).unwrap().fresh[0];
        assert!(fresh(&mut one).is_zero());
        one.done(&source("a"), Duration::from_secs(30)).unwrap();
        let left = fresh(&mut other);
        assert!(left > Duration::from_secs(20) && left <= Duration::from_secs(30), "{left:?}");
        one.done(&source("a"), Duration::from_millis(1)).unwrap();
        wait_until("it is to be done again", || fresh(&mut other).is_zero());
    }

    #[test]
    fn in_a_cluster_and_with_no_more_rights_than_are_documented_all_of_it_works() {
        let (nodes, server) = (RedisServer::cluster(), RedisServer::start(PLAIN));
        let page = include_str!("../../../../docs/redis.md");
        let rule =
            page.lines().find_map(|line| line.trim().strip_prefix("ACL SETUSER proxywhirl on >secret ")).unwrap();
        let words = ["ACL", "SETUSER", "proxywhirl", "on", ">secret"].into_iter().chain(rule.split(' '));
        assert_eq!(server.ask(&words.collect::<Vec<_>>()), "+OK\r\n+OK\r\n");
        let user = format!("redis://proxywhirl:secret@127.0.0.1:{}", server.port());
        for url in [nodes[0].url(), nodes[2].url(), user] {
            let mut leases = of(&url, "one");
            let wishes = [(source("a"), Wish::Have), (Work::Checks(1), Wish::Leave)];
            let division = leases.divide(&wishes, true, TERM).unwrap();
            assert_eq!(division.holders, [Some("one".to_owned()), None]);
            leases.done(&source("a"), TERM).unwrap();
            assert!(leases.tell(&[Found { member: MemberId(1), finding: Finding::Dead }]).unwrap().is_empty());
            assert!(leases.say(&[Saying { what: "a".into(), hash: 1 }], TERM).unwrap().is_empty());
            let StoreUrl::Redis(url) = url.parse().unwrap() else { panic!("{url}") };
            let token = |of| Token { of, rate: Rate::new(1.0, 2) };
            let uses = [vec![token(BucketOf::Member(MemberId(1))), token(BucketOf::Site("a.example".into()))]];
            assert_eq!(RedisBuckets::new(&url).take(&uses).unwrap().len(), 1);
        }
    }
}
