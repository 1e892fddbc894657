//! What the end-to-end tests share: the real binary, started as a user starts it, and real clients. Everything that
//! waits has a limit.
#![allow(clippy::panic, reason = "what a test cannot have ends the test")]

mod load;
mod redis;
pub mod secrets;

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use load::{Load, Loaded};
pub use redis::RedisServer;

/// The binary under test: built beside the tests by `tests/run`, or by `cargo build`.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn binary() -> PathBuf {
    let tests = std::env::current_exe().unwrap_or_default();
    let binary = tests.ancestors().nth(2).unwrap_or(Path::new("")).join("proxywhirl");
    assert!(binary.exists(), "{} is not there: run tests/run, or cargo build -p proxywhirl", binary.display());
    binary
}

/// How long a command may run, whatever it is: a test that hangs is a test that failed.
const COMMAND_LIMIT: Duration = Duration::from_secs(120);

/// How long `serve` may take until it listens: where it compiles an interpreter as large as Python's first, a slow
/// machine needs more than a minute.
const START_LIMIT: Duration = Duration::from_secs(300);

/// How long to wait for what has to happen.
const WAIT_LIMIT: Duration = Duration::from_secs(60);

/// How long to wait for the last lines of what has ended.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How often something that has to happen is looked for.
const POLL: Duration = Duration::from_millis(10);

/// The binary with arguments, in an environment that is the same everywhere.
#[must_use]
pub fn proxywhirl<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let binary = binary();
    let mut command = Command::new(&binary);
    // The compiled plugins are shared by all tests, and not with the user.
    let cache = binary.with_file_name("end-to-end-cache");
    // Sockets of its own too: a test must not find a gateway of the user's.
    let runtime = binary.with_file_name("end-to-end-run");
    command.args(arguments).env("NO_COLOR", "1").env("XDG_CACHE_HOME", cache).env("XDG_RUNTIME_DIR", runtime);
    // Nor a configuration.
    command.env("XDG_CONFIG_HOME", binary.with_file_name("end-to-end-config"));
    command.stdin(Stdio::null());
    clean(&mut command);
    command
}

/// Takes from a command's environment what would change how it works.
fn clean(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy().to_ascii_uppercase();
        if text.starts_with("PROXYWHIRL_") || text.ends_with("_PROXY") {
            command.env_remove(&name);
        }
    }
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Ran {
    /// The exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs a command to its end.
///
/// # Panics
/// When it does not start, or does not end within two minutes.
#[must_use]
pub fn run(command: &mut Command) -> Ran {
    run_with_input(command, "")
}

/// Runs a command that gets this on its standard input.
///
/// # Panics
/// When it does not start, does not end within two minutes, or tells a password that nobody asked for.
#[must_use]
pub fn run_with_input(command: &mut Command, input: &str) -> Ran {
    let place = format!("{command:?}");
    command.stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() });
    let mut child = spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let writer = child.stdin.take().map(|mut stdin| {
        let input = input.to_owned();
        // A command that has read enough closes its end, which is its right.
        std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())))
    });
    let (done, is_done) = sync_channel::<()>(1);
    let pid = child.id();
    let watchdog = std::thread::spawn(move || {
        let in_time = is_done.recv_timeout(COMMAND_LIMIT).is_ok();
        if !in_time {
            signal(pid, "KILL");
        }
        in_time
    });
    let output = child.wait_with_output();
    // An error means that the watchdog has given up, which it tells below.
    done.send(()).ok();
    let in_time = watchdog.join().unwrap_or(false);
    drop(writer.map(JoinHandle::join));
    match output {
        Ok(output) if in_time => {
            let ran = Ran::from(output);
            secrets::look_through(command, &ran.stdout, &ran.stderr);
            ran
        }
        other => panic!("{place} did not end well: {other:?}"),
    }
}

/// The hash of a user's password, as `[[users]]` has it.
///
/// # Panics
/// When it cannot be made.
#[must_use]
pub fn password_hash(password: &str) -> String {
    let ran = run_with_input(&mut proxywhirl(["user", "hash"]), &format!("{password}\n"));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    ran.stdout.trim().to_owned()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn spawn(command: &mut Command) -> Child {
    command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Sends a signal to a process that we started.
fn signal(pid: u32, name: &str) {
    drop(Command::new("kill").args([format!("-{name}"), pid.to_string()]).status());
}

/// Curl with arguments, with 20 seconds at the most for each transfer unless they say otherwise.
#[must_use]
pub fn curl_command<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "20", "--noproxy", ""]).args(arguments);
    clean(&mut command);
    command
}

/// Runs curl, with 20 seconds at the most for each transfer unless the arguments say otherwise.
#[must_use]
pub fn curl<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Ran {
    run(&mut curl_command(arguments))
}

/// Waits until something holds.
///
/// # Panics
/// When it does not within a minute.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < WAIT_LIMIT, "{what}: not within {WAIT_LIMIT:?}");
        std::thread::sleep(POLL);
    }
}

/// A command that serves, such as `proxywhirl serve`; killed when it is dropped.
#[derive(Debug)]
pub struct Served {
    child: Child,
    /// Where it listens: `127.0.0.1:PORT`.
    pub address: String,
    log: Arc<Mutex<String>>,
    /// What follows its first line on standard output.
    said: Arc<Mutex<String>>,
    /// Who read both.
    readers: Vec<JoinHandle<()>>,
}

impl Served {
    /// Starts `serve` on a free port, and waits until it says that it listens.
    ///
    /// # Panics
    /// When it does not listen within five minutes.
    #[must_use]
    pub fn start<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Self {
        Self::of(proxywhirl(["serve", "--listen", "127.0.0.1:0"]).args(arguments))
    }

