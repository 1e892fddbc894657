//! From an endpoint to a connection that can be used: dial, TLS, handshake, under one deadline.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use proxywhirl_core::{Endpoint, Fault, Host, Kind, Scheme, Secret, Side, Stage};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use crate::dial::{self, within};
use crate::resolve::Resolver;
use crate::stream::Stream;
use crate::target::Target;
use crate::tls::{self, TlsConfig, TlsError};
use crate::{chain, connect, socks4, socks5, stages};

/// The longest connect timeout; a longer one is cut to it.
const MAX_CONNECT_TIMEOUT: Duration = Duration::from_secs(3600);

/// How upstreams are dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialerConfig {
    /// The time for resolving, dialling, TLS and the handshake together; at most an hour.
    pub connect_timeout: Duration,
    /// What TLS trusts.
    pub tls: TlsConfig,
}

impl Default for DialerConfig {
    fn default() -> Self {
        Self { connect_timeout: Duration::from_secs(5), tls: TlsConfig::default() }
    }
}

/// Connects to upstreams, and through them. Cheap to clone.
#[derive(Clone)]
pub struct Dialer {
    shared: Arc<Shared>,
    connect_timeout: Duration,
    public_only: bool,
}

struct Shared {
    /// Replaced when others are trusted.
    tls: ArcSwap<TlsConnector>,
    resolver: Resolver,
    /// Where we listen ourselves.
    own: ArcSwap<Vec<SocketAddr>>,
}

/// Whom to trust in TLS to upstreams, ready to be put in force.
pub struct Trust(TlsConnector);

impl Trust {
    /// Reads what a configuration trusts.
    ///
    /// # Errors
    /// [`TlsError`] when the additional certificate authorities cannot be used.
    pub fn new(config: &TlsConfig) -> Result<Self, TlsError> {
        tls::connector(config).map(Self)
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").finish_non_exhaustive()
    }
}

/// A connection for one HTTP request, and how the request has to be written on it.
#[derive(Debug)]
pub struct Forward {
    /// The connection.
    pub stream: Stream,
    /// The form of the request.
    pub form: RequestForm,
}

/// How a request is written for the one at the other end (RFC 9112 §3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestForm {
    /// For a proxy: the target is the absolute URI.
    Absolute {
        /// The value of `Proxy-Authorization`, when the proxy wants credentials.
        proxy_authorization: Option<Secret>,
    },
    /// For the origin itself: the target is the path.
    Origin,
}

impl RequestForm {
    /// The form that this upstream takes.
    #[must_use]
    pub fn of(upstream: &Endpoint) -> Self {
        if upstream.scheme.is_http() {
            Self::Absolute { proxy_authorization: upstream.credentials.as_deref().map(connect::basic) }
        } else {
            Self::Origin
        }
    }
}

/// Whether we listen at an address: at that one, or at all of this machine, of which it is one.
fn is_own(own: &[SocketAddr], address: SocketAddr) -> bool {
    let ip = address.ip().to_canonical();
    // Nobody can be bound to what is another machine's.
    let is_here = || ip.is_loopback() || ip.is_unspecified() || std::net::UdpSocket::bind((ip, 0)).is_ok();
    own.iter().filter(|own| own.port() == address.port()).any(|own| {
        let own = own.ip().to_canonical();
        own == ip || (own.is_unspecified() && is_here()) || (ip.is_unspecified() && own.is_loopback())
    })
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer").field("connect_timeout", &self.connect_timeout).finish_non_exhaustive()
    }
}

impl Dialer {
    /// A dialer. Reads the system's certificates, so it is made once.
    ///
    /// # Errors
    /// [`TlsError`] when the additional certificate authorities cannot be used.
    pub fn new(config: DialerConfig) -> Result<Self, TlsError> {
        Ok(Self {
            shared: Arc::new(Shared {
                tls: ArcSwap::from_pointee(tls::connector(&config.tls)?),
                resolver: Resolver::new(),
                own: ArcSwap::default(),
            }),
            connect_timeout: config.connect_timeout.min(MAX_CONNECT_TIMEOUT),
            public_only: false,
        })
    }

    /// Says where we listen ourselves: nobody is dialled there from now on, by all that were made from this one either.
    pub fn listens_at(&self, own: Vec<SocketAddr>) {
        self.shared.own.store(Arc::new(own));
    }

    /// Trusts others from now on; so do all that were made from this one.
    pub fn trust(&self, trust: Trust) {
        self.shared.tls.store(Arc::new(trust.0));
    }

