//! A pick for a session that sticks.

use super::ring::Ring;
use super::sight::Sight;
use crate::member::MemberId;
use crate::select::plan::{Mode, Stickiness};
use crate::select::random::Random;
use crate::select::sessions::{Known, Pin, Sessions, in_life};

/// How often a session that begins anew draws, so that it does not get the member again that it had.
const DRAWS: u32 = 8;

/// Which tiers sessions are at home in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Homes {
    /// Those that give out members for good.
    Affinity,
    /// All of them: the plan knows nothing of sessions, and the host keeps them where they came to.
    All,
}

/// A pick for a session that sticks, from the first tier on that gives out members for good.
pub(super) struct Sticking<'a, 's> {
    pub(super) rest: &'a [Ring],
    pub(super) sight: Sight<'a, 's>,
    pub(super) sessions: &'a Sessions,
    pub(super) homes: Homes,
    pub(super) stickiness: Stickiness,
    pub(super) session: u64,
}

impl Sticking<'_, '_> {
    /// The slot of the session's member.
    pub(super) fn pick(&self, random: &mut Random) -> Option<u32> {
        let mut known = self.sessions.find(self.session, &self.stickiness, self.sight.wish.now);
        let stick = self.sight.wish.stick;
        if stick.renew && !stick.beside {
            return self.renew(known, random);
        }
        if let Some(pin) = known.pin {
            let slot = self.held(pin);
            // A session leaves a member that is out of order, not one that has much to do: it waits for that.
            if slot.is_some() || self.stickiness.strict || self.waits_for(pin) {
                return slot;
            }
        }
        known.pin = None;
        let (slot, member) = self.draw(known.life, random)?;
        let Some(member) = member.filter(|_| !stick.beside) else { return Some(slot) };
        let ours = Pin { member, slot };
        let pin = self.sessions.bind(self.session, &known, ours, self.sight.wish.now);
        // Another request of the session may have been quicker: then both have its choice, if it can be used.
        let theirs = if pin.member == ours.member { None } else { self.held(pin) };
        Some(theirs.unwrap_or(slot))
    }

    /// Begins the session's next life, with another member than in its last one if there is one.
    fn renew(&self, mut known: Known, random: &mut Random) -> Option<u32> {
        let before = known.pin.take().map(|pin| pin.member);
        let mut drawn = None;
        for _ in 0..DRAWS {
            known.life = known.life.wrapping_add(u32::from(before.is_some() || drawn.is_some()));
            drawn = Some(self.draw(known.life, random)?);
            if drawn.is_some_and(|(slot, _)| before.is_none() || self.sight.snapshot.id(slot) != before) {
                break;
            }
        }
        let (slot, member) = drawn?;
        if let Some(member) = member {
            self.sessions.bind(self.session, &known, Pin { member, slot }, self.sight.wish.now);
        }
        Some(slot)
    }

    /// Draws a member for a life of the session: its slot, and its identity if the session is to be bound to it.
    fn draw(&self, life: u32, random: &mut Random) -> Option<(u32, Option<MemberId>)> {
        // To hashing, the next life is another session.
        let hash = in_life(self.session, life);
        let (ring, slot) =
            self.rest.iter().find_map(|ring| Some((ring, ring.pick(&self.sight, Some(hash), random)?)))?;
        let is_home = self.homes == Homes::All || ring.mode() == Mode::Affinity;
        Some((slot, self.sight.snapshot.id(slot).filter(|_| is_home)))
    }

    /// The slot of the member that the session is bound to, if the plan holds it and it may be handed out.
    fn held(&self, pin: Pin) -> Option<u32> {
        let sight = &self.sight;
        let slot = if sight.snapshot.id(pin.slot) == Some(pin.member) {
            pin.slot
        } else {
            // It comes from the store, or has left and joined again.
            let slot = self.find(pin.member)?;
            self.sessions.seen_at(self.session, Pin { slot, ..pin });
            slot
        };
        (self.is_home(slot) && sight.admits(slot)).then_some(slot)
    }

    /// Whether nothing but its limit keeps the session from the member that it is bound to.
    fn waits_for(&self, pin: Pin) -> bool {
        let Sight { snapshot, wish } = &self.sight;
        let member = snapshot.get(pin.slot).filter(|member| member.id == pin.member);
        member.is_some_and(|member| wish.waits_for(member) && self.is_home(pin.slot))
    }

    fn find(&self, member: MemberId) -> Option<u32> {
        match self.homes {
            Homes::Affinity => self.rest.iter().find_map(|ring| ring.find(member, &self.sight)),
            // Once for each session after a restart, and for one whose member is gone.
            Homes::All => (0..self.sight.snapshot.end()).find(|slot| self.sight.snapshot.id(*slot) == Some(member)),
        }
    }

    fn is_home(&self, slot: u32) -> bool {
        let sight = &self.sight;
        match self.homes {
            Homes::Affinity => self.rest.iter().any(|ring| ring.is_home(slot, sight)),
            Homes::All => {
                let Some(member) = sight.snapshot.get(slot) else { return false };
                self.rest.iter().any(|ring| ring.holds(member, sight))
            }
        }
    }
}

#[cfg(test)]
mod tests;
