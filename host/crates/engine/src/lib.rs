//! What happens to proxies between being found and being used: sources, checks, the pool's writer,
//! the choice of a member for each request, and the events that tell of all that.
//!
//! Plugins and stores are reached through the traits of `proxywhirl_core` only.

pub mod bans;
pub mod bus;
pub mod check;
pub mod clock;
pub mod dedup;
pub mod engine;
pub mod events;
pub mod geo;
pub mod history;
mod hooks;
pub mod ingest;
pub mod keeper;
mod kept_out;
pub mod limits;
pub mod logins;
mod measures;
mod sites;
pub mod source;
pub mod status;
mod strategy;
pub mod supervision;
mod supervisor;
pub mod swap;
mod trouble;
pub mod work;
mod writer;

pub use clock::Clock;
pub use engine::{
    AtSite, Attempt, AttemptTier, Ban, BanInForce, CandidateWords, Completion, Engine, EngineConfig, EscalationWords,
    Explanation, LoginSet, NoLease, Parts, SessionUse, SiteQuery, StartError, TierWords, Tuning,
};
pub use keeper::{Keeper, KeeperConfig, Meant, Proven, TakenOut};
pub use limits::places::{Holder, SharedPlaces};
pub use limits::quotas::{SharedQuotas, Spender};
pub use limits::{LimitsConfig, Shed, SiteLimits};
pub use measures::Denial;
pub use sites::SitesConfig;
pub use status::{Build, FaultRecord, PluginStatus, QueueStatus};
pub use strategy::{Beside, Remembering, registrable};
pub use supervision::{State as PluginState, SupervisionConfig};
pub use swap::{Handover, SwapError, SwapTiming, Swapped};
pub use trouble::StoreTrouble;
pub use work::{Crew, WorkStatus};
pub use writer::Admissions;
