//! Keeps the largest connected component of each label.

use std::collections::BTreeMap;
use std::sync::Arc;

use tomoflow_connectors::LabelMap;

use super::neighbours::{CONNECTIVITY, connectivity};
use crate::operators::registry::{Entry, MaskTransform, Stage};
use crate::operators::spec::{Aspects, Config, FieldProblem, Kind, Output, Port, Section, Spec};
use crate::operators::value::{Failure, Mask};
use crate::voxels::components::{Connectivity, components};

/// The declaration of the type `largest_component`.
pub static SPEC: Spec = Spec {
    name: "largest_component",
    section: Section::Operators,
    summary: "Keeps only the largest connected part of each label.",
    doc: "The size of a part is its number of voxels on the scan's original grid. Of two parts of the same \
          size the one with the lowest voxel index (slice, then row, then column) is kept. A label without \
          voxels stays so.",
    version: 1,
    inputs: &[Port { name: "masks", accepts: &[Kind::Masks], many: false }],
    output: Output::Is(Kind::Masks),
    aspects: Aspects::Labels,
    fields: &[CONNECTIVITY],
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

/// The operator that keeps largest components.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LargestComponent {
    /// The neighbours that connect voxels: by faces, edges or corners.
    pub connectivity: Connectivity,
}

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    let connectivity = connectivity(config)?;
    Ok(Stage::Mask(Arc::new(LargestComponent { connectivity })))
}

impl MaskTransform for LargestComponent {
    fn keeps_names(&self) -> bool {
        true
    }

    fn apply(&self, mask: &Mask) -> Result<Mask, Failure> {
        let labels = &mask.labels;
        let found = components(labels.voxels(), labels.size(), self.connectivity);
        let mut largest: BTreeMap<u16, usize> = BTreeMap::new();
        for (index, component) in found.components.iter().enumerate() {
            let kept = largest.entry(component.label).or_insert(index);
            // The components come by their lowest voxel, so an equal one comes too late.
            if component.voxels > found.components[*kept].voxels {
                *kept = index;
            }
        }
        if found.components.len() == largest.len() {
            return Ok(mask.clone());
        }
        let kept = |index: usize| {
            let label = found.components[index].label;
            (largest.get(&label) == Some(&index)).then_some(label)
        };
        let mut output = LabelMap::zeros(labels.geometry().clone());
        found.paint(output.voxels_mut(), kept);
        Ok(Mask { labels: Arc::new(output), label_names: Arc::clone(&mask.label_names) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tomoflow_connectors::Geometry;

    fn kept(connectivity: Connectivity, size: [usize; 3], voxels: &[u16]) -> Vec<u16> {
        let geometry = Geometry::axis_aligned(size, [1.0; 3]);
        let labels = Arc::new(LabelMap::new(geometry, voxels.to_vec()).unwrap());
        let mask = Mask { labels, label_names: ["a".to_owned(), "b".to_owned()].into() };
        LargestComponent { connectivity }.apply(&mask).unwrap().labels.voxels().to_vec()
    }

    #[test]
    fn the_largest_part_of_each_label_stays() {
        let row = [1, 0, 1, 1, 0, 2, 2, 0, 2];
        assert_eq!(kept(Connectivity::Faces, [1, 1, 9], &row), [0, 0, 1, 1, 0, 2, 2, 0, 0]);
    }

    #[test]
    fn of_equals_the_first_stays() {
        assert_eq!(kept(Connectivity::Faces, [1, 1, 5], &[1, 0, 1, 0, 1]), [1, 0, 0, 0, 0]);
        assert_eq!(kept(Connectivity::Faces, [2, 2, 1], &[0, 1, 1, 0]), [0, 1, 0, 0]);
        assert_eq!(kept(Connectivity::Edges, [2, 2, 1], &[0, 1, 1, 0]), [0, 1, 1, 0]);
    }

    #[test]
    fn empty_and_full_masks_stay() {
        assert_eq!(kept(Connectivity::Corners, [1, 2, 2], &[0; 4]), [0; 4]);
        assert_eq!(kept(Connectivity::Corners, [1, 2, 2], &[1; 4]), [1; 4]);
        assert_eq!(kept(Connectivity::Corners, [1, 1, 1], &[1]), [1]);
    }

    #[test]
    fn other_numbers_of_neighbours_are_a_problem() {
        let config = json!({ "connectivity": 8 });
        assert_eq!(build(config.as_object().unwrap()).err().unwrap()[0].field, "connectivity");
        assert!(build(json!({ "connectivity": 18 }).as_object().unwrap()).is_ok());
    }
}
