//! The way straight to the origin, where escalation has a tier for it, beside those through upstreams.

use std::net::IpAddr;

use proxywhirl_core::{Fault, address};
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
        self.dialer().tunnel(upstream.dialled(), target).await
    }

    /// Connects for a plain HTTP request, through an upstream or straight to the target.
    pub(crate) async fn forward(&self, upstream: &Upstream, target: &Target) -> Result<Forward, Fault> {
        if upstream.endpoint.is_direct() {
            return Ok(Forward { stream: self.tunnel(upstream, target).await?, form: RequestForm::Origin });
        }
        self.dialer().forward(upstream.dialled(), target).await
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
