//! What makes a patient hard: structures that only their neighbouring slices tell from the tumour, low contrast, small
//! targets, blurred edges, and an observer whose outlines are not exact. And what can be reached at all then.

use rand_chacha::ChaCha8Rng;

use super::head::{Head, T2, Tissue};
use super::noise::{pick, stream, uniform};
use super::tumour::{Tumour, bounds, direction, to_segment};
use crate::connectors::VoxelIndex;
use crate::connectors::geometry::{Geometry, dot, norm};
use crate::voxels::kernel::AxisKernel;
use crate::voxels::separable::{self, Clip};

/// The box around a tumour in which published figures are taken, along `[D, H, W]`.
const BOX_MM: [f64; 3] = [50.0, 50.0, 100.0];

/// The number of tubes that are drawn for one that lies well.
const DRAWN: usize = 40;

/// A nerve or a vessel of the tumour's intensity: a disc in a slice, and long across slices.
pub(super) struct Tube {
    ends_mm: [[f64; 3]; 2],
    radius_mm: f64,
}

impl Tube {
    /// Returns how far outside of it a point lies, in mm; below 0 is inside.
    pub fn distance(&self, point_mm: [f64; 3]) -> f64 {
        to_segment(point_mm, self.ends_mm) - self.radius_mm
    }

    /// The voxels that it may touch, by axis.
    pub fn bounds(&self, geometry: &Geometry) -> [std::ops::Range<usize>; 3] {
        let [a, b] = self.ends_mm;
        let reach = self.radius_mm + 1.0;
        bounds([0, 1, 2].map(|i| a[i].min(b[i]) - reach), [0, 1, 2].map(|i| a[i].max(b[i]) + reach), geometry)
    }
}

/// How hard a patient is, beside the size of the tumour.
pub(super) struct Hardness {
    /// Nerves and vessels that look like the tumour in a slice.
    pub decoys: Vec<Tube>,
    /// The mean of the tumour in a T2-weighted series, where it is another one.
    pub tumour_mean: Option<f32>,
    /// The standard deviation of the blur within slices, in mm.
    pub blur_mm: f64,
    /// The observer's error, as waves over the directions from the tumour's middle, each with its height in mm.
    jitter: Vec<([f64; 3], f64, f64)>,
}

impl Hardness {
    /// Returns a hardness that makes nothing harder than the anatomy does.
    pub fn none() -> Self {
        Self { decoys: Vec::new(), tumour_mean: None, blur_mm: 0.0, jitter: Vec::new() }
    }

    /// Makes a patient hard by a degree from 0 to 1; at 0 it is [`Hardness::none`]. Half of the tumours lose
    /// the fluid around them. `normal` is the direction across slices.
    pub fn new(
        (seed, index): (u64, usize),
        degree: f64,
        head: &Head,
        tumour: &mut Tumour,
        normal: [f64; 3],
    ) -> Self {
        if degree <= 0.0 {
            return Self::none();
        }
        let rng = &mut stream(seed, index, "hard");
        if pick(rng, [true, false]) {
            tumour.thin_rim(1.0 - degree);
        }
        let (own, behind) =
            (f64::from(T2[Tissue::Tumour as usize][0]), f64::from(T2[Tissue::Cerebellum as usize][0]));
        let close = behind + uniform(rng, -0.04, 0.04);
        let blur_mm = degree * uniform(rng, 0.5, 1.0);
        let jitter = (0..6)
            .map(|wave| {
                let towards = direction(rng).map(|x| x * (1.5 + f64::from(wave)));
                // Six waves of this height have a standard deviation of 0.3 mm together.
                (towards, uniform(rng, 0.0, 6.3), degree * 0.3 / 3.0_f64.sqrt())
            })
            .collect();
        let count = (degree * uniform(rng, 2.0, 5.0)).round() as usize;
        let decoys = (0..count).map(|_| in_fluid(rng, head, tumour, normal)).collect();
        Self { decoys, tumour_mean: Some((own + degree * (close - own)) as f32), blur_mm, jitter }
    }

