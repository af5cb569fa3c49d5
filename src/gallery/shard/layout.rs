//! Where what lies in a shard's file. All numbers are little endian; `docs/formats.md` has the same map for readers.
//!
//! ```text
//! 0        header, 4,096 bytes, never changed after the file was made
//!          0 magic "PLACSHRD" · 8 u16 format · 10 u16 0 · 12 u32 values of a template · 16 u32 keys · 20 u32 slots · 24 u32 bytes of a slot
//!          28 u32 slots of a block (32) · 32 u32 keys of a block (512) · 36 u32 0 · 40 i64 made at, Unix ns
//!          64 purpose · 192 model · 320 the model's SHA-256: each u16 length, text (at most 126 bytes)
//!          448 u16 zones that its rows name, sorted: each u16 length, text · 4,064 SHA-256 of all before
//! 4,096    state, 8,192 the other state: 4,096 bytes each, written in turn; the valid one with the higher sequence counts
//!          0 u64 sequence · 8 u64 gallery version · 16 mark (16) · 32 u32 keys · 36 u32 slots that are in use · 64 root (32)
//!          96 SHA-256 of the header's digest and of all before (32) · 128 seal: nonce and tag over the same, under the site's key (28)
//! 12,288   block table: 64 bytes a block, key blocks first: 0 u32 crc32c · 4 zero (28) · 32 SHA-256 of the block
//! K        keys, 80 bytes each: 0 subject (16) · 16 its wrapped key, as in the vault (60) · 76 u32 its first slot
//! S        slots: 0 u32 key · 4 u32 length of the record · 8 record, as in the vault (record.rs) · zero to the end
//! ```
//!
//! K and S are the next multiples of 4,096, so whatever is read begins at a multiple of 64. What was erased is zero: a key, a slot. Lengths and
//! places follow from four numbers of the header; they are computed with checks and must give the file's length exactly, so that no number
//! in a file makes anybody allocate more than the file is long.
//!
//! Root: SHA-256 of `placard/1/shard-root`, the header's digest, and the block table.

use sha2::{Digest, Sha256};

use crate::gallery::seal::{SealError, SealingKey};

pub(super) const MAGIC: [u8; 8] = *b"PLACSHRD";
pub(super) const FORMAT: u16 = 2;
pub(super) const PAGE: usize = 4_096;
pub(super) const STATES_AT: [u64; 2] = [4_096, 8_192];
const TABLE_AT: u64 = 12_288;
pub(super) const ENTRY: usize = 64;
pub(super) const KEY: usize = 80;
pub(crate) const WRAPPED: usize = 60;
pub(super) const SLOTS_A_BLOCK: u32 = 32;
pub(super) const KEYS_A_BLOCK: u32 = 512;
/// Bytes of a slot before its record.
pub(super) const SLOT_HEAD: usize = 8;
/// A record's header is at most 64 KiB, a template rarely above 4.
pub(super) const MAX_STRIDE: u32 = 1 << 17;
/// Bytes of a purpose's or a model's name.
pub(crate) const TEXT: usize = 126;
const TEXTS_AT: [usize; 3] = [64, 192, 320];
const ZONES_AT: usize = 448;
const HEADER_DIGEST_AT: usize = PAGE - 32;
/// Bytes of the names of the zones, each after two bytes of its length.
pub(crate) const ZONE_BYTES: usize = HEADER_DIGEST_AT - ZONES_AT - 2;
/// Of a state page: what is digested, what is there at all.
const STATE_FACTS: usize = 96;
const STATE: usize = 156;

