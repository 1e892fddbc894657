//! `proxywhirl get`: one request through the pool.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Response, Uri};
use proxywhirl_core::event::{Event, Topic};
use proxywhirl_engine::bus::Subscription;

use super::config::configured;
use super::output::tell;
use super::serve::typed;
use super::{PluginDirArgs, ReadArgs, StoreArg, StrategyArgs, UpstreamArgs};
use crate::client::{self, Asked};
use crate::exit::{Exit, Failure};
use crate::wiring::{self, Service};

/// Bytes in memory between the request and the gateway.
const PIPE: usize = 64 * 1024;

/// Events that wait to be told with `-v`: more than one request can make.
const EVENTS: usize = 1_024;

/// Arguments of `get`.
#[derive(Debug, Args)]
pub(super) struct GetArgs {
    /// The URL, http:// or https://
    #[arg(value_name = "URL")]
    url: Uri,
    /// The method [default: GET, or POST with a body]
    #[arg(short = 'X', long = "request", value_name = "METHOD")]
    method: Option<Method>,
    /// A header field, such as 'Accept: text/html'; may be given several times
    #[arg(short = 'H', long = "header", value_name = "K: V")]
    headers: Vec<String>,
    /// The body; @FILE reads it from a file
    #[arg(short = 'd', long = "data", value_name = "BODY")]
    body: Option<String>,
    /// Where to write the answer's body [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Proxies to use as they are: a file, a URL of a list, - for standard input, or a proxy itself
    #[arg(long, value_name = "FILE|URL|-")]
    proxies: Vec<String>,
    #[command(flatten)]
    read: ReadArgs,
    /// Where the pool is kept: sqlite:FILE, file:FILE.json, file:FILE.jsonl, redis://HOST or memory:; FILE alone is SQLite
    #[arg(long, visible_alias = "store", value_name = "STORE", env = "PROXYWHIRL_DB")]
    db: Option<StoreArg>,
    /// The configuration file
    #[arg(long, value_name = "FILE", env = "PROXYWHIRL_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    strategy: StrategyArgs,
    /// How many proxies are tried at the most [default: 5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    attempts: Option<u32>,
    /// Keep to the proxy that served this session before, if the strategy keeps sessions
    #[arg(long, value_name = "NAME")]
    session: Option<String>,
    /// Only proxies of this country, such as DE; may be given several times
    #[arg(long, value_name = "COUNTRY")]
    country: Vec<String>,
    /// Only proxies with this tag; with several, only those that have all of them
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    /// Say on standard error which proxy, which attempt, and why
    #[arg(short, long)]
    verbose: bool,
    /// Accept any certificate of the origin
    #[arg(short = 'k', long)]
    insecure: bool,
    /// Certificates (PEM) to trust for the origin, beside the system's
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
    #[command(flatten)]
    upstream: UpstreamArgs,
    #[command(flatten)]
    plugins: PluginDirArgs,
}

/// The fields of a request. What is none is not shown: it may be a credential.
fn fields(texts: &[String]) -> Result<Vec<(String, String)>, Failure> {
    let field = |(index, text): (usize, &String)| {
        let (name, value) = text.split_once(':').ok_or_else(|| {
            Failure::new(Exit::Usage, format!("header field {} has no colon", index + 1))
                .hint("it is written -H 'Name: value'")
        })?;
        Ok((name.trim().to_owned(), value.trim().to_owned()))
    };
    texts.iter().enumerate().map(field).collect()
}

impl GetArgs {
    /// What is wanted of the proxy, as the gateway is told it by every client.
    fn wishes(&self) -> Vec<(&'static str, String)> {
        let session = self.session.iter().map(|name| ("ProxyWhirl-Session", name.clone()));
        let lists = [("ProxyWhirl-Country", self.country.join(",")), ("ProxyWhirl-Tag", self.tag.join(","))];
        session.chain(lists.into_iter().filter(|(_, list)| !list.is_empty())).collect()
    }

    fn asked(&self) -> Result<Asked, Failure> {
        client::authority(&self.url).map_err(|error| Failure::new(Exit::Usage, error))?;
        let body = match self.body.as_deref().map(|body| (body, body.strip_prefix('@'))) {
            None => Bytes::new(),
            Some((_, Some(file))) => std::fs::read(file)
                .map(Bytes::from)
                .map_err(|error| Failure::new(Exit::Input, format!("body {file} cannot be read: {error}")))?,
            Some((body, None)) => Bytes::from(body.to_owned()),
        };
        let default = if self.body.is_some() { Method::POST } else { Method::GET };
        let method = self.method.clone().unwrap_or(default);
        let wishes = self.wishes();
        Ok(Asked { method, url: self.url.clone(), headers: fields(&self.headers)?, body, wishes })
    }

    async fn service(&self) -> Result<Service, Failure> {
        let mut settings = configured(self.config.as_deref())?;
        self.strategy.apply(&mut settings);
        settings.gateway.attempts = self.attempts.unwrap_or(settings.gateway.attempts);
        settings.store = self.db.as_ref().map(StoreArg::url).transpose()?.or(settings.store);
        settings.plugins.directory = self.plugins.plugins.clone().or(settings.plugins.directory);
        self.upstream.apply(&mut settings);
        let service = Service::start_for_a_moment(&settings)?;
        // Before anything is dialled.
        service.credentials().configure(settings.credentials.clone()).await;
        Ok(service)
    }
}

