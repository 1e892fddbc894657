//! What is shown of a bad entry: short, on one line, and without a password.

/// The most that is shown of an entry, in bytes.
const MAX: usize = 120;

/// Cuts a text at 120 bytes, between two characters.
pub(super) fn cut(text: &str) -> Box<str> {
    let mut end = text.len().min(MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().into()
}

/// Masks what may be a password in a line of a list: what stands between a colon and an `@`, and what follows the
/// third field of `host:port:user:password` or of `user:password:host:port`.
#[must_use]
pub fn mask(line: &str) -> String {
    // What has other signs in it is no scheme: it may be a login, and what follows the address of something else.
    let is_scheme = |word: &str| word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let split = line.split_once("://").filter(|(scheme, _)| is_scheme(scheme));
    let (scheme, rest) = split.unwrap_or(("", line));
    let separator = if split.is_some() { "://" } else { "" };
    let masked = match rest.rsplit_once('@') {
        // Behind a scheme, the login stands first.
        Some((left, right)) => format!("{}@{}", mask_second(left, split.is_some()), mask_second(right, false)),
        None if rest.starts_with('[') => rest.to_owned(),
        None => mask_fields(rest),
    };
    format!("{scheme}{separator}{masked}")
}

/// Masks the second half of `user:password`, unless it is a port: a number, and not certainly that of a login.
fn mask_second(part: &str, is_login: bool) -> String {
    match part.split_once(':') {
        Some((user, password)) if is_login || !is_number(password) => format!("{user}:***"),
        _ => part.to_owned(),
    }
}

/// Which of the four is the password is not certain, so what may be one is masked.
fn mask_fields(line: &str) -> String {
    let fields: Vec<_> = line.splitn(4, ':').collect();
    let [first, second, third, fourth] = fields.as_slice() else { return line.to_owned() };
    let may_begin_with_user = !first.contains('.') && is_number(fourth);
    let may_begin_with_host = !may_begin_with_user || is_number(second);
    let second = if may_begin_with_user { "***" } else { second };
    let fourth = if may_begin_with_host { "***" } else { fourth };
    format!("{first}:{second}:{third}:{fourth}")
}

fn is_number(text: &str) -> bool {
    text.trim_end().bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_masked_in_every_form_of_a_line() {
        for (line, shown) in [
            ("http://u:hunter2@1.2.3.4:70000", "http://u:***@1.2.3.4:70000"),
            ("u:hunter2@1.2.3.4:0", "u:***@1.2.3.4:0"),
            ("1.2.3.4:0@u:hunter2", "1.2.3.4:0@u:***"),
            ("1.2.3.4:70000:u:hunter2", "1.2.3.4:70000:u:***"),
            ("1.2.3.4:70000:u:hunter2:x", "1.2.3.4:70000:u:***"),
            ("socks5://1.2.3.4:0:u:hunter2", "socks5://1.2.3.4:0:u:***"),
            ("user:hunter2:gate.example:70000", "user:***:gate.example:70000"),
            ("http://u:12345@h:x", "http://u:***@h:***"),
            ("htp://u:hunter2@h:1", "htp://u:***@h:1"),
            ("u:hunter2@http://h:1", "u:***@http:***"),
            ("h:x:u:hunter2", "h:x:u:***"),
            ("gate:8080:user:12345", "gate:***:user:***"),
            ("1.2.3.4:70000", "1.2.3.4:70000"),
            ("[2001:db8::1:2]:0", "[2001:db8::1:2]:0"),
            ("free proxies!", "free proxies!"),
        ] {
            assert_eq!(mask(line), shown);
        }
    }

    #[test]
    fn a_cut_never_splits_a_character() {
        let text = "é".repeat(100);
        assert_eq!(&*cut(&text), "é".repeat(60));
        assert_eq!(&*cut(&format!("x{text}")), format!("x{}", "é".repeat(59)));
        assert_eq!(&*cut("short"), "short");
    }
}
