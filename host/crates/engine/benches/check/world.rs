//! The proxies of a run, in a process of their own.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::str::FromStr;
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

/// A process that plays the proxies; dropping it ends it.
pub(crate) struct World {
    process: std::process::Child,
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
        let lines = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut lines = lines.take_while(|line| !line.is_empty());
        let judge = lines.next().unwrap().parse().unwrap();
        let proxies = lines.map(|line| {
            let (address, kind) = line.split_once(' ').unwrap();
            (address.parse().unwrap(), kind.parse().unwrap())
        });
        Self { judge, proxies: proxies.collect(), process }
    }
}

/// Serves until standard input ends.
pub(crate) async fn serve(args: &[String]) {
    let count: usize = args[0].parse().unwrap();
    let delay = Duration::from_millis(args[1].parse().unwrap());
    let judge = Judge::new(JudgeConfig { connections: 100_000, ..JudgeConfig::default() }, Clock::default());
    let straight = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = straight.local_addr().unwrap();
    let mut said = format!("{address}\n");
    tokio::spawn(judge.clone().serve(straight, std::future::pending()));
    for number in 0..count {
        let kind = ORDER[number % ORDER.len()];
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        said += &format!("{} {kind:?}\n", listener.local_addr().unwrap());
        match kind {
            Kind::Refusing => drop(listener),
            Kind::Good if delay.is_zero() => drop(tokio::spawn(judge.clone().serve(listener, std::future::pending()))),
            Kind::Good => drop(tokio::spawn(wait(listener, delay, address))),
            Kind::Silent | Kind::Closing | Kind::Garbage => drop(tokio::spawn(misbehave(listener, kind))),
        }
    }
    println!("{said}");
    tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await.unwrap();
}

/// Passes a request on to the judge, and its answer back after a while.
async fn wait(listener: TcpListener, delay: Duration, judge: SocketAddr) {
    while let Ok((mut client, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut bytes = Vec::with_capacity(2048);
            client.read_buf(&mut bytes).await?;
            let began = tokio::time::Instant::now();
            let mut onward = TcpStream::connect(judge).await?;
            onward.write_all(&bytes).await?;
            bytes.clear();
            onward.read_to_end(&mut bytes).await?;
            tokio::time::sleep_until(began + delay).await;
            client.write_all(&bytes).await
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