/// Carries out `get`.
pub(super) async fn run(args: GetArgs) -> Result<Exit, Failure> {
    let asked = args.asked()?;
    let tls = wiring::tls_config(!args.insecure, args.cacert.as_deref())?;
    let tls = proxywhirl_net::tls::client_config(&tls).map_err(|error| Failure::new(Exit::Input, error))?;
    let service = args.service().await?;
    let sources = args.proxies.iter().map(|named| typed(named, &args.read)).collect::<Result<Vec<_>, _>>()?;
    let filled = service.fill(&sources).await?;
    if let Some(error) = filled.sources.iter().find_map(|source| source.error.clone()) {
        return Err(Failure::new(Exit::Input, error));
    }
    if service.engine().snapshot().is_empty() {
        return Err(Failure::new(Exit::NoResult, "the pool is empty: no proxy to send the request through")
            .hint("name proxies with --proxies FILE or --proxies http://host:port, or a database with --db FILE"));
    }
    let topics =
        [Topic::ProxySelected, Topic::RequestSuccess, Topic::RequestFailure, Topic::ProxyBanned, Topic::PoolEmpty];
    let told = args.verbose.then(|| tokio::spawn(narrate(service.engine().subscribe(&topics, EVENTS))));
    let answer = exchange(&service, &asked, &tls).await;
    let written = match answer {
        Ok(response) => write(response, &args).await,
        Err(error) => Err(Failure::new(Exit::NoResult, error)),
    };
    service.stop().await?;
    if let Some(told) = told {
        // It ends with the engine; what it has to say is told by then.
        drop(told.await);
    }
    written
}

async fn exchange(
    service: &Service,
    asked: &Asked,
    tls: &Arc<rustls::ClientConfig>,
) -> Result<Response<Incoming>, client::ClientError> {
    let (ours, gateways) = tokio::io::duplex(PIPE);
    let gateway = service.gateway().clone();
    // Ends when the client's end is dropped, which the response holds.
    tokio::spawn(async move { gateway.session(gateways, None).await });
    client::send(ours, asked, tls).await
}

async fn write(response: Response<Incoming>, args: &GetArgs) -> Result<Exit, Failure> {
    if args.verbose {
        tell(&format!("< {:?} {}", response.version(), response.status()));
        for (name, value) in response.headers() {
            tell(&format!("< {name}: {}", String::from_utf8_lossy(value.as_bytes())));
        }
    }
    let place = args.output.as_ref().map_or_else(|| "standard output".to_owned(), |file| file.display().to_string());
    let failed = |error: std::io::Error| Failure::new(Exit::Environment, format!("writing {place}: {error}"));
    let mut out: Box<dyn Write + Send> = match &args.output {
        Some(file) => Box::new(std::fs::File::create(file).map_err(failed)?),
        None => Box::new(std::io::stdout()),
    };
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Failure::new(Exit::NoResult, error).hint("the answer broke off in the middle; what came of it was written")
        })?;
        if let Some(data) = frame.data_ref() {
            out.write_all(data).map_err(failed)?;
        }
    }
    out.flush().map_err(failed)?;
    Ok(Exit::Done)
}

/// Tells the attempts as they happen.
async fn narrate(mut events: Subscription) {
    while let Some(event) = events.next().await {
        tell(&sentence(&event));
    }
}

/// An event about an attempt, in words.
fn sentence(event: &Event) -> String {
    let payload: serde_json::Value = serde_json::from_str(&event.payload).unwrap_or_default();
    let text =
        |key: &str| payload.get(key).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    let of = |key: &str| text(key).unwrap_or_default();
    let fault = |key: &str| payload.get("fault").and_then(|fault| fault.get(key)).and_then(|value| value.as_str());
    match event.topic {
        Topic::ProxySelected => format!("* attempt {}: {} to {}", of("attempt"), of("proxy"), of("target")),
        Topic::RequestSuccess => {
            let latency = payload.get("latency_ms").and_then(serde_json::Value::as_f64).unwrap_or_default();
            format!("* attempt {}: first byte after {latency:.1} ms", of("attempt"))
        }
        Topic::RequestFailure => format!(
            "* attempt {}: failed at {}, {} ({}): {}",
            of("attempt"),
            fault("stage").unwrap_or_default(),
            fault("kind").unwrap_or_default(),
            fault("side").unwrap_or_default(),
            fault("detail").unwrap_or_default()
        ),
        Topic::PoolEmpty => format!(
            "* nobody left: {} in the pool, {} tried already, {} with an open breaker, {} not in the plan",
            of("members"),
            of("tried"),
            of("breaker"),
            of("unplanned")
        ),
        Topic::ProxyBanned if payload.get("banned") == Some(&serde_json::Value::Bool(true)) => {
            format!("* rule {}: {} is banned at {}", of("rule"), of("proxy"), of("site"))
        }
        Topic::ProxyBanned => format!("* rule {}: too many are banned at {} already", of("rule"), of("site")),
        Topic::RequestComplete
        | Topic::HealthCheck
        | Topic::ProxyAdded
        | Topic::ProxyRemoved
        | Topic::BreakerChanged
        | Topic::FetchComplete
        | Topic::PluginFaulted
        | Topic::PluginChanged
        | Topic::StoreChanged => format!("* {}: {}", event.topic, event.payload),
    }
}
