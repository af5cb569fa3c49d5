//! Many rows, for the nights: `cargo test --release --lib gallery::scan -- --ignored`. `PLACARD_SCAN_ROWS`: how many (1,000,000), of 512 values.

#![allow(clippy::print_stdout, reason = "says what it cost")]

use super::*;

const DIM: usize = 512;
const QUERIES: usize = 32;

fn rows() -> usize {
    std::env::var("PLACARD_SCAN_ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(1_000_000)
}

/// Row `number`: one in a thousand is near a query, some repeat another row.
fn row(number: usize, queries: &[Vec<f32>]) -> Vec<f32> {
    let number = if number % 997 == 996 { number - 500 } else { number };
    let mut random = Seeded(number as u64);
    match number % 1_000 {
        0 => near(&queries[number / 1_000 % QUERIES], random.below(100) as f32 / 100.0, &mut random),
        _ => random.unit(DIM),
    }
}

/// The rows exist once, in the shard of the best kernel; every kernel and depth has to find what scoring all of them finds.
#[test]
#[ignore = "gigabytes and minutes; nightly"]
fn a_million_rows_agree_with_the_naive_search() {
    let mut random = Seeded(42);
    let queries: Vec<Vec<f32>> = (0..QUERIES).map(|_| random.unit(DIM)).collect();
    let rows = rows();
    let mut shard = Shard::with_capacity(Kernel::best(), DIM, rows).expect("memory");
    // Best first, at most twenty: what the naive search keeps of every row's score.
    let mut naive: Vec<Vec<(f32, u32)>> = vec![Vec::new(); QUERIES];
    for number in 0..rows {
        let values = row(number, &queries);
        let slot = u32::try_from(number).expect("fewer");
        shard.push(&values, slot, EVERYWHERE).expect("a template");
        for (query, best) in queries.iter().zip(&mut naive) {
            let score = naive_score(&values, query);
            if best.len() < 20 || score > best[19].0 {
                // Slots rise, so a tie goes behind.
                let place = best.partition_point(|(s, _)| *s >= score);
                best.insert(place, (score, slot));
                best.truncate(20);
            }
        }
    }
    let shard = Arc::new(shard);
    let crew = Crew::new(2).expect("threads");
    let asked: Vec<&[f32]> = queries.iter().map(Vec::as_slice).collect();
    let mut found = Found::default();
    for kernel in Kernel::all() {
        for (threshold, depth) in [(0.4, None), (0.3, None), (f32::NEG_INFINITY, None), (0.4, Some(Depth::Byte))] {
            let cost = crew.search(&shard, &asked, &Search { depth, kernel: Some(kernel), ..search(threshold, 20) }, &mut found);
            println!("{} {rows} rows, from {threshold}: {} rows scored exactly a query", kernel.name(), cost.rescored / QUERIES as u64);
            for (query, best) in naive.iter().enumerate() {
                let hits: Vec<(u32, u32)> = found.hits(query).iter().map(|h| (h.score.to_bits(), h.slot)).collect();
                let wanted: Vec<(u32, u32)> = best.iter().filter(|(s, _)| *s >= threshold).map(|(s, slot)| (s.to_bits(), *slot)).collect();
                assert_eq!(hits, wanted, "query {query}, from {threshold}, {}", kernel.name());
            }
        }
    }
}
