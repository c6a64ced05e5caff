//! Random numbers by counter: every draw is a pure function of (seed, purpose, epoch, index).
//!
//! Nothing is drawn from a generator that lives across steps, so no generator state has to be saved and a resumed run
//! draws exactly what an uninterrupted one would have.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// What a stream of random numbers is for. The number is part of the key: never renumber, or old runs stop repeating.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    InitialiseWeights = 1,
    ValidationSplit = 2,
    Shuffle = 3,
    Augment = 4,
    Dropout = 5,
    AlternatingFlip = 6,
    RandomResizedCrop = 7,
    BalancedSampler = 8,
}

/// The stream of random numbers for one thing: an image of an epoch, the mask of a step, a parameter.
pub fn stream(seed: u64, purpose: Purpose, epoch: u64, index: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    for (bytes, word) in key.chunks_exact_mut(8).zip([seed, purpose as u64, epoch, index]) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngCore;

    #[test]
    fn every_coordinate_changes_the_stream_and_equal_ones_repeat_it() {
        let first = |seed, purpose, epoch, index| stream(seed, purpose, epoch, index).next_u64();
        let base = first(0, Purpose::Shuffle, 0, 0);
        assert_eq!(base, first(0, Purpose::Shuffle, 0, 0));
        for other in [
            first(1, Purpose::Shuffle, 0, 0),
            first(0, Purpose::Augment, 0, 0),
            first(0, Purpose::Shuffle, 1, 0),
            first(0, Purpose::Shuffle, 0, 1),
        ] {
            assert_ne!(base, other);
        }
    }
}
