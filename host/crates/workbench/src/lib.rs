//! What an author runs on a plugin: conformance, tests and measurements.
//!
//! * [`check`](check()) asks of any component what the host relies on: it describes itself, takes its own examples of
//!   options, survives empty pools and broken documents, answers the same to the same seed, keeps to its limits, and
//!   leaks nothing in a million calls.
//! * [`test`](test()) runs the files that the author has written beside the plugin: scenarios for a strategy, documents
//!   with what is in them for a parser, events with their effects for a hook.
//! * [`bench`](bench()) measures what calls cost, each against a baseline of the same run.
//!
//! Everything runs through the same plugin host, the same pool and the same native picks as in the gateway, on a clock
//! that only the workbench moves, and follows from a seed. A plugin is hostile here as well: it has the limits of
//! production, and whatever it does is a line of the report.

mod bench;
mod check;
mod chi;
mod fixture;
mod population;
mod recorded;
mod report;
mod rotation;
mod scenario;
mod subject;
mod test;
#[cfg(test)]
mod tests;

pub use bench::{BenchError, BenchReport, Effort, Measurement, Rate, bench};
pub use check::{Thoroughness, check};
pub use report::{Line, Report, Status};
pub use subject::{Subject, WorkbenchError, Workplace};
pub use test::{TestRequest, projects, test};
