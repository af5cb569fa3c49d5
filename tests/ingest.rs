//! Ingest on real decoders, a real RTSP server and real damage. Clips are made on the spot, so no outside data is needed.
#![cfg(feature = "rtsp-server")]

#[path = "support/streams.rs"]
mod streams;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use nix::sys::signal::Signal;
use placard::clock::{CaptureTime, Clock, SystemClock};
use placard::config::schema::{Stream, Transport};
use placard::frame::StreamIndex;
use placard::ingest::paced::{self, Schedule};
use placard::ingest::{Outlet, SourceState};
use placard::queue::{Doorbell, Ring};
use placard::shutdown::Shutdown;
use streams::{H264, RtspServer, Watched, make_clip};

const SMALL: (u32, u32) = (160, 120);

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("temporary directory")
}

fn file_stream(path: &Path) -> Stream {
    let mut stream = Stream::new("door", &format!("file:{}", path.display()));
    stream.realtime = false;
    stream.reconnect_max_ms = 250;
    stream
}

fn rtsp_stream(url: &str) -> Stream {
    let mut stream = Stream::new("door", url);
    stream.reconnect_max_ms = 500;
    stream
}

#[test]
fn every_codec_and_container_plays_to_its_last_frame() {
    let folder = folder();
    let clips = [
        ("h264.mp4", format!("{H264} ! mp4mux"), "avdec_h264"),
        // With B-pictures, which come out of order, and a sound track that nobody listens to.
        (
            "h264.mkv",
            "x264enc speed-preset=ultrafast bframes=2 ! h264parse ! mux. audiotestsrc num-buffers=60 ! opusenc ! mux. matroskamux name=mux"
                .to_owned(),
            "avdec_h264",
        ),
        ("jpeg.mkv", "jpegenc ! matroskamux".to_owned(), "jpegdec"),
        ("jpeg.mov", "jpegenc ! qtmux".to_owned(), "jpegdec"),
    ];
    for (name, tail, decoder) in clips {
        let clip = make_clip(folder.path(), name, 61, SMALL, &tail);
        let mut watched = Watched::start(&file_stream(&clip));
        watched.until_ended();
        assert_eq!(watched.seen.len(), 61, "{name}: {:?}", watched.health());
        assert!(watched.seen.iter().enumerate().all(|(i, header)| header.sequence == i as u64), "{name}");
        assert_eq!(watched.ring.overwritten.get(), 0);
        let health = watched.health();
        assert_eq!((health.state, health.decoder.as_deref()), (SourceState::Ended, Some(decoder)), "{name}");
        assert_eq!((health.width, health.height), SMALL);
    }
}

#[test]
fn h265_plays() {
    let folder = folder();
    let tail = "x265enc speed-preset=ultrafast tune=zerolatency key-int-max=15 ! h265parse ! matroskamux";
    let clip = make_clip(folder.path(), "h265.mkv", 20, (640, 360), tail);
    let mut watched = Watched::start(&file_stream(&clip));
    watched.until_ended();
    assert_eq!((watched.seen.len(), watched.seen[0].width, watched.seen[0].height), (20, 640, 360));
    assert_eq!(watched.health().decoder.as_deref(), Some("avdec_h265"));
}

#[test]
fn a_repeated_file_goes_on_for_ever() {
    let folder = folder();
    let clip = make_clip(folder.path(), "h264.mp4", 20, SMALL, &format!("{H264} ! mp4mux"));
    let mut stream = file_stream(&clip);
    stream.repeat = true;
    let mut watched = Watched::start(&stream);
    watched.until_frames(100);
    assert_eq!(watched.seen[99].sequence, 99);
    assert_eq!(watched.thread().counters.reconnects_total.get(), 0);
}

