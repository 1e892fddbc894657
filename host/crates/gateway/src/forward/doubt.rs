//! Answers of which nobody can say whose they are: an HTTP proxy that is out of order answers 503, and so does an origin.
//!
//! A second upstream is asked. If it brings something else, the first one was at fault; if it says the same, or cannot be
//! asked, the origin means it, and the client gets it. The same holds for 401 from an upstream that has a login. While others serve the site, the second one must have served there too to be
//! believed: else a third one is asked. An answer that a rule is about is kept back as well, until there is
//! one that no rule is about; and so is what an origin says that was not told that another protocol is asked for (400, 405, 426), where a proxy
//! has forwarded the request. Any other refusal (4xx) goes to the client, and yet many who say so to everything are no proxies at all: of one that
//! does not do well at the site it [proves nothing](proves_nothing) against others. 511 is doubted whoever brings it: who intercepts connections on their way says so, and no origin does.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use proxywhirl_core::{Endpoint, Fault, Kind, Side, Stage};
use proxywhirl_net::RequestForm;

use super::Answered;
use crate::bans;
use crate::failover::{Author, Evidence, Repeat, Verdict};

/// What a portal says that wants a login first (RFC 6585 §6).
const INTERCEPTED: u16 = 511;

/// Whether an answer with this status may be that of the upstream, or of its network. Through any but an HTTP proxy, it is the origin who
/// speaks HTTP.
pub(super) fn may_be_made_up(form: &RequestForm, status: u16) -> bool {
    status == INTERCEPTED || matches!(form, RequestForm::Absolute { .. })
}

/// Whether an answer with this status says nothing of those who failed before it, though the client gets it: one who is no proxy, but a
/// server of its own, refuses whatever it is asked for (4xx).
pub(super) fn proves_nothing(form: &RequestForm, status: u16, does_well: impl FnOnce() -> bool) -> bool {
    (400..500).contains(&status) && may_be_made_up(form, status) && !does_well()
}

/// What an answer says of the origin: `is_no_better` when that is that it is out of order, whoever says so.
pub(super) const fn verdict(is_no_better: bool, proves_nothing: bool) -> Verdict {
    match (is_no_better, proves_nothing) {
        (true, _) => Verdict::Doubtful,
        (false, true) => Verdict::Unproven,
        (false, false) => Verdict::Served,
    }
}

/// The doubts about the answers to one request.
pub(super) struct Doubt<'a> {
    /// The statuses that are doubted.
    statuses: &'a [u16],
    /// Whether the request may be sent again.
    repeats: bool,
    kept: Mutex<Kept>,
}

/// What has come so far that the client should rather not get.
#[derive(Default)]
struct Kept {
    /// The first such answer.
    answer: Option<Doubted>,
    /// Whether one of them was doubted, so that the next one that is confirms it. A refusal by a rule says nothing of that.
    is_doubted: bool,
}

/// An answer that was kept back, and whose it is.
pub(super) type Rest = (Arc<Endpoint>, Box<Answered>);

/// An answer that is kept until it is known whether there is a better one.
struct Doubted {
    upstream: Arc<Endpoint>,
    answered: Box<Answered>,
}

/// An answer that the client gets.
pub(super) struct Weighed {
    pub(super) answered: Box<Answered>,
    pub(super) author: Author,
    verdict: Verdict,
}

impl Evidence for Weighed {
    fn verdict(&self) -> Verdict {
        self.verdict
    }

    fn held(&self) -> Duration {
        self.answered.held
    }
}

/// What speaks against an answer.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Objections {
    /// A rule about bans refuses it.
    pub(super) is_refused: bool,
    /// It has broken off while such a rule waited for it.
    pub(super) is_cut_off: bool,
    /// It may refuse the upstream's own login.
    pub(super) refuses_login: bool,
    /// The proxy may have kept from the origin that another protocol is asked for.
    pub(super) loses_upgrade: bool,
    /// It [proves nothing](proves_nothing) against others.
    pub(super) proves_nothing: bool,
}

impl<'a> Doubt<'a> {
    /// Doubts about these statuses; what may not be sent again gets the answer that there is, of which it is not known whose it is.
    pub(super) fn of(statuses: &'a [u16], repeat: Repeat) -> Self {
        Self { statuses, repeats: repeat != Repeat::Unseen, kept: Mutex::default() }
    }

    /// Lets an answer through, or keeps it back as the first of its kind, or as one that does not [confirm](Engine::confirms) it.
    pub(super) fn weigh(
        &self,
        upstream: Arc<Endpoint>,
        answered: Box<Answered>,
        Objections { is_refused, is_cut_off, refuses_login, loses_upgrade, proves_nothing }: Objections,
        confirms: impl FnOnce(&Endpoint) -> bool,
    ) -> Result<Weighed, Fault> {
        let status = answered.answer.head.status;
        let is_no_better = self.statuses.contains(&status);
        // Whoever sends something that may not be sent again is seldom refused by mistake; often, that is a login at the origin.
        let is_suspect = is_no_better || refuses_login && self.repeats;
        let is_doubted = is_suspect && may_be_made_up(&answered.form, status);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if is_refused && self.repeats {
            kept.answer.get_or_insert(Doubted { upstream, answered });
            return Err(bans::refused(Some(status)));
        }
        if loses_upgrade && self.repeats {
            kept.answer.get_or_insert(Doubted { upstream, answered });
            return Err(not_upgraded(status));
        }
        if is_cut_off && self.repeats {
            kept.answer.get_or_insert(Doubted { upstream, answered });
            let why = "it closed before its body was complete";
            return Err(Fault::new(Side::Upstream, Stage::FirstByte, Kind::Closed, why));
        }
        if !self.repeats || !is_doubted || (kept.is_doubted && confirms(&upstream)) {
            let author = match (is_doubted, self.repeats) {
                (false, _) => Author::Known,
                (true, true) => Author::Confirmed(status),
                (true, false) => Author::Unknown(status),
            };
            return Ok(Weighed { answered, author, verdict: verdict(is_no_better || is_doubted, proves_nothing) });
        }
        kept.is_doubted = true;
        kept.answer.get_or_insert(Doubted { upstream, answered });
        Err(Author::fault(status))
    }

    /// The answer that was kept back, for a client that would get none otherwise.
    pub(super) fn rest(self) -> Option<Rest> {
        let kept = self.kept.into_inner().unwrap_or_else(PoisonError::into_inner);
        kept.answer.map(|Doubted { upstream, answered }| (upstream, answered))
    }
}

/// The fault of an answer in place of another protocol: that a proxy does not pass it on is no illness, so no breaker counts it.
fn not_upgraded(status: u16) -> Fault {
    let why = "it goes on in no other protocol, of which the proxy may not have told it";
    Fault::new(Side::Origin, Stage::FirstByte, Kind::Denied, why).with_code(status)
}