    /// The same that refuses upstreams whose address is not of the public internet, once their name is resolved: for
    /// those that a stranger's list names.
    #[must_use]
    pub fn public_only(&self) -> Self {
        Self { public_only: true, ..self.clone() }
    }

    /// The same with another time for connecting.
    #[must_use]
    pub fn within(&self, connect_timeout: Duration) -> Self {
        Self { connect_timeout: connect_timeout.min(MAX_CONNECT_TIMEOUT), ..self.clone() }
    }

    /// The addresses of an upstream, or of the first hop of a chain: those of the others are known to the hops before.
    ///
    /// # Errors
    /// The fault, when its name has none, or one that it may not have.
    pub async fn resolve(&self, upstream: &Endpoint) -> Result<Vec<SocketAddr>, Fault> {
        dial::addresses(&self.shared.resolver, upstream.first_hop(), self.public_only, self.deadline()).await
    }

    /// Connects to an upstream, through the hops before it: TCP, and TLS when it is an HTTPS proxy. Nothing has been asked of
    /// it then.
    ///
    /// # Errors
    /// The fault of the stage that failed, or in which the deadline passed.
    pub async fn connect(&self, upstream: &Endpoint) -> Result<Stream, Fault> {
        self.open(upstream, self.deadline()).await
    }

    /// Connects through an upstream to a target. The bytes are the target's then; nobody looks into them.
    ///
    /// # Errors
    /// The fault of the stage that failed, or in which the deadline passed.
    pub async fn tunnel(&self, upstream: &Endpoint, target: &Target) -> Result<Stream, Fault> {
        let deadline = self.deadline();
        let target = self.resolved(upstream.scheme, target, deadline).await?;
        // What cannot be asked for needs no connection.
        match (upstream.scheme, upstream.credentials.as_deref()) {
            (Scheme::Socks4 | Scheme::Socks4a, _) => drop(socks4::encode_request(&target, None)?),
            (Scheme::Socks5 | Scheme::Socks5h, Some(credentials)) => socks5::can_say(credentials)?,
            (Scheme::Http | Scheme::Https | Scheme::Socks5 | Scheme::Socks5h, _) => {}
        }
        let stream = self.open(upstream, deadline).await?;
        self.ask(stream, upstream, &target, deadline).await.map_err(|fault| chain::name_last(upstream, fault))
    }

    /// Connects for a plain HTTP request to a target: to an HTTP proxy, which takes it in absolute form, or through
    /// any other to the origin.
    ///
    /// # Errors
    /// The fault of the stage that failed, or in which the deadline passed.
    pub async fn forward(&self, upstream: &Endpoint, target: &Target) -> Result<Forward, Fault> {
        let form = RequestForm::of(upstream);
        let stream = match form {
            RequestForm::Absolute { .. } => self.connect(upstream).await?,
            RequestForm::Origin => self.tunnel(upstream, target).await?,
        };
        Ok(Forward { stream, form })
    }

    /// Connects to a target without any upstream. All its addresses must be permitted; nothing is dialled that was not.
    ///
    /// # Errors
    /// The origin's fault, which may be that it has an address that is not permitted.
    pub async fn straight(
        &self,
        target: &Target,
        permits: impl Fn(IpAddr) -> Result<(), String>,
    ) -> Result<Stream, Fault> {
        let deadline = self.deadline();
        let addresses = dial::lookup(&self.shared.resolver, Side::Origin, &target.host, target.port, deadline).await?;
        let denied = |why: String| Fault::new(Side::Origin, Stage::Resolve, Kind::Denied, why);
        addresses.iter().try_for_each(|address| permits(address.ip().to_canonical())).map_err(denied)?;
        match dial::tcp(addresses, deadline).await {
            Ok(tcp) => Ok(Stream::Tcp(tcp)),
            Err(fault) if fault.side == Side::Upstream => Err(Fault { side: Side::Origin, ..fault }),
            Err(fault) => Err(fault),
        }
    }

    /// A target as an upstream of this protocol is asked for it: SOCKS 4 and 5 take addresses, the others names.
    ///
    /// # Errors
    /// The fault, when the name has no address that the protocol can name.
    pub async fn looked_up(&self, scheme: Scheme, target: &Target) -> Result<Target, Fault> {
        self.resolved(scheme, target, self.deadline()).await.map(Cow::into_owned)
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.connect_timeout
    }

    async fn open(&self, upstream: &Endpoint, deadline: Instant) -> Result<Stream, Fault> {
        match upstream.via {
            None => self.dial(upstream, deadline).await,
            // In a box, so that who is dialled straight takes no room for it.
            Some(_) => Box::pin(self.open_chain(upstream, deadline)).await,
        }
    }

