//! `kernels/gallery` against the processor's scan: the same subjects, in the same order, with the same scores, bit for bit.

use placard::clock::Stamp;
use placard::gallery::twin::{Row, Twin, Wanted};

use crate::battery::{Case, Draw, prove};
use crate::job::{Argument, Buffer, Job, Outputs, bytes};

/// Of a list that overflowed: `kOverflow` of `hit.cuh`.
const OVERFLOW: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Shape {
    /// Blocks of threads across, and threads of a block.
    grid: u32,
    block: u32,
    /// Rows that a list has room for.
    capacity: u32,
    /// Blocks of the plane between those looked at first, to find a bar: 0 for none of that.
    sample: u32,
}

const SMALL: Shape = Shape { grid: 2, block: 64, capacity: 512, sample: 0 };

/// What a shard is on a device.
struct Uploaded {
    plane: [Buffer; 2],
    lines: Buffer,
    owners: Buffer,
    summaries: Buffer,
    zones: Buffer,
    ends: Buffer,
    rows: u32,
    pairs: u32,
    per_row: u32,
}

fn number(value: usize) -> u32 {
    u32::try_from(value).expect("small")
}

fn upload(job: &mut Job, twin: &Twin, rows: &[Row], withdrawn: &[usize]) -> Uploaded {
    let mut summaries = Vec::new();
    for (block, s) in twin.summaries().iter().enumerate() {
        let gone = withdrawn.iter().filter(|row| **row / 32 == block).fold(0, |gone, row| gone | 1 << (row % 32));
        summaries.extend([s.all_zones, s.any_zones].iter().flat_map(|z| z.to_le_bytes()));
        summaries.extend([s.first_end, s.last_end].iter().flat_map(|end| end.ns().to_le_bytes()));
        summaries.extend((s.present & !gone).to_le_bytes());
        summaries.extend([0; 4]);
    }
    let (pairs, per_row) = twin.sizes();
    Uploaded {
        plane: [job.input(twin.plane(false)), job.input(twin.plane(true))],
        lines: job.input(bytes(&twin.lines(), f32::to_le_bytes)),
        owners: job.input(rows.iter().flat_map(|row| row.slot.to_le_bytes()).collect()),
        summaries: job.input(summaries),
        zones: job.input(rows.iter().flat_map(|row| row.zones.to_le_bytes()).collect()),
        ends: job.input(rows.iter().flat_map(|row| row.expires_at.ns().to_le_bytes()).collect()),
        rows: number(rows.len()),
        pairs: number(pairs),
        per_row: number(per_row),
    }
}

/// `Filter` of `hit.cuh`.
fn filter(wanted: &Wanted) -> Vec<u8> {
    let halves = [wanted.zones.to_le_bytes(), wanted.now.ns().to_le_bytes()].concat();
    [halves, wanted.threshold.to_le_bytes().to_vec(), vec![0; 4]].concat()
}

struct Asked {
    packed: Buffer,
    values: Buffer,
    reaches: Buffer,
    /// Whom each of them may find.
    filters: Buffer,
    /// Queries that are there, on the device; `places` are launched.
    count: Buffer,
    places: u32,
}

fn ask(job: &mut Job, twin: &Twin, queries: &[Vec<f32>], wanted: &[Wanted], live: u32) -> Asked {
    let coded: Vec<_> = queries.iter().map(|query| twin.code(query)).collect();
    let reach = |c: &placard::gallery::twin::Coded| {
        let mut bytes: Vec<u8> = [c.size, c.residual, c.step].iter().flat_map(|v| v.to_le_bytes()).collect();
        bytes.extend(c.total.to_le_bytes());
        bytes.extend([0; 4]);
        bytes
    };
    Asked {
        packed: job.input(coded.iter().flat_map(|c| bytes(&c.packed, i32::to_le_bytes)).collect()),
        values: job.input(coded.iter().flat_map(|c| bytes(&c.values, f32::to_le_bytes)).collect()),
        reaches: job.input(coded.iter().flat_map(reach).collect()),
        filters: job.input(wanted.iter().flat_map(filter).collect()),
        count: job.input(live.to_le_bytes().to_vec()),
        places: number(queries.len()),
    }
}

