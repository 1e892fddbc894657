//! Listeners that go through one proxy which is not in the pool: nobody is served there.

use super::Live;
use crate::control::api::ListenerTrouble;

impl Live {
    /// Those that there are now.
    pub(super) fn listener_troubles(&self) -> Vec<ListenerTrouble> {
        let lost = self.entrances.lost(&self.engine().snapshot());
        lost.into_iter().map(|(name, proxy)| ListenerTrouble { name, proxy: proxy.to_string() }).collect()
    }

    /// Says that the pool has been filled by the sources that there are, or is about to be by those that have come, or that some were
    /// taken out of it.
    pub fn filled(&self) {
        self.filled.notify_one();
    }

    /// Tells of them when the pool has been filled, at the start and after each change of the configuration, and when some were taken
    /// out of it.
    pub async fn tell_lost(self: std::sync::Arc<Self>) {
        loop {
            self.filled.notified().await;
            self.service.settled().await;
            for ListenerTrouble { name, proxy } in self.listener_troubles() {
                tracing::warn!(
                    listener.name = name,
                    proxy,
                    "the proxy of a listener is not in the pool: nobody is served there"
                );
            }
        }
    }
}
