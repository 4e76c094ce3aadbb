//! Affine maps of patient space, and what they come to between the voxels of two grids.

use serde::{Deserialize, Serialize};
use tomoflow_connectors::geometry::{cross, dot};
use tomoflow_connectors::{Geometry, PatientPoint, VoxelIndex};

/// A map of patient space, from places of one scan to places of another: `matrix · x + offset_mm`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Affine {
    /// By rows.
    pub matrix: [[f64; 3]; 3],
    /// What is added, in mm.
    pub offset_mm: [f64; 3],
}

impl Affine {
    /// Every place where it is.
    pub const IDENTITY: Self =
        Self { matrix: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], offset_mm: [0.0; 3] };

    /// Every place moved alike.
    pub fn shift(offset_mm: [f64; 3]) -> Self {
        Self { offset_mm, ..Self::IDENTITY }
    }

    /// Where a place comes to lie.
    pub fn apply(&self, place: [f64; 3]) -> [f64; 3] {
        [0, 1, 2].map(|i| dot(self.matrix[i], place) + self.offset_mm[i])
    }

    /// The factor by which it changes volumes; negative where it mirrors.
    pub fn determinant(&self) -> f64 {
        let [a, b, c] = self.matrix;
        dot(a, cross(b, c))
    }
}

/// From voxels of one grid to positions in voxels of another: `start`, and the way for one voxel along each axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct VoxelMap {
    pub(super) start: [f64; 3],
    pub(super) steps: [[f64; 3]; 3],
}

impl VoxelMap {
    /// Through patient space and a map of it; `None` where the second grid's axes do not span space.
    pub(super) fn through(from: &Geometry, affine: &Affine, to: &Geometry) -> Option<Self> {
        let position = |index: [f64; 3]| {
            let place = affine.apply(from.to_patient(VoxelIndex(index)).0);
            to.to_voxel(PatientPoint(place)).map(|found| found.0)
        };
        let start = position([0.0; 3])?;
        let step = |index: [f64; 3]| position(index).map(|next| [0, 1, 2].map(|i| next[i] - start[i]));
        let steps = [step([1.0, 0.0, 0.0])?, step([0.0, 1.0, 0.0])?, step([0.0, 0.0, 1.0])?];
        Some(Self { start, steps })
    }

    #[inline(always)]
    pub(super) fn at(&self, index: [f64; 3]) -> [f64; 3] {
        [0, 1, 2].map(|i| {
            self.start[i]
                + self.steps[0][i] * index[0]
                + self.steps[1][i] * index[1]
                + self.steps[2][i] * index[2]
        })
    }
}

/// From mm along the axes of patient space to voxels of a grid, by rows: `D`, `H`, `W`; `None` where its axes do not span
/// space.
pub(super) fn voxels_per_mm(geometry: &Geometry) -> Option<[[f64; 3]; 3]> {
    let origin = geometry.to_voxel(PatientPoint([0.0; 3]))?.0;
    let mut rows = [[0.0; 3]; 3];
    for axis in 0..3 {
        let mut place = [0.0; 3];
        place[axis] = 1.0;
        let found = geometry.to_voxel(PatientPoint(place))?.0;
        for (row, (found, origin)) in rows.iter_mut().zip(found.into_iter().zip(origin)) {
            row[axis] = found - origin;
        }
    }
    Some(rows)
}