/// What one pass leaves.
struct Passed {
    limits: Buffer,
    hits: Buffer,
    found: Buffer,
}

/// `[limits, counts, listed]`.
fn launch_scan(job: &mut Job, shard: &Uploaded, asked: &Asked, wanted: &Wanted, shape: &Shape, step: u32, lists: [Buffer; 3]) {
    let [limits, counts, listed] = lists;
    let scan = if wanted.is_nibble { "gallery_scan_nibble" } else { "gallery_scan_byte" };
    let scan_of = [
        shard.plane[usize::from(wanted.is_nibble)].into(),
        asked.packed.into(),
        limits.into(),
        asked.filters.into(),
        asked.count.into(),
        shard.summaries.into(),
        shard.zones.into(),
        shard.ends.into(),
        counts.into(),
        listed.into(),
        shard.rows.into(),
        shard.pairs.into(),
        asked.places.into(),
        shape.capacity.into(),
        step.into(),
    ];
    job.launch(scan, [shape.grid, asked.places.div_ceil(8), 1], [shape.block, 1, 1], &scan_of);
}

/// limits → scan → rescore → best. `bar`: hits and their counts of an earlier pass.
fn pass(job: &mut Job, shard: &Uploaded, asked: &Asked, wanted: &Wanted, shape: &Shape, step: u32, bar: Option<&Passed>) -> Passed {
    let (queries, top_k) = (asked.places as usize, wanted.top_k);
    let unknown = |bytes: usize| vec![0xcd; bytes];
    let limits = job.output(unknown(12 * queries));
    let least = job.input(unknown(4 * queries));
    let counts = job.input(vec![0; 4 * queries]);
    let listed = job.input(unknown(4 * queries * shape.capacity as usize));
    let keys = job.input(unknown(8 * queries * shape.capacity as usize));
    let hits = job.output(unknown(8 * queries * top_k));
    let found = job.output(unknown(4 * queries));
    let k = number(top_k);
    let (bar_hits, bar_found) = bar.map_or((Argument::Null, Argument::Null), |bar| (bar.hits.into(), bar.found.into()));
    let nibble = u32::from(wanted.is_nibble);
    let limits_of = [
        asked.reaches.into(),
        bar_hits,
        bar_found,
        asked.filters.into(),
        asked.count.into(),
        limits.into(),
        least.into(),
        asked.places.into(),
        k.into(),
        nibble.into(),
    ];
    job.launch("gallery_limits", [asked.places.div_ceil(32), 1, 1], [32, 1, 1], &limits_of);
    launch_scan(job, shard, asked, wanted, shape, step, [limits, counts, listed]);
    let rescore_of = [
        shard.lines.into(),
        asked.values.into(),
        shard.owners.into(),
        counts.into(),
        listed.into(),
        least.into(),
        keys.into(),
        shard.per_row.into(),
        shape.capacity.into(),
    ];
    job.launch("gallery_rescore", [shape.grid, asked.places, 1], [shape.block, 1, 1], &rescore_of);
    let best_of = [keys.into(), counts.into(), hits.into(), found.into(), shape.capacity.into(), k.into()];
    job.launch("gallery_best", [asked.places, 1, 1], [shape.block, 1, 1], &best_of);
    Passed { limits, hits, found }
}

/// (slot, score's bits) of a query's hits; `None`: the list overflowed.
fn hits(outputs: &Outputs<'_>, passed: &Passed, query: usize, top_k: usize) -> Option<Vec<(u32, u32)>> {
    let found = outputs.u32s(passed.found)[query];
    let keys = outputs.values(passed.hits, u64::from_le_bytes);
    let decode = |key: &u64| {
        let [r0, r1, r2, r3, s0, s1, s2, s3] = key.to_be_bytes();
        let rank = u32::from_be_bytes([r0, r1, r2, r3]);
        (!u32::from_be_bytes([s0, s1, s2, s3]), if rank >> 31 == 1 { rank & 0x7fff_ffff } else { !rank })
    };
    (found != OVERFLOW).then(|| keys[query * top_k..][..found as usize].iter().map(decode).collect())
}