/// What is wrong with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("it is no shard: it does not begin with its mark")]
    Magic,
    #[error(
        "its format is {0}, this program reads format {FORMAT}: `placard gallery compact` (or the service, when it loads the gallery) makes it anew from the vault"
    )]
    Format(u16),
    #[error("its header was altered or is damaged: the digest differs")]
    HeaderDigest,
    #[error("its header makes no sense: {0}")]
    Header(&'static str),
    #[error("it has {found} bytes, its header says {want}")]
    Length { found: u64, want: u64 },
    #[error("{0}, so nothing of it is sealed anew")]
    Altered(&'static str),
    #[error("neither of its two states is whole and sealed by this site")]
    State,
}

/// What a shard is of. Never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub purpose: String,
    pub model: String,
    pub model_sha256: String,
    pub dim: u32,
    /// Keys and slots that were there when it was made.
    pub keys: u32,
    pub slots: u32,
    pub(super) stride: u32,
    pub made_at_ns: i64,
    /// What its rows name, sorted.
    pub zones: Vec<String>,
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn put(page: &mut [u8], at: usize, bytes: &[u8]) {
    page[at..at + bytes.len()].copy_from_slice(bytes);
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    parts.iter().fold(Sha256::new(), |hash, part| hash.chain_update(part)).finalize().into()
}

impl Header {
    /// `None`: a name is too long for its place, or there are too many zones.
    pub(super) fn encode(&self) -> Option<([u8; PAGE], [u8; 32])> {
        let mut page = [0; PAGE];
        put(&mut page, 0, &MAGIC);
        put(&mut page, 8, &FORMAT.to_le_bytes());
        let numbers = [self.dim, self.keys, self.slots, self.stride, SLOTS_A_BLOCK, KEYS_A_BLOCK];
        for (place, number) in numbers.into_iter().enumerate() {
            put(&mut page, 12 + 4 * place, &number.to_le_bytes());
        }
        put(&mut page, 40, &self.made_at_ns.to_le_bytes());
        for (at, text) in TEXTS_AT.into_iter().zip([&self.purpose, &self.model, &self.model_sha256]) {
            let length = u16::try_from(text.len()).ok().filter(|length| usize::from(*length) <= TEXT)?;
            put(&mut page, at, &length.to_le_bytes());
            put(&mut page, at + 2, text.as_bytes());
        }
        put(&mut page, ZONES_AT, &u16::try_from(self.zones.len()).ok()?.to_le_bytes());
        let mut at = ZONES_AT + 2;
        for zone in &self.zones {
            let length = u16::try_from(zone.len()).ok().filter(|_| at + 2 + zone.len() <= HEADER_DIGEST_AT)?;
            put(&mut page, at, &length.to_le_bytes());
            put(&mut page, at + 2, zone.as_bytes());
            at += 2 + zone.len();
        }
        let digest = sha256(&[&page[..HEADER_DIGEST_AT]]);
        put(&mut page, HEADER_DIGEST_AT, &digest);
        Some((page, digest))
    }

    pub(super) fn decode(page: &[u8; PAGE]) -> Result<(Self, [u8; 32]), Malformed> {
        if !page.starts_with(&MAGIC) {
            return Err(Malformed::Magic);
        }
        let absent = Malformed::Header("it is too short");
        let format = u16_at(page, 8).ok_or(absent)?;
        if format != FORMAT {
            return Err(Malformed::Format(format));
        }
        let digest = sha256(&[&page[..HEADER_DIGEST_AT]]);
        if digest != page[HEADER_DIGEST_AT..] {
            return Err(Malformed::HeaderDigest);
        }
        let number = |place: usize| u32_at(page, 12 + 4 * place).ok_or(absent);
        let text = |at: usize| {
            let length = usize::from(u16_at(page, at).ok_or(absent)?);
            let bytes = page.get(at + 2..at + 2 + length).filter(|_| length <= TEXT).ok_or(Malformed::Header("a name is too long"))?;
            String::from_utf8(bytes.to_vec()).map_err(|_| Malformed::Header("a name is no text"))
        };
        if (number(4)?, number(5)?) != (SLOTS_A_BLOCK, KEYS_A_BLOCK) {
            return Err(Malformed::Header("its blocks are of another size"));
        }
        let [purpose, model, model_sha256] = [text(TEXTS_AT[0])?, text(TEXTS_AT[1])?, text(TEXTS_AT[2])?];
        let zones = zones(page).ok_or(Malformed::Header("its zones cannot be read"))?;
        let made_at_ns = u64_at(page, 40).ok_or(absent)?.cast_signed();
        let header = Self {
            purpose,
            model,
            model_sha256,
            dim: number(0)?,
            keys: number(1)?,
            slots: number(2)?,
            stride: number(3)?,
            made_at_ns,
            zones,
        };
        if !header.stride.is_multiple_of(64) || !(64..=MAX_STRIDE).contains(&header.stride) {
            return Err(Malformed::Header("its slots are of no size that there is"));
        }
        Ok((header, digest))
    }
}

fn zones(page: &[u8; PAGE]) -> Option<Vec<String>> {
    let (mut all, mut at) = (Vec::new(), ZONES_AT + 2);
    for _ in 0..u16_at(page, ZONES_AT)? {
        let length = usize::from(u16_at(page, at)?);
        all.push(String::from_utf8(page[..HEADER_DIGEST_AT].get(at + 2..at + 2 + length)?.to_vec()).ok()?);
        at += 2 + length;
    }
    all.is_sorted_by(|a, b| a < b).then_some(all)
}

/// Where the parts begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub key_blocks: u32,
    pub row_blocks: u32,
    pub table_at: u64,
    pub table_bytes: u64,
    pub keys_at: u64,
    pub rows_at: u64,
    pub length: u64,
}