    /// Starts a judge on a free port, and waits until it says that it listens.
    ///
    /// # Panics
    /// When it does not listen within five minutes.
    #[must_use]
    pub fn judge() -> Self {
        Self::of(&mut proxywhirl(["judge", "--listen", "127.0.0.1:0"]))
    }

    /// Starts a command whose first line on standard output ends with where it listens.
    ///
    /// # Panics
    /// When it does not listen within five minutes.
    #[must_use]
    pub fn of(command: &mut Command) -> Self {
        Self::began(spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped())))
    }

    /// The same for a command whose standard error goes somewhere else: it has no log here.
    ///
    /// # Panics
    /// When it does not listen within five minutes.
    #[must_use]
    pub fn unheard(command: &mut Command) -> Self {
        Self::began(spawn(command.stdout(Stdio::piped())))
    }

    fn began(mut child: Child) -> Self {
        let (log, said) = (Arc::new(Mutex::new(String::new())), Arc::new(Mutex::new(String::new())));
        let mut readers = Vec::new();
        if let Some(stderr) = child.stderr.take() {
            let log = Arc::clone(&log);
            // Ends with the child, whose end of the pipe closes.
            readers.push(std::thread::spawn(move || keep(BufReader::new(stderr).lines(), &log)));
        }
        let (first, is_first) = sync_channel(1);
        if let Some(stdout) = child.stdout.take() {
            let said = Arc::clone(&said);
            readers.push(std::thread::spawn(move || {
                let mut lines = BufReader::new(stdout).lines();
                first.send(lines.next().and_then(Result::ok).unwrap_or_default()).ok();
                keep(lines, &said);
            }));
        }
        let line = is_first.recv_timeout(START_LIMIT).unwrap_or_default();
        let address = line.rsplit(' ').next().unwrap_or_default().to_owned();
        let served = Self { child, address, log, said, readers };
        assert!(served.address.contains(':'), "does not listen: {line:?}\n{}", served.log());
        served
    }

    /// What it has written to standard error so far.
    #[must_use]
    pub fn log(&self) -> String {
        locked(&self.log).clone()
    }

    /// Waits until the log holds a text.
    ///
    /// # Panics
    /// When it does not within a minute.
    pub fn wait_for_log(&self, text: &str) {
        let start = Instant::now();
        while !self.log().contains(text) {
            assert!(start.elapsed() < WAIT_LIMIT, "no {text:?} in the log:\n{}", self.log());
            std::thread::sleep(POLL);
        }
    }

    /// Its resident memory in bytes, as Linux counts it.
    ///
    /// # Panics
    /// When the system does not tell.
    #[must_use]
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        let kilobytes: Option<u64> = line.split_whitespace().next().and_then(|number| number.parse().ok());
        kilobytes.unwrap_or_else(|| panic!("no resident memory in {status:?}")) * 1024
    }

    /// Asks it to read its configuration again (SIGHUP).
    pub fn hang_up(&self) {
        signal(self.child.id(), "HUP");
    }

    /// Sends it a signal, such as `ABRT`.
    pub fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Whether it has ended, and nothing of it is left but its exit code.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        // The state stands behind the name, which is in brackets.
        stat.rsplit(')').next().is_none_or(|rest| rest.is_empty() || rest.trim_start().starts_with('Z'))
    }

    /// Kills it without a chance to save anything (`kill -9`).
    pub fn kill(mut self) {
        self.end();
    }

    /// Asks it to stop (SIGTERM).
    pub fn ask_to_stop(&self) {
        signal(self.child.id(), "TERM");
    }

    /// Asks it to stop (SIGTERM) and waits for that; its exit code, and all that it wrote to standard error.
    ///
    /// # Panics
    /// When it does not end within a minute.
    #[must_use]
    pub fn stop(mut self) -> (Option<i32>, String) {
        self.ask_to_stop();
        let mut code = None;
        wait_until("the end of what was asked to stop", || match self.child.try_wait() {
            Ok(Some(status)) => {
                code = status.code();
                true
            }
            _ => false,
        });
        // The last lines are still on their way through the pipe.
        std::thread::sleep(POLL);
        (code, self.log())
    }

    /// The gateway as a proxy URL of a scheme.
    #[must_use]
    pub fn proxy(&self, scheme: &str) -> String {
        format!("{scheme}://{}", self.address)
    }

    fn end(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Served {
    /// Ends it, and looks through all that it said.
    ///
    /// # Panics
    /// When a password is in it, unless the test has failed already.
    fn drop(&mut self) {
        self.end();
        let start = Instant::now();
        // A program that it has started may hold the pipe for longer.
        while !self.readers.iter().all(JoinHandle::is_finished) && start.elapsed() < LAST_WORDS {
            std::thread::sleep(POLL);
        }
        if !std::thread::panicking() {
            secrets::refuse("the log of what served", &self.log());
            secrets::refuse("the standard output of what served", &locked(&self.said));
        }
    }
}

/// Keeps lines until they end.
fn keep(lines: impl Iterator<Item = std::io::Result<String>>, kept: &Mutex<String>) {
    for line in lines.map_while(Result::ok) {
        let mut kept = locked(kept);
        kept.push_str(&line);
        kept.push('\n');
    }
}

/// A folder for one test, removed with its handle.
///
/// # Panics
/// When none can be made.
#[must_use]
pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap_or_else(|error| panic!("no folder for the test: {error}"))
}

/// Writes a file into a folder; its path as text.
///
/// # Panics
/// When it cannot be written.
pub fn file(folder: &tempfile::TempDir, name: &str, content: impl AsRef<[u8]>) -> String {
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    path.to_string_lossy().into_owned()
}
