//! Token bucket: so many at once, and so many a second on average
//! ([RFC 2697](https://www.rfc-editor.org/rfc/rfc2697) calls it a meter).

use std::time::Instant;

/// A bucket, which starts full.
#[derive(Debug)]
pub(crate) struct Bucket {
    capacity: f64,
    per_second: f64,
    tokens: f64,
    filled: Option<Instant>,
}

impl Bucket {
    pub(crate) const fn new(capacity: f64, per_second: f64) -> Self {
        Self { capacity, per_second, tokens: capacity, filled: None }
    }

    /// Takes a token, if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let since = self.filled.map_or(0.0, |filled| now.saturating_duration_since(filled).as_secs_f64());
        self.filled = Some(now);
        self.tokens = (self.tokens + since * self.per_second).min(self.capacity);
        let any = self.tokens >= 1.0;
        if any {
            self.tokens -= 1.0;
        }
        any
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_empties_it_and_time_fills_it_to_the_brim_and_no_further() {
        let mut bucket = Bucket::new(3.0, 2.0);
        let start = Instant::now();
        let burst = |bucket: &mut Bucket, at| (0..10).filter(|_| bucket.take(at)).count();
        assert_eq!(burst(&mut bucket, start), 3);
        assert_eq!(burst(&mut bucket, start + Duration::from_millis(400)), 0);
        assert_eq!(burst(&mut bucket, start + Duration::from_millis(1_000)), 2);
        assert_eq!(burst(&mut bucket, start + Duration::from_secs(3_600)), 3);
        assert_eq!(burst(&mut bucket, start), 0, "a clock that goes backwards fills nothing");
    }
}
