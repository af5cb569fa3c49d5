//! The running service, spoken to as an operator does: `placard sign`, SIGHUP, `--print-events`. Needs the test data.

#![allow(clippy::print_stdout, reason = "a skipped test must say so")]

#[path = "support/site.rs"]
mod site;
mod support;

use std::path::Path;

use nix::sys::signal::{Signal, kill};
use placard::clock::{Clock, SystemClock, format_utc};
use placard::render::stills;
use serde_json::Value;
use site::{Service, Site, Stream};

/// Each of these keeps a core busy.
static ONE_AT_A_TIME: parking_lot::Mutex<()> = parking_lot::Mutex::new(());

const PURPOSE: &str = "missing-person:asl";
const THRESHOLD: &str = "threshold = 0.5";

/// One stream that shows one enrolled person again and again.
fn site(data: &Path) -> Site {
    let clip = data.join("video/asl_student.mkv");
    let stream = Stream::new("hall", &format!("file:{}", clip.display())).with("repeat = true\ndetect_every = 3");
    let site = Site::commission(data, &[PURPOSE], &[stream], &format!("[decide]\n{THRESHOLD}\n"));
    let photograph = site.path().join("person.png");
    stills::still(&clip, 25).expect("a frame of the clip").save(&photograph).expect("writable");
    site.enrol(PURPOSE, &format!("A\t{}\n", photograph.display()), 48);
    site
}

impl Site {
    fn log(&self) -> String {
        std::fs::read_to_string(self.path().join("service.log")).unwrap_or_default()
    }

    fn printed_events(&self) -> Vec<Value> {
        let log = self.log();
        let values = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        values.filter(|v| v["kind"] == "face-match").collect()
    }

    /// SIGHUP, after a change to the pipeline file that a new pipeline must be built for; waits until it is in force.
    fn reload_changed(&self, service: &Service, change: (&str, &str)) {
        let text = std::fs::read_to_string(self.pipeline()).expect("readable");
        assert!(text.contains(change.0));
        std::fs::write(self.pipeline(), text.replace(change.0, change.1)).expect("writable");
        self.reload(service);
    }

    fn reload(&self, service: &Service) {
        let reloads = |log: &str| log.matches(" reloaded").count();
        let before = reloads(&self.log());
        kill(service.pid(), Signal::SIGHUP).expect("it runs");
        service.wait_until("the pipeline is reloaded", |_| reloads(&self.log()) > before);
    }
}

#[test]
fn events_are_printed_after_a_reload_that_changed_the_pipeline_as_before() {
    let _turn = ONE_AT_A_TIME.lock();
    let Some(data) = support::test_data() else { return };
    let site = site(&data);
    let service = site.start_with(&["--print-events"]);
    service.wait_until("an event is printed", |_| !site.printed_events().is_empty());
    site.reload_changed(&service, (THRESHOLD, "threshold = 0.45"));
    let reloaded_at = format_utc(SystemClock.utc());
    let later = |event: &Value| event["decided_at"].as_str().is_some_and(|at| at > reloaded_at.as_str());
    service.wait_until("an event of the new pipeline is printed", |_| site.printed_events().iter().any(later));
}
