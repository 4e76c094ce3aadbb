//! A line of a grid that runs through the voxels of another: what lies at each of its places.

use std::ops::Range;

#[cfg(target_arch = "x86_64")]
mod avx2;

/// What is all but a voxel is that voxel: nothing of its neighbour gets in.
const SNAP: f64 = 1e-6;

/// A line through a volume: where its columns lie, in voxels `[d, h, w]`.
pub(super) struct Line {
    /// Where column 0 lies.
    pub(super) first: [f64; 3],
    /// The way from one column to the next.
    pub(super) step: [f64; 3],
}

/// The voxels `[D, H, W]` that new ones are made from.
pub(super) struct Volume<'a, T> {
    pub(super) voxels: &'a [T],
    pub(super) size: [usize; 3],
}

impl Line {
    #[inline(always)]
    fn at(&self, column: usize) -> [f64; 3] {
        [0, 1, 2].map(|axis| self.first[axis] + self.step[axis] * column as f64)
    }

    /// Writes what lies between eight voxels for each of `columns`, all of which lie in the volume.
    pub(super) fn linear(&self, volume: &Volume<'_, f32>, columns: Range<usize>, out: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        if volume.is_small() && std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor knows AVX2, and the volume is small.
            unsafe { avx2::linear(self, volume, columns, out) };
            return;
        }
        self.linear_each(volume, columns, out);
    }

    fn linear_each(&self, volume: &Volume<'_, f32>, columns: Range<usize>, out: &mut [f32]) {
        for (column, out) in columns.zip(out) {
            *out = volume.linear(self.at(column));
        }
    }

    /// Writes the voxel that each of `columns` lies in, and the later one halfway; all of them lie in the volume.
    pub(super) fn nearest<T: Copy>(&self, volume: &Volume<'_, T>, columns: Range<usize>, out: &mut [T]) {
        #[cfg(target_arch = "x86_64")]
        if volume.is_small() && std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor knows AVX2, and the volume is small.
            unsafe { avx2::nearest(self, volume, columns, out) };
            return;
        }
        self.nearest_each(volume, columns, out);
    }

    fn nearest_each<T: Copy>(&self, volume: &Volume<'_, T>, columns: Range<usize>, out: &mut [T]) {
        for (column, out) in columns.zip(out) {
            let position = self.at(column);
            let place = |axis: usize| {
                (position[axis] + 0.5).floor().clamp(0.0, volume.size[axis] as f64 - 1.0) as usize
            };
            *out = volume.voxels[volume.offset([0, 1, 2].map(place))];
        }
    }
}

impl<T> Volume<'_, T> {
    /// Whether 32 bits count its voxels, and it has all of them.
    #[cfg(target_arch = "x86_64")]
    fn is_small(&self) -> bool {
        let voxels = self.size.iter().try_fold(1_usize, |product, &n| product.checked_mul(n));
        i32::try_from(self.voxels.len()).is_ok()
            && voxels == Some(self.voxels.len())
            && !self.voxels.is_empty()
    }

    #[inline(always)]
    fn offset(&self, [d, h, w]: [usize; 3]) -> usize {
        (d * self.size[1] + h) * self.size[2] + w
    }
}

impl Volume<'_, f32> {
    #[inline(always)]
    fn linear(&self, position: [f64; 3]) -> f32 {
        let [d, h, w] = [0, 1, 2].map(|axis| between(position[axis], self.size[axis]));
        let row = |d: usize, h: usize| {
            let start = self.offset([d, h, 0]);
            let (a, b) = (self.voxels[start + w.0], self.voxels[start + w.1]);
            a + (b - a) * w.2
        };
        let plane = |d: usize| {
            let (a, b) = (row(d, h.0), row(d, h.1));
            a + (b - a) * h.2
        };
        let (a, b) = (plane(d.0), plane(d.1));
        a + (b - a) * d.2
    }
}

/// The two voxels of an axis around a position, and the share of the second.
#[inline(always)]
fn between(position: f64, voxels: usize) -> (usize, usize, f32) {
    let last = voxels - 1;
    let position = position.clamp(0.0, last as f64);
    let low = position as usize;
    let share = position - low as f64;
    if share < SNAP {
        (low, low, 0.0)
    } else if share > 1.0 - SNAP {
        (low + 1, low + 1, 0.0)
    } else {
        (low, (low + 1).min(last), share as f32)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// What processors of today do at once has the bits of what is done one by one, signs of zeros included.
        #[test]
        fn columns_at_once_are_columns_one_by_one(
            size in [1..4usize, 1..6usize, 1..20usize],
            // Whole numbers, and places all but in a voxel, as often as places between.
            ends in [[0..=8_u8, 0..=8_u8], [0..=8_u8, 0..=8_u8], [0..=8_u8, 0..=8_u8]],
            off in prop_oneof![Just(0.0), Just(1e-7), Just(-1e-7), -0.4..0.4f64],
            width in 1..40usize,
            values in proptest::collection::vec(prop_oneof![Just(-0.0_f32), Just(0.0), -1e3..1e3f32], 400),
        ) {
            let voxels = &values[..size.iter().product()];
            let volume = Volume { voxels, size };
            let place = |axis: usize, end: usize| f64::from(ends[axis][end]) / 8.0 * (size[axis] - 1) as f64;
            let first = [0, 1, 2].map(|axis| place(axis, 0) + off);
            let step = [0, 1, 2].map(|axis| (place(axis, 1) - place(axis, 0)) / width.max(2) as f64);
            let line = Line { first, step };
            let (mut found, mut expected) = (vec![7.0; width], vec![7.0; width]);
            line.linear(&volume, 0..width, &mut found);
            line.linear_each(&volume, 0..width, &mut expected);
            let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&found), bits(&expected));
            line.nearest(&volume, 0..width, &mut found);
            line.nearest_each(&volume, 0..width, &mut expected);
            prop_assert_eq!(bits(&found), bits(&expected));
        }
    }
}
