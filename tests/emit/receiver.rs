//! A tiny HTTP receiver that does as its script says, then answers 200 for ever.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, Sender, unbounded};
use parking_lot::Mutex;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Answer(u16),
    /// Closes the connection without an answer.
    Hang,
    /// Keeps the connection open and says nothing.
    Stall,
}

#[derive(Debug)]
pub struct Request {
    pub act: Act,
    pub headers: Vec<String>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        let split = self.headers.iter().filter_map(|h| h.split_once(':'));
        split.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim()).next()
    }
}

pub struct HttpReceiver {
    pub url: String,
    pub requests: Receiver<Request>,
    address: SocketAddr,
    script: Arc<Mutex<VecDeque<Act>>>,
    sender: Sender<Request>,
    listening: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
}

impl HttpReceiver {
    pub fn start(script: &[Act]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let script = Arc::new(Mutex::new(script.iter().copied().collect::<VecDeque<_>>()));
        let (sender, requests) = unbounded();
        let mut receiver = Self { url: format!("http://{address}/hits"), requests, address, script, sender, listening: None };
        receiver.listen(listener);
        receiver
    }

    fn listen(&mut self, listener: TcpListener) {
        let (script, sender, closed) = (Arc::clone(&self.script), self.sender.clone(), Arc::new(AtomicBool::new(false)));
        let stop = Arc::clone(&closed);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stop.load(SeqCst) {
                    return;
                }
                let (script, sender) = (Arc::clone(&script), sender.clone());
                // One thread a connection: a stalled one must not hold up the next.
                std::thread::spawn(move || serve(stream, &script, &sender));
            }
        });
        self.listening = Some((closed, thread));
    }

    /// From here on connections are refused.
    pub fn down(&mut self) {
        let (closed, thread) = self.listening.take().expect("it listens");
        closed.store(true, SeqCst);
        // Whoever comes next finds the door closed; it may as well be us.
        let _woken = TcpStream::connect(self.address);
        thread.join().expect("the listener ends");
    }

    /// At the same address as before.
    pub fn up(&mut self) {
        self.listen(TcpListener::bind(self.address).expect("nobody took the port"));
    }
}

fn serve(stream: TcpStream, script: &Mutex<VecDeque<Act>>, sender: &Sender<Request>) {
    let mut reader = BufReader::new(stream.try_clone().expect("cloned"));
    let mut headers = Vec::new();
    for line in reader.by_ref().lines().map_while(Result::ok) {
        if line.is_empty() {
            break;
        }
        headers.push(line);
    }
    let mut request = Request { act: Act::Hang, headers, body: Vec::new() };
    let length = request.header("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
    request.body = vec![0; length];
    if reader.read_exact(&mut request.body).is_err() {
        return;
    }
    let act = script.lock().pop_front().unwrap_or(Act::Answer(200));
    request.act = act;
    let _test_is_over = sender.send(request);
    match act {
        Act::Answer(status) => {
            let answer = format!("HTTP/1.1 {status} Said So\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
            let _gone = (&stream).write_all(answer.as_bytes());
        }
        Act::Hang => {}
        Act::Stall => {
            // Until the other side gives up.
            let _closed = reader.read(&mut [0]);
        }
    }
}
