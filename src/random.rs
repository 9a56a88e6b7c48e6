//! Random numbers as functions of a seed and a place: the same on every machine, with no state to keep.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use sha2::{Digest, Sha256};

/// The stream that belongs to `purpose` at `indices`, such as a step and a sample.
pub fn stream(seed: u64, purpose: &str, indices: &[u64]) -> ChaCha8Rng {
    let mut key = format!("{seed}:{purpose}");
    for index in indices {
        key.push_str(&format!(":{index}"));
    }
    ChaCha8Rng::from_seed(Sha256::digest(key).into())
}
