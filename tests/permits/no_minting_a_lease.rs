//! The policy thread alone grants.

use placard::policy::lease::{LeaseTerms, LeaseWriter};

fn grant(writer: &mut LeaseWriter, terms: &LeaseTerms) {
    let now = placard::clock::Stamp::from_ns(0);
    writer.publish_until(terms, now, now);
    let _ = LeaseWriter::new(1);
}

fn main() {
    let _ = grant;
}
