//! A sign that a camera sees counts while the camera reads it (C14): the rule, and when a camera may look for it.
//!
//! Two questions, both pure. [`attestation_holds`]: does what was last observed let the stream be lit? [`may_look`]: may the stream's picture be opened for
//! nothing but its sign? The second must be answered yes while the first says no, or a suspended stream could never come back; so it
//! asks for far less: that the sign and its place are in the register, and that no private zone is in the picture. [`ViewDesk`] gives the same leave to a
//! command that learns a view.

use std::time::Duration;

use crate::area::{Area, Vertex};

use crate::clock::SharedClock;
use crate::frame::{StreamIndex, TableId};

use super::facts::{Register, View, ZoneKind};
use super::lease::{Attest, LeaseTable, LeaseWriter, MAX_LEASE, Permit, Withheld};
use super::observed::{Attested, Moment};
use super::rules::{Reason, Rule};

/// An observation counts for the interval that the register asks for and this much more, also where nobody is left to say that the sign is
/// gone: the camera, or the thread that looks.
const GRACE: Duration = Duration::from_secs(1);

/// Either that nothing is to be said against the stream on account of its sign, or why it is off.
pub fn attestation_holds(register: &Register, stream: &str, moment: Moment<'_>) -> Result<(), Reason> {
    let no = |rule, fact: String, remedy: &str| Err(Reason::new(rule, fact, remedy));
    let Some(view) = view_of(register, stream) else {
        if !register.rules.attested_signs_only {
            return Ok(());
        }
        let fact = format!("no sign is recorded that stream `{stream}` sees, and every stream needs one (`attested_signs_only`)");
        return no(Rule::SignAttested, fact, "point the camera so that it sees its sign, then run `placard sign view`");
    };
    let sign = &view.sign;
    may_be_looked_for(register, view)?;
    let Some(last) = moment.observed.attestations.get(stream) else {
        let fact = format!("sign `{sign}` has not been read in the picture of `{stream}` since the service started");
        return no(Rule::SignAttested, fact, "wait until the camera has read it; if it cannot, look at the sign and the camera");
    };
    let longest = Duration::from_secs(u64::from(view.attest_every_s)).saturating_add(GRACE);
    let age_ns = moment.now.monotonic.since_ns(last.at);
    // An observation from the future is none.
    if age_ns > i64::try_from(longest.as_nanos()).unwrap_or(i64::MAX) || age_ns < -1_000_000_000 {
        let fact = format!("nobody has looked for sign `{sign}` in the picture of `{stream}` for {} s or more", longest.as_secs());
        return no(Rule::SignAttested, fact, "see whether the camera delivers pictures (`placard status`)");
    }
    match last.what {
        Attested::Seen => Ok(()),
        Attested::Missing => {
            let fact = format!("sign `{sign}` cannot be read in the picture of `{stream}`: gone, covered, dirty or dark");
            no(Rule::SignAttested, fact, "uncover it or put it up again; the stream comes back by itself when its code is read")
        }
        Attested::Foreign => {
            let fact = format!("where sign `{sign}` should hang in the picture of `{stream}` there is a code that is not this sign's");
            no(Rule::SignAttested, fact, "hang the sign that `placard sign print` makes from the register as it is now")
        }
        Attested::Moved => {
            let fact = format!("sign `{sign}` is not where it was in the picture of `{stream}`");
            no(Rule::SignAttested, fact, "put it back, or commission the view again (`placard sign view`)")
        }
        Attested::Drifted => {
            let fact = format!("stream `{stream}` shows another view than the one that was commissioned");
            no(Rule::ViewSteady, fact, "turn the camera back, or commission the view again (`placard sign view`)")
        }
    }
}

