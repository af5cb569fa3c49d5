//! Rows of pixels, channels innermost, with room left and right: the arena that a plan consists of.
//!
//! A row begins with padding of which the last pixel is pixel −1; it ends with pixel `width`, also padding, and with room for a vector that
//! is read whole. Pixel 0 of each row lies on a cache line, and rows do not lie a multiple of 4 KiB apart, where they would push each
//! other out of the cache. The memory is a `Vec`'s: sized when the plan is made, freed with it.

use zeroize::{DefaultIsZeroes, Zeroize as _};

/// Bytes of a cache line and of the widest vector.
const LINE: usize = 64;

pub struct Rows<T> {
    values: Vec<T>,
    /// Where row 0 begins: on a cache line.
    begin: usize,
    /// From one row to the next, in values.
    stride: usize,
    /// From a row's begin to its pixel 0, in values.
    lead: usize,
    channels: usize,
}

impl<T: Copy + Default> Rows<T> {
    /// `count` rows of `width` pixels; every pixel, also beyond the sides, is `fill` (one value a channel).
    pub fn new(count: usize, width: usize, fill: &[T]) -> Self {
        let (channels, line) = (fill.len(), LINE / size_of::<T>());
        let lead = channels.next_multiple_of(line);
        let lines = (lead + (width + 1) * channels).div_ceil(line) + 1;
        // An odd number of lines: no two of 64 rows begin at the same place of a page.
        let stride = (lines | 1) * line;
        let mut values = vec![T::default(); count * stride + line];
        // Only speed depends on it; where the address cannot be had, rows lie where they lie.
        let begin = values.as_ptr().align_offset(LINE).min(line);
        let begin = if begin == line { 0 } else { begin };
        for row in values[begin..].chunks_exact_mut(stride).take(count) {
            // Room for a whole vector after the last pixel stays as it was made.
            for pixel in row[lead - channels..][..(width + 2) * channels].chunks_exact_mut(channels) {
                pixel.copy_from_slice(fill);
            }
        }
        Self { values, begin, stride, lead, channels }
    }

    /// From pixel `x` − 1 to the end of the row's room.
    pub fn before(&self, row: usize, x: usize) -> &[T] {
        let begin = self.begin + row * self.stride;
        &self.values[begin + self.lead + x * self.channels - self.channels..begin + self.stride]
    }

    pub fn at(&self, row: usize, x: usize, pixels: usize) -> &[T] {
        &self.values[self.begin + row * self.stride + self.lead + x * self.channels..][..pixels * self.channels]
    }

    pub fn at_mut(&mut self, row: usize, x: usize, pixels: usize) -> &mut [T] {
        &mut self.values[self.begin + row * self.stride + self.lead + x * self.channels..][..pixels * self.channels]
    }

    /// The same pixels of two rows, one after the other.
    pub fn two_at_mut(&mut self, row: usize, x: usize, pixels: usize) -> [&mut [T]; 2] {
        let from = self.lead + x * self.channels;
        let (one, other) = self.values[self.begin + row * self.stride..].split_at_mut(self.stride);
        [&mut one[from..][..pixels * self.channels], &mut other[from..][..pixels * self.channels]]
    }

    /// Nothing of a picture stays.
    pub fn wipe(&mut self)
    where
        T: DefaultIsZeroes,
    {
        self.values.as_mut_slice().zeroize();
    }

    pub fn bytes(&self) -> usize {
        self.values.len() * size_of::<T>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_do_not_touch_each_other_and_have_padding_on_both_sides() {
        let mut rows = Rows::new(3, 5, &[7_u8; 16]);
        for row in 0..3 {
            rows.at_mut(row, 0, 5).fill(u8::try_from(row).unwrap());
        }
        for row in 0..3 {
            let seen = rows.before(row, 0);
            assert!(seen.len() >= 7 * 16 + 64, "room for a vector: {}", seen.len());
            assert!(seen[..16].iter().chain(&seen[96..112]).all(|v| *v == 7));
            assert!(seen[16..96].iter().all(|v| usize::from(*v) == row));
            assert_eq!(rows.at(row, 2, 1).as_ptr(), rows.before(row, 3).as_ptr());
        }
        let [one, other] = rows.two_at_mut(1, 4, 1);
        assert_eq!((one, other), (&mut [1_u8; 16][..], &mut [2_u8; 16][..]));
    }
}
