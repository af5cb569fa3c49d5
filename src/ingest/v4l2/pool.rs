//! The device's buffers: each is either the driver's (queued) or ours (taken out, and lent to one frame).
//!
//! Invariants: a buffer is read only while it is lent, and a lent buffer is not queued; so the driver never writes into memory that a
//! frame shows. When the frame's last reader drops it, the buffer goes back to the driver, unless the pool was closed meanwhile. The
//! memory stays mapped until the pool and the last frame are gone, whatever becomes of the device.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use crossbeam::queue::ArrayQueue;
use memmap2::MmapRaw;

use super::device::Geometry;
use crate::frame::FrameBuffer;

/// Takes buffers back; the device, or a fake in tests.
pub(super) trait Queue: Send + Sync {
    fn enqueue(&self, index: u32) -> io::Result<()>;
}

impl Queue for super::device::Device {
    fn enqueue(&self, index: u32) -> io::Result<()> {
        Self::enqueue(self, index)
    }
}

struct Slot {
    memory: MmapRaw,
    lent: AtomicBool,
}

/// All buffers of one opening of a device.
pub(super) struct Pool<Q: Queue> {
    queue: Arc<Q>,
    slots: Vec<Slot>,
    open: AtomicBool,
    /// Buffers that the driver would not take back while the pool was open.
    pub lost: AtomicU64,
    /// Boxes of buffers that came back, for the next.
    boxes: ArrayQueue<Box<Lent<Q>>>,
}

/// Where each plane ends within a picture, in bytes; planes that the layout does not have end with the one before.
pub(super) fn plane_ends(geometry: &Geometry) -> [usize; 3] {
    let strides = strides(geometry);
    let bytes = |plane: usize| strides[plane] * geometry.layout.plane_size(plane, geometry.width, geometry.height).1;
    let first = bytes(0);
    let second = first + bytes(1);
    [first, second, second + bytes(2)]
}

/// Bytes from row to row, per plane: the driver says the first, the others are in proportion.
pub(super) fn strides(geometry: &Geometry) -> [usize; 3] {
    let (stride, luma) = (geometry.stride as usize, geometry.layout.luma());
    let mut strides = [stride, 0, 0];
    for chroma in geometry.layout.components().into_iter().flatten().filter(|samples| samples.plane > 0) {
        strides[chroma.plane] = stride * chroma.pitch / (chroma.columns as usize * luma.pitch);
    }
    strides
}

impl<Q: Queue> Pool<Q> {
    /// Takes over the mapped buffers and hands all of them to the driver.
    pub fn new(queue: Arc<Q>, memory: Vec<MmapRaw>) -> io::Result<Arc<Self>> {
        let slots: Vec<Slot> = memory.into_iter().map(|memory| Slot { memory, lent: AtomicBool::new(false) }).collect();
        for index in 0..slots.len() {
            queue.enqueue(u32::try_from(index).unwrap_or(u32::MAX))?;
        }
        let boxes = ArrayQueue::new(slots.len().max(1));
        Ok(Arc::new(Self { queue, slots, open: AtomicBool::new(true), lost: AtomicU64::new(0), boxes }))
    }

    /// Lends a buffer that the driver has just handed out. `None` if the driver's word cannot be true: no such buffer, one that is lent
    /// already, or too small for the picture.
    pub fn lend(self: &Arc<Self>, index: u32, geometry: &Geometry) -> Option<Box<Lent<Q>>> {
        let ends = plane_ends(geometry);
        let slot = self.slots.get(index as usize).filter(|slot| slot.memory.len() >= ends[2])?;
        if slot.lent.swap(true, SeqCst) {
            return None;
        }
        let mut lent = self.boxes.pop().unwrap_or_else(|| Box::new(Lent { pool: None, index, ends }));
        *lent = Lent { pool: Some(Arc::clone(self)), index, ends };
        Some(lent)
    }

    /// Gives a buffer back without anyone having read it.
    pub fn give_back(&self, index: u32) {
        if self.open.load(SeqCst) && self.queue.enqueue(index).is_err() {
            self.lost.fetch_add(1, SeqCst);
        }
    }

    /// From now on buffers are not given back: the driver has none any more.
    pub fn close(&self) {
        self.open.store(false, SeqCst);
    }
}

/// A buffer in a reader's hands; `None` for a pool: an empty box.
pub(super) struct Lent<Q: Queue> {
    pool: Option<Arc<Pool<Q>>>,
    index: u32,
    ends: [usize; 3],
}

impl<Q: Queue> Lent<Q> {
    /// Gives the buffer back to the driver; returns the pool.
    fn release(&mut self) -> Option<Arc<Pool<Q>>> {
        let pool = self.pool.take()?;
        // In this order: once it is queued, the driver may hand it out again.
        pool.slots[self.index as usize].lent.store(false, SeqCst);
        pool.give_back(self.index);
        Some(pool)
    }
}

