//! A pick for a session that sticks.

use super::ring::Ring;
use super::sight::Sight;
use crate::member::mix;
use crate::select::plan::{Mode, Stickiness};
use crate::select::random::Random;
use crate::select::sessions::{Pin, Sessions};

/// A pick for a session that sticks, from the first tier on that gives out members for good.
pub(super) struct Sticking<'a, 's> {
    pub(super) rest: &'a [Ring],
    pub(super) sight: Sight<'a, 's>,
    pub(super) sessions: &'a Sessions,
    pub(super) stickiness: &'a Stickiness,
    pub(super) session: u64,
}

impl Sticking<'_, '_> {
    /// The slot of the session's member.
    pub(super) fn pick(&self, random: &mut Random) -> Option<u32> {
        let now = self.sight.wish.now;
        let known = self.sessions.find(self.session, self.stickiness, now);
        if let Some(pin) = known.pin {
            let slot = self.held(pin);
            if slot.is_some() || self.stickiness.strict {
                return slot;
            }
        }
        // To hashing, the next life is another session.
        let hash = if known.life == 0 { self.session } else { mix(self.session ^ mix(u64::from(known.life))) };
        for ring in self.rest {
            let Some(slot) = ring.pick(&self.sight, Some(hash), random) else { continue };
            let Some(member) = self.sight.snapshot.id(slot).filter(|_| ring.mode() == Mode::Affinity) else {
                return Some(slot);
            };
            let ours = Pin { member, slot };
            let pin = self.sessions.bind(self.session, &known, ours, now);
            // Another request of the session may have been quicker: then both have its choice, if it can be used.
            let theirs = if pin.member == ours.member { None } else { self.held(pin) };
            return Some(theirs.unwrap_or(slot));
        }
        None
    }

    /// The slot of the member that the session is bound to, if the plan holds it and it may be handed out.
    fn held(&self, pin: Pin) -> Option<u32> {
        let sight = &self.sight;
        let slot = if sight.snapshot.id(pin.slot) == Some(pin.member) {
            pin.slot
        } else {
            // It comes from the store, or has left and joined again.
            let slot = self.rest.iter().find_map(|ring| ring.find(pin.member, sight))?;
            self.sessions.seen_at(self.session, Pin { slot, ..pin });
            slot
        };
        let is_home = self.rest.iter().any(|ring| ring.is_home(slot, sight));
        (is_home && sight.admits(slot)).then_some(slot)
    }
}

#[cfg(test)]
mod tests;
