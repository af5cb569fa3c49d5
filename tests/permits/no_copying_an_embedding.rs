//! An embedding goes on to a permitted search or the sealed vault, and nowhere else.

use placard::embedding::Embedding;

fn keep(embedding: &Embedding) -> Embedding {
    println!("{embedding:?}");
    embedding.clone()
}

fn main() {
    let _ = keep;
}
