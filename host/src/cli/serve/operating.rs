//! What a gateway does beside serving: it answers at its control socket, takes over what changes, writes its event log.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use proxywhirl_engine::bus::Bus;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cli::output::tell;
use crate::config::environment::DOT_ENV;
use crate::config::{Settings, Socket};
use crate::control::{self, Claim, Client, place};
use crate::event_log::EventLog;
use crate::exit::{Exit, Failure};
use crate::live::{self, About, Configuration, Live, Reader, Watched};
use crate::logging::Logging;
use crate::telemetry;
use crate::wiring::listeners::Entrances;
use crate::wiring::{self, Service};

/// How long before clients are cut those are answered who will not have their turn any more.
const LAST_ANSWERS: Duration = Duration::from_millis(300);

/// What has to be there before the plugins are loaded.
pub(super) struct Prepared {
    config: Option<PathBuf>,
    claim: Option<Claim>,
    watched: Option<Watched>,
    metrics: PrometheusHandle,
    bus: Arc<Bus>,
    /// It listens to that already, so that loading the plugins is in it.
    event_log: Option<EventLog>,
}

/// What runs beside serving.
pub(super) struct Operating {
    live: Arc<Live>,
    tasks: JoinSet<()>,
    /// Cancelled when the gateway shall stop.
    shutdown: CancellationToken,
    /// Cancelled when it has: commands are answered until then.
    stopped: CancellationToken,
    event_log: Option<EventLog>,
    /// Where commands reach the gateway.
    socket: Option<PathBuf>,
}

impl Prepared {
    /// Takes the control socket, begins to keep metrics and the log of events, and looks what there is to be watched.
    pub(super) async fn new(settings: &Settings, config: Option<PathBuf>) -> Result<Self, Failure> {
        let claim = match place::claim(&settings.control) {
            Ok(claim) => claim,
            // Nobody asked for it: a gateway that cannot be commanded still serves.
            Err(error) if settings.control == Socket::Own => {
                tracing::warn!(error = %error, "no control socket: commands will not reach this gateway");
                None
            }
            Err(error) => {
                let hint = if Client::at(&error.path).is_stopping().await {
                    "that one is stopping, and has it until its last connection has ended (`proxywhirl status` says when \
                     at the latest): start this one then, or choose another socket with --control SOCKET"
                } else {
                    "choose another one with --control SOCKET, or none with --control off"
                };
                return Err(Failure::new(Exit::Environment, error).hint(hint));
            }
        };
        let watched = settings.plugins.watch.then(|| {
            let directory = settings.plugins.directory.as_deref();
            let files = config.iter().cloned().chain([PathBuf::from(DOT_ENV)]);
            Watched::from_now(files.collect(), directory)
        });
        let (metrics, bus) = (telemetry::start()?, Arc::new(Bus::default()));
        let event_log = settings.events.as_ref().map(|events| EventLog::start(events, &bus)).transpose()?;
        Ok(Self { config, claim, watched, metrics, bus, event_log })
    }

    /// Where events are told.
    pub(super) fn bus(&self) -> Arc<Bus> {
        Arc::clone(&self.bus)
    }

    /// Starts what runs beside serving.
    pub(super) fn start(
        self,
        (service, entrances): (Service, Arc<Entrances>),
        configuration: Configuration,
        reader: Reader,
        logging: &Logging,
    ) -> Operating {
        let metrics = self.metrics.clone();
        let about = About { config: self.config, lines: logging.plugin_lines.clone(), metrics };
        let gateway = service.gateway().clone();
        let live = Live::new((service, entrances), configuration, reader, about);
        let (shutdown, stopped) = (CancellationToken::new(), CancellationToken::new());
        let mut tasks = JoinSet::new();
        wiring::stop_on_signal(shutdown.clone(), move || gateway.hurry());
        if let Err(error) = live::reload_on_signal(live.clone(), shutdown.clone()) {
            tracing::warn!(error = %error, "SIGHUP cannot be heard: use `proxywhirl reload`");
        }
        tasks.spawn(telemetry::keep_up(self.metrics, stopped.clone()));
        tasks.spawn(live.clone().follow_rollbacks());
        tasks.spawn(tell_stop(live.clone(), shutdown.clone(), stopped.clone()));
        let (lost, ended) = (live.clone(), stopped.clone());
        tasks.spawn(async move {
            ended.run_until_cancelled(lost.tell_lost()).await;
        });
        if let Some(watched) = self.watched {
            tasks.spawn(watched.watch(live.clone(), shutdown.clone()));
        }
        let socket = self.claim.as_ref().map(|claim| claim.path.clone());
        if let Some(claim) = self.claim {
            tasks.spawn(control::serve(claim, control::router(live.clone()), stopped.clone()));
        }
        Operating { live, tasks, shutdown, stopped, event_log: self.event_log, socket }
    }
}

/// Tells when it begins to stop, and at the end of that those who wait for a turn: they have been sent nowhere, and may ask again.
async fn tell_stop(live: Arc<Live>, shutdown: CancellationToken, stopped: CancellationToken) {
    shutdown.cancelled().await;
    let drain = live.begin_to_stop();
    stopped.run_until_cancelled(tokio::time::sleep(drain.saturating_sub(LAST_ANSWERS))).await;
    live.engine().end_waits();
}

impl Operating {
    /// Tells where commands reach the gateway.
    pub(super) fn tell(&self) {
        if let Some(socket) = &self.socket {
            tell(&format!("commands such as `proxywhirl strategy set` reach it at {}", socket.display()));
        }
    }

    /// Says that the sources have been read that were there at the start.
    pub(super) fn filled(&self) {
        self.live.filled();
    }

    /// What is cancelled when the gateway shall stop.
    pub(super) fn shutdown(&self) -> CancellationToken {
        self.shutdown.clone()
    }

    /// Ends all of it, and saves.
    pub(super) async fn stop(mut self, service: &Service) -> Result<(), Failure> {
        self.shutdown.cancel();
        let saved = service.stop().await;
        self.stopped.cancel();
        while self.tasks.join_next().await.is_some() {}
        if let Some(event_log) = self.event_log {
            let joined = tokio::task::spawn_blocking(move || event_log.join()).await;
            joined.map_err(|error| Failure::new(Exit::Environment, error))?;
        }
        saved
    }
}
