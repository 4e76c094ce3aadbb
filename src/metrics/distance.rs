//! The exact Euclidean distance transform on anisotropic voxels, one slice at a time.
//!
//! # Source
//! Felzenszwalb and Huttenlocher, Distance transforms of sampled functions, 2012.

use rayon::prelude::*;

/// Squared distances in mm² to the nearest source within the same slice.
///
/// The third axis is walked only where somebody asks ([`InPlane::distance_mm`]): surfaces are few voxels.
pub struct InPlane {
    size: [usize; 3],
    depth_mm: f64,
    squared: Vec<f32>,
}

impl InPlane {
    /// From voxels `[D, H, W]` that are sources where they are not 0. `size` must fit, and the spacing be
    /// positive.
    pub fn new(sources: &[u8], size: [usize; 3], spacing_mm: [f64; 3]) -> Self {
        let [_, height, width] = size;
        let area = (height * width).max(1);
        let mut squared = vec![f32::INFINITY; sources.len()];
        squared.par_chunks_mut(area).zip(sources.par_chunks(area)).for_each_init(
            || Envelope::new(width, spacing_mm[2]),
            |envelope, (squared, sources)| {
                if sources.iter().all(|&source| source == 0) {
                    return;
                }
                along_columns(sources, width, squared);
                for row in squared.chunks_exact_mut(width) {
                    envelope.lower(row, spacing_mm[1]);
                }
            },
        );
        Self { size, depth_mm: spacing_mm[0], squared }
    }

    /// The distance of a voxel to the nearest source in the whole volume, in mm; infinite without sources.
    pub fn distance_mm(&self, voxel: usize) -> f64 {
        let area = self.size[1] * self.size[2];
        let (slice, pixel) = (voxel / area, voxel % area);
        let mut best = f64::INFINITY;
        for away in 0..self.size[0] {
            let across = away as f64 * self.depth_mm;
            let across = across * across;
            if across >= best {
                break;
            }
            let below = slice.checked_sub(away);
            let above = (slice + away < self.size[0]).then_some(slice + away);
            for slice in [below, above].into_iter().flatten() {
                best = best.min(across + f64::from(self.squared[slice * area + pixel]));
            }
        }
        best.sqrt()
    }
}

/// Voxels to the nearest source in the same column, as whole numbers; infinite in a column without.
fn along_columns(sources: &[u8], width: usize, counts: &mut [f32]) {
    let step = |count: &mut f32, before: f32| *count = count.min(before + 1.0);
    for (count, &source) in counts.iter_mut().zip(sources) {
        *count = if source == 0 { f32::INFINITY } else { 0.0 };
    }
    let rows = counts.len() / width;
    for row in 1..rows {
        let (before, rest) = counts.split_at_mut(row * width);
        let before = &before[(row - 1) * width..];
        rest[..width].iter_mut().zip(before).for_each(|(count, &before)| step(count, before));
    }
    for row in (0..rows.saturating_sub(1)).rev() {
        let (here, rest) = counts.split_at_mut((row + 1) * width);
        here[row * width..].iter_mut().zip(&rest[..width]).for_each(|(count, &after)| step(count, after));
    }
}

/// The lower envelope of parabolas along a row.
struct Envelope {
    /// Where the parabolas on it stand, in mm, and how high, in mm².
    feet: Vec<(f64, f64)>,
    /// From where on each is the lowest, in mm.
    from: Vec<f64>,
    spacing_mm: f64,
}

impl Envelope {
    fn new(width: usize, spacing_mm: f64) -> Self {
        Self { feet: Vec::with_capacity(width), from: Vec::with_capacity(width), spacing_mm }
    }

    /// Voxel counts along the columns to squared distances in the plane.
    fn lower(&mut self, row: &mut [f32], height_mm: f64) {
        self.feet.clear();
        self.from.clear();
        for (column, &count) in row.iter().enumerate() {
            if count.is_finite() {
                let high = f64::from(count) * height_mm;
                self.add(column as f64 * self.spacing_mm, high * high);
            }
        }
        let mut lowest = 0;
        for (column, out) in row.iter_mut().enumerate() {
            let x = column as f64 * self.spacing_mm;
            while self.from.get(lowest + 1).is_some_and(|&from| from <= x) {
                lowest += 1;
            }
            if let Some(&(foot, high)) = self.feet.get(lowest) {
                *out = ((x - foot) * (x - foot) + high) as f32;
            }
        }
    }

    fn add(&mut self, foot: f64, high: f64) {
        while let (Some(&(other, other_high)), Some(&from)) = (self.feet.last(), self.from.last()) {
            let meet = ((high + foot * foot) - (other_high + other * other)) / (2.0 * (foot - other));
            if meet > from {
                self.feet.push((foot, high));
                self.from.push(meet);
                return;
            }
            self.feet.pop();
            self.from.pop();
        }
        self.feet.push((foot, high));
        self.from.push(f64::NEG_INFINITY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn distances(sources: &[u8], size: [usize; 3], spacing_mm: [f64; 3]) -> Vec<f64> {
        let field = InPlane::new(sources, size, spacing_mm);
        (0..sources.len()).map(|voxel| field.distance_mm(voxel)).collect()
    }

    #[test]
    fn a_row_a_column_and_a_slice_by_hand() {
        assert_eq!(distances(&[1, 0, 0], [1, 1, 3], [9.0, 9.0, 0.5]), [0.0, 0.5, 1.0]);
        assert_eq!(distances(&[0, 0, 1], [1, 3, 1], [9.0, 2.0, 9.0]), [4.0, 2.0, 0.0]);
        assert_eq!(distances(&[0, 1, 0], [3, 1, 1], [3.0, 9.0, 9.0]), [3.0, 0.0, 3.0]);
        assert_eq!(distances(&[1, 0, 0, 0], [1, 2, 2], [1.0, 3.0, 4.0])[3], 5.0);
    }

    #[test]
    fn without_sources_everything_is_infinitely_far() {
        assert!(distances(&[0; 8], [2, 2, 2], [1.0; 3]).iter().all(|mm| mm.is_infinite()));
    }

    proptest! {
        #[test]
        fn it_is_the_least_of_all_distances(
            size in [1..5usize, 1..6usize, 1..7usize],
            values in proptest::collection::vec(0..6u8, 120),
            spacing_mm in [0.2..3.0f64, 0.2..3.0f64, 0.2..3.0f64],
        ) {
            let sources: Vec<u8> = values[..size.iter().product()].iter().map(|&v| u8::from(v == 0)).collect();
            let at = |i: usize| [i / (size[1] * size[2]), i / size[2] % size[1], i % size[2]];
            for (voxel, found) in distances(&sources, size, spacing_mm).into_iter().enumerate() {
                let squared = |source: usize| -> f64 {
                    (0..3).map(|a| ((at(voxel)[a] as f64 - at(source)[a] as f64) * spacing_mm[a]).powi(2)).sum()
                };
                let expected = (0..sources.len())
                    .filter(|&source| sources[source] != 0)
                    .map(|source| squared(source).sqrt())
                    .fold(f64::INFINITY, f64::min);
                prop_assert!(found == expected || (found - expected).abs() < 1e-5, "{found} {expected}");
            }
        }
    }
}
