//! The control API: HTTP on the Unix socket, JSON both ways. `docs/control-api.md` is its description for users.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::UnixListener;
use weave_core::{FindError, Ping, PingError, Status, Trace};
use weave_io::{Ended, Handle};
use weave_mesh::Target;

use crate::password::{Door, Listed, Refused};
use crate::report::Environment;
use crate::underlay::Underlay;
use crate::{Options, Secret};

/// What the answers are made from.
#[derive(Clone)]
pub(crate) struct Api {
    /// The running router.
    pub(crate) handle: Handle,
    /// How it was started.
    pub(crate) options: Arc<Options>,
    /// The network's passwords.
    pub(crate) door: Arc<Door>,
    /// What was found of the underlay at the start.
    pub(crate) underlay: Arc<Underlay>,
}

/// Answers requests until the future is dropped.
pub(crate) async fn serve(listener: UnixListener, api: Api) {
    // Never ends by itself: it logs a failed accept and goes on.
    let _ = axum::serve(listener, routes(api)).await;
}

fn routes(api: Api) -> Router {
    Router::new()
        .route("/status", get(status))
        .route("/version", get(version))
        .route("/report", get(report))
        .route("/trace", post(trace))
        .route("/ping", post(ping))
        .route("/connect", post(connect))
        .route("/forget", post(forget))
        .route("/passwords", get(passwords))
        .route("/passwords/add", post(add_password))
        .route("/passwords/retire", post(retire_password))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(api)
}

async fn status(State(api): State<Api>) -> Result<Json<Status>, Refusal> {
    Ok(Json(within(api.handle.status()).await?))
}

async fn version() -> Json<Version> {
    Json(Version { version: VERSION })
}

async fn report(State(api): State<Api>) -> Result<Json<Report>, Refusal> {
    Ok(Json(Report {
        status: within(api.handle.status()).await?,
        options: Options::clone(&api.options),
        environment: Environment::now(&api.underlay),
    }))
}

async fn trace(
    State(api): State<Api>,
    request: Result<Json<PeerRequest>, JsonRejection>,
) -> Result<Json<Trace>, Refusal> {
    let PeerRequest { peer } = body(request)?;
    within(api.handle.trace(peer))
        .await?
        .map(Json)
        .map_err(not_found)
}

async fn ping(
    State(api): State<Api>,
    request: Result<Json<PingRequest>, JsonRejection>,
) -> Result<Json<Ping>, Refusal> {
    let PingRequest { peer, timeout_ms } = body(request)?;
    let timeout = Duration::from_millis(timeout_ms);
    if !PING_TIMEOUTS.contains(&timeout) {
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            format!("timeout_ms is {timeout_ms}, not from 10 to 10000"),
        ));
    }
    let answer = within_time(api.handle.ping(peer, timeout), timeout + PATIENCE);
    match answer.await? {
        Ok(ping) => Ok(Json(ping)),
        Err(PingError::Find(error)) => Err(not_found(error)),
        Err(error) => Err(Refusal::new(
            StatusCode::TOO_MANY_REQUESTS,
            error.to_string(),
        )),
    }
}

async fn connect(
    State(api): State<Api>,
    request: Result<Json<PeerRequest>, JsonRejection>,
) -> Result<Json<Done>, Refusal> {
    let target = target(request)?;
    tracing::info!("told to connect to {target}");
    within(api.handle.connect(target)).await?;
    Ok(Json(Done {}))
}

async fn forget(
    State(api): State<Api>,
    request: Result<Json<PeerRequest>, JsonRejection>,
) -> Result<Json<Done>, Refusal> {
    let target = target(request)?;
    let known = within(api.handle.status())
        .await?
        .targets
        .iter()
        .any(|known| known.target == target.to_string());
    if !known {
        return Err(Refusal::new(
            StatusCode::NOT_FOUND,
            format!("{target} is not among the targets: see GET /status"),
        ));
    }
    tracing::info!("told to forget {target}");
    within(api.handle.forget(target)).await?;
    Ok(Json(Done {}))
}

async fn passwords(State(api): State<Api>) -> Json<Listed> {
    Json(api.door.list(Instant::now()).await)
}

async fn add_password(
    State(api): State<Api>,
    request: Result<Json<PasswordRequest>, JsonRejection>,
) -> Result<Json<Listed>, Refusal> {
    let PasswordRequest { password } = body_unquoted(request)?;
    let secret = Secret::line(password.text())
        .map_err(|why| Refusal::new(StatusCode::BAD_REQUEST, format!("no password: {why}")))?;
    let listed = api.door.add(Instant::now(), secret, &api.handle).await;
    listed.map(Json).map_err(refused)
}

