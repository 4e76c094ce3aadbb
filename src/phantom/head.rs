//! The head: tissues as ellipsoids in mm around the middle of the posterior fossa, painted row by row.

use std::ops::Range;

use rand_chacha::ChaCha8Rng;

use super::noise::uniform;
use crate::connectors::VoxelIndex;
use crate::connectors::geometry::{Geometry, dot};

/// What a voxel is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Tissue {
    Air,
    Scalp,
    Bone,
    Fluid,
    Grey,
    White,
    Cerebellum,
    Cochlea,
    Tumour,
}

/// The look of each tissue in a T2-weighted series: its mean, and how much the fine and the coarse texture
/// change it; fluid is 1.
///
/// A tumour's mean lies between those of grey matter, cerebellum and scalp, so that no threshold finds it.
pub(super) const T2: [[f32; 3]; 9] = [
    [0.0, 0.0, 0.0],
    [0.56, 0.10, 0.20],
    [0.07, 0.02, 0.04],
    [1.0, 0.0, 0.03],
    [0.50, 0.03, 0.04],
    [0.40, 0.02, 0.03],
    [0.46, 0.12, 0.04],
    [0.95, 0.0, 0.0],
    [0.57, 0.08, 0.10],
];

/// The same in a T1-weighted series after contrast agent, which the tumour takes up.
pub(super) const T1: [[f32; 3]; 9] = [
    [0.0, 0.0, 0.0],
    [0.85, 0.10, 0.15],
    [0.08, 0.02, 0.04],
    [0.16, 0.0, 0.02],
    [0.42, 0.03, 0.04],
    [0.52, 0.02, 0.03],
    [0.45, 0.08, 0.04],
    [0.20, 0.0, 0.0],
    [0.90, 0.10, 0.12],
];

/// An ellipsoid of one tissue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ellipsoid {
    tissue: Tissue,
    centre_mm: [f64; 3],
    /// Its axes, each divided by its half length: a point is inside where the products' squares sum to 1.
    axes: [[f64; 3]; 3],
}

impl Ellipsoid {
    fn new(tissue: Tissue, centre_mm: [f64; 3], half_mm: [f64; 3]) -> Self {
        Self::turned(tissue, centre_mm, half_mm, 0.0)
    }

    /// Makes an ellipsoid turned by an angle about the axis that points up.
    fn turned(tissue: Tissue, centre_mm: [f64; 3], half_mm: [f64; 3], angle: f64) -> Self {
        let [a, b, c] = half_mm.map(|half| 1.0 / half);
        let (sin, cos) = angle.sin_cos();
        Self { tissue, centre_mm, axes: [[a * cos, a * sin, 0.0], [-b * sin, b * cos, 0.0], [0.0, 0.0, c]] }
    }

    /// The voxels of a row that lie inside: from `at`, one `step` to the next.
    fn span(&self, at: [f64; 3], step: [f64; 3], columns: usize) -> Option<Range<usize>> {
        let from = [0, 1, 2].map(|i| at[i] - self.centre_mm[i]);
        let (mut a, mut b, mut c) = (0.0, 0.0, -1.0);
        for axis in self.axes {
            let (p, u) = (dot(axis, from), dot(axis, step));
            a += u * u;
            b += p * u;
            c += p * p;
        }
        let root = b * b - a * c;
        if root <= 0.0 || a <= 0.0 {
            return None;
        }
        let (middle, half) = (-b / a, root.sqrt() / a);
        // `as usize` takes what is below zero to zero.
        let first = (middle - half).ceil() as usize;
        let end = ((middle + half).floor() + 1.0).min(columns as f64) as usize;
        (first < end).then_some(first..end)
    }
}

/// The tissues of one head, the later over the earlier, and a slow warp that bends them.
pub(super) struct Head {
    parts: Vec<Ellipsoid>,
    warp: [[f64; 4]; 3],
}

/// Where the inner ear's canal opens and ends, on the tumour's side.
#[derive(Clone, Copy, Debug)]
pub(super) struct Canal {
    /// The end towards the brain, where the canal opens.
    pub opening_mm: [f64; 3],
    /// The end towards the cochlea.
    pub end_mm: [f64; 3],
}

