//! One battery for every inner loop, both depths and any number of threads, against a naive search that scores every row: same slots, same
//! order, same bits of the score.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::clock::{Stamp, Utc};

mod large;
mod small;

/// A small generator of its own (SplitMix64), so that a seed says everything.
struct Seeded(u64);

impl Seeded {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// About normally distributed: eight bytes of a number added up.
    fn value(&mut self) -> f32 {
        self.next().to_le_bytes().iter().map(|b| f32::from(*b)).sum::<f32>() - 1020.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("below a usize")
    }

    fn unit(&mut self, dim: usize) -> Vec<f32> {
        normalised((0..dim).map(|_| self.value()).collect())
    }
}

fn normalised(mut values: Vec<f32>) -> Vec<f32> {
    let norm = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
    values.iter_mut().for_each(|v| *v = (f64::from(*v) / norm) as f32);
    values
}

/// `a`, turned by noise: cosine about `share`.
fn near(a: &[f32], share: f32, random: &mut Seeded) -> Vec<f32> {
    let noise = random.unit(a.len());
    normalised(a.iter().zip(&noise).map(|(a, n)| share * a + (1.0 - share * share).sqrt() * n).collect())
}

const FAR: Stamp<Utc> = Stamp::from_ns(i64::MAX);
const EVERYWHERE: Tag = Tag { zones: 1, expires_at: FAR };

/// Rows with their slots and tags.
#[derive(Clone, Default)]
struct Gallery {
    dim: usize,
    rows: Vec<(Vec<f32>, u32, Tag)>,
    withdrawn: Vec<usize>,
}

impl Gallery {
    /// Each row its own subject.
    fn of(dim: usize, rows: Vec<Vec<f32>>) -> Self {
        let rows = rows.into_iter().enumerate().map(|(slot, row)| (row, slot as u32, EVERYWHERE)).collect();
        Self { dim, rows, withdrawn: Vec::new() }
    }

    fn shard(&self, kernel: Kernel) -> Arc<Shard> {
        let mut shard = Shard::with_capacity(kernel, self.dim, self.rows.len()).expect("memory");
        for (row, owner, tag) in &self.rows {
            shard.push(row, *owner, *tag).expect("a template");
        }
        self.withdrawn.iter().for_each(|row| shard.withdraw(*row));
        Arc::new(shard)
    }

    /// Scores every row as the definition says, sorts everything.
    fn naive(&self, query: &[f32], search: &Search) -> Vec<(u32, u32)> {
        let mut all: Vec<(f32, u32)> = Vec::new();
        for (row, (values, owner, tag)) in self.rows.iter().enumerate() {
            // Seen from where it may be seen in every zone.
            let unseen = search.filter.zones & !tag.zones != 0;
            if self.withdrawn.contains(&row) || unseen || tag.expires_at <= search.filter.now {
                continue;
            }
            all.push((naive_score(values, query), *owner));
        }
        all.retain(|(score, _)| *score >= search.threshold);
        all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let mut seen = std::collections::HashSet::new();
        all.retain(|(_, owner)| seen.insert(*owner));
        all.truncate(search.top_k);
        all.into_iter().map(|(score, owner)| (owner, score.to_bits())).collect()
    }
}

/// Sixteen partial sums, one a residue of the place, folded by halves.
fn naive_score(a: &[f32], b: &[f32]) -> f32 {
    let mut sums: Vec<f32> = (0..16).map(|lane| (lane..a.len()).step_by(16).fold(0.0, |sum, i| sum + a[i] * b[i])).collect();
    while sums.len() > 1 {
        let upper = sums.split_off(sums.len() / 2);
        sums.iter_mut().zip(&upper).for_each(|(s, u)| *s += u);
    }
    sums[0]
}

fn search(threshold: f32, top_k: usize) -> Search {
    Search { threshold, top_k, filter: Filter::NONE, depth: None, kernel: None }
}

