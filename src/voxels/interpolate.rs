//! The loops of resampling: tables of taps over contiguous rows, slabs of slices side by side.

use rayon::prelude::*;
use tomoflow_connectors::pages;

use super::grid::Tap;

/// The taps along `[D, H, W]`.
pub struct Taps {
    axes: [Vec<Tap>; 3],
    /// Whether columns stay as they are: common, and a copy is several times as fast.
    columns_stay: bool,
}

impl Taps {
    /// One for each new slice, row and column of a volume that had so many columns.
    pub fn new(axes: [Vec<Tap>; 3], columns: usize) -> Self {
        let stays = |(index, tap): (usize, &Tap)| tap.low as usize == index && tap.weight == 0.0;
        let columns_stay = axes[2].len() == columns && axes[2].iter().enumerate().all(stays);
        Self { axes, columns_stay }
    }

    fn size(&self) -> [usize; 3] {
        [0, 1, 2].map(|axis| self.axes[axis].len())
    }
}

/// Linear along each axis with a share, and a copy along one without.
///
/// Each source slice is resampled in its plane once for a slab, then neighbouring planes are blended, so
/// that every inner loop but the one along W runs over contiguous memory.
pub fn linear(voxels: &[f32], size: [usize; 3], taps: &Taps) -> Vec<f32> {
    let [depth, height, width] = taps.size();
    let area = height * width;
    let mut output = vec![0.0; depth * area];
    pages::large(&mut output);
    let slab = depth.div_ceil(4 * rayon::current_num_threads()).clamp(1, 32);
    let planes = || Planes::new(voxels, size, taps);
    output.par_chunks_mut((slab * area).max(1)).enumerate().for_each_init(
        planes,
        |planes, (index, slab_out)| {
            let slices = &taps.axes[0][index * slab..];
            for (tap, plane) in slices.iter().zip(slab_out.chunks_exact_mut(area)) {
                planes.write(tap, plane);
            }
        },
    );
    output
}

/// The source slices that a slab is reading, resampled in their plane.
struct Planes<'a> {
    voxels: &'a [f32],
    size: [usize; 3],
    taps: &'a Taps,
    kept: [(Option<u32>, Vec<f32>); 2],
    scratch: Vec<f32>,
}

impl<'a> Planes<'a> {
    fn new(voxels: &'a [f32], size: [usize; 3], taps: &'a Taps) -> Self {
        let [_, height, width] = taps.size();
        let kept = || (None, vec![0.0; height * width]);
        // Rows blended before columns are picked, or columns picked before rows are blended.
        let scratch = if height <= size[1] { size[2] } else { size[1] * width };
        Self { voxels, size, taps, kept: [kept(), kept()], scratch: vec![0.0; scratch] }
    }

    /// One new slice.
    fn write(&mut self, tap: &Tap, output: &mut [f32]) {
        if tap.weight == 0.0 {
            if let Some((_, plane)) = self.kept.iter().find(|(slice, _)| *slice == Some(tap.low)) {
                output.copy_from_slice(plane);
            } else {
                self.in_plane(tap.low, output);
            }
            return;
        }
        if self.kept[1].0 == Some(tap.low) {
            self.kept.swap(0, 1);
        }
        for (place, slice) in [(0, tap.low), (1, tap.high)] {
            if self.kept[place].0 != Some(slice) {
                let mut plane = std::mem::take(&mut self.kept[place].1);
                self.in_plane(slice, &mut plane);
                self.kept[place] = (Some(slice), plane);
            }
        }
        blend(&self.kept[0].1, &self.kept[1].1, tap.weight, output);
    }

    /// One source slice on the new rows and columns.
    fn in_plane(&mut self, slice: u32, output: &mut [f32]) {
        let [_, height, width] = self.size;
        let source = &self.voxels[slice as usize * height * width..][..height * width];
        let row = |index: u32| &source[index as usize * width..][..width];
        let (rows, columns) = (&self.taps.axes[1], &self.taps.axes[2]);
        if self.taps.columns_stay {
            for (tap, out) in rows.iter().zip(output.chunks_exact_mut(width)) {
                if tap.weight == 0.0 {
                    out.copy_from_slice(row(tap.low));
                } else {
                    blend(row(tap.low), row(tap.high), tap.weight, out);
                }
            }
        } else if rows.len() <= height {
            for (tap, out) in rows.iter().zip(output.chunks_exact_mut(columns.len())) {
                if tap.weight == 0.0 {
                    pick(row(tap.low), columns, out);
                } else {
                    blend(row(tap.low), row(tap.high), tap.weight, &mut self.scratch);
                    pick(&self.scratch, columns, out);
                }
            }
        } else {
            for (index, out) in self.scratch.chunks_exact_mut(columns.len()).enumerate() {
                pick(row(index as u32), columns, out);
            }
            let picked = |index: u32| &self.scratch[index as usize * columns.len()..][..columns.len()];
            for (tap, out) in rows.iter().zip(output.chunks_exact_mut(columns.len())) {
                blend(picked(tap.low), picked(tap.high), tap.weight, out);
            }
        }
    }
}

