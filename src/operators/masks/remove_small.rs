//! Removes connected components below a volume or a count of voxels.

use std::sync::Arc;

use tomoflow_connectors::LabelMap;

use super::neighbours::{CONNECTIVITY, LABELS, Meant, connectivity};
use crate::operators::registry::{Entry, MaskTransform, Stage};
use crate::operators::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Port, Role, Section, Spec, one_of,
};
use crate::operators::value::{Failure, Mask};
use crate::voxels::components::{Connectivity, components};

/// A component that is below the least volume by no more than this share of it is not: spacings are decimal
/// fractions.
const ROUNDING: f64 = 1e-9;

/// The declaration of the type `remove_small`.
pub static SPEC: Spec = Spec {
    name: "remove_small",
    section: Section::Operators,
    summary: "Removes the connected parts of each label that are too small.",
    doc: "Voxels of one label that are neighbours by `connectivity` are one part; different labels are never \
          joined. A part is kept if it is not smaller than `min_ml` or `min_voxels`, of which exactly one is \
          given. Volumes and voxels are counted on the scan's original grid. A mask whose parts are all too \
          small becomes empty.",
    version: 1,
    inputs: &[Port { name: "masks", accepts: &[Kind::Masks], many: false }],
    output: Output::Is(Kind::Masks),
    aspects: Aspects::Labels,
    fields: &[
        Field {
            name: "min_ml",
            kind: FieldKind::Number { min: 0.0, max: 1e6, unit: "ml" },
            default: Default::Absent,
            role: Role::Semantic,
            doc: "The least volume of a part that is kept, in ml; either this or `min_voxels` is given.",
        },
        Field {
            name: "min_voxels",
            kind: FieldKind::Integer { min: 0, max: 1 << 40 },
            default: Default::Absent,
            role: Role::Semantic,
            doc: "The least number of voxels of a part that is kept; either this or `min_ml` is given.",
        },
        CONNECTIVITY,
        LABELS,
    ],
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

/// The least size of a part that stays.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Least {
    /// A volume in ml.
    Ml(f64),
    /// A number of voxels.
    Voxels(u64),
}

impl Least {
    /// Returns the same size in voxels of a mask's grid.
    ///
    /// # Errors
    /// When voxels of the grid have no volume.
    pub fn voxels(self, mask: &Mask) -> Result<u64, Failure> {
        match self {
            Self::Voxels(voxels) => Ok(voxels),
            Self::Ml(ml) => {
                let geometry = mask.labels.geometry();
                crate::voxels::grid::check(geometry)?;
                Ok((ml * 1000.0 / geometry.voxel_mm3() * (1.0 - ROUNDING)).ceil() as u64)
            }
        }
    }
}

/// The parts that are removed.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoveSmall {
    /// The least size: what is smaller goes.
    pub least: Least,
    /// The neighbours that connect voxels: by faces, edges or corners.
    pub connectivity: Connectivity,
    /// The labels whose parts are removed.
    pub labels: Meant,
}

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    let ml = config.get("min_ml").and_then(serde_json::Value::as_f64);
    let voxels = config.get("min_voxels").and_then(serde_json::Value::as_u64);
    let given = [("min_ml", ml.is_some()), ("min_voxels", voxels.is_some())];
    one_of(given, "min_ml = 0.1, or min_voxels = 10")?;
    let least = match ml {
        Some(ml) => Least::Ml(ml),
        None => Least::Voxels(voxels.unwrap_or_default()),
    };
    let (connectivity, labels) = (connectivity(config)?, Meant::read(config)?);
    Ok(Stage::Mask(Arc::new(RemoveSmall { least, connectivity, labels })))
}

impl MaskTransform for RemoveSmall {
    fn keeps_names(&self) -> bool {
        true
    }

    fn apply(&self, mask: &Mask) -> Result<Mask, Failure> {
        let (labels, least) = (&mask.labels, self.least.voxels(mask)?);
        let meant = self.labels.values(mask)?;
        let found = components(labels.voxels(), labels.size(), self.connectivity);
        let kept = |place: usize| {
            let part = &found.components[place];
            let is_meant = meant.as_ref().is_none_or(|meant| meant.contains(&part.label));
            (!is_meant || part.voxels >= least).then_some(part.label)
        };
        if (0..found.components.len()).all(|place| kept(place).is_some()) {
            return Ok(mask.clone());
        }
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

    fn kept(config: serde_json::Value, spacing_mm: [f64; 3], voxels: &[u16]) -> Vec<u16> {
        let geometry = Geometry::axis_aligned([1, 1, voxels.len()], spacing_mm);
        let labels = Arc::new(LabelMap::new(geometry, voxels.to_vec()).unwrap());
        let mask = Mask { labels, label_names: ["a".to_owned(), "b".to_owned()].into() };
        let mut all = json!({ "min_ml": null, "min_voxels": null, "connectivity": 6, "labels": null });
        all.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
        let Ok(Stage::Mask(operator)) = build(all.as_object().unwrap()) else { panic!("an operator") };
        operator.apply(&mask).unwrap().labels.voxels().to_vec()
    }

    #[test]
    fn what_is_smaller_goes_label_by_label() {
        let row = [1, 1, 0, 1, 2, 2, 2, 0, 2, 1];
        assert_eq!(kept(json!({ "min_voxels": 2 }), [1.0; 3], &row), [1, 1, 0, 0, 2, 2, 2, 0, 0, 0]);
        assert_eq!(kept(json!({ "min_voxels": 3 }), [1.0; 3], &row), [0, 0, 0, 0, 2, 2, 2, 0, 0, 0]);
        let only_b = json!({ "min_voxels": 4, "labels": ["b"] });
        assert_eq!(kept(only_b, [1.0; 3], &row), [1, 1, 0, 1, 0, 0, 0, 0, 0, 1]);
        assert_eq!(kept(json!({ "min_voxels": 0 }), [1.0; 3], &row), row);
    }

    #[test]
    fn volumes_are_in_ml_and_the_least_one_stays() {
        // 0.1 ml each: ten are one millilitre, whatever is rounded.
        let spacing = [2.5, 8.0, 5.0];
        let row: Vec<u16> = [vec![1; 10], vec![0], vec![1; 9]].concat();
        let expected: Vec<u16> = [vec![1; 10], vec![0; 10]].concat();
        assert_eq!(kept(json!({ "min_ml": 1.0 }), spacing, &row), expected);
        assert_eq!(kept(json!({ "min_ml": 0.9 }), spacing, &row), row);
    }

    #[test]
    fn empty_and_full_masks_and_one_voxel() {
        assert_eq!(kept(json!({ "min_voxels": 2 }), [1.0; 3], &[0, 0]), [0, 0]);
        assert_eq!(kept(json!({ "min_voxels": 2 }), [1.0; 3], &[1, 1]), [1, 1]);
        assert_eq!(kept(json!({ "min_voxels": 2 }), [1.0; 3], &[1]), [0]);
    }

    #[test]
    fn one_of_both_is_given() {
        let field = |config: serde_json::Value| build(config.as_object().unwrap()).err().unwrap()[0].clone();
        let both = json!({ "min_ml": 1.0, "min_voxels": 1, "connectivity": 6, "labels": null });
        assert_eq!(field(both).field, "min_ml");
        let neither = json!({ "min_ml": null, "min_voxels": null, "connectivity": 6, "labels": null });
        assert!(field(neither).message.contains("neither"));
    }
}
