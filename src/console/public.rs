//! The public status page: what is done in each zone at this moment, by whom, and where to turn to (C15; PIPL Art. 17, GDPR Art. 13).
//!
//! | path | answer |
//! |---|---|
//! | `GET /` | a page in Chinese and English, without scripts |
//! | `GET /status.json` | [`PublicView`] |
//!
//! On an address of its own (`[http] public`), reachable from outside, read-only; it knows nothing of the control API. It names no camera,
//! no case and no person. What it says is the policy thread's own board and register, looked at anew for whoever asks, at
//! most every half second, so that no crowd of readers keeps the console from a sign's withdrawal: while that thread is
//! silent, leases run out, and the page says that everything is paused. TLS is a reverse proxy's affair.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Appliance;
use crate::purpose::PurposeKind;
use crate::signs::wording::{Language, Regime, purpose, wording};

/// `GET /status.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PublicView {
    /// When it was looked at (RFC 3339, UTC).
    pub at: String,
    pub site: String,
    pub controller: String,
    pub contact: String,
    /// The regimes that the site is under.
    pub profiles: Vec<String>,
    /// In the register's order.
    pub zones: Vec<PublicZone>,
    /// The newest checkpoint of the evidence log that a witness signed. `None`: this version keeps no such log yet.
    pub checkpoint: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PublicZone {
    pub id: String,
    /// `public`, `access`, `staff` or `private`.
    pub kind: String,
    /// The most that is done by any of its cameras: `off` (paused: no picture is looked at), `capture-only`, `detect` or `recognise`.
    pub state: String,
    /// Kinds of purposes in force at this moment; a case is never named.
    pub purposes: Vec<String>,
    /// Kinds of purposes that are declared for it, in force or not.
    pub declared: Vec<String>,
    /// Signs of it that hang, by the register.
    pub signs: usize,
}

/// For so long an answer is given again.
const FRESH: Duration = Duration::from_millis(500);

struct Shared {
    appliance: Arc<dyn Appliance>,
    /// Locked while it is made anew, also where whoever asked has gone: whoever else asks waits here, and one of the threads for what may
    /// block is in use at most.
    latest: Arc<Mutex<Option<(Instant, PublicView)>>>,
}

/// Both paths, and a 404 for the rest.
pub(super) fn router(appliance: Arc<dyn Appliance>) -> Router {
    let shared = Arc::new(Shared { appliance, latest: Arc::default() });
    Router::new()
        .route("/", get(|app: State<Arc<Shared>>| answer(app, |view| page(&view).into_response())))
        .route("/status.json", get(|app: State<Arc<Shared>>| answer(app, |view| Json(view).into_response())))
        .with_state(shared)
}

async fn latest(shared: &Shared) -> Option<PublicView> {
    let mut latest = Arc::clone(&shared.latest).lock_owned().await;
    if let Some((at, view)) = &*latest
        && at.elapsed() < FRESH
    {
        return Some(view.clone());
    }
    let appliance = Arc::clone(&shared.appliance);
    let made = tokio::task::spawn_blocking(move || {
        let view = appliance.public();
        *latest = view.clone().map(|view| (Instant::now(), view));
        view
    });
    made.await.ok().flatten()
}

