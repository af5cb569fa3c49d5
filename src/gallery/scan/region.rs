//! Memory for what must not leave this process: rows and planes. Wiped when it goes away, left out of core dumps, and locked against being
//! swapped out where the machine lets it (`LimitMEMLOCK` of the unit).
//!
//! Private anonymous pages of its own, so that locking and marking touch nobody else's. Begins at a page, is a whole number of 64-byte lines
//! long, and is zero at first. Under Miri, which knows no mappings, a vector stands in.

use zeroize::Zeroize;

/// A cache line, which is a vector of the widest kind.
pub(super) const LINE_BYTES: usize = 64;
/// Values of a row in one line.
pub(super) const LANES: usize = 16;

/// One line of a row of values.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Line(pub(crate) [f32; LANES]);

const _: () = assert!(size_of::<Line>() == LINE_BYTES && align_of::<Line>() == LINE_BYTES);

#[cfg(not(miri))]
type Pages = memmap2::MmapMut;
#[cfg(miri)]
type Pages = Vec<Line>;

pub(super) struct Region {
    /// `None`: no line at all.
    pages: Option<Pages>,
    lines: usize,
    locked: bool,
}

/// The system gave no memory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no {bytes} bytes of memory for a gallery: {error}")]
pub struct NoMemory {
    bytes: usize,
    error: String,
}

impl Region {
    #[cfg(not(miri))]
    pub(super) fn new(lines: usize) -> Result<Self, NoMemory> {
        use memmap2::Advice;
        if lines == 0 {
            return Ok(Self { pages: None, lines, locked: true });
        }
        let bytes = lines.saturating_mul(LINE_BYTES);
        let pages = Pages::map_anon(bytes).map_err(|error| NoMemory { bytes, error: error.to_string() })?;
        // Large pages before the first touch. A kernel without them scans a little slower; one that cannot leave pages out of a core dump
        // is answered by `locked`, which the caller reports together with the unit's own limits.
        let large = pages.advise(Advice::HugePage);
        let undumped = pages.advise(Advice::DontDump);
        let _ = large;
        let locked = pages.lock().is_ok() && undumped.is_ok();
        Ok(Self { pages: Some(pages), lines, locked })
    }

    #[cfg(miri)]
    pub(super) fn new(lines: usize) -> Result<Self, NoMemory> {
        Ok(Self { pages: Some(vec![Line([0.0; LANES]); lines]), lines, locked: false })
    }

    /// Whether these pages stay out of swap and core dumps.
    pub(super) const fn is_locked(&self) -> bool {
        self.locked
    }

    fn base(&self) -> *const u8 {
        self.pages.as_ref().map_or(std::ptr::dangling::<Line>().cast(), |pages| pages.as_ptr().cast())
    }

    fn base_mut(&mut self) -> *mut u8 {
        self.pages.as_mut().map_or(std::ptr::dangling_mut::<Line>().cast(), |pages| pages.as_mut_ptr().cast())
    }

    pub(super) fn lines(&self) -> &[Line] {
        // SAFETY: `lines` lines lie behind `base` (made so in `new`, never changed), which begins at a page and so at a multiple of 64; a
        // dangling base has the right alignment and goes with 0 lines. Any bytes are `f32`s. They are borrowed as long as `self` is.
        unsafe { std::slice::from_raw_parts(self.base().cast(), self.lines) }
    }

    pub(super) fn lines_mut(&mut self) -> &mut [Line] {
        let lines = self.lines;
        // SAFETY: as in `lines`, and borrowed mutably from the only owner.
        unsafe { std::slice::from_raw_parts_mut(self.base_mut().cast(), lines) }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: as in `lines`: 64 bytes a line, all of them initialised (`Line` has no padding).
        unsafe { std::slice::from_raw_parts(self.base(), self.lines * LINE_BYTES) }
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        let bytes = self.lines * LINE_BYTES;
        // SAFETY: as in `bytes`, borrowed mutably from the only owner; any bytes are `f32`s.
        unsafe { std::slice::from_raw_parts_mut(self.base_mut(), bytes) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        self.bytes_mut().zeroize();
    }
}
