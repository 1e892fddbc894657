//! The alias method: draws by weight in constant time (Walker 1977, Vose 1991).

/// A row of the table: index `i` stands for itself with a chance, and else for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// It stands for itself when 32 random bits are not above this.
    pub threshold: u32,
    /// Who it stands for otherwise.
    pub other: u32,
}

/// A table for weights that are finite and not negative. Empty when none is above zero.
#[must_use]
#[allow(clippy::cast_precision_loss)] // There are at most 2^32 weights.
pub fn table(weights: &[f64]) -> Vec<Row> {
    let sum: f64 = weights.iter().sum();
    if sum <= 0.0 || !sum.is_finite() {
        return Vec::new();
    }
    let scale = weights.len() as f64 / sum;
    let mut rows: Vec<(f64, u32)> = (0u32..).zip(weights).map(|(index, weight)| (weight * scale, index)).collect();
    let (mut small, mut large) = (Vec::new(), Vec::new());
    for (index, (chance, _)) in (0u32..).zip(&rows) {
        if *chance < 1.0 { small.push(index) } else { large.push(index) }
    }
    while let (Some(less), Some(&more)) = (small.pop(), large.last()) {
        let Some(row) = rows.get_mut(less as usize) else { break };
        row.1 = more;
        let missing = 1.0 - row.0;
        let Some(giver) = rows.get_mut(more as usize) else { break };
        giver.0 -= missing;
        if giver.0 < 1.0 {
            large.pop();
            small.push(more);
        }
    }
    // What is left differs from 1 by rounding only.
    for index in small.into_iter().chain(large) {
        if let Some(row) = rows.get_mut(index as usize) {
            row.0 = 1.0;
        }
    }
    rows.into_iter().map(|(chance, other)| Row { threshold: threshold(chance), other }).collect()
}

/// A chance from 0 to 1 as the greatest of the 32-bit numbers that stand for it.
#[must_use]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Clamped by the cast.
pub fn threshold(chance: f64) -> u32 {
    (chance * 4_294_967_296.0 - 1.0) as u32
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What the rows give each index, added up, is its share.
        #[test]
        fn rows_add_up_to_the_weights(weights in prop::collection::vec(0.001..10.0f64, 1..50)) {
            let rows = table(&weights);
            let mut shares = vec![0.0; weights.len()];
            for (index, row) in rows.iter().enumerate() {
                let own = (f64::from(row.threshold) + 1.0) / 4_294_967_296.0;
                shares[index] += own;
                shares[row.other as usize] += 1.0 - own;
            }
            let sum: f64 = weights.iter().sum();
            #[allow(clippy::cast_precision_loss)]
            for (share, weight) in shares.iter().zip(&weights) {
                let expected = weight / sum * weights.len() as f64;
                prop_assert!((share - expected).abs() < 1e-4, "{shares:?} for {weights:?}");
            }
        }
    }

    #[test]
    fn without_weight_there_is_no_table() {
        assert_eq!(table(&[]), []);
        assert_eq!(table(&[0.0, 0.0]), []);
        assert_eq!(table(&[2.0]), [Row { threshold: u32::MAX, other: 0 }]);
    }
}
