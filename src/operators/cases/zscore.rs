//! Zero mean and unit variance for each scan, or by numbers that are the same for all.

mod of_archive;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use rayon::prelude::*;
use serde::Deserialize;
use tomoflow_connectors::Scan;

use super::intensities::{self, FOREGROUND};
use super::rule::Measured;
use super::tally::Counted;
use crate::operators::registry::{Entry, Stage, Transform};
use crate::operators::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Port, Role, Section, Spec,
};
use crate::operators::value::{Case, Failure};
use crate::voxels::values::{self, Foreground};
use of_archive::OfArchive;

/// Voxels that are summed as one: fixed, so that the sum does not depend on the number of threads.
const CHUNK: usize = 1 << 16;

/// The declaration of the type `zscore`.
pub static SPEC: Spec = Spec {
    name: "zscore",
    section: Section::Operators,
    summary: "Normalises intensities to zero mean and unit variance, scan by scan or by the same numbers for \
              all scans.",
    doc: "The mean is subtracted and the result divided by the standard deviation (over n). Both are \
          computed in double precision over the whole scan, or over its foreground. With `foreground = \
          \"nonzero\"` zeros are left out and stay 0, as in MONAI and nnU-Net; with a number the voxels \
          above it give the statistics, and all voxels are scaled, as in TorchIO. A constant scan becomes \
          zeros. A scan with NaN or infinities is refused as `NOT_FINITE`. Voxels that only pad a DICOM scan \
          (PixelPaddingValue) are scaled with the others, but do not count in the mean or the deviation.\n\n\
          When `mean` and `std` are given, they take the place of the scan's own, as in nnU-Net's scheme for \
          CT, whose values mean the same in all scans: intensities are first clipped to `clip`, then the \
          mean is subtracted and the result divided by the deviation. With `foreground = \"nonzero\"` zeros \
          stay 0 in this case as well.\n\n\
          With `statistics = \"archive\"` mean and deviation are taken over all cases that reach this stage. \
          Each accepted case is measured once, and each has the same weight however many voxels it has, as \
          in nnU-Net, which draws the same number of voxels from each. `foreground = \"labelled\"` counts \
          only voxels that have a label, and so only cases with labels. `clip = { percentiles = [0.5, 99.5] \
          }` is computed with them: a percentile is the least intensity that at least this share of voxels \
          does not exceed, exact for whole numbers up to 8192, and else to one part in 8192. Mean and \
          deviation are those before clipping, as in nnU-Net. Stages that follow wait until all cases are \
          measured. Then the numbers are pinned: cases that come or go later do not change them, and the run \
          says when they would be different by now; `--repin` computes them again. The keys of results hold \
          the numbers, not the rule. Cases of the test part are measured with the others; give `mean` and \
          `std` if they must not be.",
    version: 1,
    inputs: &[Port { name: "cases", accepts: &[Kind::Scan, Kind::Case], many: false }],
    output: Output::SameAsInput,
    aspects: Aspects::Scan,
    fields: &[
        Field { kind: COUNTED, doc: COUNTED_DOC, ..FOREGROUND },
        Field {
            name: "statistics",
            kind: FieldKind::Choice(&["scan", "archive"]),
            default: Default::Json("\"scan\""),
            role: Role::SemanticLater,
            doc: "The scans that mean and deviation are taken over: each scan by itself (`scan`), or all \
                  scans together (`archive`).",
        },
        Field::absent(
            "mean",
            FieldKind::Number { min: -1e9, max: 1e9, unit: "" },
            Role::SemanticLater,
            "The mean that is subtracted, in the scale that the input has; it is given together with `std`. \
             When it is left out, the scan's or the archive's own is.",
        ),
        Field::absent(
            "std",
            FieldKind::Number { min: 1e-8, max: 1e9, unit: "" },
            Role::SemanticLater,
            "The standard deviation by which intensities are divided; it is given together with `mean`.",
        ),
        Field {
            name: "clip",
            kind: FieldKind::Either(&[
                FieldKind::List { of: &FieldKind::Number { min: -1e9, max: 1e9, unit: "" }, len: Some(2) },
                FieldKind::Table(&[Field::required(
                    "percentiles",
                    FieldKind::List {
                        of: &FieldKind::Number { min: 0.0, max: 100.0, unit: "" },
                        len: Some(2),
                    },
                    "The two percentiles over the archive, from 0 to 100, whose intensities are the bounds: \
                     `[0.5, 99.5]`.",
                )]),
            ]),
            default: Default::Absent,
            role: Role::SemanticLater,
            doc: "The least and the greatest intensity, to which intensities are clipped before anything \
                  else. `{ percentiles = [0.5, 99.5] }` takes both from the archive.",
        },
    ],
};