fn blend(low: &[f32], high: &[f32], weight: f32, output: &mut [f32]) {
    for ((out, a), b) in output.iter_mut().zip(low).zip(high) {
        *out = a + (b - a) * weight;
    }
}

fn pick(row: &[f32], columns: &[Tap], output: &mut [f32]) {
    for (out, tap) in output.iter_mut().zip(columns) {
        let (a, b) = (row[tap.low as usize], row[tap.high as usize]);
        *out = a + (b - a) * tap.weight;
    }
}

/// The voxels at the given places; a place past the end of its axis is `T::default()`.
pub fn nearest<T: Copy + Default + Send + Sync>(
    voxels: &[T],
    size: [usize; 3],
    places: &[Vec<u32>; 3],
) -> Vec<T> {
    let [slices, rows, columns] = places;
    let mut output = vec![T::default(); slices.len() * rows.len() * columns.len()];
    pages::large(&mut output);
    let width = columns.len().max(1);
    output.par_chunks_mut((rows.len() * width).max(1)).zip(slices).for_each(|(plane, &slice)| {
        if slice as usize >= size[0] {
            return;
        }
        let source = &voxels[slice as usize * size[1] * size[2]..][..size[1] * size[2]];
        for (out, &row) in plane.chunks_exact_mut(width).zip(rows) {
            if row as usize >= size[1] {
                continue;
            }
            let source = &source[row as usize * size[2]..][..size[2]];
            for (out, &column) in out.iter_mut().zip(columns) {
                *out = source.get(column as usize).copied().unwrap_or_default();
            }
        }
    });
    output
}

#[cfg(test)]
mod tests {
    use super::super::grid::{self, Convention, Sampling};
    use super::*;
    use proptest::prelude::*;

    /// Each voxel from its eight neighbours.
    fn oracle(voxels: &[f32], size: [usize; 3], axes: &[Vec<Tap>; 3]) -> Vec<f32> {
        let mut output = Vec::new();
        for d in &axes[0] {
            for h in &axes[1] {
                for w in &axes[2] {
                    let mut value = 0.0;
                    for corner in 0..8 {
                        let side = |bit: usize, tap: &Tap| match corner >> bit & 1 {
                            0 => (tap.low as usize, 1.0 - f64::from(tap.weight)),
                            _ => (tap.high as usize, f64::from(tap.weight)),
                        };
                        let ((d, a), (h, b), (w, c)) = (side(0, d), side(1, h), side(2, w));
                        value += a * b * c * f64::from(voxels[(d * size[1] + h) * size[2] + w]);
                    }
                    output.push(value as f32);
                }
            }
        }
        output
    }

    proptest! {
        #[test]
        fn planes_and_slabs_are_the_eight_neighbours(
            size in [1..6usize, 1..7usize, 1..8usize],
            values in proptest::collection::vec(-1.0..1.0f32, 210),
            new_mm in [0.3..3.0f64, 0.3..3.0f64, 0.3..3.0f64],
            keeps in [any::<bool>(), any::<bool>(), any::<bool>()],
        ) {
            let axes = [0, 1, 2].map(|axis| {
                let mm = if keeps[axis] { 1.0 } else { new_mm[axis] };
                grid::linear(&Sampling::new(Convention::Nnunet, size[axis], 1.0, mm))
            });
            let voxels = &values[..size.iter().product()];
            let expected = oracle(voxels, size, &axes);
            let found = linear(voxels, size, &Taps::new(axes, size[2]));
            prop_assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(expected) {
                prop_assert!((found - expected).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn places_past_an_end_are_background() {
        let places = [vec![0, 9], vec![0, u32::MAX], vec![1, 2, 0]];
        let out = nearest(&[5_u16, 6], [1, 1, 2], &places);
        assert_eq!(out, [6, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
}
