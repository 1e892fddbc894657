//! What becomes of attempts: settled when it is clear whose the fault was, held back until the request ends when it is not.

use std::time::Duration;

use proxywhirl_core::fault::Hurt;
use proxywhirl_core::{Fault, Kind, MemberId, Outcome, Side, Stage};

use super::renewal::Refusal;
use super::running::Running;
use super::{Author, Failover, Repeat, Trial, Upstream, Verdict};

/// A use whose blame depends on how the request ends.
pub(super) struct Suspect {
    trial: Trial,
    charge: Charge,
}

impl Suspect {
    /// Nobody has to wait for its place until then: the request itself may wait for one that another suspect has.
    fn new(mut trial: Trial, charge: Charge) -> Self {
        trial.lease.rest();
        Self { trial, charge }
    }
}

enum Charge {
    /// It failed, by its own fault or by the origin's.
    Failed(Fault),
    /// It was silent for so long when it was given up.
    Silent(Duration),
}

impl Charge {
    /// Whether it has said that it will not, or cannot.
    fn is_denial(&self) -> bool {
        matches!(self, Self::Failed(fault) if fault.kind == Kind::Denied)
    }
}

impl Failover<'_> {
    /// Gives the lease of an attempt back with what became of it.
    pub(crate) fn settle(&self, trial: Trial, outcome: &Outcome) {
        let Trial { lease, upstream: Upstream { number, .. }, .. } = trial;
        self.engine.settle(lease, outcome, &self.describe(number));
    }

    /// Gives the lease of an attempt back that ended before it came to anything: its client has left, or another one was quicker.
    pub(crate) fn let_go(&self, trial: Trial) {
        let Trial { lease, upstream: Upstream { number, .. }, .. } = trial;
        self.engine.let_go(lease, &self.describe(number));
    }

    /// Says that an attempt went well, which goes on being in use as long as the trial is kept.
    pub(crate) fn succeed(&self, trial: &mut Trial, latency: Duration) {
        // A probe whose answer goes on in another protocol has been told of already.
        if !trial.lease.is_reported() {
            self.engine.report(&mut trial.lease, &Outcome::Success { latency }, &self.describe(trial.upstream.number));
        }
    }

    /// Says that an attempt was answered. Whether that went well shows at its [end](Self::conclude), unless others wait for it: then it
    /// has gone well. Of a member that keeps breaking answers off, they wait for the end.
    pub(crate) fn answered(&self, trial: &mut Trial, latency: Duration) {
        if trial.is_probe() && !self.engine.suspects(trial.member()) {
            self.succeed(trial, latency);
        } else {
            self.engine.answered(latency, &self.describe(trial.upstream.number));
        }
    }

    /// Settles an attempt that was answered when its answer is through, or was cut off.
    pub(crate) fn conclude(&self, trial: Trial, latency: Duration, author: Author, end: Option<&Fault>) {
        let attempt = self.describe(trial.upstream.number);
        let (status, is_doubted) = match (author, end.filter(|fault| is_cut(fault))) {
            (Author::Known, Some(fault)) => return self.cut(trial, fault),
            (Author::Known, None) => return self.engine.conclude(trial.lease, latency, &attempt),
            (Author::Confirmed(status), _) => (status, false),
            // As with an answer that broke off, other requests show whose it was.
            (Author::Unknown(status), _) => (status, !trial.upstream.is_another_exit),
        };
        let fault = Author::fault(status);
        self.engine.excuse_answer(&trial.lease, latency, &fault, &attempt);
        if is_doubted && self.repeat.allows(fault.consequence().retry) {
            self.engine.doubt(trial.lease, fault, &attempt);
        } else if is_doubted {
            self.engine.doubt_across(trial.lease, fault, &attempt);
        } else {
            self.engine.settle(trial.lease, &Outcome::Neutral, &attempt);
        }
    }

    /// Settles an attempt that won and then failed: this request asks nobody else any more.
    pub(crate) fn settle_fault(&mut self, trial: Trial, fault: &Fault) {
        if is_cut(fault) {
            return self.cut(trial, fault);
        }
        self.fail(trial, fault.clone());
        // The head could be sent elsewhere, and what follows it cannot.
        self.judge_unserved(None, if self.repeat == Repeat::Head { Repeat::Unseen } else { self.repeat });
    }

    /// The body is sent now: what has failed from here on cannot be sent elsewhere.
    pub(crate) const fn sends_body(&mut self) {
        self.repeat = Repeat::Unseen;
    }

    /// An answer that broke off may have been cut by either: it is for other requests to show by whom.
    fn cut(&self, trial: Trial, fault: &Fault) {
        let attempt = self.describe(trial.upstream.number);
        // That of a probe has been told as one that went well.
        if !trial.lease.is_reported() {
            self.engine.excuse(&trial.lease, fault, &attempt);
        }
        if trial.endpoint().is_direct() || trial.upstream.is_another_exit {
            return self.settle(trial, &Outcome::Neutral);
        }
        self.engine.doubt_across(trial.lease, fault.clone(), &attempt);
    }

    /// Has the login read again that a member refuses; whether it does.
    fn heed(&self, trial: &Trial, fault: &Fault) -> bool {
        let is_refused = fault.kind == Kind::Unauthorized;
        if is_refused {
            self.engine.login_refused(trial.member());
        }
        is_refused
    }

    /// Takes the fault of an attempt: settles it, or holds it back until the request ends.
    pub(crate) fn fail(&mut self, trial: Trial, fault: Fault) {
        self.climb.failed_at(trial.tier);
        self.probes += u32::from(trial.is_out_of_use());
        if self.heed(&trial, &fault) {
            self.refusals.push(Refusal::of(&trial));
        }
        let is_unsaid = (fault.stage, fault.kind) == (Stage::Handshake, Kind::Unsupported)
            || (fault.side, fault.stage) == (Side::Origin, Stage::Resolve);
        if is_unsaid {
            self.unsaid += 1;
            if trial.upstream.number > 1 && !trial.hedge {
                self.budget.give_back(self.target);
            }
        }
        let is_of_exit = trial.upstream.is_another_exit && !is_of_gateway(&fault);
        if trial.upstream.is_another_exit && !is_of_exit {
            self.tried.push(trial.member().id);
        }
        // Without a proxy, nobody else can be to blame than the origin.
        let hurt = if trial.endpoint().is_direct() { Hurt::No } else { fault.consequence().hurt };
        if hurt != Hurt::Yes {
            self.is_reached |= !is_unsaid;
            self.engine.excuse(&trial.lease, &fault, &self.describe(trial.upstream.number));
        }
        self.note(fault.clone());
        match hurt {
            Hurt::Yes => {
                self.forsake(trial.member().id);
                self.settle(trial, &Outcome::Failure(fault));
            }
            Hurt::No => self.settle(trial, &Outcome::Neutral),
            // That exit is to blame, if not the origin, and the next attempt may need its place.
            Hurt::IfOthersSucceed if is_of_exit => self.settle(trial, &Outcome::Neutral),
            Hurt::IfOthersSucceed => self.suspects.push(Suspect::new(trial, Charge::Failed(fault))),
        }
    }

    /// Ends an attempt that was not answered while another one was, or that has to make room. It is suspected only when it
    /// has used up its time.
    pub(super) fn give_up<A>(&mut self, running: Option<Running<A>>) {
        let Some(trial) = running.and_then(Running::end) else { return };
        let silent = trial.began.elapsed();
        if let Some(until) = self.repeat.measures() {
            trial.member().live.tail(until).outlasted(silent);
        }
        if !trial.upstream.is_another_exit && silent >= self.patience_with(&trial) {
            self.suspects.push(Suspect::new(trial, Charge::Silent(silent)));
        } else if self.may_give_way(silent) {
            self.excuse_silence(trial, silent);
        } else {
            self.let_go(trial);
        }
    }

    /// Gives the lease of an attempt back that was silent for so long, which does not count.
    fn excuse_silence(&self, trial: Trial, silent: Duration) {
        self.engine.excuse(&trial.lease, &silence(silent), &self.describe(trial.upstream.number));
        self.settle(trial, &Outcome::Neutral);
    }

    /// Whether somebody has brought an answer that it may have made up: of that, one more is asked, whose word counts.
    pub(super) fn doubts_an_answer(&self) -> bool {
        self.suspects.iter().any(|suspect| {
            matches!(&suspect.charge, Charge::Failed(fault) if fault.stage == Stage::FirstByte && fault.code.is_some())
        })
    }

    /// Whether somebody is held back.
    pub(crate) const fn has_suspects(&self) -> bool {
        !self.suspects.is_empty()
    }

    /// Ends an attempt that was under way when the request had used up its time. It has failed when its member had its time too.
    pub(super) fn time_out<A>(&mut self, running: Option<Running<A>>) {
        let Some(trial) = running.and_then(Running::end) else { return };
        let silent = trial.began.elapsed();
        if silent < self.patience_with(&trial) {
            return self.let_go(trial);
        }
        self.fail(trial, silence(silent));
    }

    /// Settles who was held back, by what an answer says.
    pub(crate) fn judge_by(&mut self, verdict: Verdict, trial: &Trial, latency: Duration) {
        match verdict {
            Verdict::Served => {
                self.judge(Some((trial, latency)));
                self.tier_served(trial);
            }
            Verdict::Unproven => {
                self.is_unproven = true;
                // They were tried elsewhere.
                self.judge_unserved(Some(latency), Repeat::Overtake);
                self.tier_served(trial);
            }
            Verdict::Doubtful => self.judge(None),
            Verdict::Unheard => {}
            Verdict::Silent => self.pardon(),
        }
    }

    /// Settles who was held back when nobody was answered, or somebody after so long with what proves nothing. That several failed says
    /// little, where most of a list is dead: it is for those requests to show whose fault it was that come after this one. Unless one of
    /// them does well there: then it was the origin's, or what this request asks of it. Who was silent is excused as where it is proven.
    pub(super) fn judge_unserved(&mut self, answered: Option<Duration>, repeat: Repeat) {
        let suspects = std::mem::take(&mut self.suspects);
        let is_alone = suspects.len() == 1;
        let is_proven = |suspect: &Suspect| self.engine.confirms(self.target, suspect.trial.member());
        let is_refuted = suspects.len() > 1 && suspects.iter().any(is_proven);
        let is_excused = |silent| answered.is_some_and(|latency| verdict(silent, latency).is_none());
        for Suspect { trial, charge } in suspects {
            let attempt = self.describe(trial.upstream.number);
            let fault = match charge {
                Charge::Failed(fault) => fault,
                Charge::Silent(silent) if is_refuted || is_excused(silent) => {
                    self.let_go(trial);
                    continue;
                }
                Charge::Silent(silent) => {
                    let fault = silence(silent);
                    self.engine.excuse(&trial.lease, &fault, &attempt);
                    fault
                }
            };
            // With nothing served by its member, a session has nothing to stay with.
            if trial.is_barren() {
                self.forsake(trial.member().id);
            }
            if is_refuted {
                self.settle(trial, &Outcome::Neutral);
            } else if is_alone && !repeat.allows(fault.consequence().retry) {
                self.engine.doubt_across(trial.lease, fault, &attempt);
            } else {
                self.engine.doubt(trial.lease, fault, &attempt);
            }
        }
    }

    /// Leaves a session that has just begun free to begin with another member.
    fn forsake(&self, member: MemberId) {
        if let Some(session) = self.wanted.session.filter(|_| self.begins_session) {
            self.engine.forsake_session(session, member);
        }
    }

    /// Excuses those who were silent, where nobody has said anything: they may all wait for what the origin waits for.
    pub(super) fn pardon(&mut self) {
        for suspect in std::mem::take(&mut self.suspects) {
            match suspect {
                Suspect { trial, charge: Charge::Silent(silent) } => self.excuse_silence(trial, silent),
                suspect @ Suspect { charge: Charge::Failed(_), .. } => self.suspects.push(suspect),
            }
        }
    }

    /// Settles who was held back, now that it is known which upstream was answered, and how soon, or that none was.
    ///
    /// Where several have said that they do not reach the origin, and one has, that one may be lying: those of them who
    /// serve others do not pay.
    pub(crate) fn judge(&mut self, winner: Option<(&Trial, Duration)>) {
        if let (Some((trial, _)), Some(session), Some(before)) = (winner, self.wanted.session, self.tried.first())
            && trial.beside
        {
            self.engine.session_served(session, *before, trial.member());
        }
        let suspects = std::mem::take(&mut self.suspects);
        let agree = suspects.iter().filter(|suspect| suspect.charge.is_denial()).count() > 1;
        for Suspect { trial, charge } in suspects {
            match (charge, winner) {
                (charge, Some(_)) if agree && charge.is_denial() && does_well(&trial) => {
                    self.settle(trial, &Outcome::Neutral);
                }
                (Charge::Failed(_), None) => self.settle(trial, &Outcome::Neutral),
                (Charge::Silent(_), None) => self.let_go(trial),
                // It was told when it happened.
                (Charge::Failed(fault), Some(_)) => {
                    // Another one was not asked who it is: it was the login of this one.
                    if fault.code == Some(401) {
                        self.engine.login_refused(trial.member());
                    }
                    self.engine.convict(trial.lease, fault, &self.describe(trial.upstream.number))
                }
                (Charge::Silent(silent), Some((_, latency))) => match verdict(silent, latency) {
                    Some(fault) => self.settle(trial, &Outcome::Failure(fault)),
                    None => self.let_go(trial),
                },
            }
        }
    }

    /// Keeps the fault that went furthest: it says most about why the request failed.
    pub(super) fn note(&mut self, fault: Fault) {
        if self.fault.as_ref().is_none_or(|kept| kept.stage <= fault.stage) {
            self.fault = Some(Box::new(fault));
        }
    }
}

