//! Metrics: kept in the process, read by Prometheus or by people at the control socket.

use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;

use crate::exit::{Exit, Failure};
use crate::talk::DROPPED;

/// From a tenth of a millisecond, which the gateway itself takes, to the longest deadlines.
const SECONDS: [f64; 16] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 120.0];

/// How often samples of histograms are put together: they wait in memory until then.
const UPKEEP: Duration = Duration::from_secs(5);

/// Begins to keep metrics, for the whole process. Before the engine starts, which keeps its handles.
///
/// # Errors
/// When something else keeps them already.
pub fn start() -> Result<PrometheusHandle, Failure> {
    let failed = |error| Failure::new(Exit::Environment, format!("metrics cannot be kept: {error}"));
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(failed)?;
    // Nobody keeps a handle of it, and all others begin at 0.
    metrics::counter!(DROPPED).increment(0);
    Ok(handle)
}

/// Keeps them small, until the token is cancelled.
pub async fn keep_up(handle: PrometheusHandle, stopped: CancellationToken) {
    let mut ticks = tokio::time::interval(UPKEEP);
    loop {
        tokio::select! {
            () = stopped.cancelled() => return,
            _ = ticks.tick() => handle.run_upkeep(),
        }
    }
}
