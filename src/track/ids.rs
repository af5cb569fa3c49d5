//! Public track ids: 64 bits from the kernel's generator, one source a stream.
//!
//! An id is drawn, not computed: it says nothing about stream, order, time or the person, two streams share no state from which one
//! could be told from the other, and a replaced id has nothing in common with the one before (C10). Drawn in blocks, so that most new
//! tracks cost no system call. Owner: the track worker.

use super::TrackId;

const BLOCK: usize = 32;

#[derive(Debug, Default)]
pub(super) struct IdSource {
    drawn: Vec<u64>,
}

impl IdSource {
    /// `None` when the kernel gives no randomness: then there is no id, and without an id no track.
    pub(super) fn next(&mut self) -> Option<TrackId> {
        if self.drawn.is_empty() {
            let mut bytes = [0_u8; 8 * BLOCK];
            getrandom::fill(&mut bytes).ok()?;
            self.drawn.extend(bytes.as_chunks::<8>().0.iter().map(|b| u64::from_ne_bytes(*b)));
        }
        self.drawn.pop().map(TrackId)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn two_streams_share_nothing() {
        let (mut a, mut b) = (IdSource::default(), IdSource::default());
        let of = |s: &mut IdSource| (0..4_000).map(|_| s.next().expect("randomness").0).collect::<Vec<u64>>();
        let (a, b) = (of(&mut a), of(&mut b));
        let all: HashSet<u64> = a.iter().chain(&b).copied().collect();
        assert_eq!(all.len(), 8_000, "no id comes twice");
        // Neither order nor position tells anything: every bit of the difference between neighbours, and of a[i] ^ b[i], is even odds
        // (4,000 draws: 2,000 ± 5 standard deviations).
        for bit in 0..64 {
            let ones = |pairs: &mut dyn Iterator<Item = u64>| pairs.filter(|x| x >> bit & 1 == 1).count();
            for count in [ones(&mut a.iter().zip(&b).map(|(x, y)| x ^ y)), ones(&mut a.windows(2).map(|w| w[1].wrapping_sub(w[0])))] {
                assert!((1_840..=2_160).contains(&count), "bit {bit}: {count}");
            }
        }
    }
}
