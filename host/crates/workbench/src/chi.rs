//! Whether counts can come from the shares that were promised: Pearson's chi-squared test.

/// The standard normal quantile of 0.999: one honest strategy in a thousand fails with a given seed.
const Z: f64 = 3.0902;

/// Counts below this make the test's approximation worthless (Cochran 1954).
const FEWEST: f64 = 5.0;

/// Tests counts against weights of the same length; what was found, or why they do not fit. A weight
/// of 0 stands for "never".
pub(crate) fn fits(counts: &[u64], weights: &[f64]) -> Result<String, String> {
    let total: u64 = counts.iter().sum();
    let sum: f64 = weights.iter().sum();
    if total == 0 || sum <= 0.0 {
        return Err("nothing was picked, or nothing expected".to_owned());
    }
    let (mut statistic, mut cells) = (0.0, 0_u32);
    for (count, weight) in counts.iter().zip(weights) {
        let expected = as_f64(total) * weight / sum;
        if expected == 0.0 && *count == 0 {
            continue;
        }
        if expected < FEWEST {
            let hint = "chi-squared needs 5: pick more, or say `within`";
            return Err(format!("{expected:.1} picks are expected of one of {} shares, and {hint}", counts.len()));
        }
        let difference = as_f64(*count) - expected;
        statistic += difference * difference / expected;
        cells += 1;
    }
    let freedom = cells.saturating_sub(1);
    let critical = critical(freedom);
    let text = format!("chi-squared {statistic:.1} at {freedom} degrees of freedom, limit {critical:.1}");
    if statistic <= critical { Ok(text) } else { Err(text) }
}

/// The quantile of 0.999 of the distribution, by the approximation of Wilson and Hilferty (1931), which
/// is within 2 % from 3 degrees of freedom on, and exact below.
fn critical(freedom: u32) -> f64 {
    match freedom {
        0 => 0.0,
        1 => 10.828,
        2 => 13.816,
        _ => {
            let part = 2.0 / (9.0 * f64::from(freedom));
            f64::from(freedom) * (1.0 - part + Z * part.sqrt()).powi(3)
        }
    }
}

/// Counts are far below 2⁵³.
#[allow(clippy::cast_precision_loss)]
pub(crate) const fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_critical_values_are_those_of_the_tables() {
        for (freedom, value) in [(1, 10.828), (2, 13.816), (5, 20.515), (10, 29.588), (99, 148.23)] {
            assert!((critical(freedom) / value - 1.0).abs() < 0.02, "{freedom}: {}", critical(freedom));
        }
    }

    #[test]
    fn fair_counts_fit_and_skewed_ones_do_not() {
        assert!(fits(&[1_003, 997, 1_010, 990], &[1.0; 4]).is_ok());
        assert!(fits(&[1_200, 900, 950, 950], &[1.0; 4]).unwrap_err().starts_with("chi-squared"));
        assert!(fits(&[2_010, 990], &[2.0, 1.0]).is_ok());
        assert!(fits(&[1_500, 1_500], &[2.0, 1.0]).is_err());
    }

    #[test]
    fn a_test_that_can_say_nothing_says_so() {
        assert!(fits(&[3, 2], &[1.0, 1.0]).unwrap_err().contains("pick more"));
        assert!(fits(&[0, 0], &[1.0, 1.0]).is_err());
        assert!(fits(&[10, 0], &[1.0, 0.0]).is_ok());
        assert!(fits(&[10, 1], &[1.0, 0.0]).is_err());
    }
}
