//! What systemd is told: ready, reloading, stopping, and that the workers still work.
//!
//! The watchdog is fed by progress, not by a timer: its thread looks at the [`ProgressRegistry`] twice per `WatchdogSec` and pings
//! only if every busy worker has moved since the last look. A worker that is stuck withholds the ping; systemd then kills and
//! restarts the service, and leases have run out long before. Without systemd (no `NOTIFY_SOCKET`) everything here does nothing.

use std::io;
use std::thread::JoinHandle;
use std::time::Duration;

use sd_notify::NotifyState;

use crate::progress::{Ailing, Observer, ProgressRegistry};
use crate::shutdown::Shutdown;

/// Looks per watchdog interval. With two, a worker that stops right after a look is noticed within one and a half intervals.
const LOOKS_PER_INTERVAL: u32 = 2;

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!("systemd could not be told: {error}");
    }
}

/// Everything is bound and runs. `status` is shown by `systemctl status`.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// A reload has begun; [`ready`] ends it, whether or not it succeeded.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!("systemd was not told of the reload: {error}"),
    }
}

pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

pub fn status(text: &str) {
    tell(&[NotifyState::Status(text)]);
}

/// Decides, look by look, whether to ping.
struct Watchdog {
    registry: ProgressRegistry,
    observer: Observer,
    withheld: Vec<Ailing>,
}

impl Watchdog {
    /// True if systemd may be told that all is well. Logs when that changes.
    fn look(&mut self) -> bool {
        let ailing = self.observer.ailing(&self.registry);
        if ailing != self.withheld {
            let named = |a: &Ailing| format!("{} is {:?}", a.worker, a.condition).to_lowercase();
            match ailing.is_empty() {
                true => tracing::info!("all workers move again: the watchdog is fed"),
                false => tracing::error!("the watchdog is not fed: {}", ailing.iter().map(named).collect::<Vec<_>>().join(", ")),
            }
        }
        self.withheld = ailing;
        self.withheld.is_empty()
    }
}

/// Starts feeding the watchdog, if the unit has one (`WatchdogSec=`). The thread ends with `shutdown`.
pub fn start_watchdog(registry: &ProgressRegistry, shutdown: &Shutdown) -> io::Result<Option<JoinHandle<()>>> {
    let Some(interval) = sd_notify::watchdog_enabled() else { return Ok(None) };
    feed(registry, shutdown, interval, || tell(&[NotifyState::Watchdog])).map(Some)
}

fn feed(
    registry: &ProgressRegistry,
    shutdown: &Shutdown,
    interval: Duration,
    ping: impl Fn() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let mut watchdog = Watchdog { registry: registry.clone(), observer: Observer::default(), withheld: Vec::new() };
    let shutdown = shutdown.clone();
    let pause = (interval / LOOKS_PER_INTERVAL).max(Duration::from_millis(1));
    std::thread::Builder::new().name("watchdog".into()).spawn(move || {
        loop {
            if watchdog.look() {
                ping();
            }
            if shutdown.wait(pause) {
                return;
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn only_progress_feeds_the_watchdog() {
        let registry = ProgressRegistry::new();
        let worker = registry.register("embed-0");
        let mut watchdog = Watchdog { registry: registry.clone(), observer: Observer::default(), withheld: Vec::new() };
        assert!(watchdog.look(), "resting workers are well");
        worker.start();
        assert!(watchdog.look());
        assert!(!watchdog.look(), "busy and unmoved");
        assert!(!watchdog.look());
        worker.beat();
        assert!(watchdog.look(), "moved again");
        drop(worker);
        assert!(!watchdog.look(), "a lost worker never comes back");
    }

    #[test]
    fn the_watchdog_s_thread_pings_and_ends_with_shutdown() {
        let (registry, shutdown) = (ProgressRegistry::new(), Shutdown::new());
        let (pinged, pings) = crossbeam::channel::unbounded();
        let ping = move || pinged.send(()).expect("heard");
        let thread = feed(&registry, &shutdown, Duration::from_millis(2), ping).expect("thread");
        for _ in 0..3 {
            pings.recv_timeout(Duration::from_secs(10)).expect("a ping");
        }
        shutdown.request();
        thread.join().expect("ends");
        drop(pings);
    }

    /// systemd's side of the protocol, played by a datagram socket. The speaker is this test again, in a process of its own, because
    /// `NOTIFY_SOCKET` is read from the environment.
    #[test]
    fn systemd_hears_what_it_expects() {
        if std::env::var_os("PLACARD_TEST_SPEAK").is_some() {
            let shutdown = Shutdown::new();
            ready("2 streams");
            reloading();
            stopping();
            let registry = ProgressRegistry::new();
            let fed = start_watchdog(&registry, &shutdown).expect("thread").expect("WATCHDOG_USEC is set");
            shutdown.request();
            return fed.join().expect("ends");
        }
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("notify");
        let systemd = UnixDatagram::bind(&path).expect("bound");
        systemd.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
        let mut speaker = std::process::Command::new(std::env::current_exe().expect("this test"));
        speaker.args(["--exact", "console::notify::tests::systemd_hears_what_it_expects"]).stdout(std::process::Stdio::null());
        speaker.env("NOTIFY_SOCKET", &path).env("PLACARD_TEST_SPEAK", "1").env("WATCHDOG_USEC", "2000000").env_remove("WATCHDOG_PID");
        let mut child = speaker.spawn().expect("spawned");
        let hear = || {
            let mut buffer = [0; 256];
            let length = systemd.recv(&mut buffer).expect("a message");
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        };
        assert_eq!(hear().trim_end(), "READY=1\nSTATUS=2 streams");
        assert!(hear().starts_with("RELOADING=1\nMONOTONIC_USEC="));
        assert_eq!(hear().trim_end(), "STOPPING=1");
        assert_eq!(hear().trim_end(), "WATCHDOG=1");
        assert!(child.wait().expect("ended").success());
    }
}
