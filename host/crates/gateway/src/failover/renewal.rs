//! Logins that were refused: where somebody reads them again for that, and has others then, a member is asked once more.
//!
//! A request that can go elsewhere does not wait for it. It waits when nobody else is left, as with a vendor that has one gateway,
//! and when a second member has refused: both may go by the same login, and so may all others.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use proxywhirl_core::{Credentials, Member, MemberId};
use tokio::time::{Instant, timeout_at};

use super::race::Turn;
use super::running::Running;
use super::{Failover, Trial, Upstream};

/// As long as a request waits for a login at the most: it is read from a file, from the environment, or by one HTTP request.
const MOST: Duration = Duration::from_secs(3);

/// A member that has refused a login: that which stood in place of its own, if there was one.
pub(super) struct Refusal {
    member: Arc<Member>,
    login: Option<Arc<Credentials>>,
}

impl Refusal {
    pub(super) fn of(trial: &Trial) -> Self {
        Self { member: Arc::clone(trial.lease.member()), login: trial.upstream.login().cloned() }
    }
}

impl Failover<'_> {
    /// Begins an attempt after one that failed; none when the attempts are used up or nobody is left.
    pub(super) async fn after_fault<F, A>(&mut self, attempt: &F, turn: Turn) -> Option<Running<A>>
    where
        F: Fn(Upstream) -> A,
        A: Future,
    {
        let may_wait = turn == Turn::Wait;
        if may_wait && self.refusals.len() > 1 {
            Box::pin(self.renew()).await;
        }
        let next = self.next(attempt, turn).await;
        if next.is_none() && may_wait && !self.refusals.is_empty() && Box::pin(self.renew()).await {
            return self.next(attempt, turn).await;
        }
        if next.is_none() {
            self.leave_body();
        }
        next
    }

    /// Waits for those who read again what was refused. Whether there is a member that is dialled with another login now: it may
    /// be asked again.
    async fn renew(&mut self) -> bool {
        let until = self.deadline.min(Instant::now() + MOST);
        let mut renewed: Vec<MemberId> = Vec::new();
        for Refusal { member, login } in std::mem::take(&mut self.refusals) {
            let is_renewed = timeout_at(until, self.engine.login_renewed(&member, login.as_ref())).await;
            renewed.extend(is_renewed.unwrap_or_default().then_some(member.id));
        }
        self.tried.retain(|tried| !renewed.contains(tried));
        !renewed.is_empty()
    }
}
