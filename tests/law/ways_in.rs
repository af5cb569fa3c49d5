//! Access zones have another way in, and it works, or nobody's face is looked at to let them in.

use std::time::Duration;

use placard::clock::Clock;
use placard::policy::lease::{Embed, MAX_LEASE, StreamState};
use placard::policy::rules::Rule;

use super::{NORTH, SOUTH, Site, register_text};

const HEARTBEAT: Duration = Duration::from_secs(300);

/// `north` shows a gate, with a card reader beside it.
fn gate() -> Site {
    let text = register_text().replacen("kind = \"public\"", "kind = \"access\"", 1);
    Site::new(&format!("{text}\n[[alternative]]\nid = \"card-1\"\nzone = \"hall\"\nkind = \"card\"\nheartbeat_s = 300\n"))
}

impl Site {
    fn beat(&self, id: &str) {
        self.policy.observations().heartbeat(id, self.clock.monotonic());
        self.policy.reload().expect("answers");
    }
}

#[test]
fn pulling_the_readers_plug_ends_recognition_within_one_lease() {
    let site = gate();
    assert_eq!((site.state(NORTH), site.rule(0)), (StreamState::CaptureOnly, Rule::AlternativeAlive), "declared is not enough");
    assert_eq!(site.state(SOUTH), StreamState::Recognise, "nobody passes the yard to get in");
    site.beat("card-2");
    assert_eq!(site.state(NORTH), StreamState::CaptureOnly, "another reader's");
    site.beat("card-1");
    assert_eq!(site.state(NORTH), StreamState::Recognise);
    // The plug is pulled: the last heartbeat counts for its time, and not a lease longer.
    site.advance(HEARTBEAT.saturating_sub(Duration::from_millis(1)));
    let permit = site.table.permit::<Embed>(NORTH, site.clock.monotonic()).expect("it still counts");
    site.advance(Duration::from_millis(1));
    assert!(!permit.is_live(site.clock.monotonic()));
    assert_eq!((site.state(NORTH), site.rule(0)), (StreamState::CaptureOnly, Rule::AlternativeAlive));
    let reason = site.policy.snapshot()[0].reason.to_string();
    assert!(reason.contains("`card-1`"), "{reason}");
    // Also where the policy thread hangs meanwhile.
    site.beat("card-1");
    site.advance(HEARTBEAT.saturating_sub(Duration::from_millis(100)));
    let permit = site.table.permit::<Embed>(NORTH, site.clock.monotonic()).expect("it still counts");
    site.policy.freeze().expect("freezes");
    site.clock.advance(MAX_LEASE);
    assert!(!permit.is_live(site.clock.monotonic()));
}
