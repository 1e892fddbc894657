//! The proxies of a run, in a process of their own.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Lines};
use std::net::SocketAddr;
use std::process::{ChildStdout, Command, Stdio};
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proxywhirl_engine::Clock;
use proxywhirl_engine::check::judge::{Judge, JudgeConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub(crate) const ROLE: &str = "role:world";

/// How a proxy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It answers as the judge does: what is behind it is not measured here.
    Good,
    /// Nobody listens.
    Refusing,
    /// It accepts and never answers.
    Silent,
    /// It reads and closes.
    Closing,
    /// It answers what is no HTTP.
    Garbage,
}

/// Every second one is good, the others are each of the ways in turn.
const ORDER: [Kind; 8] =
    [Kind::Good, Kind::Refusing, Kind::Good, Kind::Silent, Kind::Good, Kind::Closing, Kind::Good, Kind::Garbage];

impl FromStr for Kind {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        ORDER.into_iter().find(|kind| format!("{kind:?}") == word).ok_or_else(|| word.to_owned())
    }
}

/// How long each waiting proxy took for its answer.
type Waited = Arc<Mutex<Vec<(SocketAddr, Duration)>>>;

/// A process that plays the proxies; dropping it ends it.
pub(crate) struct World {
    process: std::process::Child,
    said: Lines<BufReader<ChildStdout>>,
    pub(crate) judge: SocketAddr,
    pub(crate) proxies: Vec<(SocketAddr, Kind)>,
}

impl Drop for World {
    fn drop(&mut self) {
        // It may have ended by itself; there is nobody to tell.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

impl World {
    /// So many proxies, of which the good ones wait for so long before they answer.
    pub(crate) fn start(proxies: usize, delay: Duration) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([ROLE.to_owned(), proxies.to_string(), delay.as_millis().to_string()]);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(process.stdout.take().unwrap()).lines();
        let judge = said.next().unwrap().unwrap().parse().unwrap();
        let proxies = pairs(&mut said, |kind| kind.parse().unwrap());
        Self { process, said, judge, proxies }
    }

    /// How long each of the proxies that wait really took, from the last byte of the request to its answer.
    pub(crate) fn waited(mut self) -> HashMap<SocketAddr, Duration> {
        // It tells when its input ends.
        drop(self.process.stdin.take());
        let micros = |word: &str| Duration::from_micros(word.parse().unwrap());
        pairs(&mut self.said, micros).into_iter().collect()
    }
}

/// Lines of an address and a word, up to an empty one.
fn pairs<T>(said: &mut Lines<BufReader<ChildStdout>>, value: impl Fn(&str) -> T) -> Vec<(SocketAddr, T)> {
    let lines = said.by_ref().map(Result::unwrap).take_while(|line| !line.is_empty());
    let pair = |line: String| {
        let (address, word) = line.split_once(' ').unwrap();
        (address.parse().unwrap(), value(word))
    };
    lines.map(pair).collect()
}

/// Serves until standard input ends, and tells then how long it waited.
pub(crate) async fn serve(args: &[String]) {
    let count: usize = args[0].parse().unwrap();
    let delay = Duration::from_millis(args[1].parse().unwrap());
    let judge = Judge::new(JudgeConfig { connections: 100_000, ..JudgeConfig::default() }, Clock::default());
    let straight = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = straight.local_addr().unwrap();
    let waited = Waited::default();
    let mut said = format!("{address}\n");
    tokio::spawn(judge.clone().serve(straight, std::future::pending()));
    // Open until all are bound: nobody else may get their ports.
    let mut refusing = Vec::new();
    for number in 0..count {
        let kind = ORDER[number % ORDER.len()];
        // From 127.0.0.1 a port of its own that nobody listens on can be connected with itself.
        let host = if kind == Kind::Refusing { "127.0.0.2" } else { "127.0.0.1" };
        let listener = TcpListener::bind((host, 0)).await.unwrap();
        said += &format!("{} {kind:?}\n", listener.local_addr().unwrap());
        match kind {
            Kind::Refusing => refusing.push(listener),
            Kind::Good if delay.is_zero() => drop(tokio::spawn(judge.clone().serve(listener, std::future::pending()))),
            Kind::Good => drop(tokio::spawn(wait(listener, delay, address, Arc::clone(&waited)))),
            Kind::Silent | Kind::Closing | Kind::Garbage => drop(tokio::spawn(misbehave(listener, kind))),
        }
    }
    drop(refusing);
    println!("{said}");
    tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await.unwrap();
    for (address, waited) in waited.lock().unwrap().drain(..) {
        println!("{address} {}", waited.as_micros());
    }
    println!();
}

/// Passes a request on to the judge, and its answer back after a while.
async fn wait(listener: TcpListener, delay: Duration, judge: SocketAddr, waited: Waited) {
    while let Ok((mut client, _)) = listener.accept().await {
        let waited = Arc::clone(&waited);
        tokio::spawn(async move {
            let mut bytes = Vec::with_capacity(2048);
            client.read_buf(&mut bytes).await?;
            let began = tokio::time::Instant::now();
            let mut onward = TcpStream::connect(judge).await?;
            onward.write_all(&bytes).await?;
            bytes.clear();
            onward.read_to_end(&mut bytes).await?;
            tokio::time::sleep_until(began + delay).await;
            client.write_all(&bytes).await?;
            waited.lock().unwrap().push((client.local_addr()?, began.elapsed()));
            std::io::Result::Ok(())
        });
    }
}

async fn misbehave(listener: TcpListener, kind: Kind) {
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut request = vec![0; 2048];
            let read = stream.read(&mut request).await.unwrap_or(0);
            match kind {
                Kind::Silent => drop(stream.read(&mut request).await),
                Kind::Garbage if read > 0 => drop(stream.write_all(b"220 mail.example ready\r\n\r\n").await),
                Kind::Good | Kind::Refusing | Kind::Closing | Kind::Garbage => {}
            }
        });
    }
}
