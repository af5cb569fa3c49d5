//! A permit is asked for anew each time, so that a lease that has ended is noticed.

use placard::policy::lease::{Detect, Permit};

fn copy(permit: &Permit<Detect>) -> Permit<Detect> {
    permit.clone()
}

fn main() {
    let _ = copy;
}
