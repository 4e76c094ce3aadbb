//! Dropout whose masks depend on the seed, the step and the layer alone: neither libtorch's own random state,
//! which all trainings of a process share, nor the device or the number of threads decides.

use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

use crate::networks::NetworkError;
use crate::networks::tensors::error::Doing;
use crate::networks::tensors::scalar::times;

/// Voxels that one thread draws at a time.
const CHUNK: usize = 1 << 16;

/// Leaves out a share of the features in training, and makes up for it in the others.
pub(in crate::networks) struct Dropout {
    rate: f64,
    layer: u64,
}

impl Dropout {
    /// The dropout of the layer of this name; none at rate 0.
    pub fn new(rate: f64, name: &str) -> Option<Self> {
        (rate > 0.0).then(|| Self { rate, layer: fnv(name.as_bytes()) })
    }

    /// Returns `x * mask / (1 - rate)`, with the mask of this draw.
    pub fn forward(&self, x: &Tensor, draw: u64) -> Result<Tensor, NetworkError> {
        let mask = Mask::new(draw, self.layer, self.rate);
        let kept = if x.device().is_cuda() {
            mask.on_device(x.numel(), x.device())?
        } else {
            Tensor::f_from_slice(&mask.on_cpu(x.numel()))?
        };
        let kept = kept.f_view(x.size().as_slice())?.f_to_kind(x.kind())?;
        times(&x.f_mul(&kept).doing("dropout")?, 1.0 / (1.0 - self.rate))
    }
}

/// Returns what one step of one training draws from: give it to
/// [`Mode::Train`](crate::networks::blocks::mode::Mode::Train).
pub fn draw(seed: u64, step: u64) -> u64 {
    split_mix(split_mix(seed).wrapping_add(step))
}

/// Which features stay: the hash of feature `i` (its low 32 bits, so that it repeats after 4 billion
/// features) under the keys is at least the threshold. It is counted and not drawn one after another, so that
/// any part of it can be made alone.
struct Mask {
    keys: [u32; 2],
    threshold: u32,
}

impl Mask {
    fn new(draw: u64, layer: u64, rate: f64) -> Self {
        let key = split_mix(draw ^ layer);
        // The rate is at most 0.9, so that this stays below 2^32.
        Self { keys: [key as u32, (key >> 32) as u32], threshold: (rate * 2f64.powi(32)).round() as u32 }
    }

    fn keeps(&self, index: usize) -> bool {
        let [first, second] = self.keys;
        mix(mix(index as u32 ^ first) ^ second) >= self.threshold
    }

    fn on_cpu(&self, count: usize) -> Vec<bool> {
        let mut kept = vec![false; count];
        kept.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, part)| {
            let first = chunk * CHUNK;
            part.iter_mut().enumerate().for_each(|(i, kept)| *kept = self.keeps(first + i));
        });
        kept
    }

    /// The same where the features are: a mask made on the CPU would take longer than the step itself.
    fn on_device(&self, count: usize, device: Device) -> Result<Tensor, NetworkError> {
        let number = |value: u32| -> Result<Tensor, NetworkError> {
            Ok(Tensor::f_from_slice(&[i64::from(value)])?.f_view(())?.f_to_device(device)?)
        };
        let low = number(u32::MAX)?;
        let fold = |x: &Tensor, shift| -> Result<Tensor, NetworkError> {
            Ok(x.f_bitwise_xor_tensor(&x.f_bitwise_right_shift(&number(shift)?)?)?)
        };
        // A product of 64 bits may overflow; its low 32 bits are right all the same.
        let spread = |x: &Tensor, by| -> Result<Tensor, NetworkError> {
            Ok(x.f_mul(&number(by)?)?.f_bitwise_and_tensor(&low)?)
        };
        let ones = Tensor::f_ones([count as i64], (Kind::Int64, device)).doing("dropout")?;
        let mut hash = ones.f_cumsum(0, Kind::Int64)?.f_sub(&number(1)?)?.f_bitwise_and_tensor(&low)?;
        for key in self.keys {
            hash = fold(&hash.f_bitwise_xor_tensor(&number(key)?)?, 16)?;
            hash = fold(&spread(&hash, MIX[0])?, 15)?;
            hash = fold(&spread(&hash, MIX[1])?, 16)?;
        }
        Ok(hash.f_ge_tensor(&number(self.threshold)?)?)
    }
}

/// Wellons' `lowbias32`.
const MIX: [u32; 2] = [0x7feb_352d, 0x846c_a68b];

fn mix(mut x: u32) -> u32 {
    x ^= x >> 16;
    x = x.wrapping_mul(MIX[0]);
    x ^= x >> 15;
    x = x.wrapping_mul(MIX[1]);
    x ^ (x >> 16)
}

/// The output function of SplitMix64 after one increment (Steele et al. 2014).
fn split_mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// FNV-1a, 64 bits.
fn fnv(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(step: u64, name: &str, rate: f64) -> Mask {
        Mask::new(draw(7, step), fnv(name.as_bytes()), rate)
    }

    #[test]
    fn published_values_of_the_hashes() {
        assert_eq!(split_mix(0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(fnv(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv(b"a"), 0xaf63_dc4c_8601_ec8c);
    }

    #[test]
    fn the_device_does_not_decide() {
        let mask = mask(3, "encoder.0.first", 0.3);
        let count = CHUNK + 1001;
        let tensor = mask.on_device(count, Device::Cpu).unwrap();
        assert_eq!(Vec::<bool>::try_from(&tensor).unwrap(), mask.on_cpu(count));
    }

    #[test]
    fn the_rate_is_what_it_says() {
        let count = 1 << 20;
        for rate in [0.01, 0.1, 0.5, 0.9] {
            let dropped = mask(1, "a", rate).on_cpu(count).iter().filter(|kept| !**kept).count() as f64;
            // Six standard deviations of a binomial.
            let within = 6.0 * (count as f64 * rate * (1.0 - rate)).sqrt();
            assert!((dropped - rate * count as f64).abs() < within, "{dropped} at {rate}");
        }
    }

    #[test]
    fn layers_steps_and_neighbours_are_independent() {
        let count = 1 << 20;
        let first = mask(1, "a", 0.5).on_cpu(count);
        let shifted = |by: usize| [&first[by..], &first[..by]].concat();
        let others = [mask(2, "a", 0.5).on_cpu(count), mask(1, "b", 0.5).on_cpu(count)];
        for other in others.into_iter().chain([1, 2, 64, 4096].map(shifted)) {
            let equal = first.iter().zip(&other).filter(|(a, b)| a == b).count() as f64;
            assert!((equal - count as f64 / 2.0).abs() < 6.0 * (count as f64 / 4.0).sqrt(), "{equal}");
        }
    }

    #[test]
    fn what_stays_makes_up_for_what_goes() {
        let dropout = Dropout::new(0.25, "a").unwrap();
        let x = Tensor::from_slice(&[2f32; 4096]).view([2, 8, 16, 16]);
        let y = Vec::<f32>::try_from(dropout.forward(&x, 5).unwrap().view(-1)).unwrap();
        assert!(y.iter().all(|&value| value == 0.0 || (value - 2.0 / 0.75).abs() < 1e-6));
        assert!((y.iter().sum::<f32>() / 4096.0 - 2.0).abs() < 0.2);
        assert!(Dropout::new(0.0, "a").is_none());
    }
}
