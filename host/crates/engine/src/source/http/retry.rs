//! What may pass by itself is tried again: a connection that failed or went silent, 429 and 503 with
//! what they say of when, other 5xx, and a file in gzip that came damaged. What will not change is not:
//! 404, a redirect to nowhere, a body over the cap, something else behind a file in gzip.

use std::io::ErrorKind;
use std::time::{Duration, SystemTime};

use backon::ExponentialBuilder;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use tokio::time::Instant;

use super::super::Cause;

/// Before the second attempt, less or more by chance; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(300);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A failed attempt.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) cause: Cause,
    pub(super) again: Again,
}

/// Whether another attempt has any sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    Never,
    Soon,
    /// The server says when.
    After(Duration),
}

impl From<Cause> for Failed {
    fn from(cause: Cause) -> Self {
        let again = if came_damaged(&cause) { Again::Soon } else { Again::Never };
        Self { cause, again }
    }
}

/// Whether it is a file in gzip that was cut off, or changed on its way.
fn came_damaged(cause: &Cause) -> bool {
    const DAMAGE: [ErrorKind; 3] = [ErrorKind::UnexpectedEof, ErrorKind::InvalidInput, ErrorKind::InvalidData];
    matches!(cause, Cause::Gzip(error) if DAMAGE.contains(&error.kind()))
}

/// How often, and with which pauses. The jitter keeps those who failed together from coming back together.
pub(super) fn pauses(retries: usize) -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .with_max_times(retries)
        .with_jitter()
}

impl Failed {
    /// The pause before the next attempt; none when there is no time left for it, or no sense in it.
    pub(super) fn pause(&self, planned: Option<Duration>, deadline: Instant) -> Option<Duration> {
        let pause = match self.again {
            Again::Never => return None,
            Again::Soon => planned?,
            Again::After(told) => told.max(planned?),
        };
        (Instant::now() + pause < deadline).then_some(pause)
    }
}

/// What a status that is no success says about another attempt.
pub(super) fn of_status(status: StatusCode, headers: &HeaderMap) -> Again {
    let told = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()).and_then(retry_after);
    match status.as_u16() {
        429 | 503 => told.map_or(Again::Soon, Again::After),
        500 | 502 | 504 => Again::Soon,
        _ => Again::Never,
    }
}

/// Seconds, or a date (RFC 9110 §10.2.3).
fn retry_after(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let date = httpdate::parse_http_date(text.trim()).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::source::gunzip;
    use crate::source::tests::GZIP;

    fn status(code: u16, retry_after: Option<&str>) -> Again {
        let mut headers = HeaderMap::new();
        if let Some(text) = retry_after {
            headers.insert(RETRY_AFTER, text.parse().unwrap());
        }
        of_status(StatusCode::from_u16(code).unwrap(), &headers)
    }

    #[test]
    fn what_can_pass_is_told_from_what_cannot() {
        assert_eq!(status(404, None), Again::Never);
        assert_eq!(status(403, Some("1")), Again::Never);
        assert_eq!(status(501, None), Again::Never);
        assert_eq!(status(502, None), Again::Soon);
        assert_eq!(status(503, Some("7")), Again::After(Duration::from_secs(7)));
        assert_eq!(status(429, Some("Sun, 06 Nov 1994 08:49:37 GMT")), Again::After(Duration::ZERO));
        assert_eq!(status(429, Some("soon")), Again::Soon);
    }

    #[test]
    fn of_a_file_in_gzip_damage_can_pass() {
        let again = |file: &[u8]| Failed::from(gunzip(file.to_vec(), 100_000).unwrap_err()).again;
        let (sum, mut changed) = (GZIP.len() - 8, GZIP.to_vec());
        changed[sum] ^= 1;
        assert_eq!(again(&changed), Again::Soon);
        for end in 3..GZIP.len() {
            assert_eq!(again(&GZIP[..end]), Again::Soon, "{end}");
        }
        assert_eq!(again(&[GZIP, b"x"].concat()), Again::Never);
        for cause in [Cause::Members(1), Cause::Gzip(ErrorKind::OutOfMemory.into())] {
            assert_eq!(Failed::from(cause).again, Again::Never);
        }
    }

    #[tokio::test]
    async fn nobody_waits_past_the_deadline() {
        let deadline = Instant::now() + Duration::from_secs(10);
        let failed = |again| Failed { cause: Cause::Status(String::new()), again };
        let planned = Some(Duration::from_millis(300));
        assert_eq!(failed(Again::Soon).pause(planned, deadline), planned);
        assert_eq!(failed(Again::Soon).pause(None, deadline), None);
        assert_eq!(failed(Again::Never).pause(planned, deadline), None);
        let told = Again::After(Duration::from_secs(3));
        assert_eq!(failed(told).pause(planned, deadline), Some(Duration::from_secs(3)));
        assert_eq!(failed(Again::After(Duration::from_secs(3600))).pause(planned, deadline), None);
    }
}
