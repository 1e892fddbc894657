//! What the end-to-end tests share: the real binary, started as a user starts it, and real clients.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

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

/// The binary with arguments, in an environment that is the same everywhere, and with the plugins that `tests/run` built.
#[must_use]
pub fn proxywhirl<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments).env("NO_COLOR", "1").stdin(Stdio::null());
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
        command.env_remove(name);
    }
    command
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
/// When it does not start.
#[must_use]
pub fn run(command: &mut Command) -> Ran {
    let place = format!("{command:?}");
    command.output().map_or_else(|error| panic!("{place}: {error}"), Ran::from)
}

/// Runs curl, with ten seconds at the most for each transfer unless the arguments say otherwise.
#[must_use]
pub fn curl<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Ran {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "20", "--noproxy", ""]).args(arguments);
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
        command.env_remove(name);
    }
    run(&mut command)
}

/// A `proxywhirl serve` that runs; killed when it is dropped.
#[derive(Debug)]
pub struct Served {
    child: Child,
    /// Where the gateway listens: `127.0.0.1:PORT`.
    pub address: String,
    log: Arc<Mutex<String>>,
}

impl Served {
    /// Starts `serve` on a free port, and waits until it says that it listens.
    ///
    /// # Panics
    /// When it does not listen within 30 seconds.
    #[must_use]
    pub fn start<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Self {
        let mut command = proxywhirl(["serve", "--listen", "127.0.0.1:0"]);
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let log = Arc::new(Mutex::new(String::new()));
        if let Some(stderr) = child.stderr.take() {
            let log = Arc::clone(&log);
            // Ends with the child, whose end of the pipe closes.
            std::thread::spawn(move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                    log.push_str(&line);
                    log.push('\n');
                }
            });
        }
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            let mut stdout = BufReader::new(stdout);
            drop(stdout.read_line(&mut line));
            std::thread::spawn(move || drop(std::io::copy(&mut stdout.into_inner().take(1 << 20), &mut std::io::sink())));
        }
        let served = Self { child, address: line.trim().trim_start_matches("listening on ").to_owned(), log };
        assert!(served.address.contains(':'), "does not listen: {line:?}\n{}", served.log());
        served
    }

    /// What it has written to standard error so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until the log holds a text.
    ///
    /// # Panics
    /// When it does not within 20 seconds.
    pub fn wait_for_log(&self, text: &str) {
        let start = Instant::now();
        while !self.log().contains(text) {
            assert!(start.elapsed() < Duration::from_secs(20), "no {text:?} in the log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills it without a chance to save anything (`kill -9`).
    pub fn kill(mut self) {
        self.end();
    }

    /// Asks it to stop (SIGTERM); its exit code.
    ///
    /// # Panics
    /// When it cannot be asked.
    #[must_use]
    pub fn stop(mut self) -> Option<i32> {
        let asked = Command::new("kill").arg(self.child.id().to_string()).status();
        assert!(asked.is_ok_and(|status| status.success()));
        self.child.wait().ok().and_then(|status| status.code())
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
    fn drop(&mut self) {
        self.end();
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
#[must_use]
pub fn file(folder: &tempfile::TempDir, name: &str, content: impl AsRef<[u8]>) -> String {
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    path.to_string_lossy().into_owned()
}
