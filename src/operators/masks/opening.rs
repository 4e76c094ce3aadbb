//! Takes away from each label what a ball does not fit into.

use std::sync::Arc;

use tomoflow_connectors::LabelMap;

use super::closing::{RADIUS_MM, radius_mm, runs_by_label};
use super::neighbours::{LABELS, Meant};
use crate::operators::registry::{Entry, MaskTransform, Stage};
use crate::operators::spec::{Aspects, Config, FieldProblem, Kind, Output, Port, Section, Spec};
use crate::operators::value::{Failure, Mask};
use crate::voxels::ball::{Ball, Room};

/// The declaration of the type `opening`.
pub static SPEC: Spec = Spec {
    name: "opening",
    section: Section::Operators,
    summary: "Removes the parts of each label that are too thin, by a morphological opening.",
    doc: "An opening is an erosion followed by a dilation, both by a ball: a label keeps the voxels that \
          some ball of `radius_mm` within the label covers; bridges, spikes and small parts become \
          background. The ball holds every voxel whose centre lies within the radius of the ball's own, in \
          mm along the scan's axes, so that it is flat on thick slices; a ball smaller than all spacings \
          changes nothing.\n\n\
          The space beyond the volume's border counts as background, as with SciPy's `binary_opening`: a \
          label that the border cuts is opened there as well, and a mask with fewer slices than the ball \
          becomes empty. A label loses voxels that the ball does not cover even where it touches another \
          label. A scan of a tilted gantry is refused (`SHEARED_GRID`).",
    version: 1,
    inputs: &[Port { name: "masks", accepts: &[Kind::Masks], many: false }],
    output: Output::Is(Kind::Masks),
    aspects: Aspects::Labels,
    fields: &[RADIUS_MM, LABELS],
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

/// An opening.
#[derive(Clone, Debug, PartialEq)]
pub struct Opening {
    /// The radius of the ball, in mm.
    pub radius_mm: f64,
    /// The labels that are opened.
    pub labels: Meant,
}

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    let (radius_mm, labels) = (radius_mm(config)?, Meant::read(config)?);
    Ok(Stage::Mask(Arc::new(Opening { radius_mm, labels })))
}

impl MaskTransform for Opening {
    fn keeps_names(&self) -> bool {
        true
    }

    fn apply(&self, mask: &Mask) -> Result<Mask, Failure> {
        let size = mask.labels.size();
        let ball = Ball::new(self.radius_mm, mask.labels.geometry())?;
        let mut output: LabelMap = (*mask.labels).clone();
        for (label, runs) in runs_by_label(mask, &self.labels)? {
            let opened = Room::around(&runs, size, [0; 3]).eroded(&ball).dilated(&ball);
            for run in &runs {
                output.voxels_mut()[run.start..run.start + run.length].fill(0);
            }
            for (start, length) in opened.runs(size) {
                output.voxels_mut()[start..start + length].fill(label);
            }
        }
        Ok(Mask { labels: Arc::new(output), label_names: Arc::clone(&mask.label_names) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tomoflow_connectors::Geometry;

    fn opened(config: serde_json::Value, size: [usize; 3], voxels: &[u16]) -> Vec<u16> {
        let labels =
            Arc::new(LabelMap::new(Geometry::axis_aligned(size, [1.0; 3]), voxels.to_vec()).unwrap());
        let mask = Mask { labels, label_names: ["a".to_owned(), "b".to_owned()].into() };
        let mut all = json!({ "radius_mm": 1.0, "labels": null });
        all.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
        let Ok(Stage::Mask(operator)) = build(all.as_object().unwrap()) else { panic!("an operator") };
        operator.apply(&mask).unwrap().labels.voxels().to_vec()
    }

    #[test]
    fn what_no_ball_fits_into_goes() {
        // A cross of seven voxels holds one ball of one voxel's radius; its tail goes.
        let mut labels = vec![0; 3 * 3 * 5];
        for place in [7, 17, 21, 22, 23, 27, 37, 24] {
            labels[place] = 1;
        }
        let mut expected = labels.clone();
        expected[24] = 0;
        assert_eq!(opened(json!({}), [3, 3, 5], &labels), expected);
        assert_eq!(opened(json!({ "radius_mm": 2.0 }), [3, 3, 5], &labels), [0; 45]);
        assert_eq!(opened(json!({ "radius_mm": 0.9 }), [3, 3, 5], &labels), labels);
    }

    #[test]
    fn the_border_is_background_and_labels_are_apart() {
        assert_eq!(opened(json!({}), [2, 2, 2], &[1; 8]), [0; 8]);
        assert_eq!(opened(json!({}), [1, 1, 1], &[1]), [0]);
        assert_eq!(opened(json!({}), [1, 1, 3], &[0; 3]), [0; 3]);
        let cube: Vec<u16> = (0..27).map(|i| 1 + u16::from(i == 13)).collect();
        assert_eq!(opened(json!({}), [3, 3, 3], &cube), [0; 27]);
        let only_b: Vec<u16> = (0..27).map(|i| u16::from(i != 13)).collect();
        assert_eq!(opened(json!({ "labels": ["b"] }), [3, 3, 3], &cube), only_b);
    }
}