/// A search on the device and on the processor. `withdrawn` rows are there for the device, and for the twin have ended.
fn search(name: &str, rows: &[Row], withdrawn: &[usize], queries: Vec<Vec<f32>>, wanted: Wanted, shape: Shape) -> Case {
    let (each, live) = (vec![wanted; queries.len()], number(queries.len()));
    search_each(name, rows, withdrawn, (&queries, &each, live), shape)
}

/// The rows, those that `is_seen` denies ended.
fn seen(rows: &[Row], is_seen: impl Fn(usize) -> bool) -> Vec<Row> {
    let ended = Stamp::from_ns(i64::MIN);
    rows.iter().enumerate().map(|(i, row)| if is_seen(i) { row.clone() } else { Row { expires_at: ended, ..row.clone() } }).collect()
}

/// The same, each query with its own zones, time and threshold; all with the first's depth and number of hits. Places from `live` on are of an
/// earlier batch.
fn search_each(
    name: &str,
    rows: &[Row],
    withdrawn: &[usize],
    (queries, wanted, live): (&[Vec<f32>], &[Wanted], u32),
    shape: Shape,
) -> Case {
    let dim = rows.first().map_or(64, |row| row.values.len());
    let twin = Twin::new(dim, rows).expect("rows are templates");
    let mut job = Job::default();
    let shard = upload(&mut job, &twin, rows, withdrawn);
    let asked = ask(&mut job, &twin, queries, wanted, live);
    let (top_k, is_nibble) = (wanted[0].top_k, wanted[0].is_nibble);
    let bar = (shape.sample > 0).then(|| pass(&mut job, &shard, &asked, &wanted[0], &shape, shape.sample, None));
    let passed = pass(&mut job, &shard, &asked, &wanted[0], &shape, 1, bar.as_ref());
    let all = Twin::new(dim, &seen(rows, |i| !withdrawn.contains(&i))).expect("rows are templates");
    let is_sampled = |i: usize| !withdrawn.contains(&i) && (i / 32).is_multiple_of(shape.sample as usize);
    let sample = bar.is_some().then(|| Twin::new(dim, &seen(rows, is_sampled)).expect("rows are templates"));
    let (mut expected, mut limits) = (Vec::new(), Vec::new());
    for (index, (query, wanted)) in queries.iter().zip(wanted).enumerate() {
        if index >= live as usize {
            expected.push(Vec::new());
            limits.push([0, f32::INFINITY.to_bits(), 0]);
            continue;
        }
        let found = all.search(&[query], wanted).remove(0);
        expected.push(found.into_iter().map(|(slot, score)| (slot, score.to_bits())).collect::<Vec<(u32, u32)>>());
        let of_sample = sample.as_ref().map_or_else(Vec::new, |sample| sample.search(&[query], wanted).remove(0));
        let worst = top_k.checked_sub(1).and_then(|last| of_sample.get(last)).map_or(wanted.threshold, |hit| hit.1);
        let (rise, floor, start) = twin.limit(query, is_nibble, worst);
        limits.push([rise.to_bits(), floor.to_bits(), start.cast_unsigned()]);
    }
    let check = move |outputs: &Outputs<'_>| {
        for (query, expected) in expected.iter().enumerate() {
            let found = hits(outputs, &passed, query, top_k);
            if found.as_ref() != Some(expected) {
                return Err(format!("query {query}: {found:?} instead of {expected:?}"));
            }
        }
        let of_device = outputs.u32s(passed.limits);
        match (0..).zip(of_device.chunks(3).zip(&limits)).find(|(_, (got, right))| *got != right.as_slice()) {
            Some((query, (got, right))) => Err(format!("query {query}: limit {got:x?} instead of {right:x?}")),
            None => Ok(()),
        }
    };
    Case { name: name.to_owned(), job, check: Box::new(check) }
}

