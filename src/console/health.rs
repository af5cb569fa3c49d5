//! `/live`, `/ready`, `/metrics`: all that TCP (loopback) ever answers. Nothing here changes anything or names a person.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::Appliance;
use super::metrics::Metrics;

struct Shared {
    appliance: Arc<dyn Appliance>,
    metrics: Metrics,
}

/// The three paths, and a 404 for the rest.
pub(super) fn router(appliance: Arc<dyn Appliance>) -> Router {
    let metrics = Metrics::of(Arc::clone(&appliance));
    Router::new()
        .route("/live", get(|| async { "live\n" }))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics_text))
        .with_state(Arc::new(Shared { appliance, metrics }))
}

/// 200 or 503, with the reasons: a load balancer reads the status, a human the text.
async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    let Ok(readiness) = tokio::task::spawn_blocking(move || shared.appliance.readiness()).await else {
        return (StatusCode::SERVICE_UNAVAILABLE, "the appliance broke while answering\n").into_response();
    };
    if readiness.ready {
        return "ready\n".into_response();
    }
    let reasons = readiness.reasons.iter().map(|r| format!("not ready: {r}\n")).collect::<String>();
    let text = if reasons.is_empty() { "not ready\n".to_owned() } else { reasons };
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

async fn metrics_text(State(shared): State<Arc<Shared>>) -> Response {
    match tokio::task::spawn_blocking(move || shared.metrics.text()).await {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response(),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "metrics could not be written\n").into_response(),
    }
}
