//! A mosquitto broker of our own, and a subscriber whose session outlives the broker's absence.
#![allow(clippy::print_stderr, reason = "a skipped test must say so")]

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crossbeam::channel::{Receiver, unbounded};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::site::{DEADLINE, wait_until};

/// Where Debian puts it is not on everybody's path.
pub fn mosquitto() -> Option<PathBuf> {
    let found =
        ["/usr/sbin/mosquitto", "/usr/bin/mosquitto", "/usr/local/sbin/mosquitto"].map(PathBuf::from).into_iter().find(|p| p.exists());
    let subscriber = Command::new("mosquitto_sub").arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if found.is_none() || !subscriber {
        eprintln!("SKIPPED: no mosquitto");
        return None;
    }
    found
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound").port()
}

pub struct Broker {
    program: PathBuf,
    configuration: PathBuf,
    pub port: u16,
    child: Option<Child>,
}

impl Broker {
    /// Keeps sessions in `directory` while it is down. `extra`: further configuration lines.
    pub fn start(program: PathBuf, directory: &Path, extra: &str) -> Self {
        let port = free_port();
        let configuration = directory.join("mosquitto.conf");
        let store = directory.join("broker");
        std::fs::create_dir_all(&store).expect("directory");
        let anonymous = !extra.contains("password_file");
        let text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous {anonymous}\npersistence true\npersistence_location {}/\nuser root\nmax_queued_messages 0\n{extra}\n",
            store.display()
        );
        std::fs::write(&configuration, text).expect("configuration written");
        let mut broker = Self { program, configuration, port, child: None };
        broker.up();
        broker
    }

    pub fn up(&mut self) {
        let child = Command::new(&self.program).arg("-c").arg(&self.configuration).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.child = Some(child.expect("mosquitto starts"));
        wait_until("the broker listens", || TcpStream::connect(("127.0.0.1", self.port)).is_ok());
    }

    pub fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it runs");
        kill(Pid::from_raw(i32::try_from(child.id()).expect("a pid")), signal).expect("it runs");
    }

    /// Who has subscribed to what survives even a kill from here on.
    pub fn save_sessions(&self) {
        self.signal(Signal::SIGUSR1);
        let store = self.configuration.with_file_name("broker").join("mosquitto.db");
        wait_until("the broker has saved its sessions", || store.exists());
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("it runs");
        child.wait().expect("it ends");
    }

    /// SIGTERM: it saves its sessions and goes.
    pub fn down(&mut self) {
        if self.child.is_some() {
            // Also where a test failed while it was stopped.
            self.signal(Signal::SIGCONT);
            self.signal(Signal::SIGTERM);
            self.child.take().expect("it runs").wait().expect("it ends");
        }
    }

    /// Everything under `placard/`, from now on.
    pub fn subscribe(&self, arguments: &[&str]) -> Subscriber {
        let mut command = Command::new("mosquitto_sub");
        command.args([
            "-h",
            "127.0.0.1",
            "-p",
            &self.port.to_string(),
            "-i",
            "watcher",
            "-c",
            "-q",
            "1",
            "-t",
            "placard/#",
            "-F",
            "%r %t %p",
        ]);
        let mut child = command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("mosquitto_sub starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let (sender, messages) = unbounded();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mut parts = line.splitn(3, ' ');
                let mut part = || parts.next().unwrap_or_default().to_owned();
                let message = Message { retained: part() == "1", topic: part(), payload: part() };
                if sender.send(message).is_err() {
                    break;
                }
            }
        });
        Subscriber { child, messages }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.down();
    }
}

#[derive(Debug)]
pub struct Message {
    pub retained: bool,
    pub topic: String,
    pub payload: String,
}

pub struct Subscriber {
    child: Child,
    messages: Receiver<Message>,
}

impl Subscriber {
    pub fn next(&self, what: &str) -> Message {
        self.messages.recv_timeout(DEADLINE).unwrap_or_else(|_| panic!("waited {DEADLINE:?} for: {what}"))
    }
    /// The next state of `placard/available` that equals `state`.
    pub fn wait_available(&self, state: &str) -> Message {
        loop {
            let message = self.next(state);
            if message.topic == "placard/available" && message.payload == state {
                return message;
            }
        }
    }
    /// Events until that of track `last` has come; in the order of arrival.
    pub fn events_until(&self, last: u64) -> Vec<placard::emit::event::Event> {
        let mut events = Vec::new();
        loop {
            let message = self.next(&format!("event {last}"));
            if message.topic != "placard/north/events" {
                continue;
            }
            let event: placard::emit::event::Event = serde_json::from_str(&message.payload).expect("an event");
            let done = event.frame_sequence == last;
            events.push(event);
            if done {
                return events;
            }
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}
