//! The place of voxels: size, spacing, origin and direction in patient space (LPS, mm).

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::Reject;

/// The spacings that are believed, in mm: a picometre to a kilometre. What lies beyond is a damaged header, whose
/// volumes and distances would be zero or infinite without a word.
const SPACING_MM: RangeInclusive<f64> = 1e-9..=1e6;
/// The farthest that a scan may lie from the origin, in mm.
const FAR_MM: f64 = 1e9;

/// A position in voxels along `[D, H, W]`; whole numbers are voxel centres.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct VoxelIndex(pub [f64; 3]);

/// A position in patient space: left, posterior, superior, in mm.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PatientPoint(pub [f64; 3]);

/// A grid of voxels in patient space. It may be oblique, and sheared (gantry tilt).
///
/// # Units
/// mm, in LPS.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Geometry {
    /// The number of voxels along `[D, H, W]`: slices, rows, columns.
    pub size: [usize; 3],
    /// The centre of voxel `[0, 0, 0]`.
    pub origin_mm: [f64; 3],
    /// For each of the axes `[D, H, W]`, the way in patient space from one voxel to the next.
    pub steps_mm: [[f64; 3]; 3],
}

impl Geometry {
    /// An axis-aligned grid with its origin at zero.
    ///
    /// # Examples
    /// ```
    /// use tomoflow_connectors::Geometry;
    /// let geometry = Geometry::axis_aligned([20, 64, 64], [1.5, 0.4, 0.4]);
    /// assert_eq!(geometry.spacing_mm(), [1.5, 0.4, 0.4]);
    /// ```
    pub fn axis_aligned(size: [usize; 3], spacing_mm: [f64; 3]) -> Self {
        let [d, h, w] = spacing_mm;
        Self { size, origin_mm: [0.0; 3], steps_mm: [[0.0, 0.0, d], [0.0, h, 0.0], [w, 0.0, 0.0]] }
    }

    /// Whether lengths are of this world: spacings from 1e-9 to 1e6 mm, an origin within 1e9 mm.
    ///
    /// # Errors
    /// `BAD_GEOMETRY`, with what was found.
    pub fn check(&self) -> Result<(), Reject> {
        let spacing = self.spacing_mm();
        let near = self.origin_mm.iter().all(|place| place.abs() <= FAR_MM);
        if near && spacing.iter().all(is_spacing) {
            return Ok(());
        }
        let message = format!(
            "a spacing from 1e-9 to 1e6 mm and an origin within 1e9 mm expected, a spacing of {spacing:?} mm at \
             {:?} mm found",
            self.origin_mm
        );
        Err(Reject::new("BAD_GEOMETRY", message, "the header is damaged, or its lengths are not in mm"))
    }

    /// The number of voxels in all.
    pub fn voxels(&self) -> usize {
        self.size.iter().product()
    }

    /// The distance between neighbours along `[D, H, W]`, in mm.
    pub fn spacing_mm(&self) -> [f64; 3] {
        self.steps_mm.map(norm)
    }

    /// The volume of one voxel, in mm³ (right for sheared grids too).
    pub fn voxel_mm3(&self) -> f64 {
        let [a, b, c] = self.steps_mm;
        dot(a, cross(b, c)).abs()
    }

    /// The centre of a voxel.
    pub fn to_patient(&self, index: VoxelIndex) -> PatientPoint {
        let mut point = self.origin_mm;
        for (axis, step) in self.steps_mm.iter().enumerate() {
            for (p, s) in point.iter_mut().zip(step) {
                *p += s * index.0[axis];
            }
        }
        PatientPoint(point)
    }

