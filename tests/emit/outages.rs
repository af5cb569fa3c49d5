//! Receivers that are away for a minute while events go on.
//!
//! Nobody waits for a minute here: an outage lasts until the sink has failed as often as it would in a minute with the pauses that the
//! service uses, and with each failed attempt more events come.

use std::time::Duration;

use nix::sys::signal::Signal;
use placard::emit::backoff::Pauses;
use placard::emit::mqtt::MqttSink;
use placard::emit::webhook::WebhookSink;

use crate::broker::{Broker, mosquitto};
use crate::receiver::{Act, HttpReceiver};
use crate::site::{DEADLINE, Site, journalled, wait_until};
use crate::{first_arrivals, mqtt, sequences, webhook};

/// How often a sink tries in `outage` at most: with the default pauses at their shortest.
fn attempts_in(outage: Duration) -> u64 {
    let Pauses { first, longest } = Pauses::default();
    let (mut waited, mut attempts) = (Duration::ZERO, 0);
    while waited < outage {
        waited += first.saturating_mul(1 << attempts).min(longest) / 2;
        attempts += 1;
    }
    attempts
}

const A_MINUTE: Duration = Duration::from_secs(60);

fn errors(site: &Site) -> u64 {
    site.emitter.status().sinks[0].errors
}

/// Events come while the sink fails for what would be a minute; each is acknowledged all the same. Returns the number of the next event.
fn events_flow_for_a_minute_of_failures(site: &Site, mut next: u64) -> u64 {
    for _ in 0..attempts_in(A_MINUTE) {
        let before = errors(site);
        site.hit_without_waiting(next..next + 10);
        next += 10;
        site.wait_acknowledged(next);
        wait_until("another attempt fails", || errors(site) > before);
    }
    assert!(site.emitter.status().sinks[0].failing.is_some() && site.emitter.alarms().len() == 1, "{:?}", site.emitter.alarms());
    assert!(site.emitter.is_ready(), "the journal takes events: the appliance is well");
    next
}

fn assert_recovered(site: &Site, events: u64) {
    wait_until("the sink recovers", || site.emitter.status().sinks[0].delivered == events);
    assert!(site.emitter.alarms().is_empty(), "{:?}", site.emitter.alarms());
}

#[test]
fn a_minute_is_a_dozen_attempts() {
    assert_eq!(attempts_in(A_MINUTE), 11);
}

#[test]
fn a_broker_away_for_a_minute_amid_events_gets_every_event_in_order() {
    let Some(program) = mosquitto() else { return };
    let directory = tempfile::tempdir().expect("temporary directory");
    let mut broker = Broker::start(program, directory.path(), "");
    let subscriber = broker.subscribe(&[]);
    let site = Site::start(directory.path(), vec![Box::new(MqttSink::new(&mqtt(broker.port), "test").expect("valid"))]);
    subscriber.wait_available("online");
    site.hit_without_waiting(0..500);
    let mut arrived = subscriber.events_until(20);
    // Amid the five hundred. It saves what it has acknowledged and not passed on.
    broker.down();
    site.wait_acknowledged(500);
    let next = events_flow_for_a_minute_of_failures(&site, 500);
    broker.up();
    site.hit_without_waiting(next..next + 100);
    let end = next + 100;
    arrived.extend(subscriber.events_until(end - 1));
    assert_eq!(first_arrivals(&arrived), (0..end).collect::<Vec<_>>());
    assert_eq!(sequences(&journalled(directory.path())), (0..end).collect::<Vec<_>>());
    assert_recovered(&site, end);
    site.stop();
}

#[test]
fn a_broker_killed_amid_events_gets_whatever_it_had_not_acknowledged_in_order() {
    let Some(program) = mosquitto() else { return };
    let directory = tempfile::tempdir().expect("temporary directory");
    let mut broker = Broker::start(program, directory.path(), "");
    let subscriber = broker.subscribe(&[]);
    let site = Site::start(directory.path(), vec![Box::new(MqttSink::new(&mqtt(broker.port), "test").expect("valid"))]);
    subscriber.wait_available("online");
    broker.save_sessions();
    site.hit_without_waiting(0..500);
    let before = first_arrivals(&subscriber.events_until(20));
    assert_eq!(before, (0..21).collect::<Vec<_>>());
    // What it has acknowledged and keeps in memory only is lost with it, and is its own matter; all else is ours.
    broker.kill();
    site.wait_acknowledged(500);
    let next = events_flow_for_a_minute_of_failures(&site, 500);
    let taken_over = site.emitter.status().sinks[0].delivered;
    broker.up();
    site.hit_without_waiting(next..next + 100);
    let end = next + 100;
    let after: Vec<u64> = first_arrivals(&subscriber.events_until(end - 1)).into_iter().filter(|n| *n >= taken_over).collect();
    assert_eq!(after, (taken_over..end).collect::<Vec<_>>());
    assert_eq!(sequences(&journalled(directory.path())), (0..end).collect::<Vec<_>>());
    assert_recovered(&site, end);
    site.stop();
}

#[test]
fn a_broker_that_hangs_gets_everything_in_order_when_it_goes_on() {
    let Some(program) = mosquitto() else { return };
    let directory = tempfile::tempdir().expect("temporary directory");
    let broker = Broker::start(program, directory.path(), "");
    let subscriber = broker.subscribe(&[]);
    let site = Site::start(directory.path(), vec![Box::new(MqttSink::new(&mqtt(broker.port), "test").expect("valid"))]);
    subscriber.wait_available("online");
    site.hit_without_waiting(0..100);
    let mut arrived = subscriber.events_until(10);
    // Its connections stay open; nobody answers.
    broker.signal(Signal::SIGSTOP);
    site.hit_without_waiting(100..200);
    site.wait_acknowledged(200);
    // First no PUBACK comes, then no CONNACK.
    wait_until("the sink gives up twice", || errors(&site) >= 2);
    broker.signal(Signal::SIGCONT);
    arrived.extend(subscriber.events_until(199));
    assert_eq!(first_arrivals(&arrived), (0..200).collect::<Vec<_>>());
    assert_recovered(&site, 200);
    site.stop();
    subscriber.wait_available("offline");
}

#[test]
fn a_webhook_away_for_a_minute_amid_events_gets_every_event_in_order() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let mut receiver = HttpReceiver::start(&[]);
    let site = Site::start(directory.path(), vec![Box::new(WebhookSink::new(&webhook(&receiver.url)).expect("valid"))]);
    let mut arrived = Vec::new();
    let mut arrive_until = |receiver: &HttpReceiver, last: u64| {
        while arrived.last() != Some(&last) {
            let request = receiver.requests.recv_timeout(DEADLINE).expect("a request");
            let event: placard::emit::event::Event = serde_json::from_slice(&request.body).expect("an event");
            if request.act == Act::Answer(200) && !arrived.contains(&event.frame_sequence) {
                arrived.push(event.frame_sequence);
            }
        }
        arrived.clone()
    };
    site.hit_without_waiting(0..200);
    arrive_until(&receiver, 20);
    receiver.down();
    site.wait_acknowledged(200);
    let next = events_flow_for_a_minute_of_failures(&site, 200);
    receiver.up();
    site.hit_without_waiting(next..next + 50);
    let end = next + 50;
    assert_eq!(arrive_until(&receiver, end - 1), (0..end).collect::<Vec<_>>());
    assert_recovered(&site, end);
    site.stop();
}