/// What it is called when an upstream brings no answer for so long: it may have begun with one.
pub(crate) fn silence(silent: Duration) -> Fault {
    let detail = format!("no answer for {:.1} s", silent.as_secs_f64());
    Fault::new(Side::Upstream, Stage::FirstByte, Kind::Timeout, detail)
}

/// Whether an answer was broken off by whoever sent it.
fn is_cut(fault: &Fault) -> bool {
    (fault.side, fault.stage) == (Side::Upstream, Stage::Body)
}

/// Whether a member has served most of what it was asked for of late.
fn does_well(trial: &Trial) -> bool {
    trial.member().live.success_rate().is_some_and(|rate| rate >= 0.5)
}

/// Whether a fault is that of a vendor's gateway, so that all its exits have it.
fn is_of_gateway(fault: &Fault) -> bool {
    let before_exit = matches!(fault.stage, Stage::Resolve | Stage::Connect | Stage::Tls | Stage::Auth);
    fault.side == Side::Upstream && (before_exit || fault.kind == Kind::Unauthorized)
}

/// What a member's silence comes to when another one was answered: a fault when that took less than half of the time,
/// because then the origin was not slow.
fn verdict(silent: Duration, latency: Duration) -> Option<Fault> {
    if latency.saturating_mul(2) >= silent {
        return None;
    }
    let detail =
        format!("no answer for {:.1} s; another was answered in {:.1} s", silent.as_secs_f64(), latency.as_secs_f64());
    Some(Fault::new(Side::Upstream, Stage::FirstByte, Kind::Timeout, detail))
}
