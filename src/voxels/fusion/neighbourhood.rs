//! Patches of volumes and the places around them, with the end voxels going on beyond the ends.

use rayon::prelude::*;

use super::Carried;
use crate::voxels::register::NOWHERE;

/// The least standard deviation of a patch that has a structure.
pub(super) const FLAT: f64 = 1e-6;

/// A scan and atlases with a margin, in which patches are compared.
pub(super) struct Neighbourhood {
    pub(super) size: [usize; 3],
    padded: [usize; 3],
    margin: [usize; 3],
    pub(super) target: Volume,
    pub(super) atlases: Vec<Volume>,
    pub(super) labels: Vec<Vec<u16>>,
    /// The voxels of a patch, as offsets in the padded volume.
    pub(super) patch: Vec<isize>,
    /// Where an atlas's patch may lie, the nearest first.
    pub(super) search: Vec<isize>,
}

/// Intensities, and the mean and standard deviation of the patch around each voxel.
pub(super) struct Volume {
    pub(super) voxels: Vec<f32>,
    pub(super) mean: Vec<f32>,
    pub(super) deviation: Vec<f32>,
}

impl Neighbourhood {
    pub(super) fn new(
        target: &[f32],
        size: [usize; 3],
        atlases: &[Carried],
        patch: [usize; 3],
        search: [usize; 3],
    ) -> Self {
        let margin = [0, 1, 2].map(|axis| patch[axis] + search[axis]);
        let padded = [0, 1, 2].map(|axis| size[axis] + 2 * margin[axis]);
        let offset = |by: [isize; 3]| (by[0] * padded[1] as isize + by[1]) * padded[2] as isize + by[2];
        let around: Vec<isize> = boxed(patch).into_iter().map(offset).collect();
        let mut near = boxed(search);
        // The nearest first, of equally near ones in their order.
        near.sort_by_key(|by| by.iter().map(|step| step * step).sum::<isize>());
        let volume = |voxels: &[f32]| Volume::new(pad(voxels, size, margin), padded, patch);
        Self {
            size,
            padded,
            margin,
            target: volume(target),
            atlases: atlases.iter().map(|atlas| volume(&atlas.scan)).collect(),
            labels: atlases.iter().map(|atlas| pad(&atlas.labels, size, margin)).collect(),
            patch: around,
            search: near.into_iter().map(offset).collect(),
        }
    }

    /// The place of a voxel in padded volumes.
    pub(super) fn place(&self, voxel: usize) -> usize {
        let [_, height, width] = self.size;
        let [d, h, w] = [voxel / (height * width), voxel / width % height, voxel % width];
        ((d + self.margin[0]) * self.padded[1] + h + self.margin[1]) * self.padded[2] + w + self.margin[2]
    }

    /// The correlation of the target's patch around a place with an atlas's around another one; 0 where either is flat.
    pub(super) fn correlation(&self, place: usize, atlas: &Volume, other: usize) -> f64 {
        let (ours, theirs) = (f64::from(self.target.deviation[place]), f64::from(atlas.deviation[other]));
        if ours < FLAT || theirs < FLAT {
            return 0.0;
        }
        let (a, b) = (&self.target.voxels, &atlas.voxels);
        let products =
            self.patch.iter().map(|&by| a[place.wrapping_add_signed(by)] * b[other.wrapping_add_signed(by)]);
        let mean = f64::from(products.sum::<f32>()) / self.patch.len() as f64;
        let of_means = f64::from(self.target.mean[place]) * f64::from(atlas.mean[other]);
        (mean - of_means) / (ours * theirs)
    }

    /// Where atlases and the places that are searched hold more than one label: nothing is to be decided elsewhere.
    pub(super) fn undecided(&self) -> Vec<bool> {
        let (size, margin) = (self.size, self.margin);
        let voxels = size.iter().product::<usize>();
        let ends = |of: fn(u16, u16) -> u16, begin: u16| -> Vec<u16> {
            let found: Vec<u16> = (0..voxels)
                .into_par_iter()
                .map(|voxel| {
                    let place = self.place(voxel);
                    self.labels.iter().fold(begin, |found, labels| of(found, labels[place]))
                })
                .collect();
            (0..3).fold(found, |found, axis| along(&found, size, axis, margin[axis], of))
        };
        let (least, most) = (ends(u16::min, NOWHERE), ends(u16::max, 0));
        least.into_iter().zip(most).map(|(least, most)| least != most).collect()
    }
}

impl Volume {
    fn new(voxels: Vec<f32>, size: [usize; 3], patch: [usize; 3]) -> Self {
        let squares: Vec<f32> = voxels.par_iter().map(|value| value * value).collect();
        let means = |voxels: Vec<f32>| {
            (0..3).fold(voxels, |found, axis| {
                let summed = along(&found, size, axis, patch[axis], |a, b| a + b);
                let scale = 1.0 / (2 * patch[axis] + 1) as f32;
                summed.into_par_iter().map(|value| value * scale).collect()
            })
        };
        let (mean, squares) = (means(voxels.clone()), means(squares));
        let deviation =
            mean.par_iter().zip(&squares).map(|(mean, square)| (square - mean * mean).max(0.0).sqrt());
        let deviation = deviation.collect();
        Self { voxels, mean, deviation }
    }
}

/// All steps within a box.
fn boxed(radius: [usize; 3]) -> Vec<[isize; 3]> {
    let [d, h, w] = radius.map(|radius| radius as isize);
    let plane = |d: isize| (-h..=h).flat_map(move |h| (-w..=w).map(move |w| [d, h, w]));
    (-d..=d).flat_map(plane).collect()
}

/// The voxels of an axis within a radius put together; beyond an end its voxel goes on.
fn along<T: Copy + Send + Sync>(
    voxels: &[T],
    size: [usize; 3],
    axis: usize,
    radius: usize,
    of: impl Fn(T, T) -> T + Sync,
) -> Vec<T> {
    let stride = [size[1] * size[2], size[2], 1][axis];
    let last = size[axis] - 1;
    (0..voxels.len())
        .into_par_iter()
        .map(|voxel| {
            let index = voxel / stride % size[axis];
            let first = voxel - index * stride;
            let at = |step: isize| voxels[first + index.saturating_add_signed(step).min(last) * stride];
            let radius = radius as isize;
            (1 - radius..=radius).fold(at(-radius), |found, step| of(found, at(step)))
        })
        .collect()
}

/// A volume with a margin in which its end voxels go on.
fn pad<T: Copy + Send + Sync>(voxels: &[T], size: [usize; 3], margin: [usize; 3]) -> Vec<T> {
    let [depth, height, width] = [0, 1, 2].map(|axis| size[axis] + 2 * margin[axis]);
    let inside = |axis: usize, index: usize| index.saturating_sub(margin[axis]).min(size[axis] - 1);
    (0..depth * height)
        .into_par_iter()
        .flat_map_iter(|line| {
            let row = (inside(0, line / height) * size[1] + inside(1, line % height)) * size[2];
            (0..width).map(move |column| voxels[row + inside(2, column)])
        })
        .collect()
}