impl Head {
    /// A head of its own size and shape; `side` is 1 for left and -1 for right.
    pub fn new(rng: &mut ChaCha8Rng, side: f64) -> (Self, Canal) {
        let mut vary = |middle: f64, share: f64| middle * uniform(rng, 1.0 - share, 1.0 + share);
        let (wide, long, tall) = (vary(73.0, 0.06), vary(93.0, 0.05), vary(108.0, 0.04));
        let grown = |mm: f64| [wide + mm, long + mm, tall + mm];
        let lobe = vary(49.0, 0.06);
        let pons = [vary(15.5, 0.08), vary(12.5, 0.08), vary(25.0, 0.1)];
        let ventricle = [vary(7.0, 0.3), vary(24.0, 0.15), vary(11.0, 0.25)];
        let up = [0.0, 0.0, 28.0];
        use Tissue::{Air, Bone, Cerebellum, Fluid, Grey, Scalp, White};
        let mut parts = vec![
            Ellipsoid::new(Scalp, up, grown(0.0)),
            Ellipsoid::new(Bone, up, grown(-6.0)),
            Ellipsoid::new(Fluid, up, grown(-12.5)),
            Ellipsoid::new(Grey, up, grown(-15.0)),
            Ellipsoid::new(White, [0.0, 0.0, 34.0], [wide - 24.0, long - 26.0, tall - 30.0]),
            Ellipsoid::new(Air, [0.0, 12.0 - long, -22.0], [17.0, 24.0, 16.0]),
            Ellipsoid::new(Fluid, [29.0, 18.0 - long, -6.0], [12.0; 3]),
            Ellipsoid::new(Fluid, [-29.0, 18.0 - long, -6.0], [12.0; 3]),
            Ellipsoid::new(Fluid, [11.0, 0.0, 42.0], ventricle),
            Ellipsoid::new(Fluid, [-11.0, 0.0, 42.0], ventricle),
            Ellipsoid::new(Fluid, [0.0, 32.0, -8.0], [lobe + 4.0, 36.0, 31.0]),
            Ellipsoid::new(Cerebellum, [0.5 * lobe, 38.0, -8.0], [0.55 * lobe, 27.0, 27.0]),
            Ellipsoid::new(Cerebellum, [-0.5 * lobe, 38.0, -8.0], [0.55 * lobe, 27.0, 27.0]),
            Ellipsoid::new(White, [0.45 * lobe, 36.0, -8.0], [0.25 * lobe, 11.0, 14.0]),
            Ellipsoid::new(White, [-0.45 * lobe, 36.0, -8.0], [0.25 * lobe, 11.0, 14.0]),
            Ellipsoid::new(Fluid, [0.0, -8.0, 0.0], [24.0, 13.0, 26.0]),
            Ellipsoid::new(White, [0.0, -2.0, 0.0], pons),
            Ellipsoid::new(Fluid, [0.0, 13.5, -3.0], [vary(6.0, 0.2), 4.5, 10.0]),
        ];
        let tilt = vary(0.55, 0.15);
        let lift = vary(2.0, 1.0) - 2.0;
        parts.extend(ear(-side, tilt, lift).0);
        let (ear, canal) = ear(side, tilt, lift);
        parts.extend(ear);
        let warp = [0, 1, 2].map(|_| {
            [
                uniform(rng, 0.06, 0.14),
                uniform(rng, 0.06, 0.14),
                uniform(rng, 0.0, 6.0),
                uniform(rng, 0.0, 6.0),
            ]
        });
        (Self { parts, warp }, canal)
    }

    /// Paints one row of a grid; `slice` may lie between two.
    pub fn paint(&self, geometry: &Geometry, slice: f64, row: usize, into: &mut [u8]) {
        into.fill(Tissue::Air as u8);
        for part in &self.parts {
            if let Some(span) = self.span(part, geometry, slice, row) {
                into[span].fill(part.tissue as u8);
            }
        }
    }