async fn answer(State(shared): State<Arc<Shared>>, form: impl FnOnce(PublicView) -> Response) -> Response {
    let Some(view) = latest(&shared).await else {
        return (StatusCode::SERVICE_UNAVAILABLE, "being reloaded; try again in a moment\n").into_response();
    };
    let mut response = form(view);
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    headers.insert(header::CONTENT_SECURITY_POLICY, header::HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'"));
    response
}

const STYLE: &str = "body{font:1.05rem/1.5 system-ui,'Noto Sans CJK SC',sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem;color:#1b2430;\
background:#fff}h1{font-size:1.5rem;margin-bottom:.2rem}h2{font-size:1.1rem;margin:1.6rem 0 .4rem}section{border:1px solid #c9d2dc;border-left:.5rem solid \
#5b6b7b;border-radius:.3rem;padding:.6rem 1rem;margin:.8rem 0}section.recognise{border-left-color:#0a50a1}section.detect{border-left-color:#1f7a4d}\
section.off{border-left-color:#9aa7b4;background:#f5f7f9}b{font-size:1.05rem}ul{margin:.3rem 0;padding-left:1.2rem}small,footer{color:#51606e}";

/// What a state means, in Chinese and English.
const fn meaning(state: &[u8]) -> [&'static str; 2] {
    match state {
        b"recognise" => ["正在运行：识别人脸", "Running: faces are recognised"],
        b"detect" => ["正在运行：只检测，不识别身份", "Running: people are detected, nobody is identified"],
        b"capture-only" => ["只采集图像，不分析", "Pictures are taken, nobody looks for people in them"],
        _ => ["已暂停：不查看任何图像", "Paused: no picture is looked at"],
    }
}

fn page(view: &PublicView) -> Html<String> {
    let regime = view.profiles.iter().find_map(|p| p.parse().ok()).unwrap_or(Regime::CnPipl);
    let [site, controller, contact] = [&view.site, &view.controller, &view.contact].map(|t| escaped(t));
    let mut html = format!(
        "<!doctype html><html lang=\"zh\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta http-equiv=\"refresh\" content=\"15\"><title>{site}</title><style>{STYLE}</style><h1>{site}</h1>\
         <p>人脸识别设备的运行状态 · What the face recognition here is doing now</p>"
    );
    for zone in &view.zones {
        zone_of_page(&mut html, zone);
    }
    // Writing to a string cannot fail.
    let _ = write!(
        html,
        "<h2>个人信息处理者 · Controller</h2><p>{controller}</p><h2>联系方式 · Contact</h2><p>{contact}</p><h2>您的权利 · Your rights</h2><ul>"
    );
    for language in Language::ALL {
        for right in wording(regime, language).rights {
            let _ = write!(html, "<li>{right}</li>");
        }
    }
    let profiles = escaped(&view.profiles.join(", "));
    let checkpoint = view.checkpoint.as_deref().map_or_else(|| "无 none yet".to_owned(), escaped);
    let _ = write!(
        html,
        "</ul><footer><small>{} · {profiles} · 见证检查点 witnessed checkpoint: {checkpoint} · <a href=\"status.json\">JSON</a></small></footer></html>",
        escaped(&view.at)
    );
    Html(html)
}

fn zone_of_page(html: &mut String, zone: &PublicZone) {
    let [zh, en] = meaning(zone.state.as_bytes());
    let class = if ["recognise", "detect", "capture-only"].contains(&zone.state.as_str()) { zone.state.as_str() } else { "off" };
    let _ = write!(
        html,
        "<section class=\"{class}\"><h2>{} <small>({})</small></h2><b>{zh}<br>{en}</b>",
        escaped(&zone.id),
        escaped(&zone.kind)
    );
    let running = !zone.purposes.is_empty();
    let (shown, label) =
        if running { (&zone.purposes, "目的 · Purpose") } else { (&zone.declared, "暂停中的目的 · Purposes, not in force now") };
    if !shown.is_empty() {
        let _ = write!(html, "<p>{label}</p><ul>");
        for kind in PurposeKind::ALL.into_iter().filter(|k| shown.iter().any(|s| s == k.name())) {
            let _ = write!(html, "<li>{}<br>{}</li>", purpose(kind, Language::Chinese), purpose(kind, Language::English));
        }
        html.push_str("</ul>");
    }
    html.push_str("</section>");
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_says_what_is_done_names_no_case_and_lets_no_text_be_markup() {
        let zone = |id: &str, state: &str, purposes: &[&str]| PublicZone {
            id: id.to_owned(),
            kind: "public".to_owned(),
            state: state.to_owned(),
            purposes: purposes.iter().map(ToString::to_string).collect(),
            declared: vec!["missing-person".to_owned()],
            signs: 1,
        };
        let view = PublicView {
            site: "<script>alert(1)</script>".to_owned(),
            controller: "Transit \"Police\" & Co".to_owned(),
            profiles: vec!["uk-ico".to_owned()],
            zones: vec![zone("hall", "recognise", &["missing-person"]), zone("gate", "off", &[]), zone("lab", "no such state", &[])],
            ..PublicView::default()
        };
        let Html(html) = page(&view);
        assert!(!html.contains("<script>") && html.contains("&lt;script&gt;") && html.contains("&quot;Police&quot; &amp; Co"), "{html}");
        assert!(html.contains("To find people who are reported missing") && html.contains("ICO"), "{html}");
        assert_eq!((html.matches("Running:").count(), html.matches("Paused:").count()), (1, 2), "what is not known is not said to run");
        assert!(html.contains("Purposes, not in force now"));
    }
}
