//! Rates that several gateways share: tokens are taken here first, and then asked for at the buckets that all of them take from.
//!
//! One task asks, for all requests that wait for an answer at once. What it is told is what the buckets here are from then on, so
//! picks pass over whom others have used up. While nobody answers, each gateway goes on with its own buckets, and says so.

use std::sync::Arc;
use std::time::Duration;

use proxywhirl_core::limit::Rate;
use proxywhirl_core::shared::{BucketOf, Buckets, Granted, Token};
use proxywhirl_core::store::StoreError;
use proxywhirl_core::{Member, Timestamp};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::Room;
use super::sites::Sites;
use super::{AGAIN, PATIENCE};
use crate::clock::Clock;
use crate::trouble::{StoreTrouble, Trouble};

/// Uses that are asked about at once; some microseconds of the server each.
const BATCH: usize = 256;

/// Uses that wait to be asked about; who wants one more waits.
const QUEUE: usize = 1_024;

/// How often it is asked whether somebody answers while nobody wants tokens: so that it is known before a request has to wait for it.
const IDLE: Duration = Duration::from_secs(2);

/// What is told when asking has ended for good.
const PANICKED: &str = "who asks for all gateways has panicked, limits are this gateway's own from now on";

/// The way to the buckets that are shared.
#[derive(Debug)]
pub(crate) struct Shared {
    asks: mpsc::Sender<Asking>,
    /// Why nobody answers. Noted by the task.
    trouble: Trouble,
}

/// A use that tokens are asked for. Its drop tells the buckets here what was said.
#[derive(Debug)]
pub(crate) struct Asking {
    tokens: Vec<Token>,
    member: Option<Arc<Member>>,
    site: Option<(Arc<Sites>, Arc<str>)>,
    /// When the bucket of each of them is full; nothing when nobody has said it.
    full: Vec<Timestamp>,
    answer: Option<oneshot::Sender<Answer>>,
}

/// What was said to who asked.
#[derive(Debug, Clone, Copy)]
struct Answer {
    is_granted: bool,
    /// How long it is until all of its tokens are there.
    wait: Duration,
}

impl Asking {
    /// Begins to ask for a use of a member at a target; none when neither has a rate.
    pub(crate) fn begin(member: &Arc<Member>, sites: &Arc<Sites>, target: &str) -> Option<Self> {
        let token = |of, rate: Rate| Token { of, rate };
        let of_member = member.live.ask().map(|rate| token(BucketOf::Member(member.id), rate));
        let at_site = sites.ask(target);
        if of_member.is_none() && at_site.is_none() {
            return None;
        }
        let mut ask = Self {
            tokens: Vec::with_capacity(2),
            member: of_member.is_some().then(|| Arc::clone(member)),
            site: None,
            full: Vec::new(),
            answer: None,
        };
        ask.tokens.extend(of_member);
        if let Some((site, rate)) = at_site {
            ask.tokens.push(token(BucketOf::Site(Arc::clone(&site)), rate));
            ask.site = Some((Arc::clone(sites), site));
        }
        Some(ask)
    }

    /// Takes what was said.
    fn told(mut self, granted: &Granted, now: Timestamp) {
        self.full = granted.full.iter().map(|full| now + *full).collect();
        let next = self.tokens.iter().zip(&granted.full).map(|(token, full)| token.rate.next(*full));
        let wait = next.max().unwrap_or_default();
        let answer = self.answer.take();
        // The buckets first: whoever hears of it looks at them.
        drop(self);
        let said = Answer { is_granted: granted.is_granted, wait };
        if answer.is_some_and(|answer| answer.send(said).is_err()) {
            tracing::debug!("a request that asked for tokens has gone, and they with it");
        }
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let mut full = self.full.iter().copied();
        if let Some(member) = &self.member {
            member.live.told(full.next());
        }
        if let Some((sites, site)) = &self.site {
            sites.told(site, full.next());
        }
    }
}

