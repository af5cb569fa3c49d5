//! Cameras that think for themselves (C02): a fake ONVIF camera over real HTTP, asked directly, and by the running service.

#[path = "support/site.rs"]
mod site;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use placard::ingest::credential::Credential;
use placard::ingest::onvif;
use placard::policy::observed::DeviceFinding;
use site::{Models, Site, Stream};

const PASSWORD: &str = "secret & <long>";
const FACES: &str = "<tt:AnalyticsModule Name=\"Smart\" Type=\"vnd:FaceRecognition\"/>";

/// What the camera answers.
#[derive(Clone, Default)]
struct Says {
    /// Modules of its media service, of its media2 service.
    media: &'static str,
    media2: &'static str,
    recording: &'static str,
    /// Its media2 service is elsewhere.
    elsewhere: bool,
    /// It asks nobody who they are, as many do.
    open: bool,
    /// Longer than any answer may be.
    endless: bool,
}

struct Camera {
    address: String,
    says: Arc<Mutex<Says>>,
}

impl Camera {
    fn start(says: Says) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let says = Arc::new(Mutex::new(says));
        let (answers, own) = (Arc::clone(&says), address.clone());
        std::thread::spawn(move || listener.incoming().flatten().for_each(|stream| serve(stream, &answers, &own)));
        Self { address, says }
    }

    fn url(&self) -> String {
        format!("http://{}/onvif/device_service", self.address)
    }
}

fn serve(stream: TcpStream, says: &Mutex<Says>, address: &str) {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut line, mut length) = (String::new(), 0);
        while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a number");
            }
            line.clear();
        }
        if length == 0 {
            return;
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).expect("the question");
        let (status, answer) = answer(&String::from_utf8(body).expect("UTF-8"), &says.lock(), address);
        let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/soap+xml\r\nContent-Length: {}\r\n\r\n", answer.len());
        if reader.get_mut().write_all(head.as_bytes()).and_then(|()| reader.get_mut().write_all(answer.as_bytes())).is_err() {
            return;
        }
    }
}

fn between<'a>(text: &'a str, from: &str, to: &str) -> Option<&'a str> {
    Some(text.split_once(from)?.1.split_once(to)?.0)
}

/// As a camera does it: digest of nonce, time and its own password.
fn is_authorised(question: &str) -> bool {
    let token = |name: &str| Some(between(question, &format!("{name}>"), "</")?.to_owned());
    let digest = between(question, "PasswordDigest\">", "<");
    let nonce = between(question, "Base64Binary\">", "<").and_then(|n| STANDARD.decode(n).ok());
    let (Some(digest), Some(nonce), Some(created)) = (digest, nonce, token("u:Created")) else { return false };
    let mut hash = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY);
    [&nonce[..], created.as_bytes(), PASSWORD.as_bytes()].iter().for_each(|part| hash.update(part));
    // The camera's clock is a year behind: the token must have its time.
    created.starts_with("2025-") && STANDARD.encode(hash.finish()) == digest && question.contains("w:Username>me</w:Username")
}

fn answer(question: &str, says: &Says, address: &str) -> (&'static str, String) {
    let envelope = |body: &str| {
        format!(
            "<?xml version=\"1.0\"?><e:Envelope xmlns:e=\"http://www.w3.org/2003/05/soap-envelope\" xmlns:tt=\"t\"><e:Body>{body}</e:Body></e:Envelope>"
        )
    };
    if question.contains("GetSystemDateAndTime") {
        let time = "<tt:UTCDateTime><tt:Time><tt:Hour>8</tt:Hour><tt:Minute>0</tt:Minute><tt:Second>1</tt:Second></tt:Time>\
                    <tt:Date><tt:Year>2025</tt:Year><tt:Month>6</tt:Month><tt:Day>2</tt:Day></tt:Date></tt:UTCDateTime>";
        return ("200 OK", envelope(time));
    }
    if !says.open && !is_authorised(question) {
        let fault =
            "<e:Fault><e:Code><e:Value>e:Sender</e:Value><e:Subcode><e:Value>ter:NotAuthorized</e:Value></e:Subcode></e:Code></e:Fault>";
        return ("400 Bad Request", envelope(fault));
    }
    let services = [("ver10/media", "media"), ("ver20/media", "media2"), ("ver10/recording", "recording")].map(|(namespace, path)| {
        let host = if says.elsewhere && path == "media2" { "192.0.2.1" } else { address };
        format!("<Service><Namespace>http://www.onvif.org/{namespace}/wsdl</Namespace><XAddr>http://{host}/{path}</XAddr></Service>")
    });
    if question.contains("GetServices") {
        return ("200 OK", envelope(&services.concat()));
    }
    let body = match question {
        q if q.contains("GetVideoAnalyticsConfigurations") => says.media,
        q if q.contains("GetAnalyticsConfigurations") => says.media2,
        q if q.contains("GetRecordingJobs") => says.recording,
        _ => return ("500 Internal Server Error", envelope("<e:Fault><e:Reason><e:Text>unknown</e:Text></e:Reason></e:Fault>")),
    };
    let padding = if says.endless { " ".repeat(2 << 20) } else { String::new() };
    ("200 OK", envelope(&format!("{body}{padding}")))
}

