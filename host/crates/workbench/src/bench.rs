//! Measures what calls of a plugin cost, each against a baseline that is measured in the same run.
//!
//! A figure by itself says more about the machine than about the plugin. So samples of a call and of its baseline take
//! turns, and the ratio is the median of the ratios of neighbours: what slows one down slows the other down as well.
//! Baselines are native where the host has the same work to do, and else a call of the smallest component there is.

mod documents;
mod hook;
mod parser;
mod strategy;

use std::fmt;
use std::hint::black_box;
use std::time::{Duration, Instant};

use proxywhirl_core::plugin::{FaultCause, PluginFault, PluginKind};
use serde::Serialize;

use crate::report::Report;
use crate::rotation::{Stopped, with_scene};
use crate::subject::{Loaded, Subject, WorkbenchError, Workplace};

#[cfg(test)]
pub(crate) use strategy::EMPTY;

/// Time that a call may take while it is measured: a busy machine is to be measured, not cut off.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the randomness of all measurements derives from.
const SEED: u64 = 1;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Samples of each call; the median is told.
    pub samples: usize,
    /// How long a sample lasts at least: calls are repeated until then.
    pub sample: Duration,
    /// Members of the largest pool.
    pub members: u32,
    /// Bytes of the document that a parser gets.
    pub document: usize,
}

impl Default for Effort {
    fn default() -> Self {
        Self { samples: 15, sample: Duration::from_millis(5), members: 100_000, document: 1_000_000 }
    }
}

/// What a call costs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measurement {
    /// What was called, and with how much.
    pub name: String,
    /// Nanoseconds for one call: the median of the samples.
    pub median_ns: f64,
    /// A quarter of the samples took no longer than this.
    pub lower_ns: f64,
    /// A quarter of the samples took at least this long.
    pub upper_ns: f64,
    /// What it is compared with; empty for nothing.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub baseline: &'static str,
    /// Nanoseconds of the baseline: the median of its samples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline_ns: Option<f64>,
    /// How many times as long as the baseline: the median over pairs of samples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// Work a second, such as `35.2 MB/s`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rates: Vec<Rate>,
}

/// Work in a second.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rate {
    /// What is counted: `bytes`, `rows`, `events`.
    pub unit: &'static str,
    /// How many in a second.
    pub per_second: f64,
}

/// What the calls of a plugin cost.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BenchReport {
    /// The plugin's name.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// `strategy`, `parser` or `hook`.
    pub kind: &'static str,
    /// Whether this program was built without optimisation, so that only ratios between calls of the guest mean anything.
    pub unoptimized: bool,
    /// In the order of measurement.
    pub measurements: Vec<Measurement>,
}

/// Why a measurement was not made.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// There is nothing to measure.
    #[error(transparent)]
    Workbench(#[from] WorkbenchError),
    /// The plugin does not start with what is known of its options, or broke.
    #[error("{0}")]
    Plugin(String),
}

impl From<Stopped> for BenchError {
    fn from(stopped: Stopped) -> Self {
        Self::Plugin(stopped.to_string())
    }
}

impl From<PluginFault> for BenchError {
    fn from(fault: PluginFault) -> Self {
        Self::Plugin(with_scene(&fault))
    }
}

impl From<proxywhirl_wasm::PluginError> for BenchError {
    fn from(error: proxywhirl_wasm::PluginError) -> Self {
        Self::Plugin(error.to_string())
    }
}

