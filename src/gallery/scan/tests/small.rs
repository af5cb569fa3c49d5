//! Little of everything that reads and writes by pointers, small enough for Miri (`make miri`): there is no row, lane or byte beyond what was asked for, and threads
//! share a shard without a race. Under Miri only the portable loops are there.

use super::*;

#[test]
fn small_galleries_are_searched_within_their_memory() {
    // Without planes, a whole number of lines, and a line that is not full; a row alone, a block, and one beyond it.
    for (dim, rows, asked) in [(3, 5, 1), (64, 33, 2), (70, 32, 13), (65, 1, 1)] {
        let (mut gallery, queries) = random_gallery(dim, rows, asked, dim as u64);
        gallery.withdrawn = vec![0];
        gallery.rows.iter_mut().enumerate().for_each(|(row, (_, _, tag))| tag.zones = [1, 3, 0][row % 3]);
        let filter = Filter { zones: 1, now: Stamp::from_ns(0) };
        agree_everywhere(&gallery, &queries, &[Search { filter, ..search(0.3, 2) }, search(f32::NEG_INFINITY, 3)]);
    }
}

#[test]
fn small_regions_are_lines_from_their_first_byte_to_their_last() {
    for lines in [0, 1, 3] {
        let mut region = region::Region::new(lines).expect("memory");
        assert!(region.lines().len() == lines && region.bytes().len() == lines * 64 && region.bytes().iter().all(|b| *b == 0));
        if let Some(last) = region.lines_mut().last_mut() {
            last.0[15] = 1.0;
            assert_eq!(region.bytes()[lines * 64 - 4..], 1.0_f32.to_le_bytes());
            region.bytes_mut().fill(0);
            assert_eq!(region.lines()[lines - 1].0[15], 0.0);
        }
    }
}

#[test]
fn small_crews_share_a_shard_and_let_go_of_it() {
    let (gallery, queries) = random_gallery(64, 70, 2, 4);
    let shard = gallery.shard(Kernel::best());
    let crew = Crew::new(2).expect("threads");
    std::thread::scope(|scope| {
        for query in queries.chunks(1) {
            let (gallery, shard, crew) = (&gallery, &shard, &crew);
            scope.spawn(move || agree(gallery, shard, crew, query, &search(0.3, 3)));
        }
    });
    drop(crew);
    assert_eq!(Arc::strong_count(&shard), 1);
}
