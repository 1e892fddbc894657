//! The judges that are asked, and which of them answer now.
//!
//! A judge that is down makes every proxy look dead. So each one is asked without any proxy before it is believed, and a
//! failure that may be the judge's own counts only when the judge has answered somebody since the check began, and a wrong
//! certificate only when the judge, asked straight, still has the one that it is known by. When none answers, checks wait, say so
//! once, and nobody is declared dead.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use proxywhirl_core::{Fault, Kind, Side, Stage};
use rustls::ClientConfig;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::judge::{JudgeUrl, Sighting};
use super::probe;

/// How long to wait before judges that do not answer are asked again.
const PAUSE: Duration = Duration::from_secs(2);

/// How much older than a check's beginning a judge's last answer may be: under load there is one every moment.
const FRESH: Duration = Duration::from_secs(1);

/// All judges.
#[derive(Debug)]
pub(super) struct Judges {
    seats: Vec<Seat>,
    /// Whose turn it is.
    turn: AtomicUsize,
    epoch: Instant,
    /// For an answer to a question without a proxy.
    timeout: Duration,
    /// Held by whoever asks all judges while none answers, so that it is told once.
    searching: Mutex<()>,
}

/// A judge.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) url: JudgeUrl,
    /// What it said when it was asked straight; none while it does not answer.
    known: ArcSwapOption<Known>,
    /// Milliseconds since the epoch at which it last answered, straight or through a proxy.
    answered: AtomicU64,
    /// Held by whoever asks it straight: one is enough.
    asking: Mutex<()>,
}

/// What a judge says without a proxy.
#[derive(Debug)]
pub(super) struct Known {
    /// Our address as it sees it.
    pub(super) own: IpAddr,
    /// The digest of its certificate; none when it serves no TLS.
    certificate: Option<[u8; 32]>,
    /// How its TLS is verified; none when it serves none.
    pub(super) tls: Option<Arc<ClientConfig>>,
}

impl Judges {
    pub(super) fn new(urls: Vec<JudgeUrl>, timeout: Duration) -> Self {
        let seat =
            |url| Seat { url, known: ArcSwapOption::empty(), answered: AtomicU64::new(0), asking: Mutex::new(()) };
        Self {
            seats: urls.into_iter().map(seat).collect(),
            turn: AtomicUsize::new(0),
            epoch: Instant::now(),
            timeout,
            searching: Mutex::new(()),
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    /// Our addresses as judges see them.
    pub(super) fn own_addresses(&self) -> Vec<IpAddr> {
        let known = self.seats.iter().filter_map(|seat| seat.known.load_full());
        let mut own: Vec<_> = known.map(|known| known.own).collect();
        own.sort_unstable();
        own.dedup();
        own
    }

    /// Asks each of them straight.
    ///
    /// # Errors
    /// Why the last of them did not answer, when none did.
    pub(super) async fn meet(&self) -> Result<(), Fault> {
        let mut last = Fault::new(Side::Ours, Stage::Select, Kind::Unsupported, "there is no judge to ask");
        let mut any = false;
        let asked = futures_util::future::join_all(self.seats.iter().map(|seat| self.ask(seat)));
        for answer in asked.await {
            match answer {
                Ok(()) => any = true,
                Err(fault) => last = fault,
            }
        }
        if any { Ok(()) } else { Err(last) }
    }

    /// A judge that answers; waits until there is one.
    pub(super) async fn available(&self) -> Option<(&Seat, Arc<Known>)> {
        if self.is_empty() {
            return None;
        }
        loop {
            if let Some(chosen) = self.choose() {
                return Some(chosen);
            }
            let _searching = self.searching.lock().await;
            if self.choose().is_some() {
                continue;
            }
            if let Err(fault) = self.meet().await {
                tracing::warn!(judge.fault = %fault, "no judge answers: checks wait");
                while self.meet().await.is_err() {
                    tokio::time::sleep(PAUSE).await;
                }
                tracing::info!("a judge answers: checks go on");
            }
        }
    }

    fn choose(&self) -> Option<(&Seat, Arc<Known>)> {
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let seats = self.seats.iter().cycle().skip(first % self.seats.len().max(1)).take(self.seats.len());
        seats.into_iter().find_map(|seat| seat.known.load_full().map(|known| (seat, known)))
    }

    /// Hears that a judge answered through a proxy.
    pub(super) fn heard(&self, seat: &Seat) {
        let now = u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX);
        // Most answers come within the same millisecond as another one: reading is cheaper than writing.
        if seat.answered.load(Ordering::Relaxed) < now {
            seat.answered.fetch_max(now, Ordering::Relaxed);
        }
    }

    /// Whether a judge has answered anybody since a check began, or does now: then what failed was not its fault.
    pub(super) async fn is_innocent(&self, seat: &Seat, began: Instant) -> bool {
        if self.has_answered_since(seat, began) {
            return true;
        }
        let _asking = seat.asking.lock().await;
        self.has_answered_since(seat, began) || self.ask(seat).await.is_ok()
    }

    /// Whether a judge still has the certificate that a check knew it by, which it is asked straight: when it is started anew it
    /// may make another one.
    pub(super) async fn is_known_by(&self, seat: &Seat, known: &Known) -> bool {
        let is_same = || seat.known.load_full().is_some_and(|now| now.certificate == known.certificate);
        let _asking = seat.asking.lock().await;
        is_same() && self.ask(seat).await.is_ok() && is_same()
    }

    fn has_answered_since(&self, seat: &Seat, began: Instant) -> bool {
        let answered = self.epoch + Duration::from_millis(seat.answered.load(Ordering::Relaxed));
        seat.known.load().is_some() && answered + FRESH >= began
    }

    /// Asks a judge straight, and keeps what it says.
    async fn ask(&self, seat: &Seat) -> Result<(), Fault> {
        match probe::direct(&seat.url, Instant::now() + self.timeout).await {
            Ok(sighting) => {
                seat.known.store(Some(Arc::new(known(&sighting)?)));
                self.heard(seat);
                Ok(())
            }
            Err(fault) => {
                if seat.known.swap(None).is_some() {
                    tracing::warn!(judge.url = %seat.url, judge.fault = %fault, "a judge does not answer any more");
                }
                Err(fault)
            }
        }
    }
}

fn known(sighting: &Sighting) -> Result<Known, Fault> {
    let pinned = |certificate| {
        proxywhirl_net::tls::pinned_client_config(certificate)
            .map_err(|error| Fault::new(Side::Ours, Stage::Tls, Kind::Tls, error.to_string()))
    };
    let tls = sighting.certificate.map(pinned).transpose()?;
    Ok(Known { own: sighting.peer, certificate: sighting.certificate, tls })
}
