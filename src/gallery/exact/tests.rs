//! The exact scan against a naive search: same subjects, same order.

use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;

fn loaded(dim: usize, version: u64, templates: &[Template]) -> Result<ExactScan, ScanError> {
    ExactScan::new(dim, version, templates, &Arc::new(Crew::alone()))
}

const FAR: Stamp<Utc> = Stamp::from_ns(i64::MAX);

fn subject(number: usize) -> SubjectId {
    SubjectId(format!("{number:032x}").into())
}

fn template(number: usize, values: Vec<f32>) -> Template {
    Template {
        subject: subject(number),
        enrolled_at: Stamp::from_ns(0),
        expires_at: FAR,
        consent: None,
        zones: None,
        values: Zeroizing::new(values),
    }
}

/// Sort everything by an f64 dot product; best template per subject; ties by the subject's first place.
fn naive(templates: &[Template], query: &[f32], threshold: f32, top_k: usize) -> Vec<(SubjectId, f64)> {
    let mut all: Vec<(SubjectId, f64)> = Vec::new();
    for t in templates {
        let score = t.values.iter().zip(query).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        match all.iter_mut().find(|(s, _)| *s == t.subject) {
            Some((_, best)) => *best = f64::max(*best, score),
            None => all.push((t.subject.clone(), score)),
        }
    }
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    all.retain(|(_, score)| *score >= f64::from(threshold));
    all.truncate(top_k);
    all
}

/// Unit vectors whose products are exact in f32 and f64: ±1/√dim with √dim a power of two. Full of ties.
fn signs(dim: usize) -> impl Strategy<Value = Vec<f32>> {
    let value = if dim == 16 { 0.25 } else { 0.125 };
    prop::collection::vec(prop::bool::ANY.prop_map(move |b| if b { value } else { -value }), dim)
}

