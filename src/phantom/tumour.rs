//! A tumour like a vestibular schwannoma: a lobed ball at the canal's opening, and a stem inside it.

use std::ops::Range;

use rand_chacha::ChaCha8Rng;

use super::head::Canal;
use super::noise::uniform;
use crate::connectors::geometry::{Geometry, dot, norm};
use crate::connectors::{PatientPoint, VoxelIndex};

/// Its shape, in mm.
pub(super) struct Tumour {
    /// The middle of the ball.
    pub centre_mm: [f64; 3],
    /// The ball's mean radius.
    pub radius_mm: f64,
    stretch: [f64; 3],
    waves: [([f64; 3], f64, f64); 4],
    stem: [[f64; 3]; 2],
    stem_mm: f64,
    rim_mm: f64,
    rim_wave: ([f64; 3], f64),
}

/// A direction, each as likely as any other.
pub(super) fn direction(rng: &mut ChaCha8Rng) -> [f64; 3] {
    let z = uniform(rng, -1.0, 1.0);
    let (sin, cos) = uniform(rng, 0.0, std::f64::consts::TAU).sin_cos();
    let flat = (1.0 - z * z).sqrt();
    [flat * cos, flat * sin, z]
}

impl Tumour {
    /// A tumour of a mean diameter at a canal, which its stem enters to `deepest_mm` at most.
    pub fn new(rng: &mut ChaCha8Rng, canal: Canal, diameter_mm: f64, deepest_mm: f64) -> Self {
        let radius_mm = diameter_mm / 2.0;
        let inward = [0, 1, 2].map(|i| canal.opening_mm[i] - canal.end_mm[i]);
        let unit = inward.map(|x| x / norm(inward));
        let lean = [unit[0], unit[1] + uniform(rng, -0.1, 0.7), unit[2] + uniform(rng, -0.4, 0.4)];
        // A small one sits in the opening, a large one in front of it.
        let reach = (0.85 * radius_mm - 1.0) / norm(lean);
        let centre_mm = [0, 1, 2].map(|i| canal.opening_mm[i] + reach * lean[i]);
        let depth = uniform(rng, 1.0, 8.8).min(deepest_mm);
        let tip = [0, 1, 2].map(|i| canal.opening_mm[i] - depth * unit[i]);
        let mut waves = [([0.0; 3], 0.0, 0.0); 4];
        for (wave, (count, height)) in
            waves.iter_mut().zip([(2.0, 0.10), (3.0, 0.07), (4.5, 0.04), (6.0, 0.025)])
        {
            *wave = (direction(rng).map(|x| x * count), uniform(rng, 0.0, 6.3), height);
        }
        Self {
            centre_mm,
            radius_mm,
            stretch: [0, 1, 2].map(|_| uniform(rng, 0.87, 1.13)),
            waves,
            stem: [centre_mm, tip],
            stem_mm: uniform(rng, 1.5, 2.3).min(radius_mm),
            rim_mm: uniform(rng, 0.5, 1.6),
            rim_wave: (direction(rng).map(|x| x * 2.0), uniform(rng, 0.0, 6.3)),
        }
    }

    /// Leaves this share of the fluid around it.
    pub fn thin_rim(&mut self, share: f64) {
        self.rim_mm *= share;
    }

    /// Returns how far outside of it a point lies, in mm (nearly; below 0 is inside), and how wide the rim of
    /// fluid around it is there.
    pub fn distance(&self, point_mm: [f64; 3]) -> (f64, f64) {
        let from = [0, 1, 2].map(|i| (point_mm[i] - self.centre_mm[i]) * self.stretch[i]);
        let length = norm(from);
        let towards = from.map(|x| x / length.max(1e-9));
        let lobes: f64 = self.waves.iter().map(|&(k, phase, h)| h * (dot(k, towards) + phase).sin()).sum();
        let ball = length - self.radius_mm * (1.0 + lobes);
        let rim = self.rim_mm * (0.4 + (dot(self.rim_wave.0, towards) + self.rim_wave.1).sin()).max(0.0);
        (ball.min(self.to_stem(point_mm)), rim)
    }

    fn to_stem(&self, point_mm: [f64; 3]) -> f64 {
        to_segment(point_mm, self.stem) - self.stem_mm
    }

    /// The box in which it lies, nearly always: its low and high corner.
    pub fn extent_mm(&self) -> [[f64; 3]; 2] {
        let (ball, stem) = (1.3 * self.radius_mm, self.stem_mm);
        let [centre, tip] = self.stem;
        [
            [0, 1, 2].map(|i| (centre[i] - ball).min(tip[i] - stem)),
            [0, 1, 2].map(|i| (centre[i] + ball).max(tip[i] + stem)),
        ]
    }

    /// The voxels `[D, H, W]` that it and its rim may touch, by axis.
    pub fn bounds(&self, geometry: &Geometry) -> [Range<usize>; 3] {
        // The lobes reach 1.42 radii at the very most.
        let reach = 0.13 * self.radius_mm + self.rim_mm + 2.0;
        let [low, high] = self.extent_mm();
        bounds(low.map(|x| x - reach), high.map(|x| x + reach), geometry)
    }
}

/// Returns how far a point lies from a segment, in mm.
pub(super) fn to_segment(point_mm: [f64; 3], [a, b]: [[f64; 3]; 2]) -> f64 {
    let along = [0, 1, 2].map(|i| b[i] - a[i]);
    let from = [0, 1, 2].map(|i| point_mm[i] - a[i]);
    let part = (dot(from, along) / dot(along, along).max(1e-9)).clamp(0.0, 1.0);
    norm([0, 1, 2].map(|i| from[i] - part * along[i]))
}

/// The voxels `[D, H, W]` of a box between two corners, by axis.
pub(super) fn bounds(low: [f64; 3], high: [f64; 3], geometry: &Geometry) -> [Range<usize>; 3] {
    let mut bounds = [[f64::MAX, f64::MIN]; 3];
    for corner in 0..8 {
        let point = [0, 1, 2].map(|i| if corner >> i & 1 == 1 { high[i] } else { low[i] });
        let Some(VoxelIndex(at)) = geometry.to_voxel(PatientPoint(point)) else { continue };
        for (bound, x) in bounds.iter_mut().zip(at) {
            *bound = [bound[0].min(x), bound[1].max(x)];
        }
    }
    [0, 1, 2].map(|axis| {
        let end = geometry.size[axis];
        (bounds[axis][0].max(0.0) as usize).min(end)..((bounds[axis][1] + 2.0).max(0.0) as usize).min(end)
    })
}
