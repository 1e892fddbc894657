//! Draws by weight: composition and rejection (Devroye 1986, II.4; Slepoy, Thompson, Plimpton 2008,
//! <https://doi.org/10.1063/1.2919546>).
//!
//! Members stand in classes of nearly the same weight. A draw takes a class by an alias table of some rows, then a member
//! of the class, each equally likely, and keeps it with its share of the largest weight in the class, which is eight times
//! in nine at the least; else it takes another member of the class. One alias table over all members would need one step
//! less, and 16 bytes a member instead of four: in a pool of 100,000, that is what a draw would wait for.

use super::lots::Lots;
use super::roster::{Drawn, Share};
use crate::select::alias::{self, threshold};
use crate::select::random::Random;

/// Bits of a weight (IEEE 754, without its sign) that tell its class: the exponent and three of the mantissa, so that the
/// weights of a class differ by a factor of 9/8 at the most.
const CLASS_BITS: u32 = 11;

/// Bits of a weight that do not tell its class.
const REST_BITS: u32 = 31 - CLASS_BITS;

/// Members of a class that are tried. One in nine is refused at the most: nobody tries so often.
const TRIES: usize = 64;

/// Members by classes of weights.
#[derive(Debug)]
pub(super) struct Classes {
    classes: Vec<Class>,
    lots: Lots,
}

/// Members of nearly the same weight.
#[derive(Debug, Clone, Copy)]
struct Class {
    /// A row of the alias table: it stands for itself when 32 random bits are not above the threshold.
    row: alias::Row,
    /// Where its members begin.
    first: u32,
    members: u32,
    /// The largest weight.
    most: f32,
}

impl Classes {
    /// Members with weights that are finite and above zero.
    pub(super) fn new(shares: &[Share]) -> Self {
        let mut shares: Vec<&Share> = shares.iter().collect();
        // Stable: within a class, members stay in the order of their slots.
        shares.sort_by_key(|share| class(share.weight));
        let mut lots = Lots::with_capacity(shares.len());
        let (mut classes, mut sums) = (Vec::new(), Vec::new());
        let mut first = 0;
        for members in shares.chunk_by(|one, next| class(one.weight) == class(next.weight)) {
            let most = members.iter().fold(0.0_f32, |most, share| most.max(share.weight));
            for share in members {
                lots.push(share.slot, threshold(f64::from(share.weight) / f64::from(most)));
            }
            let row = alias::Row { threshold: 0, other: 0 };
            // Slots are 32 bits wide.
            let members_len = u32::try_from(members.len()).unwrap_or(u32::MAX);
            classes.push(Class { row, first, members: members_len, most });
            sums.push(members.iter().map(|share| f64::from(share.weight)).sum());
            first += members_len;
        }
        for (class, row) in classes.iter_mut().zip(alias::table(&sums)) {
            class.row = row;
        }
        Self { classes, lots }
    }

    /// A member by weight, and its weight to within half a percent.
    #[inline]
    pub(super) fn draw(&self, random: &mut Random) -> Option<Drawn> {
        let class = match self.classes.as_slice() {
            // All weights are nearly equal.
            [class] => class,
            classes => {
                let (index, chance) = random.split(classes.len());
                let class = classes.get(index)?;
                if chance <= class.row.threshold { class } else { classes.get(class.row.other as usize)? }
            }
        };
        for _ in 0..TRIES {
            let (index, chance) = random.split(class.members as usize);
            let place = class.first as usize + index;
            if let Some(slot) = self.lots.take(place, chance) {
                return Some(Drawn { slot, weight: self.lots.share(place) * class.most });
            }
        }
        None
    }
}

/// The number of a weight's class: the larger, the heavier.
const fn class(weight: f32) -> u32 {
    weight.to_bits() >> REST_BITS
}
