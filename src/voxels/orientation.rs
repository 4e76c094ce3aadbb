//! Axes exchanged and turned round: which one of a grid points where, and voxels that follow.

use rayon::prelude::*;
use tomoflow_connectors::volume::SizeMismatch;
use tomoflow_connectors::{Geometry, Volume, VoxelIndex};

/// A reorientation: for columns, rows and slices, the axis of patient space and whether they grow along it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reorient([(usize, bool); 3]);

impl Reorient {
    /// Reads three letters; `None` when they do not name three axes.
    ///
    /// # Examples
    /// ```
    /// use tomoflow::operators::cases::reorient::Reorient;
    /// assert!(Reorient::parse("RAS").is_some());
    /// assert!(Reorient::parse("RLS").is_none());
    /// ```
    pub fn parse(axes: &str) -> Option<Self> {
        let side = |letter: char| match letter {
            'L' => Some((0, true)),
            'R' => Some((0, false)),
            'P' => Some((1, true)),
            'A' => Some((1, false)),
            'S' => Some((2, true)),
            'I' => Some((2, false)),
            _ => None,
        };
        let sides: Vec<_> = axes.chars().map(side).collect::<Option<_>>()?;
        let sides: [(usize, bool); 3] = sides.try_into().ok()?;
        (0..3).all(|axis| sides.iter().any(|(named, _)| *named == axis)).then_some(Self(sides))
    }

    /// The grid that a scan of this grid has afterwards.
    pub fn grid(&self, old: &Geometry) -> Geometry {
        self.turn(old).geometry(old)
    }

    /// What it is on this grid.
    pub(crate) fn turn(&self, geometry: &Geometry) -> Turn {
        let along = along_patient(geometry);
        // Columns are axis 2, rows axis 1, slices axis 0.
        let [from, flip] = [0, 1].map(|part| {
            [2, 1, 0].map(|letter: usize| {
                let (patient, grows) = self.0[letter];
                let old = along[patient];
                if part == 0 { old } else { usize::from((geometry.steps_mm[old][patient] >= 0.0) != grows) }
            })
        });
        Turn { from, flip: flip.map(|flip| flip == 1), size: geometry.size }
    }
}

/// For each axis of patient space, the axis of the grid that points along it, so that together they point best.
fn along_patient(geometry: &Geometry) -> [usize; 3] {
    const ORDERS: [[usize; 3]; 6] = [[2, 1, 0], [1, 2, 0], [2, 0, 1], [0, 1, 2], [1, 0, 2], [0, 2, 1]];
    let spacing = geometry.spacing_mm();
    let share = |order: [usize; 3]| -> f64 {
        (0..3).map(|patient| geometry.steps_mm[order[patient]][patient].abs() / spacing[order[patient]]).sum()
    };
    // The first of equals: a scan at 45 degrees keeps the axes it has.
    ORDERS.into_iter().rev().max_by(|a, b| share(*a).total_cmp(&share(*b))).unwrap_or(ORDERS[0])
}

/// For each new axis, the old one and whether it is turned round.
pub(crate) struct Turn {
    from: [usize; 3],
    flip: [bool; 3],
    size: [usize; 3],
}

impl Turn {
    /// Whether nothing changes.
    pub(crate) fn is_identity(&self) -> bool {
        self.from == [0, 1, 2] && self.flip == [false; 3]
    }

    fn geometry(&self, old: &Geometry) -> Geometry {
        let mut first = [0.0; 3];
        let mut new = old.clone();
        for axis in 0..3 {
            let from = self.from[axis];
            new.size[axis] = self.size[from];
            new.steps_mm[axis] = old.steps_mm[from];
            if self.flip[axis] {
                new.steps_mm[axis] = new.steps_mm[axis].map(|mm| -mm);
                first[from] = self.size[from].saturating_sub(1) as f64;
            }
        }
        new.origin_mm = old.to_patient(VoxelIndex(first)).0;
        new
    }

    /// A volume after it.
    ///
    /// # Errors
    /// When the volume lies on another grid than the one that it was made for.
    pub(crate) fn volume<T: Copy + Send + Sync>(&self, old: &Volume<T>) -> Result<Volume<T>, SizeMismatch> {
        let geometry = self.geometry(old.geometry());
        let strides = [self.size[1] * self.size[2], self.size[2], 1];
        let offsets = [0, 1, 2].map(|axis: usize| -> Vec<usize> {
            let (count, stride) = (geometry.size[axis], strides[self.from[axis]]);
            let at = |index: usize| if self.flip[axis] { count - 1 - index } else { index };
            (0..count).map(|index| at(index) * stride).collect()
        });
        let [slices, rows, columns] = &offsets;
        // A copy has the right length; each voxel is replaced.
        let mut voxels = old.voxels().to_vec();
        voxels.par_chunks_exact_mut(columns.len()).enumerate().for_each(|(line, out)| {
            let source = &old.voxels()[slices[line / rows.len()] + rows[line % rows.len()]..];
            for (out, column) in out.iter_mut().zip(columns) {
                *out = source[*column];
            }
        });
        Volume::new(geometry, voxels)
    }
}
