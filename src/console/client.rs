//! The other end of the control socket: what commands ask a running appliance with. Blocking; one connection a question.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::api::ErrorBody;
use crate::policy::rules::Reason;

/// The largest answer is a status of a thousand streams: about 2 MiB.
const MAX_ANSWER_BYTES: usize = 32 << 20;
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no appliance answers at {} ({reason}): start one with `placard run PIPELINE`, or name its state directory with --state", socket.display())]
    NotRunning { socket: PathBuf, reason: String },
    #[error("{} may not be used by this user: join the group `placard`, or use sudo", .0.display())]
    Forbidden(PathBuf),
    #[error("the appliance did not answer within {} s: look at its log, and at `systemctl status placard`", .0.as_secs())]
    Timeout(Duration),
    /// The appliance answered that it will not or cannot; `kind` as in `console::api`, `reason` where a rule said no.
    #[error("{message}")]
    Declined { kind: String, message: String, reason: Option<Reason> },
    #[error("the answer at {} makes no sense: {reason}", socket.display())]
    Nonsense { socket: PathBuf, reason: String },
    #[error("cannot ask the appliance: {0}")]
    Io(io::Error),
}

/// Asks one appliance.
pub struct Client {
    socket: PathBuf,
    timeout: Duration,
    runtime: tokio::runtime::Runtime,
}

impl Client {
    /// `socket`: `StateDirectory::control_socket()`. Nothing is connected yet.
    pub fn new(socket: impl Into<PathBuf>) -> Result<Self, ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ClientError::Io)?;
        Ok(Self { socket: socket.into(), timeout: DEFAULT_TIMEOUT, runtime })
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// `GET path`, read as `T`.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.read(&self.ask(Method::GET, path, Bytes::new())?)
    }

    /// `POST path`, the answer read as `T`.
    pub fn post<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.read(&self.ask(Method::POST, path, Bytes::new())?)
    }

    /// `POST path` with a body, the answer read as `T`.
    pub fn post_json<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|e| ClientError::Io(io::Error::other(e)))?;
        self.read(&self.ask(Method::POST, path, Bytes::from(body))?)
    }

    fn read<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(body).map_err(|e| self.nonsense(e))
    }

    fn nonsense(&self, reason: impl ToString) -> ClientError {
        ClientError::Nonsense { socket: self.socket.clone(), reason: reason.to_string() }
    }

    fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, ClientError> {
        let answer = self.runtime.block_on(async { tokio::time::timeout(self.timeout, self.exchange(method, path, body)).await });
        let (status, body) = answer.map_err(|_elapsed| ClientError::Timeout(self.timeout))??;
        if status.is_success() {
            return Ok(body);
        }
        match serde_json::from_slice::<ErrorBody>(&body) {
            Ok(said) => Err(ClientError::Declined { kind: said.kind, message: said.error, reason: said.reason }),
            Err(_) => Err(self.nonsense(format!("status {status}"))),
        }
    }

    async fn exchange(&self, method: Method, path: &str, body: Bytes) -> Result<(StatusCode, Bytes), ClientError> {
        let stream = tokio::net::UnixStream::connect(&self.socket).await.map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => ClientError::Forbidden(self.socket.clone()),
            _ => ClientError::NotRunning { socket: self.socket.clone(), reason: error.to_string() },
        })?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| self.nonsense(e))?;
        let mut request = Request::builder().method(method).uri(path).header("host", "placard");
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        let request = request.body(Full::new(body));
        let request = request.map_err(|e| self.nonsense(e))?;
        let asked = async {
            let answer = sender.send_request(request).await.map_err(|e| self.nonsense(e))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await.map_err(|e| self.nonsense(e))?;
            Ok((status, body.to_bytes()))
        };
        // The connection must be driven while the answer is awaited; when it ends first, the answer's own error says why.
        let mut asked = std::pin::pin!(asked);
        tokio::select! {
            answer = &mut asked => answer,
            _ended = connection => asked.await,
        }
    }
}

/// One segment of a path, with everything escaped that is not plainly a name.
pub fn segment(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}
