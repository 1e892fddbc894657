//! A gateway in front of upstreams, ready to be asked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use proxywhirl_core::pool::Admission;
use proxywhirl_core::store::StoredMember;
use proxywhirl_core::{Candidate, Endpoint};
use proxywhirl_engine::{Engine, EngineConfig, Parts};
use proxywhirl_gateway::access::{Access, Destinations, Secret, UserConfig, UserLimits};
use proxywhirl_gateway::{Door, Drained, Gateway, GatewayConfig};
use proxywhirl_net::{Dialer, DialerConfig, TlsConfig};
use proxywhirl_world::{Behaviour, Origin, OriginOptions, Protocol, Upstream, UpstreamOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::wishes::Native;

/// Long enough for loopback, short enough for tests that wait for it.
pub(crate) const PATIENCE: Duration = Duration::from_millis(400);

/// A gateway that listens, and its pool.
pub(crate) struct Scene {
    pub(crate) addr: SocketAddr,
    pub(crate) gateway: Gateway,
    pub(crate) engine: Arc<Engine>,
    stop: CancellationToken,
    served: JoinHandle<Drained>,
}

pub(crate) fn limits() -> GatewayConfig {
    GatewayConfig {
        connect_timeout: PATIENCE,
        response_timeout: Duration::from_secs(20),
        request_deadline: Duration::from_secs(30),
        head_timeout: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(5),
        drain: Duration::from_secs(5),
        ..GatewayConfig::default()
    }
}

impl Scene {
    pub(crate) async fn new<U: AsRef<str>>(upstreams: &[U]) -> Self {
        Self::with(upstreams, limits()).await
    }

    pub(crate) async fn with<U: AsRef<str>>(upstreams: &[U], config: GatewayConfig) -> Self {
        let candidates = upstreams.iter().map(|url| candidate(url.as_ref())).collect();
        Self::of(candidates, Parts::default(), config).await
    }

    /// The same, where clients come in by this door, and sessions are kept.
    pub(crate) async fn behind<U: AsRef<str>>(upstreams: &[U], door: Door) -> Self {
        let candidates = upstreams.iter().map(|url| candidate(url.as_ref())).collect();
        Self::made(candidates, Native::parts(false), limits(), door).await
    }

    pub(crate) async fn of(candidates: Vec<Candidate>, parts: Parts, config: GatewayConfig) -> Self {
        Self::made(candidates, parts, config, Door::default()).await
    }

    async fn made(candidates: Vec<Candidate>, parts: Parts, config: GatewayConfig, door: Door) -> Self {
        let engine = Engine::start(EngineConfig::default(), parts).unwrap();
        engine.admit(candidates.into_iter().map(|one| Admission::Vouched(Box::new(one))).collect()).await;
        let tls = TlsConfig { verify: false, ..TlsConfig::default() };
        let dialer = Dialer::new(DialerConfig { connect_timeout: PATIENCE, tls }).unwrap();
        let gateway = Gateway::new(Arc::clone(&engine), dialer, config).behind(door);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let served = tokio::spawn({
            let (gateway, stop) = (gateway.clone(), stop.clone());
            async move { gateway.serve(listener, stop).await }
        });
        Self { addr, gateway, engine, stop, served }
    }

    pub(crate) async fn client(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.unwrap()
    }

    /// What is known of the member with this URL.
    pub(crate) fn member(&self, url: &str) -> StoredMember {
        let endpoint: proxywhirl_core::Endpoint = url.parse().unwrap();
        let snapshot = self.engine.snapshot();
        let member = snapshot.iter().find(|member| *member.endpoint == endpoint).unwrap();
        member.to_stored()
    }

    /// Failures that count against the member.
    pub(crate) fn failures(&self, url: &str) -> u64 {
        self.member(url).statistics.failures
    }

    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Stops, and says how the sessions ended.
    pub(crate) async fn drained(self) -> Drained {
        self.stop.cancel();
        self.served.await.unwrap()
    }
}

/// A door behind which there is one user, anna, whose password is "secret".
pub(crate) fn door_of_anna(limits: UserLimits) -> Door {
    let secret = Secret::Password(proxywhirl_core::Secret::new("secret"));
    let anna = UserConfig { name: "anna".to_owned(), secret, limits };
    let access = Access::new(vec![anna], Vec::new(), Destinations::default()).unwrap();
    Door { access: Arc::new(access), ..Door::default() }
}

/// What anna sends with a request.
pub(crate) const ANNA: &str = "Proxy-Authorization: Basic YW5uYTpzZWNyZXQ=\r\n";

/// An upstream of which nothing but its URL is known.
pub(crate) fn candidate(url: &str) -> Candidate {
    url.parse::<Endpoint>().unwrap().into()
}

pub(crate) async fn origin() -> Origin {
    Origin::with(OriginOptions { http: SocketAddr::from(([127, 0, 0, 1], 0)), https: None }).await.unwrap()
}

pub(crate) async fn upstream(protocol: Protocol, behaviour: Behaviour) -> Upstream {
    let mut options = UpstreamOptions::new(protocol);
    options.behaviour = behaviour;
    Upstream::start(options).await.unwrap()
}

/// An HTTP upstream that does what it was told to, and nothing else.
pub(crate) struct Scripted {
    pub(crate) url: String,
    _tasks: JoinSet<()>,
}

/// What a scripted upstream does when it has said its piece.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    Close,
    /// It keeps the connection, and sends back what it gets.
    Echo,
    /// It keeps the connection, and says nothing more.
    Hold,
}

pub(crate) async fn scripted(says: &'static [&'static [u8]], then: Then) -> Scripted {
    serving(move |mut stream| async move {
        read_head(&mut stream).await;
        speak(stream, says, then).await;
    })
    .await
}

/// The same that opens tunnels, and does so in them.
pub(crate) async fn tunnelled(says: &'static [&'static [u8]], then: Then) -> Scripted {
    serving(move |mut stream| async move {
        if read_head(&mut stream).await.starts_with("CONNECT ") {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            read_head(&mut stream).await;
        }
        speak(stream, says, then).await;
    })
    .await
}

async fn speak(mut stream: TcpStream, says: &[&[u8]], then: Then) {
    for piece in says {
        if stream.write_all(piece).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (mut reader, mut writer) = stream.split();
    match then {
        Then::Close => {}
        Then::Echo => drop(tokio::io::copy(&mut reader, &mut writer).await),
        Then::Hold => drop(tokio::io::copy(&mut reader, &mut tokio::io::sink()).await),
    }
}

/// An HTTP upstream that does this with each connection.
pub(crate) async fn serving<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Scripted
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut sessions = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            sessions.spawn(serve(stream));
        }
    });
    Scripted { url, _tasks: tasks }
}

/// Reads up to the empty line, one byte at a time, so that nothing behind it is lost.
pub(crate) async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}
