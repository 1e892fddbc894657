//! The way straight to the origin, where escalation has a tier for it, beside those through upstreams.

use std::net::IpAddr;

use proxywhirl_core::{Fault, Host, Kind, Scheme, Side, Stage, address};
use proxywhirl_net::{Forward, RequestForm, Stream, Target};

use crate::Gateway;
use crate::failover::Upstream;

impl Gateway {
    /// Opens a tunnel through an upstream, or straight to the target.
    pub(crate) async fn tunnel(&self, upstream: &Upstream, target: &Target) -> Result<Stream, Fault> {
        if upstream.endpoint.is_direct() {
            // In a box, because it is rare.
            return Box::pin(self.dialer().straight(target, |ip| self.permits(ip, target.port))).await;
        }
        if is_looked_up(upstream, target) {
            // In a box: most upstreams are told names.
            let address = Box::pin(self.look_up(upstream, target)).await?;
            return self.dialer().tunnel(upstream.dialled(), &address).await;
        }
        self.dialer().tunnel(upstream.dialled(), target).await
    }

    /// The address of a target, for an upstream that takes no names. A rule may forbid it, as if the client had written it.
    async fn look_up(&self, upstream: &Upstream, target: &Target) -> Result<Target, Fault> {
        let address = self.dialer().looked_up(upstream.dialled().scheme, target).await?;
        if self.door().access.forbids(&address) {
            let why = format!("{} is {}, which a rule forbids", target.host, address.host);
            return Err(Fault::new(Side::Client, Stage::Resolve, Kind::Denied, why));
        }
        Ok(address)
    }

    /// Connects for a plain HTTP request, through an upstream or straight to the target.
    pub(crate) async fn forward(&self, upstream: &Upstream, target: &Target) -> Result<Forward, Fault> {
        if upstream.endpoint.is_direct() {
            return Ok(Forward { stream: self.tunnel(upstream, target).await?, form: RequestForm::Origin });
        }
        if is_looked_up(upstream, target) {
            return Ok(Forward { stream: self.tunnel(upstream, target).await?, form: RequestForm::Origin });
        }
        self.dialer().forward(upstream.dialled(), target).await
    }

    /// Connects for a request that asks for another protocol: in a tunnel, as browsers do (RFC 6455 §4.1), since most proxies take
    /// `Upgrade` off what they forward. Who opens none, as many do for port 443 alone, gets it as any other request.
    pub(crate) async fn forward_upgrade(&self, upstream: &Upstream, target: &Target) -> Result<Forward, Fault> {
        match self.tunnel(upstream, target).await {
            Ok(stream) => Ok(Forward { stream, form: RequestForm::Origin }),
            Err(fault) if refuses_tunnel(upstream, &fault) => self.forward(upstream, target).await,
            Err(fault) => Err(fault),
        }
    }

    /// What a name turned out to be is under the same rules as what a client writes, and this machine's networks are not for
    /// clients.
    fn permits(&self, ip: IpAddr, port: u16) -> Result<(), String> {
        let refused = |why| format!("the gateway does not go straight to {ip}: {why}");
        match address::private_ip(ip).filter(|_| !self.config().escalation.allow_private) {
            Some(class) => Err(refused(class)),
            None if self.door().access.forbids(&Target::from((ip, port))) => Err(refused("a rule forbids it")),
            None => Ok(()),
        }
    }
}

/// Whether the gateway looks up a name, because the upstream's protocol has addresses only.
fn is_looked_up(upstream: &Upstream, target: &Target) -> bool {
    matches!(upstream.dialled().scheme, Scheme::Socks4 | Scheme::Socks5) && matches!(target.host, Host::Name(_))
}

/// Whether a fault is that an HTTP proxy opens no tunnel there, which says nothing of what it forwards: it says so, or hangs up. That
/// it does not reach the origin (502, 504) is another matter.
fn refuses_tunnel(upstream: &Upstream, fault: &Fault) -> bool {
    let is_refusal = matches!(
        (fault.kind, fault.code),
        (Kind::Closed | Kind::Reset, _) | (Kind::Denied, None | Some(..=501 | 503 | 505..))
    );
    upstream.dialled().scheme.is_http() && fault.stage == Stage::Handshake && is_refusal
}