const COUNTED: FieldKind = FieldKind::Either(&[
    FieldKind::Choice(&["none", "nonzero", "labelled"]),
    FieldKind::Number { min: -1e9, max: 1e9, unit: "" },
]);
const COUNTED_DOC: &str = "The voxels that mean and deviation are taken over: all (`none`), those that are \
                           not 0 (`nonzero`), those above a number, or, with `statistics = \"archive\"`, \
                           those with a label (`labelled`).";

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

/// A normalisation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Zscore {
    /// The voxels that count.
    pub foreground: Foreground,
    /// The mean that is taken in place of the scan's own.
    pub mean: Option<f64>,
    /// The deviation that is taken in place of the scan's own.
    pub std: Option<f64>,
    /// The least and the largest intensity.
    pub clip: Option<[f64; 2]>,
}

/// The fields of a pipeline file.
#[derive(Deserialize)]
struct Declared {
    foreground: Counted,
    #[serde(default)]
    statistics: Statistics,
    #[serde(default)]
    mean: Option<f64>,
    #[serde(default)]
    std: Option<f64>,
    #[serde(default)]
    clip: Option<Clip>,
}

#[derive(Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Statistics {
    #[default]
    Scan,
    Archive,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Clip {
    Numbers([f64; 2]),
    Archive { percentiles: [f64; 2] },
}

impl Declared {
    /// Returns the fields that do not go together.
    fn problems(&self) -> Vec<FieldProblem> {
        let mut problems = Vec::new();
        let mut add = |field, message: String, hint| problems.push(FieldProblem::new(field, message, hint));
        let archive = self.statistics == Statistics::Archive;
        if archive && (self.mean.is_some() || self.std.is_some()) {
            let hint = "leave out `statistics`, or `mean` and `std`";
            add("statistics", "the archive gives `mean` and `std`, both found here".to_owned(), hint);
        } else if self.mean.is_some() != self.std.is_some() {
            let field = if self.mean.is_some() { "mean" } else { "std" };
            add(field, "`mean` and `std` expected, one of them found".to_owned(), "mean = 82.9, std = 31.4");
        }
        match self.clip {
            Some(Clip::Numbers([low, high]) | Clip::Archive { percentiles: [low, high] }) if low >= high => {
                let message = format!("a larger end above the smaller expected, {high} and {low} found");
                add("clip", message, "clip = [-1000.0, 1000.0], or clip = { percentiles = [0.5, 99.5] }");
            }
            Some(Clip::Archive { .. }) if !archive => {
                let hint = "add `statistics = \"archive\"`, or give the two intensities";
                add("clip", "percentiles are those of an archive".to_owned(), hint);
            }
            _ => {}
        }
        if self.foreground == Counted::Labelled && !archive {
            let hint =
                "a scan is normalised alike whether it has labels or not; `nonzero` looks at intensities";
            add(
                "foreground",
                "`foreground = \"labelled\"` needs `statistics = \"archive\"`".to_owned(),
                hint,
            );
        }
        if self.mean.is_some() && matches!(self.foreground, Counted::By(Foreground::Above(_))) {
            let message = "`foreground` has no effect where `mean` and `std` are given".to_owned();
            add("foreground", message, "leave it out; `foreground = \"nonzero\"` lets zeros stay 0");
        }
        problems
    }
}

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    let declared: Declared = crate::operators::read_config(config)?;
    let problems = declared.problems();
    if !problems.is_empty() {
        return Err(problems);
    }
    let Declared { foreground: counted, statistics, mean, std, clip } = declared;
    let (clip, percentiles) = match clip {
        Some(Clip::Numbers(clip)) => (Some(clip), None),
        Some(Clip::Archive { percentiles }) => (None, Some(percentiles)),
        None => (None, None),
    };
    if statistics == Statistics::Archive {
        let measured = Measured { counted, percentiles };
        return Ok(Stage::Transform(Arc::new(OfArchive { measured, clip, settled: None })));
    }
    let foreground = match counted {
        Counted::By(foreground) => foreground,
        Counted::Labelled => Foreground::None,
    };
    Ok(Stage::Transform(Arc::new(Zscore { foreground, mean, std, clip })))
}

