//! A tier, ready to pick from.

use std::collections::HashSet;
use std::sync::Arc;

use super::cells::{Cells, Resident};
use super::cycle::{Cycle, Place};
use super::roster::{Roll, Roster, Share};
use super::sight::{Sight, Stamp};
use crate::member::{Member, MemberId};
use crate::pool::Snapshot;
use crate::select::plan::{Membership, Mode, PlanError, Tier};
use crate::select::random::Random;

/// A tier: who is in it, in the form that its mode picks from.
#[derive(Debug)]
pub(super) enum Ring {
    Cycle(Cycle),
    Draw(Roster),
    Affinity { roster: Roster, cells: Cells },
    LeastLoaded(Roster),
}

impl Ring {
    pub(super) fn compile(
        tier: &Tier,
        snapshot: &Snapshot,
        view: Option<&[u32]>,
        previous: Option<&Self>,
    ) -> Result<Self, PlanError> {
        let stamp = Stamp::of(snapshot);
        let shares = match (&tier.members, view) {
            (Membership::Everyone, None) => None,
            (Membership::Everyone, Some(view)) => {
                let members = view.iter().filter_map(|slot| snapshot.get(*slot));
                Some(members.map(|member| share(member, 1.0)).collect())
            }
            (Membership::These(members), _) => {
                let mut shares = Vec::with_capacity(members.len());
                for member in members {
                    if !(member.weight.is_finite() && member.weight >= 0.0) {
                        return Err(PlanError::Weight { slot: member.slot, weight: member.weight });
                    }
                    let at = snapshot.get(member.slot).ok_or(PlanError::Slot(member.slot))?;
                    // Nobody with weight 0 is picked.
                    if member.weight > 0.0 {
                        shares.push(share(at, member.weight));
                    }
                }
                Some(shares)
            }
        };
        let roster = |shares: Option<Vec<Share>>| {
            shares.map_or(Roster::Everyone, |shares| Roster::These(Roll::new(shares, stamp.clone())))
        };
        Ok(match tier.mode {
            Mode::Cycle => Self::Cycle(cycle(shares, &stamp, previous)),
            Mode::Draw => Self::Draw(roster(shares)),
            Mode::LeastLoaded => Self::LeastLoaded(roster(shares)),
            Mode::Affinity => {
                let roster = roster(shares);
                let residents = residents(&roster, snapshot);
                let cells = Cells::new(&residents, stamp, previous.and_then(Self::cells));
                Self::Affinity { roster, cells }
            }
        })
    }

    #[inline]
    pub(super) const fn mode(&self) -> Mode {
        match self {
            Self::Cycle(_) => Mode::Cycle,
            Self::Draw(_) => Mode::Draw,
            Self::Affinity { .. } => Mode::Affinity,
            Self::LeastLoaded(_) => Mode::LeastLoaded,
        }
    }

    const fn cells(&self) -> Option<&Cells> {
        match self {
            Self::Affinity { cells, .. } => Some(cells),
            Self::Cycle(_) | Self::Draw(_) | Self::LeastLoaded(_) => None,
        }
    }

    /// The slot of somebody who may be handed out.
    #[inline]
    pub(super) fn pick(&self, sight: &Sight<'_, '_>, session: Option<u64>, random: &mut Random) -> Option<u32> {
        match (self, session) {
            (Self::Cycle(cycle), _) => cycle.pick(sight),
            (Self::Affinity { roster, cells }, Some(session)) => cells.pick(session, roster, sight),
            (Self::Draw(roster) | Self::Affinity { roster, .. }, _) => Some(roster.draw(sight, random)?.slot),
            (Self::LeastLoaded(roster), _) => roster.less_loaded(sight, random),
        }
    }

    /// Whether the member is in this tier.
    pub(super) fn holds(&self, member: &Member, sight: &Sight<'_, '_>) -> bool {
        match self {
            Self::Cycle(cycle) => cycle.holds(member),
            Self::Draw(roster) | Self::Affinity { roster, .. } | Self::LeastLoaded(roster) => {
                roster.holds(member.slot, sight)
            }
        }
    }

    /// Gathers the slots of all who are in this tier.
    pub(super) fn gather(&self, sight: &Sight<'_, '_>, into: &mut HashSet<u32>) {
        match self {
            Self::Cycle(cycle) => into.extend(cycle.slots(sight.snapshot)),
            Self::Draw(roster) | Self::Affinity { roster, .. } | Self::LeastLoaded(roster) => {
                let slots = sight.snapshot.iter().map(|member| member.slot);
                into.extend(slots.filter(|slot| roster.holds(*slot, sight)));
            }
        }
    }

    /// Whether who is at a slot may get sessions of this tier.
    pub(super) fn is_home(&self, slot: u32, sight: &Sight<'_, '_>) -> bool {
        match self {
            Self::Affinity { roster, .. } => roster.holds(slot, sight),
            Self::Cycle(_) | Self::Draw(_) | Self::LeastLoaded(_) => false,
        }
    }

    /// The slot of a member that may get sessions of this tier.
    pub(super) fn find(&self, id: MemberId, sight: &Sight<'_, '_>) -> Option<u32> {
        self.cells()?.find(id, sight)
    }
}

fn share(member: &Member, weight: f32) -> Share {
    Share { slot: member.slot, generation: member.generation, weight }
}

fn cycle(shares: Option<Vec<Share>>, stamp: &Stamp, previous: Option<&Ring>) -> Cycle {
    let previous = match previous {
        Some(Ring::Cycle(cycle)) => Some(cycle),
        Some(Ring::Draw(_) | Ring::Affinity { .. } | Ring::LeastLoaded(_)) | None => None,
    };
    let Some(shares) = shares else { return Cycle::everyone(previous) };
    let place = |share: Share| Place { slot: share.slot, generation: share.generation };
    Cycle::these(shares.into_iter().map(place).collect(), stamp.clone(), previous)
}

/// Who is in a roster, with identities.
fn residents(roster: &Roster, snapshot: &Snapshot) -> Vec<Resident> {
    match roster {
        Roster::Everyone => {
            let resident = |member: &Arc<Member>| Resident {
                id: member.id,
                slot: member.slot,
                generation: member.generation,
                weight: 1.0,
            };
            snapshot.iter().map(resident).collect()
        }
        Roster::These(roll) => {
            let resident = |share: &Share| {
                let Share { slot, generation, weight } = *share;
                snapshot.id(slot).map(|id| Resident { id, slot, generation, weight })
            };
            roll.shares().iter().filter_map(resident).collect()
        }
    }
}
