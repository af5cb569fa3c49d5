//! Leases run out, end and are renewed; each stage needs its state, and each purpose its grant.

use super::testing::grant;
use super::*;

const T0: Stamp<Monotonic> = Stamp::from_ns(1_000_000_000);

#[test]
fn a_lease_runs_out_by_itself() {
    let g = grant(StreamState::Recognise, &["missing-person:1"], Area::whole(), T0);
    let permit = g.table.permit::<Detect>(StreamIndex(0), T0).expect("live");
    let end = T0.plus(MAX_LEASE);
    assert!(permit.is_live(Stamp::from_ns(end.ns() - 1)));
    assert!(!permit.is_live(end));
    assert_eq!(g.table.permit::<Detect>(StreamIndex(0), end).err(), Some(Withheld::Expired));
    assert_eq!(g.table.state(StreamIndex(0), end), StreamState::Off);
}

#[test]
fn revoking_ends_permits_already_handed_out() {
    let mut g = grant(StreamState::Recognise, &["missing-person:1"], Area::whole(), T0);
    let permit = g.table.permit::<Embed>(StreamIndex(0), T0).expect("live");
    g.writer.revoke(StreamIndex(0));
    assert!(!permit.is_live(T0));
    assert_eq!(g.table.permit::<Embed>(StreamIndex(0), T0).err(), Some(Withheld::NoLease));
}

#[test]
fn a_change_of_terms_ends_old_permits_and_a_renewal_does_not() {
    let mut g = grant(StreamState::Recognise, &["missing-person:1"], Area::whole(), T0);
    let permit = g.table.permit::<Detect>(StreamIndex(0), T0).expect("live");
    let mut terms = permit.terms.1.clone();
    g.writer.publish(&terms, T0.plus(MAX_LEASE * 4 / 5));
    assert!(permit.is_live(T0.plus(MAX_LEASE * 8 / 5)));
    terms.area = Area::new(vec![vec![[0.0, 0.0], [0.5, 0.0], [0.0, 0.5]]]).expect("valid");
    g.writer.publish(&terms, T0.plus(MAX_LEASE));
    assert!(!permit.is_live(T0.plus(MAX_LEASE + Duration::from_millis(1))));
}

#[test]
fn a_lapsed_lease_does_not_come_back_to_life_and_none_runs_past_its_end() {
    let mut g = grant(StreamState::Recognise, &["missing-person:1"], Area::whole(), T0);
    let old = g.table.permit::<Detect>(StreamIndex(0), T0).expect("live");
    let later = T0.plus(Duration::from_secs(3));
    let terms = old.terms.1.clone();
    g.writer.publish_until(&terms, later, later.plus(Duration::from_millis(30)));
    assert!(!old.is_live(later), "handed out under the lease that lapsed");
    let new = g.table.permit::<Detect>(StreamIndex(0), later).expect("live");
    assert!(new.is_live(later.plus(Duration::from_millis(29))) && !new.is_live(later.plus(Duration::from_millis(30))));
    g.writer.publish_until(&terms, later, later.plus(Duration::from_secs(9)));
    assert!(!new.is_live(later.plus(MAX_LEASE)), "nobody grants more than MAX_LEASE");
}

#[test]
fn each_stage_needs_its_state_and_each_purpose_its_grant() {
    let g = grant(StreamState::Detect, &["mask-check"], Area::whole(), T0);
    let s = StreamIndex(0);
    assert!(g.table.permit::<Detect>(s, T0).is_ok());
    assert_eq!(g.table.permit::<Embed>(s, T0).err(), Some(Withheld::State { state: StreamState::Detect }));
    let (mask, other) = ("mask-check".parse().expect("purpose"), "missing-person:1".parse().expect("purpose"));
    let tell = g.table.permit_for::<TellMask>(s, &mask, T0).expect("granted");
    assert_eq!((tell.purpose(), tell.epoch()), (&mask, g.table.permit::<MaskCheck>(s, T0).expect("granted").epoch()));
    assert_eq!(g.table.match_permits(s, T0).err(), Some(Withheld::State { state: StreamState::Detect }));
    let both = grant(StreamState::Recognise, &["missing-person:1", "mask-check"], Area::whole(), T0);
    assert!(both.table.permit::<Embed>(s, T0).is_ok() && both.table.permit::<MaskCheck>(s, T0).is_ok());
    assert_eq!(both.table.permit_for::<TellMask>(s, &other, T0).err(), Some(Withheld::Purpose), "a mask is not told of for it");
    assert_eq!(both.table.permit_for::<Emit>(s, &mask, T0).err(), Some(Withheld::Purpose), "a mask check tells of no identity");
    // Detection alone, for somebody to be found, looks at nobody's mask; and a lease that only says `recognise` embeds nobody.
    let found = grant(StreamState::Recognise, &["missing-person:1"], Area::whole(), T0);
    let detect = found.table.permit::<Detect>(s, T0).expect("granted");
    assert_eq!((detect.lease_includes::<Embed>(), detect.lease_includes::<MaskCheck>()), (true, false));
    assert_eq!(found.table.permit::<MaskCheck>(s, T0).err(), Some(Withheld::Purpose));
    let inflated = grant(StreamState::Recognise, &["mask-check"], Area::whole(), T0);
    assert_eq!(inflated.table.permit::<Embed>(s, T0).err(), Some(Withheld::Purpose));
    let g = grant(StreamState::Recognise, &["missing-person:1", "mask-check"], Area::whole(), T0);
    let ask = |p: &str| g.table.permit_for::<Match>(s, &p.parse().expect("purpose"), T0);
    assert_eq!(ask("missing-person:1").expect("granted").purpose().to_string(), "missing-person:1");
    assert_eq!(ask("missing-person:2").err(), Some(Withheld::Purpose));
    assert_eq!(ask("mask-check").err(), Some(Withheld::Purpose), "a mask check never identifies");
    assert_eq!(g.table.match_permits(s, T0).expect("granted").len(), 1);
    assert_eq!(g.table.permit::<Detect>(StreamIndex(9), T0).err(), Some(Withheld::NoLease));
}

