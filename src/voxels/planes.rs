//! A map of shares, a byte a voxel, its planes packed one by one.

use std::io;

/// Steps from 0 to 1: an even number, so that a half is one of them.
pub const STEPS: u8 = 254;
/// The byte of a voxel of which nothing is known.
pub const UNKNOWN: u8 = 255;
/// zstd's own default: more takes several times as long and saves a hundredth.
const LEVEL: i32 = 3;

/// A share as it is stored: in steps of 1/254, halves up; what is no number is [`UNKNOWN`], and what lies beyond
/// 0 to 1 the nearer end.
///
/// # Examples
/// ```
/// use tomoflow::voxels::planes::{share, stored};
/// assert_eq!([0.0, 0.5, 1.0, f32::NAN].map(stored), [0, 127, 254, 255]);
/// assert!(share(127) == 0.5 && share(255).is_nan());
/// ```
pub fn stored(share: f32) -> u8 {
    if share.is_nan() {
        return UNKNOWN;
    }
    (share.clamp(0.0, 1.0) * f32::from(STEPS)).round() as u8
}

/// The share of a stored byte; NaN where nothing is known.
pub fn share(stored: u8) -> f32 {
    if stored == UNKNOWN { f32::NAN } else { f32::from(stored) / f32::from(STEPS) }
}

/// Planes of one map, all of one size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Planes {
    size: [usize; 2],
    packed: Vec<Vec<u8>>,
}

impl Planes {
    /// None yet, of `[H, W]` bytes.
    pub fn new(size: [usize; 2]) -> Self {
        Self { size, packed: Vec::new() }
    }

    /// Planes as they were packed.
    pub fn from_packed(size: [usize; 2], packed: Vec<Vec<u8>>) -> Self {
        Self { size, packed }
    }

    /// Adds a plane that [`pack`] gave.
    pub fn push(&mut self, packed: Vec<u8>) {
        self.packed.push(packed);
    }

    /// `[D, H, W]`
    pub fn size(&self) -> [usize; 3] {
        [self.packed.len(), self.size[0], self.size[1]]
    }

    /// The planes as they are packed.
    pub fn packed(&self) -> &[Vec<u8>] {
        &self.packed
    }

    /// The bytes `[H, W]` of a plane; none where there is no such plane, or it is damaged.
    pub fn plane(&self, index: usize) -> Option<Vec<u8>> {
        unpack(self.packed.get(index)?, self.size)
    }
}

/// Packs the bytes `[H, W]` of a plane: each less the one before it in its row, and zstd.
///
/// # Errors
/// When zstd refuses, which would be for want of memory.
pub fn pack(mut plane: Vec<u8>, width: usize) -> io::Result<Vec<u8>> {
    for row in plane.chunks_mut(width.max(1)) {
        let mut before = 0;
        for byte in row {
            (*byte, before) = (byte.wrapping_sub(before), *byte);
        }
    }
    zstd::bulk::compress(&plane, LEVEL)
}

fn unpack(packed: &[u8], [height, width]: [usize; 2]) -> Option<Vec<u8>> {
    let count = height.checked_mul(width)?;
    let mut plane = Vec::new();
    // A plane that is too long is none, and has no room; memory that there is not is refused, not taken.
    plane.try_reserve_exact(count).ok()?;
    zstd::bulk::Decompressor::new().ok()?.decompress_to_buffer(packed, &mut plane).ok()?;
    if plane.len() != count {
        return None;
    }
    for row in plane.chunks_mut(width.max(1)) {
        let mut before = 0u8;
        for byte in row {
            before = byte.wrapping_add(before);
            *byte = before;
        }
    }
    Some(plane)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_half_is_a_step_and_ends_stay() {
        assert_eq!(
            [-0.5, 0.0, 0.0019, 0.002, 0.5, 0.999, 1.0, 7.0].map(stored),
            [0, 0, 0, 1, 127, 254, 254, 254]
        );
        assert_eq!([f32::INFINITY, f32::NEG_INFINITY, f32::NAN].map(stored), [254, 0, UNKNOWN]);
        for byte in 0..=254 {
            assert_eq!(stored(share(byte)), byte);
        }
        assert!(share(UNKNOWN).is_nan());
    }

    proptest! {
        #[test]
        fn planes_come_back_and_damage_is_seen(
            height in 1usize..7,
            width in 1usize..9,
            bytes in proptest::collection::vec(any::<u8>(), 70),
        ) {
            let plane = bytes[..height * width].to_vec();
            let packed = pack(plane.clone(), width).unwrap();
            let planes = Planes::from_packed([height, width], vec![packed.clone()]);
            prop_assert_eq!(planes.size(), [1, height, width]);
            prop_assert_eq!(planes.plane(0), Some(plane));
            prop_assert_eq!(planes.plane(1), None);
            // Cut off, or of another size.
            for end in 0..packed.len() {
                prop_assert_eq!(Planes::from_packed([height, width], vec![packed[..end].to_vec()]).plane(0), None);
            }
            for size in [[height + 1, width], [height, width + 1], [usize::MAX, 2]] {
                prop_assert_eq!(Planes::from_packed(size, vec![packed.clone()]).plane(0), None);
            }
        }
    }
}
