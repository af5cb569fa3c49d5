//! Zones that a template may be searched for in, and how a search from a place sees only those.
//!
//! A template's zones are part of what it is sealed with, so nobody adds one. A row is seen where it may be searched for in *all* zones of the place that is asked
//! from: a stream that shows two zones does not say in which of them a face is. A desk sees all rows.
//!
//! In a scan a zone is a bit of 64. The last bit stands for every zone that has none: rows without bounds have all bits, and others never have that one, so
//! what does not fit (a 64th zone, a zone that nobody is enrolled for) sees less and never more.

use std::sync::Arc;

use crate::policy::lease::Place;

/// Zones of one purpose that are told apart.
pub const MAX_ZONES: usize = 63;
const OTHERS: u64 = 1 << MAX_ZONES;

/// Zones of a template, sorted. `None`: a record of format 1, which names none: wherever its purpose is granted.
pub(crate) type Zones = Option<Arc<[String]>>;

/// The same zones in one place of memory, for rows that follow each other.
#[derive(Default)]
pub(crate) struct Shared(Zones);

impl Shared {
    pub fn of(&mut self, zones: Option<Vec<String>>) -> Zones {
        let zones = zones?;
        if self.0.as_deref() != Some(&zones) {
            self.0 = Some(zones.into());
        }
        self.0.clone()
    }
}

/// Which bit is which zone's, in one gallery.
#[derive(Clone, Default)]
pub(crate) struct ZoneBits(Vec<String>);

impl ZoneBits {
    pub fn of<'a>(rows: impl Iterator<Item = &'a Zones>) -> Self {
        let mut all: Vec<String> = Vec::new();
        let mut last: Option<&'a Arc<[String]>> = None;
        for zones in rows.flatten() {
            if last.is_none_or(|last| !Arc::ptr_eq(last, zones)) {
                all.extend(zones.iter().filter(|zone| !all.contains(zone)).cloned().collect::<Vec<_>>());
                last = Some(zones);
            }
        }
        all.sort();
        if all.len() > MAX_ZONES {
            tracing::error!(
                zones = all.len(),
                "a gallery tells {MAX_ZONES} zones apart: in the others nobody is found who is not enrolled for every zone"
            );
            all.truncate(MAX_ZONES);
        }
        Self(all)
    }

    fn bit(&self, zone: &str) -> Option<u64> {
        self.0.binary_search_by(|name| name.as_str().cmp(zone)).ok().map(|place| 1 << place)
    }

    /// What a row is tagged with.
    pub fn tag(&self, zones: &Zones) -> u64 {
        zones.as_ref().map_or(u64::MAX, |zones| zones.iter().filter_map(|zone| self.bit(zone)).sum())
    }

    /// The bits that a row must have. `None`: nobody is seen.
    pub fn asked(&self, place: &Place) -> Option<u64> {
        match place {
            Place::Desk => Some(0),
            Place::Zones(zones) if zones.is_empty() => None,
            Place::Zones(zones) => Some(zones.iter().fold(0, |bits, zone| bits | self.bit(zone).unwrap_or(OTHERS))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_seen_where_all_zones_of_the_place_are_its_own() {
        let zones = |names: &[&str]| -> Zones { Some(names.iter().map(|n| (*n).to_owned()).collect()) };
        let rows = [zones(&["hall"]), zones(&["hall", "stairs"]), zones(&[]), None];
        let bits = ZoneBits::of(rows.iter());
        let seen = |place: Place| -> Vec<usize> {
            let asked = bits.asked(&place);
            (0..rows.len()).filter(|row| asked.is_some_and(|asked| bits.tag(&rows[*row]) & asked == asked)).collect()
        };
        assert_eq!(seen(Place::zones(["hall"])), [0, 1, 3]);
        assert_eq!(seen(Place::zones(["stairs"])), [1, 3]);
        assert_eq!(seen(Place::zones(["stairs", "hall"])), [1, 3], "a stream that shows both does not say where a face is");
        assert_eq!(seen(Place::zones(["roof"])), [3]);
        assert_eq!(seen(Place::zones(["hall", "roof"])), [3]);
        assert_eq!(seen(Place::nowhere()), [0; 0]);
        assert_eq!(seen(Place::Desk), [0, 1, 2, 3]);
        // More than there are bits: what has none is not seen from there.
        let many: Vec<Zones> = (0..80).map(|zone| zones(&[&format!("z{zone:02}")])).collect();
        let bits = ZoneBits::of(many.iter());
        let seen = |zone: &str| {
            let asked = bits.asked(&Place::zones([zone])).expect("asked");
            (0..80).filter(|row| bits.tag(&many[*row]) & asked == asked).collect::<Vec<usize>>()
        };
        assert_eq!((seen("z07"), seen("z62"), seen("z63"), seen("z79")), (vec![7], vec![62], vec![], vec![]));
    }
}
