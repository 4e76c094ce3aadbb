//! Brings each scan's histogram to a reference, given by landmarks: piecewise linear between percentiles.

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

/// The percentiles that landmarks stand for, in TorchIO's order.
pub const PERCENTS: [f64; 13] = [1.0, 10.0, 20.0, 25.0, 30.0, 40.0, 50.0, 60.0, 70.0, 75.0, 80.0, 90.0, 99.0];
/// The places of the percentiles between which TorchIO draws lines: the quartiles at 25 and 75 are not among
/// them.
const USED: [usize; 11] = [0, 1, 2, 4, 5, 6, 7, 8, 10, 11, 12];
/// Percentiles of a scan that lie nearer to each other are one (TorchIO).
const SAME: f64 = 1e-5;

/// The declaration of the type `histogram_match`.
pub static SPEC: Spec = Spec {
    name: "histogram_match",
    section: Section::Operators,
    summary: "Maps the intensities of each scan so that its percentiles become those of a reference.",
    doc: "The percentiles of each scan are mapped to the `landmarks`, linearly between them and beyond the \
          outermost, so that one tissue has about the same intensity on every scanner: the standardisation \
          of Nyúl, Udupa and Zhang (2000), as TorchIO's `HistogramStandardization` does it, with the \
          landmarks that its `train` gives.\n\n\
          There are 13 landmarks, for the percentiles 1, 10, 20, 25, 30, 40, 50, 60, 70, 75, 80, 90 and 99; \
          as in TorchIO, those of 25 and 75 are given but not used. The percentiles of a scan are exact, \
          interpolated linearly, and taken over the whole scan or over its foreground: with `foreground = \
          \"nonzero\"` zeros are left out and stay 0; with a number the voxels above it give the \
          percentiles, and all voxels are mapped. Where two percentiles of a scan are equal, intensities \
          between them become the landmark of the lower one, so that a constant scan becomes the landmark of \
          percentile 90. NaN and infinities take no part and stay as they are. A scan without a finite voxel \
          is refused as `NOT_FINITE`, and one without a voxel above the number of `foreground` as \
          `NO_FOREGROUND`.",
    version: 1,
    inputs: &[Port { name: "cases", accepts: &[Kind::Scan, Kind::Case], many: false }],
    output: Output::SameAsInput,
    aspects: Aspects::Scan,
    fields: &[
        Field {
            name: "landmarks",
            kind: FieldKind::List {
                of: &FieldKind::Number { min: -1e9, max: 1e9, unit: "" },
                len: Some(PERCENTS.len()),
            },
            default: Default::Required,
            role: Role::Semantic,
            doc: "The reference's intensities at the percentiles 1, 10, 20, 25, 30, 40, 50, 60, 70, 75, 80, 90 and 99.",
        },
        FOREGROUND,
    ],
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

/// A standardisation.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct HistogramMatch {
    /// The intensities that the percentiles of [`PERCENTS`] become.
    pub landmarks: [f64; PERCENTS.len()],
    /// The voxels that count.
    pub foreground: Foreground,
}

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    let found: HistogramMatch = crate::operators::read_config(config)?;
    let landmarks = found.landmarks;
    let falls = |place: &usize| landmarks[place - 1] > landmarks[*place];
    let message = match (1..landmarks.len()).find(falls) {
        Some(place) => {
            format!(
                "landmarks in ascending order expected, {} after {} found",
                landmarks[place],
                landmarks[place - 1]
            )
        }
        None if landmarks[0] == landmarks[PERCENTS.len() - 1] => {
            "landmarks of more than one intensity expected, all are the same".to_owned()
        }
        None => return Ok(Stage::Transform(Arc::new(found))),
    };
    let hint = "they are a reference's intensities at ascending percentiles";
    Err(vec![FieldProblem::new("landmarks", message, hint)])
}

/// A line from each percentile of a scan on: where it begins, its slope and what it adds.
struct Lines {
    /// Nine percentiles between ten lines, ascending.
    bounds: [f64; USED.len() - 2],
    slopes: [f64; USED.len() - 1],
    added: [f64; USED.len() - 1],
}

impl Lines {
    fn new(percentiles: &[f64; USED.len()], landmarks: &[f64; USED.len()]) -> Self {
        let slope = |line: usize| {
            let width = percentiles[line + 1] - percentiles[line];
            if width < SAME { 0.0 } else { (landmarks[line + 1] - landmarks[line]) / width }
        };
        let slopes = std::array::from_fn(slope);
        let added = std::array::from_fn(|line| landmarks[line] - slopes[line] * percentiles[line]);
        Self { bounds: std::array::from_fn(|bound| percentiles[bound + 1]), slopes, added }
    }

    fn at(&self, value: f32) -> f32 {
        let value = f64::from(value);
        // The line is found without a jump: it is the number of percentiles that are not above.
        let line: usize = self.bounds.iter().map(|bound| usize::from(value >= *bound)).sum();
        (value * self.slopes[line] + self.added[line]) as f32
    }
}

