//! A field of displacements behind an affine map: where each voxel of a scan lies in another, and what is there.

use rayon::prelude::*;
use tomoflow_connectors::{Geometry, LabelMap, Reject, Scan};

use super::map::{Affine, VoxelMap};
use super::sampler::Sampler;
use crate::voxels::regrid::nearest_voxel;

/// The label of a voxel that lies nowhere in the other scan.
pub const NOWHERE: u16 = u16::MAX;

/// Where each voxel of a grid lies in another scan.
#[derive(Clone, Debug, PartialEq)]
pub struct Deformation {
    /// The grid of the fixed scan.
    pub(super) geometry: Geometry,
    /// From places of the fixed scan, once displaced, to those of the moving one.
    pub(super) affine: Affine,
    /// Displacements along `[D, H, W]`, in voxels of the fixed scan; none where the map alone says all.
    pub(super) field: Option<[Vec<f32>; 3]>,
}

impl Deformation {
    /// An affine map alone.
    pub fn affine(geometry: &Geometry, affine: Affine) -> Self {
        Self { geometry: geometry.clone(), affine, field: None }
    }

    /// The displacement of a voxel along the grid's axes, in mm.
    pub fn displacement_mm(&self, voxel: usize) -> [f64; 3] {
        let spacing_mm = self.geometry.spacing_mm();
        let along = |axis: usize| {
            let of = self.field.as_ref().and_then(|field| field[axis].get(voxel));
            f64::from(of.copied().unwrap_or(0.0)) * spacing_mm[axis]
        };
        [along(0), along(1), along(2)]
    }

    /// The share of voxels at which the field turns space inside out.
    pub fn folds(&self) -> f64 {
        let Some(field) = &self.field else { return 0.0 };
        let [depth, height, width] = self.geometry.size;
        let strides = [height * width, width, 1];
        let folded: u64 = (0..depth)
            .into_par_iter()
            .map(|slice| {
                let mut folded = 0;
                for row in 0..height {
                    for column in 0..width {
                        let index = [slice, row, column];
                        let here = (slice * height + row) * width + column;
                        let mut jacobian = [[0.0_f64; 3]; 3];
                        for (axis, out) in jacobian.iter_mut().enumerate() {
                            let last = self.geometry.size[axis] - 1;
                            let low = if index[axis] > 0 { here - strides[axis] } else { here };
                            let high = if index[axis] < last { here + strides[axis] } else { here };
                            let steps = ((high - low) / strides[axis]).max(1) as f64;
                            for (of, value) in out.iter_mut().enumerate() {
                                *value = f64::from(field[of][high] - field[of][low]) / steps;
                            }
                            out[axis] += 1.0;
                        }
                        let turned = Affine { matrix: jacobian, offset_mm: [0.0; 3] };
                        folded += u64::from(turned.determinant() <= 0.0);
                    }
                }
                folded
            })
            .sum();
        folded as f64 / self.geometry.voxels().max(1) as f64
    }

    /// The intensities of the moving scan at each voxel, linear between eight; beyond its ends those at its end.
    ///
    /// # Errors
    /// `BAD_GRID`.
    pub fn scan(&self, moving: &Scan) -> Result<Vec<f32>, Reject> {
        let sampler = Sampler { voxels: moving.voxels(), size: moving.size() };
        self.each(moving.geometry(), |position| sampler.clamped(position))
    }

    /// The labels of the moving scan at each voxel, of the nearest; [`NOWHERE`] where it does not reach.
    ///
    /// # Errors
    /// `BAD_GRID`.
    pub fn labels(&self, moving: &LabelMap) -> Result<Vec<u16>, Reject> {
        let (size, voxels) = (moving.size(), moving.voxels());
        self.each(moving.geometry(), |position| {
            let [d, h, w] = [0, 1, 2].map(|axis| nearest_voxel(position[axis], size[axis]));
            match (d, h, w) {
                (Some(d), Some(h), Some(w)) => voxels[(d * size[1] + h) * size[2] + w],
                _ => NOWHERE,
            }
        })
    }

    /// Whether each voxel lies in the moving scan.
    pub(super) fn reaches(&self, moving: &Geometry) -> Result<Vec<bool>, Reject> {
        let size = moving.size;
        self.each(moving, |position| {
            (0..3).all(|axis| position[axis] >= 0.0 && position[axis] <= (size[axis] - 1) as f64)
        })
    }

    fn each<T: Copy + Default + Send>(
        &self,
        moving: &Geometry,
        at: impl Fn([f64; 3]) -> T + Sync,
    ) -> Result<Vec<T>, Reject> {
        let map = VoxelMap::through(&self.geometry, &self.affine, moving)
            .ok_or_else(|| Reject::new("BAD_GRID", "axes that span space expected", ""))?;
        let [_, height, width] = self.geometry.size;
        let mut out = vec![T::default(); self.geometry.voxels()];
        out.par_chunks_exact_mut(width).enumerate().for_each(|(line, out)| {
            let (slice, row) = ((line / height) as f64, (line % height) as f64);
            for (column, out) in out.iter_mut().enumerate() {
                let mut index = [slice, row, column as f64];
                if let Some(field) = &self.field {
                    let here = line * width + column;
                    (0..3).for_each(|axis| index[axis] += f64::from(field[axis][here]));
                }
                *out = at(map.at(index));
            }
        });
        Ok(out)
    }
}