const ALWAYS: Stamp<placard::clock::Utc> = Stamp::from_ns(i64::MAX);

/// `count` rows of `dim` values; `per_slot` rows a subject.
fn rows(draw: &mut Draw, count: usize, dim: usize, per_slot: usize) -> Vec<Row> {
    (0..count).map(|i| Row { values: draw.direction(dim), slot: number(i / per_slot), zones: u64::MAX, expires_at: ALWAYS }).collect()
}

/// A unit vector near `values`.
fn near(draw: &mut Draw, values: &[f32], noise: f32) -> Vec<f32> {
    let other = draw.direction(values.len());
    let mixed: Vec<f32> = values.iter().zip(other).map(|(v, o)| v + noise * o).collect();
    let norm = mixed.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt();
    #[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is the format of embeddings")]
    mixed.iter().map(|v| (f64::from(*v) / norm) as f32).collect()
}

fn wanted(threshold: f32, top_k: usize, is_nibble: bool) -> Wanted {
    Wanted { threshold, top_k, zones: 0, now: Stamp::from_ns(i64::MIN), is_nibble }
}

/// Sizes about every edge: dimensions, blocks, tiles of queries, both planes.
fn sizes(cases: &mut Vec<Case>) {
    let mut draw = Draw(11);
    for (dim, count, asked, per_slot) in [
        (64, 1, 1, 1),
        (64, 0, 2, 1),
        (100, 31, 3, 2),
        (128, 32, 8, 1),
        (200, 33, 9, 3),
        (512, 97, 5, 2),
        (1_024, 40, 2, 1),
        (66, 200, 17, 4),
    ] {
        let rows = rows(&mut draw, count, dim, per_slot);
        let mut queries: Vec<Vec<f32>> = (0..asked).map(|_| draw.direction(dim)).collect();
        for (query, row) in queries.iter_mut().zip(rows.iter().rev()) {
            *query = near(&mut draw, &row.values, 0.6);
        }
        for is_nibble in [true, false] {
            let name = format!("{count} rows of {dim}, {asked} queries, nibble {is_nibble}");
            let wanted = wanted(if is_nibble { 0.3 } else { 0.05 }, 5, is_nibble);
            cases.push(search(&name, &rows, &[], queries.clone(), wanted, SMALL));
        }
    }
}

/// Who may not be looked at is not found: zones, ends, withdrawn rows, blocks taken and left as a whole.
fn filters(cases: &mut Vec<Case>) {
    let mut draw = Draw(13);
    // The last block is mixed, and not full.
    let mut rows = rows(&mut draw, 157, 128, 1);
    for (i, row) in rows.iter_mut().enumerate() {
        // Block 0: all of zone 1; block 1: none; the others: mixed.
        row.zones = if i < 32 {
            0b10
        } else if i < 64 {
            0b01
        } else {
            u64::try_from(i % 4).expect("small")
        };
        row.expires_at = if i % 5 == 0 { Stamp::from_ns(1_000) } else { ALWAYS };
    }
    let queries: Vec<Vec<f32>> = [3, 35, 66, 70, 130].iter().map(|i| near(&mut draw, &rows[*i].values, 0.3)).collect();
    for is_nibble in [true, false] {
        for (zones, now) in [(0b10, 0), (0b10, 1_000), (0b11, 999), (0b100, 0), (0, 1_000)] {
            let wanted = Wanted { zones, now: Stamp::from_ns(now), ..wanted(0.1, 4, is_nibble) };
            let name = format!("zones {zones:b}, now {now}, nibble {is_nibble}");
            cases.push(search(&name, &rows, &[3, 70], queries.clone(), wanted, SMALL));
        }
        // Each camera's own, in one batch; and places beyond those that are there.
        let each: Vec<Wanted> = [(0b10, 0, 0.1), (0b01, 1_000, 0.1), (0, 0, 0.9), (0b11, 1_000, -1.0), (0, i64::MAX, -1.0)]
            .map(|(zones, now, threshold)| Wanted { zones, now: Stamp::from_ns(now), ..wanted(threshold, 4, is_nibble) })
            .to_vec();
        let (queries, each) = ([(); 4].map(|()| queries.clone()).concat(), each.repeat(4));
        for live in [20, 9, 8, 1, 0, 77] {
            let name = format!("zones of their own, {live} of 20 queries, nibble {is_nibble}");
            cases.push(search_each(&name, &rows, &[3, 70], (&queries, &each, live), SMALL));
        }
    }
}

