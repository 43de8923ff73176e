//! Bytes that are kept for long and have most in common with others: as what distinguishes them from one of a few models.

use lz4_flex::block;
use std::{collections::VecDeque, fmt, sync::Arc};

/// Models that are tried for new bytes.
const MODELS: usize = 8;
/// Once there is a model that bytes are like, so many more are tried for a closer one.
const FURTHER: usize = 2;
/// Where no model was close, each so many-th time what was packed becomes a model, in case others are close to that. A model
/// is kept as long as anything that is like it, so it must not be each of them.
const TRIALS: usize = 32;
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
    likeness: Likeness,
    /// Bytes that were like a model, though none was close.
    distant: usize,
}

/// How much may be left of bytes, in hundredths.
#[derive(Clone, Copy, Debug)]
pub struct Likeness {
    /// If no more is left, no other model is tried.
    pub close: usize,
    /// If more is left, it is not worth it.
    pub like: usize,
}

impl Models {
    /// None yet.
    pub fn new(likeness: Likeness) -> Self {
        Self {
            known: VecDeque::new(),
            likeness,
            distant: 0,
        }
    }

    /// Packs bytes that are like a model; others become one.
    pub fn pack(&mut self, bytes: &[u8]) -> Option<Packed> {
        let length = u32::try_from(bytes.len()).ok()?;
        let leaves = |packed: &[u8], hundredths: usize| packed.len() * 100 <= bytes.len() * hundredths;
        let mut best: Option<(usize, Vec<u8>)> = None;
        let mut tries = MODELS;
        for (index, model) in self.known.iter().enumerate() {
            if tries == 0 {
                break;
            }
            tries -= 1;
            let packed = block::compress_with_dict(bytes, model);
            if best.as_ref().is_none_or(|(_, best)| packed.len() < best.len()) {
                best = Some((index, packed));
            }
            if let Some((_, best)) = &best
                && leaves(best, self.likeness.like)
            {
                tries = match leaves(best, self.likeness.close) {
                    true => 0,
                    false => tries.min(FURTHER),
                };
            }
        }
        let Some((index, packed)) = best.filter(|(_, best)| leaves(best, self.likeness.like)) else {
            self.add(bytes);
            return None;
        };
        let model = self.known.remove(index)?;
        self.known.push_front(model.clone());
        if !leaves(&packed, self.likeness.close) {
            if self.distant.is_multiple_of(TRIALS) {
                self.add(bytes);
            }
            self.distant += 1;
        }
        Some(Packed {
            bytes: packed.into(),
            length,
            model,
        })
    }

    /// The next ones may be like it.
    fn add(&mut self, bytes: &[u8]) {
        if bytes.len() <= LARGEST_MODEL {
            self.known.truncate(MODELS - 1);
            self.known.push_front(Arc::from(bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THIRD: Likeness = Likeness { close: 10, like: 33 };

    fn noise(length: usize) -> Vec<u8> {
        std::iter::repeat_with(|| fastrand::u8(..)).take(length).collect()
    }

    #[test]
    fn models_are_few_and_those_in_use_outlive_their_place() {
        let mut models = Models::new(THIRD);
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
        let mut models = Models::new(THIRD);
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
            let mut models = Models::new(Likeness { close: like, like });
            models.pack(&model);
            assert_eq!(models.pack(&bytes).is_some(), packs, "{like}");
        }
    }

    #[test]
    fn a_better_model_is_found_and_few_are_kept() {
        // As pods are that run, beside the first one, which did not yet.
        let (early, late) = (noise(3_000), noise(700));
        let running = || [&early[..], &late, &noise(30)].concat();
        let mut models = Models::new(THIRD);
        models.pack(&early);
        let left: Vec<usize> = (0..3).map(|_| models.pack(&running()).unwrap().len()).collect();
        assert!(left[0] > 700 && left[1..].iter().all(|left| *left < 100), "{left:?}");

        // Of what has nothing close to it, few become models.
        let mut models = Models::new(THIRD);
        models.pack(&early);
        let kept: Vec<Packed> = (0..10 * TRIALS)
            .map(|_| models.pack(&[&early[..], &noise(700)].concat()).unwrap())
            .collect();
        let mut used: Vec<_> = kept.iter().map(|packed| Arc::as_ptr(&packed.model)).collect();
        used.sort_unstable();
        used.dedup();
        assert!(used.len() <= 11, "{}", used.len());
    }
}