#[test]
fn a_verification_opens_no_search_whatever_the_rules_grant() {
    let s = StreamIndex(0);
    let g = grant(StreamState::Recognise, &["access-verification"], Area::whole(), T0);
    assert_eq!(g.table.permit::<Embed>(s, T0).err(), Some(Withheld::Purpose), "nobody is embedded who claims nothing");
    assert_eq!(g.table.match_permits(s, T0).err(), Some(Withheld::Purpose));
    let verification = "access-verification".parse().expect("purpose");
    assert_eq!(g.table.permit_for::<Match>(s, &verification, T0).err(), Some(Withheld::Purpose));
    let both = grant(StreamState::Recognise, &["access-verification", "missing-person:1"], Area::whole(), T0);
    let searched = both.table.match_permits(s, T0).expect("granted");
    assert_eq!(searched.iter().map(|p| p.purpose().to_string()).collect::<Vec<_>>(), ["missing-person:1"]);
    assert_eq!(both.table.permit_for::<Emit>(s, &verification, T0).err(), Some(Withheld::Purpose));
}

#[test]
fn a_look_at_the_sign_has_a_lease_of_its_own_that_lights_nothing_and_opens_nothing_else() {
    let (clock, s) = (crate::clock::SimulatedClock::starting_at(Stamp::from_ns(0)), StreamIndex(0));
    let shared: SharedClock = clock.clone();
    let (mut writer, table) = LeaseWriter::new(1, &shared);
    let now = || crate::clock::Clock::monotonic(&*clock);
    let term = || (now(), now().plus(MAX_LEASE));
    assert_eq!(table.attest_permit(s, now()).err(), Some(Withheld::NoLease));
    writer.publish_attest(s, &Area::whole(), [7; 32], term());
    let permit = table.attest_permit(s, now()).expect("leased");
    assert!(permit.stands() && !permit.lease_includes::<Detect>() && !permit.lease_includes::<Embed>());
    assert_eq!(table.state(s, now()), StreamState::Off);
    assert_eq!(table.permit::<Detect>(s, now()).err(), Some(Withheld::NoLease));
    assert!(table.permit::<Attest>(s, now()).is_err(), "only its own lease gives it");
    // Renewed it goes on; the stream's own lease and its end do not touch it.
    writer.publish_attest(s, &Area::whole(), [7; 32], term());
    let grants =
        vec![Grant { purpose: "mask-check".parse().expect("purpose"), basis: "test".into(), confirmations: 0, place: Place::Desk }];
    let terms = LeaseTerms { stream: s, state: StreamState::Detect, grants, area: Area::whole(), profile_hash: [7; 32], claim: None };
    writer.publish(&terms, now());
    assert!(table.permit::<Attest>(s, now()).is_err(), "nor does a lit stream's lease");
    writer.revoke(s);
    assert!(permit.stands());
    writer.revoke_attest(s);
    assert!(!permit.stands() && table.attest_permit(s, now()).is_err());
    writer.publish_attest(s, &Area::whole(), [7; 32], term());
    assert!(!permit.stands(), "another lease");
    clock.advance(MAX_LEASE);
    assert_eq!(table.attest_permit(s, now()).err(), Some(Withheld::Expired));
    assert!(table.attest_permit(StreamIndex(1), now()).is_err());
}
