//! What a scanner makes of the tissues: partial volumes, texture, a bias field and noise.

use super::hard::{Hardness, blur};
use super::head::{Head, T1, T2, Tissue};
use super::noise::{Field, Rician, stream, uniform};
use super::tumour::Tumour;
use crate::connectors::{Geometry, VoxelIndex};

/// The weighting of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weighting {
    /// T2-weighted: fluid is bright.
    T2,
    /// T1-weighted after contrast agent: the tumour is bright.
    T1,
}

impl Weighting {
    /// The name of a stream of random numbers that each series of a patient has of its own.
    pub fn purpose(self, purpose: &str) -> String {
        match self {
            Self::T2 => purpose.to_owned(),
            Self::T1 => format!("t1 {purpose}"),
        }
    }

    fn looks(self) -> [[f32; 3]; 9] {
        match self {
            Self::T2 => T2,
            Self::T1 => T1,
        }
    }
}

/// The random part of one acquisition.
pub(super) struct Scanner<'a> {
    geometry: &'a Geometry,
    hardness: &'a Hardness,
    bright: f32,
    looks: [[f32; 3]; 9],
    fine: Field,
    coarse: Field,
    bias: Field,
    noise: Rician,
}

/// One row of each field.
struct Lines {
    fine: Vec<f32>,
    coarse: Vec<f32>,
    bias: Vec<f32>,
}

impl<'a> Scanner<'a> {
    /// A scanner on a grid in the head's own space; `bright` is the stored value of what is brightest.
    pub fn new(
        seed: u64,
        index: usize,
        weighting: Weighting,
        (geometry, hardness): (&'a Geometry, &'a Hardness),
        bright: f64,
    ) -> Self {
        let rng = &mut stream(seed, index, &weighting.purpose("acquisition"));
        let bright = bright as f32;
        let mut looks = weighting.looks();
        if let (Weighting::T2, Some(mean)) = (weighting, hardness.tumour_mean) {
            looks[Tissue::Tumour as usize][0] = mean;
        }
        let looks = looks.map(|[mean, fine, coarse]| [mean * uniform(rng, 0.95, 1.05) as f32, fine, coarse]);
        let sigma = bright * uniform(rng, 0.03, 0.055) as f32;
        Self {
            geometry,
            hardness,
            bright,
            looks,
            fine: Field::new(rng, geometry.size, [2.0, 4.0, 6.0]),
            coarse: Field::new(rng, geometry.size, [5.0, 18.0, 18.0]),
            bias: Field::new(rng, geometry.size, [30.0, 110.0, 110.0]),
            noise: Rician::new(stream(seed, index, &weighting.purpose("noise")), sigma),
        }
    }

    /// Fills a scan, slice by slice, with stored values of 12 bits.
    pub fn acquire(mut self, head: &Head, tumour: &Tumour, voxels: &mut [f32]) {
        let [_, height, width] = self.geometry.size;
        let mut tissues = [vec![0u8; height * width], vec![0u8; height * width]];
        let line = || vec![0.0; width];
        let mut lines = Lines { fine: line(), coarse: line(), bias: line() };
        for (slice, image) in voxels.chunks_exact_mut((height * width).max(1)).enumerate() {
            // Two thin slices stand for a thick one.
            for (thin, offset) in tissues.iter_mut().zip([-0.25, 0.25]) {
                paint(head, (tumour, self.hardness), self.geometry, slice as f64 + offset, thin);
            }
            for row in 0..height {
                let at = row * width..(row + 1) * width;
                let [one, two] = [&tissues[0][at.clone()], &tissues[1][at.clone()]];
                self.shade(slice, row, &mut lines, one, two, &mut image[at]);
            }
            soften(image, width);
            blur(image, width, self.hardness.blur_mm / self.geometry.spacing_mm()[2]);
            self.noise.add(image);
            for value in image {
                *value = value.round().clamp(0.0, 4095.0);
            }
        }
    }

