//! What the public status page says: the register's zones, and what the policy thread's board has for their cameras at this moment.

use crate::clock::format_utc;
use crate::console::public::{PublicView, PublicZone};
use crate::policy::board::StreamPolicy;
use crate::policy::facts::{Register, Zone, ZoneKind};
use crate::policy::lease::StreamState;

use super::Appliance;

impl Appliance {
    pub(super) fn public_view(&self) -> Option<PublicView> {
        let plane = self.plane()?;
        // *Off* too where the policy thread is silent; and where every detector is lost nobody looks, whatever is allowed.
        let board = if plane.detectors_lost() { Vec::new() } else { plane.policy.snapshot() };
        // Of a register that cannot be read no zone is known, and every stream is dark.
        let register = plane.policy.register().map(|r| r.register().clone()).unwrap_or_default();
        Some(PublicView {
            at: format_utc(self.clock.utc()),
            site: plane.site.name.clone(),
            controller: plane.site.controller.clone(),
            contact: plane.site.contact.clone(),
            profiles: register.rules.profile_names().map(str::to_owned).collect(),
            zones: register.zones.iter().map(|zone| public_zone(&register, zone, &board)).collect(),
            checkpoint: None,
        })
    }
}

/// What is done in the zone itself: a stream that shows several is lit for some of them, and dark for the others.
fn public_zone(register: &Register, zone: &Zone, board: &[StreamPolicy]) -> PublicZone {
    let id = zone.id.as_str();
    let kinds = |each: &mut dyn Iterator<Item = &'static str>| {
        let mut kinds: Vec<String> = each.map(str::to_owned).collect();
        kinds.sort();
        kinds.dedup();
        kinds
    };
    // Nobody is ever looked at in a private zone, whatever else its cameras see.
    let lit = |stream: &&StreamPolicy| zone.kind != ZoneKind::Private && stream.zones.contains(&zone.id);
    let streams = || board.iter().filter(lit);
    let here = |zones: &[String]| zones.iter().any(|z| z == id);
    PublicZone {
        id: id.to_owned(),
        kind: zone.kind.name().to_owned(),
        state: streams().map(|s| s.state).max().unwrap_or(StreamState::Off).name().to_owned(),
        purposes: kinds(&mut streams().flat_map(|s| &s.purposes).map(|p| p.kind().name())),
        declared: kinds(&mut register.purposes.iter().filter(|p| here(&p.zones)).map(|p| p.purpose.kind().name())),
        signs: register.signs.iter().filter(|s| s.zone == id && s.withdrawn.is_none()).count(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Stamp;
    use crate::policy::rules::{Reason, Rule};

    #[test]
    fn a_zone_that_is_dark_while_its_neighbour_on_the_same_stream_is_lit_says_so() {
        let zone = |id: &str, kind| Zone { id: id.to_owned(), kind };
        let zones = vec![zone("hall", ZoneKind::Public), zone("yard", ZoneKind::Public), zone("home", ZoneKind::Private)];
        let register = Register { zones, ..Register::default() };
        let stream = |state, zones: &[&str]| StreamPolicy {
            name: "north".into(),
            state,
            reason: Reason::new(Rule::Granted, "", ""),
            purposes: vec!["missing-person:mp-7".parse().expect("a purpose")],
            zones: zones.iter().map(|z| (*z).to_owned()).collect(),
            next_expiry: Some(Stamp::from_ns(0)),
            epoch: 1,
            revoked_at: None,
        };
        let told = |board: &[StreamPolicy]| -> Vec<(String, usize)> {
            let zones = register.zones.iter().map(|zone| public_zone(&register, zone, board));
            zones.map(|zone| (zone.state, zone.purposes.len())).collect()
        };
        let [off, lit] = [("off".to_owned(), 0), ("recognise".to_owned(), 1)];
        assert_eq!(told(&[stream(StreamState::Recognise, &["hall"])]), [lit.clone(), off.clone(), off.clone()]);
        let two = [stream(StreamState::Recognise, &["hall"]), stream(StreamState::CaptureOnly, &["yard", "home"])];
        assert_eq!(told(&two)[1].0, "capture-only");
        assert_eq!(told(&two)[2], off, "whatever a stream says");
        assert_eq!(told(&[]), [off.clone(), off.clone(), off]);
    }
}