    /// Returns how far outside of the drawn outline a point lies that lies so far outside of the tumour, in
    /// mm.
    pub fn drawn(&self, tumour: &Tumour, point_mm: [f64; 3], distance_mm: f64) -> f64 {
        let from = [0, 1, 2].map(|i| point_mm[i] - tumour.centre_mm[i]);
        let towards = from.map(|x| x / norm(from).max(1e-9));
        let error: f64 =
            self.jitter.iter().map(|&(k, phase, height)| height * (dot(k, towards) + phase).sin()).sum();
        distance_mm - error
    }
}

/// A tube that runs through fluid, as the tumour lies in it: what surrounds it does not give it away.
fn in_fluid(rng: &mut ChaCha8Rng, head: &Head, tumour: &Tumour, normal: [f64; 3]) -> Tube {
    let mut best = (0, tube(rng, tumour, normal));
    for _ in 0..DRAWN {
        let drawn = tube(rng, tumour, normal);
        let along =
            |part: f64| [0, 1, 2].map(|i| drawn.ends_mm[0][i] * (1.0 - part) + drawn.ends_mm[1][i] * part);
        let parts = [0.2, 0.35, 0.5, 0.65, 0.8];
        let wet = parts.iter().filter(|part| head.tissue(along(**part)) == Tissue::Fluid).count();
        if wet > best.0 {
            best = (wet, drawn);
        }
    }
    best.1
}

/// A tube beside the tumour, as thick as tumours are, within 25° of the direction across slices; it is at least 12 mm and
/// at least twice as long as the tumour.
fn tube(rng: &mut ChaCha8Rng, tumour: &Tumour, normal: [f64; 3]) -> Tube {
    let radius_mm = uniform(rng, 0.7, 1.0) * tumour.radius_mm.min(5.0);
    let lean = uniform(rng, 0.0, 25.0_f64.to_radians().tan());
    let angle = uniform(rng, 0.0, std::f64::consts::TAU);
    // Two directions within the slices.
    let aside = [1.0 - normal[0] * normal[0], -normal[0] * normal[1], -normal[0] * normal[2]];
    let u = aside.map(|x| x / norm(aside).max(1e-9));
    let v = crate::connectors::geometry::cross(normal, u);
    let slope = [0, 1, 2].map(|i| normal[i] + lean * (u[i] * angle.cos() + v[i] * angle.sin()));
    let half = 0.5 * (4.0 * tumour.radius_mm).max(12.0) * uniform(rng, 1.0, 1.6) / norm(slope);
    let (side, away) = (
        uniform(rng, 0.0, std::f64::consts::TAU),
        1.2 * tumour.radius_mm + radius_mm + uniform(rng, 3.0, 12.0) + 2.0 * half * lean.min(0.2),
    );
    let shift = uniform(rng, -0.3, 0.3) * half;
    let middle = [0, 1, 2]
        .map(|i| tumour.centre_mm[i] + away * (u[i] * side.cos() + v[i] * side.sin()) + shift * slope[i]);
    let end = |sign: f64| [0, 1, 2].map(|i| middle[i] + sign * half * slope[i]);
    Tube { ends_mm: [end(-1.0), end(1.0)], radius_mm }
}

/// What can be reached on a patient, as Dice with the drawn outline in the published box around the tumour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Oracle {
    /// The Dice of whoever knows where the tumour ends: less than 1 because the observer's outlines are not
    /// exact.
    pub with_context: f64,
    /// The Dice of whoever sees one slice at a time, and takes all that looks like the tumour there: the
    /// decoys as well.
    pub without_context: f64,
    /// The tumour's diameter, in mm: of a ball as large as what is drawn.
    pub diameter_mm: f64,
    /// The number of decoys that lie in the box.
    pub decoys: usize,
}