/// Where in the picture the stream's sign may be looked for: the smallest upright rectangle around the code, grown; with a fingerprint the
/// whole picture, for its coarse edges. `None`: nowhere.
pub fn may_look(register: &Register, stream: &str) -> Option<Area> {
    let view = view_of(register, stream)?;
    may_be_looked_for(register, view).ok()?;
    if view.fingerprint.is_some() {
        return Some(Area::whole());
    }
    let bound = |axis: usize, grow: f64, pick: fn(f64, f64) -> f64| {
        let first = view.code[0][axis];
        (view.code.iter().fold(first, |v, corner| pick(v, corner[axis])) + grow).clamp(0.0, 1.0)
    };
    let extent = (0..2).map(|axis| bound(axis, 0.0, f64::max) - bound(axis, 0.0, f64::min)).fold(0.0, f64::max);
    let grow = 2.0 * view.tolerance.max(0.0) + 0.5 * extent;
    let (x0, x1) = (bound(0, -grow, f64::min), bound(0, grow, f64::max));
    let (y0, y1) = (bound(1, -grow, f64::min), bound(1, grow, f64::max));
    let rectangle: Vec<Vertex> = vec![[x0, y0], [x1, y0], [x1, y1], [x0, y1]];
    Area::new(vec![rectangle]).ok()
}

/// The stream's view. Where two are recorded the first counts.
pub fn view_of<'r>(register: &'r Register, stream: &str) -> Option<&'r View> {
    register.views.iter().find(|v| v.stream == stream)
}

/// Whether anybody may open a picture of the view's stream to look for its sign; a view of a sign that is in none of the stream's zones
/// attests nothing.
fn may_be_looked_for(register: &Register, view: &View) -> Result<(), Reason> {
    let (stream, id) = (&view.stream, &view.sign);
    let no = |rule, fact: String, remedy: &str| Err(Reason::new(rule, fact, remedy));
    let sign = register.sign(id);
    let here = |zone: &str| register.areas.iter().any(|a| a.stream == *stream && a.zone == zone);
    let Some(sign) = sign.filter(|sign| here(&sign.zone)) else {
        let fact = format!("the view of `{stream}` names sign `{id}`, which is in none of the stream's zones");
        return no(Rule::SignAttested, fact, "correct the [[view]]");
    };
    let private = |zone: &str| register.zone(zone).is_none_or(|z| z.kind == ZoneKind::Private);
    if let Some(area) = register.areas.iter().find(|a| a.stream == *stream && private(&a.zone)) {
        let fact =
            format!("the picture of `{stream}` shows zone `{}`, which is private or unknown, so nobody looks for a sign in it", area.zone);
        return no(Rule::SignAttested, fact, "turn the camera away from that zone and remove its [[area]]");
    }
    if sign.withdrawn.is_some() || sign.posted_on.is_none() {
        let fact = format!("sign `{id}`, which stream `{stream}` sees, is withdrawn or was never posted");
        return no(Rule::SignAttested, fact, "post it (`placard sign post`) and inspect it, or commission a view of another sign");
    }
    Ok(())
}

/// Leave to look for a sign that is about to be commissioned, in the pictures of one source that nobody else looks at. As with any look at a
/// sign: it must hang, in a zone that the stream shows, and no private zone may be in the picture.
pub struct ViewDesk {
    writer: LeaseWriter,
    table: LeaseTable,
    profile_hash: [u8; 32],
    clock: SharedClock,
}

impl ViewDesk {
    pub fn open(register: &Register, stream: &str, sign: &str, clock: SharedClock) -> Result<Self, Reason> {
        let view = View {
            stream: stream.to_owned(),
            sign: sign.to_owned(),
            code: [[0.0; 2]; 4],
            tolerance: 0.0,
            attest_every_s: 1,
            fingerprint: Some(String::new()),
        };
        may_be_looked_for(register, &view)?;
        let (writer, table) = LeaseWriter::new(1, &clock);
        Ok(Self { writer, table, profile_hash: register.hash_for(stream), clock })
    }

    /// Whose permits these are: the source's frames are made for it, as stream 0.
    pub const fn table(&self) -> TableId {
        self.table.id()
    }

    /// Leave to look at one picture.
    pub fn permit(&mut self) -> Result<Permit<Attest>, Withheld> {
        let now = self.clock.monotonic();
        self.writer.publish_attest(StreamIndex(0), &Area::whole(), self.profile_hash, (now, now.plus(MAX_LEASE)));
        self.table.attest_permit(StreamIndex(0), now)
    }
}