fn credential(text: &str) -> (tempfile::TempDir, PathBuf) {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("camera");
    std::fs::write(&path, text).expect("writable");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("chmod");
    (directory, path)
}

#[test]
fn a_camera_with_faces_or_a_recording_of_its_own_is_found_out_and_one_that_does_not_answer_is_not_clean() {
    let (_directory, path) = credential(&format!("me:{PASSWORD}\n"));
    let credential = Credential::read(&path).expect("readable");
    let ask = |says: Says| onvif::ask(&Camera::start(says).url(), Some(&credential));
    let idle = "<JobItem><JobToken>j</JobToken><JobConfiguration><Mode>Idle</Mode></JobConfiguration></JobItem>";
    let active = "<JobItem><JobToken>card</JobToken><JobConfiguration><Mode>Active</Mode></JobConfiguration></JobItem>";
    let motion = "<tt:AnalyticsModule Name=\"Motion\" Type=\"tt:CellMotionEngine\"/>";
    assert_eq!(ask(Says { media: motion, recording: idle, ..Says::default() }), DeviceFinding::Clean);
    let faces = DeviceFinding::FaceAnalytics("vnd:FaceRecognition".to_owned());
    assert_eq!(ask(Says { media: FACES, ..Says::default() }), faces);
    assert_eq!(ask(Says { media2: FACES, ..Says::default() }), faces);
    assert_eq!(ask(Says { recording: active, ..Says::default() }), DeviceFinding::Records("card".to_owned()));
    let open = |finding| matches!(finding, DeviceFinding::NoAnswer(_));
    assert!(open(ask(Says { elsewhere: true, ..Says::default() })), "the password goes to no other host");
    assert!(open(ask(Says { endless: true, ..Says::default() })));
    assert!(open(ask(Says { media: "<not closed>", ..Says::default() })));
    let camera = Camera::start(Says::default());
    let DeviceFinding::NoAnswer(why) = onvif::ask(&camera.url(), None) else { panic!("without a user") };
    assert!(why.contains("refuses the user"), "{why}");
    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port");
    assert!(open(onvif::ask(&format!("http://{nobody}/"), None)), "nobody listens there any more");
}

#[test]
fn a_stream_whose_camera_looks_for_faces_by_itself_is_off_until_it_no_longer_does() {
    let camera = Camera::start(Says { media: FACES, open: true, ..Says::default() });
    let stream = Stream::new("gates", "rendered:gates?seed=1&turns=1");
    let device = format!("[[device]]\nstream = \"gates\"\ncapability = \"camera\"\nonvif = \"{}\"\n", camera.url());
    let site = Site::commission_with(Models::Bundled, &["missing-person:mp-7"], &[stream], "", &device);
    let service = site.start();
    service.wait_until("the stream is off for its camera's sake", |status| {
        let stream = &status.streams[0];
        stream.state == "off" && stream.reason.contains("vnd:FaceRecognition") && stream.reason.contains("device-clean")
    });
    assert_eq!(site.command(&["device", "ask", &camera.url()]).status().expect("runs").code(), Some(4));
    camera.says.lock().media = "";
    service.wait_until("the stream is lit", |status| status.streams[0].state == "recognise");
}
