//! Nobody is compared with the enrolled but by a permit to match, for the purpose that the permit names.

use placard::embedding::Embedding;
use placard::gallery::set::GallerySet;
use placard::gallery::vault::Template;
use placard::policy::lease::{Embed, Permit};
use placard::purpose::Purpose;

fn search(set: &GallerySet, query: &Embedding, embed: &Permit<Embed>, purpose: &Purpose) {
    let _ = set.search(query, 0.6, 3);
    let _ = set.search(embed, query, 0.6, 3);
    let _ = set.for_purpose(purpose);
}

fn compare(query: &Embedding, other: &Embedding, template: &Template) {
    let _ = query.as_slice();
    let _ = query.cosine(other);
    let _ = &template.values;
}

fn main() {}
