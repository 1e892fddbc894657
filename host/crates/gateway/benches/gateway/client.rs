//! Clients that ask as fast as they are answered.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// The size of the body that is asked for: small, so that what is measured is the request.
const BODY: usize = 128;

/// How a client asks.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Case {
    /// Absolute-form GET, one after the other on a connection.
    KeepAlive,
    /// Absolute-form GET, each on a connection of its own.
    Connection,
    /// CONNECT and one GET inside, each on a connection of its own.
    Tunnel,
}

impl Case {
    pub(crate) const ALL: [Self; 3] = [Self::KeepAlive, Self::Connection, Self::Tunnel];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::KeepAlive => "GET, keep-alive",
            Self::Connection => "GET, a connection each",
            Self::Tunnel => "CONNECT, a GET inside",
        }
    }
}

/// What came of a run.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Load {
    pub(crate) answered: u64,
    pub(crate) failed: u64,
    pub(crate) span: Duration,
    /// Processor time of who was asked; none where it cannot be read.
    pub(crate) cpu: Option<Duration>,
}

impl Load {
    pub(crate) fn add(&mut self, other: &Self) {
        self.cpu = if self.span.is_zero() { other.cpu } else { self.cpu.zip(other.cpu).map(|(a, b)| a + b) };
        self.answered += other.answered;
        self.failed += other.failed;
        self.span += other.span;
    }
}

/// Lets so many clients ask for so long.
pub(crate) async fn load(case: Case, via: SocketAddr, origin: SocketAddr, clients: usize, span: Duration) -> Load {
    let (began, stop) = (Instant::now(), Arc::new(AtomicBool::new(false)));
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        tasks.spawn(client(case, via, origin, Arc::clone(&stop)));
    }
    tokio::time::sleep(span).await;
    stop.store(true, Ordering::Relaxed);
    let mut load = Load::default();
    while let Some(done) = tasks.join_next().await {
        let (answered, failed) = done.unwrap();
        load.answered += answered;
        load.failed += failed;
    }
    load.span = began.elapsed();
    load
}

async fn client(case: Case, via: SocketAddr, origin: SocketAddr, stop: Arc<AtomicBool>) -> (u64, u64) {
    let (mut answered, mut failed) = (0, 0);
    let requests = Requests::new(case, origin);
    let mut kept = None;
    while !stop.load(Ordering::Relaxed) {
        match requests.ask(case, via, &mut kept).await {
            Ok(()) => answered += 1,
            Err(_) => {
                failed += 1;
                kept = None;
            }
        }
    }
    (answered, failed)
}

/// What a client writes.
struct Requests {
    connect: String,
    get: String,
}

impl Requests {
    fn new(case: Case, origin: SocketAddr) -> Self {
        let target = match case {
            Case::KeepAlive | Case::Connection => format!("http://{origin}/bytes/{BODY}"),
            Case::Tunnel => format!("/bytes/{BODY}"),
        };
        let close = if matches!(case, Case::KeepAlive) { "" } else { "Connection: close\r\n" };
        Self {
            connect: format!("CONNECT {origin} HTTP/1.1\r\nHost: {origin}\r\n\r\n"),
            get: format!("GET {target} HTTP/1.1\r\nHost: {origin}\r\nUser-Agent: bench\r\nAccept: */*\r\n{close}\r\n"),
        }
    }

    async fn ask(&self, case: Case, via: SocketAddr, kept: &mut Option<TcpStream>) -> io::Result<()> {
        let mut stream = match kept.take() {
            Some(stream) => stream,
            None => TcpStream::connect(via).await?,
        };
        stream.set_nodelay(true)?;
        if matches!(case, Case::Tunnel) {
            stream.write_all(self.connect.as_bytes()).await?;
            answer(&mut stream, 0).await?;
        }
        stream.write_all(self.get.as_bytes()).await?;
        answer(&mut stream, BODY).await?;
        if matches!(case, Case::KeepAlive) {
            *kept = Some(stream);
        }
        Ok(())
    }
}

/// Reads an answer that says 200 and has a body of this length.
async fn answer(stream: &mut TcpStream, body: usize) -> io::Result<()> {
    let mut buffer = [0; 4096];
    let mut have = 0;
    let bad = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    loop {
        let free = buffer.get_mut(have..).filter(|free| !free.is_empty()).ok_or_else(|| bad("a long head"))?;
        match stream.read(free).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => have += read,
        }
        let bytes = buffer.get(..have).unwrap_or_default();
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        if bytes.get(9..12) != Some(b"200") {
            return Err(bad("another status than 200"));
        }
        let mut missing = (end + 4 + body).saturating_sub(have);
        while missing > 0 {
            match stream.read(&mut buffer).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => missing = missing.saturating_sub(read),
            }
        }
        return Ok(());
    }
}
