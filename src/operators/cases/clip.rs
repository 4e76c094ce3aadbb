//! Keeps intensities within bounds, in their own scale.

use std::sync::Arc;

use serde::Deserialize;

use super::intensities;
use crate::operators::registry::{Entry, Stage, Transform};
use crate::operators::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Port, Role, Section, Spec,
};
use crate::operators::value::{Case, Failure};
use crate::voxels::values;

const BOUND: FieldKind = FieldKind::Number { min: -1e9, max: 1e9, unit: "HU" };

/// The declaration of the type `clip`.
pub static SPEC: Spec = Spec {
    name: "clip",
    section: Section::Operators,
    summary: "Clips intensities to a lower and an upper bound.",
    doc: "Intensities below `min` become `min` and those above `max` become `max`, infinities as well, in \
          the scale that the input has (HU for an untouched CT). At least one of the two is given. NaN stays \
          NaN. For a network that expects 0 to 1, use `window`, which also scales.",
    version: 1,
    inputs: &[Port { name: "cases", accepts: &[Kind::Scan, Kind::Case], many: false }],
    output: Output::SameAsInput,
    aspects: Aspects::Scan,
    fields: &[
        Field {
            name: "min",
            kind: BOUND,
            default: Default::Absent,
            role: Role::Semantic,
            doc: "The lower bound of intensities, in HU for CT; when it is left out, there is none.",
        },
        Field {
            name: "max",
            kind: BOUND,
            default: Default::Absent,
            role: Role::Semantic,
            doc: "The upper bound of intensities, in HU for CT; when it is left out, there is none.",
        },
    ],
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

/// The bounds of a clipping.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct Clip {
    /// The least intensity: what lies below becomes this.
    pub min: Option<f32>,
    /// The largest intensity: what lies above becomes this.
    pub max: Option<f32>,
}

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    let clip: Clip = crate::operators::read_config(config)?;
    match (clip.min, clip.max) {
        (None, None) => Err(vec![FieldProblem::new(
            "min",
            "`min`, `max` or both expected, neither found",
            "for CT: min = -1024, max = 3071",
        )]),
        (Some(min), Some(max)) if min >= max => Err(vec![FieldProblem::new(
            "max",
            format!("`max` above `min` expected, {max} and {min} found"),
            "every intensity would become the same",
        )]),
        _ => Ok(Stage::Transform(Arc::new(clip))),
    }
}

impl Clip {
    fn clipped(self, voxels: &[f32]) -> Vec<f32> {
        let min = self.min.unwrap_or(f32::NEG_INFINITY);
        let max = self.max.unwrap_or(f32::INFINITY);
        values::mapped(voxels, |value| value.clamp(min, max))
    }
}

impl Transform for Clip {
    fn apply(&self, case: &Case) -> Result<Case, Failure> {
        intensities::replace(case, self.clipped(case.scan.voxels()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ODD: [f32; 6] = [f32::NEG_INFINITY, -2000.0, -1024.0, 0.5, 4000.0, f32::INFINITY];

    fn clipped(min: Option<f32>, max: Option<f32>) -> Vec<f32> {
        Clip { min, max }.clipped(&ODD)
    }

    #[test]
    fn bounds_are_kept_and_what_lies_beyond_becomes_them() {
        assert_eq!(clipped(Some(-1024.0), Some(3071.0)), [-1024.0, -1024.0, -1024.0, 0.5, 3071.0, 3071.0]);
    }

    #[test]
    fn one_bound_leaves_the_other_side() {
        assert_eq!(clipped(Some(0.0), None), [0.0, 0.0, 0.0, 0.5, 4000.0, f32::INFINITY]);
        assert_eq!(clipped(None, Some(0.0)), [f32::NEG_INFINITY, -2000.0, -1024.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn a_nan_stays_one() {
        let found = Clip { min: Some(0.0), max: Some(1.0) }.clipped(&[f32::NAN, 2.0]);
        assert!(found[0].is_nan());
        assert_eq!(found[1], 1.0);
    }

    #[test]
    fn what_keeps_nothing_is_a_problem() {
        let field =
            |config: serde_json::Value| build(config.as_object().unwrap()).err().unwrap().remove(0).field;
        assert_eq!(field(json!({ "min": null, "max": null })), "min");
        assert_eq!(field(json!({ "min": 5, "max": 5 })), "max");
        assert_eq!(field(json!({ "min": 5, "max": -5 })), "max");
        let fine = json!({ "min": null, "max": 5 });
        assert!(matches!(build(fine.as_object().unwrap()), Ok(Stage::Transform(_))));
    }
}