async fn retire_password(State(api): State<Api>) -> Result<Json<Listed>, Refusal> {
    let listed = api.door.retire(Instant::now(), &api.handle).await;
    listed.map(Json).map_err(refused)
}

async fn no_such_path() -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        "no such path: there are /status, /version, /report, /trace, /ping, /connect, /forget, /passwords, \
         /passwords/add and /passwords/retire"
            .to_owned(),
    )
}

async fn no_such_method() -> Refusal {
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "no such method here: GET for /status, /version, /report and /passwords, POST for the others"
            .to_owned(),
    )
}

/// The body of `/trace`, `/connect` and `/forget`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PeerRequest {
    /// To be connected to: HOST or HOST:PORT. To be traced: whatever names one router.
    peer: String,
}

/// The body of `/passwords/add`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PasswordRequest {
    password: Secret,
}

/// The body of `/ping`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PingRequest {
    /// Whatever names one router.
    peer: String,
    /// How long to wait for answers.
    #[serde(default = "ping_timeout_ms")]
    timeout_ms: u64,
}

fn ping_timeout_ms() -> u64 {
    2000
}

/// The answer of `/connect` and `/forget`: an empty object, with room for more.
#[derive(Serialize)]
struct Done {}

/// The answer of `/version`.
#[derive(Serialize)]
struct Version {
    version: &'static str,
}

/// The answer of `/report`.
#[derive(Serialize)]
struct Report {
    status: Status,
    options: Options,
    environment: Environment,
}

/// An answer that is none: a status from 400 up, and `{"error": why}`.
struct Refusal {
    status: StatusCode,
    why: String,
}

impl Refusal {
    fn new(status: StatusCode, why: String) -> Self {
        Self { status, why }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "error": self.why }))).into_response()
    }
}

fn target(request: Result<Json<PeerRequest>, JsonRejection>) -> Result<Target, Refusal> {
    let PeerRequest { peer } = body(request)?;
    peer.parse().map_err(|error| {
        Refusal::new(
            StatusCode::BAD_REQUEST,
            format!("{peer:?} is no peer: {error}"),
        )
    })
}

fn body<T>(request: Result<Json<T>, JsonRejection>) -> Result<T, Refusal> {
    match request {
        Ok(Json(body)) => Ok(body),
        Err(rejection) => Err(Refusal::new(rejection.status(), rejection.body_text())),
    }
}

/// Like [`body`], for what is not to be repeated: what is wrong with JSON is told by quoting it.
fn body_unquoted<T>(request: Result<Json<T>, JsonRejection>) -> Result<T, Refusal> {
    match request {
        Ok(Json(body)) => Ok(body),
        Err(rejection) => Err(Refusal::new(
            rejection.status(),
            "the body is not {\"password\": TEXT}, or is too long".to_owned(),
        )),
    }
}

/// Why the password was not changed.
fn refused(refused: Refused) -> Refusal {
    match refused {
        Refused::Bad(why) => Refusal::new(StatusCode::BAD_REQUEST, why),
        Refused::Conflict(why) => Refusal::new(StatusCode::CONFLICT, why),
        Refused::Failed(why) => Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, why),
    }
}

/// Nobody is meant, or several.
fn not_found(error: FindError) -> Refusal {
    let status = match error {
        FindError::Ambiguous { .. } => StatusCode::CONFLICT,
        FindError::Unknown(_) | FindError::MacUnknown(_) | _ => StatusCode::NOT_FOUND,
    };
    Refusal::new(status, error.to_string())
}

/// The router's answer; it comes within a millisecond unless the router is stuck or ending.
async fn within<T>(answer: impl Future<Output = Result<T, Ended>>) -> Result<T, Refusal> {
    within_time(answer, PATIENCE).await
}

async fn within_time<T>(
    answer: impl Future<Output = Result<T, Ended>>,
    patience: Duration,
) -> Result<T, Refusal> {
    match tokio::time::timeout(patience, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(Ended)) => Err(Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the router is ending".to_owned(),
        )),
        Err(_) => Err(Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("the router does not answer within {} s", patience.as_secs()),
        )),
    }
}

/// This program's version.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// A host name has at most 255 bytes; the rest is JSON around it.
const BODY_BYTES_MAX: usize = 4096;
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a ping may be waited for.
const PING_TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(10);

#[cfg(test)]
mod tests;
