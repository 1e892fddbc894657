//! What the bundled strategies share, so that each rule is written and tested once.
//!
//! * [`board`]: weights by quality, where newcomers rank like the median and cannot drown the proven.
//! * [`slots`]: state for each member, by slot, that does not pass to the next member of that slot.
//! * [`window`]: what happened in the last so-and-so long, in constant time and bounded memory.
//! * [`decay`]: how the past fades; [`pace`]: when news is worth a plan.
//! * [`wire`]: what is handed over to the next version of a plugin, as bytes.

pub mod board;
pub mod decay;
pub mod pace;
pub mod slots;
pub mod window;
pub mod wire;