/// Ties, thresholds that are met exactly, subjects of many rows, queries that are none.
fn corners(cases: &mut Vec<Case>) {
    let mut draw = Draw(17);
    let mut all = rows(&mut draw, 96, 128, 1);
    for i in [40, 41, 90] {
        all[i].values = all[7].values.clone();
    }
    let query = near(&mut draw, &all[7].values, 0.5);
    let exact = Twin::new(128, &all).expect("templates").search(&[&query], &wanted(0.0, 1, false))[0][0].1;
    for (name, threshold) in [("met exactly", exact), ("just missed", exact.next_up()), ("beyond all", 2.0), ("NaN", f32::NAN)] {
        let wanted = wanted(threshold, 3, true);
        cases.push(search(&format!("threshold {name}"), &all, &[], vec![query.clone()], wanted, SMALL));
    }
    let strange =
        vec![vec![0.0; 128], vec![f32::NAN; 128], query.iter().map(|v| 2.0 * v).collect(), query.clone(), vec![f32::INFINITY; 128]];
    cases.push(search("queries that are none", &all, &[], strange, wanted(0.2, 8, true), SMALL));
    let crowd: Vec<Row> = all.iter().enumerate().map(|(i, row)| Row { slot: number(i / 24), ..row.clone() }).collect();
    let queries = (0..3).map(|i| near(&mut draw, &crowd[i * 30].values, 1.0)).collect();
    cases.push(search("24 rows a subject", &crowd, &[], queries, wanted(-1.0, 8, false), Shape { block: 128, ..SMALL }));
    cases.push(search("nobody asked for", &all, &[], vec![query], wanted(0.2, 0, true), SMALL));
}

/// Without a threshold: a sample finds the bar, then all rows are scanned above it.
fn samples(cases: &mut Vec<Case>) {
    let mut draw = Draw(19);
    let rows = rows(&mut draw, 700, 64, 2);
    let queries: Vec<Vec<f32>> = (0..4).map(|i| near(&mut draw, &rows[i * 150].values, 1.5)).collect();
    for is_nibble in [true, false] {
        // Without the bar all 700 would be listed.
        let shape = Shape { grid: 3, block: 96, capacity: 500, sample: 5 };
        let all = |top_k| wanted(f32::NEG_INFINITY, top_k, is_nibble);
        cases.push(search(&format!("no threshold, nibble {is_nibble}"), &rows, &[], queries.clone(), all(7), shape));
        // Blocks 0, 5, … are the sample. Its last hit ties with a row of block 1, whose slot is lower.
        let mut tied = rows.clone();
        (tied[642].values, tied[40].values) = (tied[640].values.clone(), tied[640].values.clone());
        let query = near(&mut draw, &tied[640].values, 0.5);
        for top_k in [1, 2] {
            let name = format!("the bar is a tie, {top_k} hits, nibble {is_nibble}");
            cases.push(search(&name, &tied, &[], vec![query.clone()], all(top_k), shape));
        }
        let towards = draw.direction(64);
        let crowd: Vec<Row> = rows.iter().map(|row| Row { values: near(&mut draw, &towards, 0.8), ..row.clone() }).collect();
        let away: Vec<f32> = towards.iter().map(|v| -v).collect();
        cases.push(search(
            &format!("all scores negative, nibble {is_nibble}"),
            &crowd,
            &[],
            vec![away],
            all(7),
            Shape { capacity: 704, ..shape },
        ));
    }
}