    /// Returns what a point is made of.
    pub fn tissue(&self, point_mm: [f64; 3]) -> Tissue {
        let bent = self.bent(point_mm);
        let around = self.parts.iter().rev().find(|part| {
            let from = [0, 1, 2].map(|i| bent[i] - part.centre_mm[i]);
            part.axes.iter().map(|axis| dot(*axis, from).powi(2)).sum::<f64>() <= 1.0
        });
        around.map_or(Tissue::Air, |part| part.tissue)
    }

    /// The voxels of a row whose centres lie in the tumour's side's cochlea, which is painted last.
    pub fn cochlea(&self, geometry: &Geometry, slice: usize, row: usize) -> Option<Range<usize>> {
        self.parts.last().and_then(|part| self.span(part, geometry, slice as f64, row))
    }

    fn span(&self, part: &Ellipsoid, geometry: &Geometry, slice: f64, row: usize) -> Option<Range<usize>> {
        let at = geometry.to_patient(VoxelIndex([slice, row as f64, 0.0])).0;
        part.span(self.bent(at), geometry.steps_mm[2], geometry.size[2])
    }

    fn bent(&self, at: [f64; 3]) -> [f64; 3] {
        [0, 1, 2].map(|i| {
            let [y, z, one, two] = self.warp[i];
            at[i] + 0.8 * ((y * at[1] + one).sin() + (z * at[2] + two).sin())
        })
    }
}

/// The petrous bone of one side with its canal and labyrinth; the cochlea comes last.
fn ear(side: f64, tilt: f64, lift: f64) -> (Vec<Ellipsoid>, Canal) {
    let canal = Canal { opening_mm: [side * 24.5, 2.5, lift], end_mm: [side * 34.0, 0.5, lift + 0.5] };
    let middle = [0, 1, 2].map(|i| 0.5 * (canal.opening_mm[i] + canal.end_mm[i]));
    let end = canal.end_mm;
    let parts = vec![
        Ellipsoid::new(Tissue::Fluid, [side * 21.0, 6.0, lift], [8.5, 9.0, 11.0]),
        Ellipsoid::turned(Tissue::Bone, [side * 46.0, 0.0, lift], [25.0, 10.5, 12.0], side * tilt),
        Ellipsoid::turned(Tissue::Air, [side * 58.0, 10.0, lift - 4.0], [8.0, 5.0, 9.0], side * tilt),
        Ellipsoid::turned(Tissue::Fluid, middle, [7.0, 2.6, 2.6], -side * 0.2),
        Ellipsoid::new(Tissue::Fluid, [end[0] + side * 5.0, end[1] + 4.5, end[2] + 1.0], [2.6, 2.2, 2.8]),
        Ellipsoid::new(Tissue::Cochlea, [end[0] + side * 3.0, end[1] - 4.0, end[2]], [3.6, 2.8, 2.7]),
    ];
    (parts, canal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_the_voxels_whose_centres_lie_inside() {
        let part = Ellipsoid::turned(Tissue::Bone, [3.0, -2.0, 1.0], [9.0, 4.0, 6.0], 0.5);
        let step = [0.39, 0.05, -0.07];
        for row in 0..40 {
            let at = [-9.0, 0.4 * f64::from(row) - 9.0, 2.0];
            let inside = |column: usize| {
                let from = [0, 1, 2].map(|i| at[i] + column as f64 * step[i] - part.centre_mm[i]);
                part.axes.iter().map(|axis| dot(*axis, from).powi(2)).sum::<f64>() <= 1.0
            };
            let expected: Vec<usize> = (0..50).filter(|&column| inside(column)).collect();
            let found: Vec<usize> = part.span(at, step, 50).into_iter().flatten().collect();
            assert_eq!(found, expected, "row {row}");
        }
    }

    #[test]
    fn the_canal_leads_outwards_on_its_side() {
        for side in [-1.0, 1.0] {
            let (_, canal) = Head::new(&mut super::super::noise::stream(0, 0, "test"), side);
            assert!(canal.end_mm[0] * side > canal.opening_mm[0] * side);
        }
    }
}