fn unit(dim: usize) -> impl Strategy<Value = Vec<f32>> {
    prop::collection::vec(-1.0_f32..1.0, dim).prop_filter_map("too short", |mut v| {
        let norm = v.iter().map(|x| x * x).sum::<f32>().sqrt();
        v.iter_mut().for_each(|x| *x /= norm);
        (norm > 0.01).then_some(v)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn ties_and_scores_are_those_of_the_naive_search(
        rows in prop::collection::vec((0_usize..12, signs(16)), 0..60),
        query in signs(16), threshold in -1.0_f32..1.0, top_k in 0_usize..20,
    ) {
        let templates: Vec<Template> = rows.into_iter().map(|(n, v)| template(n, v)).collect();
        let scan = loaded(16, 1, &templates).expect("unit rows");
        let found: Vec<(SubjectId, f64)> =
            scan.search(&query, threshold, top_k).into_iter().map(|c| (c.subject, f64::from(c.score))).collect();
        prop_assert_eq!(found, naive(&templates, &query, threshold, top_k));
    }

    #[test]
    fn any_vectors_and_odd_dimensions_agree_up_to_rounding(
        (rows, query) in (1_usize..70).prop_flat_map(|dim| (prop::collection::vec(unit(dim), 1..40), unit(dim))),
        top_k in 1_usize..8,
    ) {
        let dim = query.len();
        let templates: Vec<Template> = rows.into_iter().enumerate().map(|(n, v)| template(n, v)).collect();
        let scan = loaded(dim, 1, &templates).expect("unit rows");
        let found = scan.search(&query, -2.0, top_k);
        let wanted = naive(&templates, &query, -2.0, templates.len());
        prop_assert_eq!(found.len(), top_k.min(templates.len()));
        prop_assert!(found.is_sorted_by(|a, b| a.score >= b.score));
        for (place, candidate) in found.iter().enumerate() {
            let (_, exact) = wanted.iter().find(|(s, _)| *s == candidate.subject).expect("known subject");
            prop_assert!((f64::from(candidate.score) - exact).abs() < 1e-6);
            prop_assert!((wanted[place].1 - exact).abs() < 2e-6, "place {}", place);
        }
    }
}

#[test]
fn bad_templates_are_refused_and_named() {
    let mut values = vec![0.25; 16];
    for bad in [f32::NAN, f32::INFINITY, 0.5] {
        values[3] = bad;
        let error = loaded(16, 1, &[template(1, vec![0.25; 16]), template(7, values.clone())]).err();
        assert!(matches!(error, Some(ScanError::Template { subject: s, refused: Refused::NotUnit { .. } }) if s == subject(7)), "{bad}");
    }
    let error = loaded(16, 1, &[template(2, vec![1.0])]).err();
    assert_eq!(error, Some(ScanError::Template { subject: subject(2), refused: Refused::Dimension { found: 1, want: 16 } }));
}

#[test]
fn bad_queries_and_an_empty_gallery_find_nobody() {
    let scan = loaded(16, 4, &[template(1, vec![0.25; 16])]).expect("unit");
    assert_eq!(scan.search(&[0.25; 16], 0.5, 3).len(), 1);
    assert_eq!(scan.search(&[0.25; 15], -1.0, 3), []);
    assert_eq!(scan.search(&[f32::NAN; 16], -1.0, 3), []);
    assert_eq!(scan.search(&[], -1.0, 3), []);
    assert_eq!(scan.search(&[0.25; 16], f32::NAN, 3), []);
    assert_eq!(scan.search(&[0.25; 16], -1.0, 0), []);
    assert_eq!(scan.search(&[0.25; 16], -1.0, usize::MAX).len(), 1);
    let empty = loaded(16, 1, &[]).expect("empty");
    assert!(empty.len() == 0 && empty.search(&[0.25; 16], -1.0, 3).is_empty());
}

#[test]
fn a_comparison_with_one_subject_scores_as_a_search_does_and_looks_at_no_other() {
    for dim in [16, 64] {
        let value = 1.0 / (dim as f32).sqrt();
        let signs = |flipped: usize| (0..dim).map(|i| if i < flipped { -value } else { value }).collect::<Vec<f32>>();
        let rows = [template(3, signs(5)), template(1, signs(2)), template(3, signs(1)), template(2, signs(7))];
        let scan = loaded(dim, 1, &rows).expect("unit");
        let query = signs(0);
        for found in scan.search(&query, -1.0, 9) {
            assert_eq!(scan.compare(&Place::Desk, &found.subject.0, &query), Some(found.score), "{dim}: {}", found.subject);
            assert!(scan.knows(&found.subject.0));
        }
        let stranger = subject(9);
        assert_eq!((scan.compare(&Place::Desk, &stranger.0, &query), scan.knows(&stranger.0)), (None, false));
        assert_eq!(scan.compare(&Place::Desk, &subject(1).0, &query[1..]), None);
    }
}

#[test]
fn expired_templates_leave_and_the_rest_keep_their_scores() {
    let at = |n, expires_ns, sign: f32| Template {
        enrolled_at: Stamp::from_ns(0),
        subject: subject(n),
        consent: None,
        zones: None,
        expires_at: Stamp::from_ns(expires_ns),
        values: Zeroizing::new((0..16).map(|i| if i < n { 0.25 } else { 0.25 * sign }).collect()),
    };
    let scan = loaded(16, 9, &[at(1, 100, -1.0), at(2, 50, -1.0), at(3, 70, -1.0), at(2, 200, 1.0)]).expect("unit");
    assert_eq!(scan.earliest_expiry(), Some(Stamp::from_ns(50)));
    assert!(scan.without_expired(Stamp::from_ns(49)).is_none());
    let left = scan.without_expired(Stamp::from_ns(70)).expect("two expired");
    assert_eq!((left.len(), left.version(), left.earliest_expiry()), (2, 9, Some(Stamp::from_ns(100))));
    let query = [0.25; 16];
    let of = |s: &dyn Scan, n| s.search(&query, -2.0, 9).into_iter().find(|c| c.subject == subject(n)).map(|c| c.score);
    assert_eq!(of(&*left, 1), of(&scan, 1));
    assert_eq!(of(&*left, 2), Some(1.0));
    assert_eq!(of(&*left, 3), None);
    let none = left.without_expired(Stamp::from_ns(200)).expect("all expired");
    assert_eq!((none.len(), none.earliest_expiry()), (0, None));
}