#[test]
fn a_truncated_file_is_an_error_until_it_is_whole() {
    let folder = folder();
    let whole = make_clip(folder.path(), "whole.mp4", 40, SMALL, &format!("{H264} ! mp4mux"));
    let bytes = std::fs::read(&whole).expect("read");
    let clip = folder.path().join("clip.mp4");
    // Without its end the file has no index, and with an index at its front it ends in the middle of a picture.
    std::fs::write(&clip, &bytes[..bytes.len() * 6 / 10]).expect("write");
    let mut watched = Watched::start(&file_stream(&clip));
    assert!(watched.until(|w| w.thread().counters.errors_total.get() >= 2), "{:?}", watched.health());
    let error = watched.health().last_error.expect("an error");
    assert!(error.contains("stream `door`") && error.contains("qtdemux"), "{error}");
    assert!(watched.seen.is_empty());
    std::fs::write(folder.path().join("new"), &bytes).expect("write");
    std::fs::rename(folder.path().join("new"), &clip).expect("rename");
    watched.until_ended();
    assert_eq!(watched.seen.len(), 40);

    let fast = make_clip(folder.path(), "fast.mp4", 40, SMALL, &format!("{H264} ! mp4mux faststart=true"));
    let bytes = std::fs::read(&fast).expect("read");
    std::fs::write(&fast, &bytes[..bytes.len() * 7 / 10]).expect("write");
    let mut watched = Watched::start(&file_stream(&fast));
    assert!(watched.until(|w| w.thread().is_finished() || w.thread().counters.errors_total.get() >= 1), "{:?}", watched.health());
    assert!((10..40).contains(&watched.seen.len()), "{} frames", watched.seen.len());
}

#[test]
fn what_is_no_video_is_said_and_tried_again() {
    let folder = folder();
    let path = folder.path().join("clip.mp4");
    let mut watched = Watched::start(&file_stream(&path));
    for (contents, expected) in [(None, "No such file"), (Some(&b""[..]), "empty"), (Some(&[0x5a; 5000][..]), "stream `door`")] {
        if let Some(contents) = contents {
            std::fs::write(&path, contents).expect("write");
        }
        let before = watched.thread().counters.errors_total.get();
        assert!(watched.until(|w| w.thread().counters.errors_total.get() >= before + 2), "{:?}", watched.health());
        let error = watched.health().last_error.expect("an error");
        assert!(error.contains(expected), "{error}");
        assert_ne!(watched.health().state, SourceState::Live);
    }
}

#[test]
fn a_stream_that_changes_its_size_delivers_both() {
    let folder = folder();
    make_clip(folder.path(), "neighbour.mp4", 30, SMALL, &format!("{H264} ! mp4mux"));
    // Two elementary streams in one: the second brings new parameter sets.
    let tail = format!("{H264} ! video/x-h264,stream-format=byte-stream,alignment=au");
    let small = make_clip(folder.path(), "small.h264", 30, SMALL, &tail);
    let large = make_clip(folder.path(), "large.h264", 30, (320, 240), &tail);
    let mut bytes = std::fs::read(small).expect("read");
    bytes.extend(std::fs::read(large).expect("read"));
    let clip = folder.path().join("both.h264");
    std::fs::write(&clip, bytes).expect("write");
    let server = RtspServer::start(0, &[], &[("door", Path::new(&folder.path().join("neighbour.mp4")))]);
    let mut neighbour = Watched::start(&rtsp_stream(&server.urls[0]));
    until_sender_s_clock(&mut neighbour);
    let mut watched = Watched::start(&file_stream(&clip));
    watched.until_ended();
    neighbour.more_frames(30);
    assert_eq!(neighbour.thread().counters.reconnects_total.get(), 0);
    assert_eq!(lost(&neighbour, 15), 0, "of {} frames", neighbour.seen.len());
    let of_width = |width| watched.seen.iter().filter(|h| h.width == width).count();
    assert_eq!((of_width(160), of_width(320)), (30, 30), "{:?}", watched.health());
    assert_eq!(watched.thread().counters.geometry_changes_total.get(), 1);
}

#[test]
fn rtsp_plays_over_tcp_and_udp_with_the_sender_s_clock() {
    let folder = folder();
    let clip = make_clip(folder.path(), "h264.mp4", 30, SMALL, &format!("{H264} ! mp4mux"));
    let server = RtspServer::start(0, &[], &[("door", &clip)]);
    for transport in [Transport::Tcp, Transport::Udp] {
        let mut stream = rtsp_stream(&server.urls[0]);
        stream.transport = transport;
        let mut watched = Watched::start(&stream);
        watched.until_frames(50);
        let sender = watched.until(|w| w.seen.last().is_some_and(|h| matches!(h.captured_at, CaptureTime::Sender(_))));
        assert!(sender, "{transport:?}: {:?}", watched.seen.last());
        let last = watched.seen.last().expect("a frame");
        let latency_ms = last.captured_at.latency_ns(SystemClock.now()) / 1_000_000;
        assert!((-100..5_000).contains(&latency_ms), "{transport:?}: {latency_ms} ms");
        assert_eq!(watched.health().capture_clock, Some("sender"));
    }
}

