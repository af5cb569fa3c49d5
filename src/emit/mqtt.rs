//! MQTT 3.1.1 sink: `<prefix>/<stream>/events` at QoS 1; delivered means the broker's PUBACK.
//!
//! Presence: `<prefix>/available` is retained, `online` from each connection on, `offline` on a clean stop, and `offline` by last will
//! when the connection breaks.
//!
//! One event is under way at a time, so order is kept. A session that fails in any way is thrown away whole, with its connection: the
//! next attempt begins with a new one, and nothing half-sent is repeated behind the sink's back.
//!
//! Owning threads: `emit-mqtt` (the sink) and, per session, `emit-mqtt-net`, which drives the client's event loop.

use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use rumqttc::{AsyncClient, Event, EventLoop, LastWill, MqttOptions, Packet, PublishOptions, QoS, TlsConfiguration, Transport};
use tokio::sync::mpsc;

use super::backoff::{Backoff, Pauses};
use super::journal::reader::Record;
use super::sink::{Sink, SinkError};
use crate::config::schema::Mqtt;
use crate::ingest::credential::read_private;

#[derive(Debug, thiserror::Error)]
pub enum MqttError {
    #[error("[emit.mqtt] url: {0}: use mqtt://host:1883 or mqtts://host:8883")]
    Url(&'static str),
    #[error("[emit.mqtt] topic_prefix: `{0}` must not be empty, begin or end with `/`, or contain `+`, `#` or control characters")]
    Prefix(String),
    #[error("[emit.mqtt] {key} {path}: {reason}")]
    File { key: &'static str, path: PathBuf, reason: String },
    #[error("[emit.mqtt] TLS: {0}")]
    Tls(String),
}

/// How long a connection, and then a PUBACK, may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);
const KEEP_ALIVE_S: u16 = 15;
/// Larger packets than any event; the broker's own limit may be lower.
const MAX_PACKET_BYTES: usize = 2 << 20;

pub struct MqttSink {
    options: MqttOptions,
    prefix: String,
    session: Option<Session>,
    /// Attempts to connect while there is nothing to deliver.
    idle_backoff: Backoff,
    next_idle_attempt: Option<Instant>,
}

impl MqttSink {
    /// `pipeline`: the pipeline's name, for the default client identifier.
    pub fn new(config: &Mqtt, pipeline: &str) -> Result<Self, MqttError> {
        let prefix = config.topic_prefix.clone();
        let odd = prefix.starts_with('/') || prefix.ends_with('/') || prefix.contains(['+', '#']) || prefix.contains(char::is_control);
        if prefix.is_empty() || odd {
            return Err(MqttError::Prefix(prefix));
        }
        let address = Address::parse(&config.url)?;
        let client_id = config.client_id.clone().unwrap_or_else(|| format!("placard-{pipeline}"));
        let mut options = MqttOptions::new(client_id, (address.host, address.port));
        options.set_keep_alive(KEEP_ALIVE_S);
        options.set_clean_session(true);
        options.set_max_packet_size(64 << 10, MAX_PACKET_BYTES);
        options.set_last_will(LastWill::new(availability(&prefix), "offline", QoS::AtLeastOnce, true));
        if let Some(path) = &config.credential_file {
            let (user, password) = read_credential(path)?;
            options.set_credentials(user, password);
        }
        if address.tls {
            options.set_transport(Transport::tls_with_config(tls(config.ca_file.as_deref())?));
        }
        let idle_backoff = Backoff::new(Pauses { first: Duration::from_secs(1), longest: Duration::from_secs(30) });
        Ok(Self { options, prefix, session: None, idle_backoff, next_idle_attempt: None })
    }

    fn session(&mut self) -> Result<&Session, SinkError> {
        if self.session.as_ref().is_some_and(|s| !s.is_alive()) {
            self.session = None;
        }
        match &mut self.session {
            Some(session) => Ok(session),
            none => Ok(none.insert(Session::connect(self.options.clone(), availability(&self.prefix))?)),
        }
    }
}

fn availability(prefix: &str) -> String {
    format!("{prefix}/available")
}

fn tls(ca_file: Option<&Path>) -> Result<TlsConfiguration, MqttError> {
    let Some(path) = ca_file else { return TlsConfiguration::try_default_rustls().map_err(|e| MqttError::Tls(e.to_string())) };
    let ca = std::fs::read(path).map_err(|e| MqttError::File { key: "ca_file", path: path.to_owned(), reason: e.to_string() })?;
    Ok(TlsConfiguration::Simple { ca, alpn: None, client_auth: None })
}

fn read_credential(path: &Path) -> Result<(String, String), MqttError> {
    let file = |reason: String| MqttError::File { key: "credential_file", path: path.to_owned(), reason };
    let text = read_private(path).map_err(|e| file(e.to_string()))?;
    let pair = text.lines().next().and_then(|line| line.split_once(':'));
    let (user, password) = pair.ok_or_else(|| file("its first line must be `user:password`".to_owned()))?;
    Ok((user.to_owned(), password.to_owned()))
}

#[derive(Debug, PartialEq, Eq)]
struct Address {
    tls: bool,
    host: String,
    port: u16,
}

impl Address {
    /// No message repeats the address: somebody may have put a password in it.
    fn parse(url: &str) -> Result<Self, MqttError> {
        let (tls, rest) = match (url.strip_prefix("mqtt://"), url.strip_prefix("mqtts://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => return Err(MqttError::Url("unknown scheme")),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains('@') {
            return Err(MqttError::Url("user and password belong in credential_file"));
        }
        if authority.contains(['/', '?', '#']) {
            return Err(MqttError::Url("nothing may follow host and port"));
        }
        let (host, port) = match authority.rsplit_once(':') {
            // `[::1]` without a port ends in `]`.
            Some((host, port)) if !authority.ends_with(']') => {
                (host, port.parse().map_err(|_| MqttError::Url("the port is not a number"))?)
            }
            _ => (authority, if tls { 8_883 } else { 1_883 }),
        };
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() {
            return Err(MqttError::Url("no host"));
        }
        Ok(Self { tls, host: host.to_owned(), port })
    }
}

impl Sink for MqttSink {
    fn name(&self) -> &'static str {
        "mqtt"
    }

    fn deliver(&mut self, record: &Record) -> Result<(), SinkError> {
        let topic = format!("{}/{}/events", self.prefix, record.stream);
        let done = self.session().and_then(|s| s.publish(topic, record.json.clone()));
        if done.is_err() {
            // Dropped without DISCONNECT: the broker publishes the last will, which is the truth.
            self.session = None;
        }
        done
    }

    fn idle(&mut self) {
        if self.session.as_ref().is_some_and(Session::is_alive) {
            return;
        }
        let now = Instant::now();
        if self.next_idle_attempt.is_some_and(|at| now < at) {
            return;
        }
        match self.session() {
            Ok(_) => {
                self.idle_backoff.succeeded();
                self.next_idle_attempt = None;
            }
            Err(error) => {
                if self.idle_backoff.failures() == 0 {
                    tracing::warn!(%error, "no connection to the MQTT broker; trying again");
                }
                self.next_idle_attempt = Some(now + self.idle_backoff.failed());
            }
        }
    }

    fn close(&mut self) {
        if let Some(session) = self.session.take() {
            session.disconnect();
        }
    }
}

enum Request {
    Publish(Outgoing),
    /// Send DISCONNECT, so that the broker keeps the last will to itself.
    Goodbye,
}

struct Outgoing {
    topic: String,
    payload: Vec<u8>,
    retained: bool,
    /// Gets the outcome; dropped if the session ends first.
    done: Sender<Result<(), String>>,
}

/// One connection. Its thread ends when the connection fails, after a goodbye, or, without one, as soon as `requests` is dropped.
struct Session {
    requests: mpsc::UnboundedSender<Request>,
    availability: String,
    thread: Option<JoinHandle<()>>,
    /// The last words of the thread.
    failure: Receiver<String>,
}

impl Session {
    /// Connects and announces presence.
    fn connect(options: MqttOptions, availability: String) -> Result<Self, SinkError> {
        let (requests, receiver) = mpsc::unbounded_channel();
        let (ready, connected) = bounded(1);
        let (last_words, failure) = bounded(1);
        let run = move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => {
                    let _nobody = last_words.try_send(error.to_string());
                    return;
                }
            };
            let ended = runtime.block_on(drive(options, receiver, ready));
            let _nobody = last_words.try_send(ended);
        };
        let thread = std::thread::Builder::new().name("emit-mqtt-net".to_owned()).spawn(run);
        let thread = thread.map_err(|e| SinkError::Unavailable(format!("no thread for the MQTT connection: {e}")))?;
        let session = Self { requests, availability, thread: Some(thread), failure };
        let reason = match connected.recv_timeout(ANSWER_TIMEOUT) {
            Ok(()) => None,
            Err(RecvTimeoutError::Disconnected) => Some(session.last_words()),
            Err(RecvTimeoutError::Timeout) => Some(format!("no answer within {ANSWER_TIMEOUT:?}")),
        };
        if let Some(reason) = reason {
            return Err(SinkError::Unavailable(format!("connecting to the MQTT broker: {reason}")));
        }
        session.send(session.availability.clone(), b"online".to_vec(), true)?;
        Ok(session)
    }

