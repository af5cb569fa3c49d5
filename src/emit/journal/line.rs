//! One journal line: an event's JSON object with its checksum as the last member.
//!
//! ```text
//! {"id":"…", … ,"crc":"1a2b3c4d"}\n
//! └──────── covered ───┘└─ 18 B ─┘
//! ```
//!
//! The checksum is CRC-32C (Castagnoli) over all bytes before the comma, eight lower-case hex digits. So a line is plain JSON for
//! `tail` and `jq`, and carries its own proof of being whole.

/// `,"crc":"` + 8 digits + `"}`
const TAIL_BYTES: usize = 18;
const TAIL_START: &[u8] = b",\"crc\":\"";

const _: () = assert!(TAIL_START.len() + 8 + 2 == TAIL_BYTES);

/// Longer lines are not ours.
pub const MAX_LINE_BYTES: usize = 1 << 20;

/// Why a line is not an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineFault {
    #[error("no checksum at its end")]
    NoChecksum,
    #[error("checksum {found:08x} where {computed:08x} was computed")]
    Checksum { found: u32, computed: u32 },
    #[error("not a JSON object with `id` and `stream`")]
    NotAnEvent,
    #[error("no line end")]
    Unterminated,
    #[error("longer than {MAX_LINE_BYTES} bytes")]
    TooLong,
}

const TABLE: [u32; 256] = {
    // Reflected form of the Castagnoli polynomial 0x1EDC6F41.
    const POLYNOMIAL: u32 = 0x82F6_3B78;
    let mut table = [0_u32; 256];
    let mut i = 0;
    while i < 256 {
        let mut value = i as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ POLYNOMIAL } else { value >> 1 };
            bit += 1;
        }
        table[i] = value;
        i += 1;
    }
    table
};

/// CRC-32C (RFC 3720, appendix B.4). Events are about 1 KiB, a few a second: a table is fast enough.
pub fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, &b| (crc >> 8) ^ TABLE[usize::from((crc as u8) ^ b)])
}

/// Appends to `out` the line of `json`, which must be a JSON object with at least one member and no line break.
pub fn seal(json: &[u8], out: &mut Vec<u8>) {
    debug_assert!(json.len() > 2 && json.starts_with(b"{") && json.ends_with(b"}") && !json.contains(&b'\n'));
    let body = json.strip_suffix(b"}").unwrap_or(json);
    out.extend_from_slice(body);
    out.extend_from_slice(TAIL_START);
    out.extend_from_slice(format!("{:08x}", crc32c(body)).as_bytes());
    out.extend_from_slice(b"\"}\n");
}

/// Checks a line (without its line break) and returns the event's JSON object without the checksum.
pub fn open(line: &[u8]) -> Result<Vec<u8>, LineFault> {
    let Some(split) = line.len().checked_sub(TAIL_BYTES) else { return Err(LineFault::NoChecksum) };
    let (body, tail) = line.split_at(split);
    let digits = tail.strip_prefix(TAIL_START).and_then(|t| t.strip_suffix(b"\"}")).ok_or(LineFault::NoChecksum)?;
    let found = digits.iter().try_fold(0_u32, |value, &d| {
        let digit = match d {
            b'0'..=b'9' => d - b'0',
            b'a'..=b'f' => d - b'a' + 10,
            _ => return None,
        };
        Some((value << 4) | u32::from(digit))
    });
    let found = found.ok_or(LineFault::NoChecksum)?;
    let computed = crc32c(body);
    if found != computed {
        return Err(LineFault::Checksum { found, computed });
    }
    let mut json = Vec::with_capacity(body.len() + 1);
    json.extend_from_slice(body);
    json.push(b'}');
    Ok(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_matches_the_published_vectors() {
        // RFC 3720, B.4, and the usual check value.
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8A91_36AA);
        assert_eq!(crc32c(&[0xFF; 32]), 0x62A8_AB43);
    }

    #[test]
    fn a_line_is_json_and_opens_to_what_was_sealed() {
        let json = br#"{"id":"a","stream":"gate"}"#;
        let mut line = Vec::new();
        seal(json, &mut line);
        let value: serde_json::Value = serde_json::from_slice(&line).expect("a line is JSON");
        assert_eq!(value["crc"].as_str().map(str::len), Some(8));
        assert_eq!(open(&line[..line.len() - 1]).expect("whole"), json);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let mut line = Vec::new();
        seal(br#"{"id":"0123456789abcdef","stream":"gate","score":0.71}"#, &mut line);
        line.pop();
        for byte in 0..line.len() {
            for bit in 0..8 {
                let mut bad = line.clone();
                bad[byte] ^= 1 << bit;
                assert!(open(&bad).is_err(), "byte {byte}, bit {bit}");
            }
            assert!(open(&line[..byte]).is_err(), "cut at {byte}");
            assert!(open(&line[byte + 1..]).is_err(), "begun at {byte}");
        }
    }
}