/// The sender's clock comes with its first report, some seconds after its first frames.
fn until_sender_s_clock(watched: &mut Watched) {
    let told = watched.until(|w| w.seen.last().is_some_and(|h| matches!(h.captured_at, CaptureTime::Sender(_))));
    assert!(told, "{:?}", watched.health());
}

/// Frames that the sender sent and this end never saw: between two frames the sender's clock and our count of arrivals must go on alike. What
/// the test itself was too slow to take out of the ring has arrived all the same.
fn lost(watched: &Watched, fps: i64) -> i64 {
    let sent: Vec<(i64, u64)> = watched
        .seen
        .iter()
        .filter_map(|h| match h.captured_at {
            CaptureTime::Sender(t) => Some((t.ns(), h.sequence)),
            _ => None,
        })
        .collect();
    assert!(sent.len() > 1, "no frame came with the sender's clock");
    let lost_between = |pair: &[(i64, u64)]| {
        let (ns, arrived) = (pair[1].0 - pair[0].0, i64::try_from(pair[1].1 - pair[0].1).expect("a small number"));
        // Where the clip begins anew, times are not whole frames apart.
        let frames = (ns * fps + 400_000_000) / 1_000_000_000;
        (frames - arrived).max(0)
    };
    sent.windows(2).map(lost_between).sum()
}

#[test]
fn a_server_killed_twenty_times_comes_back_and_its_neighbour_does_not_notice() {
    let folder = folder();
    let clip = make_clip(folder.path(), "h264.mp4", 30, SMALL, &format!("{H264} ! mp4mux"));
    let neighbour_server = RtspServer::start(0, &[], &[("door", &clip)]);
    let mut neighbour = Watched::start(&rtsp_stream(&neighbour_server.urls[0]));
    until_sender_s_clock(&mut neighbour);
    let mut server = RtspServer::start(0, &[], &[("door", &clip)]);
    let (port, url) = (server.port(), server.urls[0].clone());
    let mut watched = Watched::start(&rtsp_stream(&url));
    watched.until_frames(5);
    for round in 0..20 {
        let neighbour_before = neighbour.seen.len();
        drop(server);
        server = RtspServer::start(port, &[], &[("door", &clip)]);
        let before = watched.seen.len();
        let back = watched.until(|w| {
            neighbour.take();
            w.seen.len() >= before + 3
        });
        assert!(back, "round {round}: {:?}", watched.health());
        neighbour.more_frames(1);
        assert!(neighbour.seen.len() > neighbour_before, "round {round}");
    }
    assert!(watched.thread().counters.reconnects_total.get() >= 20);
    assert_eq!(neighbour.thread().counters.reconnects_total.get(), 0);
    assert_eq!(lost(&neighbour, 15), 0, "of {} frames", neighbour.seen.len());
}

#[test]
fn a_server_that_freezes_is_a_stall_and_is_left() {
    let folder = folder();
    let clip = make_clip(folder.path(), "h264.mp4", 30, SMALL, &format!("{H264} ! mp4mux"));
    let server = RtspServer::start(0, &[], &[("door", &clip)]);
    let mut stream = rtsp_stream(&server.urls[0]);
    stream.stall_ms = 1_000;
    let mut watched = Watched::start(&stream);
    watched.until_frames(5);
    server.signal(Signal::SIGSTOP);
    assert!(watched.until(|w| w.thread().counters.stalls_total.get() >= 1), "{:?}", watched.health());
    assert!(watched.health().last_error.is_some_and(|e| e.contains("no frame for 1000 ms")));
    server.signal(Signal::SIGCONT);
    watched.more_frames(5);
    assert_eq!(watched.health().state, SourceState::Live);
}

/// A camera that speaks RTSP well enough to be believed and then sends noise.
fn garbage_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("rtsp://{}/noise", listener.local_addr().expect("bound"));
    std::thread::spawn(move || {
        for (turn, connection) in listener.incoming().enumerate() {
            if let Ok(connection) = connection {
                std::thread::spawn(move || talk_nonsense(connection, turn));
            }
        }
    });
    url
}

