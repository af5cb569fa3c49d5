//! Where a permit is good: at a desk, or in the zones that a stream shows.

use std::sync::Arc;

/// Where whoever is looked for under a permit may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// An operator's desk, to which pictures are handed over: no zone, and everybody who is enrolled for the purpose.
    Desk,
    /// The zones of all areas that are looked at, sorted. A face may be in any of them, so only who may be looked for in all of them is.
    Zones(Arc<[Arc<str>]>),
}

impl Place {
    /// Nobody may be looked for.
    pub fn nowhere() -> Self {
        Self::Zones(Arc::new([]))
    }

    pub fn zones<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut all: Vec<Arc<str>> = names.into_iter().map(Into::into).collect();
        all.sort();
        all.dedup();
        Self::Zones(all.into())
    }
}
