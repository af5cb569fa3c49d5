//! The console's thread: binds, serves, stops.
//!
//! [`Console::start`] has bound everything when it returns, so "ready" means that clients get through. The socket is made under a
//! temporary name, given its mode and then renamed into place: it never exists with wider permissions, and a client never finds
//! half of it. Nobody can hold what others need: each listener keeps a bounded number of connections of its own, each of which has its
//! question asked and answered within a bounded time. A socket file that nobody listens on is left over from a crash and is replaced; one that answers belongs to another
//! appliance, and starting fails.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::{Semaphore, oneshot};

use super::{Appliance, api, health, public};
use crate::decide::answers::MAX_WAITING;

/// Owner and group may speak to the appliance, nobody else.
const SOCKET_MODE: u32 = 0o660;
/// Threads for what may block: enough that a slow reload leaves status answering, and that all who wait for a face leave a sign's withdrawal
/// room.
const BLOCKING_THREADS: usize = 4 + MAX_WAITING;
/// Connections that each listener holds at once; more wait in the kernel, where they cost this process no descriptor. The listeners share
/// nothing, so whoever fills loopback does not delay a sign's withdrawal.
pub(super) const MAX_TCP_CONNECTIONS: usize = 64;
pub(super) const MAX_SOCKET_CONNECTIONS: usize = 32;
/// Within this time a client has asked; then it is hung up on.
const MAX_ASKING: Duration = Duration::from_secs(5);
/// Within this time it has its answer, and has taken it. An action that is under way goes on.
const MAX_EXCHANGE: Duration = Duration::from_secs(30);
/// A request line and its headers. What is said of a sign is in the line; a change of the register is a body.
const MAX_REQUEST_BYTES: usize = 64 << 10;
const TICK: Duration = Duration::from_secs(1);
/// How long an action that is under way at the end may take to finish.
const STOP_GRACE: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    #[error("another appliance answers at {}: stop it first, or use another state directory (--state)", .0.display())]
    AlreadyRunning(PathBuf),
    #[error("control socket {}: {source}{}", path.display(), socket_advice(path, source))]
    Socket { path: PathBuf, source: io::Error },
    #[error("cannot listen on {address}: {source} (set `[http] {key}` to another port, or to `none`)")]
    Listen { key: &'static str, address: SocketAddr, source: io::Error },
    #[error("the console's thread cannot start: {0}")]
    Thread(io::Error),
}

fn socket_advice(path: &Path, source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::NotFound => " (its directory does not exist; systemd makes /run/placard, `--state DIR` makes its own)",
        io::ErrorKind::PermissionDenied => " (run as the service's user, or use another state directory: --state DIR)",
        // The address of a Unix socket holds 107 bytes.
        _ if path.as_os_str().len() > 90 => " (the path is too long for a socket: use a shorter state directory)",
        _ => "",
    }
}

/// Where the console listens besides its socket. `None`: nowhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// Health and metrics.
    pub loopback: Option<SocketAddr>,
    /// The public status page.
    pub public: Option<SocketAddr>,
}

/// The running console. Dropping it stops it and removes its socket.
pub struct Console {
    socket: PathBuf,
    http: Option<SocketAddr>,
    public: Option<SocketAddr>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Console {
    /// Binds `socket` and the addresses that are given; answers from then on.
    pub fn start(appliance: Arc<dyn Appliance>, socket: &Path, addresses: Addresses) -> Result<Self, ConsoleError> {
        let tcp = addresses.loopback.map(|at| listen("listen", at)).transpose()?;
        let public = addresses.public.map(|at| listen("public", at)).transpose()?;
        let bound = |listener: &Option<std::net::TcpListener>| listener.as_ref().and_then(|t| t.local_addr().ok());
        let (http, open) = (bound(&tcp), bound(&public));
        let unix = bind(socket)?;
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_THREADS)
            .thread_name("console-work")
            .build()
            .map_err(ConsoleError::Thread)?;
        let thread = std::thread::Builder::new().name("console".into()).spawn(move || {
            runtime.block_on(serve(appliance, unix, (tcp, public), stopped));
            runtime.shutdown_timeout(STOP_GRACE);
        });
        let thread = thread.map_err(ConsoleError::Thread)?;
        Ok(Self { socket: socket.to_owned(), http, public: open, stop: Some(stop), thread: Some(thread) })
    }

