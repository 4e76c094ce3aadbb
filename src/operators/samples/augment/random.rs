//! Random numbers of a sample: a stream for each operation, so that one more leaves the others as they were.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tomoflow_connectors::Digest;

/// The source of the random numbers of one sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    key: [u8; 32],
    /// The first stream: those of several augmentations lie one behind the other.
    first: u64,
}

/// The number of streams of an augmentation: more than it has operations.
const STREAMS: u64 = 64;

impl Source {
    /// Makes the source of one sample: `number` counts the case's own samples.
    pub fn new(seed: u64, case: &str, epoch: u64, number: u64) -> Self {
        let numbers = [seed, epoch, number].map(u64::to_le_bytes);
        let parts = [case.as_bytes(), &numbers[0], &numbers[1], &numbers[2]];
        Self { key: Digest::of_parts(parts).0, first: 0 }
    }

    /// Returns the source of the augmentation so many places behind the first.
    #[must_use]
    pub fn of(self, augmentation: usize) -> Self {
        Self { first: STREAMS.wrapping_mul(augmentation as u64), ..self }
    }

    /// The numbers of one operation.
    pub fn stream(&self, operation: u64) -> ChaCha8Rng {
        let mut random = ChaCha8Rng::from_seed(self.key);
        random.set_stream(self.first.wrapping_add(operation));
        random
    }
}

/// Draws a number from the standard normal distribution (Box and Muller 1958).
pub fn normal(random: &mut ChaCha8Rng) -> f64 {
    let (radius, angle): (f64, f64) = (random.random(), random.random());
    // The logarithm is never taken of 0.
    (-2.0 * (1.0 - radius).ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_by_all_that_names_them() {
        let first = |source: Source, operation| source.stream(operation).random::<u64>();
        let source = Source::new(1, "a", 2, 3);
        assert_eq!(first(source, 0), first(Source::new(1, "a", 2, 3), 0));
        for other in [Source::new(2, "a", 2, 3), Source::new(1, "b", 2, 3), Source::new(1, "a", 3, 2)] {
            assert_ne!(first(source, 0), first(other, 0));
        }
        assert_ne!(first(source, 0), first(source, 1));
        assert_ne!(first(source, 1), first(source.of(1), 1));
        assert_eq!(first(source, 1), first(source.of(1).of(0), 1));
    }

    #[test]
    fn normal_numbers_have_mean_0_and_variance_1() {
        let mut random = Source::new(0, "", 0, 0).stream(0);
        let numbers: Vec<f64> = (0..40_000).map(|_| normal(&mut random)).collect();
        let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
        let variance = numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / numbers.len() as f64;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03, "{mean}, {variance}");
    }
}