/// Measures a component.
///
/// # Errors
/// When it does not load, does not start, or breaks.
pub fn bench(subject: &Subject, place: &Workplace, effort: &Effort) -> Result<BenchReport, BenchError> {
    let (mut place, _scratch) = place.with_cache()?;
    for limits in [&mut place.limits.strategy, &mut place.limits.parser, &mut place.limits.hook] {
        (limits.call, limits.select) = (PATIENCE, PATIENCE);
    }
    let loaded = subject.load(&place, SEED)?;
    let measured = Measured { place: &place, loaded: &loaded, options: &options(&loaded)?, effort };
    let measurements = match loaded.kind {
        PluginKind::Strategy => strategy::measure(&measured)?,
        PluginKind::Parser => parser::measure(&measured)?,
        PluginKind::Hook => hook::measure(&measured)?,
    };
    let Report { plugin, version, kind, .. } = crate::check::empty(&loaded);
    Ok(BenchReport { plugin, version, kind, unoptimized: cfg!(debug_assertions), measurements })
}

/// What is measured, and how much.
struct Measured<'a> {
    place: &'a Workplace,
    loaded: &'a Loaded,
    options: &'a str,
    effort: &'a Effort,
}

/// None if it starts without, else the first example of its schema.
fn options(loaded: &Loaded) -> Result<String, BenchError> {
    let check = |options: &str| loaded.plugins.check_options(loaded.kind, loaded.name(), options);
    let Err(error) = check("{}") else { return Ok("{}".to_owned()) };
    let schema: Option<serde_json::Value> = serde_json::from_str(&loaded.info.options_schema).ok();
    let example = schema.as_ref().and_then(|schema| schema.get("examples")?.get(0)).map(ToString::to_string);
    example.ok_or_else(|| BenchError::Plugin(format!("it needs options, and its schema has no example: {error}")))
}

/// One call, as often as it is wanted.
type Call<'a> = &'a mut dyn FnMut() -> Result<(), PluginFault>;

impl Measured<'_> {
    /// Measures a call by itself.
    fn alone(&self, name: &str, call: Call<'_>) -> Result<Measurement, BenchError> {
        let repeat = repeats(call, self.effort.sample)?;
        let mut samples = Vec::with_capacity(self.effort.samples);
        for _ in 0..self.effort.samples.max(1) {
            samples.push(sample(call, repeat)?);
        }
        Ok(Measurement::new(name, samples))
    }

    /// Measures a call and its baseline in turn.
    fn against(
        &self,
        name: &str,
        call: Call<'_>,
        baseline: &'static str,
        other: Call<'_>,
    ) -> Result<Measurement, BenchError> {
        let (repeat, repeat_other) = (repeats(call, self.effort.sample)?, repeats(other, self.effort.sample)?);
        let (mut samples, mut others, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..self.effort.samples.max(1) {
            let (one, two) = (sample(call, repeat)?, sample(other, repeat_other)?);
            ratios.push(one / two.max(f64::MIN_POSITIVE));
            samples.push(one);
            others.push(two);
        }
        let mut measurement = Measurement::new(name, samples);
        measurement.baseline = baseline;
        measurement.baseline_ns = Some(quantile(&mut others, 2));
        measurement.ratio = Some(quantile(&mut ratios, 2));
        Ok(measurement)
    }
}

/// How often a call is made in a sample, so that reading the clock does not count.
fn repeats(call: Call<'_>, sample: Duration) -> Result<u32, PluginFault> {
    let mut repeat = 1_u32;
    loop {
        let started = Instant::now();
        for _ in 0..repeat {
            call()?;
        }
        if started.elapsed() >= sample || repeat >= 1 << 22 {
            return Ok(repeat);
        }
        repeat *= 2;
    }
}

/// Nanoseconds for one call.
#[allow(clippy::cast_precision_loss)] // Samples are milliseconds.
fn sample(call: Call<'_>, repeat: u32) -> Result<f64, PluginFault> {
    let started = Instant::now();
    for _ in 0..repeat {
        black_box(call())?;
    }
    Ok(started.elapsed().as_nanos() as f64 / f64::from(repeat))
}

/// A quartile: 1 for the lower, 2 for the median, 3 for the upper.
fn quantile(samples: &mut [f64], quarter: usize) -> f64 {
    samples.sort_by(f64::total_cmp);
    let at = (samples.len().saturating_sub(1) * quarter + 2) / 4;
    samples.get(at).copied().unwrap_or_default()
}

