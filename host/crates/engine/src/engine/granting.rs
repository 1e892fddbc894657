//! Leases where several gateways share limits: what is chosen here has to be granted there.

use proxywhirl_core::lease::Lease;

use super::drawing::RACES;
use super::waiting::Draw;
use super::{Attempt, Engine, NoLease};
use crate::limits::Shared;
use crate::limits::shared::Asking;

impl Engine {
    /// As [`Engine::acquire_or_go_on`], and those who share the limits have granted it. Waits for their answer alone.
    ///
    /// # Errors
    /// As [`Engine::acquire`].
    pub async fn acquire_granted_or_go_on(&self, attempt: &Attempt<'_>) -> Result<Lease, NoLease> {
        let Some(others) = self.room.others() else { return self.acquire_or_go_on(attempt) };
        Box::pin(self.draw_granted(others, attempt)).await
    }

    /// Takes members until one is granted. Each who is refused is at its limit from then on.
    async fn draw_granted(&self, others: &Shared, attempt: &Attempt<'_>) -> Result<Lease, NoLease> {
        for _ in 0..RACES {
            let now = self.now();
            match self.draw(attempt, now) {
                Draw::Lease(lease, way) => {
                    if self.is_granted(others, &lease, attempt).await {
                        return Ok(self.handed(attempt, lease, way, now));
                    }
                }
                Draw::Rejected(why) => return Err(why),
                Draw::Nobody | Draw::Site(_) => break,
            }
        }
        Err(NoLease::Nobody(self.refusals(attempt, self.now()).0))
    }

    /// Whether those who share the limits grant a use.
    pub(super) async fn is_granted(&self, others: &Shared, lease: &Lease, attempt: &Attempt<'_>) -> bool {
        match Asking::begin(lease.member(), &self.room.sites, attempt.target) {
            Some(ask) => others.grants(ask).await,
            None => true,
        }
    }
}
