//! A configuration that cannot be read to its end: what is no file, and a file that hangs.

use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use proxywhirl_tests::{folder, proxywhirl, run, run_with_input, wait_until};

use crate::control::Commanded;

/// Has a lease on a file: whoever opens it waits until the lease is given up, 45 s at the most, as for a mount whose server is
/// gone. Says when somebody does, and writes what it is told into the file.
const HOLDER: &str = r#"
import fcntl, os, signal, sys
signal.alarm(60)
signal.signal(signal.SIGIO, lambda *_: print("asked", flush=True))
held = os.open(sys.argv[1], os.O_RDWR)
fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print("held", flush=True)
for line in sys.stdin:
    os.write(held, line.encode())
"#;

/// A file that hangs, until this is dropped.
struct Hanging {
    holder: Child,
    said: Lines<BufReader<ChildStdout>>,
}

impl Hanging {
    fn new(file: &Path) -> Self {
        let mut command = Command::new("python3");
        command.args(["-c", HOLDER]).arg(file).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = command.spawn().unwrap();
        let said = BufReader::new(holder.stdout.take().unwrap()).lines();
        let mut hanging = Self { holder, said };
        assert_eq!(hanging.hear(), "held");
        hanging
    }

    /// What its holder says next, who ends after a minute.
    fn hear(&mut self) -> String {
        self.said.next().unwrap().unwrap()
    }

    fn write(&mut self, line: &str) {
        writeln!(self.holder.stdin.as_mut().unwrap(), "{line}").unwrap();
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        drop(self.holder.kill());
        drop(self.holder.wait());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_hangs_keeps_no_gateway_from_stopping() {
    let folder = folder();
    let config = folder.path().join("gateway.toml");
    fs::write(&config, "[gateway]\nattempts = 2\n").unwrap();
    let gateway = Commanded::start_in(folder, &["--config", config.to_str().unwrap()]).await;
    let mut hanging = Hanging::new(&config);
    hanging.write("# changed");
    assert_eq!(hanging.hear(), "asked", "whoever watches opens it");
    assert_eq!(gateway.request().code, Some(0), "{}", gateway.served.log());
    let start = Instant::now();
    let (code, log) = gateway.served.stop();
    assert_eq!(code, Some(0), "{log}");
    // Before reading it is given up.
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}: {log}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_hangs_is_told_and_read_when_it_answers_again() {
    let folder = folder();
    let config = folder.path().join("gateway.toml");
    fs::write(&config, "[gateway]\nattempts = 2\n").unwrap();
    let gateway = Commanded::start_in(folder, &["--config", config.to_str().unwrap(), "--no-watch"]).await;
    let hanging = Hanging::new(&config);
    let ran = gateway.command(&["reload"]);
    assert!(ran.code == Some(4) && ran.stderr.contains("was not read within 10s"), "{ran:?}");
    let refused = || gateway.get("/v1/status")["refused"].clone();
    assert!(refused().as_str().is_some_and(|why| why.contains("within 10s")), "{}", refused());
    let ran = gateway.command(&["reload"]);
    assert!(ran.code == Some(4) && ran.stderr.contains("is still being read"), "{ran:?}");
    let ran = gateway.command(&["strategy", "set", "random"]);
    assert_eq!(ran.code, Some(0), "other changes do not wait for it: {ran:?}");
    drop(hanging);
    wait_until("it is read", || gateway.command(&["reload"]).code == Some(0));
    assert!(refused().is_null());
    assert_eq!(gateway.served.stop().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_file_is_not_waited_for_and_says_what_it_is() {
    let folder = folder();
    let config = folder.path().join("gateway.toml");
    fs::write(&config, "[gateway]\nattempts = 2\n").unwrap();
    let gateway = Commanded::start_in(folder, &["--config", config.to_str().unwrap(), "--no-watch"]).await;
    let refused = |what: &str| {
        let ran = gateway.command(&["reload"]);
        let told = format!("gateway.toml: is {what}, and only a file can be read again");
        assert!(ran.code == Some(2) && ran.stderr.contains(&told), "{ran:?}");
    };
    fs::remove_file(&config).unwrap();
    assert_eq!(run(Command::new("mkfifo").arg(&config)).code, Some(0));
    refused("a pipe");
    fs::remove_file(&config).unwrap();
    let socket = UnixListener::bind(&config).unwrap();
    refused("a socket");
    drop(socket);
    fs::remove_file(&config).unwrap();
    fs::create_dir(&config).unwrap();
    refused("a directory");
    let ran = run(&mut proxywhirl(["config", "check", "--config", config.to_str().unwrap()]));
    assert!(ran.code == Some(2) && ran.stderr.contains("gateway.toml: is a directory, and no file"), "{ran:?}");
    fs::remove_dir(&config).unwrap();
    fs::write(&config, "[gateway]\nattempts = 2\n").unwrap();
    let ran = gateway.command(&["reload"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "nothing has changed\n"), "{ran:?}");
    assert_eq!(gateway.served.stop().0, Some(0));
}

#[test]
fn a_pipe_is_read_by_who_reads_it_once() {
    let mut command = proxywhirl(["config", "check", "--config", "/dev/stdin"]);
    let ran = run_with_input(&mut command, "[gateway]\nattempts = 2\n");
    assert!(ran.code == Some(0) && ran.stdout.contains("/dev/stdin: no mistakes; 1 key set"), "{ran:?}");
}
