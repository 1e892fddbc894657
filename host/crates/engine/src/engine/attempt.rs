//! A request as the engine hears of it: each attempt, why it gets no member, and the end.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use proxywhirl_core::fault::Fault;
use proxywhirl_core::plugin::PluginIdentity;
use proxywhirl_core::select::{Filter, Refusals, Stick};
use proxywhirl_core::symbol::Symbol;
use proxywhirl_core::{Endpoint, MemberId};

use crate::limits::Shed;
use crate::strategy::Beside;

/// A try to serve a request.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// The request's number, from [`Engine::next_request`](crate::Engine::next_request).
    pub request: u64,
    /// The attempt's number, from 1.
    pub number: u32,
    /// Whose the request is: users, by whatever number, have their turns when requests wait.
    pub whose: u64,
    /// Host and port of the origin.
    pub target: &'a str,
    /// Its site, from [`Engine::site`](crate::Engine::site).
    pub site: Symbol,
    /// Hash of the request's session, or none.
    pub session: Option<u64>,
    /// What it says of how its session sticks.
    pub stick: Stick,
    /// The members that the request may use, if not all.
    pub filter: Option<&'a Arc<Filter>>,
    /// Members that this request has tried.
    pub tried: &'a [MemberId],
    /// Whether it had better go to who does well there than to whose turn it is: others have failed, and it may be the last.
    pub is_late: bool,
    /// Whether nobody else gets the request as long as it is silent, once it was sent: a POST is not sent twice, and a PUT not before it
    /// has failed, because the late one of two could undo what was done in between.
    pub is_once: bool,
    /// Whether its answer may be made up, so that its success shows nothing of how the member does at its site.
    pub is_unproven: bool,
    /// Whether it is a hedge: begun while another attempt was slow.
    pub hedge: bool,
    /// The tier that it is made in, where requests escalate.
    pub tier: Option<AttemptTier<'a>>,
    /// The strategy beside the one in force by which it gets its member; none for the one in force.
    pub by: Option<&'a Beside>,
}

/// A tier, as an attempt in it knows it.
#[derive(Debug, Clone, Copy)]
pub struct AttemptTier<'a> {
    /// What it is called.
    pub name: &'a Arc<str>,
    /// The members that the attempt may use: what the request demands and what makes the tier, together.
    pub filter: Option<&'a Arc<Filter>>,
}

impl<'a> Attempt<'a> {
    /// The members that it may use, if not all.
    #[must_use]
    pub fn admitted(&self) -> Option<&'a Arc<Filter>> {
        self.tier.map_or(self.filter, |tier| tier.filter)
    }
}

/// A request that is over.
#[derive(Debug, Clone, Copy)]
pub struct Completion<'a> {
    /// The request's number.
    pub request: u64,
    /// `http`, `connect`, `socks4`, `socks4a` or `socks5`.
    pub protocol: &'static str,
    /// The HTTP method, or `CONNECT`.
    pub method: &'a str,
    /// Host and port of the origin.
    pub target: &'a str,
    /// The name of the user whose it was; none where nobody logs in.
    pub user: Option<&'a Arc<str>>,
    /// The client's address; none when it came over a socket of this machine.
    pub client: Option<SocketAddr>,
    /// Where the listener listens that it came in by, if that has been said.
    pub listener: Option<&'a Arc<str>>,
    /// The status that the client got.
    pub status: Option<u16>,
    /// How many members were tried.
    pub attempts: u32,
    /// The member that served it.
    pub upstream: Option<&'a Endpoint>,
    /// From the request's head to the end of the answer.
    pub duration: Duration,
    /// Why it failed.
    pub fault: Option<&'a Fault>,
}

/// Why a request gets no member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoLease {
    /// Nobody is left: what took how many.
    Nobody(Refusals),
    /// The strategy has faulted, and the user wants no other answer than its own.
    Plugin {
        /// The strategy.
        plugin: PluginIdentity,
        /// Its last fault in one line.
        fault: Option<Box<str>>,
    },
    /// There are limits, and it may not wait, or has waited in vain.
    Shed(Shed),
}

impl fmt::Display for NoLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody(refusals) => refusals.fmt(f),
            Self::Shed(shed) => shed.fmt(f),
            Self::Plugin { plugin, fault } => {
                let fault = fault.as_deref().unwrap_or("it has not answered yet");
                write!(f, "plugin {plugin} has faulted, and its on_fault is reject: {fault}")
            }
        }
    }
}

impl std::error::Error for NoLease {}