    /// Asks an upstream that is connected for a tunnel.
    pub(crate) async fn ask(
        &self,
        mut stream: Stream,
        upstream: &Endpoint,
        target: &Target,
        deadline: Instant,
    ) -> Result<Stream, Fault> {
        let credentials = upstream.credentials.as_deref();
        let prefix = match upstream.scheme {
            Scheme::Http | Scheme::Https => connect::handshake(&mut stream, target, credentials, deadline).await?,
            Scheme::Socks4 | Scheme::Socks4a => socks4::handshake(&mut stream, target, credentials, deadline).await?,
            Scheme::Socks5 | Scheme::Socks5h => socks5::handshake(&mut stream, target, credentials, deadline).await?,
        };
        Ok(stream.with_prefix(prefix))
    }

    /// Connects to an upstream without another one between.
    pub(crate) async fn dial(&self, upstream: &Endpoint, deadline: Instant) -> Result<Stream, Fault> {
        let addresses = dial::addresses(&self.shared.resolver, upstream, self.public_only, deadline).await?;
        if addresses.iter().any(|address| is_own(&self.shared.own.load(), *address)) {
            let why = "it is this gateway itself";
            return Err(Fault::new(Side::Upstream, Stage::Connect, Kind::Denied, why));
        }
        let tcp = dial::tcp(addresses, deadline).await?;
        stages::dialled();
        if upstream.scheme != Scheme::Https {
            return Ok(Stream::Tcp(tcp));
        }
        let tls = self.shared.tls.load_full();
        // In a box, as a chain is.
        let handshake = Box::pin(tls::handshake(&tls, upstream, tcp));
        let stream = within(deadline, Side::Upstream, Stage::Tls, handshake).await?;
        Ok(Stream::Tls(Box::new(stream)))
    }

    /// TLS with an upstream, over what others relay.
    pub(crate) async fn secure(&self, upstream: &Endpoint, below: Stream, deadline: Instant) -> Result<Stream, Fault> {
        let connector = self.shared.tls.load_full();
        let handshake = tls::handshake(&connector, upstream, below);
        let stream = within(deadline, Side::Upstream, Stage::Tls, handshake).await?;
        Ok(Stream::TlsInside(Box::new(stream)))
    }

    /// Whether addresses that are not of the public internet are refused.
    pub(crate) const fn is_public_only(&self) -> bool {
        self.public_only
    }

    /// The target as this protocol names it: SOCKS 4 and 5 get addresses, the others names.
    pub(crate) async fn resolved<'a>(
        &self,
        scheme: Scheme,
        target: &'a Target,
        deadline: Instant,
    ) -> Result<Cow<'a, Target>, Fault> {
        let by_us = match scheme {
            Scheme::Socks4 | Scheme::Socks5 => matches!(target.host, Host::Name(_)),
            Scheme::Http | Scheme::Https | Scheme::Socks4a | Scheme::Socks5h => false,
        };
        if !by_us {
            return Ok(Cow::Borrowed(target));
        }
        let addresses = dial::lookup(&self.shared.resolver, Side::Origin, &target.host, target.port, deadline).await?;
        // Few proxies reach IPv6, and SOCKS 4 cannot name it.
        let address = addresses.iter().find(|address| address.is_ipv4()).or_else(|| addresses.first());
        match address {
            Some(SocketAddr::V6(_)) if scheme == Scheme::Socks4 => {
                let words = format!("{} has IPv6 addresses only", target.host);
                Err(Fault::new(Side::Upstream, Stage::Handshake, Kind::Unsupported, words))
            }
            Some(address) => Ok(Cow::Owned(Target::from((address.ip(), target.port)))),
            None => Err(Fault::new(Side::Origin, Stage::Resolve, Kind::NotFound, "no address")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_we_listen_ourselves_is_known_by_each_address_of_this_machine() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap_or_else(|error| panic!("{error}"));
        for (own, address, expected) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "127.0.0.1:81", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("127.0.0.1:80", "0.0.0.0:80", true),
            ("127.0.0.1:80", "[::ffff:127.0.0.1]:80", true),
            ("0.0.0.0:80", "127.0.0.2:80", true),
            ("0.0.0.0:80", "192.0.2.1:80", false),
            ("[::]:80", "[::1]:80", true),
        ] {
            assert_eq!(is_own(&[at(own)], at(address)), expected, "{own} {address}");
        }
        assert!(!is_own(&[], at("127.0.0.1:80")));
    }
}
