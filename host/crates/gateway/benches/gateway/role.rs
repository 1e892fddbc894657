//! The processes of a run: the upstreams, the gateways, and HAProxy if there is one.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proxywhirl_core::Endpoint;
use proxywhirl_core::pool::Admission;
use proxywhirl_engine::{Engine, EngineConfig, Parts};
use proxywhirl_gateway::{Gateway, GatewayConfig};
use proxywhirl_net::{Dialer, DialerConfig};
use proxywhirl_world::{Origin, OriginOptions, Protocol, Upstream, UpstreamOptions};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::table::{BASELINE, STRAIGHT};

pub(crate) const UPSTREAMS: &str = "role:upstreams";
pub(crate) const GATEWAY: &str = "role:gateway";
/// Upstreams in the pool.
const COUNT: usize = 10;

/// A process of ours; dropping it ends it.
pub(crate) struct Child {
    process: std::process::Child,
    /// Where its configuration is.
    _folder: Option<tempfile::TempDir>,
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended by itself; there is nobody to tell.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

impl Child {
    /// Starts this program in a role; gives what it says of itself: lines, up to an empty one.
    pub(crate) fn of_role(role: &str, args: &[String]) -> (Self, Vec<String>) {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let mut process = command.arg(role).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
        let lines = lines.take_while(|line| !line.is_empty()).collect();
        (Self { process, _folder: None }, lines)
    }

    /// Processor time so far, in user and kernel mode, to 10 ms. Only on Linux (proc(5), `/proc/pid/stat`).
    pub(crate) fn cpu(&self) -> Option<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).ok()?;
        // The name, which may hold anything, stands in parentheses; utime and stime are the fields 14 and 15.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks: u64 = fields.get(11..13)?.iter().filter_map(|field| field.parse::<u64>().ok()).sum();
        // USER_HZ is 100 on every Linux that there is.
        Some(Duration::from_millis(ticks * 10))
    }

    /// Memory that it holds, in bytes. Only on Linux (proc(5), `/proc/pid/status`).
    pub(crate) fn memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
    }
}

/// Who is asked.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) addr: SocketAddr,
    /// Its process; none when that is the upstreams'.
    pub(crate) child: Option<Child>,
}

/// Where the process of the upstreams listens.
pub(crate) struct Upstreams {
    pub(crate) origin: SocketAddr,
    pub(crate) http: Vec<SocketAddr>,
    pub(crate) socks: Vec<SocketAddr>,
}

impl Upstreams {
    /// Reads what that process says of itself.
    pub(crate) fn read(lines: &[String]) -> Self {
        let mut addrs = lines.iter().map(|line| line.parse().unwrap());
        let origin = addrs.next().unwrap();
        Self { origin, http: addrs.by_ref().take(COUNT).collect(), socks: addrs.collect() }
    }
}

/// The gateway, another one if there is one to compare it with, HAProxy if it is installed, and one of the upstreams by itself.
pub(crate) fn contenders(
    upstreams: &Upstreams,
    addrs: &[SocketAddr],
    scheme: &str,
    binary: Option<&str>,
    beside: Option<&str>,
) -> Vec<Contender> {
    let urls: Vec<String> = addrs.iter().map(|addr| format!("{scheme}://{addr}")).collect();
    let (gateway, addr) = match binary {
        Some(binary) => served(binary, &urls),
        None => {
            let (gateway, lines) = Child::of_role(GATEWAY, &urls);
            (gateway, lines.first().unwrap().parse().unwrap())
        }
    };
    let mut contenders = vec![Contender { name: "proxywhirl", addr, child: Some(gateway) }];
    if let Some(binary) = beside {
        let (gateway, addr) = served(binary, &urls);
        contenders.push(Contender { name: "beside", addr, child: Some(gateway) });
    }
    let mode = if addrs == upstreams.http { "http" } else { "tcp" };
    match haproxy(addrs, mode) {
        Some(haproxy) => contenders.push(haproxy),
        None => println!("HAProxy is not installed, and is left out"),
    }
    contenders.push(Contender { name: STRAIGHT, addr: *addrs.first().unwrap(), child: None });
    contenders
}