impl Layout {
    /// `None`: longer than any file.
    pub fn of(header: &Header) -> Option<Self> {
        let (key_blocks, row_blocks) = (header.keys.div_ceil(KEYS_A_BLOCK), header.slots.div_ceil(SLOTS_A_BLOCK));
        let table_bytes = (u64::from(key_blocks) + u64::from(row_blocks)).checked_mul(ENTRY as u64)?;
        let page = |at: u64| at.checked_next_multiple_of(PAGE as u64);
        let keys_at = page(TABLE_AT.checked_add(table_bytes)?)?;
        let rows_at = page(keys_at.checked_add(u64::from(header.keys).checked_mul(KEY as u64)?)?)?;
        let length = rows_at.checked_add(u64::from(header.slots).checked_mul(header.stride.into())?)?;
        Some(Self { key_blocks, row_blocks, table_at: TABLE_AT, table_bytes, keys_at, rows_at, length })
    }

    /// Where block `index` of the table begins, and its bytes; key blocks come first.
    pub fn block(&self, header: &Header, index: u32) -> (u64, usize) {
        let part = |first: u64, block: u32, of: u32, each: u32, bytes: u64| {
            let count = of.saturating_sub(block.saturating_mul(each)).min(each);
            (first + u64::from(block) * u64::from(each) * bytes, count as usize * usize::try_from(bytes).unwrap_or(0))
        };
        match index.checked_sub(self.key_blocks) {
            None => part(self.keys_at, index, header.keys, KEYS_A_BLOCK, KEY as u64),
            Some(block) => part(self.rows_at, block, header.slots, SLOTS_A_BLOCK, header.stride.into()),
        }
    }

    pub const fn blocks(&self) -> u32 {
        self.key_blocks + self.row_blocks
    }
}

/// A block's entry in the table.
pub(super) fn entry_of(block: &[u8]) -> [u8; ENTRY] {
    let mut entry = [0; ENTRY];
    put(&mut entry, 0, &super::crc::crc32c(block).to_le_bytes());
    put(&mut entry, 32, &sha256(&[block]));
    entry
}

pub(super) fn root_of(header_digest: &[u8; 32], table: &[u8]) -> [u8; 32] {
    sha256(&[b"placard/1/shard-root", header_digest, table])
}

/// What is in force of it. Changes with every erasure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    pub(super) sequence: u64,
    /// The purpose's version in the vault, and its mark, which is another after every change.
    pub version: u64,
    pub mark: [u8; 16],
    pub live_keys: u32,
    pub live_slots: u32,
    pub root: [u8; 32],
}

impl State {
    pub(super) fn encode(&self, header_digest: &[u8; 32], site: &SealingKey) -> Result<[u8; STATE], SealError> {
        let mut page = [0; STATE];
        put(&mut page, 0, &self.sequence.to_le_bytes());
        put(&mut page, 8, &self.version.to_le_bytes());
        put(&mut page, 16, &self.mark);
        put(&mut page, 32, &self.live_keys.to_le_bytes());
        put(&mut page, 36, &self.live_slots.to_le_bytes());
        put(&mut page, 64, &self.root);
        let digest = sha256(&[header_digest, &page[..STATE_FACTS]]);
        put(&mut page, STATE_FACTS, &digest);
        put(&mut page, STATE_FACTS + 32, &site.seal(&bound(&digest), &[])?);
        Ok(page)
    }

    /// `None`: not whole, or not sealed by this site. Without the site's key nobody can tell the latter.
    pub(super) fn decode(page: &[u8], header_digest: &[u8; 32], site: Option<&SealingKey>) -> Option<Self> {
        let digest = sha256(&[header_digest, page.get(..STATE_FACTS)?]);
        if page.get(STATE_FACTS..STATE_FACTS + 32)? != digest {
            return None;
        }
        if let Some(site) = site {
            site.open(&bound(&digest), page.get(STATE_FACTS + 32..STATE)?).ok()?;
        }
        Some(Self {
            sequence: u64_at(page, 0)?,
            version: u64_at(page, 8)?,
            mark: page.get(16..32)?.try_into().ok()?,
            live_keys: u32_at(page, 32)?,
            live_slots: u32_at(page, 36)?,
            root: page.get(64..96)?.try_into().ok()?,
        })
    }
}

fn bound(digest: &[u8; 32]) -> Vec<u8> {
    [&b"placard/1/shard-state/"[..], digest].concat()
}