/// Whether a crew finds what the naive search finds, at both depths and as it chooses itself.
fn agree(gallery: &Gallery, shard: &Arc<Shard>, crew: &Crew, queries: &[Vec<f32>], wanted: &Search) {
    let queries: Vec<&[f32]> = queries.iter().map(Vec::as_slice).collect();
    let mut found = Found::default();
    for depth in [None, Some(Depth::Nibble), Some(Depth::Byte)] {
        let asked = Search { depth, ..*wanted };
        crew.search(shard, &queries, &asked, &mut found);
        for (number, query) in queries.iter().enumerate() {
            let hits: Vec<(u32, u32)> = found.hits(number).iter().map(|h| (h.slot, h.score.to_bits())).collect();
            let naive = gallery.naive(query, wanted);
            assert_eq!(hits, naive, "query {number} of {}, {} rows of {}, {asked:?}", queries.len(), gallery.rows.len(), gallery.dim);
        }
    }
}

fn agree_everywhere(gallery: &Gallery, queries: &[Vec<f32>], searches: &[Search]) {
    let crew = Crew::alone();
    for kernel in Kernel::all() {
        let shard = gallery.shard(kernel);
        for wanted in searches {
            agree(gallery, &shard, &crew, queries, wanted);
        }
    }
}

/// Random rows, some of them near a query, and the queries.
fn random_gallery(dim: usize, rows: usize, queries: usize, seed: u64) -> (Gallery, Vec<Vec<f32>>) {
    let mut random = Seeded(seed);
    let queries: Vec<Vec<f32>> = (0..queries).map(|_| random.unit(dim)).collect();
    let row = |_| {
        if random.below(3) > 0 {
            return random.unit(dim);
        }
        let (of, share) = (random.below(queries.len()), random.below(100) as f32 / 100.0);
        near(&queries[of], share, &mut random)
    };
    (Gallery::of(dim, (0..rows).map(row).collect()), queries)
}

const THRESHOLDS: [f32; 6] = [f32::NEG_INFINITY, -0.05, 0.2, 0.4, 0.9, 1.5];

fn usual() -> Vec<Search> {
    THRESHOLDS.iter().flat_map(|t| [1, 10].map(|k| search(*t, k))).collect()
}

#[test]
fn odd_and_even_dimensions_agree_with_the_naive_search() {
    for (number, dim) in [64, 65, 71, 127, 128, 200, 333, 512, 1_000, 1_023, 1_024].into_iter().enumerate() {
        let (gallery, queries) = random_gallery(dim, 150 + number, 3, dim as u64);
        agree_everywhere(&gallery, &queries, &usual());
    }
}

#[test]
fn few_and_many_values_are_scanned_without_planes() {
    for dim in [1, 3, 16, 63, 1_025] {
        let (gallery, queries) = random_gallery(dim, 90, 3, dim as u64);
        agree_everywhere(&gallery, &queries, &usual());
    }
}

#[test]
fn any_number_of_queries_and_of_rows() {
    for (queries, rows) in [
        (1, 1),
        (2, 31),
        (3, 32),
        (4, 33),
        (5, 255),
        (8, 256),
        (11, 257),
        (12, 700),
        (13, 64),
        (24, 90),
        (25, 40),
        (33, 300),
        (64, 200),
        (65, 50),
        (130, 40),
    ] {
        let (gallery, asked) = random_gallery(64, rows, queries, rows as u64);
        agree_everywhere(&gallery, &asked, &[search(f32::NEG_INFINITY, 5), search(0.3, 5)]);
    }
}

#[test]
fn clusters_duplicates_and_subjects_of_several_rows() {
    let mut random = Seeded(5);
    let centres: Vec<Vec<f32>> = (0..4).map(|_| random.unit(128)).collect();
    let mut rows: Vec<(Vec<f32>, u32, Tag)> = Vec::new();
    for slot in 0..150_u32 {
        for _ in 0..1 + random.below(4) {
            let centre = &centres[random.below(4)];
            // A third of the rows are the centre itself: ties over blocks and subjects.
            let row = if random.below(3) == 0 { centre.clone() } else { near(centre, 0.97, &mut random) };
            rows.push((row, slot, EVERYWHERE));
        }
    }
    let gallery = Gallery { dim: 128, rows, withdrawn: vec![0, 17, 200] };
    let mut searches = usual();
    searches.extend([search(0.99, 200), search(-1.0, 1_000), search(0.95, 3)]);
    agree_everywhere(&gallery, &centres, &searches);
}

