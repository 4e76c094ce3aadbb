//! Random numbers, smooth random fields and Gaussian noise, the same on every thread.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::connectors::Digest;

/// The random numbers of one purpose of one series: they depend on nothing else.
pub(super) fn stream(seed: u64, index: usize, purpose: &str) -> ChaCha8Rng {
    let parts =
        [b"phantom vs".as_slice(), &seed.to_le_bytes(), &(index as u64).to_le_bytes(), purpose.as_bytes()];
    ChaCha8Rng::from_seed(Digest::of_parts(parts).0)
}

/// A number between two others.
pub(super) fn uniform(rng: &mut ChaCha8Rng, low: f64, high: f64) -> f64 {
    low + (high - low) * (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// Picks one of several.
pub(super) fn pick<T: Copy, const N: usize>(rng: &mut ChaCha8Rng, of: [T; N]) -> T {
    of[(rng.next_u64() % N as u64) as usize]
}

/// A smooth random field in -1 to 1: values on a lattice, blended between its points.
pub(super) struct Field {
    points: [usize; 3],
    step: [f64; 3],
    values: Vec<f32>,
    /// The lattice cell and the blend of each column.
    columns: Vec<(usize, f32)>,
    /// One row of the lattice, blended along D and H.
    row: Vec<f32>,
}

impl Field {
    /// A field over a grid `[D, H, W]` whose lattice points lie `step` voxels apart.
    pub fn new(rng: &mut ChaCha8Rng, size: [usize; 3], step: [f64; 3]) -> Self {
        let points = [0, 1, 2].map(|axis| (size[axis] as f64 / step[axis]) as usize + 2);
        let values = (0..points.iter().product()).map(|_| uniform(rng, -1.0, 1.0) as f32).collect();
        let columns = (0..size[2]).map(|column| cell(column, step[2])).collect();
        Self { points, step, values, columns, row: vec![0.0; points[2]] }
    }

    /// The field along one row of the grid.
    pub fn row(&mut self, slice: usize, row: usize, into: &mut [f32]) {
        let [_, rows, columns] = self.points;
        let ((d, blend_d), (h, blend_h)) = (cell(slice, self.step[0]), cell(row, self.step[1]));
        let line = |d: usize, h: usize| &self.values[(d * rows + h) * columns..][..columns];
        let lines = [line(d, h), line(d, h + 1), line(d + 1, h), line(d + 1, h + 1)];
        for (column, value) in self.row.iter_mut().enumerate() {
            let near = lines[0][column] + (lines[1][column] - lines[0][column]) * blend_h;
            let far = lines[2][column] + (lines[3][column] - lines[2][column]) * blend_h;
            *value = near + (far - near) * blend_d;
        }
        for (value, &(w, blend)) in into.iter_mut().zip(&self.columns) {
            *value = self.row[w] + (self.row[w + 1] - self.row[w]) * blend;
        }
    }
}

/// The lattice point before a voxel, and how far it is on the way to the next (smoothed).
fn cell(voxel: usize, step: f64) -> (usize, f32) {
    let at = voxel as f64 / step;
    let part = (at - at.floor()) as f32;
    (at as usize, part * part * (3.0 - 2.0 * part))
}

/// Noise of a magnitude image: that of the real and the imaginary part.
pub(super) struct Rician {
    rng: ChaCha8Rng,
    quantiles: Vec<f32>,
    bytes: Vec<u8>,
}

/// Steps of the table of normal quantiles; a pair takes 24 bits.
const QUANTILES: usize = 4096;

impl Rician {
    /// Makes noise of a standard deviation in each part.
    pub fn new(rng: ChaCha8Rng, sigma: f32) -> Self {
        let quantiles = (0..QUANTILES)
            .map(|i| sigma * normal_quantile((i as f64 + 0.5) / QUANTILES as f64) as f32)
            .collect();
        Self { rng, quantiles, bytes: Vec::new() }
    }

    /// Adds noise to a run of values.
    pub fn add(&mut self, values: &mut [f32]) {
        self.bytes.resize(values.len() * 3, 0);
        self.rng.fill_bytes(&mut self.bytes);
        for (value, bits) in values.iter_mut().zip(self.bytes.chunks_exact(3)) {
            let pair = usize::from(bits[0]) | usize::from(bits[1]) << 8 | usize::from(bits[2]) << 16;
            let real = *value + self.quantiles[pair % QUANTILES];
            let imaginary = self.quantiles[pair / QUANTILES];
            *value = (real * real + imaginary * imaginary).sqrt();
        }
    }
}

/// The inverse of the normal distribution function (Abramowitz and Stegun 26.2.23, to 4.5e-4).
fn normal_quantile(p: f64) -> f64 {
    let tail = (-2.0 * p.min(1.0 - p).ln()).sqrt();
    let above = 2.515517 + tail * (0.802853 + tail * 0.010328);
    let below = 1.0 + tail * (1.432788 + tail * (0.189269 + tail * 0.001308));
    let x = tail - above / below;
    if p < 0.5 { -x } else { x }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_its_lattice_at_the_points_and_stays_in_range() {
        let size = [7, 9, 40];
        let mut field = Field::new(&mut stream(1, 2, "test"), size, [2.0, 3.0, 4.0]);
        let mut row = vec![0.0; size[2]];
        field.row(2, 3, &mut row);
        let [_, rows, columns] = field.points;
        assert_eq!(row[4], field.values[(rows + 1) * columns + 1]);
        for slice in 0..size[0] {
            field.row(slice, 8, &mut row);
            assert!(row.iter().all(|value| value.abs() <= 1.0));
        }
    }

    #[test]
    fn noise_has_its_spread_and_rayleighs_mean_where_there_is_no_signal() {
        let mut noise = Rician::new(stream(1, 0, "test"), 2.0);
        let (mut high, mut none) = (vec![1000.0f32; 20_000], vec![0.0f32; 20_000]);
        noise.add(&mut high);
        noise.add(&mut none);
        let mean = |values: &[f32]| values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len() as f64;
        let middle = mean(&high);
        let spread =
            (high.iter().map(|&v| (f64::from(v) - middle).powi(2)).sum::<f64>() / high.len() as f64).sqrt();
        assert!((middle - 1000.0).abs() < 0.1, "{middle}");
        assert!((spread - 2.0).abs() < 0.1, "{spread}");
        assert!((mean(&none) - 2.0 * (std::f64::consts::PI / 2.0).sqrt()).abs() < 0.05);
    }

    #[test]
    fn streams_differ_by_seed_index_and_purpose() {
        let first = |seed, index, purpose| stream(seed, index, purpose).next_u64();
        let all = [first(1, 1, "a"), first(2, 1, "a"), first(1, 2, "a"), first(1, 1, "b")];
        assert!((0..4).all(|i| (0..i).all(|j| all[i] != all[j])));
        assert_eq!(all[0], first(1, 1, "a"));
    }
}
