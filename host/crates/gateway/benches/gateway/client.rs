//! Clients that ask as fast as they are answered.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::case::{Case, Way};

/// How much a bulk transfer reads or writes at a time.
const PIECE: usize = 256 * 1024;
/// The length of a body that no run comes to the end of.
const ENDLESS: u64 = 10_000_000_000;
/// How long one request may take before it has failed.
const LIMIT: Duration = Duration::from_secs(10);

/// What came of a round.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Load {
    /// Requests or tunnels, or bytes of a bulk transfer.
    pub(crate) done: u64,
    pub(crate) failed: u64,
    pub(crate) span: Duration,
    /// Processor time of who was asked; none where it cannot be read.
    pub(crate) cpu: Option<Duration>,
}

/// Lets the clients of a case ask for so long.
pub(crate) async fn load(case: Case, via: SocketAddr, origin: SocketAddr, span: Duration) -> Load {
    let (began, stop) = (Instant::now(), Arc::new(AtomicBool::new(false)));
    let bytes = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..case.clients() {
        tasks.spawn(client(case, via, origin, Arc::clone(&stop), Arc::clone(&bytes)));
    }
    tokio::time::sleep(span).await;
    stop.store(true, Ordering::Relaxed);
    let mut load = Load::default();
    while let Some(done) = tasks.join_next().await {
        let (answered, failed) = done.unwrap();
        load.done += answered;
        load.failed += failed;
    }
    load.done += bytes.load(Ordering::Relaxed);
    load.span = began.elapsed();
    load
}

/// Opens so many tunnels, which stay silent.
pub(crate) async fn tunnels(via: SocketAddr, origin: SocketAddr, count: usize) -> io::Result<Vec<TcpStream>> {
    let mut open = Vec::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(via).await?;
        Way::Connect.open(&mut stream, origin).await?;
        open.push(stream);
    }
    Ok(open)
}

async fn client(
    case: Case,
    via: SocketAddr,
    origin: SocketAddr,
    stop: Arc<AtomicBool>,
    bytes: Arc<AtomicU64>,
) -> (u64, u64) {
    let (mut answered, mut failed) = (0, 0);
    let get = request(case, origin);
    let mut kept = None;
    while !stop.load(Ordering::Relaxed) {
        let done = async {
            match case {
                Case::BulkDown | Case::BulkUp => bulk(case, via, origin, &get, &stop, &bytes).await.map(|()| 0),
                _ => timeout(LIMIT, ask(case, via, origin, &get, &mut kept)).await?.map(|()| 1),
            }
        };
        match done.await {
            Ok(count) => answered += count,
            Err(_) => {
                failed += 1;
                kept = None;
            }
        }
    }
    (answered, failed)
}

/// The request of a case, as the one at the other end of its way takes it.
pub(crate) fn request(case: Case, origin: SocketAddr) -> String {
    let target = match case.way() {
        Way::Forward => format!("http://{origin}"),
        Way::Connect | Way::Socks5 => String::new(),
    };
    let close = if case.keeps_alive() { "" } else { "Connection: close\r\n" };
    let head = format!("Host: {origin}\r\nUser-Agent: bench\r\nAccept: */*\r\n{close}");
    match case {
        Case::BulkDown => format!("GET {target}/bytes/{ENDLESS} HTTP/1.1\r\n{head}\r\n"),
        Case::BulkUp => format!("POST {target}/upload HTTP/1.1\r\n{head}Content-Length: {ENDLESS}\r\n\r\n"),
        _ => format!("GET {target}/bytes/{} HTTP/1.1\r\n{head}\r\n", case.body()),
    }
}

pub(crate) async fn dial(case: Case, via: SocketAddr, origin: SocketAddr) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(via).await?;
    stream.set_nodelay(true)?;
    case.way().open(&mut stream, origin).await?;
    Ok(stream)
}

pub(crate) async fn ask(
    case: Case,
    via: SocketAddr,
    origin: SocketAddr,
    get: &str,
    kept: &mut Option<TcpStream>,
) -> io::Result<()> {
    let mut stream = match kept.take() {
        Some(stream) => stream,
        None => dial(case, via, origin).await?,
    };
    stream.write_all(get.as_bytes()).await?;
    answer(&mut stream, case.body()).await?;
    if case.keeps_alive() {
        *kept = Some(stream);
    }
    Ok(())
}

/// Moves bytes one way until it is told to stop.
async fn bulk(
    case: Case,
    via: SocketAddr,
    origin: SocketAddr,
    request: &str,
    stop: &AtomicBool,
    bytes: &AtomicU64,
) -> io::Result<()> {
    let mut stream = timeout(LIMIT, dial(case, via, origin)).await??;
    stream.write_all(request.as_bytes()).await?;
    let mut piece = vec![0; PIECE];
    while !stop.load(Ordering::Relaxed) {
        let moving = async {
            if matches!(case, Case::BulkDown) { stream.read(&mut piece).await } else { stream.write(&piece).await }
        };
        match timeout(LIMIT, moving).await?? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            moved => bytes.fetch_add(moved as u64, Ordering::Relaxed),
        };
    }
    Ok(())
}

impl Way {
    /// Opens the way to the origin.
    async fn open(self, stream: &mut TcpStream, origin: SocketAddr) -> io::Result<()> {
        match self {
            Self::Forward => Ok(()),
            Self::Connect => {
                let connect = format!("CONNECT {origin} HTTP/1.1\r\nHost: {origin}\r\n\r\n");
                stream.write_all(connect.as_bytes()).await?;
                answer(stream, 0).await
            }
            Self::Socks5 => {
                stream.write_all(&[5, 1, 0]).await?;
                let mut chosen = [0; 2];
                stream.read_exact(&mut chosen).await?;
                let SocketAddr::V4(origin) = origin else { return Err(io::ErrorKind::Unsupported.into()) };
                let request = [&[5, 1, 0, 1][..], &origin.ip().octets(), &origin.port().to_be_bytes()].concat();
                stream.write_all(&request).await?;
                let mut reply = [0; 10];
                stream.read_exact(&mut reply).await?;
                if reply.get(1) == Some(&0) { Ok(()) } else { Err(io::ErrorKind::ConnectionRefused.into()) }
            }
        }
    }
}

/// Reads an answer that says 200 and has a body of this length.
async fn answer(stream: &mut TcpStream, body: usize) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
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
