//! Webhook sink: each event is one POST of one JSON object; delivered means a 2xx answer.
//!
//! Everything else is tried again, 4xx too: a receiver that is misconfigured today must not lose what happened meanwhile, and a
//! refused event holds up only this sink, visibly (`placard_emit_webhook_failing`). Receivers recognise repetitions by the
//! `Idempotency-Key`. Redirects are not followed (the token would follow them) and proxies from the environment are not used.
//!
//! Owning thread: `emit-webhook`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use super::journal::reader::Record;
use super::sink::{Sink, SinkError};
use crate::config::schema::Webhook;
use crate::ingest::credential::read_private;

#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    #[error("[emit.webhook] url: `{0}` must begin with http:// or https://")]
    Scheme(String),
    #[error("[emit.webhook] url must not contain a user or password: use credential_file")]
    CredentialInUrl,
    #[error("[emit.webhook] {key} {path}: {reason}")]
    File { key: &'static str, path: PathBuf, reason: String },
}

pub struct WebhookSink {
    agent: ureq::Agent,
    url: String,
    /// `Bearer …`. Never printed.
    authorization: Option<String>,
}

/// Where Debian and its relatives keep the system's authorities.
const SYSTEM_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

impl WebhookSink {
    pub fn new(config: &Webhook) -> Result<Self, WebhookError> {
        let rest = config.url.strip_prefix("http://").or_else(|| config.url.strip_prefix("https://"));
        let rest = rest.ok_or_else(|| WebhookError::Scheme(config.url.clone()))?;
        if rest.split('/').next().is_some_and(|host| host.contains('@')) {
            return Err(WebhookError::CredentialInUrl);
        }
        let authorization = config.credential_file.as_deref().map(read_token).transpose()?;
        let roots = match &config.ca_file {
            Some(path) => read_authorities(path)?,
            // The bundled list stands in where the system has none.
            None => read_authorities(Path::new(SYSTEM_AUTHORITIES)).unwrap_or(RootCerts::WebPki),
        };
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_millis(config.timeout_ms.max(1))))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent(concat!("placard/", env!("CARGO_PKG_VERSION")))
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .build()
            .new_agent();
        Ok(Self { agent, url: config.url.clone(), authorization })
    }
}

fn read_token(path: &Path) -> Result<String, WebhookError> {
    let file = |reason: String| WebhookError::File { key: "credential_file", path: path.to_owned(), reason };
    let text = read_private(path).map_err(|e| file(e.to_string()))?;
    let token = text.lines().next().unwrap_or_default().trim();
    if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(file("its first line must be the token: printable ASCII without spaces".to_owned()));
    }
    Ok(format!("Bearer {token}"))
}

fn read_authorities(path: &Path) -> Result<RootCerts, WebhookError> {
    let file = |reason: String| WebhookError::File { key: "ca_file", path: path.to_owned(), reason };
    let pem = std::fs::read(path).map_err(|e| file(e.to_string()))?;
    let certificates: Vec<Certificate<'static>> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(file("holds no PEM certificate".to_owned()));
    }
    Ok(RootCerts::from(certificates))
}

impl Sink for WebhookSink {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn deliver(&mut self, record: &Record) -> Result<(), SinkError> {
        let mut request = self.agent.post(&self.url).content_type("application/json").header("Idempotency-Key", &record.id);
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        let mut response = request.send(&record.json[..]).map_err(|e| SinkError::Unavailable(e.to_string()))?;
        let status = response.status();
        if status.is_success() {
            // Reading a short answer to its end lets the connection be used again; what it says does not matter.
            let _answer = response.body_mut().with_config().limit(64 << 10).read_to_vec();
            return Ok(());
        }
        Err(SinkError::Refused(format!("the webhook answered {status}")))
    }
}

impl fmt::Debug for WebhookSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookSink").field("url", &self.url).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn config(url: &str) -> Webhook {
        Webhook { url: url.to_owned(), timeout_ms: 1_000, credential_file: None, ca_file: None }
    }

    #[test]
    fn addresses_and_credentials_are_checked_before_start_and_never_shown() {
        assert!(matches!(WebhookSink::new(&config("ftp://x/")), Err(WebhookError::Scheme(_))));
        let error = WebhookSink::new(&config("https://me:hunter2@x/y")).expect_err("credentials do not belong there");
        assert!(!error.to_string().contains("hunter2"));
        let file = tempfile::NamedTempFile::new().expect("temporary file");
        std::fs::write(file.path(), "hunter2\n").expect("written");
        let with_token = Webhook { credential_file: Some(file.path().to_owned()), ..config("https://x/y") };
        assert!(!format!("{:?}", WebhookSink::new(&with_token).expect("valid")).contains("hunter2"));
        let with_ca = Webhook { ca_file: Some(file.path().to_owned()), ..config("https://x/y") };
        assert!(WebhookSink::new(&with_ca).expect_err("no certificate in it").to_string().contains("no PEM certificate"));
        // As `check` says before the start.
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o644)).expect("set");
        let exposed = WebhookSink::new(&with_token).expect_err("others can read it").to_string();
        assert!(exposed.contains("0644") && exposed.contains("chmod 600") && !exposed.contains("hunter2"), "{exposed}");
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o600)).expect("set");
        std::fs::write(file.path(), "two words\n").expect("written");
        assert!(!WebhookSink::new(&with_token).expect_err("not a token").to_string().contains("two words"));
    }
}