#[cfg(test)]
mod tests {
    use super::super::facts::testing::good;
    use super::super::observed::{At, Observed};
    use super::*;
    use crate::area::overlap;
    use crate::clock::{Now, Stamp};

    const S: i64 = 1_000_000_000;

    fn watched(every_s: u32) -> Register {
        let mut register = good();
        register.views.push(View {
            stream: "north".to_owned(),
            sign: "hall-1".to_owned(),
            code: [[0.1, 0.2], [0.2, 0.2], [0.2, 0.35], [0.1, 0.35]],
            tolerance: 0.01,
            attest_every_s: every_s,
            fingerprint: None,
        });
        register
    }

    fn rule(register: &Register, what: Option<(Attested, i64)>, now_s: i64) -> Option<Rule> {
        let mut observed = Observed::default();
        if let Some((what, at_s)) = what {
            observed.attestations.insert("north".into(), At { what, at: Stamp::from_ns(at_s * S) });
        }
        let now = Now { monotonic: Stamp::from_ns(now_s * S), utc: Stamp::from_ns(0) };
        attestation_holds(register, "north", Moment { now, observed: &observed }).err().map(|r| r.rule)
    }

    #[test]
    fn only_a_sign_that_was_read_lately_keeps_a_stream_lit() {
        let register = watched(10);
        assert_eq!(rule(&register, Some((Attested::Seen, 100)), 100), None);
        assert_eq!(rule(&register, Some((Attested::Seen, 100)), 111), None);
        assert_eq!(rule(&register, Some((Attested::Seen, 100)), 112), Some(Rule::SignAttested), "nobody has looked");
        assert_eq!(rule(&register, Some((Attested::Seen, 102)), 100), Some(Rule::SignAttested), "in the future");
        assert_eq!(rule(&register, None, 100), Some(Rule::SignAttested));
        for what in [Attested::Missing, Attested::Foreign, Attested::Moved] {
            assert_eq!(rule(&register, Some((what, 100)), 100), Some(Rule::SignAttested), "{what:?}");
        }
        assert_eq!(rule(&register, Some((Attested::Drifted, 100)), 100), Some(Rule::ViewSteady));
        let well = Observed::all_well(&register);
        assert_eq!(attestation_holds(&register, "north", well.on(Stamp::from_ns(0))), Ok(()));
    }

    #[test]
    fn without_a_view_inspection_alone_counts_unless_every_sign_is_to_be_attested() {
        let mut register = good();
        assert_eq!(rule(&register, None, 0), None);
        register.rules.attested_signs_only = true;
        assert_eq!(rule(&register, None, 0), Some(Rule::SignAttested));
        let mut elsewhere = watched(10);
        elsewhere.areas[0].stream = "south".to_owned();
        assert_eq!(rule(&elsewhere, Some((Attested::Seen, 0)), 0), Some(Rule::SignAttested), "a sign of another zone");
    }

    #[test]
    fn a_camera_looks_for_a_sign_that_hangs_where_no_private_zone_is_and_only_there() {
        let register = watched(10);
        let area = may_look(&register, "north").expect("it may");
        let part = |corners: [Vertex; 4]| overlap(&area.polygons()[0], &corners);
        assert!(part([[0.14, 0.3], [0.16, 0.3], [0.16, 0.31], [0.14, 0.31]]), "{area:?}");
        assert!(!part([[0.6, 0.6], [0.7, 0.6], [0.7, 0.7], [0.6, 0.7]]), "{area:?}");
        assert_eq!(may_look(&good(), "north"), None, "no view");
        assert_eq!(may_look(&register, "south"), None);
        let mut whole = register.clone();
        whole.views[0].fingerprint = Some(String::new());
        assert_eq!(may_look(&whole, "north"), Some(Area::whole()));
        let mut private = register.clone();
        private.zones[0].kind = ZoneKind::Private;
        assert_eq!(may_look(&private, "north"), None);
        let mut unknown = register.clone();
        unknown.zones.clear();
        assert_eq!(may_look(&unknown, "north"), None);
        let mut down = register.clone();
        down.signs[0].posted_on = None;
        assert_eq!(may_look(&down, "north"), None);
    }
}
