//! Voxels on a geometry. Intensities and classes are different types: they are never resampled alike.

use crate::geometry::Geometry;

/// Voxels in `[D, H, W]` order, the last axis fastest.
#[derive(Clone, Debug, PartialEq)]
pub struct Volume<T> {
    geometry: Geometry,
    voxels: Vec<T>,
}

/// Intensities (HU for CT; the vendor's own scale for MR).
pub type Scan = Volume<f32>;

/// Intensities that are integers of 16 bits, in half the memory.
pub type ShortScan = Volume<i16>;

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for i16 {}
}

/// A voxel of a scan: of a [`Scan`], or of a [`ShortScan`].
pub trait Intensity: Copy + sealed::Sealed {
    /// The voxel as an integer of 16 bits, when it is one exactly.
    fn short(self) -> Option<i16>;

    /// The voxel as a float.
    fn float(self) -> f32;
}

impl Intensity for f32 {
    fn short(self) -> Option<i16> {
        let short = self as i16;
        (Self::from(short) == self).then_some(short)
    }

    fn float(self) -> f32 {
        self
    }
}

impl Intensity for i16 {
    fn short(self) -> Option<i16> {
        Some(self)
    }

    fn float(self) -> f32 {
        self.into()
    }
}

/// Integer classes, 0 for background.
pub type LabelMap = Volume<u16>;

/// Voxels that do not fit their geometry.
#[derive(Debug, thiserror::Error)]
#[error("a grid of {expected} voxels was given {found}")]
pub struct SizeMismatch {
    /// The number of voxels of the geometry.
    pub expected: usize,
    /// The number of voxels given.
    pub found: usize,
}

impl<T> Volume<T> {
    /// Puts voxels on a grid.
    ///
    /// # Errors
    /// [`SizeMismatch`] when the counts differ.
    pub fn new(geometry: Geometry, voxels: Vec<T>) -> Result<Self, SizeMismatch> {
        if geometry.voxels() != voxels.len() {
            return Err(SizeMismatch { expected: geometry.voxels(), found: voxels.len() });
        }
        Ok(Self { geometry, voxels })
    }

    /// The grid.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The size of the grid, `[D, H, W]`.
    pub fn size(&self) -> [usize; 3] {
        self.geometry.size
    }

    /// All voxels, the last axis fastest.
    pub fn voxels(&self) -> &[T] {
        &self.voxels
    }

    /// All voxels, to be changed in place.
    pub fn voxels_mut(&mut self) -> &mut [T] {
        &mut self.voxels
    }

    /// The voxels alone.
    pub fn into_voxels(self) -> Vec<T> {
        self.voxels
    }

    /// One slice `[H, W]`; panics past the last one, like an index.
    pub fn slice(&self, index: usize) -> &[T] {
        let area = self.geometry.size[1] * self.geometry.size[2];
        &self.voxels[index * area..(index + 1) * area]
    }

    /// The bytes that the voxels take, for budgets.
    pub fn bytes(&self) -> usize {
        self.voxels.len() * size_of::<T>()
    }
}

impl<T: Clone + Default> Volume<T> {
    /// A grid filled with zeros.
    pub fn zeros(geometry: Geometry) -> Self {
        let voxels = vec![T::default(); geometry.voxels()];
        Self { geometry, voxels }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn voxels_must_fit() {
        let geometry = Geometry::axis_aligned([1, 2, 2], [1.0; 3]);
        let error = Scan::new(geometry, vec![0.0; 3]).unwrap_err();
        assert_eq!((error.expected, error.found), (4, 3));
    }
}