/// Counts voxels of the drawn outline, of the tumour, and of what looks like it.
pub(super) fn oracle(tumour: &Tumour, hardness: &Hardness, geometry: &Geometry) -> Oracle {
    let half = BOX_MM.map(|mm| 0.5 * mm);
    let [d, h, w] = geometry.size;
    let (mut drawn, mut shape, mut both, mut alike, mut alike_both) = (0_u64, 0_u64, 0_u64, 0_u64, 0_u64);
    let mut seen = vec![false; hardness.decoys.len()];
    for index in 0..d * h * w {
        let at = [index / (h * w), index / w % h, index % w];
        let point = geometry.to_patient(VoxelIndex(at.map(|n| n as f64))).0;
        // Patient axes x, y, z go with W, H, D.
        if (0..3).any(|i| (point[i] - tumour.centre_mm[i]).abs() > half[2 - i]) {
            continue;
        }
        let distance = tumour.distance(point).0;
        let is_drawn = hardness.drawn(tumour, point, distance) < 0.0;
        let is_tumour = distance < 0.0;
        let mut looks = is_tumour;
        for (decoy, seen) in hardness.decoys.iter().zip(&mut seen) {
            if decoy.distance(point) < 0.0 {
                (looks, *seen) = (true, true);
            }
        }
        drawn += u64::from(is_drawn);
        shape += u64::from(is_tumour);
        both += u64::from(is_drawn && is_tumour);
        alike += u64::from(looks);
        alike_both += u64::from(looks && is_drawn);
    }
    let dice = |both: u64, a: u64, b: u64| if a + b == 0 { 1.0 } else { 2.0 * both as f64 / (a + b) as f64 };
    let volume = drawn as f64 * geometry.spacing_mm().iter().product::<f64>();
    Oracle {
        with_context: dice(both, drawn, shape),
        without_context: dice(alike_both, drawn, alike),
        diameter_mm: (6.0 * volume / std::f64::consts::PI).cbrt(),
        decoys: seen.into_iter().filter(|seen| *seen).count(),
    }
}

/// Smooths an image with a Gaussian of this standard deviation, in voxels, along rows and columns; edges are held.
pub(super) fn blur(image: &mut [f32], width: usize, sigma: f64) {
    if sigma <= 0.0 || width == 0 {
        return;
    }
    let size = [1, image.len() / width, width];
    let lines = [
        AxisKernel::gaussian(1, 0.0),
        AxisKernel::gaussian(size[1], sigma),
        AxisKernel::gaussian(width, sigma),
    ];
    image.copy_from_slice(&separable::resample(image, size, &lines, Clip::Never));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tube_is_a_capsule() {
        let tube = Tube { ends_mm: [[0.0; 3], [0.0, 0.0, 10.0]], radius_mm: 2.0 };
        assert_eq!(tube.distance([0.0, 5.0, 5.0]), 3.0);
        assert_eq!(tube.distance([0.0, 0.0, 13.0]), 1.0);
        assert_eq!(tube.distance([1.0, 0.0, 4.0]), -1.0);
    }

    #[test]
    fn a_blur_keeps_a_flat_image_and_its_sum() {
        let mut flat = vec![3.0; 20];
        blur(&mut flat, 5, 1.3);
        assert!(flat.iter().all(|value| (value - 3.0).abs() < 1e-5), "{flat:?}");
        let mut point = vec![0.0; 41 * 41];
        point[20 * 41 + 20] = 1.0;
        blur(&mut point, 41, 2.0);
        assert!((point.iter().sum::<f32>() - 1.0).abs() < 1e-4);
        // A Gaussian of 2 voxels, cut at 6, has 1 / (2 π σ²) in its middle.
        assert!((f64::from(point[20 * 41 + 20]) - 1.0 / (8.0 * std::f64::consts::PI)).abs() < 5e-4);
    }
}