impl HistogramMatch {
    fn matched_by(&self, counted: &[f32], voxels: &[f32]) -> Result<Vec<f32>, Failure> {
        let percents = USED.map(|place| PERCENTS[place]);
        let found = ranks::percentiles(counted, self.foreground, &percents);
        let Some(percentiles) = found.and_then(|found| found.try_into().ok()) else {
            return values::without_foreground(voxels, self.foreground);
        };
        let lines = Lines::new(&percentiles, &USED.map(|place| self.landmarks[place]));
        let stays = |value: f32| !value.is_finite() || self.foreground.leaves(value);
        Ok(values::mapped(voxels, |value| if stays(value) { value } else { lines.at(value) }))
    }
}

impl Transform for HistogramMatch {
    fn apply(&self, case: &Case) -> Result<Case, Failure> {
        let voxels = self.matched_by(&intensities::counted(case)?, case.scan.voxels())?;
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

    impl HistogramMatch {
        fn matched(&self, voxels: &[f32]) -> Result<Vec<f32>, Failure> {
            self.matched_by(voxels, voxels)
        }
    }

    /// Landmarks twice as far apart as the percentiles of 0 to 100.
    fn doubled(foreground: Foreground) -> HistogramMatch {
        HistogramMatch { landmarks: PERCENTS.map(|percent| 2.0 * percent), foreground }
    }

    fn ramp() -> Vec<f32> {
        (0..=100).map(|value| value as f32).collect()
    }

    #[test]
    fn percentiles_become_landmarks_and_lines_go_on_beyond() {
        let found = doubled(Foreground::None).matched(&ramp()).unwrap();
        assert!(
            found.iter().zip(ramp()).all(|(found, value)| (found - 2.0 * value).abs() < 1e-4),
            "{found:?}"
        );
    }

    #[test]
    fn between_landmarks_it_is_linear() {
        let mut bent = doubled(Foreground::None);
        // The middle is moved: 50 becomes 110, and from there to 60 it is flat.
        bent.landmarks[6] = 110.0;
        bent.landmarks[7] = 110.0;
        let found = bent.matched(&ramp()).unwrap();
        let expected =
            [(40, 80.0), (45, 95.0), (50, 110.0), (55, 110.0), (60, 110.0), (65, 125.0), (70, 140.0)];
        for (value, expected) in expected {
            assert!((found[value] - expected).abs() < 1e-4, "{value}: {}", found[value]);
        }
    }

    #[test]
    fn the_quartiles_take_no_part() {
        let mut other = doubled(Foreground::None);
        (other.landmarks[3], other.landmarks[9]) = (59.0, 159.0);
        assert_eq!(other.matched(&ramp()), doubled(Foreground::None).matched(&ramp()));
    }

    #[test]
    fn a_foreground_gives_the_percentiles() {
        let mut scan = vec![0.0; 500];
        scan.extend(ramp().iter().map(|value| value + 1000.0));
        let found = doubled(Foreground::Nonzero).matched(&scan).unwrap();
        assert_eq!(found[..500], [0.0; 500]);
        assert!((found[550] - 100.0).abs() < 1e-3);
        let found = doubled(Foreground::Above(999.0)).matched(&scan).unwrap();
        // The first line goes on: 1000 below the least becomes 2000 below.
        assert!((found[0] + 2000.0).abs() < 1e-2 && (found[550] - 100.0).abs() < 1e-3);
    }

    #[test]
    fn equal_percentiles_become_the_lower_landmark() {
        let found = doubled(Foreground::None).matched(&[5.0; 4]).unwrap();
        assert_eq!(found, [180.0; 4]);
        assert_eq!(doubled(Foreground::None).matched(&[5.0]).unwrap(), [180.0]);
    }

    #[test]
    fn what_is_no_number_stays_and_takes_no_part() {
        let mut scan = ramp();
        scan.extend([f32::NAN, f32::INFINITY, f32::NEG_INFINITY]);
        let found = doubled(Foreground::None).matched(&scan).unwrap();
        assert_eq!(found[..101], doubled(Foreground::None).matched(&ramp()).unwrap());
        assert!(found[101].is_nan());
        assert_eq!(found[102..], [f32::INFINITY, f32::NEG_INFINITY]);
    }

    #[test]
    fn nothing_to_learn_from_has_an_answer() {
        assert_eq!(doubled(Foreground::Nonzero).matched(&[0.0; 3]).unwrap(), [0.0; 3]);
        assert_eq!(doubled(Foreground::None).matched(&[f32::NAN]).unwrap_err().code, "NOT_FINITE");
        assert_eq!(doubled(Foreground::Above(9.0)).matched(&[1.0]).unwrap_err().code, "NO_FOREGROUND");
    }

    #[test]
    fn landmarks_ascend() {
        let problem = |landmarks: [f64; 13]| {
            let config = json!({ "landmarks": landmarks, "foreground": "none" });
            build(config.as_object().unwrap()).err().map(|mut problems| problems.remove(0).message)
        };
        assert_eq!(problem(PERCENTS), None);
        let mut falling = PERCENTS;
        falling[4] = 12.0;
        assert_eq!(problem(falling).unwrap(), "landmarks in ascending order expected, 12 after 25 found");
        assert!(problem([3.0; 13]).unwrap().contains("all are the same"));
    }
}
