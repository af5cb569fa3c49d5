//! A face embedding: a unit vector that is wiped when it goes away.
//!
//! It cannot be cloned, printed or serialised, and outside this crate its values cannot be read nor compared, so the only ways on are a
//! permitted search and the encrypted vault (C03, C09, C34).

use zeroize::Zeroize;

/// An L2-normalised embedding. Memory is zeroised on drop.
pub struct Embedding {
    values: Box<[f32]>,
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EmbeddingError {
    #[error("embedding value {index} is not finite")]
    NotFinite { index: usize },
    #[error("embedding has norm {norm:e}: a face embedding cannot be (nearly) zero")]
    Degenerate { norm: f32 },
}

impl Embedding {
    /// Normalises `values` to unit length. `values` is wiped whatever the outcome.
    pub fn normalised(values: &mut [f32]) -> Result<Self, EmbeddingError> {
        let result = Self::normalised_from(values);
        values.zeroize();
        result
    }

    fn normalised_from(values: &[f32]) -> Result<Self, EmbeddingError> {
        if let Some(index) = values.iter().position(|v| !v.is_finite()) {
            return Err(EmbeddingError::NotFinite { index });
        }
        let norm = values.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt();
        if norm < 1e-6 {
            #[expect(clippy::cast_possible_truncation, reason = "shown in an error only")]
            return Err(EmbeddingError::Degenerate { norm: norm as f32 });
        }
        #[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is the format of embeddings")]
        let values = values.iter().map(|v| (f64::from(*v) / norm) as f32).collect();
        Ok(Self { values })
    }

    /// The normalised mean of a track's best shots.
    pub fn mean<'a>(shots: impl IntoIterator<Item = &'a Self>) -> Result<Self, EmbeddingError> {
        let mut shots = shots.into_iter();
        let Some(first) = shots.next() else { return Err(EmbeddingError::Degenerate { norm: 0.0 }) };
        let mut sum: Vec<f32> = first.values.to_vec();
        for shot in shots {
            sum.iter_mut().zip(&*shot.values).for_each(|(s, v)| *s += v);
        }
        Self::normalised(&mut sum)
    }

    pub fn dim(&self) -> usize {
        self.values.len()
    }
    pub(crate) fn as_slice(&self) -> &[f32] {
        &self.values
    }
    /// Cosine similarity (both are unit vectors): between pictures of one person at enrolment. Who it is, a gallery says, under a permit.
    pub(crate) fn cosine(&self, other: &Self) -> f32 {
        self.values.iter().zip(&*other.values).map(|(a, b)| a * b).sum()
    }
}

impl Drop for Embedding {
    fn drop(&mut self) {
        self.values.zeroize();
        #[cfg(test)]
        testing::note_drop(&self.values);
    }
}

/// The twin of `kernels/embed`: the mean of a caller's own rows of numbers. No embedding can be had through it.
#[doc(hidden)]
pub mod twin {
    use super::{Embedding, EmbeddingError};

    /// [`Embedding::mean`] of `shots`; of one shot, that shot normalised.
    pub fn mean(shots: &[&[f32]]) -> Result<Vec<f32>, EmbeddingError> {
        let shots: Vec<Embedding> = shots.iter().map(|shot| Embedding { values: (*shot).into() }).collect();
        Embedding::mean(&shots).map(|mean| mean.values.to_vec())
    }
}

/// Lets tests of the steps see that embeddings went away, and how. Counts are per thread.
#[cfg(test)]
pub(crate) mod testing {
    use std::cell::Cell;

    thread_local! {
        static WIPED: Cell<usize> = const { Cell::new(0) };
        static LEFT: Cell<usize> = const { Cell::new(0) };
    }

    /// Looks at an embedding's own memory in its last moment.
    pub(super) fn note_drop(values: &[f32]) {
        let counter = if values.iter().all(|v| v.to_bits() == 0) { &WIPED } else { &LEFT };
        counter.set(counter.get() + 1);
    }

    /// Embeddings that went away on this thread since the last call: (with nothing left in their memory, with something left).
    pub(crate) fn take_drops() -> (usize, usize) {
        (WIPED.take(), LEFT.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalises_and_wipes_the_source() {
        let mut source = [3.0, 4.0];
        let e = Embedding::normalised(&mut source).expect("finite");
        assert_eq!(e.as_slice(), [0.6, 0.8]);
        assert_eq!(source, [0.0, 0.0]);
    }

    #[test]
    fn refuses_what_is_no_direction() {
        assert_eq!(Embedding::normalised(&mut [1.0, f32::NAN]).err(), Some(EmbeddingError::NotFinite { index: 1 }));
        assert!(matches!(Embedding::normalised(&mut [0.0; 4]).err(), Some(EmbeddingError::Degenerate { .. })));
        assert!(Embedding::mean([]).is_err());
    }
}
