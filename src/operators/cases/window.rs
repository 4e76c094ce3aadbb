//! Clamps intensities to a window and scales them to 0 to 1.

use std::sync::Arc;

use rayon::prelude::*;
use serde::Deserialize;
use tomoflow_connectors::Scan;

use super::intensities;
use crate::operators::registry::{Entry, Stage, Transform};
use crate::operators::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Port, Role, Section, Spec,
};
use crate::operators::value::{Case, Failure};
use crate::voxels::values;

/// The declaration of the type `window`.
pub static SPEC: Spec = Spec {
    name: "window",
    section: Section::Operators,
    summary: "Scales the intensities within a window to 0 to 1, and clips the others.",
    doc: "Intensities from `low` to `high` are mapped linearly to 0 to 1; those below become 0 and those \
          above become 1, infinities as well. A scan with a NaN is refused as `NOT_FINITE`. For CT the \
          bounds are in HU: -160 to 240 shows soft tissue.",
    version: 1,
    inputs: &[Port { name: "cases", accepts: &[Kind::Scan, Kind::Case], many: false }],
    output: Output::SameAsInput,
    aspects: Aspects::Scan,
    fields: &[
        Field {
            name: "low",
            kind: FieldKind::Number { min: -1e9, max: 1e9, unit: "HU" },
            default: Default::Required,
            role: Role::Semantic,
            doc: "The intensity that becomes 0, in HU for CT.",
        },
        Field {
            name: "high",
            kind: FieldKind::Number { min: -1e9, max: 1e9, unit: "HU" },
            default: Default::Required,
            role: Role::Semantic,
            doc: "The intensity that becomes 1, in HU for CT; it lies above `low`.",
        },
    ],
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

/// A window.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct Window {
    /// The intensity that becomes 0.
    pub low: f32,
    /// The intensity that becomes 1.
    pub high: f32,
}

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    let window: Window = crate::operators::read_config(config)?;
    if window.low < window.high {
        return Ok(Stage::Transform(Arc::new(window)));
    }
    Err(vec![FieldProblem::new(
        "high",
        format!("`high` above `low` expected, {} and {} found", window.high, window.low),
        "for soft tissue in CT: low = -160, high = 240",
    )])
}

impl Window {
    fn scaled(self, scan: &Scan) -> Result<Vec<f32>, Failure> {
        if scan.voxels().par_chunks(1 << 16).any(|chunk| chunk.iter().any(|value| value.is_nan())) {
            return Err(values::not_finite());
        }
        let width = self.high - self.low;
        let scale = |&value: &f32| (value.clamp(self.low, self.high) - self.low) / width;
        Ok(scan.voxels().par_iter().with_min_len(1 << 16).map(scale).collect())
    }
}

impl Transform for Window {
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

    fn scaled(voxels: &[f32]) -> Result<Vec<f32>, Failure> {
        let geometry = Geometry::axis_aligned([1, 1, voxels.len()], [1.0; 3]);
        Window { low: -100.0, high: 300.0 }.scaled(&Scan::new(geometry, voxels.to_vec()).unwrap())
    }

    #[test]
    fn the_window_becomes_zero_to_one() {
        let out = scaled(&[-1000.0, -100.0, 0.0, 100.0, 300.0, 3000.0]).unwrap();
        assert_eq!(out, [0.0, 0.0, 0.25, 0.5, 1.0, 1.0]);
    }

    #[test]
    fn infinities_are_clamped_and_nan_is_named() {
        assert_eq!(scaled(&[f32::NEG_INFINITY, f32::INFINITY]).unwrap(), [0.0, 1.0]);
        assert_eq!(scaled(&[f32::NAN]).unwrap_err().code, "NOT_FINITE");
    }

    #[test]
    fn an_empty_window_is_a_problem() {
        for high in [-100.0, -200.0] {
            let config = json!({ "low": -100.0, "high": high });
            assert_eq!(build(config.as_object().unwrap()).err().unwrap()[0].field, "high");
        }
    }
}
