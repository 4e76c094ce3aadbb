//! Scales intensities so that two percentiles of each scan come to lie where a network expects them.

use std::sync::Arc;

use serde::Deserialize;

use super::intensities::{self, FOREGROUND};
use crate::operators::registry::{Entry, Stage, Transform};
use crate::operators::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Port, Role, Section, Spec,
};
use crate::operators::value::{Case, Failure};
use crate::voxels::ranks;
use crate::voxels::values::{self, Foreground};

const PERCENT: FieldKind = FieldKind::Number { min: 0.0, max: 100.0, unit: "%" };
const ENDS: FieldKind =
    FieldKind::List { of: &FieldKind::Number { min: -1e9, max: 1e9, unit: "" }, len: Some(2) };

/// The declaration of the type `percentiles`.
pub static SPEC: Spec = Spec {
    name: "percentiles",
    section: Section::Operators,
    summary: "Scales the intensities between two percentiles of each scan to a range.",
    doc: "The percentiles `lower` and `upper` are mapped to the ends of `to`, intensities between them \
          linearly, and with `clip` intensities beyond them become an end (MONAI's \
          `ScaleIntensityRangePercentiles`). This suits MR, whose scale is the scanner's own: a few very \
          bright voxels hardly change the percentiles, but do change mean and deviation.\n\n\
          Percentiles are exact, interpolated linearly between neighbours as in NumPy, and taken over the \
          whole scan or over its foreground, as in `zscore`: with `foreground = \"nonzero\"` zeros are left \
          out and stay 0; with a number the voxels above it give the percentiles, and all voxels are scaled. \
          NaN and infinities are left out, and so are voxels that only pad a DICOM scan (PixelPaddingValue); \
          NaN stays NaN. Where both percentiles are equal, as in a constant scan, they become `to[0]`: \
          intensities are shifted without being scaled, as in MONAI, then clipped. A scan without a finite \
          voxel is refused as `NOT_FINITE`, and one without a voxel above the number of `foreground` as \
          `NO_FOREGROUND`.",
    version: 1,
    inputs: &[Port { name: "cases", accepts: &[Kind::Scan, Kind::Case], many: false }],
    output: Output::SameAsInput,
    aspects: Aspects::Scan,
    fields: &[
        Field {
            name: "lower",
            kind: PERCENT,
            default: Default::Json("0.5"),
            role: Role::Semantic,
            doc: "The percentile that is mapped to the first end of `to`, from 0 to 100.",
        },
        Field {
            name: "upper",
            kind: PERCENT,
            default: Default::Json("99.5"),
            role: Role::Semantic,
            doc: "The percentile that is mapped to the second end of `to`, from 0 to 100; it is greater than \
                  `lower`.",
        },
        Field {
            name: "to",
            kind: ENDS,
            default: Default::Json("[0.0, 1.0]"),
            role: Role::Semantic,
            doc: "The two values that `lower` and `upper` are mapped to.",
        },
        Field {
            name: "clip",
            kind: FieldKind::Bool,
            default: Default::Json("true"),
            role: Role::Semantic,
            doc: "Whether intensities beyond the percentiles become an end of `to`.",
        },
        FOREGROUND,
    ],
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

/// A scaling by percentiles.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct Percentiles {
    /// The percentile that becomes `to[0]`, 0 to 100.
    pub lower: f64,
    /// The percentile that becomes `to[1]`, 0 to 100.
    pub upper: f64,
    /// The intensities that the two percentiles become.
    pub to: [f64; 2],
    /// Whether what lies beyond becomes an end.
    pub clip: bool,
    /// The voxels that count.
    pub foreground: Foreground,
}

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    let percentiles: Percentiles = crate::operators::read_config(config)?;
    let mut problems = Vec::new();
    let mut ascending = |field, names: &str, low: f64, high: f64, hint| {
        if low >= high {
            let message = format!("{names} expected, {high} and {low} found");
            problems.push(FieldProblem::new(field, message, hint));
        }
    };
    let Percentiles { lower, upper, to: [first, second], .. } = percentiles;
    ascending("upper", "`upper` above `lower`", lower, upper, "lower = 0.5, upper = 99.5");
    ascending("to", "a second end above the first", first, second, "to = [0.0, 1.0]");
    if problems.is_empty() { Ok(Stage::Transform(Arc::new(percentiles))) } else { Err(problems) }
}

impl Percentiles {
    fn scaled_by(&self, counted: &[f32], voxels: &[f32]) -> Result<Vec<f32>, Failure> {
        let Some(found) = ranks::percentiles(counted, self.foreground, &[self.lower, self.upper]) else {
            return values::without_foreground(voxels, self.foreground);
        };
        let [low, high] = [found[0], found[1]];
        let [first, second] = self.to;
        let slope = if high > low { (second - first) / (high - low) } else { 1.0 };
        let scale = |value: f32| {
            if self.foreground.leaves(value) {
                return value;
            }
            let scaled = (f64::from(value) - low) * slope + first;
            (if self.clip { scaled.clamp(first, second) } else { scaled }) as f32
        };
        Ok(values::mapped(voxels, scale))
    }
}

