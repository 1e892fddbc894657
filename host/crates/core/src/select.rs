//! Choosing a member: a strategy's plan, and the picks from it.
//!
//! A strategy answers changes in the pool with a [`Plan`]; the host compiles it into a [`Picker`] and
//! picks from that as often as requests come, without asking again. Whatever the plan says, a pick
//! hands out only who is eligible: in the pool, breaker not open, not at its limit, not tried already by this request.

pub mod alias;
pub mod filter;
pub mod pick;
pub mod plan;
pub mod random;
pub mod sessions;
pub mod wish;

pub use filter::{Filter, Named};
pub use pick::{Picker, TierSight};
pub use plan::{Membership, Mode, Plan, PlanError, Stick, Stickiness, Tier, Weighted};
pub use sessions::{SessionChanges, Sessions};
pub use wish::{Outlook, Refusals, Wish};
