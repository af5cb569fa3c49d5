//! Memory for what must not leave this process: rows and planes. Wiped when it goes away, left out of core dumps, and locked against being
//! swapped out where the machine lets it (`LimitMEMLOCK` of the unit).
//!
//! Up to [`SECRET_BYTES`] it is taken from `memfd_secret` where the kernel has that: such pages are in no map but this process's, not even in the kernel's own, so that nobody
//! reads them through `/proc`, a debugger or the kernel, and they are never swapped or dumped. Larger ones are locked pages: taking a page out of the kernel's map costs
//! some 30 µs (and more where all processors are busy, because each of them is told), which a million templates (700,000 pages) would wait for at every load, and there are no large pages of that kind.
//!
//! Pages of its own in any case, so that locking and marking touch nobody else's. Begins at a page, is a whole number of 64-byte lines
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
    kept: Kept,
}

/// A region of more than that is locked, and not secret.
pub(crate) const SECRET_BYTES: usize = 4 << 20;

/// How well memory is kept from others, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kept {
    /// It may be swapped out or dumped: the unit's limits are too low, or swap is on.
    Swappable,
    /// Locked, and left out of core dumps.
    Locked,
    /// In this process's map alone.
    Secret,
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
            return Ok(Self { pages: None, lines, kept: Kept::Secret });
        }
        let bytes = lines.saturating_mul(LINE_BYTES);
        if let Some(pages) = secret(bytes) {
            return Ok(Self { pages: Some(pages), lines, kept: Kept::Secret });
        }
        let pages = Pages::map_anon(bytes).map_err(|error| NoMemory { bytes, error: error.to_string() })?;
        // Large pages before the first touch. A kernel without them scans a little slower; one that cannot leave pages out of a core dump
        // is answered by `locked`, which the caller reports together with the unit's own limits.
        let large = pages.advise(Advice::HugePage);
        let undumped = pages.advise(Advice::DontDump);
        let _ = large;
        let kept = if pages.lock().is_ok() && undumped.is_ok() { Kept::Locked } else { Kept::Swappable };
        Ok(Self { pages: Some(pages), lines, kept })
    }

    #[cfg(miri)]
    pub(super) fn new(lines: usize) -> Result<Self, NoMemory> {
        Ok(Self { pages: Some(vec![Line([0.0; LANES]); lines]), lines, kept: Kept::Swappable })
    }

    pub(super) const fn kept(&self) -> Kept {
        self.kept
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

/// `None`: the kernel has none, or the limits are too low, or it is more than [`SECRET_BYTES`].
#[cfg(not(miri))]
fn secret(bytes: usize) -> Option<Pages> {
    use std::os::fd::{FromRawFd, OwnedFd};
    if bytes > SECRET_BYTES {
        return None;
    }
    // SAFETY: the call takes one number and touches no memory of ours.
    let answer = unsafe { nix::libc::syscall(nix::libc::SYS_memfd_secret, nix::libc::O_CLOEXEC) };
    let number = i32::try_from(answer).ok().filter(|number| *number >= 0)?;
    // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
    let file = std::fs::File::from(unsafe { OwnedFd::from_raw_fd(number) });
    file.set_len(bytes as u64).ok()?;
    // SAFETY: the file has no name and this is its only descriptor, closed below, so nobody changes or shortens it under the mapping.
    let pages = unsafe { memmap2::MmapOptions::new().len(bytes).map_mut(&file) }.ok()?;
    // The kernel marks them so itself; a kernel that refuses to say it again is none that keeps them.
    pages.advise(memmap2::Advice::DontDump).ok()?;
    Some(pages)
}

impl Drop for Region {
    fn drop(&mut self) {
        self.bytes_mut().zeroize();
    }
}
