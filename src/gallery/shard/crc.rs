//! CRC-32C (Castagnoli): what tells a damaged block from a whole one. Not a signature: whoever alters a block on purpose can make it fit.
//!
//! Eight bytes a step; the processor's own instruction where it has one (SSE 4.2).

const POLYNOMIAL: u32 = 0x82f6_3b78;

/// `TABLES[k][b]`: what byte `b` does to the sum, `k` bytes later.
static TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "below 256")]
        let mut sum = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ POLYNOMIAL } else { sum >> 1 };
            bit += 1;
        }
        tables[0][byte] = sum;
        byte += 1;
    }
    let mut later = 1;
    while later < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[later - 1][byte];
            tables[later][byte] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        later += 1;
    }
    tables
}

pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if std::arch::is_x86_feature_detected!("sse4.2") {
        // SAFETY: the processor has SSE 4.2, which is all that the function needs; it reads nothing but the slice.
        return unsafe { by_instruction(bytes) };
    }
    by_table(bytes)
}

fn by_table(bytes: &[u8]) -> u32 {
    let (eights, rest) = bytes.as_chunks::<8>();
    let mut sum = !0_u32;
    for eight in eights {
        let word = u64::from_le_bytes(*eight) ^ u64::from(sum);
        sum = word.to_le_bytes().iter().rev().zip(&TABLES).fold(0, |sum, (byte, table)| sum ^ table[usize::from(*byte)]);
    }
    !rest.iter().fold(sum, |sum, byte| (sum >> 8) ^ TABLES[0][((sum ^ u32::from(*byte)) & 0xff) as usize])
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
#[target_feature(enable = "sse4.2")]
fn by_instruction(bytes: &[u8]) -> u32 {
    use std::arch::x86_64::{_mm_crc32_u8, _mm_crc32_u64};
    let (eights, rest) = bytes.as_chunks::<8>();
    let sum = eights.iter().fold(u64::from(!0_u32), |sum, eight| _mm_crc32_u64(sum, u64::from_le_bytes(*eight)));
    #[expect(clippy::cast_possible_truncation, reason = "the instruction leaves the upper half zero")]
    let sum = sum as u32;
    !rest.iter().fold(sum, |sum, byte| _mm_crc32_u8(sum, *byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_give_the_published_sums() {
        let rising: Vec<u8> = (0..32).collect();
        // RFC 3720, B.4; and the check value of the CRC catalogue.
        let known: [(&[u8], u32); 4] =
            [(&[0; 32], 0x8a91_36aa), (&[0xff; 32], 0x62a8_ab43), (&rising, 0x46dd_794e), (b"123456789", 0xe306_9283)];
        for (bytes, sum) in known {
            assert_eq!((crc32c(bytes), by_table(bytes)), (sum, sum));
        }
        let long: Vec<u8> = (0..999_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for length in 0..long.len() {
            assert_eq!(crc32c(&long[..length]), by_table(&long[..length]), "{length} bytes");
        }
    }
}
