//! Chains: the first hop is dialled, each is asked for a tunnel to the next one, and the last one then stands where an
//! upstream that is dialled straight does.
//!
//! What fails before the last hop is connected is a failure to reach the upstream, whatever the hop says of it: no origin is
//! involved. Every fault names its hop.

use proxywhirl_core::{Endpoint, Fault, Kind, Scheme, Side, Stage, address};
use tokio::time::Instant;

use crate::dialer::Dialer;
use crate::stream::Stream;
use crate::target::Target;

impl Dialer {
    /// Connects to the last hop of a chain.
    pub(crate) async fn open_chain(&self, upstream: &Endpoint, deadline: Instant) -> Result<Stream, Fault> {
        let hops = upstream.hops();
        let place = |number| Place { number, of: hops.len() };
        let first = upstream.first_hop();
        let mut stream = self.dial(first, deadline).await.map_err(|fault| place(1).name(first, fault))?;
        for (number, pair) in (1..).zip(hops.windows(2)) {
            let [hop, next] = pair else { continue };
            let passed = self.pass(stream, hop, next, deadline).await;
            stream = passed.map_err(|fault| place(number).name(hop, on_the_way(fault, next)))?;
            if next.scheme == Scheme::Https {
                let secured = self.secure(next, stream, deadline).await;
                stream = secured.map_err(|fault| place(number + 1).name(next, fault))?;
            }
        }
        Ok(stream)
    }

    /// Asks a hop for a tunnel to the next one.
    async fn pass(&self, stream: Stream, hop: &Endpoint, next: &Endpoint, deadline: Instant) -> Result<Stream, Fault> {
        let next = Target { host: next.host.clone(), port: next.port };
        let target = self.resolved(hop.scheme, &next, deadline).await?;
        // What we look up ourselves is an address by now; what the hop looks up, it looks up in networks of its own.
        if let Some(class) = address::private(&target.host).filter(|_| self.is_public_only()) {
            let words = format!("the next hop has an address that a stranger's list may not name: {class}");
            return Err(Fault::new(Side::Upstream, Stage::Resolve, Kind::Denied, words));
        }
        self.ask(stream, hop, &target, deadline).await
    }
}

/// Which hop of how many.
#[derive(Clone, Copy)]
struct Place {
    number: usize,
    of: usize,
}

impl Place {
    fn name(self, hop: &Endpoint, fault: Fault) -> Fault {
        let Self { number, of } = self;
        let hop = without_login(hop);
        Fault { detail: format!("hop {number} of {of}, {hop}: {}", fault.detail).into(), ..fault }
    }
}

/// The fault of the last hop: it names it where there are others.
pub(crate) fn name_last(upstream: &Endpoint, fault: Fault) -> Fault {
    if upstream.via.is_none() {
        return fault;
    }
    let of = upstream.hops().len();
    Place { number: of, of }.name(upstream, fault)
}

/// What a hop's refusal means on the way to the next one: the upstream is not reached, by whosever fault.
fn on_the_way(fault: Fault, next: &Endpoint) -> Fault {
    let is_next = fault.stage == Stage::Handshake || fault.side == Side::Origin;
    let stage = if fault.stage == Stage::Handshake { Stage::Connect } else { fault.stage };
    let side = if fault.side == Side::Origin { Side::Upstream } else { fault.side };
    let detail =
        if is_next { format!("on the way to {}: {}", without_login(next), fault.detail).into() } else { fault.detail };
    Fault { side, stage, detail, ..fault }
}

/// A hop by itself. Whoever uses the gateway is told of it: at vendors, the user name is the account.
fn without_login(hop: &Endpoint) -> Endpoint {
    Endpoint { via: None, credentials: None, ..hop.clone() }
}
