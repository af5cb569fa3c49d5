//! Leave to look is not leave to search: that is bound to a purpose.

use placard::clock::Stamp;
use placard::embedding::Embedding;
use placard::frame::StreamIndex;
use placard::gallery::set::GallerySet;
use placard::matching::identify::identify;
use placard::policy::lease::{Embed, LeaseTable, Match, Permit};

fn search(table: &LeaseTable, embed: Permit<Embed>, query: Embedding, set: &GallerySet) {
    let _ = table.permit::<Match>(StreamIndex(0), Stamp::from_ns(0));
    let _ = embed.purpose();
    let _ = identify(query, &[embed], set, 0.6, 3);
}

fn main() {
    let _ = search;
}
