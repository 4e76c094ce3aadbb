//! Random grids, scans and label maps, and how they are compared.
#![allow(dead_code, reason = "each test uses its part")]

pub mod seg;

use proptest::prelude::*;
use tomoflow_connectors::{Geometry, LabelMap, Scan};

/// The way axes may lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axes {
    /// Axes at right angles.
    Orthogonal,
    /// Slices at right angles within, moved against one another, as a tilted gantry does.
    Tilted,
    /// Axes at any angle up to a third of a step's length.
    Sheared,
}

/// A grid of any orientation and handedness.
pub fn grids(axes: Axes) -> impl Strategy<Value = Geometry> {
    let size = prop_oneof![Just([1, 1, 1]), [1usize..2, 1..7, 1..7], [1usize..6, 1..7, 1..7]];
    let turn = proptest::array::uniform4(-1.0f64..1.0);
    let spacing = proptest::array::uniform3(0.2f64..5.0);
    let origin = proptest::array::uniform3(-300.0f64..300.0);
    let shear = proptest::array::uniform3(-0.3f64..0.3);
    let flips = proptest::array::uniform3(any::<bool>());
    let straight = any::<bool>();
    (size, turn, spacing, origin, shear, flips, straight).prop_map(
        move |(size, turn, spacing, origin_mm, shear, flips, straight)| {
            let axes_of_turn = if straight { rotation([1.0, 0.0, 0.0, 0.0]) } else { rotation(turn) };
            let mut steps_mm = axes_of_turn;
            if axes != Axes::Orthogonal {
                let within = if axes == Axes::Sheared { shear[2] } else { 0.0 };
                let [a, b, c] = axes_of_turn;
                steps_mm = [
                    [0, 1, 2].map(|i| a[i] + shear[0] * b[i] + shear[1] * c[i]),
                    b,
                    [0, 1, 2].map(|i| c[i] + within * b[i]),
                ];
            }
            for axis in 0..3 {
                let length = if flips[axis] { -spacing[axis] } else { spacing[axis] };
                steps_mm[axis] = steps_mm[axis].map(|x| x * length);
            }
            Geometry { size, origin_mm, steps_mm }
        },
    )
}

fn rotation(quaternion: [f64; 4]) -> [[f64; 3]; 3] {
    let length = quaternion.iter().map(|x| x * x).sum::<f64>().sqrt();
    let [a, b, c, d] = if length > 0.1 { quaternion.map(|x| x / length) } else { [0.5, 0.5, -0.5, 0.5] };
    [
        [a * a + b * b - c * c - d * d, 2.0 * (b * c + a * d), 2.0 * (b * d - a * c)],
        [2.0 * (b * c - a * d), a * a + c * c - b * b - d * d, 2.0 * (c * d + a * b)],
        [2.0 * (b * d + a * c), 2.0 * (c * d - a * b), a * a + d * d - c * c - b * b],
    ]
}

/// Intensities: whole ones, as scanners give them, or any.
pub fn scans(axes: Axes) -> impl Strategy<Value = Scan> {
    (grids(axes), any::<bool>()).prop_flat_map(move |(grid, whole)| {
        let count = grid.voxels();
        let value =
            if whole { (-32768i32..32768).prop_map(|v| v as f32).boxed() } else { (-1e6f32..1e6).boxed() };
        let grid = Just(grid);
        (grid, proptest::collection::vec(value, count)).prop_map(|(grid, v)| Scan::new(grid, v).unwrap())
    })
}

/// Labels: few or many.
pub fn label_maps(axes: Axes, most: u16) -> impl Strategy<Value = LabelMap> {
    (grids(axes), prop_oneof![Just(2u16), Just(300u16), Just(most)]).prop_flat_map(move |(grid, top)| {
        let count = grid.voxels();
        let labels = proptest::collection::vec(0..=top.min(most), count);
        (Just(grid), labels).prop_map(|(grid, v)| LabelMap::new(grid, v).unwrap())
    })
}

/// The largest distance between the same corners of two grids, in mm; infinite for other sizes.
pub fn apart_mm(a: &Geometry, b: &Geometry) -> f64 {
    if a.size != b.size {
        return f64::INFINITY;
    }
    let ends = a.size.map(|n| n as f64);
    (0..8)
        .map(|corner| {
            let index = [0, 1, 2].map(|axis| if corner >> axis & 1 == 1 { ends[axis] } else { 0.0 });
            let index = tomoflow_connectors::VoxelIndex(index);
            let (p, q) = (a.to_patient(index).0, b.to_patient(index).0);
            (0..3).map(|i| (p[i] - q[i]).abs()).fold(0.0, f64::max)
        })
        .fold(0.0, f64::max)
}