fn talk_nonsense(mut connection: std::net::TcpStream, turn: usize) {
    let mut state = 0x9e37_79b9_u32 ^ u32::try_from(turn).unwrap_or(0);
    let mut noise = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let sdp = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:t\r\n";
    let mut request = [0; 4096];
    loop {
        let Ok(n @ 1..) = connection.read(&mut request) else { return };
        let text = String::from_utf8_lossy(&request[..n]).into_owned();
        let cseq = text.lines().find_map(|l| l.strip_prefix("CSeq: ")).unwrap_or("1").to_owned();
        let body = if text.starts_with("DESCRIBE") { sdp } else { "" };
        let extra = match text.split(' ').next() {
            Some("DESCRIBE") => "Content-Type: application/sdp\r\n",
            Some("SETUP") => "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 7\r\n",
            Some("OPTIONS") => "Public: DESCRIBE, SETUP, PLAY, TEARDOWN\r\n",
            _ => "Session: 7\r\n",
        };
        // Every third camera does not even manage the dialogue.
        let answer = match turn % 3 {
            2 => (0..200).map(|_| noise()).collect(),
            _ => format!("RTSP/1.0 200 OK\r\nCSeq: {cseq}\r\n{extra}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes(),
        };
        if connection.write_all(&answer).is_err() || turn % 3 == 2 {
            return;
        }
        if text.starts_with("PLAY") {
            break;
        }
    }
    for sequence in 0_u16..4_000 {
        let mut packet: Vec<u8> = (0..200).map(|_| noise()).collect();
        if turn.is_multiple_of(3) {
            // A flawless RTP header, and noise for a picture.
            packet[..12].copy_from_slice(&[0x80, 0xe0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]);
            packet[2..4].copy_from_slice(&sequence.to_be_bytes());
            packet[4..8].copy_from_slice(&(u32::from(sequence) * 6_000).to_be_bytes());
        }
        let mut framed = vec![b'$', 0, 0, 200];
        framed.extend(packet);
        if connection.write_all(&framed).is_err() {
            return;
        }
    }
}

#[test]
fn garbage_disturbs_nobody_else() {
    let folder = folder();
    let clip = make_clip(folder.path(), "h264.mp4", 30, SMALL, &format!("{H264} ! mp4mux"));
    let server = RtspServer::start(0, &[], &[("door", &clip)]);
    let mut neighbour = Watched::start(&rtsp_stream(&server.urls[0]));
    until_sender_s_clock(&mut neighbour);
    let mut stream = rtsp_stream(&garbage_server());
    stream.stall_ms = 700;
    let mut noisy = Watched::start(&stream);
    let tried = noisy.until(|w| {
        neighbour.take();
        w.thread().counters.reconnects_total.get() >= 6
    });
    assert!(tried, "{:?}", noisy.health());
    assert!(noisy.seen.is_empty(), "noise was taken for {} pictures", noisy.seen.len());
    assert!(noisy.health().last_error.is_some());
    neighbour.more_frames(5);
    assert_eq!(neighbour.thread().counters.reconnects_total.get(), 0);
    assert_eq!(lost(&neighbour, 15), 0, "of {} frames", neighbour.seen.len());
}

/// Collects the log as text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic while logging").extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn credentials_open_the_camera_and_are_never_shown() {
    let log = Log::default();
    let writer = log.clone();
    // The only test that sets a log: other tests' lines may be in it too, and none of them holds a secret either.
    let set =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false).with_writer(move || writer.clone()).try_init();
    set.expect("no other test sets a log");
    let folder = folder();
    let clip = make_clip(folder.path(), "h264.mp4", 30, SMALL, &format!("{H264} ! mp4mux"));
    let secret = |name: &str, text: &str, mode| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("write");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("chmod");
        path
    };
    let right = secret("right", "warden:tr0ub4dor-right\n", 0o600);
    let wrong = secret("wrong", "warden:tr0ub4dor-wrong\n", 0o600);
    let exposed = secret("exposed", "warden:tr0ub4dor-exposed\n", 0o644);
    let server = RtspServer::start(0, &["--credential-file", &right.display().to_string()], &[("door", &clip)]);
    let mut stream = rtsp_stream(&server.urls[0]);
    stream.credential_file = Some(right);
    Watched::start(&stream).until_frames(5);
    let mut errors = vec![];
    for credential in [Some(wrong), Some(exposed), None] {
        stream.credential_file = credential;
        let mut watched = Watched::start(&stream);
        assert!(watched.until(|w| w.thread().counters.errors_total.get() >= 2), "{:?}", watched.health());
        assert!(watched.seen.is_empty());
        errors.push(watched.health().last_error.expect("an error"));
    }
    assert!(errors[0].contains("nauthorized"), "{errors:?}");
    assert!(errors[1].contains("chmod 600"), "{errors:?}");
    let shown = format!("{errors:?} {}", String::from_utf8_lossy(&log.0.lock().expect("no panic while logging")));
    let command_line = std::fs::read_to_string("/proc/self/cmdline").expect("our own");
    for text in [shown, command_line] {
        assert!(!text.contains("tr0ub4dor") && !text.contains("warden"), "{text}");
    }
}

