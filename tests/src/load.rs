//! Clients that send requests at a rate, over connections that stay open, until they are told to stop.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::locked;

/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// Failures that are remembered with their text.
const SHOWN: usize = 20;

/// What came of a load.
#[derive(Debug, Default, Clone)]
pub struct Loaded {
    /// Requests that were sent.
    pub sent: u64,
    /// Those that were answered with 200.
    pub answered: u64,
    /// What the first of the others came to.
    pub failures: Vec<String>,
    /// From the first request to the last answer.
    pub elapsed: Duration,
}

impl Loaded {
    /// Requests a second.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "counts of requests in a test")]
    pub fn rate(&self) -> f64 {
        self.sent as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

#[derive(Debug, Default)]
struct Tally {
    stop: AtomicBool,
    sent: AtomicU64,
    answered: AtomicU64,
    failures: Mutex<Vec<String>>,
}

/// A load that runs. It ends when it is dropped.
#[derive(Debug)]
pub struct Load {
    tally: Arc<Tally>,
    start: Instant,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts `clients` clients of a proxy at `address`, which together ask for `url` (plain HTTP) `rate` times a second.
    #[must_use]
    pub fn start(address: &str, url: &str, clients: u32, rate: u32) -> Self {
        Self::with_fields(address, url, clients, rate, "")
    }

    /// The same with more fields in each request, each with its line end.
    #[must_use]
    pub fn with_fields(address: &str, url: &str, clients: u32, rate: u32, fields: &str) -> Self {
        let tally = Arc::new(Tally::default());
        let gap = Duration::from_secs(1) * clients / rate.max(1);
        let clients = (0..clients).map(|_| {
            let (tally, address) = (Arc::clone(&tally), address.to_owned());
            let authority = url.split('/').nth(2).unwrap_or_default();
            let request = format!("GET {url} HTTP/1.1\r\nHost: {authority}\r\n{fields}\r\n");
            std::thread::spawn(move || client(&tally, &address, &request, gap))
        });
        let clients = clients.collect();
        Self { tally, start: Instant::now(), clients }
    }

    /// Requests that were answered so far.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.tally.answered.load(Relaxed)
    }

    /// Ends it, and waits for the answers that are under way.
    #[must_use]
    pub fn stop(mut self) -> Loaded {
        self.end();
        Loaded {
            sent: self.tally.sent.load(Relaxed),
            answered: self.tally.answered.load(Relaxed),
            failures: locked(&self.tally.failures).clone(),
            elapsed: self.start.elapsed(),
        }
    }

    fn end(&mut self) {
        self.tally.stop.store(true, Relaxed);
        for client in self.clients.drain(..) {
            // A client that panicked has not counted its request as answered, which the test sees.
            drop(client.join());
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.end();
    }
}

fn client(tally: &Tally, address: &str, request: &str, gap: Duration) {
    let mut connection = None;
    let mut due = Instant::now();
    while !tally.stop.load(Relaxed) {
        tally.sent.fetch_add(1, Relaxed);
        match exchange(&mut connection, address, request) {
            Ok(200) => {
                tally.answered.fetch_add(1, Relaxed);
            }
            other => {
                connection = None;
                let mut failures = locked(&tally.failures);
                if failures.len() < SHOWN {
                    failures.push(format!("{other:?}"));
                }
            }
        }
        // A client that is late does not make up for it with a burst.
        due = (due + gap).max(Instant::now());
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

/// Sends a request and reads the whole answer; its status.
fn exchange(connection: &mut Option<BufReader<TcpStream>>, address: &str, request: &str) -> io::Result<u16> {
    let stream = match connection.as_mut() {
        Some(stream) => stream,
        None => {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(ANSWER_LIMIT))?;
            connection.insert(BufReader::new(stream))
        }
    };
    stream.get_mut().write_all(request.as_bytes())?;
    let (mut status, mut length) = (0, 0);
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let text = line.trim_end().to_ascii_lowercase();
        if text.is_empty() {
            break;
        }
        if let Some(value) = text.strip_prefix("content-length:") {
            length = value.trim().parse().map_err(io::Error::other)?;
        } else if let Some(rest) = text.strip_prefix("http/1.1 ") {
            status = rest.get(..3).unwrap_or_default().parse().map_err(io::Error::other)?;
        }
    }
    io::copy(&mut stream.take(length), &mut io::sink())?;
    Ok(status)
}
