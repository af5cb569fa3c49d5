//! A lease table comes from the policy thread and from nowhere else.

use placard::frame::StreamIndex;
use placard::policy::lease::LeaseTable;

fn main() {
    let _ = LeaseTable { slots: Vec::new().into(), first: StreamIndex(0) };
}
