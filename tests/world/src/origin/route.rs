//! What a path asks for. Numbers in paths have ceilings, so that no request ties the origin up for ever.

use std::time::Duration;

/// 10 GiB.
const MAX_BYTES: u64 = 10 * 1024 * 1024 * 1024;
const MAX_DRIP: u64 = 1_000_000;
const MAX_WAIT: u64 = 600_000;

/// An answer that the origin knows to make.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route<'a> {
    Home,
    Ip,
    Echo,
    Bytes(u64),
    Chunked(u64),
    Status(u16),
    Delay(Duration),
    Drip(u64, Duration),
    Upload,
    Close,
    List(&'a str),
    /// A known path with a number that is none or too large.
    BadNumber,
    Unknown,
}

impl<'a> Route<'a> {
    pub(super) fn of(path: &'a str) -> Self {
        let rest = path.strip_prefix('/').unwrap_or(path);
        let (first, rest) = rest.split_once('/').unwrap_or((rest, ""));
        match (first, rest) {
            ("", "") => Self::Home,
            ("ip", "") => Self::Ip,
            ("headers" | "echo", "") => Self::Echo,
            ("upload", "") => Self::Upload,
            ("close", "") => Self::Close,
            ("lists", name) => Self::List(name),
            ("bytes", n) => number(n, MAX_BYTES).map_or(Self::BadNumber, Self::Bytes),
            ("chunked", n) => number(n, MAX_BYTES).map_or(Self::BadNumber, Self::Chunked),
            ("delay", ms) => wait(ms).map_or(Self::BadNumber, Self::Delay),
            ("status", code) => number(code, 599)
                .filter(|code| *code >= 200)
                .and_then(|code| u16::try_from(code).ok())
                .map_or(Self::BadNumber, Self::Status),
            ("drip", both) => both
                .split_once('/')
                .and_then(|(n, ms)| Some((number(n, MAX_DRIP)?, wait(ms)?)))
                .map_or(Self::BadNumber, |(n, gap)| Self::Drip(n, gap)),
            _ => Self::Unknown,
        }
    }
}

/// The path of a target in origin or absolute form, without its query.
pub(super) fn path_of(target: &str) -> &str {
    let path = match target.split_once("://") {
        Some((_, rest)) => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/"),
        None => target,
    };
    path.split(['?', '#']).next().unwrap_or(path)
}

fn number(text: &str, max: u64) -> Option<u64> {
    text.parse().ok().filter(|number| *number <= max)
}

fn wait(text: &str) -> Option<Duration> {
    number(text, MAX_WAIT).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_its_answer() {
        assert_eq!(Route::of("/"), Route::Home);
        assert_eq!(Route::of("/bytes/10"), Route::Bytes(10));
        assert_eq!(Route::of("/drip/3/20"), Route::Drip(3, Duration::from_millis(20)));
        assert_eq!(Route::of("/lists/a/b.txt"), Route::List("a/b.txt"));
        assert_eq!(Route::of("/nothing"), Route::Unknown);
    }

    #[test]
    fn a_number_over_its_ceiling_is_refused() {
        for path in ["/bytes/10737418241", "/bytes/x", "/status/99", "/status/600", "/drip/1", "/delay/600001"] {
            assert_eq!(Route::of(path), Route::BadNumber, "{path}");
        }
    }

    #[test]
    fn the_path_of_any_form_of_target_has_no_query() {
        assert_eq!(path_of("/a/b?c=/d"), "/a/b");
        assert_eq!(path_of("http://h:1/a?b"), "/a");
        assert_eq!(path_of("http://h"), "/");
    }
}
