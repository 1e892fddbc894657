//! The browser as processes and a directory, and that neither is left behind.
//!
//! Chromium is a dozen processes. They get a process group of their own, so that Ctrl-C in a terminal
//! does not hit them at the side of us, and one signal ends them all. Beside them runs a shell that
//! waits for its standard input to end, which it does when we end, however that is; then it kills the
//! group and removes the profile. So not even `kill -9` of this program leaves anything.

use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use proxywhirl_engine::source::render::RenderError;
use rustix::process::{Pid, Signal, geteuid, kill_process_group, test_kill_process_group};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// A cold start takes two seconds, on a busy machine ten.
const START: Duration = Duration::from_secs(30);
/// For Chromium to end by itself after it was asked to.
const GRACE: Duration = Duration::from_secs(2);
/// Between two looks whether the last process is gone.
const REAP: Duration = Duration::from_millis(20);
/// Lines of what Chromium said that an error quotes.
const QUOTED: usize = 3;

/// `$1` is the process group, `$2` the profile. It gives up after five seconds. (`kill -KILL --` is not for every shell.)
const KEEPER: &str = r#"
cat >/dev/null
n=0
while kill -s KILL -- "-$1" 2>/dev/null && [ $n -lt 50 ]; do sleep 0.1; n=$((n+1)); done
rm -rf -- "$2"
"#;

/// What Chromium is told: nothing that calls home, nothing that a list does not need.
const ARGUMENTS: [&str; 27] = [
    "--headless=new",
    "--remote-debugging-port=0",
    "--block-new-web-contents",
    "--disable-background-networking",
    "--disable-breakpad",
    "--disable-client-side-phishing-detection",
    "--disable-component-update",
    "--disable-crash-reporter",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-domain-reliability",
    "--disable-extensions",
    "--disable-gpu",
    "--disable-popup-blocking",
    "--disable-prompt-on-repost",
    "--disable-quic",
    "--disable-sync",
    // Frames of other sites stay in the page's process, where their requests are seen.
    "--disable-site-isolation-trials",
    "--disable-features=Translate,IsolateOrigins,site-per-process,OptimizationHints,MediaRouter",
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
    // A script that eats memory ends its tab and not the machine.
    "--js-flags=--max-old-space-size=512",
    "--metrics-recording-only",
    "--mute-audio",
    "--no-default-browser-check",
    "--no-first-run",
    "--password-store=basic",
    "--use-mock-keychain",
];

/// A browser's processes. Dropping it ends them.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    group: Option<Pid>,
    /// Cleans up when its standard input closes.
    keeper: Child,
    /// Reads what Chromium says, so that it does not wait for somebody who does.
    listener: Option<JoinHandle<()>>,
}

impl Process {
    /// Starts a browser: its processes, and the URL of its debugging socket.
    pub(crate) async fn start(executable: &Path) -> Result<(Self, String), RenderError> {
        let failed = |what: &str, error: &dyn std::fmt::Display| RenderError::new(format!("{what}: {error}"));
        let profile = tempfile::Builder::new().prefix("proxywhirl-browser-").tempdir();
        let profile = profile.map_err(|error| failed("no directory for the browser's profile", &error))?;
        let mut child = command(executable, profile.path())
            .spawn()
            .map_err(|error| failed(&format!("{} does not start", executable.display()), &error))?;
        let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let stderr = child.stderr.take();
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEPER, "sh"]).arg(group.map_or(0, |group| group.as_raw_nonzero().get()).to_string());
        keeper.arg(profile.path()).process_group(0);
        keeper.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let keeper = match keeper.spawn() {
            Ok(keeper) => keeper,
            Err(error) => {
                kill(group);
                return Err(failed("nothing can see to the browser's end", &error));
            }
        };
        // From here on the keeper removes it.
        let _profile = profile.keep();
        let mut process = Self { child, group, keeper, listener: None };
        let url = process.listen(stderr).await?;
        Ok((process, url))
    }

    /// Waits until the browser has said where it can be reached.
    async fn listen(&mut self, stderr: Option<ChildStderr>) -> Result<String, RenderError> {
        let Some(stderr) = stderr else { return Err(RenderError::new("the browser says nothing")) };
        let mut lines = BufReader::new(stderr).lines();
        let mut said = Vec::new();
        let found = tokio::time::timeout(START, address(&mut lines, &mut said)).await;
        let quoted = || said.iter().rev().take(QUOTED).rev().map(String::as_str).collect::<Vec<_>>().join(" / ");
        let url = match found {
            Ok(Some(url)) => url,
            Ok(None) => return Err(RenderError::new(format!("the browser ended at once: {}", quoted()))),
            Err(_) => {
                return Err(RenderError::new(format!("the browser did not start within {START:?}: {}", quoted())));
            }
        };
        self.listener = Some(tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} }));
        Ok(url)
    }

    /// Waits for the browser to end, after it was asked to, and sees that it does.
    pub(crate) async fn end(mut self) {
        // What ends late is killed.
        let _ended = tokio::time::timeout(GRACE, self.child.wait()).await;
        kill(self.group);
        let _reaped = tokio::time::timeout(GRACE, self.child.wait()).await;
        // Its children are init's now, which takes a moment to reap them.
        let patience = Instant::now() + GRACE;
        while self.is_alive() && Instant::now() < patience {
            tokio::time::sleep(REAP).await;
        }
        drop(self.keeper.stdin.take());
        let _cleaned = tokio::time::timeout(2 * GRACE, self.keeper.wait()).await;
    }

    /// Whether any of its processes is there.
    pub(crate) fn is_alive(&self) -> bool {
        self.group.is_some_and(|group| test_kill_process_group(group).is_ok())
    }

    /// The process group.
    #[cfg(test)]
    pub(crate) const fn group(&self) -> Option<Pid> {
        self.group
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        kill(self.group);
        if let Some(listener) = self.listener.take() {
            listener.abort();
        }
        // The keeper's standard input closes with it: it removes the profile when the last process is gone.
    }
}

fn kill(group: Option<Pid>) {
    if let Some(group) = group {
        // It fails when they are gone already.
        let _killed = kill_process_group(group, Signal::KILL);
    }
}

fn command(executable: &Path, profile: &Path) -> Command {
    let mut command = Command::new(executable);
    let mut directory = OsString::from("--user-data-dir=");
    directory.push(profile);
    command.args(ARGUMENTS).arg(directory);
    if geteuid().is_root() {
        // Chromium's sandbox needs a user to fall back to, and refuses to start without it.
        command.arg("--no-sandbox");
    }
    command.arg("about:blank");
    // What it keeps beside its profile goes the same way.
    for variable in ["HOME", "TMPDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"] {
        command.env(variable, profile);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.process_group(0).kill_on_drop(true);
    command
}

async fn address(lines: &mut Lines<BufReader<ChildStderr>>, said: &mut Vec<String>) -> Option<String> {
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(url) = line.strip_prefix("DevTools listening on ") {
            return Some(url.trim().to_owned());
        }
        if said.len() < 100 {
            said.push(line);
        }
    }
    None
}
