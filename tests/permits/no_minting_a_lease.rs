//! The policy thread alone grants.

use placard::clock::SharedClock;
use placard::policy::lease::{LeaseTerms, LeaseWriter};

fn grant(writer: &mut LeaseWriter, terms: &LeaseTerms, clock: &SharedClock) {
    let now = placard::clock::Stamp::from_ns(0);
    writer.publish_until(terms, now, now);
    let _ = LeaseWriter::new(1, clock);
    let _ = LeaseWriter::for_desk(clock);
}

fn main() {
    let _ = grant;
}
