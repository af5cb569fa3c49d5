//! The merge is a meet: it does not matter in which order regimes are named, nor how often, and the result is never looser than one of them.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;

fn bases() -> impl Strategy<Value = BTreeSet<BasisKind>> {
    subsequence(BasisKind::ALL.to_vec(), 0..=4).prop_map(|v| v.into_iter().collect())
}
fn zones() -> impl Strategy<Value = BTreeSet<ZoneKind>> {
    subsequence(ZoneKind::ALL.to_vec(), 0..=4).prop_map(|v| v.into_iter().collect())
}
fn number() -> impl Strategy<Value = u32> {
    select(vec![0, 1, 2, 30, 48, u32::MAX])
}
fn cap() -> impl Strategy<Value = Option<u32>> {
    prop::option::of(number())
}

prop_compose! {
    fn lists()(
        per_purpose in prop::collection::vec(bases(), 5),
        live_1n in bases(),
        one_to_one in bases(),
        alternative_for in zones(),
        vote_for in zones(),
        templates in subsequence(vec!["cn-zh-1".to_owned(), "eu-en-1".to_owned()], 0..=2),
    ) -> Values {
        let bases = PurposeKind::ALL.into_iter().zip(per_purpose).collect();
        let text_templates = templates.into_iter().collect();
        Values { bases, live_1n, one_to_one, alternative_for, vote_for, text_templates, ..Values::loosest() }
    }
}

prop_compose! {
    fn values()(
        lists in lists(),
        n in prop::collection::vec(number(), 10),
        caps in prop::collection::vec(cap(), 3),
        yes in prop::collection::vec(any::<bool>(), 5),
    ) -> Values {
        Values {
            inspect_max_days: n[0], heartbeat_s: n[1], minor_age: n[2], order_max_hours: n[3], order_renewals: n[4], order_approvers: n[5],
            confirmations: n[6], filing_warn_pct: n[7].min(100), vote_permille: n[8].min(1_000),
            templates_max_days: caps[0], filing_persons: caps[1], pending_hours: caps[2],
            on_device: yes[0], no_egress: yes[1], guardian: yes[2], purge_at_end: yes[3], governance: yes[4],
            ..lists
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_merge_is_commutative_associative_and_idempotent(a in values(), b in values(), c in values()) {
        prop_assert_eq!(a.strictest(&b), b.strictest(&a));
        prop_assert_eq!(a.strictest(&b).strictest(&c), a.strictest(&b.strictest(&c)));
        prop_assert_eq!(a.strictest(&a), a.clone());
        prop_assert_eq!(a.strictest(&Values::loosest()), a);
    }

    /// Said value by value, not by the merge itself.
    #[test]
    fn the_merge_is_never_looser_than_one_of_its_parts(a in values(), b in values()) {
        let m = a.strictest(&b);
        let cap = |v: Option<u32>| v.map_or(u64::MAX, u64::from);
        for part in [&a, &b] {
            prop_assert!(m.is_within(part));
            for kind in PurposeKind::ALL {
                prop_assert!(m.bases[&kind].is_subset(&part.bases[&kind]));
                prop_assert!(m.bases_for(kind).is_subset(&part.bases_for(kind)));
            }
            prop_assert!(m.live_1n.is_subset(&part.live_1n) && m.one_to_one.is_subset(&part.one_to_one));
            prop_assert!(m.inspect_max_days <= part.inspect_max_days && m.heartbeat_s <= part.heartbeat_s);
            prop_assert!(m.order_max_hours <= part.order_max_hours && m.order_renewals <= part.order_renewals);
            prop_assert!(m.order_approvers >= part.order_approvers && m.confirmations >= part.confirmations);
            prop_assert!(m.minor_age >= part.minor_age && m.vote_permille >= part.vote_permille);
            prop_assert!(m.filing_warn_pct <= part.filing_warn_pct);
            prop_assert!(cap(m.templates_max_days) <= cap(part.templates_max_days) && cap(m.filing_persons) <= cap(part.filing_persons));
            prop_assert!(cap(m.pending_hours) <= cap(part.pending_hours));
            prop_assert!(part.alternative_for.is_subset(&m.alternative_for) && part.vote_for.is_subset(&m.vote_for));
            prop_assert!(part.text_templates.is_subset(&m.text_templates));
            let ask = |v: &Values| [v.on_device, v.no_egress, v.guardian, v.purge_at_end, v.governance];
            prop_assert!(ask(&m).iter().zip(ask(part)).all(|(merged, part)| *merged >= part));
        }
    }
}
