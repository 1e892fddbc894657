//! What became of candidates that were to be proven.

use std::collections::BTreeMap;

use proxywhirl_core::Level;

use crate::check::Checked;
use crate::writer::Admissions;

/// What became of candidates.
#[derive(Debug, Clone, Default)]
pub struct Proven {
    /// What their admission came to.
    pub admissions: Admissions,
    /// Of how many something fresh was known already.
    pub fresh: u64,
    /// How many passed.
    pub alive: u64,
    /// How many failed.
    pub dead: u64,
    /// How many came how far, the dead and the living.
    pub passed: BTreeMap<Level, u64>,
    /// Why the dead failed, in a word each: `connect refused`.
    pub faults: BTreeMap<String, u64>,
}

impl Proven {
    pub(super) fn count(&mut self, checked: &Checked) {
        if let Some(level) = checked.verdict.passed {
            *self.passed.entry(level).or_default() += 1;
        }
        match &checked.verdict.fault {
            None => self.alive += 1,
            Some(fault) => {
                self.dead += 1;
                *self.faults.entry(format!("{} {}", fault.stage.as_str(), fault.kind.as_str())).or_default() += 1;
            }
        }
    }

    /// Adds what became of others.
    pub fn add(&mut self, other: Self) {
        self.admissions.add(other.admissions);
        self.fresh += other.fresh;
        self.alive += other.alive;
        self.dead += other.dead;
        for (level, count) in other.passed {
            *self.passed.entry(level).or_default() += count;
        }
        for (fault, count) in other.faults {
            *self.faults.entry(fault).or_default() += count;
        }
    }
}
