//! The content of a file's header about its volume, and figures over its voxels, which are looked at one by
//! one.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{Opened, Scalar, several_volumes};
use crate::{Geometry, Reject};

/// The greatest number of values of a label map that is known as one.
const VALUES: usize = 256;

/// The content of a file's header.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageHead {
    /// The format: `NIfTI`, `MetaImage`, `NRRD`.
    pub format: &'static str,
    /// The type of its voxels, as `int16`.
    pub voxel_type: &'static str,
    /// The grid.
    pub geometry: Geometry,
    /// The number of volumes that lie on the grid, at least 1.
    pub volumes: usize,
    /// The notes on what is worth knowing, by name.
    pub notes: Vec<String>,
    /// The figures over the voxels, where they were read.
    pub figures: Option<ImageFigures>,
}

/// Figures over the voxels of a volume that are numbers.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ImageFigures {
    /// The smallest value, after slope and intercept; none where no voxel is a number.
    pub min: Option<f64>,
    /// The largest value.
    pub max: Option<f64>,
    /// The mean of the values.
    pub mean: Option<f64>,
    /// The number of voxels that are no number.
    #[serde(skip_serializing_if = "is_none")]
    pub no_number: u64,
    /// All values, where these are few whole numbers from 0 on, as in a label map.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub values: Option<BTreeSet<u16>>,
}

impl ImageHead {
    /// The header itself, if the file holds one volume.
    pub(crate) fn of_one_volume(self) -> Result<Self, Reject> {
        if self.volumes == 1 {
            Ok(self)
        } else {
            Err(several_volumes(&format!("{} in one file", self.volumes)))
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde asks it")]
fn is_none(count: &u64) -> bool {
    *count == 0
}

impl Opened {
    /// Reads the header; voxels are read when `wanted` of their bytes says so.
    pub(super) fn head(
        self,
        format: &'static str,
        wanted: impl FnOnce(u64) -> bool,
    ) -> Result<ImageHead, Reject> {
        let Self { geometry, layout, volumes, stream, notes, .. } = self;
        // A file that is too short is refused here already.
        let bytes = layout.needed(&geometry, &stream)?;
        let voxel_type = name(layout.scalar);
        let mut figures = None;
        if wanted(bytes) {
            let mut tally = Tally::default();
            layout.visit(&geometry, stream, |value| tally.add(value))?;
            figures = Some(tally.figures());
        }
        Ok(ImageHead { format, voxel_type, geometry, volumes, notes, figures })
    }
}

/// The name of a type of voxels, as Python has it.
fn name(scalar: Scalar) -> &'static str {
    match scalar {
        Scalar::I8 => "int8",
        Scalar::U8 => "uint8",
        Scalar::I16 => "int16",
        Scalar::U16 => "uint16",
        Scalar::I32 => "int32",
        Scalar::U32 => "uint32",
        Scalar::I64 => "int64",
        Scalar::U64 => "uint64",
        Scalar::F32 => "float32",
        Scalar::F64 => "float64",
    }
}

/// The sums over voxels so far.
#[derive(Default)]
struct Tally {
    range: Option<[f64; 2]>,
    sum: f64,
    count: u64,
    no_number: u64,
    values: BTreeSet<u16>,
    /// Whether a value was none of a label map, or there were too many.
    others: bool,
    /// The last value, which mostly comes again.
    last: Option<f64>,
}

impl Tally {
    fn add(&mut self, value: f64) {
        if !value.is_finite() {
            self.no_number += 1;
            return;
        }
        self.sum += value;
        self.count += 1;
        if self.last == Some(value) {
            return;
        }
        self.last = Some(value);
        self.range = Some(self.range.map_or([value; 2], |[min, max]| [min.min(value), max.max(value)]));
        if self.others {
            return;
        }
        let label = value.round();
        let fits = (0.0..=f64::from(u16::MAX)).contains(&label) && (value - label).abs() < 1e-4;
        self.others = !fits || (self.values.insert(label as u16) && self.values.len() > VALUES);
    }

    fn figures(self) -> ImageFigures {
        let labels = !self.others && self.no_number == 0 && !self.values.is_empty();
        ImageFigures {
            min: self.range.map(|[min, _]| min),
            max: self.range.map(|[_, max]| max),
            mean: self.range.map(|_| self.sum / self.count as f64),
            no_number: self.no_number,
            values: labels.then_some(self.values),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(values: &[f64]) -> ImageFigures {
        let mut tally = Tally::default();
        values.iter().for_each(|&value| tally.add(value));
        tally.figures()
    }

    #[test]
    fn figures_by_hand() {
        let found = figures(&[3.0, 3.0, -1.5, f64::NAN, 0.5]);
        assert_eq!((found.min, found.max, found.mean), (Some(-1.5), Some(3.0), Some(1.25)));
        assert_eq!((found.no_number, found.values), (1, None));
        assert_eq!(figures(&[f64::NAN]), ImageFigures { no_number: 1, ..ImageFigures::default() });
    }

    #[test]
    fn few_whole_numbers_are_values_of_labels() {
        assert_eq!(figures(&[0.0, 2.0, 2.0, 7.0]).values, Some(BTreeSet::from([0, 2, 7])));
        assert_eq!(figures(&[0.0, 0.5]).values, None);
        assert_eq!(figures(&[-1.0, 0.0]).values, None);
        let many: Vec<f64> = (0..300).map(f64::from).collect();
        assert_eq!((figures(&many).values, figures(&many).max), (None, Some(299.0)));
    }
}
