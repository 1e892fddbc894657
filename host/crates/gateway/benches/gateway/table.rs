//! What is printed: a row for each case and contender, with its ratio to HAProxy.

use crate::case::Case;
use crate::client::Load;

/// The contender that the others are compared with, where it is there, and the one without a gateway.
pub(crate) const BASELINE: &str = "haproxy";
pub(crate) const STRAIGHT: &str = "straight";

/// A row of the table: the rounds of a contender.
pub(crate) struct Row {
    pub(crate) case: Case,
    pub(crate) through: &'static str,
    pub(crate) rounds: Vec<Load>,
}

impl Row {
    /// Units a second.
    fn rate(&self) -> Option<f64> {
        let (_, size, _) = self.case.unit();
        median(self.rounds.iter().map(|load| load.done as f64 / size / load.span.as_secs_f64()))
    }

    /// Processor time for a unit.
    fn cost(&self) -> Option<f64> {
        let (_, size, scale) = self.case.unit();
        let costs = self.rounds.iter().filter(|load| load.done > 0);
        median(costs.filter_map(|load| Some(load.cpu?.as_secs_f64() * scale * size / load.done as f64)))
    }

    fn failed(&self) -> u64 {
        self.rounds.iter().map(|load| load.failed).sum()
    }
}

/// Prints all rows: medians of the rounds, and the ratios of these.
pub(crate) fn print(rows: &[Row]) {
    println!(
        "\n{:26} {:11} {:>10} {:>12} {:>8} {:>11} {:>6} {:>7}",
        "", "through", "a second", "cpu a unit", "", "to haproxy", "goal", "failed"
    );
    for row in rows {
        let baseline = rows.iter().find(|other| other.case == row.case && other.through == BASELINE);
        let ratio = row.cost().zip(baseline.and_then(Row::cost)).map(|(own, other)| own / other);
        let is_ours = row.through != STRAIGHT && row.through != BASELINE;
        println!(
            "{:26} {:11} {:>10} {:>12} {:8} {:>11} {:>6} {:>7}",
            row.case.name(),
            row.through,
            number(row.rate(), if row.rate().is_some_and(|rate| rate < 100.0) { 2 } else { 0 }),
            number(row.cost(), 1),
            row.case.unit().0,
            number(ratio.filter(|_| row.through != STRAIGHT), 2),
            number(is_ours.then(|| row.case.goal()), 1),
            row.failed(),
        );
    }
    println!("\n`straight` costs what an upstream and the origin cost together: they are one process.");
}

/// The median; none of nothing.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let (upper, lower) = (values.get(middle)?, values.get(middle.saturating_sub(1))?);
    Some(if values.len().is_multiple_of(2) { f64::midpoint(*upper, *lower) } else { *upper })
}

fn number(value: Option<f64>, places: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.places$}"))
}
