//! Tunnels: opaque bytes between a client and an origin, asked for by CONNECT or by SOCKS.
//!
//! The client hears that its tunnel is open when an upstream has opened one, never before: until then another upstream
//! can be tried, and a client that was told "yes" cannot be told "no" any more.

use std::sync::Arc;

use bytes::BytesMut;
use proxywhirl_core::{Fault, Kind, Side, Stage};
use proxywhirl_net::relay::{End, relay as relay_both};
use proxywhirl_net::{Stream, Target, fault};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use crate::Gateway;
use crate::failover::{Failover, Repeat, Won};
use crate::ingress::socks;
use crate::record::{self, Record};
use crate::reply::{Body, ESTABLISHED, ErrorReply};
use crate::session::Next;
use crate::stall::Stalling;

/// How the client asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    Connect,
    Socks4,
    Socks4a,
    Socks5,
}

impl Manner {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Socks4 => "socks4",
            Self::Socks4a => "socks4a",
            Self::Socks5 => "socks5",
        }
    }

    /// The answer to a client whose tunnel is open.
    fn granted(self) -> Vec<u8> {
        match self {
            Self::Connect => ESTABLISHED.to_vec(),
            Self::Socks4 | Self::Socks4a => socks::reply4(true).to_vec(),
            Self::Socks5 => socks::reply5(socks::code::SUCCEEDED).to_vec(),
        }
    }

    /// The answer to a client that gets none, and its status.
    fn refused(self, fault: &Fault, target: &str, attempts: usize, pseudonym: &str) -> (Vec<u8>, Option<u16>) {
        match self {
            Self::Connect => {
                let reply = ErrorReply::of(fault, target, attempts);
                (reply.to_bytes(pseudonym, Body::Send), Some(reply.status))
            }
            Self::Socks4 | Self::Socks4a => (socks::reply4(false).to_vec(), None),
            Self::Socks5 => (socks::reply5(socks::code_of(fault)).to_vec(), None),
        }
    }

    /// The status that stands for an open tunnel.
    fn status(self) -> Option<u16> {
        (self == Self::Connect).then_some(200)
    }
}

/// Opens a tunnel for a client and relays until it ends. `early` is what the client sent before it was answered.
pub(crate) async fn serve<S>(
    gateway: &Gateway,
    client: &mut S,
    early: BytesMut,
    manner: Manner,
    target: &Target,
    record: Record<'_>,
) -> Next
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let name = record.target.clone();
    let mut failover = Failover::new(gateway.engine(), gateway.config(), record.request, &name, record.wanted.clone());
    // On the heap, because the tunnel that follows may live for days and needs none of it.
    let opened = Box::pin(
        failover.run(Repeat::AfterFault, |endpoint| async move { gateway.dialer().tunnel(&endpoint, target).await }),
    )
    .await;
    let attempts = failover.attempts();
    match opened {
        Ok(Won { mut trial, latency, answer: stream }) => {
            failover.succeed(&mut trial, latency);
            let upstream = Arc::clone(trial.endpoint());
            let relayed = match say(client, &manner.granted()).await {
                Ok(()) => relay(gateway, client, early, stream).await,
                Err(fault) => Err(fault),
            };
            drop(trial);
            let fault = relayed.as_ref().err();
            record.close(&record::End { status: manner.status(), attempts, upstream: Some(&upstream), fault });
            Next::Close
        }
        Err(fault) => {
            let (reply, status) = manner.refused(&fault, &name, attempts, gateway.config().pseudonym);
            record.close(&record::End { status, attempts, upstream: None, fault: Some(&fault) });
            Next::Last(reply)
        }
    }
}

async fn say<S: AsyncWrite + Unpin>(client: &mut S, bytes: &[u8]) -> Result<(), Fault> {
    let fault = |error: std::io::Error| Fault::new(Side::Client, Stage::Handshake, Kind::Io, error.to_string());
    client.write_all(bytes).await.map_err(fault)?;
    client.flush().await.map_err(fault)
}

/// Relays both ways until both have ended, one has failed, or nothing has moved for too long.
pub(crate) async fn relay<S>(
    gateway: &Gateway,
    client: &mut S,
    early: BytesMut,
    mut upstream: Stream,
) -> Result<(), Fault>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let idle = gateway.config().stall_timeout;
    if !early.is_empty() {
        let mut upstream = Stalling::new(&mut upstream, idle);
        let sent = async {
            upstream.write_all(&early).await?;
            upstream.flush().await
        };
        sent.await.map_err(|error| fault::upstream(Stage::Body, &error))?;
    }
    // A tunnel may live for days: it does not keep the buffer of the handshake.
    drop(early);
    let broken =
        |side, error: std::io::Error| Err(Fault::new(side, Stage::Body, fault::io_kind(&error), error.to_string()));
    match relay_both(client, &mut upstream, Some(idle)).await.end {
        // A tunnel that both sides forgot ends as well as one that they closed.
        End::Closed | End::Idle => Ok(()),
        End::Client(error) => broken(Side::Client, error),
        End::Upstream(error) => broken(Side::Upstream, error),
    }
}
