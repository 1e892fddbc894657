//! Running other people's tools: with a limit on time, their output told line by line, and its end
//! kept for the error.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::BuildError;

/// Lines of a tool's output that an error shows.
const SHOWN: usize = 60;

/// The longest line that is kept, in bytes.
const LINE: u64 = 4096;

/// How often a tool that has closed its output is asked whether it has ended.
const POLL: Duration = Duration::from_millis(10);

/// Runs a tool to its end. `what` names it in errors; every line that it writes goes to `told`.
pub(crate) fn run(
    command: &mut Command,
    what: &str,
    limit: Duration,
    told: &mut dyn FnMut(&str),
) -> Result<(), BuildError> {
    let end = Instant::now() + limit;
    let failed = |output: String| BuildError::Tool { tool: what.to_owned(), output };
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| failed(format!("it cannot be run: {error}")))?;
    // Some lines ahead; a tool that writes faster than it is read waits, as at any pipe.
    let (line, lines) = sync_channel(64);
    if let Some(stdout) = child.stdout.take() {
        read(stdout, line.clone());
    }
    if let Some(stderr) = child.stderr.take() {
        read(stderr, line);
    }
    let mut last = VecDeque::new();
    let status = listen(&lines, end, &mut last, told).then(|| wait(&mut child, end)).flatten();
    let output = || last.iter().map(String::as_str).collect::<Vec<_>>().join("\n");
    match status {
        Some(status) if status.success() => Ok(()),
        Some(_) => Err(failed(output())),
        None => {
            // It may have ended just now.
            child.kill().ok();
            child.wait().ok();
            Err(failed(format!("{}\nnot done within {} seconds", output(), limit.as_secs())))
        }
    }
}

/// Sends the lines of a stream until it ends, or nobody listens any more.
fn read(stream: impl Read + Send + 'static, to: SyncSender<String>) {
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        loop {
            let mut bytes = Vec::new();
            match reader.by_ref().take(LINE).read_until(b'\n', &mut bytes) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            if to.send(String::from_utf8_lossy(&bytes).trim_end().to_owned()).is_err() {
                return;
            }
        }
    });
}

/// Takes lines until both streams have ended; false when the time is over before.
fn listen(lines: &Receiver<String>, end: Instant, last: &mut VecDeque<String>, told: &mut dyn FnMut(&str)) -> bool {
    loop {
        match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                told(&line);
                // What Cargo has begun to compile is no news once something failed.
                if !line.trim_start().starts_with("Compiling ") && !line.is_empty() {
                    last.push_back(line);
                }
                if last.len() > SHOWN {
                    last.pop_front();
                }
            }
            Err(RecvTimeoutError::Disconnected) => return true,
            Err(RecvTimeoutError::Timeout) => return false,
        }
    }
}

/// How a tool ended; none when it does not in time.
fn wait(child: &mut Child, end: Instant) -> Option<ExitStatus> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < end => std::thread::sleep(POLL),
            Ok(None) | Err(_) => return None,
        }
    }
}

/// The first line that a command prints, if it succeeds.
pub(crate) fn first_line(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.lines().next().map(str::to_owned)).flatten()
}

/// Where a program is, as the shell finds it.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let file = format!("{program}{}", std::env::consts::EXE_SUFFIX);
    std::env::split_paths(&path).map(|directory| directory.join(&file)).find(|file| file.is_file())
}

/// Whether this is a Debian, or a system made from it: its packages can be named.
pub(crate) fn is_debian() -> bool {
    Path::new("/etc/debian_version").is_file()
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> (Result<(), String>, Vec<String>) {
        let mut lines = Vec::new();
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let result = run(&mut command, "the tool", limit, &mut |line| lines.push(line.to_owned()));
        (result.map_err(|error| error.to_string()), lines)
    }

    #[test]
    fn what_a_tool_says_is_told_and_its_end_is_in_the_error() {
        let minute = Duration::from_secs(60);
        assert_eq!(shell("echo one", minute), (Ok(()), vec!["one".to_owned()]));
        let (result, lines) = shell("seq 1 100; echo no; exit 3", minute);
        let error = result.unwrap_err();
        assert_eq!(lines.len(), 101);
        assert!(error.contains("the tool failed") && error.contains("no") && error.contains("100"), "{error}");
        assert!(!error.contains("\n30\n"), "more than the end: {error}");
    }

    #[test]
    fn a_tool_that_does_not_end_is_ended() {
        let (result, _) = shell("echo begun; exec sleep 600", Duration::from_millis(50));
        let error = result.unwrap_err();
        assert!(error.contains("not done within 0 seconds"), "{error}");
    }

    #[test]
    fn a_tool_that_is_not_there_is_named() {
        let mut command = Command::new("/nowhere/tool");
        let error = run(&mut command, "the tool", Duration::from_secs(1), &mut |_| {}).unwrap_err().to_string();
        assert!(error.starts_with("the tool failed:\nit cannot be run"), "{error}");
    }
}