/// Which rows are listed, to the last bit of the bound: the floor is one row's own bound, then the next number above it.
fn bounds(cases: &mut Vec<Case>) {
    let mut draw = Draw(29);
    let rows = rows(&mut draw, 90, 200, 1);
    let twin = Twin::new(200, &rows).expect("templates");
    let query = draw.direction(200);
    for is_nibble in [true, false] {
        let bounds = twin.bounds(&query, is_nibble);
        for (row, above) in [(0, false), (31, true), (57, false), (89, true)] {
            let floor = if above { bounds[row].next_up() } else { bounds[row] };
            let (rise, _, start) = twin.limit(&query, is_nibble, 0.0);
            let mut job = Job::default();
            let shard = upload(&mut job, &twin, &rows, &[]);
            let wanted = wanted(0.0, 1, is_nibble);
            let asked = ask(&mut job, &twin, std::slice::from_ref(&query), std::slice::from_ref(&wanted), 1);
            let limits = job.input([rise.to_le_bytes(), floor.to_le_bytes(), start.to_le_bytes()].concat());
            let (counts, listed) = (job.output(vec![0; 4]), job.output(vec![0xff; 4 * 96]));
            launch_scan(&mut job, &shard, &asked, &wanted, &Shape { capacity: 96, ..SMALL }, 1, [limits, counts, listed]);
            let right: Vec<u32> = (0..90).filter(|row| bounds[*row as usize] >= floor).collect();
            let check = move |outputs: &Outputs<'_>| {
                let count = outputs.u32s(counts)[0] as usize;
                let mut found: Vec<u32> = outputs.u32s(listed).into_iter().take(count).collect();
                found.sort_unstable();
                if found == right { Ok(()) } else { Err(format!("rows {found:?} instead of {right:?}")) }
            };
            let name = format!("bound of row {row}, above it {above}, nibble {is_nibble}");
            cases.push(Case { name, job, check: Box::new(check) });
        }
    }
}

/// A list that is too short is said to be, and nothing is written behind it.
fn overflow(cases: &mut Vec<Case>) {
    let mut draw = Draw(23);
    let rows = rows(&mut draw, 64, 64, 1);
    let twin = Twin::new(64, &rows).expect("templates");
    let queries = [draw.direction(64), draw.direction(64)];
    // Rows that are said to be, pairs, capacity, hits: what a list or a kernel has no room for is refused as an overflow, and nothing is read or written there.
    for (name, count, pairs, capacity, top_k) in [
        ("64 rows pass, room for 63", 64, None, 63, 2),
        ("more hits than there is room for", 64, None, 64, 257),
        ("more values than there is room for", 64, Some(129), 64, 2),
        ("pairs that wrap", 64, Some(0x8000_0008), 64, 2),
        ("rows that wrap", u32::MAX, None, 64, 2),
    ] {
        let mut job = Job::default();
        let mut shard = upload(&mut job, &twin, &rows, &[]);
        (shard.rows, shard.pairs) = (count, pairs.unwrap_or(shard.pairs));
        let all = wanted(f32::NEG_INFINITY, top_k, false);
        let asked = ask(&mut job, &twin, &queries, &[all, all], 2);
        let passed = pass(&mut job, &shard, &asked, &all, &Shape { capacity, ..SMALL }, 1, None);
        let check = move |outputs: &Outputs<'_>| match [0, 1].map(|query| hits(outputs, &passed, query, top_k)) {
            [None, None] => Ok(()),
            found => Err(format!("{found:?} instead of an overflow")),
        };
        cases.push(Case { name: name.to_owned(), job, check: Box::new(check) });
    }
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    sizes(&mut cases);
    filters(&mut cases);
    corners(&mut cases);
    samples(&mut cases);
    bounds(&mut cases);
    overflow(&mut cases);
    cases
}

#[test]
fn the_device_finds_whom_the_processor_finds() {
    prove(&cases());
}
