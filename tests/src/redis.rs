//! A Redis or Valkey server of a test's own: on a free port of loopback, with its files in a temporary folder.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::{folder, wait_until};

/// Names of the program, the first that is there is taken.
const PROGRAMS: [&str; 2] = ["redis-server", "valkey-server"];

/// How often a port that was free is taken by somebody else before the server has it.
const ATTEMPTS: usize = 5;

/// A server that ends with the test.
#[derive(Debug)]
pub struct RedisServer {
    child: Child,
    folder: tempfile::TempDir,
    arguments: Vec<String>,
    port: u16,
}

impl RedisServer {
    /// Starts a server that keeps what it has when it is started again.
    ///
    /// # Panics
    /// When there is none to start, or it does not start.
    #[must_use]
    pub fn start<S: AsRef<str>>(arguments: impl IntoIterator<Item = S>) -> Self {
        let folder = folder();
        let arguments: Vec<String> = arguments.into_iter().map(|argument| argument.as_ref().to_owned()).collect();
        for _ in 0..ATTEMPTS {
            let port = free_port();
            let mut child = run(folder.path(), port, &arguments);
            if listens(&mut child, port) {
                return Self { child, folder, arguments, port };
            }
        }
        panic!("the server does not start with {arguments:?}");
    }

    /// Starts the nodes of a cluster, each of which has a third of it.
    ///
    /// # Panics
    /// When there is none to start, or they do not find each other.
    #[must_use]
    pub fn cluster() -> [Self; 3] {
        // The port between the nodes is ten thousand further unless it is said, which may be none.
        let nodes = [["0", "5460"], ["5461", "10922"], ["10923", "16383"]].map(|[first, last]| {
            let bus = free_port().to_string();
            let node = Self::start(["--cluster-enabled", "yes", "--cluster-port", &bus]);
            node.ask(&["CLUSTER", "ADDSLOTSRANGE", first, last]);
            (node, bus)
        });
        let [(first, _), ..] = &nodes;
        for (node, bus) in &nodes {
            first.ask(&["CLUSTER", "MEET", "127.0.0.1", &node.port.to_string(), bus]);
        }
        let nodes = nodes.map(|(node, _)| node);
        let is_up = |node: &Self| node.ask(&["CLUSTER", "INFO"]).contains("cluster_state:ok");
        wait_until("the cluster is up", || nodes.iter().all(is_up));
        nodes
    }

    /// The port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Its URL, without credentials.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// What it answers to a command, as it is on the wire.
    ///
    /// # Panics
    /// When it cannot be asked.
    pub fn ask(&self, words: &[&str]) -> String {
        self.ask_all(&[words])
    }

    /// What it answers to several commands on one connection, as it is on the wire.
    ///
    /// # Panics
    /// When it cannot be asked.
    pub fn ask_all(&self, commands: &[&[&str]]) -> String {
        let asked = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            for words in commands.iter().chain(&[&["QUIT"][..]]) {
                write!(stream, "*{}\r\n", words.len())?;
                for word in *words {
                    write!(stream, "${}\r\n{word}\r\n", word.len())?;
                }
            }
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer)?;
            Ok(String::from_utf8_lossy(&answer).into_owned())
        };
        asked().unwrap_or_else(|error| panic!("asking {commands:?}: {error}"))
    }

    /// Ends it, as a crash does.
    pub fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// Starts it again, on the same port and with what it had.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_again(&mut self) {
        self.kill();
        self.child = run(self.folder.path(), self.port, &self.arguments);
        assert!(listens(&mut self.child, self.port), "the server does not start again");
    }

    /// Stops it in its tracks, or lets it go on: it is there, and does not answer.
    ///
    /// # Panics
    /// When no signal can be sent.
    pub fn stand_still(&self, still: bool) {
        let signal = if still { "-STOP" } else { "-CONT" };
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "no signal can be sent");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    listener.map(|address| address.port()).unwrap_or_else(|error| panic!("no free port: {error}"))
}

fn run(folder: &Path, port: u16, arguments: &[String]) -> Child {
    for program in PROGRAMS {
        let child = Command::new(program)
            .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "yes"])
            .args(["--appendfsync", "always", "--dir"])
            .arg(folder)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        if let Ok(child) = child {
            return child;
        }
    }
    panic!("there is none of {PROGRAMS:?}: tests/run installs one, or `apt-get install redis-server`")
}

/// Waits until it answers; whether it does, or has ended.
fn listens(child: &mut Child, port: u16) -> bool {
    let mut has_ended = false;
    wait_until("the server answers", || {
        has_ended = child.try_wait().is_ok_and(|status| status.is_some());
        has_ended || answers(port)
    });
    !has_ended
}

fn answers(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let mut answer = [0; 1];
    // An error is an answer too: a password may be needed. `LOADING` is none yet.
    let asked = stream.set_read_timeout(Some(Duration::from_secs(1))).and_then(|()| stream.write_all(b"PING\r\n"));
    let mut told = Vec::new();
    while asked.is_ok() && stream.read(&mut answer).is_ok_and(|count| count == 1) && answer != *b"\n" {
        told.extend(answer);
    }
    !told.is_empty() && !told.starts_with(b"-LOADING")
}