    /// Why the session ended. Only for a session that has: its thread is about to say it, or has hung up.
    fn last_words(&self) -> String {
        self.failure.recv().unwrap_or_else(|_| "connection lost".to_owned())
    }

    fn is_alive(&self) -> bool {
        self.thread.as_ref().is_some_and(|t| !t.is_finished())
    }

    fn publish(&self, topic: String, payload: Vec<u8>) -> Result<(), SinkError> {
        self.send(topic, payload, false)
    }

    fn send(&self, topic: String, payload: Vec<u8>, retained: bool) -> Result<(), SinkError> {
        let (done, outcome) = bounded(1);
        let gone = || SinkError::Unavailable(format!("MQTT: {}", self.last_words()));
        self.requests.send(Request::Publish(Outgoing { topic, payload, retained, done })).map_err(|_| gone())?;
        match outcome.recv_timeout(ANSWER_TIMEOUT) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(reason)) => Err(SinkError::Refused(format!("MQTT: {reason}"))),
            Err(RecvTimeoutError::Disconnected) => Err(gone()),
            Err(RecvTimeoutError::Timeout) => Err(SinkError::Unavailable(format!("MQTT: no PUBACK within {ANSWER_TIMEOUT:?}"))),
        }
    }

    /// `offline`, then DISCONNECT.
    fn disconnect(mut self) {
        if self.is_alive() {
            let _best_effort = self.send(self.availability.clone(), b"offline".to_vec(), true);
        }
        let _ended_already = self.requests.send(Request::Goodbye);
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

/// Drives one connection until it fails; says why it ended.
async fn drive(options: MqttOptions, requests: mpsc::UnboundedReceiver<Request>, ready: Sender<()>) -> String {
    let (client, mut eventloop) = AsyncClient::builder(options).capacity(8).build();
    // Neither half is ever cancelled and resumed: the first to end ends the session.
    tokio::select! {
        reason = poll(&mut eventloop, &ready) => reason,
        reason = serve(client, requests) => reason,
    }
}

async fn poll(eventloop: &mut EventLoop, ready: &Sender<()>) -> String {
    loop {
        match eventloop.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                let _already = ready.try_send(());
            }
            Ok(_) => {}
            Err(error) => return error.to_string(),
        }
    }
}

