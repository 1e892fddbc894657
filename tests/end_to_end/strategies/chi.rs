//! Whether counts can be what was expected: Pearson's chi-squared test.

use std::collections::BTreeMap;

/// Beyond this many standard deviations a seed is not unlucky, but the strategy wrong: one in three million.
const SIGMAS: f64 = 5.0;

/// Asserts that counts are drawn from what is expected of each; nobody of whom nothing is expected may have a count.
pub(super) fn assert_fits(counts: &BTreeMap<u32, u64>, expected: &BTreeMap<u32, f64>) {
    let stranger = counts.keys().find(|number| expected.get(number).is_none_or(|&share| share <= 0.0));
    assert_eq!(stranger, None, "picked, but not expected at all");
    let mut statistic = 0.0;
    let (mut worst, mut largest) = (0, 0.0);
    for (&number, &wanted) in expected {
        assert!(wanted >= 5.0, "{wanted} picks of {number} are too few to tell anything");
        let found = counts.get(&number).copied().unwrap_or(0) as f64;
        let term = (found - wanted).powi(2) / wanted;
        statistic += term;
        if term > largest {
            (worst, largest) = (number, term);
        }
    }
    let freedom = (expected.len() - 1) as f64;
    // Wilson and Hilferty (1931): the cube root of chi-squared is nearly normal.
    let variance = 2.0 / (9.0 * freedom);
    let sigmas = ((statistic / freedom).cbrt() - (1.0 - variance)) / variance.sqrt();
    let found = counts.get(&worst).copied().unwrap_or(0);
    let wanted = expected.get(&worst).copied().unwrap_or(0.0);
    assert!(
        sigmas < SIGMAS,
        "chi-squared {statistic:.1} at {freedom} degrees of freedom: {sigmas:.1} sigma; worst is {worst}: {found} of {wanted:.0}"
    );
}

/// Asserts that counts differ by at most a part of their mean.
pub(super) fn assert_level(counts: &[u64], part: f64) {
    let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
    let mean = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
    assert!((most - least) as f64 <= part * mean, "{counts:?}");
}
