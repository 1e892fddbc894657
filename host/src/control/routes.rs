//! What can be asked at the socket, and who answers.

mod credentials;
mod pool;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::stream;
use proxywhirl_core::event::Topic;
use proxywhirl_core::{Endpoint, EndpointKey};
use proxywhirl_engine::history::{self, RequestRecord};
use proxywhirl_engine::{AtSite, Attempt, Explanation, SiteQuery};
use proxywhirl_gateway::wanted::Wanted;
use proxywhirl_net::Target;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::error::RecvError;

use super::api::{Explained, Lift, Lifted, Problem, Refresh, Reloaded, Rotate, Rotated, SetStrategy, UserRow};
use crate::config::PluginUse;
use crate::event_log;
use crate::exit::{Exit, Failure};
use crate::live::Live;

/// Bytes of a request's body: options of a strategy are the longest.
const MAX_BODY: usize = 1024 * 1024;

/// For an answer to begin: compiling a large plugin takes most of a minute on a slow machine.
const DEADLINE: Duration = Duration::from_secs(180);

/// While something goes on, who waits for it hears so often that it does.
const ALIVE: Duration = Duration::from_secs(5);

/// Events that wait for one who follows.
const FOLLOWED: usize = 4_096;

type Gateway = State<Arc<Live>>;

/// An answer: JSON, or why not.
pub type Routed<T> = Result<Json<T>, Refusal>;

/// All that can be asked.
pub fn router(live: Arc<Live>) -> Router {
    Router::new()
        .route("/v1/status", get(async |State(live): Gateway| Json(live.status())))
        .route("/v1/strategy", get(async |State(live): Gateway| Json(live.strategy())).post(set_strategy))
        .route("/v1/reload", post(reload))
        .route("/v1/refresh", post(refresh))
        .route("/v1/rotate", post(rotate))
        .route("/v1/pool", get(pool::list))
        .route("/v1/pool/add", post(pool::add))
        .route("/v1/pool/remove", post(pool::remove))
        .route("/v1/users", get(users))
        .route("/v1/bans", get(async |State(live): Gateway| Json(live.engine().bans())))
        .route("/v1/bans/lift", post(lift))
        .route(
            "/v1/credentials",
            get(async |State(live): Gateway| Json(live.credentials().list())).post(credentials::set),
        )
        .route("/v1/credentials/refresh", post(credentials::refresh))
        .route("/v1/credentials/unset", post(credentials::unset))
        .route("/v1/plugins", get(async |State(live): Gateway| Json(live.plugins())))
        .route("/v1/plugins/reload", post(async |State(live): Gateway| done(async move { live.refresh().await }).await))
        .route("/v1/plugins/{name}/enable", post(enable))
        .route("/v1/requests", get(requests))
        .route("/v1/requests/{number}", get(request))
        .route("/v1/explain", get(explain))
        .route("/v1/sites", get(sites))
        .route("/v1/events", get(events))
        .route("/v1/log", get(log))
        .route("/metrics", get(metrics))
        .fallback(async || Refusal::new(StatusCode::NOT_FOUND, "there is nothing of that name"))
        .method_not_allowed_fallback(async || Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "not by this method"))
        .layer(middleware::from_fn(in_time))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(live)
}

/// What is answered to everything when so many connections are open that there are no places for more.
pub(super) fn crowded(connections: usize) -> Router {
    let answer = move || async move {
        let error = format!("{connections} control connections are open, and there are no places for more");
        let hint =
            "end some of those that follow events or the log (`/v1/events`, `/v1/log`): `ss -xp` says whose they are";
        let problem = Problem { error, hint: Some(hint.to_owned()), exit: Exit::Environment.code() };
        let refusal = Refusal { status: StatusCode::SERVICE_UNAVAILABLE, problem };
        // It makes room for the next one that has to be told.
        ([(header::CONNECTION, "close")], refusal)
    };
    Router::new().fallback(answer)
}

/// Why there is no answer.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    problem: Problem,
}

impl Refusal {
    fn new(status: StatusCode, error: &str) -> Self {
        Self { status, problem: Problem { error: error.to_owned(), hint: None, exit: Exit::Usage.code() } }
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        let status = match failure.exit {
            Exit::NoResult => StatusCode::NOT_FOUND,
            Exit::Usage => StatusCode::BAD_REQUEST,
            Exit::Input => StatusCode::UNPROCESSABLE_ENTITY,
            Exit::Done | Exit::Environment => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, problem: failure.into() }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(self.problem)).into_response()
    }
}