#[test]
fn a_row_that_scores_the_threshold_itself_is_found_and_the_next_score_up_is_not_reached() {
    let (gallery, queries) = random_gallery(512, 200, 2, 11);
    for (row, ..) in gallery.rows.iter().take(40) {
        let score = naive_score(row, &queries[0]);
        let searches = [score, score.next_up(), score.next_down()].map(|threshold| search(threshold, 300));
        agree_everywhere(&gallery, &queries[..1], &searches);
    }
}

/// ±1/√dim: all products are equal in size, most scores tie, and codes sit at the edges of their steps.
#[test]
fn rows_of_signs_tie_by_slot() {
    for dim in [64, 256, 1_024] {
        let mut random = Seeded(dim as u64);
        let value = 1.0 / (dim as f32).sqrt();
        let mut signs = |_| (0..dim).map(|i| if i % 8 != 0 || random.next() & 1 == 0 { value } else { -value }).collect::<Vec<f32>>();
        let queries: Vec<Vec<f32>> = (0..3).map(&mut signs).collect();
        let gallery = Gallery::of(dim, (0..300).map(&mut signs).collect());
        agree_everywhere(&gallery, &queries, &[search(f32::NEG_INFINITY, 40), search(0.8, 7), search(0.5, 300)]);
    }
}

#[test]
fn zones_ends_and_withdrawn_rows_are_left_out_inside_the_scan() {
    let mut random = Seeded(77);
    let (mut gallery, queries) = random_gallery(96, 900, 13, 3);
    for (number, (_, _, tag)) in gallery.rows.iter_mut().enumerate() {
        // Sorted by zone for the first half, mixed up in the second; ends of every kind, some rows in no zone.
        let zone = if number < 450 { number / 150 } else { random.below(5) };
        tag.zones = if zone == 4 { 0 } else { 1 << zone };
        tag.expires_at = Stamp::from_ns([50, 100, 101, i64::MAX][random.below(4)]);
    }
    gallery.withdrawn = (0..900).filter(|row| row % 7 == 0 || (320..420).contains(row)).collect();
    let filters = [(0, i64::MIN), (0, 100), (1, 50), (2, i64::MIN), (5, 100), (8, 99), (u64::MAX, 0), (1 << 40, 0)];
    for (zones, now_ns) in filters {
        let filter = Filter { zones, now: Stamp::from_ns(now_ns) };
        let searches = [0.3, f32::NEG_INFINITY].map(|threshold| Search { filter, ..search(threshold, 10) });
        agree_everywhere(&gallery, &queries, &searches);
    }
}

/// Whatever is asked from a zone, or from a place of several, sees the rows that may be looked for in all of them, and no others.
#[test]
fn from_any_zone_any_number_of_queries_sees_its_own_rows_alone() {
    for asked in 1..=64 {
        let mut random = Seeded(1_000 + asked as u64);
        let (mut gallery, queries) = random_gallery(64, 130, asked, asked as u64);
        let mut zones: Vec<u64> = (0..130).map(|_| [0, 1, 2, 3, 6, 1 << 62, u64::MAX][random.below(7)]).collect();
        if asked % 2 == 0 {
            // As a shard has them.
            zones.sort_unstable();
        }
        gallery.rows.iter_mut().zip(zones).for_each(|((_, _, tag), zones)| tag.zones = zones);
        let from = [1, 2, 3, 1 << 62, 1 << 63][random.below(5)];
        let filter = Filter { zones: from, now: Stamp::from_ns(0) };
        agree_everywhere(&gallery, &queries, &[0.3, f32::NEG_INFINITY].map(|threshold| Search { filter, ..search(threshold, 5) }));
    }
}

