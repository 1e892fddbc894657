//! Reads the configuration on a thread that may block, for as long as that may take.
//!
//! A file hangs where it is on a mount whose server is gone, or a pipe that nobody writes to, and nothing takes a thread out of
//! that. So it is left behind, and everything else goes on. There is one at the most, however often the configuration is asked
//! for meanwhile.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::blocking;
use crate::exit::{Exit, Failure};

/// How long it may take. It usually takes milliseconds.
const WITHIN: Duration = Duration::from_secs(10);

/// Reads, one after the other.
pub(crate) struct Reading {
    within: Duration,
    /// The place of who reads; held until that has an end.
    place: Arc<Semaphore>,
}

impl Reading {
    pub(crate) fn new() -> Self {
        Self { within: WITHIN, place: Arc::new(Semaphore::new(1)) }
    }

    /// What comes of this.
    ///
    /// # Errors
    /// Its own, and when it takes too long, or what took too long before goes on.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let Ok(place) = Arc::clone(&self.place).try_acquire_owned() else {
            return Err(hangs("the configuration is still being read"));
        };
        let read = blocking(move || {
            let _place = place;
            work()
        });
        match tokio::time::timeout(self.within, read).await {
            Ok(read) => read?,
            Err(_) => {
                let within = humantime::format_duration(self.within);
                Err(hangs(&format!("the configuration was not read within {within}")))
            }
        }
    }
}

fn hangs(what: &str) -> Failure {
    let why = format!(
        "{what}: its file, or one that it names, hangs, as a pipe that nobody writes to, or a mount whose server is gone"
    );
    Failure::new(Exit::Environment, why)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    #[tokio::test]
    async fn what_hangs_is_left_behind_and_nothing_else_is_read_until_it_ends() {
        let reading = Reading { within: Duration::from_millis(50), ..Reading::new() };
        let (end, is_over) = sync_channel::<()>(1);
        let hung = reading.run(move || {
            assert!(is_over.recv().is_err(), "nobody says anything");
            Ok(())
        });
        assert!(hung.await.unwrap_err().message.contains("not read within 50ms"));
        let refused = reading.run(|| Ok(())).await.unwrap_err();
        assert!(refused.message.contains("still being read"), "{}", refused.message);
        drop(end);
        let read = async {
            while reading.run(|| Ok(())).await.is_err() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), read).await.unwrap();
    }

    #[tokio::test]
    async fn what_fails_says_why() {
        let failed = Reading::new().run(|| Err::<(), _>(Failure::new(Exit::Usage, "line 7"))).await.unwrap_err();
        assert_eq!((failed.exit, failed.message.as_str()), (Exit::Usage, "line 7"));
    }
}