/// Carries out a change, to its end: whoever asked for it may leave, but no change stays half done.
async fn done<T: Serialize + Send + 'static>(
    change: impl Future<Output = Result<T, Failure>> + Send + 'static,
) -> Routed<T> {
    let changed = tokio::spawn(change).await.map_err(|error| Failure::new(Exit::Environment, error))?;
    Ok(Json(changed?))
}

async fn in_time(request: Request, next: Next) -> Response {
    let answer = tokio::time::timeout(DEADLINE, next.run(request)).await;
    answer.unwrap_or_else(|_| Refusal::new(StatusCode::GATEWAY_TIMEOUT, "it takes too long").into_response())
}

fn read<T: for<'de> Deserialize<'de>>(body: Result<Bytes, BytesRejection>) -> Result<T, Refusal> {
    let body =
        body.map_err(|rejection| Refusal::new(rejection.status(), "the body cannot be read, or is too large"))?;
    serde_json::from_slice(&body)
        .map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, &format!("the body is not what was expected: {error}")))
}

async fn set_strategy(State(live): Gateway, body: Result<Bytes, BytesRejection>) -> Routed<super::api::StrategySet> {
    let SetStrategy { name, options } = read(body)?;
    done(async move { live.set_strategy(PluginUse { name, options }).await }).await
}

async fn reload(State(live): Gateway) -> Routed<Reloaded> {
    done(async move { live.reload(crate::live::Asked::ByCommand).await }).await
}

async fn rotate(State(live): Gateway, body: Result<Bytes, BytesRejection>) -> Routed<Rotated> {
    let Rotate { listener } = read(body)?;
    done(async move { live.rotate(listener.as_deref()) }).await
}

/// The users, and what of their limits is used.
async fn users(State(live): Gateway) -> Json<Vec<UserRow>> {
    Json(live.users().await)
}

async fn lift(State(live): Gateway, body: Result<Bytes, BytesRejection>) -> Routed<Lifted> {
    let Lift { site, proxy } = read(body)?;
    let key = key_of(proxy)?;
    Ok(Json(Lifted { lifted: live.engine().lift_bans(site.as_deref(), key.as_ref()) }))
}

/// Reads sources again, however long that takes: the answer begins at once, with white space.
async fn refresh(State(live): Gateway, body: Result<Bytes, BytesRejection>) -> Result<Response, Refusal> {
    let Refresh { sources } = read(body)?;
    // What can be refused at once is, by its status: later, the answer has begun.
    live.know_sources(&sources)?;
    let work = tokio::spawn(async move { live.refresh_sources(&sources).await });
    let lines = stream::unfold(Some(work), async |work| {
        let mut work = work?;
        match tokio::time::timeout(ALIVE, &mut work).await {
            Err(_) => Some((Ok::<_, Infallible>("\n".to_owned()), Some(work))),
            Ok(done) => {
                let report = done.map_err(|error| Failure::new(Exit::Environment, error)).and_then(|report| report);
                let text = match report {
                    Ok(report) => serde_json::to_string(&report),
                    Err(failure) => serde_json::to_string(&Problem::from(failure)),
                };
                Some((Ok(text.unwrap_or_default()), None))
            }
        }
    });
    Ok(([(header::CONTENT_TYPE, "application/json")], Body::from_stream(lines)).into_response())
}

async fn enable(State(live): Gateway, Path(name): Path<String>) -> Routed<serde_json::Value> {
    live.enable(&name)?;
    Ok(Json(serde_json::json!({ "enabled": name })))
}

/// Which requests to tell of.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// So many at the most, the newest first.
    #[serde(default = "Asked::limit")]
    limit: usize,
    /// Only those to this host.
    host: Option<String>,
    /// Only those that failed.
    #[serde(default)]
    failed: bool,
}

impl Asked {
    const fn limit() -> usize {
        100
    }
}

/// The last requests, the newest first.
async fn requests(State(live): Gateway, Query(asked): Query<Asked>) -> Json<Vec<RequestRecord>> {
    let query = history::Query { limit: asked.limit, host: asked.host, failed: asked.failed };
    Json(live.engine().requests(&query))
}

async fn request(State(live): Gateway, Path(number): Path<u64>) -> Routed<RequestRecord> {
    let gone = || Failure::new(Exit::NoResult, format!("request {number} is not remembered"));
    Ok(Json(live.engine().request(number).ok_or_else(gone)?))
}

/// For whom to explain.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Unexplained {
    /// Host and port of the origin.
    target: String,
    /// The proxy user name, with what the client wants.
    #[serde(default)]
    user: String,
    /// The listener where it would come in; none for one that wants nothing itself.
    listener: Option<String>,
}

