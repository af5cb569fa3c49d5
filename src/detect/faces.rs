//! The faces of one frame, in a list that is used again: it goes back to its detector when the tracker is done with it, so that a frame
//! costs no allocation.
//!
//! Written by a detect worker, read by the track worker; no locks.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

use super::Face;

/// Lists that one worker may have out: its own, those queued for the tracker, and the tracker's.
const LISTS: usize = 16;

/// Faces of a frame. Dereferences to the list.
#[derive(Debug, Default)]
pub struct Faces {
    list: Vec<Face>,
    home: Option<Arc<ArrayQueue<Vec<Face>>>>,
}

/// Where a worker's lists wait.
#[derive(Clone, Debug)]
pub struct FaceLists(Arc<ArrayQueue<Vec<Face>>>);

impl Default for FaceLists {
    fn default() -> Self {
        Self(Arc::new(ArrayQueue::new(LISTS)))
    }
}

impl FaceLists {
    /// An empty list, with the room it had when it was last used.
    pub fn take(&self) -> Faces {
        Faces { list: self.0.pop().unwrap_or_default(), home: Some(Arc::clone(&self.0)) }
    }
}

impl From<Vec<Face>> for Faces {
    fn from(list: Vec<Face>) -> Self {
        Self { list, home: None }
    }
}

impl Deref for Faces {
    type Target = Vec<Face>;
    fn deref(&self) -> &Vec<Face> {
        &self.list
    }
}

impl DerefMut for Faces {
    fn deref_mut(&mut self) -> &mut Vec<Face> {
        &mut self.list
    }
}

impl Drop for Faces {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            let mut list = std::mem::take(&mut self.list);
            list.clear();
            // Full: more were out than the tracker can hold; this one is let go.
            let _freed = home.push(list);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::BoundingBox;

    #[test]
    fn a_list_comes_back_empty_and_with_its_room() {
        let lists = FaceLists::default();
        let mut faces = lists.take();
        faces.extend([Face { bounding_box: BoundingBox::default(), score: 1.0, landmarks: None }; 20]);
        let (room, place) = (faces.capacity(), faces.as_ptr());
        drop(faces);
        let again = lists.take();
        assert_eq!((again.len(), again.capacity(), again.as_ptr()), (0, room, place));
        assert_eq!(Faces::from(vec![Face { bounding_box: BoundingBox::default(), score: 1.0, landmarks: None }]).len(), 1);
    }
}
