//! Tells the connected parts of each label apart: one label for each, the largest first.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use tomoflow_connectors::LabelMap;

use super::neighbours::{CONNECTIVITY, LABELS, Meant, connectivity};
use super::remove_small::Least;
use crate::operators::registry::{Entry, MaskTransform, Stage};
use crate::operators::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Port, Role, Section, Spec,
};
use crate::operators::value::{Failure, Mask};
use crate::voxels::components::{Connectivity, components};

/// The declaration of the type `connected_components`.
pub static SPEC: Spec = Spec {
    name: "connected_components",
    section: Section::Operators,
    summary: "Gives each connected part of a mask a label of its own (instances).",
    doc: "Voxels of one label that are neighbours by `connectivity` are one part; different labels are never \
          joined. Parts of at least `min_ml` become labels 1, 2, … in order of their size, the largest \
          first; of two parts of the same size the one with the lowest voxel index (slice, then row, then \
          column) comes first. Smaller parts, and labels that are not among `labels`, become background.\n\n\
          The names of the new labels count the parts of each label: `lesion 1`, `lesion 2`, … The labels of \
          masks then differ from scan to scan, which tables and mask files can hold; `evaluate` matches \
          labels by name and belongs before this operator. A mask with more than 65,535 parts is refused \
          (`TOO_MANY`).",
    version: 1,
    inputs: &[Port { name: "masks", accepts: &[Kind::Masks], many: false }],
    output: Output::Is(Kind::Masks),
    aspects: Aspects::Labels,
    fields: &[
        Field {
            name: "min_ml",
            kind: FieldKind::Number { min: 0.0, max: 1e6, unit: "ml" },
            default: Default::Json("0.0"),
            role: Role::Semantic,
            doc: "The least volume of a part that is kept, in ml; smaller parts become background.",
        },
        CONNECTIVITY,
        Field {
            doc: "The names of the labels whose parts are told apart; when it is left out, all labels \
                      are.",
            ..LABELS
        },
    ],
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

/// The parts that are told apart.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectedComponents {
    /// The least volume in ml: what is smaller goes.
    pub min_ml: f64,
    /// The neighbours that connect voxels: by faces, edges or corners.
    pub connectivity: Connectivity,
    /// The labels that are taken apart.
    pub labels: Meant,
}

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    let min_ml = config.get("min_ml").and_then(serde_json::Value::as_f64).unwrap_or_default();
    let (connectivity, labels) = (connectivity(config)?, Meant::read(config)?);
    Ok(Stage::Mask(Arc::new(ConnectedComponents { min_ml, connectivity, labels })))
}

impl MaskTransform for ConnectedComponents {
    fn apply(&self, mask: &Mask) -> Result<Mask, Failure> {
        let labels = &mask.labels;
        let least = if self.min_ml > 0.0 { Least::Ml(self.min_ml).voxels(mask)? } else { 0 };
        let meant = self.labels.values(mask)?;
        let found = components(labels.voxels(), labels.size(), self.connectivity);
        let is_meant = |label: u16| meant.as_ref().is_none_or(|meant| meant.contains(&label));
        let kept = |place: &usize| {
            let part = &found.components[*place];
            part.voxels >= least && is_meant(part.label)
        };
        let mut order: Vec<usize> = (0..found.components.len()).filter(kept).collect();
        // Parts come by their lowest voxel, and stay in that order among equals.
        order.sort_by_key(|place| Reverse(found.components[*place].voxels));
        if order.len() > usize::from(u16::MAX) {
            return Err(Failure::new(
                "TOO_MANY",
                format!("at most {} connected parts expected, {} found", u16::MAX, order.len()),
                "this mask may be noise; `min_ml` leaves small parts out",
            ));
        }
        let mut values: Vec<Option<u16>> = vec![None; found.components.len()];
        let mut of_label: BTreeMap<u16, usize> = BTreeMap::new();
        let mut names = Vec::with_capacity(order.len());
        for (value, place) in (1..=u16::MAX).zip(&order) {
            let label = found.components[*place].label;
            values[*place] = Some(value);
            let number = of_label.entry(label).or_default();
            *number += 1;
            let name = usize::from(label).checked_sub(1).and_then(|label| mask.label_names.get(label));
            names.push(match name {
                Some(name) => format!("{name} {number}"),
                None => format!("label {label} {number}"),
            });
        }
        let mut output = LabelMap::zeros(labels.geometry().clone());
        found.paint(output.voxels_mut(), |place| values[place]);
        Ok(Mask { labels: Arc::new(output), label_names: names.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tomoflow_connectors::Geometry;

    fn parts(config: serde_json::Value, voxels: &[u16]) -> Result<Mask, Failure> {
        // A voxel is 0.1 ml.
        let geometry = Geometry::axis_aligned([1, 1, voxels.len()], [2.5, 8.0, 5.0]);
        let labels = Arc::new(LabelMap::new(geometry, voxels.to_vec()).unwrap());
        let mask = Mask { labels, label_names: ["a".to_owned(), "b".to_owned()].into() };
        let mut all = json!({ "min_ml": 0.0, "connectivity": 26, "labels": null });
        all.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
        let Ok(Stage::Mask(operator)) = build(all.as_object().unwrap()) else { panic!("an operator") };
        operator.apply(&mask)
    }

    #[test]
    fn the_largest_comes_first_and_equals_by_their_lowest_voxel() {
        let row = [1, 0, 2, 2, 1, 1, 1, 0, 1, 0, 2, 2];
        let found = parts(json!({}), &row).unwrap();
        assert_eq!(found.labels.voxels(), [4, 0, 2, 2, 1, 1, 1, 0, 5, 0, 3, 3]);
        assert_eq!(&*found.label_names, ["a 1", "b 1", "b 2", "a 2", "a 3"]);
        let found = parts(json!({ "min_ml": 0.2, "labels": ["b"] }), &row).unwrap();
        assert_eq!(found.labels.voxels(), [0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 2, 2]);
        assert_eq!(&*found.label_names, ["b 1", "b 2"]);
    }

    #[test]
    fn empty_full_and_single() {
        let found = parts(json!({}), &[0, 0]).unwrap();
        assert_eq!((found.labels.voxels(), found.label_names.len()), (&[0, 0][..], 0));
        assert_eq!(parts(json!({}), &[2; 3]).unwrap().labels.voxels(), [1; 3]);
        assert_eq!(&*parts(json!({}), &[3]).unwrap().label_names, ["label 3 1"]);
    }

    #[test]
    fn more_than_labels_can_tell_are_refused() {
        let dots = |count: usize| -> Vec<u16> { (0..2 * count).map(|i| u16::from(i % 2 == 0)).collect() };
        assert_eq!(parts(json!({}), &dots(65_535)).unwrap().label_names.len(), 65_535);
        assert_eq!(parts(json!({}), &dots(65_536)).unwrap_err().code, "TOO_MANY");
        assert_eq!(parts(json!({ "min_ml": 0.2 }), &dots(65_536)).unwrap().label_names.len(), 0);
    }
}
