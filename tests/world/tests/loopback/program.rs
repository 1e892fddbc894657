//! The program, as a person starts it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_proxywhirl-world");

#[test]
fn it_prints_its_address_first_and_its_counters_when_its_input_ends() {
    let mut program = Command::new(PROGRAM)
        .args(["upstream", "--protocol", "http", "--behaviour", "always-ok"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(program.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    let addr = line.trim().strip_prefix("http://").unwrap();
    let mut client = TcpStream::connect(addr).unwrap();
    client.write_all(b"GET http://a/ HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    drop(program.stdin.take());
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert!(rest.starts_with(r#"{"connections":1,"requests":0,"#), "{rest}");
    assert!(program.wait().unwrap().success());
}

#[test]
fn an_origin_tells_both_of_its_addresses() {
    let output = Command::new(PROGRAM).arg("origin").stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines = text.lines();
    let (http, https) = lines.next().unwrap().split_once(' ').unwrap();
    assert!(http.starts_with("http://127.0.0.1:") && https.starts_with("https://127.0.0.1:"));
    assert_eq!(lines.next(), Some(r#"{"requests":0,"paths":{},"peers":{}}"#));
}

#[test]
fn wrong_usage_is_told_and_has_its_own_exit_code() {
    for args in [
        &["upstream"] as &[&str],
        &["upstream", "--protocol", "gopher"],
        &["upstream", "--protocol", "http", "--behaviour", "kind"],
        &["origin", "--port", "70000"],
        &["origin", "--port"],
        &["origin", "--colour", "red"],
        &["nothing"],
    ] {
        let output = Command::new(PROGRAM).args(args).stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("usage: "));
    }
}