/// A refusal is an answer, and takes its time as well.
fn tolerate<T>(answer: Result<T, PluginFault>) -> Result<(), PluginFault> {
    match answer {
        Ok(answer) => {
            black_box(answer);
            Ok(())
        }
        Err(fault) if fault.cause == FaultCause::Refused => Ok(()),
        Err(fault) => Err(fault),
    }
}

impl Measurement {
    fn new(name: &str, mut samples: Vec<f64>) -> Self {
        Self {
            name: name.to_owned(),
            lower_ns: quantile(&mut samples, 1),
            median_ns: quantile(&mut samples, 2),
            upper_ns: quantile(&mut samples, 3),
            baseline: "",
            baseline_ns: None,
            ratio: None,
            rates: Vec::new(),
        }
    }

    /// Adds how much is done in a second when one call does so much.
    fn doing(mut self, unit: &'static str, count: usize) -> Self {
        #[allow(clippy::cast_precision_loss)] // Far below 2⁵³.
        let per_second = count as f64 * 1e9 / self.median_ns.max(f64::MIN_POSITIVE);
        self.rates.push(Rate { unit, per_second });
        self
    }

    /// Its cells for people: what, median, spread, what it is compared with, ratio, work a second.
    #[must_use]
    pub fn cells(&self) -> Vec<String> {
        let ratio = self.ratio.map_or_else(String::new, |ratio| {
            if ratio < 10.0 { format!("{ratio:.2}x") } else { format!("{ratio:.0}x") }
        });
        let against = self.baseline_ns.map_or_else(String::new, |ns| format!("{} ({})", self.baseline, time(ns)));
        let rates: Vec<String> = self.rates.iter().map(ToString::to_string).collect();
        let spread = format!("{} to {}", time(self.lower_ns), time(self.upper_ns));
        vec![self.name.clone(), time(self.median_ns), spread, ratio, against, rates.join(", ")]
    }

    /// What stands above [`Measurement::cells`].
    pub const HEADER: [&'static str; 6] = ["CALL", "MEDIAN", "HALF OF THE SAMPLES", "RATIO", "AGAINST", "RATE"];
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = if self.unit == "bytes" { "B".to_owned() } else { format!(" {}", self.unit) };
        let (number, prefix) = match self.per_second {
            it if it >= 1e6 => (it / 1e6, "M"),
            it if it >= 1e3 => (it / 1e3, "k"),
            it => (it, ""),
        };
        if unit == "B" { write!(f, "{number:.1} {prefix}B/s") } else { write!(f, "{number:.1}{prefix}{unit}/s") }
    }
}

/// A time for people.
fn time(ns: f64) -> String {
    match ns {
        it if it < 1e3 => format!("{it:.1} ns"),
        it if it < 1e6 => format!("{:.2} µs", it / 1e3),
        it if it < 1e9 => format!("{:.2} ms", it / 1e6),
        it => format!("{:.2} s", it / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_are_samples() {
        let mut samples = vec![5.0, 1.0, 4.0, 2.0, 3.0];
        assert_eq!([1, 2, 3].map(|quarter| quantile(&mut samples, quarter)), [2.0, 3.0, 4.0]);
        assert_eq!(quantile(&mut [], 2), 0.0);
        assert_eq!(quantile(&mut [7.0], 3), 7.0);
    }

    #[test]
    fn figures_are_readable() {
        assert_eq!([0.5, 1_500.0, 2e6, 3e9].map(time), ["0.5 ns", "1.50 µs", "2.00 ms", "3.00 s"]);
        let rate = |unit, per_second| Rate { unit, per_second }.to_string();
        assert_eq!(rate("bytes", 35_200_000.0), "35.2 MB/s");
        assert_eq!(rate("rows", 1_250.0), "1.2k rows/s");
        assert_eq!(rate("events", 12.0), "12.0 events/s");
    }
}
