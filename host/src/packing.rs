//! Bytes that are kept for long and have most in common with others: as what distinguishes them from one of a few models.

use lz4_flex::block;
use std::{collections::VecDeque, fmt, sync::Arc};

/// Models that are tried for new bytes.
const MODELS: usize = 8;
/// One that is larger makes a poor model: it is kept as long as anything that is like it.
const LARGEST_MODEL: usize = 16 << 10;

/// What is left of bytes that are like a model.
pub struct Packed {
    bytes: Box<[u8]>,
    length: u32,
    model: Arc<[u8]>,
}

/// Nothing of what it holds, which may be a secret.
impl fmt::Debug for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, packed", self.length)
    }
}

impl Packed {
    /// The bytes, in a few microseconds.
    pub fn read(&self) -> Vec<u8> {
        // It was packed here, in memory: what can't be unpacked is a fault, and reads as nothing.
        block::decompress_with_dict(&self.bytes, self.length as usize, &self.model).unwrap_or_else(|error| {
            tracing::error!(%error, "unable to unpack what was packed here");
            Vec::new()
        })
    }

    /// How much is left.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// What bytes are like.
pub struct Models {
    /// The one that was of use last comes first.
    known: VecDeque<Arc<[u8]>>,
    /// Bytes of which more is left, in hundredths, were not like the model.
    like: usize,
}

impl Models {
    /// None yet. Bytes are like one of them that leave at most so many hundredths.
    pub fn new(like: usize) -> Self {
        let known = VecDeque::new();
        Self { known, like }
    }

    /// Packs bytes that are like a model; others become one.
    pub fn pack(&mut self, bytes: &[u8]) -> Option<Packed> {
        let length = u32::try_from(bytes.len()).ok()?;
        let alike = self.known.iter().enumerate().find_map(|(index, model)| {
            let packed = block::compress_with_dict(bytes, model);
            (packed.len() * 100 <= bytes.len() * self.like).then_some((index, packed))
        });
        if let Some((index, packed)) = alike
            && let Some(model) = self.known.remove(index)
        {
            self.known.push_front(model.clone());
            return Some(Packed {
                bytes: packed.into(),
                length,
                model,
            });
        }
        if bytes.len() <= LARGEST_MODEL {
            // The next ones may be like it.
            self.known.truncate(MODELS - 1);
            self.known.push_front(Arc::from(bytes));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(length: usize) -> Vec<u8> {
        std::iter::repeat_with(|| fastrand::u8(..)).take(length).collect()
    }

    #[test]
    fn models_are_few_and_those_in_use_outlive_their_place() {
        let mut models = Models::new(33);
        let mut kept = Vec::new();
        for number in 0..3 * MODELS {
            let mut bytes = noise(2_000);
            assert!(models.pack(&bytes).is_none(), "nothing that two of them share");
            bytes.push(number as u8);
            kept.push((models.pack(&bytes).unwrap(), bytes));
        }
        assert_eq!(models.known.len(), MODELS);
        assert!(kept.iter().all(|(packed, bytes)| packed.read() == *bytes));
    }

    #[test]
    fn what_is_too_large_is_no_model() {
        let mut models = Models::new(33);
        for _ in 0..2 {
            assert!(models.pack(&vec![b'x'; LARGEST_MODEL + 1]).is_none());
        }
        assert!(models.known.is_empty());
    }

    #[test]
    fn how_much_may_be_left_is_the_callers() {
        let (model, half) = (noise(1_000), noise(500));
        let bytes = [&model[..500], &half].concat();
        for (like, packs) in [(40, false), (60, true)] {
            let mut models = Models::new(like);
            models.pack(&model);
            assert_eq!(models.pack(&bytes).is_some(), packs, "{like}");
        }
    }
}
