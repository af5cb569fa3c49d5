//! Rasters of signed areas, kept so that none is drawn twice.
//!
//! A worker meets few (area, picture size) pairs and meets them again with every frame; a raster costs about a millisecond, a look-up
//! some nanoseconds. An entry is taken only if its *area* equals the asked-for one: the epoch makes the look-up fast, it is never
//! what the answer rests on. Owned by one worker; no locks.

use std::sync::Arc;

use crate::area::{Area, AreaMask};
use crate::frame::Pixels;

/// Rasters kept per worker: streams × sizes in flight; beyond it the longest unused goes.
const CAPACITY: usize = 64;

struct Entry {
    area_epoch: u64,
    area: Area,
    mask: Arc<AreaMask>,
    used: u64,
}

/// Most recently used rasters, by area and picture size.
#[derive(Default)]
pub struct MaskCache {
    entries: Vec<Entry>,
    clock: u64,
}

impl MaskCache {
    /// The raster of `pixels.area` at the picture's size. Allocates only the first time a pair is met.
    pub fn mask(&mut self, pixels: &Pixels<'_>) -> Arc<AreaMask> {
        let (width, height) = (pixels.header.width, pixels.header.height);
        self.clock += 1;
        let now = self.clock;
        let fits = |e: &Entry| e.mask.width() == width && e.mask.height() == height && e.area == *pixels.area;
        let by_epoch = self.entries.iter().position(|e| e.area_epoch == pixels.area_epoch && fits(e));
        if let Some(index) = by_epoch.or_else(|| self.entries.iter().position(fits)) {
            let entry = &mut self.entries[index];
            (entry.used, entry.area_epoch) = (now, pixels.area_epoch);
            return Arc::clone(&entry.mask);
        }
        if self.entries.len() >= CAPACITY
            && let Some(oldest) = (0..self.entries.len()).min_by_key(|&i| self.entries[i].used)
        {
            self.entries.swap_remove(oldest);
        }
        let mask = Arc::new(pixels.area.rasterise(width, height));
        self.entries.push(Entry { area_epoch: pixels.area_epoch, area: pixels.area.clone(), mask: Arc::clone(&mask), used: now });
        mask
    }
}
