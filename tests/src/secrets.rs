//! No password is to be seen: whatever a program of ours has said, in any test, is looked through for the passwords that
//! the tests use.
//!
//! Only what a user has asked passwords of may hold one: commands that print proxies for other programs.

use std::path::Path;
use std::process::Command;

/// What the passwords of all tests begin with; those of [`proxywhirl_world::WorldPlan::mixed`] too.
const PASSWORDS: [&str; 2] = ["hunter2", "s3cret"];

/// Words of commands that print passwords because they are asked to.
const ASKED: [&str; 5] = ["fetch", "check", "export", "--show-passwords", "test"];

/// Looks through what a command said.
///
/// # Panics
/// When a password is in it.
pub(crate) fn look_through(command: &Command, stdout: &str, stderr: &str) {
    // What clients of others say of their own passwords is their business.
    let name = Path::new(command.get_program()).file_name().unwrap_or_default();
    if !name.to_string_lossy().starts_with("proxywhirl") {
        return;
    }
    let is_asked = command.get_args().any(|word| ASKED.iter().any(|asked| word == *asked));
    if !is_asked {
        refuse(&format!("standard output of {:?}", command.get_program()), stdout);
    }
    refuse(&format!("standard error of {:?}", command.get_program()), stderr);
}

/// Looks through a text.
///
/// # Panics
/// When a password is in it, as it is or in base64, as in the fields of a request.
pub fn refuse(place: &str, text: &str) {
    if let Some(line) = text.lines().find(|line| holds_password(line)) {
        panic!("a password is in {place}: {line}");
    }
}

fn holds_password(line: &str) -> bool {
    PASSWORDS.iter().any(|password| line.contains(password) || (0..3).any(|at| line.contains(&in_base64(password, at))))
}

/// What base64 makes of a text behind so many bytes, whatever they are and whatever follows: the characters that depend on
/// nothing else.
fn in_base64(text: &str, behind: usize) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: Vec<u8> = text.bytes().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    // The first bits belong to a character that the bytes before have a part of.
    let skipped = (6 - behind * 8 % 6) % 6;
    let sixes = bits.get(skipped..).unwrap_or_default().chunks_exact(6);
    let value = |six: &[u8]| six.iter().fold(0_usize, |value, bit| value << 1 | usize::from(*bit));
    sixes.filter_map(|six| ALPHABET.get(value(six)).copied().map(char::from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_found_as_it_is_and_in_base64_wherever_it_stands() {
        for line in [
            "http://me:hunter2@h:1",
            "x s3cret y",
            "Basic bWU6aHVudGVyMg==",
            "Basic YW5uYTpodW50ZXIy",
            "Basic YW5uOmh1bnRlcjI=",
        ] {
            assert!(holds_password(line), "{line}");
        }
        assert!(!holds_password("http://me:***@h:1 Basic bWU6aHVudGVkMg=="));
    }

    #[test]
    #[should_panic(expected = "a password is in standard error of \"proxywhirl\"")]
    fn a_command_that_tells_one_where_nobody_asked_fails_its_test() {
        let mut command = Command::new("proxywhirl");
        look_through(command.arg("fetch"), "http://me:hunter2@h:1", "");
        look_through(&command, "", "fetching http://me:hunter2@h:1");
    }
}
