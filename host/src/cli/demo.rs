//! `proxywhirl demo`: the whole road on this machine, with no network and no configuration.
//!
//! It starts a loopback internet (origin, judge, upstreams that misbehave, lists that name them) and
//! runs the real pipeline and the real gateway over it: the same [`Service`] as `serve`.

mod narrator;
mod summary;
mod traffic;

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use proxywhirl_world::{Behaviour, World, WorldPlan};
use tokio_util::sync::CancellationToken;

use super::output::{print, tell};
use crate::config::{CacheAt, Settings, SourceSettings};
use crate::exit::{Exit, Failure};
use crate::wiring::{self, Service};
use summary::Summary;
use traffic::Traffic;

/// The world of every demonstration is the same: which upstream misbehaves how follows from this.
const SEED: u64 = 7;

/// Upstreams are near: who has not answered by then is dead.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// End with the summary; exit code 0 if every request was answered
    #[arg(long)]
    once: bool,
    /// How many proxies there are
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u16).range(2..=500))]
    upstreams: u16,
    /// How many requests are sent
    #[arg(long, value_name = "N", default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    requests: u32,
}

/// Carries out `demo`.
pub(super) async fn run(args: DemoArgs) -> Result<Exit, Failure> {
    let failed = |error: std::io::Error| Failure::new(Exit::Environment, error);
    tell("starting, on this machine only: an origin, a judge, proxies of six protocols, lists that name them");
    let world = World::start(WorldPlan::mixed(usize::from(args.upstreams), SEED)).await.map_err(failed)?;
    let shutdown = CancellationToken::new();
    let judge = wiring::bind("127.0.0.1:0").await?;
    let judge_url = format!("http://{}/", wiring::local_address(&judge)?);
    let serving = wiring::judge().map_err(|error| Failure::new(Exit::Environment, error))?;
    let judging = tokio::spawn(wiring::serve_judge(serving, judge, shutdown.clone()));

    let service = Service::start(&settings(&world, &judge_url)?, Arc::default())?;
    let narrator = narrator::start(service.engine());
    tell(&format!("\nfetching {} lists and checking what they name", world.lists().len()));
    let filled = service.fill(&sources(&world)).await?;

    let listener = wiring::bind("127.0.0.1:0").await?;
    let gateway = wiring::local_address(&listener)?;
    let serving = {
        let (service, shutdown) = (service.clone(), shutdown.clone());
        tokio::spawn(async move { service.serve(listener, shutdown).await })
    };
    tell(&format!("\ngateway listening on {gateway}; sending {} requests through it", args.requests));
    let traffic = Traffic::new(gateway, &world)?;
    let before = args.requests / 2;
    let mut results = traffic.send(before).await;
    if let Some(victim) = busiest(&world) {
        // Without the login of its URL, which is no one's business.
        tell(&format!("now {}://{} dies, in the middle of it", victim.protocol(), victim.addr()));
        victim.set_behaviour(Behaviour::Dead).await.map_err(failed)?;
    }
    results.extend(traffic.send(args.requests - before).await);

    let is_answered = results.iter().all(|result| result.error.is_none());
    let summary = Summary::new(&filled, &results, &world, service.engine(), narrator.failovers());
    if !args.once {
        print(&summary.to_string())?;
        keep_serving(&world, gateway, &shutdown).await;
    }
    shutdown.cancel();
    // Both end by the token; a panic in them has been reported by the runtime.
    drop(tokio::join!(serving, judging));
    service.stop().await?;
    narrator.finish().await;
    if args.once {
        print(&summary.to_string())?;
    }
    Ok(if is_answered { Exit::Done } else { Exit::NoResult })
}

/// As a user would configure it, with short timeouts because everything is near.
fn settings(world: &World, judge: &str) -> Result<Settings, Failure> {
    let mut settings = Settings { allow_private: true, ..Settings::default() };
    // Its lists are gone with it.
    settings.fetch.cache = CacheAt::Off;
    settings.gateway.connect_timeout = TIMEOUT;
    settings.check.judges = vec![judge.to_owned()];
    settings.check.timeout = 2 * TIMEOUT;
    settings.upstream_ca_pem = Some(world.ca().ca_pem().into_bytes());
    Ok(settings)
}

fn sources(world: &World) -> Vec<SourceSettings> {
    let named = ["text", "json", "csv", "html"];
    let source = |(url, name): (String, &str)| SourceSettings {
        name: format!("demo-{name}"),
        trust: false,
        ..super::serve::trusted(&url, &super::ReadArgs::default())
    };
    world.lists().into_iter().zip(named).map(source).collect()
}

/// The healthy upstream that served most: its death is noticed. None when it is the last: somebody must be left.
fn busiest(world: &World) -> Option<&proxywhirl_world::Upstream> {
    let healthy = || world.upstreams().iter().filter(|upstream| matches!(upstream.behaviour(), Behaviour::Healthy));
    healthy().max_by_key(|upstream| upstream.counters().requests()).filter(|_| healthy().nth(1).is_some())
}

async fn keep_serving(world: &World, gateway: std::net::SocketAddr, shutdown: &CancellationToken) {
    let origin = world.origin().http_url("/ip");
    tell(&format!("\nthe gateway keeps serving; try, several times:\n\n    curl -x http://{gateway} {origin}\n"));
    tell(&format!("or by SOCKS:\n\n    curl -x socks5h://{gateway} {origin}\n\nCtrl-C ends it."));
    let stop = wiring::stop_on_signal(shutdown.clone(), || {});
    shutdown.cancelled().await;
    stop.abort();
}