    /// The loopback address in use; says which port `127.0.0.1:0` became.
    pub const fn http_address(&self) -> Option<SocketAddr> {
        self.http
    }

    /// Where the public page is.
    pub const fn public_address(&self) -> Option<SocketAddr> {
        self.public
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        // Removed first: a client that comes now is told that nothing runs, instead of waiting.
        let _already_gone = std::fs::remove_file(&self.socket);
        drop(self.stop.take());
        if let Some(Err(_panicked)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the console's thread had panicked");
        }
    }
}

fn listen(key: &'static str, address: SocketAddr) -> Result<std::net::TcpListener, ConsoleError> {
    let bound = std::net::TcpListener::bind(address).and_then(|l| l.set_nonblocking(true).map(|()| l));
    bound.map_err(|source| ConsoleError::Listen { key, address, source })
}

fn bind(path: &Path) -> Result<UnixListener, ConsoleError> {
    let failed = |source| ConsoleError::Socket { path: path.to_owned(), source };
    match UnixStream::connect(path) {
        Ok(_answered) => return Err(ConsoleError::AlreadyRunning(path.to_owned())),
        Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => {}
        Err(error) => return Err(failed(error)),
    }
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let _left_over = std::fs::remove_file(&temporary);
    let bound = (|| {
        let listener = UnixListener::bind(&temporary)?;
        std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(SOCKET_MODE))?;
        listener.set_nonblocking(true)?;
        std::fs::rename(&temporary, path)?;
        Ok(listener)
    })();
    bound.map_err(|source| {
        let _left_over = std::fs::remove_file(&temporary);
        failed(source)
    })
}

/// Serves one question per connection, at most `most` connections at once.
async fn answer<L: Listener>(mut listener: L, router: Router, most: usize) {
    let places = Arc::new(Semaphore::new(most));
    // A place first: nobody is accepted whom there is no place for. The semaphore is never closed.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let (stream, _peer) = listener.accept().await;
        let service = TowerToHyperService::new(router.clone());
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(MAX_ASKING).max_buf_size(MAX_REQUEST_BYTES).keep_alive(false);
        tokio::spawn(async move {
            // How it ended is the client's affair.
            let _ended = tokio::time::timeout(MAX_EXCHANGE, http.serve_connection(TokioIo::new(stream), service)).await;
            drop(place);
        });
    }
}

/// Serves `router` there, if anywhere.
async fn answer_tcp(listener: Option<std::net::TcpListener>, router: Router) -> io::Result<()> {
    match listener {
        Some(listener) => answer(tokio::net::TcpListener::from_std(listener)?, router, MAX_TCP_CONNECTIONS).await,
        None => std::future::pending().await,
    }
    Ok(())
}

async fn serve(
    appliance: Arc<dyn Appliance>,
    unix: UnixListener,
    (tcp, public): (Option<std::net::TcpListener>, Option<std::net::TcpListener>),
    mut stopped: oneshot::Receiver<()>,
) {
    let control = async {
        let listener = tokio::net::UnixListener::from_std(unix)?;
        answer(listener, api::router(Arc::clone(&appliance)), MAX_SOCKET_CONNECTIONS).await;
        Ok::<_, io::Error>(())
    };
    let open = answer_tcp(tcp, health::router(Arc::clone(&appliance)));
    let seen_by_all = answer_tcp(public, public::router(Arc::clone(&appliance)));
    let ticking = async {
        let mut interval = tokio::time::interval(TICK);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            interval.tick().await;
            appliance.tick();
        }
    };
    tokio::select! {
        // The sender is only ever dropped.
        _ = &mut stopped => {}
        ended = control => tracing::error!("the control socket stopped: {ended:?}"),
        ended = open => tracing::error!("the loopback listener stopped: {ended:?}"),
        ended = seen_by_all => tracing::error!("the public listener stopped: {ended:?}"),
        () = ticking => {}
    }
}
