//! Who takes part in a scenario: everybody who was ever in its pool.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use proxywhirl_core::live::{Health, Statistics};
use proxywhirl_core::pool::Admission;
use proxywhirl_core::store::StoredMember;
use proxywhirl_core::{Candidate, Endpoint, Host, MemberId, Scheme, Timestamp};

use super::format::{MAX_MEMBERS, Row};
use super::selector::Selector;

/// What a member answers in when nothing is said.
const RESPONDS: Duration = Duration::from_millis(100);

/// A member by its name, and what it is really like.
#[derive(Debug)]
pub(super) struct Player {
    pub(super) name: String,
    pub(super) group: String,
    pub(super) id: MemberId,
    pub(super) candidate: Candidate,
    statistics: Statistics,
    succeeds: f64,
    succeeds_at: BTreeMap<String, f64>,
    pub(super) responds: Duration,
}

impl Player {
    /// The share of its uses that go well.
    pub(super) fn succeeds(&self, site: Option<&str>) -> f64 {
        site.and_then(|site| self.succeeds_at.get(site)).copied().unwrap_or(self.succeeds)
    }

    /// How it joins the pool: with its history.
    pub(super) fn admission(&self, now: Timestamp) -> Admission {
        Admission::Restored(Box::new(StoredMember {
            endpoint: self.candidate.endpoint.clone(),
            tags: self.candidate.tags.clone(),
            country: self.candidate.country,
            anonymity: self.candidate.anonymity,
            added: now,
            statistics: Statistics { last_used: now, ..self.statistics },
            health: Health::Unknown,
        }))
    }
}

/// Everybody, in the order of joining.
#[derive(Debug, Default)]
pub(super) struct Cast {
    players: Vec<Player>,
    by_id: BTreeMap<MemberId, usize>,
    by_name: BTreeMap<String, usize>,
}

impl Cast {
    /// Adds the members of a row; their numbers. One who was there before and left joins again.
    pub(super) fn add(&mut self, row: &Row) -> Result<Vec<usize>, String> {
        let names: Vec<String> = match row.count {
            None => vec![row.name.clone()],
            Some(count) if count <= MAX_MEMBERS => (1..=count).map(|n| format!("{}-{n}", row.name)).collect(),
            Some(count) => return Err(format!("{count} members, the limit is {MAX_MEMBERS}")),
        };
        if row.count.is_some() && names.iter().any(|name| self.by_name.contains_key(name)) {
            return Err(format!("there are members named {} already", row.name));
        }
        let mut added = Vec::with_capacity(names.len());
        for name in names {
            let at = self.by_name.get(&name).copied().unwrap_or(self.players.len());
            let player = Self::player(row, name.clone(), at)?;
            self.by_name.insert(name, at);
            self.by_id.insert(player.id, at);
            match self.players.get_mut(at) {
                Some(place) => *place = player,
                None => self.players.push(player),
            }
            added.push(at);
        }
        Ok(added)
    }

    fn player(row: &Row, name: String, at: usize) -> Result<Player, String> {
        let address = u32::try_from(at).map_err(|_| "too many members".to_owned())?;
        let scheme = row.scheme.unwrap_or(Scheme::Http);
        let endpoint = Endpoint {
            scheme,
            // 10.0.0.0/8 has room for sixteen million.
            host: Host::V4(Ipv4Addr::from(0x0a00_0001 + address)),
            port: scheme.default_port(),
            credentials: None,
            via: None,
        };
        let chance = |share: f64| (0.0..=1.0).contains(&share);
        if !chance(row.succeeds) || !row.succeeds_at.values().all(|share| chance(*share)) {
            return Err(format!("{name}: `succeeds` is a share from 0 to 1"));
        }
        let latency = row.latency.map(|span| span.0);
        Ok(Player {
            name,
            group: row.name.clone(),
            id: MemberId::of(&endpoint.key()),
            candidate: Candidate {
                endpoint,
                tags: row.tags.iter().cloned().collect(),
                country: row.country,
                anonymity: row.anonymity.into(),
                line: 0,
                is_guess: false,
            },
            statistics: Statistics {
                successes: row.successes,
                failures: row.failures,
                latency,
                last_used: Timestamp::default(),
            },
            succeeds: row.succeeds,
            succeeds_at: row.succeeds_at.clone(),
            responds: row.responds.map(|span| span.0).or(latency).unwrap_or(RESPONDS),
        })
    }

    pub(super) fn len(&self) -> usize {
        self.players.len()
    }

    pub(super) fn get(&self, at: usize) -> Option<&Player> {
        self.players.get(at)
    }

    pub(super) fn name(&self, at: usize) -> &str {
        self.players.get(at).map_or("nobody", |player| &player.name)
    }

    /// The number of a member.
    pub(super) fn find(&self, id: MemberId) -> Option<usize> {
        self.by_id.get(&id).copied()
    }

    /// Those that the selectors mean; an error when one of them means nobody.
    pub(super) fn select(&self, selectors: &[Selector]) -> Result<Vec<usize>, String> {
        let mut chosen = vec![false; self.players.len()];
        for selector in selectors {
            let mut anybody = false;
            for (player, chosen) in self.players.iter().zip(&mut chosen) {
                if selector.picks(player) {
                    *chosen = true;
                    anybody = true;
                }
            }
            if !anybody {
                return Err(format!("`{selector}` means nobody"));
            }
        }
        Ok(chosen.iter().enumerate().filter(|(_, chosen)| **chosen).map(|(at, _)| at).collect())
    }

    /// The same for one selector.
    pub(super) fn select_one(&self, selector: &Selector) -> Result<Vec<usize>, String> {
        self.select(std::slice::from_ref(selector))
    }
}