#[test]
fn a_block_that_a_filter_leaves_is_not_read() {
    let (mut gallery, queries) = random_gallery(64, 32 * 16, 1, 9);
    gallery.rows.iter_mut().enumerate().for_each(|(row, (_, _, tag))| tag.zones = 1 << (row / 32 % 4));
    let shard = gallery.shard(Kernel::best());
    let filter = Filter { zones: 2, now: Stamp::from_ns(0) };
    let cost = Crew::alone().search(&shard, &[&queries[0]], &Search { filter, ..search(0.5, 3) }, &mut Found::default());
    assert_eq!(cost.blocks, 4);
}

#[test]
fn an_empty_shard_and_what_is_no_query_find_nobody() {
    let crew = Crew::alone();
    let mut found = Found::default();
    let empty = Gallery::of(128, Vec::new());
    let (gallery, queries) = random_gallery(128, 40, 1, 1);
    for kernel in Kernel::all() {
        assert_eq!(crew.search(&empty.shard(kernel), &[&queries[0]], &search(-1.0, 5), &mut found), Cost::default());
        assert!(found.hits(0).is_empty());
        let shard = gallery.shard(kernel);
        let spoilt = |place: f32| {
            let mut query = queries[0].clone();
            query[3] = place;
            query
        };
        let bad = [spoilt(f32::NAN), spoilt(f32::INFINITY), spoilt(2.0), vec![0.0; 128], queries[0][..127].to_vec(), Vec::new()];
        // One good query among them is answered.
        let asked: Vec<&[f32]> = bad.iter().chain(&queries).map(Vec::as_slice).collect();
        crew.search(&shard, &asked, &search(-1.0, 5), &mut found);
        assert!((0..bad.len()).all(|query| found.hits(query).is_empty()));
        assert_eq!(found.hits(bad.len()).len(), 5);
        for wanted in [search(f32::NAN, 5), search(-1.0, 0), search(f32::INFINITY, 5)] {
            crew.search(&shard, &[&queries[0]], &wanted, &mut found);
            assert!(found.hits(0).is_empty(), "{wanted:?}");
        }
        crew.search(&shard, &[], &search(-1.0, 5), &mut found);
    }
}

#[test]
fn what_is_no_template_is_refused() {
    let mut random = Seeded(2);
    for dim in [64, 512, 1_024] {
        for kernel in Kernel::all() {
            let mut shard = Shard::with_capacity(kernel, dim, 4).expect("memory");
            let good = random.unit(dim);
            shard.push(&good, 0, EVERYWHERE).expect("a template");
            let mut one_hot = vec![0.0; dim];
            one_hot[dim / 2] = -1.0;
            assert!(matches!(shard.push(&one_hot, 1, EVERYWHERE), Err(Refused::Spiky { residual }) if residual > 0.3));
            for bad in [f32::NAN, f32::NEG_INFINITY, 1.0] {
                let mut row = good.clone();
                row[dim - 1] = bad;
                assert!(matches!(shard.push(&row, 1, EVERYWHERE), Err(Refused::NotUnit { .. })), "{bad}");
            }
            let found = dim - 1;
            assert_eq!(shard.push(&good[1..], 1, EVERYWHERE), Err(Refused::Dimension { found, want: dim }));
            // A row that was refused leaves nothing behind that the next does not overwrite.
            shard.push(&good, 1, EVERYWHERE).expect("a template");
            let mut found = Found::default();
            Crew::alone().search(&Arc::new(shard), &[&good], &search(0.5, 4), &mut found);
            let slots: Vec<u32> = found.hits(0).iter().map(|h| h.slot).collect();
            assert_eq!(slots, [0, 1]);
        }
    }
}

