//! Closes gaps and notches of each label with a ball.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::neighbours::{LABELS, Meant};
use crate::operators::registry::{Entry, MaskTransform, Stage};
use crate::operators::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Port, Role, Section, Spec,
};
use crate::operators::value::{Failure, Mask};
use crate::voxels::ball::{Ball, Room};
use crate::voxels::components::{Run, runs};

/// The ball of `closing` and `opening`.
pub(super) const RADIUS_MM: Field = Field {
    name: "radius_mm",
    kind: FieldKind::Number { min: 0.0, max: 100.0, unit: "mm" },
    default: Default::Required,
    role: Role::Semantic,
    doc: "The radius of the ball, in mm; it may span at most 127 voxels along any axis.",
};

/// The declaration of the type `closing`.
pub static SPEC: Spec = Spec {
    name: "closing",
    section: Section::Operators,
    summary: "Closes the gaps and notches of each label, by a morphological closing.",
    doc: "A closing is a dilation followed by an erosion, both by a ball: each label takes the voxels of the \
          background that no ball of `radius_mm` outside of the label can reach. The ball holds every voxel \
          whose centre lies within the radius of the ball's own, in mm along the scan's axes, so that it is \
          flat on thick slices; a ball smaller than all spacings changes nothing.\n\n\
          Labels are closed one by one, each from the mask as it came, and never take a voxel of another \
          label; a voxel that two labels would take gets the lower one. The space beyond the volume's border \
          counts as background, as with SciPy's `binary_closing` of a padded mask: no label grows towards \
          the border because of it, and none loses voxels there. A scan of a tilted gantry is refused \
          (`SHEARED_GRID`).",
    version: 1,
    inputs: &[Port { name: "masks", accepts: &[Kind::Masks], many: false }],
    output: Output::Is(Kind::Masks),
    aspects: Aspects::Labels,
    fields: &[RADIUS_MM, LABELS],
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

/// A closing.
#[derive(Clone, Debug, PartialEq)]
pub struct Closing {
    /// The radius of the ball, in mm.
    pub radius_mm: f64,
    /// The labels that are closed.
    pub labels: Meant,
}

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    let (radius_mm, labels) = (radius_mm(config)?, Meant::read(config)?);
    Ok(Stage::Mask(Arc::new(Closing { radius_mm, labels })))
}

/// Reads [`RADIUS_MM`].
pub(super) fn radius_mm(config: &Config) -> Result<f64, Vec<FieldProblem>> {
    config.get("radius_mm").and_then(serde_json::Value::as_f64).ok_or_else(|| {
        vec![FieldProblem::new("radius_mm", "a radius in mm expected, none found", "radius_mm = 2.0")]
    })
}

/// The runs of each label that is meant.
pub(super) fn runs_by_label(mask: &Mask, meant: &Meant) -> Result<BTreeMap<u16, Vec<Run>>, Failure> {
    let meant = meant.values(mask)?;
    let mut found: BTreeMap<u16, Vec<Run>> = BTreeMap::new();
    for run in runs(mask.labels.voxels(), mask.labels.size()) {
        if meant.as_ref().is_none_or(|meant| meant.contains(&run.label)) {
            found.entry(run.label).or_default().push(run);
        }
    }
    Ok(found)
}

impl MaskTransform for Closing {
    fn keeps_names(&self) -> bool {
        true
    }

    fn apply(&self, mask: &Mask) -> Result<Mask, Failure> {
        let size = mask.labels.size();
        let ball = Ball::new(self.radius_mm, mask.labels.geometry())?;
        let mut output = (*mask.labels).clone();
        for (label, runs) in runs_by_label(mask, &self.labels)? {
            let closed = Room::around(&runs, size, ball.reach).dilated(&ball).eroded(&ball);
            for (start, length) in closed.runs(size) {
                let free = output.voxels_mut()[start..start + length].iter_mut().filter(|voxel| **voxel == 0);
                free.for_each(|voxel| *voxel = label);
            }
        }
        Ok(Mask { labels: Arc::new(output), label_names: Arc::clone(&mask.label_names) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tomoflow_connectors::{Geometry, LabelMap};

    fn closed(radius_mm: f64, spacing_mm: [f64; 3], size: [usize; 3], voxels: &[u16]) -> Vec<u16> {
        let labels =
            Arc::new(LabelMap::new(Geometry::axis_aligned(size, spacing_mm), voxels.to_vec()).unwrap());
        let mask = Mask { labels, label_names: ["a".to_owned(), "b".to_owned()].into() };
        let config = json!({ "radius_mm": radius_mm, "labels": null });
        let Ok(Stage::Mask(operator)) = build(config.as_object().unwrap()) else { panic!("an operator") };
        operator.apply(&mask).unwrap().labels.voxels().to_vec()
    }

    /// Slices and rows lie so far apart that the ball is flat.
    const ROW: [f64; 3] = [100.0, 100.0, 1.0];

    #[test]
    fn gaps_narrower_than_the_ball_close() {
        let row = [1, 0, 0, 1, 0, 0, 0, 1, 0, 0];
        assert_eq!(closed(1.0, ROW, [1, 1, 10], &row), [1, 1, 1, 1, 0, 0, 0, 1, 0, 0]);
        assert_eq!(closed(1.5, ROW, [1, 1, 10], &row), [1, 1, 1, 1, 0, 0, 0, 1, 0, 0]);
        assert_eq!(closed(2.0, ROW, [1, 1, 10], &row), [1, 1, 1, 1, 1, 1, 1, 1, 0, 0]);
        assert_eq!(closed(2.0, [100.0, 100.0, 2.0], [1, 1, 10], &row), [1, 1, 1, 1, 0, 0, 0, 1, 0, 0]);
        // A round ball does not fit into the gap of a single row: it comes in from beside.
        assert_eq!(closed(2.0, [1.0; 3], [1, 1, 10], &row), row);
    }

    #[test]
    fn other_labels_are_not_overwritten_and_the_lower_one_is_first() {
        assert_eq!(closed(1.0, ROW, [1, 1, 4], &[1, 2, 0, 1]), [1, 2, 1, 1]);
        let crossed = [0, 1, 0, 2, 0, 2, 0, 1, 0];
        assert_eq!(closed(1.5, [100.0, 1.0, 1.0], [1, 3, 3], &crossed), [0, 1, 0, 2, 1, 2, 0, 1, 0]);
    }

    #[test]
    fn what_lies_at_the_border_neither_grows_nor_goes() {
        assert_eq!(closed(3.0, [1.0; 3], [1, 1, 5], &[0, 1, 0, 0, 0]), [0, 1, 0, 0, 0]);
        assert_eq!(closed(3.0, ROW, [1, 1, 3], &[1, 0, 1]), [1, 1, 1]);
        assert_eq!(closed(50.0, [1.0; 3], [2, 2, 2], &[1; 8]), [1; 8]);
        assert_eq!(closed(2.0, [1.0; 3], [1, 1, 1], &[1]), [1]);
        assert_eq!(closed(2.0, [1.0; 3], [1, 2, 2], &[0; 4]), [0; 4]);
    }

    #[test]
    fn no_ball_no_change() {
        let row = [1, 0, 1, 0, 2];
        assert_eq!(closed(0.0, [1.0; 3], [1, 1, 5], &row), row);
        assert_eq!(closed(0.9, [1.0; 3], [1, 1, 5], &row), row);
    }
}
