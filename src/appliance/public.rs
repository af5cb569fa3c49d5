//! What the public status page says: the register's zones, and what the policy thread's board has for their cameras at this moment.

use crate::clock::format_utc;
use crate::console::public::{PublicView, PublicZone};
use crate::policy::board::StreamPolicy;
use crate::policy::facts::{Register, ZoneKind};
use crate::policy::lease::StreamState;

use super::Appliance;

impl Appliance {
    pub(super) fn public_view(&self) -> Option<PublicView> {
        let plane = self.plane()?;
        let names = self.plan.lock().names_in_register();
        // *Off* too where the policy thread is silent; and where every detector is lost nobody looks, whatever is allowed.
        let board = if plane.detectors_lost() { Vec::new() } else { plane.policy.snapshot() };
        // Of a register that cannot be read no zone is known, and every stream is dark.
        let register = plane.policy.register().map(|r| r.register().clone()).unwrap_or_default();
        let of_zone = |zone: &str| -> Vec<&StreamPolicy> {
            let of = |stream: &str| register.areas.iter().any(|a| a.zone == zone && a.stream == stream);
            board.iter().zip(&names).filter(|(_, name)| of(name)).map(|(policy, _)| policy).collect()
        };
        Some(PublicView {
            at: format_utc(self.clock.utc()),
            site: plane.site.name.clone(),
            controller: plane.site.controller.clone(),
            contact: plane.site.contact.clone(),
            profiles: register.rules.profile_names().map(str::to_owned).collect(),
            zones: register.zones.iter().map(|zone| public_zone(&register, &zone.id, zone.kind.name(), &of_zone(&zone.id))).collect(),
            checkpoint: None,
        })
    }
}

fn public_zone(register: &Register, id: &str, kind: &str, streams: &[&StreamPolicy]) -> PublicZone {
    let kinds = |each: &mut dyn Iterator<Item = &'static str>| {
        let mut kinds: Vec<String> = each.map(str::to_owned).collect();
        kinds.sort();
        kinds.dedup();
        kinds
    };
    // Nobody is ever looked at in a private zone, whatever else its cameras see.
    let streams = if kind == ZoneKind::Private.name() { &[] } else { streams };
    let here = |zones: &[String]| zones.iter().any(|z| z == id);
    PublicZone {
        id: id.to_owned(),
        kind: kind.to_owned(),
        state: streams.iter().map(|s| s.state).max().unwrap_or(StreamState::Off).name().to_owned(),
        purposes: kinds(&mut streams.iter().flat_map(|s| &s.purposes).map(|p| p.kind().name())),
        declared: kinds(&mut register.purposes.iter().filter(|p| here(&p.zones)).map(|p| p.purpose.kind().name())),
        signs: register.signs.iter().filter(|s| s.zone == id && s.withdrawn.is_none()).count(),
    }
}