#[test]
fn every_kernel_makes_the_same_codes_and_sums() {
    let (gallery, queries) = random_gallery(200, 64, 12, 8);
    let shards: Vec<Arc<Shard>> = Kernel::all().into_iter().map(|kernel| gallery.shard(kernel)).collect();
    for depth in [Depth::Nibble, Depth::Byte] {
        let plane = |shard: &Arc<Shard>| (0..2).flat_map(|b| shard.plane(depth).expect("planes").block(b).to_vec()).collect::<Vec<u8>>();
        for shard in &shards[1..] {
            assert!(plane(shard) == plane(&shards[0]), "{depth:?}");
        }
        let asked: Vec<&[f32]> = queries.iter().map(Vec::as_slice).collect();
        let mut ready = query::Queries::default();
        ready.prepare(200, &asked);
        let (_, width, packed) = ready.tiles().next().expect("a tile");
        let limits: Vec<query::Limit> = (0..width).map(|q| ready.reach(q).limit(depth, f32::NEG_INFINITY)).collect();
        let block = shards[0].plane(depth).expect("planes").block(1);
        let sums = Kernel::all().into_iter().map(|kernel| {
            let mut passed = kernel::Passed::new();
            kernel.pass(&kernel::Round { depth, block, packed, limits: &limits, ahead: kernel::Ahead::default() }, &mut passed);
            assert!(passed.masks == [u32::MAX; 12]);
            passed.sums
        });
        let sums: Vec<_> = sums.collect();
        assert!(sums.iter().all(|s| *s == sums[0]), "{depth:?}");
    }
}

#[test]
fn a_crew_of_several_finds_the_same_and_may_be_asked_by_several_at_once() {
    let (gallery, queries) = random_gallery(64, 20_000, 6, 21);
    let shard = gallery.shard(Kernel::best());
    let crew = Crew::new(3).expect("threads");
    assert_eq!(crew.threads(), 3);
    std::thread::scope(|scope| {
        for queries in queries.chunks(2) {
            let (gallery, shard, crew) = (&gallery, &shard, &crew);
            scope.spawn(move || {
                for wanted in [search(0.3, 20), search(f32::NEG_INFINITY, 20), search(0.95, 3)] {
                    agree(gallery, shard, crew, queries, &wanted);
                }
            });
        }
    });
    // Nobody keeps the shard, so it is wiped when its last holder lets go.
    assert_eq!(Arc::strong_count(&shard), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_looked_for_is_found(
        (dim, rows, queries) in (64_usize..140, 0_usize..120, 1_usize..=64),
        seed in any::<u64>(), threshold in -1.0_f32..1.0, top_k in 1_usize..30, zones in 1_u64..16, same in 0_usize..40,
    ) {
        let mut random = Seeded(seed);
        let (mut gallery, queries) = random_gallery(dim, rows, queries, seed);
        for row in 0..rows.min(same) {
            let like = random.below(rows);
            gallery.rows[row].0 = gallery.rows[like].0.clone();
        }
        let mut owner = 0;
        for (_, slot, tag) in &mut gallery.rows {
            *slot = owner;
            owner += u32::from(random.below(3) > 0);
            tag.zones = random.next() % 16;
        }
        let filter = Filter { zones, now: Stamp::from_ns(0) };
        agree_everywhere(&gallery, &queries, &[Search { filter, ..search(threshold, top_k) }, search(threshold, top_k)]);
    }

    /// Codes may be anything; that the residual covers them must hold, or rows are lost.
    #[test]
    fn a_residual_is_never_smaller_than_what_the_codes_are_off(dim in 64_usize..=1_024, seed in any::<u64>(), peak in 1.0_f32..12.0) {
        let mut random = Seeded(seed);
        let mut row = random.unit(dim);
        row[dim / 3] *= peak;
        let row = normalised(row);
        let lines: Vec<region::Line> =
            row.chunks(16).map(|c| region::Line(std::array::from_fn(|i| c.get(i).copied().unwrap_or(0.0)))).collect();
        for kernel in Kernel::all() {
            let mut codes = encode::Codes::new(lines.len());
            let (nibble, byte) = kernel.encode(&lines, dim, &mut codes);
            let off = |codes: &[u8], step: f64, middle: f64| {
                row.iter().zip(codes).map(|(v, c)| (f64::from(*v) - step * (f64::from(*c) - middle)).powi(2)).sum::<f64>().sqrt()
            };
            let four = off(&codes.nibbles, f64::from(nibble.scale) / f64::from(1 << 18), 7.5);
            let eight = off(&codes.bytes, f64::from(byte.scale) / f64::from(1 << 22), 128.0);
            for (off, mark) in [(four, nibble), (eight, byte)] {
                let says = f64::from(mark.residual) / 65_536.0;
                prop_assert!(says >= off && says < off + 1e-4, "{says} of {off}");
            }
        }
    }
}