    /// The inverse of [`Geometry::to_patient`]; `None` for a grid whose axes do not span space.
    pub fn to_voxel(&self, point: PatientPoint) -> Option<VoxelIndex> {
        let [a, b, c] = self.steps_mm;
        let determinant = dot(a, cross(b, c));
        if determinant == 0.0 || !determinant.is_finite() {
            return None;
        }
        let p = [0, 1, 2].map(|i| point.0[i] - self.origin_mm[i]);
        Some(VoxelIndex([
            dot(p, cross(b, c)) / determinant,
            dot(a, cross(p, c)) / determinant,
            dot(a, cross(b, p)) / determinant,
        ]))
    }

    /// The affine that maps (column i, row j, slice k, 1) to LPS mm, as `inspect` prints it.
    pub fn affine_lps(&self) -> [[f64; 4]; 4] {
        let [d, h, w] = self.steps_mm;
        let row = |axis: usize| [w[axis], h[axis], d[axis], self.origin_mm[axis]];
        [row(0), row(1), row(2), [0.0, 0.0, 0.0, 1.0]]
    }

    /// Whether two grids are the same within `tolerance_mm` at each corner.
    pub fn same_grid(&self, other: &Self, tolerance_mm: f64) -> bool {
        if self.size != other.size {
            return false;
        }
        let last = self.size.map(|n| n.saturating_sub(1) as f64);
        (0..8).all(|corner| {
            let index =
                VoxelIndex([0, 1, 2].map(|axis| if corner >> axis & 1 == 1 { last[axis] } else { 0.0 }));
            let (a, b) = (self.to_patient(index).0, other.to_patient(index).0);
            (0..3).all(|i| (a[i] - b[i]).abs() <= tolerance_mm)
        })
    }
}

/// A [`Geometry`] as a row: its numbers by their bits, so that it has an order and a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Grid {
    size: [u32; 3],
    origin: [u64; 3],
    steps: [[u64; 3]; 3],
}

impl From<&Geometry> for Grid {
    fn from(geometry: &Geometry) -> Self {
        Self {
            size: geometry.size.map(|n| n as u32),
            origin: geometry.origin_mm.map(f64::to_bits),
            steps: geometry.steps_mm.map(|step| step.map(f64::to_bits)),
        }
    }
}

impl From<&Grid> for Geometry {
    fn from(grid: &Grid) -> Self {
        Self {
            size: grid.size.map(|n| n as usize),
            origin_mm: grid.origin.map(f64::from_bits),
            steps_mm: grid.steps.map(|step| step.map(f64::from_bits)),
        }
    }
}

/// Whether a length in mm is believed of a voxel; NaN is not.
pub(crate) fn is_spacing(length_mm: &f64) -> bool {
    SPACING_MM.contains(length_mm)
}

/// The scalar product.
pub fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// The vector product.
pub fn cross(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

/// The Euclidean length.
pub fn norm(a: [f64; 3]) -> f64 {
    dot(a, a).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn voxel_and_patient_space_are_inverse_on_a_sheared_grid() {
        let geometry = Geometry {
            size: [4, 5, 6],
            origin_mm: [10.0, -3.0, 7.0],
            steps_mm: [[0.0, 0.3, 2.0], [0.0, 0.5, 0.0], [0.4, 0.0, 0.1]],
        };
        let index = VoxelIndex([1.5, 2.0, 3.25]);
        let back = geometry.to_voxel(geometry.to_patient(index)).unwrap();
        for axis in 0..3 {
            assert!((back.0[axis] - index.0[axis]).abs() < 1e-12);
        }
    }

    #[test]
    fn a_flat_grid_has_no_inverse() {
        let geometry = Geometry::axis_aligned([1, 1, 1], [0.0, 1.0, 1.0]);
        assert!(geometry.to_voxel(PatientPoint([0.0; 3])).is_none());
    }

    #[test]
    fn the_affine_maps_column_row_slice() {
        let affine = Geometry::axis_aligned([2, 3, 4], [1.5, 0.5, 0.4]).affine_lps();
        assert_eq!(affine[0], [0.4, 0.0, 0.0, 0.0]);
        assert_eq!(affine[2], [0.0, 0.0, 1.5, 0.0]);
    }
}
