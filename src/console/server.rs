//! The console's thread: binds, serves, stops.
//!
//! [`Console::start`] has bound everything when it returns, so "ready" means that clients get through. The socket is made under a
//! temporary name, given its mode and then renamed into place: it never exists with wider permissions, and a client never finds
//! half of it. A socket file that nobody listens on is left over from a crash and is replaced; one that answers belongs to another
//! appliance, and starting fails.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use super::{Appliance, api, health};

/// Owner and group may speak to the appliance, nobody else.
const SOCKET_MODE: u32 = 0o660;
/// Threads for what may block: enough that a slow reload leaves status answering.
const BLOCKING_THREADS: usize = 4;
const TICK: Duration = Duration::from_secs(1);
/// How long an action that is under way at the end may take to finish.
const STOP_GRACE: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    #[error("another appliance answers at {}: stop it first, or use another state directory (--state)", .0.display())]
    AlreadyRunning(PathBuf),
    #[error("control socket {}: {source}{}", path.display(), socket_advice(path, source))]
    Socket { path: PathBuf, source: io::Error },
    #[error("cannot listen on {address} for /metrics: {source} (set `[http] listen` to another port, to 127.0.0.1:0 or to `none`)")]
    Listen { address: SocketAddr, source: io::Error },
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

/// The running console. Dropping it stops it and removes its socket.
pub struct Console {
    socket: PathBuf,
    http: Option<SocketAddr>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Console {
    /// Binds `socket` and, where given, `http`; answers from then on.
    pub fn start(appliance: Arc<dyn Appliance>, socket: &Path, http: Option<SocketAddr>) -> Result<Self, ConsoleError> {
        let tcp = http.map(listen).transpose()?;
        let bound = tcp.as_ref().and_then(|t| t.local_addr().ok());
        let unix = bind(socket)?;
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_THREADS)
            .thread_name("console-work")
            .build()
            .map_err(ConsoleError::Thread)?;
        let thread = std::thread::Builder::new().name("console".into()).spawn(move || {
            runtime.block_on(serve(appliance, unix, tcp, stopped));
            runtime.shutdown_timeout(STOP_GRACE);
        });
        let thread = thread.map_err(ConsoleError::Thread)?;
        Ok(Self { socket: socket.to_owned(), http: bound, stop: Some(stop), thread: Some(thread) })
    }

    /// The loopback address in use; says which port `127.0.0.1:0` became.
    pub const fn http_address(&self) -> Option<SocketAddr> {
        self.http
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

fn listen(address: SocketAddr) -> Result<std::net::TcpListener, ConsoleError> {
    let bound = std::net::TcpListener::bind(address).and_then(|l| l.set_nonblocking(true).map(|()| l));
    bound.map_err(|source| ConsoleError::Listen { address, source })
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

async fn serve(appliance: Arc<dyn Appliance>, unix: UnixListener, tcp: Option<std::net::TcpListener>, mut stopped: oneshot::Receiver<()>) {
    let control = async {
        let listener = tokio::net::UnixListener::from_std(unix)?;
        axum::serve(listener, api::router(Arc::clone(&appliance))).await
    };
    let open = async {
        match tcp {
            Some(tcp) => axum::serve(tokio::net::TcpListener::from_std(tcp)?, health::router(Arc::clone(&appliance))).await,
            None => std::future::pending().await,
        }
    };
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
        () = ticking => {}
    }
}
