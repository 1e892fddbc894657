//! Requests of all kinds through the gateway, as real clients send them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Response, Uri};
use proxywhirl_core::Endpoint;
use proxywhirl_net::{Dialer, Target, TlsConfig};
use proxywhirl_world::World;
use rustls::ClientConfig;
use tokio::net::TcpStream;

use crate::client::{self, Asked};
use crate::exit::{Exit, Failure};
use crate::wiring;

/// Requests at once.
const CONCURRENCY: usize = 8;

/// The gateway's own deadline is shorter: whoever waits longer has lost.
const PATIENCE: Duration = Duration::from_secs(150);

/// How a client speaks to the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// An HTTP request in absolute form.
    Http,
    /// HTTPS through CONNECT.
    Connect,
    /// HTTPS through SOCKS 5.
    Socks,
}

impl Way {
    const ALL: [Self; 3] = [Self::Http, Self::Connect, Self::Socks];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::Connect => "HTTPS by CONNECT",
            Self::Socks => "HTTPS by SOCKS5",
        }
    }
}

/// What became of a request.
pub(super) struct Sent {
    pub(super) way: Way,
    pub(super) time: Duration,
    pub(super) error: Option<String>,
}

/// A client of the gateway.
pub(super) struct Traffic {
    gateway: SocketAddr,
    dialer: Dialer,
    tls: Arc<ClientConfig>,
    http: Uri,
    https: Uri,
}

impl Traffic {
    pub(super) fn new(gateway: SocketAddr, world: &World) -> Result<Self, Failure> {
        let tls = TlsConfig { verify: true, extra_ca_pem: Some(world.ca().ca_pem().into_bytes()) };
        let wrong = |error: hyper::http::uri::InvalidUri| Failure::new(Exit::Environment, error);
        Ok(Self {
            gateway,
            dialer: wiring::dialer(tls.clone(), PATIENCE)?,
            tls: proxywhirl_net::tls::client_config(&tls).map_err(|error| Failure::new(Exit::Environment, error))?,
            http: world.origin().http_url("/ip").parse().map_err(wrong)?,
            https: world.origin().https_url("/ip").unwrap_or_default().parse().map_err(wrong)?,
        })
    }

    /// Sends requests, each kind in turn, some at once.
    pub(super) async fn send(&self, count: u32) -> Vec<Sent> {
        futures_util::stream::iter((0..count).zip(Way::ALL.into_iter().cycle()))
            .map(|(_, way)| self.one(way))
            .buffer_unordered(CONCURRENCY)
            .collect()
            .await
    }

    async fn one(&self, way: Way) -> Sent {
        let started = Instant::now();
        let answered = tokio::time::timeout(PATIENCE, self.answered(way)).await;
        let error = answered.unwrap_or_else(|_| Err("no answer".to_owned())).err();
        Sent { way, time: started.elapsed(), error }
    }

    /// The whole answer must come, with status 200.
    async fn answered(&self, way: Way) -> Result<(), String> {
        let response = self.response(way).await?;
        let status = response.status();
        response.into_body().collect().await.map_err(|error| error.to_string())?;
        if status.is_success() { Ok(()) } else { Err(format!("the origin answered {status}")) }
    }

    async fn response(&self, way: Way) -> Result<Response<Incoming>, String> {
        let url = if way == Way::Http { &self.http } else { &self.https };
        let asked = Asked {
            method: Method::GET,
            url: url.clone(),
            headers: Vec::new(),
            body: Bytes::new(),
            wishes: Vec::new(),
        };
        if way == Way::Socks {
            let endpoint: Endpoint =
                format!("socks5h://{}", self.gateway).parse().map_err(|error| format!("{error}"))?;
            let port = url.port_u16().unwrap_or(443);
            let host = url.host().unwrap_or_default().parse().map_err(|error| format!("{error}"))?;
            let tunnel = self.dialer.tunnel(&endpoint, &Target { host, port }).await;
            let tunnel = tunnel.map_err(|fault| fault.to_string())?;
            return client::send_through_tunnel(tunnel, &asked, &self.tls).await.map_err(|error| error.to_string());
        }
        let wire = TcpStream::connect(self.gateway).await.map_err(|error| error.to_string())?;
        client::send(wire, &asked, &self.tls).await.map_err(|error| error.to_string())
    }
}
