//! A piece of the loopback world by hand: one upstream or one origin, until standard input ends or Ctrl-C. Its address
//! is the first line on standard output, its counters (JSON) the last.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use proxywhirl_world::{Anonymity, Origin, OriginOptions, TestCa, Upstream, UpstreamOptions};
use tokio::io::AsyncReadExt;

const USAGE: &str = "\
usage: proxywhirl-world upstream --protocol http|https|socks4|socks4a|socks5|socks5h
           [--port N] [--user U --password P] [--behaviour B] [--ca-out FILE]
           [--anonymity elite|marked|anonymous|transparent]
       proxywhirl-world origin [--port N] [--tls-port N] [--ca-out FILE]

B is healthy, slow:500ms, sluggish:10:500ms, flaky:3, refuse-connect:503, answer-status:503, close-after-head, silent, close-after-connect,
stall-after-connect, garbage-after-connect, resign-tls, garbage-reply, always-ok, header-bomb or dead.
Runs until standard input ends or Ctrl-C, then prints its counters as JSON.
Exit codes: 0 done, 1 could not run, 2 wrong usage.
";

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return finish(Err(error)),
    };
    let code = runtime.block_on(run());
    // A read of standard input that is still under way would keep the runtime from stopping.
    runtime.shutdown_background();
    code
}

async fn run() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let command = args.next().unwrap_or_default();
    if matches!(command.as_str(), "--help" | "-h" | "help") {
        return finish(io::stdout().write_all(USAGE.as_bytes()));
    }
    let options = match Options::read(args) {
        Ok(options) => options,
        Err(why) => return misused(&why),
    };
    match command.as_str() {
        "upstream" => match options.upstream() {
            Ok((upstream, ca)) => finish(run_upstream(upstream, &ca, options.ca_out.as_deref()).await),
            Err(why) => misused(&why),
        },
        "origin" => finish(run_origin(&options).await),
        _ => misused(&format!("command {command:?} is neither upstream nor origin")),
    }
}

/// What was typed.
#[derive(Default)]
struct Options {
    protocol: Option<String>,
    behaviour: Option<String>,
    anonymity: Option<String>,
    user: Option<String>,
    password: Option<String>,
    ca_out: Option<String>,
    port: u16,
    tls_port: u16,
}

impl Options {
    fn read(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        while let Some(name) = args.next() {
            let value = args.next().ok_or_else(|| format!("{name} has no value"))?;
            match name.as_str() {
                "--protocol" => options.protocol = Some(value),
                "--behaviour" => options.behaviour = Some(value),
                "--anonymity" => options.anonymity = Some(value),
                "--user" => options.user = Some(value),
                "--password" => options.password = Some(value),
                "--ca-out" => options.ca_out = Some(value),
                "--port" => options.port = port(&name, &value)?,
                "--tls-port" => options.tls_port = port(&name, &value)?,
                _ => return Err(format!("option {name:?} is unknown")),
            }
        }
        Ok(options)
    }

    fn upstream(&self) -> Result<(UpstreamOptions, TestCa), String> {
        let protocol = self.protocol.as_deref().ok_or("--protocol is missing")?;
        let ca = TestCa::new().map_err(|error| error.to_string())?;
        let tls = ca.server_config(&[]).map_err(|error| error.to_string())?;
        let mut upstream = UpstreamOptions::new(protocol.parse()?).bind(loopback(self.port)).tls(tls);
        if let Some(behaviour) = &self.behaviour {
            upstream = upstream.behaviour(behaviour.parse()?);
        }
        if let Some(user) = &self.user {
            upstream = upstream.credentials(user, self.password.as_deref().unwrap_or_default());
        }
        let anonymity = match self.anonymity.as_deref() {
            None | Some("elite") => Anonymity::Elite,
            Some("marked") => Anonymity::Marked,
            Some("anonymous") => Anonymity::Anonymous,
            Some("transparent") => Anonymity::Transparent,
            Some(other) => {
                return Err(format!("anonymity {other:?} is none of elite, marked, anonymous, transparent"));
            }
        };
        Ok((upstream.anonymity(anonymity), ca))
    }
}

async fn run_upstream(options: UpstreamOptions, ca: &TestCa, ca_out: Option<&str>) -> io::Result<()> {
    write_ca(ca, ca_out)?;
    let upstream = Upstream::start(options).await?;
    say(&upstream.url())?;
    until_told().await;
    say(&upstream.counters().to_json())
}

async fn run_origin(options: &Options) -> io::Result<()> {
    let ca = TestCa::new()?;
    write_ca(&ca, options.ca_out.as_deref())?;
    let tls = ca.server_config(&["origin.test"])?;
    let origin =
        Origin::with(OriginOptions { http: loopback(options.port), https: Some((loopback(options.tls_port), tls)) })
            .await?;
    let https = origin.https_url("/").unwrap_or_default();
    say(&format!("{} {https}", origin.http_url("/")))?;
    until_told().await;
    say(&origin.counters_json())
}

fn write_ca(ca: &TestCa, path: Option<&str>) -> io::Result<()> {
    let Some(path) = path else {
        return Ok(());
    };
    std::fs::write(path, ca.ca_pem()).map_err(|error| io::Error::new(error.kind(), format!("write {path}: {error}")))
}

/// Waits for the end of standard input or for Ctrl-C.
async fn until_told() {
    let end_of_input = async {
        let mut stdin = tokio::io::stdin();
        let mut ignored = [0; 256];
        while matches!(stdin.read(&mut ignored).await, Ok(1..)) {}
    };
    tokio::select! {
        () = end_of_input => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn port(name: &str, value: &str) -> Result<u16, String> {
    value.parse().map_err(|_| format!("{name} {value:?} is not a port (0 to 65535)"))
}

fn say(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

fn misused(why: &str) -> ExitCode {
    // Nobody is left to tell when standard error is closed.
    write!(io::stderr(), "{why}\n\n{USAGE}").ok();
    ExitCode::from(2)
}

fn finish(result: io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when standard error is closed.
            writeln!(io::stderr(), "{error}").ok();
            ExitCode::FAILURE
        }
    }
}
