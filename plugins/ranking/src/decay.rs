//! How the past fades: exponentially with time, so that idle and busy members are comparable.

/// What is left of a weight of 1 after `elapsed`: 1/e after one `span`. Both in microseconds; a span
/// of 0 forgets at once.
#[must_use]
pub fn factor(elapsed: u64, span: u64) -> f64 {
    if elapsed == 0 {
        return 1.0;
    }
    if span == 0 {
        return 0.0;
    }
    (-(elapsed as f64) / span as f64).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_leaves_one_part_in_e() {
        assert!((factor(10, 10) - 1.0 / std::f64::consts::E).abs() < 1e-12);
        assert!((factor(0, 0) - 1.0).abs() < f64::EPSILON);
        assert!(factor(1, 0).abs() < f64::EPSILON);
        assert!(factor(u64::MAX, 1).abs() < f64::EPSILON);
    }
}