/// Ten upstreams of each protocol and an origin, until standard input ends. Says the origin's address and theirs.
pub(crate) async fn upstreams() {
    let options = OriginOptions { http: SocketAddr::from(([127, 0, 0, 1], 0)), https: None };
    let origin = Origin::with(options).await.unwrap();
    let mut upstreams = Vec::new();
    for protocol in [Protocol::Http, Protocol::Socks5] {
        for _ in 0..COUNT {
            upstreams.push(Upstream::start(UpstreamOptions::new(protocol)).await.unwrap());
        }
    }
    println!("{}", origin.http_addr());
    for upstream in &upstreams {
        println!("{}", upstream.addr());
    }
    told_to_end().await;
}

/// A gateway to these upstreams with its default limits, until standard input ends. Says its address.
pub(crate) async fn gateway(upstreams: &[String]) {
    let engine = Engine::start(EngineConfig::default(), Parts::default()).unwrap();
    let admissions = upstreams.iter().map(|url| {
        let endpoint: Endpoint = url.parse().unwrap();
        Admission::Vouched(Box::new(endpoint.into()))
    });
    engine.admit(admissions.collect()).await;
    let gateway =
        Gateway::new(Arc::clone(&engine), Dialer::new(DialerConfig::default()).unwrap(), GatewayConfig::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    tokio::select! {
        _ = gateway.serve(listener, stop) => {}
        () = told_to_end() => {}
    }
}

/// The binary as a user starts it, with its default settings, over these upstreams.
fn served(binary: &str, urls: &[String]) -> (Child, SocketAddr) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("own.txt"), urls.join("\n")).unwrap();
    // A port that was free a moment ago.
    let addr = StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = format!(
        "listen = \"{addr}\"\n[control]\nsocket = false\n[[sources]]\nname = \"own\"\n\
         location = \"own.txt\"\ntrust = true\n"
    );
    let file = folder.path().join("proxywhirl.toml");
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new(binary);
    command.args(["serve", "--config"]).arg(file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = Child { process: command.spawn().unwrap(), _folder: Some(folder) };
    listens(addr, "proxywhirl");
    (child, addr)
}

/// Waits until somebody listens there.
fn listens(addr: SocketAddr, name: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while StdStream::connect(addr).is_err() {
        assert!(Instant::now() < deadline, "{name} does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Ends what was said, and waits for the end of standard input, which comes when the parent ends.
async fn told_to_end() {
    println!();
    std::io::stdout().flush().unwrap();
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await.unwrap().unwrap();
}

/// HAProxy over the same upstreams, in turn, with a thread for each processor, as ours has.
fn haproxy(upstreams: &[SocketAddr], mode: &str) -> Option<Contender> {
    // A port that was free a moment ago: HAProxy cannot say which one it was given.
    let addr = StdListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?;
    let mut text = format!(
        "global\n  maxconn 9000\n  nbthread {}\ndefaults\n  mode {mode}\n  timeout connect 5s\n  timeout client 75s\n  \
         timeout server 60s\n  timeout tunnel 5m\nlisten bench\n  bind {addr}\n  balance roundrobin\n",
        std::thread::available_parallelism().map_or(1, usize::from),
    );
    for (number, upstream) in upstreams.iter().enumerate() {
        text.push_str(&format!("  server u{number} {upstream}\n"));
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("haproxy.cfg");
    std::fs::write(&file, text).unwrap();
    let process = Command::new("haproxy").arg("-db").arg("-f").arg(file).stdout(Stdio::null()).spawn().ok()?;
    let child = Child { process, _folder: Some(folder) };
    listens(addr, "HAProxy");
    Some(Contender { name: BASELINE, addr, child: Some(child) })
}