/// Count, sum, smallest and largest of the foreground of some voxels.
type Sums = (u64, f64, f32, f32);

impl Zscore {
    /// Makes a normalisation by the scan's own mean and deviation.
    pub fn own(foreground: Foreground) -> Self {
        Self { foreground, mean: None, std: None, clip: None }
    }

    fn clipped(&self, value: f32) -> f32 {
        match self.clip {
            Some(_) if self.foreground.leaves(value) => value,
            Some([low, high]) => f64::from(value).max(low).min(high) as f32,
            None => value,
        }
    }

    fn sums(self, voxels: &[f32]) -> Sums {
        let part = |chunk: &[f32]| {
            let kept = chunk.iter().filter(|value| self.foreground.holds(**value));
            kept.fold((0, 0.0, f32::INFINITY, f32::NEG_INFINITY), |(n, sum, least, most), &value| {
                (n + 1, sum + f64::from(value), value.min(least), value.max(most))
            })
        };
        let parts: Vec<Sums> = voxels.par_chunks(CHUNK).map(part).collect();
        parts.into_iter().fold((0, 0.0, f32::INFINITY, f32::NEG_INFINITY), |a, b| {
            (a.0 + b.0, a.1 + b.1, a.2.min(b.2), a.3.max(b.3))
        })
    }

    fn squares(self, voxels: &[f32], mean: f64) -> f64 {
        let part = |chunk: &[f32]| {
            let kept = chunk.iter().filter(|value| self.foreground.holds(**value));
            kept.fold(0.0, |sum, &value| {
                let off = f64::from(value) - mean;
                sum + off * off
            })
        };
        let parts: Vec<f64> = voxels.par_chunks(CHUNK).map(part).collect();
        parts.into_iter().sum()
    }

    fn scaled(self, scan: &Scan, counted: &[f32]) -> Result<Vec<f32>, Failure> {
        let voxels = scan.voxels();
        if !values::all_finite(voxels) {
            return Err(values::not_finite());
        }
        if let (Some(mean), Some(std)) = (self.mean, self.std) {
            let [low, high] = self.clip.unwrap_or([f64::NEG_INFINITY, f64::INFINITY]);
            return Ok(values::mapped(voxels, |value| {
                if self.foreground.leaves(value) {
                    return value;
                }
                ((f64::from(value).max(low).min(high) - mean) / std) as f32
            }));
        }
        match self.clip {
            Some(_) => {
                let clipped = |values| values::mapped(values, |value| self.clipped(value));
                self.by_its_own(&clipped(voxels), &clipped(counted))
            }
            None => self.by_its_own(voxels, counted),
        }
    }

    /// Normalises by the mean and the deviation of these voxels.
    fn by_its_own(self, voxels: &[f32], counted: &[f32]) -> Result<Vec<f32>, Failure> {
        let (count, sum, least, most) = self.sums(counted);
        if count == 0 {
            self.foreground.may_be_empty()?;
        }
        // Compared as they are: the deviation of a constant may come out a little above 0.
        if least >= most {
            return Ok(vec![0.0; voxels.len()]);
        }
        let mean = sum / count as f64;
        let deviation = (self.squares(counted, mean) / count as f64).sqrt();
        Ok(values::mapped(voxels, |value| {
            if self.foreground.leaves(value) {
                return 0.0;
            }
            ((f64::from(value) - mean) / deviation) as f32
        }))
    }
}

impl Transform for Zscore {
    fn apply(&self, case: &Case) -> Result<Case, Failure> {
        let voxels = self.scaled(&case.scan, &intensities::counted(case)?)?;
        intensities::replace(case, voxels)
    }

    fn minds_padding(&self) -> bool {
        self.mean.is_none()
    }
}
