//! A permit has no constructor and no public fields.

use placard::policy::lease::{Detect, Permit};

fn main() {
    let _forged: Permit<Detect> = Permit { grant: 0 };
    let _default: Permit<Detect> = Default::default();
}