    /// Computes one row's signal from the tissues of its two thin slices.
    fn shade(
        &mut self,
        slice: usize,
        row: usize,
        lines: &mut Lines,
        one: &[u8],
        two: &[u8],
        into: &mut [f32],
    ) {
        self.fine.row(slice, row, &mut lines.fine);
        self.coarse.row(slice, row, &mut lines.coarse);
        self.bias.row(slice, row, &mut lines.bias);
        let fields = lines.fine.iter().zip(&lines.coarse).zip(&lines.bias);
        for (((value, one), two), ((&fine, &coarse), &bias)) in into.iter_mut().zip(one).zip(two).zip(fields)
        {
            let [a, b] = [self.looks[usize::from(*one)], self.looks[usize::from(*two)]];
            let textured = a[0] + b[0] + (a[1] + b[1]) * fine + (a[2] + b[2]) * coarse;
            *value = 0.5 * self.bright * textured * (1.0 + 0.25 * bias);
        }
    }
}

/// The tissues of one thin slice.
fn paint(
    head: &Head,
    (tumour, hardness): (&Tumour, &Hardness),
    geometry: &Geometry,
    slice: f64,
    into: &mut [u8],
) {
    let width = geometry.size[2];
    for (row, line) in into.chunks_exact_mut(width).enumerate() {
        head.paint(geometry, slice, row, line);
    }
    for decoy in &hardness.decoys {
        let [d, h, w] = decoy.bounds(geometry);
        if slice < d.start as f64 - 0.5 || slice > d.end as f64 {
            continue;
        }
        for (row, column) in h.flat_map(|row| w.clone().map(move |column| (row, column))) {
            let point = geometry.to_patient(VoxelIndex([slice, row as f64, column as f64])).0;
            if decoy.distance(point) < 0.0 {
                into[row * width + column] = Tissue::Tumour as u8;
            }
        }
    }
    let [d, h, w] = tumour.bounds(geometry);
    if slice < d.start as f64 - 0.5 || slice > d.end as f64 {
        return;
    }
    for (row, column) in h.flat_map(|row| w.clone().map(move |column| (row, column))) {
        let point = geometry.to_patient(VoxelIndex([slice, row as f64, column as f64])).0;
        let (distance, rim) = tumour.distance(point);
        let tissue = &mut into[row * width + column];
        if distance < 0.0 {
            *tissue = Tissue::Tumour as u8;
        } else if distance < rim && *tissue != Tissue::Bone as u8 {
            *tissue = Tissue::Fluid as u8;
        }
    }
}

/// A point spread of one voxel to each side, 1-2-1, along rows and then columns.
fn soften(image: &mut [f32], width: usize) {
    let blend = |a: f32, b: f32, c: f32| 0.25 * (a + c) + 0.5 * b;
    for line in image.chunks_exact_mut(width) {
        let mut before = line[0];
        for column in 0..width {
            let here = line[column];
            line[column] = blend(before, here, line[(column + 1).min(width - 1)]);
            before = here;
        }
    }
    let height = image.len() / width;
    let mut before = image[..width].to_vec();
    for row in 0..height {
        let next = (row + 1).min(height - 1);
        for column in 0..width {
            let here = image[row * width + column];
            image[row * width + column] = blend(before[column], here, image[next * width + column]);
            before[column] = here;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softening_keeps_a_flat_image_and_spreads_a_point() {
        let mut flat = vec![3.0; 12];
        soften(&mut flat, 4);
        assert_eq!(flat, vec![3.0; 12]);
        let mut point = vec![0.0; 25];
        point[12] = 16.0;
        soften(&mut point, 5);
        assert_eq!(point[6..9], [1.0, 2.0, 1.0]);
        assert_eq!(point[11..14], [2.0, 4.0, 2.0]);
        assert_eq!(point.iter().sum::<f32>(), 16.0);
    }
}
