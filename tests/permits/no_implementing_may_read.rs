//! Nobody outside the crate can declare that pixels may be read.

use placard::area::Area;
use placard::frame::{MayRead, StreamIndex, TableId};

struct Mine(Area);

impl MayRead for Mine {
    fn stream(&self) -> StreamIndex {
        StreamIndex(0)
    }
    fn table(&self) -> TableId {
        TableId::NOBODY
    }
    fn stands(&self) -> bool {
        true
    }
    fn area(&self) -> &Area {
        &self.0
    }
    fn area_epoch(&self) -> u64 {
        0
    }
}

fn main() {}
