//! What is printed: a row for each case and contender, with its ratio to the baseline.

use crate::client::Load;

/// The baseline, by the name of the contender.
const BASELINE: &str = "straight";

/// A row of the table.
pub(crate) struct Row {
    pub(crate) case: &'static str,
    pub(crate) through: &'static str,
    pub(crate) load: Load,
}

impl Row {
    fn rate(&self) -> f64 {
        self.load.answered as f64 / self.load.span.as_secs_f64()
    }

    /// Microseconds of processor time for a request.
    fn cost(&self) -> Option<f64> {
        let cpu = self.load.cpu?.as_secs_f64() * 1e6;
        (self.load.answered > 0).then(|| cpu / self.load.answered as f64)
    }
}

/// Prints all rows. Ratios are to the row of the same case that is the baseline; HAProxy's, where there is one, too.
pub(crate) fn print(rows: &[Row]) {
    println!(
        "\n{:24} {:11} {:>11} {:>12} {:>14} {:>11} {:>8}",
        "", "through", "requests/s", "to straight", "µs a request", "to haproxy", "failed"
    );
    for row in rows {
        let other = |name: &str| rows.iter().find(|other| other.case == row.case && other.through == name);
        let rates = other(BASELINE).map(|straight| row.rate() / straight.rate());
        let costs = other("haproxy").and_then(Row::cost).zip(row.cost()).map(|(haproxy, own)| own / haproxy);
        println!(
            "{:24} {:11} {:>11.0} {:>12} {:>14} {:>11} {:>8}",
            row.case,
            row.through,
            row.rate(),
            number(rates, 2),
            number(row.cost(), 1),
            number(costs.filter(|_| row.through != BASELINE), 2),
            row.load.failed,
        );
    }
    println!("\n`straight` costs what an upstream and the origin cost together: they are one process.");
}

fn number(value: Option<f64>, places: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.places$}"))
}
