//! What a keeper knows of whom.

use std::collections::HashMap;

use proxywhirl_core::{Candidate, Member, MemberId};

use crate::check::Checked;
use crate::check::schedule::{Next, Schedule, ScheduleConfig, Timetable};

/// What is known of whom. Locked for some instructions for each of those who are asked about.
#[derive(Debug)]
pub(super) struct Book {
    /// When members are due.
    pub(super) members: Timetable,
    /// Candidates that failed: they are no members.
    pub(super) strangers: HashMap<MemberId, Candidate>,
    /// When strangers are due.
    pub(super) schedule: Schedule<MemberId>,
    /// The snapshot that the book has seen.
    pub(super) epoch: u64,
    pub(super) random: fastrand::Rng,
}

impl Book {
    /// Nobody is known.
    pub(super) fn new(config: ScheduleConfig) -> Self {
        Self {
            members: Timetable::new(config),
            strangers: HashMap::new(),
            schedule: Schedule::new(config),
            epoch: 0,
            random: fastrand::Rng::new(),
        }
    }

    /// Takes a verdict about a member. None, and nothing happens, when that member is not known.
    pub(super) fn judged_member(&mut self, member: &Member, checked: &Checked) -> Option<Next> {
        let (verdict, chance) = (&checked.verdict, self.random.f64());
        self.members.judged(member.slot, member.id, verdict.is_alive(), verdict.at, chance)
    }

    /// Takes a verdict about a stranger; how many failures in a row there were.
    pub(super) fn judged(&mut self, id: MemberId, checked: &Checked) -> u32 {
        let chance = self.random.f64();
        self.schedule.judged(id, checked.verdict.is_alive(), checked.verdict.at, chance).failures
    }

    /// Forgets a stranger.
    pub(super) fn forget(&mut self, id: &MemberId) {
        self.strangers.remove(id);
        self.schedule.forget(id);
    }
}
