//! The control API: paths, answers, errors. HTTP and JSON, on the Unix socket only.
//!
//! | path | answer |
//! |---|---|
//! | `GET /v1/status` | `StatusView` |
//! | `GET /v1/streams` | list of `StreamView` |
//! | `GET /v1/latency`, `GET /v1/latency/curves` | list of `StepView`, of `CurveView` |
//! | `GET /v1/events/recent?limit=N` | list of events as journalled, newest last |
//! | `GET /v1/policy/timeline?limit=N` | list of `TransitionView`, oldest first |
//! | `POST /v1/signs/{id}/withdraw?by=WHO&reason=TEXT`, `…/post?by=WHO` | `SignView` |
//! | `POST /v1/signs/{id}/inspect?by=WHO&at=TIME&photo_sha256=HEX` | `SignView`; `at` and `photo_sha256` may be left out |
//! | `GET /v1/register` | `RegisterView` |
//! | `POST /v1/register/changes`, body: a `Request` (`policy/store.rs`) | `ChangeView` |
//! | `POST /v1/alternatives/{id}/beat` | `AlternativeView` |
//! | `POST /v1/streams/{name}/verify?person=ID&within_s=5` | `VerificationView`, when it is known or `within_s` is over |
//! | `POST /v1/reload`, `POST /v1/gallery/reload` | `ReloadView` |
//!
//! An error is `{"error": "…", "kind": "not-found" | "refused" | "invalid" | "failed"}`, with `"reason": {"rule", "fact", "remedy"}` where a rule said no, with status 404, 403, 422 or 500.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::view::{CurveView, SignView, StepView};
use super::{ActionError, Appliance, InspectionNote, health};
use crate::policy::claim::{DEFAULT_CLAIM, MAX_CLAIM};
use crate::policy::rules::Reason;
use crate::policy::store::Request;

type Shared = Arc<dyn Appliance>;

const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 1_000;

/// Everything that the control socket answers, health and metrics included.
pub(super) fn router(appliance: Shared) -> Router {
    let control = Router::new()
        .route("/v1/status", get(|app: State<Shared>| ask(app, |a| a.status())))
        .route("/v1/streams", get(|app: State<Shared>| ask(app, |a| a.status().streams)))
        .route("/v1/latency", get(|app: State<Shared>| ask(app, latency)))
        .route("/v1/latency/curves", get(|app: State<Shared>| ask(app, curves)))
        .route("/v1/events/recent", get(|app: State<Shared>, q: Query<Limit>| ask(app, move |a| a.recent_events(q.get()))))
        .route("/v1/policy/timeline", get(|app: State<Shared>, q: Query<Limit>| ask(app, move |a| a.policy_timeline(q.get()))))
        .route(
            "/v1/signs/{id}/withdraw",
            post(|app: State<Shared>, id: Path<String>, said: Query<Said>| act(app, move |a| said.withdraw(a, &id))),
        )
        .route(
            "/v1/signs/{id}/post",
            post(|app: State<Shared>, id: Path<String>, said: Query<Said>| act(app, move |a| a.post_sign(&id, &said.by()))),
        )
        .route(
            "/v1/signs/{id}/inspect",
            post(|app: State<Shared>, id: Path<String>, said: Query<Said>| act(app, move |a| said.inspect(a, &id))),
        )
        .route("/v1/register", get(|app: State<Shared>| act(app, |a| a.register())))
        .route("/v1/register/changes", post(|app: State<Shared>, asked: Json<Request>| act(app, move |a| a.change_register(asked.0))))
        .route("/v1/alternatives/{id}/beat", post(|app: State<Shared>, id: Path<String>| act(app, move |a| a.beat_alternative(&id))))
        .route("/v1/streams/{name}/verify", post(verify))
        .route("/v1/reload", post(|app: State<Shared>| act(app, |a| a.reload())))
        .route("/v1/gallery/reload", post(|app: State<Shared>| act(app, |a| a.reload_gallery())))
        .with_state(Arc::clone(&appliance));
    control.merge(health::router(appliance)).fallback(nothing_here).method_not_allowed_fallback(wrong_method)
}

async fn verify(app: State<Shared>, name: Path<String>, claimed: Query<Claimed>) -> Response {
    let length = claimed.person.chars().count();
    if length > MAX_PERSON_CHARS {
        let error = format!("`person` has {length} characters; a subject's id, or its consent's, has {MAX_PERSON_CHARS} at most");
        return refuse(StatusCode::UNPROCESSABLE_ENTITY, "invalid", error);
    }
    // Goes with this future: when the answer is given, or whoever asked has hung up.
    let (_listening, gone) = crossbeam::channel::bounded(0);
    act(app, move |a| a.verify(&name, &claimed.person, claimed.within(), &gone)).await
}