/// A certificate that signs itself, with its key in one PEM file, and the SHA-256 of the certificate.
fn certificate(folder: &Path, name: &str) -> (String, String) {
    let (file, key) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).output().expect("openssl, which scripts/install-packages.sh installs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let (file_text, key_text) = (file.display().to_string(), key.display().to_string());
    let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=camera"];
    openssl(&[&["req", "-x509", "-keyout", &key_text, "-out", &file_text], &curve[..]].concat());
    let der = openssl(&["x509", "-in", &file_text, "-outform", "DER"]);
    let both = std::fs::read_to_string(&file).expect("a certificate") + &std::fs::read_to_string(&key).expect("a key");
    std::fs::write(&file, both).expect("write");
    (file_text, placard::hex::sha256(&der))
}

#[test]
fn a_camera_s_certificate_is_the_pinned_one_or_one_that_an_authority_vouches_for() {
    let folder = folder();
    let clip = make_clip(folder.path(), "h264.mp4", 30, SMALL, &format!("{H264} ! mp4mux"));
    let ((own, digest), (_, another)) = (certificate(folder.path(), "own"), certificate(folder.path(), "another"));
    let server = RtspServer::start(0, &["--tls-certificate", &own], &[("door", &clip)]);
    assert!(server.urls[0].starts_with("rtsps://"), "{:?}", server.urls);
    let mut stream = rtsp_stream(&server.urls[0]);
    stream.tls_sha256 = Some(digest.clone());
    let mut watched = Watched::start(&stream);
    watched.until_frames(5);
    assert_eq!(watched.health().tls_sha256.as_ref(), Some(&digest));
    drop(watched);
    let refused = |pin: Option<String>, words: &str| {
        let mut stream = rtsp_stream(&server.urls[0]);
        stream.tls_sha256 = pin;
        let mut watched = Watched::start(&stream);
        assert!(watched.until(|w| w.thread().counters.errors_total.get() >= 2), "{:?}", watched.health());
        let health = watched.health();
        assert!(watched.seen.is_empty() && health.tls_sha256.is_none(), "{health:?}");
        let error = health.last_error.expect("an error");
        assert!(error.contains(words) && error.contains(&digest), "{error}");
    };
    refused(Some(another), "exchanged");
    refused(None, "no certificate authority of this machine vouches (unknown authority");
    // A fragment's rtspsrc too; and a pin where nobody shows a certificate is refused.
    let fragment = |url: &str| {
        let mut stream = Stream::new("door", "gst");
        stream.gst = Some(format!("rtspsrc location={url} protocols=tcp ! rtph264depay ! avdec_h264"));
        stream.tls_sha256 = Some(digest.clone());
        stream.reconnect_max_ms = 500;
        stream
    };
    Watched::start(&fragment(&server.urls[0])).until_frames(5);
    // Beside another source its certificate would not tell whose pictures they are.
    let mut decoy = fragment(&server.urls[0]);
    decoy.gst = Some(format!("{} ! s.sink_0 videotestsrc ! s.sink_1 input-selector name=s", decoy.gst.expect("a fragment")));
    let mut watched = Watched::start(&decoy);
    assert!(watched.until(|w| w.thread().counters.errors_total.get() >= 1), "{:?}", watched.health());
    assert!(watched.seen.is_empty() && watched.health().last_error.expect("an error").contains("no other source"));
    let plain = RtspServer::start(0, &[], &[("door", &clip)]);
    let mut watched = Watched::start(&fragment(&plain.urls[0]));
    assert!(watched.until(|w| w.thread().counters.errors_total.get() >= 1), "{:?}", watched.health());
    assert!(watched.health().last_error.expect("an error").contains("does not speak TLS"));
}

