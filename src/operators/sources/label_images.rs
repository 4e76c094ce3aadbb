//! The source `label_images`: label maps in files of other formats than DICOM.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tomoflow_connectors::{Geometry, LabelMap, Reject, imagefile};

use super::images::{PATH, text};
use super::merged::Merged;
use super::names::{FILES, Names, TABLE};
use crate::operators::registry::{Entry, Stage};
use crate::operators::source::{
    Claim, Drawing, FileSource, LabelPart, LabelSource, LabelsAt, LabelsIn, Planes, Unmet, vanished,
};
use crate::operators::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Role, Section, Spec,
};

/// What the type declares.
pub static SPEC: Spec = Spec {
    name: "label_images",
    section: Section::Sources,
    summary: "Label maps of a folder in NIfTI, MetaImage or NRRD, as labels of the scans that their names say.",
    doc: "`labels` names the labels, in order: the first is label 1. Each has the values that its voxels have in \
          the files; a value that several have goes to the last, as in `{ liver = [1, 2], tumour = [2] }`. The \
          case that a file's name or the table says is the scan's: the name that `images` gives it, or its \
          SeriesInstanceUID. With `{label}` in `files`, as in `\"{case}/segmentations/{label}.nii.gz\"`, each label has \
          a file of its own, in which voxels of its values are the label; files of other labels are not asked for. \
          Where labels overlap the last one of `labels` counts, and the log says how many voxels that is. A case \
          without a file for a label is unlabelled for it: a row `NO_LABEL_FILE` in `rejects`, figures of the state \
          `not_in_truth`, and no training learns from it. A map on another grid is drawn onto the scan's by the nearest voxel; with `grid = \
          \"index\"` its header is not believed, and voxels are taken one by one.",
    version: 1,
    inputs: &[],
    output: Output::Is(Kind::Outlines),
    aspects: Aspects::Labels,
    fields: &[
        PATH,
        FILES,
        TABLE,
        Field {
            name: "labels",
            kind: FieldKind::Map(&FieldKind::List {
                of: &FieldKind::Integer { min: 1, max: 65_535 },
                len: None,
            }),
            default: Default::Required,
            role: Role::Semantic,
            doc: "Labels and their values in the files: `{ liver = [1, 2], tumour = [2] }`.",
        },
        Field {
            name: "grid",
            kind: FieldKind::Choice(&["patient", "index"]),
            default: Default::Json("\"patient\""),
            role: Role::Semantic,
            doc: "Whether voxels are matched by their place in the patient, or by their index: for files whose \
                  header is known to be wrong. The sizes must be the same then.",
        },
    ],
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

/// A folder of label maps.
#[derive(Clone, Debug)]
pub struct LabelImages {
    path: PathBuf,
    names: Names,
    label_names: Vec<String>,
    /// The label of each value in the files, up to the highest that was asked for.
    labels: Vec<u16>,
    /// Whether headers are not believed.
    by_index: bool,
    /// The values of each label.
    values: Vec<Vec<u16>>,
}

impl LabelImages {
    /// The label of a voxel's value in a file; 0 for one that was not asked for.
    pub fn label_of(&self, value: u16) -> u16 {
        self.labels.get(usize::from(value)).copied().unwrap_or(0)
    }

    /// A file's labels on the scan's grid.
    ///
    /// # Errors
    /// `LABEL_SIZE` when voxels are matched by their index and the sizes differ; else as
    /// [`LabelMap::onto`].
    pub fn draw_map(&self, found: &LabelMap, grid: &Geometry) -> Result<LabelMap, Reject> {
        self.draw_as(found, &|value| self.label_of(value), grid)
    }

    fn draw_as(
        &self,
        found: &LabelMap,
        label_of: &(dyn Fn(u16) -> u16 + Sync),
        grid: &Geometry,
    ) -> Result<LabelMap, Reject> {
        if self.by_index && found.size() != grid.size {
            let message = format!("a label map of {:?} voxels expected, {:?} found", grid.size, found.size());
            return Err(Reject::new("LABEL_SIZE", message, "is it of another scan?"));
        }
        if self.by_index {
            let voxels = found.voxels().iter().map(|&value| label_of(value)).collect();
            return LabelMap::new(grid.clone(), voxels)
                .map_err(|error| Reject::new("LABEL_SIZE", error.to_string(), ""));
        }
        found.onto(label_of, grid)
    }

    /// Labels that have a file each, as one map.
    fn draw_parts(&self, parts: &[LabelPart<'_>], grid: &Geometry) -> Result<Drawing, Reject> {
        let mut merged = Merged::new(grid)?;
        let mut parts: Vec<&LabelPart<'_>> = parts.iter().collect();
        parts.sort_by_key(|part| part.label);
        for part in &parts {
            let name = |index: usize| self.label_names.get(index).map_or("", String::as_str);
            let Some(index) = usize::from(part.label).checked_sub(1) else { continue };
            let values = self.values.get(index).map_or(&[][..], Vec::as_slice);
            let found = imagefile::read_labels(part.file)?;
            let odd = |value: &&u16| **value != 0 && !values.contains(value);
            if let Some(odd) = found.voxels().iter().find(odd) {
                let name = name(index);
                let message =
                    format!("values {values:?} of `{name}` and 0 expected in its file, {odd} found");
                let hint = "name all values that are the label, or mend the file";
                return Err(Reject::new("OTHER_VALUE", message, hint));
            }
            merged.add(part.label, &self.draw_as(&found, &|value| u16::from(values.contains(&value)), grid)?);
        }
        let there = |label: &u16| parts.iter().any(|part| part.label == *label);
        let absent = (1..=self.label_names.len() as u16).filter(|label| !there(label)).collect();
        let overlaps = merged.overlaps();
        Ok(Drawing { overlaps, absent, ..Drawing::from(merged.labels(grid)?) })
    }
}

impl FileSource for LabelImages {
    fn root(&self) -> &Path {
        &self.path
    }

    fn claim(&self, path: &Path) -> Option<Claim> {
        let (claim, label) = self.names.place_of_label(path.strip_prefix(&self.path).ok()?)?;
        let Some(label) = label else { return Some(claim) };
        let place = self.label_names.iter().position(|name| *name == label)?;
        Some(claim.of_label(place as u16 + 1))
    }

    fn unmet(&self, there: &[&Path], of: usize) -> Vec<Unmet> {
        let below = there.iter().filter_map(|path| path.strip_prefix(&self.path).ok());
        self.names.unmet(below, of)
    }
}

impl LabelSource for LabelImages {
    fn label_names(&self) -> Vec<String> {
        self.label_names.clone()
    }

    fn lies_in(&self) -> LabelsIn<'_> {
        LabelsIn::Files(self)
    }

    fn draw(&self, labels: &LabelsAt<'_>, on: &Planes<'_>) -> Result<Drawing, Reject> {
        if !labels.parts.is_empty() {
            return self.draw_parts(labels.parts, on.grid);
        }
        let path = labels.file.ok_or_else(|| vanished(labels.record))?;
        self.draw_map(&imagefile::read_labels(path)?, on.grid).map(Drawing::from)
    }
}

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    Ok(Stage::Labels(Arc::new(declared(config)?)))
}