#[derive(Deserialize)]
struct Limit {
    limit: Option<usize>,
}

impl Limit {
    fn get(&self) -> usize {
        self.limit.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT)
    }
}

/// What is said of a sign, and by whom. All of it is written down, so it is kept short and on one line; a withdrawal must not fail for
/// want of words.
#[derive(Deserialize)]
struct Said {
    by: Option<String>,
    reason: Option<String>,
    at: Option<String>,
    photo_sha256: Option<String>,
}

/// Whom somebody in front of a stream's camera says they are.
#[derive(Deserialize)]
struct Claimed {
    person: String,
    within_s: Option<u64>,
}

impl Claimed {
    fn within(&self) -> Duration {
        self.within_s.map_or(DEFAULT_CLAIM, Duration::from_secs).clamp(Duration::from_secs(1), MAX_CLAIM)
    }
}

const MAX_PERSON_CHARS: usize = 128;
const MAX_NAME_CHARS: usize = 200;
const MAX_REASON_CHARS: usize = 1_000;

impl Said {
    /// Whoever does not say who they are is the socket's user, whoever that is.
    fn by(&self) -> String {
        let by = one_line(self.by.as_deref(), MAX_NAME_CHARS);
        if by.is_empty() { "control socket".to_owned() } else { by }
    }
    fn withdraw(&self, appliance: &dyn Appliance, id: &str) -> Result<SignView, ActionError> {
        appliance.withdraw_sign(id, &self.by(), &one_line(self.reason.as_deref(), MAX_REASON_CHARS))
    }
    /// An inspection without a name is none: nobody's name is put in its place.
    fn inspect(&self, appliance: &dyn Appliance, id: &str) -> Result<SignView, ActionError> {
        let by = one_line(self.by.as_deref(), MAX_NAME_CHARS);
        appliance.inspect_sign(id, InspectionNote { by, at: self.at.clone(), photo_sha256: self.photo_sha256.clone() })
    }
}

fn one_line(text: Option<&str>, most_chars: usize) -> String {
    let spaced: String = text.unwrap_or_default().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    spaced.trim().chars().take(most_chars).collect()
}

fn latency(appliance: &dyn Appliance) -> Vec<StepView> {
    appliance.latencies().iter().map(StepView::from).collect()
}
fn curves(appliance: &dyn Appliance) -> Vec<CurveView> {
    appliance.latencies().iter().map(CurveView::from).collect()
}

/// The body of every answer that is not a success.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ErrorBody {
    pub error: String,
    pub kind: String,
    /// The rule, the fact and the remedy, where a rule said no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

fn refuse(status: StatusCode, kind: &str, error: impl Into<String>) -> Response {
    because(status, kind, error.into(), None)
}

fn because(status: StatusCode, kind: &str, error: String, reason: Option<Reason>) -> Response {
    (status, Json(ErrorBody { error, kind: kind.to_owned(), reason })).into_response()
}

/// Runs `question` on a blocking thread and answers with its JSON.
pub(super) async fn ask<T, F>(State(appliance): State<Shared>, question: F) -> Response
where
    T: Serialize + Send + 'static,
    F: FnOnce(&dyn Appliance) -> T + Send + 'static,
{
    match tokio::task::spawn_blocking(move || question(&*appliance)).await {
        Ok(answer) => Json(answer).into_response(),
        Err(_panicked) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "failed", "the appliance broke while answering; see its log"),
    }
}

async fn act<T, F>(State(appliance): State<Shared>, action: F) -> Response
where
    T: Serialize + Send + 'static,
    F: FnOnce(&dyn Appliance) -> Result<T, ActionError> + Send + 'static,
{
    match tokio::task::spawn_blocking(move || action(&*appliance)).await {
        Ok(Ok(done)) => Json(done).into_response(),
        Ok(Err(error)) => {
            let (status, kind) = match &error {
                ActionError::NotFound(_) => (StatusCode::NOT_FOUND, "not-found"),
                ActionError::Refused(_) | ActionError::Law(_) => (StatusCode::FORBIDDEN, "refused"),
                ActionError::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid"),
                ActionError::Failed(_) => (StatusCode::INTERNAL_SERVER_ERROR, "failed"),
            };
            let said = error.to_string();
            because(status, kind, said, if let ActionError::Law(reason) = error { Some(reason) } else { None })
        }
        Err(_panicked) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "failed", "the appliance broke while doing it; see its log"),
    }
}

async fn nothing_here(uri: axum::http::Uri) -> Response {
    refuse(StatusCode::NOT_FOUND, "not-found", format!("nothing answers at {}", uri.path()))
}

async fn wrong_method() -> Response {
    refuse(StatusCode::METHOD_NOT_ALLOWED, "refused", "reading is GET, acting is POST")
}
