//! The fields that operators on masks have in common: which neighbours a voxel has, and which labels are meant.

use std::collections::BTreeSet;

use crate::operators::spec::{Config, Default, Field, FieldKind, FieldProblem, Role};
use crate::operators::value::{Failure, Mask};
use crate::voxels::components::Connectivity;

/// The field for the neighbours that connect voxels.
pub(super) const CONNECTIVITY: Field = Field {
    name: "connectivity",
    kind: FieldKind::Integer { min: 6, max: 26 },
    default: Default::Json("26"),
    role: Role::Semantic,
    doc: "The number of neighbours that a voxel is joined with: 6 (across faces), 18 (also across edges) or \
          26 (also across corners).",
};

/// The field for the labels that an operator works on.
pub(super) const LABELS: Field = Field {
    name: "labels",
    kind: FieldKind::List { of: &FieldKind::Text, len: None },
    default: Default::Absent,
    role: Role::Semantic,
    doc: "The names of the labels that are changed; when it is left out, all labels are. Other labels stay \
          as they are.",
};

/// Reads [`CONNECTIVITY`].
pub(super) fn connectivity(config: &Config) -> Result<Connectivity, Vec<FieldProblem>> {
    let found = config.get("connectivity").and_then(serde_json::Value::as_u64).unwrap_or_default();
    Connectivity::from_neighbours(found).ok_or_else(|| {
        vec![FieldProblem::new(
            "connectivity",
            format!("6, 18 or 26 expected, {found} found"),
            "26 also joins voxels that touch by a corner",
        )]
    })
}

/// The labels that an operator works on, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meant(pub Option<Vec<String>>);

impl Meant {
    /// Reads [`LABELS`].
    pub(super) fn read(config: &Config) -> Result<Self, Vec<FieldProblem>> {
        let found = config.get("labels").cloned().unwrap_or_default();
        let names: Option<Vec<String>> = serde_json::from_value(found)
            .map_err(|error| vec![FieldProblem::new("labels", error.to_string(), "")])?;
        if names.as_ref().is_some_and(Vec::is_empty) {
            let message = "at least one label expected, none found";
            return Err(vec![FieldProblem::new("labels", message, "leave `labels` out for all of them")]);
        }
        Ok(Self(names))
    }

    /// The values of these labels in a mask; `None` for all.
    ///
    /// # Errors
    /// `LABEL_MISMATCH` when the mask has no label of a name: a typing error would do nothing, and not be seen.
    pub(super) fn values(&self, mask: &Mask) -> Result<Option<BTreeSet<u16>>, Failure> {
        let Some(names) = &self.0 else { return Ok(None) };
        let value = |name: &String| {
            let place = mask.label_names.iter().position(|known| known == name);
            place.and_then(|place| u16::try_from(place + 1).ok()).ok_or_else(|| {
                Failure::new(
                    "LABEL_MISMATCH",
                    format!("a mask with the label `{name}` expected, {} found", mask.label_names.join(", ")),
                    "`labels` takes names of labels as the stage before gives them",
                )
            })
        };
        names.iter().map(value).collect::<Result<_, _>>().map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::Arc;
    use tomoflow_connectors::{Geometry, LabelMap};

    #[test]
    fn names_become_values_and_unknown_ones_are_refused() {
        let labels = Arc::new(LabelMap::zeros(Geometry::axis_aligned([1, 1, 1], [1.0; 3])));
        let mask = Mask { labels, label_names: ["a".to_owned(), "b".to_owned()].into() };
        let read = |config: serde_json::Value| Meant::read(config.as_object().unwrap());
        assert_eq!(read(json!({ "labels": null })).unwrap().values(&mask).unwrap(), None);
        assert_eq!(read(json!({ "labels": ["b"] })).unwrap().values(&mask).unwrap(), Some([2].into()));
        let error = read(json!({ "labels": ["c"] })).unwrap().values(&mask).unwrap_err();
        assert_eq!(error.code, "LABEL_MISMATCH");
        assert_eq!(read(json!({ "labels": [] })).unwrap_err()[0].field, "labels");
    }

    #[test]
    fn neighbours_are_6_18_or_26() {
        let read = |count: i64| connectivity(json!({ "connectivity": count }).as_object().unwrap());
        assert_eq!(read(18), Ok(Connectivity::Edges));
        assert_eq!(read(8).unwrap_err()[0].field, "connectivity");
    }
}