impl Shared {
    /// The way, and where it ends.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Asking>) {
        let (asks, asked) = mpsc::channel(QUEUE);
        (Self { asks, trouble: Trouble::default() }, asked)
    }

    /// Whether somebody answers, as far as is known.
    pub(crate) fn answers(&self) -> bool {
        !self.trouble.is_some()
    }

    /// Why nobody answers, and since when.
    pub(crate) fn trouble(&self) -> Option<StoreTrouble> {
        self.trouble.get()
    }

    /// Asks for a use; whether it may be. When nobody answers in time, what is left here decides, and has done so.
    pub(crate) async fn grants(&self, ask: Asking) -> bool {
        self.answer(ask).await.is_none_or(|answer| answer.is_granted)
    }

    /// Asks for a token of a user; how long it is until there is one, if there is none. None when nobody answers in time.
    pub(crate) async fn grants_user(&self, user: &Arc<str>, rate: Rate) -> Option<Result<(), Duration>> {
        let token = Token { of: BucketOf::User(Arc::clone(user)), rate };
        let ask = Asking { tokens: vec![token], member: None, site: None, full: Vec::new(), answer: None };
        let answer = self.answer(ask).await?;
        Some(if answer.is_granted { Ok(()) } else { Err(answer.wait) })
    }

    async fn answer(&self, mut ask: Asking) -> Option<Answer> {
        let (answer, answered) = oneshot::channel();
        ask.answer = Some(answer);
        let answered = async {
            self.asks.send(ask).await.ok()?;
            answered.await.ok()
        };
        tokio::time::timeout(PATIENCE, answered).await.ok().flatten()
    }

    /// Writes down whether somebody answers.
    fn note(&self, error: Option<&StoreError>, now: Timestamp) {
        metrics::gauge!("proxywhirl_limits_shared").set(if error.is_some() { 0.0 } else { 1.0 });
        super::note(&self.trouble, "limits", error, now);
    }
}

/// Asks for all who ask, until it is told to stop.
pub(crate) async fn carry(
    room: Arc<Room>,
    mut asked: mpsc::Receiver<Asking>,
    mut buckets: Box<dyn Buckets>,
    clock: Clock,
    stop: CancellationToken,
) {
    let Some(shared) = room.shared() else { return };
    let mut batch = Vec::new();
    // The first question, without uses: so the connection is there before it is needed.
    loop {
        let asked_at = clock.now();
        let uses: Vec<Vec<Token>> = batch.iter().map(|ask: &Asking| ask.tokens.clone()).collect();
        let taken = tokio::task::spawn_blocking(move || {
            let taken = buckets.take(&uses);
            (buckets, taken)
        });
        let Ok((back, taken)) = taken.await else {
            let error = StoreError { place: "shared limits".to_owned(), reason: PANICKED.to_owned() };
            return shared.note(Some(&error), clock.now());
        };
        buckets = back;
        let now = clock.now();
        shared.note(taken.as_ref().err(), now);
        // It was true when it was said: after a pause in between (of the process, of the machine), that is long ago.
        let now = if now.since(asked_at) > PATIENCE { asked_at } else { now };
        // Where nobody has answered, their drop says so.
        for (ask, granted) in batch.drain(..).zip(taken.unwrap_or_default()) {
            ask.told(&granted, now);
        }
        room.stir();
        if !shared.answers() {
            tokio::select! {
                () = stop.cancelled() => return,
                () = refuse(&mut asked) => {}
            }
            continue;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            _ = asked.recv_many(&mut batch, BATCH) => {}
            () = tokio::time::sleep(IDLE) => {}
        }
    }
}

/// For a while, lets those who ask go on with what is left here: they began before it was known that nobody answers.
async fn refuse(asked: &mut mpsc::Receiver<Asking>) {
    let everybody = async { while asked.recv().await.is_some() {} };
    // The time is over, or nobody can ask any more.
    drop(tokio::time::timeout(AGAIN, everybody).await);
}