/// What would be done for a request now.
async fn explain(State(live): Gateway, Query(unexplained): Query<Unexplained>) -> Routed<Explained> {
    let Unexplained { target, user, listener } = unexplained;
    let destination =
        target.parse::<Target>().map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, &error.to_string()))?;
    let (name, wanted) = live.wanted(&user, listener.as_deref())?;
    let user = live.user(&name).await;
    let engine = live.engine();
    let Wanted { session, stick, ref filter, ref by, .. } = wanted;
    let (target, site, filter) = (target.as_str(), engine.site(&target), filter.as_ref());
    let attempt = Attempt {
        request: 0,
        whose: 0,
        number: 1,
        target,
        site,
        session,
        stick,
        filter,
        tried: &[],
        is_late: false,
        is_once: false,
        is_unproven: false,
        hedge: false,
        tier: None,
        by: by.as_ref(),
    };
    let forbidden = (!live.permits(&destination)).then(|| "a rule of [access] forbids it".to_owned());
    let refused = forbidden.or_else(|| user.as_ref()?.refused.clone());
    let explanation = Explanation { escalation: live.tiers(&attempt, &wanted), refused, ..engine.explain(&attempt) };
    Ok(Json(Explained { explanation, user }))
}

async fn metrics(State(live): Gateway) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], live.metrics()).into_response()
}

/// Which proxies at which sites to tell of.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedSites {
    /// So many at the most.
    #[serde(default = "Asked::limit")]
    limit: usize,
    /// Those at the site of this host.
    site: Option<String>,
    /// Those of the proxy with this URL.
    proxy: Option<String>,
    /// Only those that are passed over.
    #[serde(default)]
    passed_over: bool,
}

/// How proxies do at sites.
async fn sites(State(live): Gateway, Query(asked): Query<AskedSites>) -> Routed<Vec<AtSite>> {
    let AskedSites { limit, site, proxy, passed_over } = asked;
    Ok(Json(live.engine().at_sites(&SiteQuery { limit, site, proxy: key_of(proxy)?, passed_over })))
}

/// What is meant by a proxy's URL. What is wrong with it is told without its text, which may hold a password.
fn key_of(proxy: Option<String>) -> Result<Option<EndpointKey>, Refusal> {
    let direct = Endpoint::direct();
    let endpoint = proxy.map(|proxy| if proxy == direct.to_string() { Ok(direct) } else { proxy.parse() }).transpose();
    let endpoint = endpoint.map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, &format!("proxy: {error}")))?;
    Ok(endpoint.map(|endpoint| endpoint.key()))
}

/// What to follow.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Followed {
    /// Topics, separated by commas; all when there are none.
    #[serde(default)]
    topics: String,
}

/// Lines of JSON, an event each, until the gateway ends or the client leaves.
async fn events(State(live): Gateway, Query(Followed { topics }): Query<Followed>) -> Result<Response, Refusal> {
    let names = topics.split(',').filter(|name| !name.is_empty());
    let topic = |name: &str| {
        let unknown = || Refusal::new(StatusCode::BAD_REQUEST, &format!("there is no topic {name:?}"));
        Topic::ALL.into_iter().find(|topic| topic.as_str() == name).ok_or_else(unknown)
    };
    let topics = names.map(topic).collect::<Result<Vec<_>, _>>()?;
    let events = live.engine().subscribe(&topics, FOLLOWED);
    let lines = stream::unfold(events, async |mut events| {
        let event = events.next().await?;
        Some((Ok::<_, Infallible>(event_log::line(&event)), events))
    });
    Ok(ndjson(Body::from_stream(lines)))
}

/// Which lines of the log to follow.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogOf {
    /// Of one plugin; of all when none is named.
    plugin: Option<String>,
}

/// Lines of JSON, a line of the log each, of what concerns plugins.
async fn log(State(live): Gateway, Query(LogOf { plugin }): Query<LogOf>) -> Response {
    let lines = stream::unfold((live.lines().follow(), plugin), async |(mut lines, plugin)| {
        loop {
            let text = match lines.recv().await {
                Ok(line) if plugin.as_ref().is_none_or(|name| *name == line.plugin) => serde_json::to_string(&line),
                Ok(_) => continue,
                Err(RecvError::Lagged(missed)) => serde_json::to_string(&serde_json::json!({ "missed": missed })),
                Err(RecvError::Closed) => return None,
            };
            return Some((text.map(|text| text + "\n"), (lines, plugin)));
        }
    });
    ndjson(Body::from_stream(lines))
}

fn ndjson(body: Body) -> Response {
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}