#[test]
fn fragments_play_and_bad_ones_are_explained() {
    let folder = folder();
    let clip = make_clip(folder.path(), "h264.mp4", 30, SMALL, &format!("{H264} ! mp4mux"));
    let mut stream = file_stream(&clip);
    "gst".clone_into(&mut stream.source);
    stream.gst = Some(format!("filesrc location={} ! qtdemux ! h264parse ! openh264dec", clip.display()));
    let mut watched = Watched::start(&stream);
    watched.until_ended();
    assert_eq!((watched.seen.len(), watched.health().decoder.as_deref()), (30, Some("openh264dec")), "{:?}", watched.health());
    for (fragment, expected) in [
        ("videotestsrc ! vah264dec_of_nobody", "no element `vah264dec_of_nobody`: install"),
        ("rtspsrc location=rtsp://warden:tr0ub4dor@127.0.0.1/x", "credential_file"),
        ("videotestsrc ! ! !", "syntax"),
        ("audiotestsrc num-buffers=3", "could not"),
    ] {
        stream.gst = Some(fragment.to_owned());
        let mut watched = Watched::start(&stream);
        assert!(watched.until(|w| w.health().last_error.is_some()), "{fragment}: {:?}", watched.health());
        let error = watched.health().last_error.expect("an error");
        assert!(error.contains(expected) && !error.contains("tr0ub4dor"), "{fragment}: {error}");
    }
}

#[test]
fn a_decoder_can_be_named_and_one_that_does_not_fit_is_refused() {
    let folder = folder();
    let clip = make_clip(folder.path(), "h264.mp4", 30, SMALL, &format!("{H264} ! mp4mux"));
    let mut stream = file_stream(&clip);
    stream.decoder = Some("openh264dec".to_owned());
    let mut watched = Watched::start(&stream);
    watched.until_ended();
    assert_eq!((watched.seen.len(), watched.health().decoder.as_deref()), (30, Some("openh264dec")));
    for (decoder, expected) in [("avdec_h265", "does not decode"), ("nosuchdec", "install the package"), ("x264enc", "no video decoder")] {
        stream.decoder = Some(decoder.to_owned());
        let mut watched = Watched::start(&stream);
        assert!(watched.until(|w| w.health().last_error.is_some()), "{decoder}: {:?}", watched.health());
        let error = watched.health().last_error.expect("an error");
        assert!(error.contains(expected) && error.contains(decoder), "{decoder}: {error}");
    }
}

#[test]
fn a_paced_clip_keeps_its_schedule_over_many_rounds() {
    let folder = folder();
    let clip = make_clip(folder.path(), "h264.mp4", 20, SMALL, &format!("{H264} ! mp4mux"));
    let (ring, clock) = (Arc::new(Ring::new(256)), SystemClock::shared());
    let outlet = Outlet::new("bench", StreamIndex(4), Arc::clone(&ring), Doorbell::new(), Arc::clone(&clock));
    let start = clock.monotonic();
    let schedule = Schedule { clip, decoder: None, fps: 100.0, start, frames: Some(90) };
    assert_eq!(paced::play(&schedule, &outlet, &Shutdown::new()).expect("plays"), 90);
    for i in 0..90 {
        let header = *ring.pop().expect("every frame").header();
        assert_eq!(header.sequence, i);
        assert_eq!(header.captured_at, CaptureTime::Scheduled(schedule.due(i)));
        // Never early; how late it is shows as latency.
        assert!(header.arrived_at >= schedule.due(i), "frame {i}");
    }
    assert!(ring.pop().is_none());
}

#[test]
fn a_scene_that_does_not_exist_says_so_once() {
    let mut watched = Watched::start(&Stream::new("door", "rendered:concours?seed=7"));
    watched.until_ended();
    assert!(watched.health().last_error.is_some_and(|e| e.contains("rendered:concours?seed=7") && e.contains("concourse, gates")));
}
