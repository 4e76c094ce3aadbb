//! Zero mean and unit variance for each scan.

use std::sync::Arc;

use rayon::prelude::*;
use serde::Deserialize;
use tomoflow_connectors::Scan;

use super::intensities::{self, FOREGROUND, Foreground};
use super::registry::{Entry, Stage, Transform};
use super::spec::{Aspects, Config, FieldProblem, Kind, Output, Port, Section, Spec};
use super::value::{Case, Failure};

/// Voxels that are summed as one: fixed, so that the sum does not depend on the number of threads.
const CHUNK: usize = 1 << 16;

/// What the type declares.
pub static SPEC: Spec = Spec {
    name: "zscore",
    section: Section::Operators,
    summary: "Intensities with zero mean and unit variance, scan by scan.",
    doc: "Mean and standard deviation (divided by n) are taken in double precision over the whole scan, or \
          over its foreground. With `foreground = \"nonzero\"` zeros take no part and stay 0, as in MONAI \
          and nnU-Net; with a number the voxels above it give the statistics and all voxels are scaled, as \
          in TorchIO. A constant scan becomes zeros. NaN and infinities are refused as `NOT_FINITE`.",
    version: 1,
    inputs: &[Port { name: "cases", accepts: &[Kind::Scan, Kind::Case], many: false }],
    output: Output::SameAsInput,
    aspects: Aspects::Scan,
    fields: &[FOREGROUND],
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

/// A normalisation.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct Zscore {
    /// Which voxels count.
    pub foreground: Foreground,
}

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    let zscore: Zscore = super::read_config(config)?;
    Ok(Stage::Transform(Arc::new(zscore)))
}

/// Count, sum, smallest and largest of the foreground of some voxels.
type Sums = (u64, f64, f32, f32);

impl Zscore {
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

    fn scaled(self, scan: &Scan) -> Result<Vec<f32>, Failure> {
        let voxels = scan.voxels();
        if !intensities::all_finite(voxels) {
            return Err(intensities::not_finite());
        }
        let (count, sum, least, most) = self.sums(voxels);
        if count == 0 {
            self.foreground.may_be_empty()?;
        }
        // Compared as they are: the deviation of a constant may come out a little above 0.
        if least >= most {
            return Ok(vec![0.0; voxels.len()]);
        }
        let mean = sum / count as f64;
        let deviation = (self.squares(voxels, mean) / count as f64).sqrt();
        let scale = |value: f32| {
            if self.foreground == Foreground::Nonzero && value == 0.0 {
                0.0
            } else {
                ((f64::from(value) - mean) / deviation) as f32
            }
        };
        let mut output = vec![0.0; voxels.len()];
        output.par_chunks_mut(CHUNK).zip(voxels.par_chunks(CHUNK)).for_each(|(output, voxels)| {
            output.iter_mut().zip(voxels).for_each(|(out, &value)| *out = scale(value));
        });
        Ok(output)
    }
}

impl Transform for Zscore {
    fn apply(&self, case: &Case) -> Result<Case, Failure> {
        let voxels = self.scaled(&case.scan)?;
        intensities::replace(case, voxels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tomoflow_connectors::Geometry;

    fn scaled(foreground: Foreground, voxels: &[f32]) -> Result<Vec<f32>, Failure> {
        let geometry = Geometry::axis_aligned([1, 1, voxels.len()], [1.0; 3]);
        Zscore { foreground }.scaled(&Scan::new(geometry, voxels.to_vec()).unwrap())
    }

    #[test]
    fn mean_and_deviation_are_taken_out() {
        assert_eq!(scaled(Foreground::None, &[1.0, 3.0]).unwrap(), [-1.0, 1.0]);
        assert_eq!(scaled(Foreground::None, &[0.0, 0.0, 4.0, 4.0]).unwrap(), [-1.0, -1.0, 1.0, 1.0]);
    }

    #[test]
    fn zeros_outside_the_foreground_stay() {
        assert_eq!(scaled(Foreground::Nonzero, &[0.0, 2.0, 4.0, 0.0]).unwrap(), [0.0, -1.0, 1.0, 0.0]);
        assert_eq!(scaled(Foreground::Above(1.0), &[0.0, 2.0, 4.0]).unwrap(), [-3.0, -1.0, 1.0]);
    }

    #[test]
    fn constant_scans_become_zeros() {
        assert_eq!(scaled(Foreground::None, &[0.1; 7]).unwrap(), [0.0; 7]);
        assert_eq!(scaled(Foreground::None, &[5.0]).unwrap(), [0.0]);
        assert_eq!(scaled(Foreground::Nonzero, &[0.0; 4]).unwrap(), [0.0; 4]);
        assert_eq!(scaled(Foreground::Nonzero, &[0.0, 3.0]).unwrap(), [0.0; 2]);
    }

    #[test]
    fn nan_and_an_empty_foreground_are_named() {
        assert_eq!(scaled(Foreground::None, &[1.0, f32::NAN]).unwrap_err().code, "NOT_FINITE");
        assert_eq!(scaled(Foreground::None, &[1.0, f32::INFINITY]).unwrap_err().code, "NOT_FINITE");
        assert_eq!(scaled(Foreground::Above(9.0), &[1.0, 2.0]).unwrap_err().code, "NO_FOREGROUND");
    }

    #[test]
    fn words_and_numbers_choose_the_foreground() {
        let read = |value: serde_json::Value| -> Zscore {
            serde_json::from_value(json!({ "foreground": value })).unwrap()
        };
        assert_eq!(read(json!("none")).foreground, Foreground::None);
        assert_eq!(read(json!("nonzero")).foreground, Foreground::Nonzero);
        assert_eq!(read(json!(-500)).foreground, Foreground::Above(-500.0));
    }

    #[test]
    fn many_chunks_give_unit_variance() {
        let voxels: Vec<f32> = (0..200_000).map(|i| 1e4 + (i % 1000) as f32).collect();
        let out = scaled(Foreground::None, &voxels).unwrap();
        let mean = out.iter().map(|&v| f64::from(v)).sum::<f64>() / out.len() as f64;
        let variance = out.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / out.len() as f64;
        assert!(mean.abs() < 1e-6 && (variance - 1.0).abs() < 1e-6);
    }
}