fn declared(config: &Config) -> Result<LabelImages, Vec<FieldProblem>> {
    let names = Names::read_labels(config);
    let declared = config.get("labels").and_then(|labels| labels.as_object());
    let (mut label_names, mut labels, mut problems) = (Vec::new(), Vec::new(), Vec::new());
    let mut of_labels = Vec::new();
    for (name, values) in declared.into_iter().flatten() {
        let values: Vec<u16> = serde_json::from_value(values.clone()).unwrap_or_default();
        if values.is_empty() {
            let hint = "`[1]`, for voxels of value 1";
            problems.push(FieldProblem::new(&format!("labels.{name}"), "at least one value expected", hint));
        }
        label_names.push(name.clone());
        of_labels.push(values.clone());
        // A value that several have goes to the last.
        for value in values.into_iter().map(usize::from) {
            labels.resize(labels.len().max(value + 1), 0);
            labels[value] = label_names.len() as u16;
        }
    }
    if declared.is_none_or(serde_json::Map::is_empty) {
        let hint = "for example `{ tumour = [1] }`";
        problems.push(FieldProblem::new("labels", "at least one label expected, none found", hint));
    }
    match names {
        Ok(names) if problems.is_empty() => Ok(LabelImages {
            path: text(config, "path").into(),
            names,
            label_names,
            labels,
            by_index: text(config, "grid") == "index",
            values: of_labels,
        }),
        names => {
            problems.extend(names.err().into_iter().flatten());
            Err(problems)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn source(labels: serde_json::Value, grid: &str) -> Result<LabelImages, Vec<FieldProblem>> {
        let config = json!({ "path": "a", "files": "{case}.nii", "labels": labels, "grid": grid });
        declared(config.as_object().unwrap())
    }

    #[test]
    fn values_become_labels_and_the_last_wins() {
        let source = source(json!({ "liver": [1, 2], "tumour": [2] }), "patient").unwrap();
        assert_eq!([0, 1, 2, 3].map(|value| source.label_of(value)), [0, 1, 2, 0]);
        let grid = Geometry::axis_aligned([1, 1, 4], [1.0; 3]);
        let found = LabelMap::new(grid.clone(), vec![0, 1, 2, 9]).unwrap();
        assert_eq!(source.draw_map(&found, &grid).unwrap().voxels(), [0, 1, 2, 0]);
    }

    #[test]
    fn headers_are_believed_unless_they_are_not() {
        let found = LabelMap::new(Geometry::axis_aligned([1, 1, 3], [1.0; 3]), vec![0, 1, 1]).unwrap();
        let shifted = Geometry { origin_mm: [1.0, 0.0, 0.0], ..Geometry::axis_aligned([1, 1, 3], [1.0; 3]) };
        let drawn = |grid: &str, on: &Geometry| {
            source(json!({ "tumour": [1] }), grid)
                .unwrap()
                .draw_map(&found, on)
                .map(|map| map.voxels().to_vec())
        };
        assert_eq!(drawn("patient", &shifted).unwrap(), [1, 1, 0]);
        assert_eq!(drawn("index", &shifted).unwrap(), [0, 1, 1]);
        let larger = Geometry::axis_aligned([1, 1, 4], [1.0; 3]);
        assert_eq!(drawn("patient", &larger).unwrap(), [0, 1, 1, 0]);
        assert_eq!(drawn("index", &larger).unwrap_err().code, "LABEL_SIZE");
    }

    #[test]
    fn labels_without_values_are_refused() {
        assert_eq!(source(json!({ "tumour": [] }), "patient").unwrap_err()[0].field, "labels.tumour");
        assert_eq!(source(json!({}), "patient").unwrap_err()[0].field, "labels");
    }
}
