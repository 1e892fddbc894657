//! One use of a member, and what an answer that came through it says.

use std::sync::Arc;
use std::time::Duration;

use proxywhirl_core::breaker::State;
use proxywhirl_core::{Endpoint, Fault, Kind, Lease, Member, Side, Stage};
use proxywhirl_net::{Forward, Stream};
use tokio::time::Instant;

use super::Upstream;

/// One use of a member.
pub(crate) struct Trial {
    pub(super) lease: Lease,
    pub(super) upstream: Upstream,
    pub(super) began: Instant,
    /// Whether it was begun because another one was slow.
    pub(super) hedge: bool,
    /// Whether a session's own member is not to be left for it before it has served: that one is under way, or may have failed by
    /// the origin's fault.
    pub(super) beside: bool,
    /// The tier that it is made in, where requests escalate.
    pub(super) tier: u16,
    /// Whether it waits for a stranger longer than others do.
    pub(super) is_patient: bool,
    /// The lowest bits of how much its member had served when it began, where its session begins with it.
    pub(super) served: u16,
}

/// The lowest bits of how much a member has served.
#[allow(clippy::cast_possible_truncation)] // They show whether it has served more since.
pub(super) fn served_by(member: &Member) -> u16 {
    member.live.statistics().successes as u16
}

/// The attempt that was answered.
pub(crate) struct Won<T> {
    pub(crate) trial: Trial,
    /// From the start of the dial to the answer.
    pub(crate) latency: Duration,
    pub(crate) answer: T,
}

/// What an answer says of the origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It has served the request, so that those who failed before have failed by themselves.
    Served,
    /// It may have failed as those said who failed before.
    Doubtful,
    /// It may be made up by the upstream, though it says nothing of the origin's health: it proves nothing of who failed before.
    Unproven,
    /// Nothing yet: an upstream says that it has reached it. Who failed before is judged later.
    Unheard,
    /// Nothing at all, as nobody has said anything: that others were as silent says nothing of them.
    Silent,
}

/// Whose an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Author {
    /// That is not in doubt.
    Known,
    /// The origin's, with this status: another upstream has said the same.
    Confirmed(u16),
    /// The upstream's or the origin's, with this status: nobody else was asked.
    Unknown(u16),
}

impl Author {
    /// The fault of an upstream that has made up an answer.
    pub(crate) fn fault(status: u16) -> Fault {
        let why = "an answer that the proxy may have made up";
        Fault::new(Side::Upstream, Stage::FirstByte, Kind::Denied, why).with_code(status)
    }
}

/// An answer, and what it says of the origin.
pub(crate) trait Evidence {
    fn verdict(&self) -> Verdict {
        Verdict::Served
    }

    /// How long it was there before anybody was told: that is not its upstream's time.
    fn held(&self) -> Duration {
        Duration::ZERO
    }
}

impl Evidence for Stream {
    fn verdict(&self) -> Verdict {
        Verdict::Unheard
    }
}

impl Evidence for Forward {
    fn verdict(&self) -> Verdict {
        Verdict::Unheard
    }
}

impl Trial {
    pub(crate) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.lease.member().endpoint
    }

    /// The member as this use speaks to it.
    pub(crate) const fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    pub(crate) fn member(&self) -> &Member {
        self.lease.member()
    }

    /// Its member, and as what this use speaks to it.
    pub(crate) fn whom(&self) -> (&Member, &Upstream) {
        (self.lease.member(), &self.upstream)
    }

    /// How long to wait for its member: see [`Live::patience`](proxywhirl_core::live::Live::patience).
    pub(crate) fn patience(&self, most: Duration) -> Duration {
        self.lease.member().live.patience(most)
    }

    /// Whether its member is out of use: it is a probe, or has been overtaken by one that failed.
    pub(super) fn is_out_of_use(&self) -> bool {
        !matches!(self.lease.member().live.breaker().state(), State::Closed { .. })
    }

    /// Whether its member's breaker lets probes through alone: it is one of them, unless it began before.
    pub(crate) fn is_probe(&self) -> bool {
        matches!(self.lease.member().live.breaker().state(), State::HalfOpen { .. })
    }

    /// Whether its member has served nobody since it began, which is known where its session begins with it.
    pub(super) fn is_barren(&self) -> bool {
        self.served == served_by(self.member())
    }

    /// The same, begun so long ago: what went before was not its time.
    pub(crate) fn since(self, ago: Duration) -> Self {
        let now = Instant::now();
        Self { began: now.checked_sub(ago).unwrap_or(now), ..self }
    }
}