impl Transform for Percentiles {
    fn apply(&self, case: &Case) -> Result<Case, Failure> {
        let voxels = self.scaled_by(&intensities::counted(case)?, case.scan.voxels())?;
        intensities::replace(case, voxels)
    }

    fn minds_padding(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    impl Percentiles {
        fn scaled(&self, voxels: &[f32]) -> Result<Vec<f32>, Failure> {
            self.scaled_by(voxels, voxels)
        }
    }

    const QUARTERS: Percentiles =
        Percentiles { lower: 25.0, upper: 75.0, to: [0.0, 1.0], clip: true, foreground: Foreground::None };

    #[test]
    fn percentiles_become_the_ends() {
        let scan = [0.0, 1.0, 2.0, 3.0, 4.0];
        assert_eq!(QUARTERS.scaled(&scan).unwrap(), [0.0, 0.0, 0.5, 1.0, 1.0]);
        let free = Percentiles { clip: false, to: [-1.0, 1.0], ..QUARTERS };
        assert_eq!(free.scaled(&scan).unwrap(), [-2.0, -1.0, 0.0, 1.0, 2.0]);
    }

    #[test]
    fn between_two_voxels_they_are_interpolated() {
        // The quarters of two voxels lie at 0.25 and 0.75 of the way.
        assert_eq!(QUARTERS.scaled(&[0.0, 4.0]).unwrap(), [0.0, 1.0]);
        let free = Percentiles { clip: false, ..QUARTERS };
        assert_eq!(free.scaled(&[4.0, 0.0]).unwrap(), [1.5, -0.5]);
    }

    #[test]
    fn a_foreground_gives_the_percentiles() {
        let nonzero = Percentiles { foreground: Foreground::Nonzero, to: [1.0, 2.0], ..QUARTERS };
        let found = nonzero.scaled(&[0.0, 10.0, 11.0, 12.0, -0.0, 13.0, 14.0, 0.0]).unwrap();
        assert_eq!(found, [0.0, 1.0, 1.0, 1.5, 0.0, 2.0, 2.0, 0.0]);
        let above = Percentiles { foreground: Foreground::Above(9.0), clip: false, ..QUARTERS };
        let found = above.scaled(&[0.0, 10.0, 11.0, 12.0, 13.0, 14.0, 9.0]).unwrap();
        assert_eq!(found, [-5.5, -0.5, 0.0, 0.5, 1.0, 1.5, -1.0]);
    }

    #[test]
    fn what_is_no_number_takes_no_part() {
        let scan = [f32::NAN, 0.0, f32::INFINITY, 1.0, 2.0, f32::NEG_INFINITY, 3.0, 4.0, -f32::NAN];
        let found = QUARTERS.scaled(&scan).unwrap();
        assert!(found[0].is_nan() && found[8].is_nan());
        assert_eq!(found[1..8], [0.0, 1.0, 0.0, 0.5, 0.0, 1.0, 1.0]);
    }

    #[test]
    fn a_constant_scan_becomes_the_first_end() {
        let to = Percentiles { to: [-1.0, 1.0], ..QUARTERS };
        assert_eq!(to.scaled(&[7.25; 5]).unwrap(), [-1.0; 5]);
        assert_eq!(to.scaled(&[7.25]).unwrap(), [-1.0]);
        // All but a few voxels alike: these are moved as the others are.
        let found = to.scaled(&[0.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.5, 9.0]).unwrap();
        assert_eq!(found, [-1.0, -1.0, -1.0, -1.0, -1.0, -1.0, -1.0, -1.0, -0.5, 1.0]);
    }

    #[test]
    fn nothing_to_learn_from_has_an_answer() {
        let nonzero = Percentiles { foreground: Foreground::Nonzero, ..QUARTERS };
        assert_eq!(nonzero.scaled(&[0.0; 4]).unwrap(), [0.0; 4]);
        assert_eq!(QUARTERS.scaled(&[f32::NAN, f32::INFINITY]).unwrap_err().code, "NOT_FINITE");
        let above = Percentiles { foreground: Foreground::Above(9.0), ..QUARTERS };
        assert_eq!(above.scaled(&[1.0, 2.0]).unwrap_err().code, "NO_FOREGROUND");
    }

    #[test]
    fn what_has_no_width_is_a_problem() {
        let fields = |config: serde_json::Value| -> Vec<String> {
            let problems = build(config.as_object().unwrap()).err().unwrap();
            problems.into_iter().map(|problem| problem.field).collect()
        };
        let config = |lower: f64, upper: f64, to: [f64; 2]| {
            json!({
                "lower": lower, "upper": upper, "to": to, "clip": true, "foreground": "none",
            })
        };
        assert_eq!(fields(config(50.0, 50.0, [0.0, 1.0])), ["upper"]);
        assert_eq!(fields(config(60.0, 50.0, [1.0, 1.0])), ["upper", "to"]);
        assert!(build(config(0.0, 100.0, [-1.0, 1.0]).as_object().unwrap()).is_ok());
    }
}