impl<Q: Queue + 'static> FrameBuffer for Lent<Q> {
    fn plane(&self, plane: usize) -> &[u8] {
        let Some(pool) = &self.pool else { return &[] };
        let start = if plane == 0 { 0 } else { self.ends[plane - 1] };
        let memory = &pool.slots[self.index as usize].memory;
        // SAFETY: `lend` made sure that `ends[2]`, the largest end, lies within the mapping; ends never decrease, so start ≤ end. The
        // mapping lives in the pool, which `self` keeps alive. Nobody writes to it: this buffer is out of the driver's queue until
        // `self` lets go of the pool (the pool's invariant; `lent` forbids a second lending), which takes `self` exclusively and so
        // cannot happen while the slice lives, and we map it for nobody else.
        unsafe { std::slice::from_raw_parts(memory.as_ptr().add(start), self.ends[plane] - start) }
    }

    fn recycle(mut self: Box<Self>) {
        if let Some(pool) = self.release() {
            // Never full: there are as many boxes as buffers.
            let _freed = pool.boxes.push(self);
        }
    }
}

impl<Q: Queue> Drop for Lent<Q> {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use memmap2::MmapMut;
    use parking_lot::Mutex;

    use super::*;
    use crate::frame::{Colorimetry, PixelLayout};

    #[derive(Default)]
    struct FakeQueue {
        queued: Mutex<Vec<u32>>,
        broken: AtomicBool,
    }
    impl Queue for FakeQueue {
        fn enqueue(&self, index: u32) -> io::Result<()> {
            if self.broken.load(SeqCst) {
                return Err(io::Error::from_raw_os_error(19));
            }
            self.queued.lock().push(index);
            Ok(())
        }
    }

    const NV12: Geometry =
        Geometry { layout: PixelLayout::Nv12, width: 30, height: 17, stride: 32, bytes: 832, colorimetry: Colorimetry::assumed_for(17) };

    fn pool() -> (Arc<FakeQueue>, Arc<Pool<FakeQueue>>) {
        let queue = Arc::new(FakeQueue::default());
        let memory = (0..3_u8).map(|i| {
            let mut memory = MmapMut::map_anon(832).expect("memory");
            memory.fill(i);
            MmapRaw::from(memory)
        });
        let pool = Pool::new(Arc::clone(&queue), memory.collect()).expect("queued");
        (queue, pool)
    }

    #[test]
    fn planes_lie_where_the_format_says() {
        assert_eq!(plane_ends(&NV12), [544, 832, 832]);
        let i420 = Geometry { layout: PixelLayout::I420, ..NV12 };
        assert_eq!(plane_ends(&i420), [544, 544 + 144, 832]);
        assert_eq!((strides(&NV12), strides(&i420)), ([32, 32, 0], [32, 16, 16]));
        let yuyv = Geometry { layout: PixelLayout::Yuy2, stride: 64, ..NV12 };
        assert_eq!((plane_ends(&yuyv), strides(&yuyv)), ([1_088; 3], [64, 0, 0]));
        let p422 = Geometry { layout: PixelLayout::Y42b, ..NV12 };
        assert_eq!((plane_ends(&p422), strides(&p422)), ([544, 816, 1_088], [32, 16, 16]));
    }

    #[test]
    fn a_buffer_goes_back_when_its_reader_is_done_and_not_before() {
        let (queue, pool) = pool();
        assert_eq!(*queue.queued.lock(), [0, 1, 2]);
        let lent = pool.lend(1, &NV12).expect("handed out");
        assert_eq!((lent.plane(0).len(), lent.plane(1).len(), lent.plane(0)[543], lent.plane(1)[287]), (544, 288, 1, 1));
        assert!(pool.lend(1, &NV12).is_none(), "it is lent already");
        assert_eq!(queue.queued.lock().len(), 3);
        let place = std::ptr::from_ref(&*lent);
        FrameBuffer::recycle(lent);
        assert_eq!(*queue.queued.lock(), [0, 1, 2, 1]);
        let again = pool.lend(1, &NV12).expect("handed out again");
        assert_eq!(std::ptr::from_ref(&*again), place, "in the box that came back");
        drop(again);
        assert_eq!(*queue.queued.lock(), [0, 1, 2, 1, 1], "dropping gives back too");
    }

    #[test]
    fn what_the_driver_cannot_mean_is_not_believed() {
        let (_, pool) = pool();
        assert!(pool.lend(3, &NV12).is_none(), "there is no such buffer");
        assert!(pool.lend(0, &Geometry { height: 400, ..NV12 }).is_none(), "the picture would not fit");
    }

    #[test]
    fn a_frame_outlives_its_device() {
        let (queue, pool) = pool();
        let lent = pool.lend(2, &NV12).expect("handed out");
        queue.broken.store(true, SeqCst);
        pool.give_back(0);
        assert_eq!(pool.lost.load(SeqCst), 1);
        pool.close();
        drop(pool);
        assert_eq!(lent.plane(0)[0], 2);
        drop(lent);
        assert_eq!(queue.queued.lock().len(), 3, "nothing is given to a device that is gone");
    }
}