async fn serve(client: AsyncClient, mut requests: mpsc::UnboundedReceiver<Request>) -> String {
    while let Some(request) = requests.recv().await {
        let Request::Publish(Outgoing { topic, payload, retained, done }) = request else {
            if client.disconnect().await.is_ok() {
                // `poll` ends the session once the DISCONNECT is out.
                let _ended_by_poll = tokio::time::timeout(GOODBYE_TIMEOUT, std::future::pending::<()>()).await;
            }
            break;
        };
        let options = PublishOptions::new(QoS::AtLeastOnce);
        let options = if retained { options.retained() } else { options };
        let published = async {
            match client.publish_tracked(topic, payload, options).await {
                Ok(notice) => notice.wait_completion_async().await.map_err(|e| e.to_string()),
                Err(error) => Err(error.to_string()),
            }
        };
        // The sink asks one thing at a time: if it says anything more, or hangs up, it has given this up, and the session with it. Waiting on
        // for a broker that hangs would hold up the stop.
        let outcome = tokio::select! {
            outcome = published => outcome,
            _given_up = requests.recv() => break,
        };
        let _nobody_waits = done.try_send(outcome);
    }
    "closed".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_understood_and_passwords_in_them_are_refused_without_being_repeated() {
        let address = |tls, host: &str, port| Address { tls, host: host.to_owned(), port };
        assert_eq!(Address::parse("mqtt://broker").expect("valid"), address(false, "broker", 1_883));
        assert_eq!(Address::parse("mqtts://broker/").expect("valid"), address(true, "broker", 8_883));
        assert_eq!(Address::parse("mqtt://[::1]:77").expect("valid"), address(false, "::1", 77));
        assert_eq!(Address::parse("mqtt://[::1]").expect("valid"), address(false, "::1", 1_883));
        for bad in ["http://x", "mqtt://", "mqtt://x:y", "mqtt://x:99999", "mqtt://x/topic", "mqtt://:1"] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
        let error = Address::parse("mqtt://me:hunter2@x").expect_err("credentials do not belong there");
        assert!(!error.to_string().contains("hunter2"));
    }

    #[test]
    fn prefixes_that_would_be_wildcards_are_refused() {
        let config = |prefix: &str| Mqtt {
            url: "mqtt://x".to_owned(),
            client_id: None,
            topic_prefix: prefix.to_owned(),
            credential_file: None,
            ca_file: None,
        };
        assert!(MqttSink::new(&config("site/placard"), "p").is_ok());
        for bad in ["", "/a", "a/", "a/+", "#", "a\n"] {
            assert!(matches!(MqttSink::new(&config(bad), "p"), Err(MqttError::Prefix(_))), "{bad:?}");
        }
    }
}
