//! Whom a user takes out: members, and those who want in, whom their check would bring.

use std::collections::{HashMap, HashSet};
use std::sync::Weak;

use proxywhirl_core::{Candidate, EndpointKey, MemberId, Tags};

use super::Keeper;

/// Who is meant by a user.
#[derive(Debug)]
pub struct Meant {
    members: HashSet<EndpointKey>,
    seeking: HashMap<MemberId, HashSet<EndpointKey>>,
}

/// How many a user has taken out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TakenOut {
    /// Members that have left.
    pub removed: usize,
    /// How many of them are kept out; fewer when there was no room to remember more.
    pub kept_out: usize,
    /// How many more wanted in, and are kept out.
    pub unproven: usize,
}

/// One who wants in, as far as it matters for who is meant.
struct Seeker {
    key: EndpointKey,
    tags: Tags,
    is_guess: bool,
}

impl Seeker {
    fn of(candidate: &Candidate) -> Self {
        Self { key: candidate.endpoint.key(), tags: candidate.tags.clone(), is_guess: candidate.is_guess }
    }
}

impl Keeper {
    /// Who is meant, among members and those who want in. Takes a while where there are many.
    #[must_use]
    pub fn meant(&self, is_meant: impl Fn(&EndpointKey, &Tags) -> bool) -> Meant {
        // First: who comes in meanwhile is a member then.
        let seeking = self.seeking(&is_meant);
        let snapshot = self.engine.snapshot();
        let members = snapshot.iter().filter_map(|member| {
            let key = member.endpoint.key();
            is_meant(&key, member.tags()).then_some(key)
        });
        Meant { members: members.collect(), seeking }
    }

    /// Takes out who is meant, as [`Engine::keep_out`](crate::Engine::keep_out) does.
    pub async fn take_out(&self, meant: Meant) -> TakenOut {
        let Meant { members, seeking } = meant;
        let (removed, kept_out) = self.engine.keep_out(members.iter().cloned().collect()).await;
        let keys: Vec<EndpointKey> = seeking.values().flatten().cloned().collect();
        let all = keys.len();
        // Those who have come in meanwhile leave too.
        let (late, kept) = self.engine.keep_out(keys).await;
        let is_kept = |key: &EndpointKey| kept == all || self.engine.keeps_out(MemberId::of(key));
        // One of which a protocol was a member is counted as that member.
        let unproven = seeking.values().filter(|own| own.is_disjoint(&members) && own.iter().all(is_kept)).count();
        TakenOut {
            removed: removed + late,
            kept_out: kept_out + late.min(kept),
            unproven: unproven.saturating_sub(late),
        }
    }

    /// Those who want in, as far as they are meant: who is being proven or was turned away, each with every key that it may come in by.
    pub(super) fn seeking(
        &self,
        is_meant: impl Fn(&EndpointKey, &Tags) -> bool,
    ) -> HashMap<MemberId, HashSet<EndpointKey>> {
        let proving: Vec<_> = self.proving().iter().filter_map(Weak::upgrade).collect();
        // Only copied while the book is held, which checks wait for.
        let strangers: Vec<Seeker> = self.book().strangers.values().map(Seeker::of).collect();
        let all = proving.iter().flat_map(|candidates| candidates.iter()).map(Seeker::of).chain(strangers);
        let mut seeking: HashMap<MemberId, HashSet<EndpointKey>> = HashMap::new();
        for Seeker { key, tags, is_guess } in all {
            let schemes = self.checker.may_find(key.scheme, is_guess);
            let keys = schemes.map(|scheme| EndpointKey { scheme, ..key.clone() });
            let meant: Vec<_> = keys.filter(|key| is_meant(key, &tags)).collect();
            if !meant.is_empty() {
                // The same one may be in both, and a guess in one of them only.
                seeking.entry(MemberId::of(&key)).or_default().extend(meant);
            }
        }
        seeking
    }
}
