//! The source `label_images`: label maps in files of other formats than DICOM.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tomoflow_connectors::{Geometry, LabelMap, Reject, imagefile};

mod onto;

use self::onto::On;
use super::drawn::HOLDS;
use super::images::{PATH, text};
use super::merged::Merged;
use super::names::{FILES, Names, TABLE};
use super::{nested, overlaps};
use crate::operators::registry::{Entry, Stage};
use crate::operators::source::{
    Claim, Drawing, FileSource, LabelPart, LabelSource, LabelsAt, LabelsIn, Planes, Unmet, vanished,
};
use crate::operators::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Role, Section, Spec,
};

/// The declaration of the type `label_images`.
pub static SPEC: Spec = Spec {
    name: "label_images",
    section: Section::Sources,
    summary: "Label maps of a folder in NIfTI, MetaImage, NRRD or NumPy's arrays, as labels of the scans that their names say.",
    doc: "`labels` names the labels, in order: the first is label 1. Each has the values that its voxels have in \
          the files; a \
          value that several have is of all of them, as in `{ liver = [1, 2], tumour = [2] }`: a map shows the \
          innermost, and scores count a label's whole region. Values that nobody declared are told of each case (`LABEL_VALUE`). The \
          case that a file's name or the table says is the scan's: the name that `images` gives it, or its \
          SeriesInstanceUID. With `{label}` in `files`, as in `\"{case}/segmentations/{label}.nii.gz\"`, each label has \
          a file of its own, in which voxels of its values are the label; files of other labels are not asked for. \
          Where labels overlap the last one of `labels` counts, and a row says how many voxels that is (`LABELS_OVERLAP`), \
          unless one is a part of the other (`holds`). A case \
          without a file for a label is unlabelled for it: a row `NO_LABEL_FILE` in `rejects`, figures of the state \
          `not_in_truth`, and no training learns from it. A map on another grid is drawn onto the scan's by the nearest voxel; with `grid = \
          \"index\"` its header is not believed, and voxels are taken one by one. So are those of NumPy's arrays (`.npz` with one \
          array, `.npy`): whole numbers `[D, H, W]` on the scan's own grid, refused as `LABEL_SIZE` where the shape is another one.",
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
            doc: "The labels, each with its values in the files: `{ liver = [1, 2], tumour = [2] }`.",
        },
        Field {
            name: "background",
            kind: FieldKind::List { of: &FieldKind::Integer { min: 1, max: 65_535 }, len: None },
            default: Default::Json("[]"),
            role: Role::SemanticLater,
            doc: "The values that count as background, so that no row tells of them: `[2, 3]`.",
        },
        Field {
            name: "ignore",
            kind: FieldKind::List { of: &FieldKind::Integer { min: 1, max: 65_535 }, len: None },
            default: Default::Json("[]"),
            role: Role::SemanticLater,
            doc: "The values of voxels that nobody labelled: `[255]`. They are neither background nor any label. No loss sees \
                  them, no sample is put around them, and figures of `evaluate` leave them out of the mask and of the truth; a \
                  row `IGNORED` in `rejects` says of each case how many there are.",
        },
        Field {
            doc: "The labels with a file each that are a part of others, which are scored with them: \
                  `{ liver = [\"lesion\"] }`. In one map values say it: `{ liver = [1, 2], lesion = [2] }`.",
            ..HOLDS
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
    /// The labels that lie within each label; empty when none does.
    nested: Vec<Vec<u16>>,
    /// Values that count as background.
    background: Vec<u16>,
    /// Values of voxels that nobody labelled.
    ignored: Vec<u16>,
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

    /// Returns the name of a label; empty for one that was not asked for.
    fn name_of(&self, label: u16) -> &str {
        self.label_names.get(usize::from(label).wrapping_sub(1)).map_or("", String::as_str)
    }

    /// A file's labels on the scan's grid.
    ///
    /// # Errors
    /// `LABEL_SIZE` when voxels are matched by their index and the sizes differ; else as
    /// [`LabelMap::onto`].
    pub fn draw_map(&self, found: &LabelMap, grid: &Geometry) -> Result<Drawing, Reject> {
        self.draw_onto(found, On { grid, by_index: self.by_index })
    }

    fn draw_onto(&self, found: &LabelMap, on: On<'_>) -> Result<Drawing, Reject> {
        let mut drawn =
            on.draw(found, &|value| self.label_of(value), &|label| self.name_of(label).to_owned())?;
        drawn.notes.extend(self.undeclared(found));
        let ignored = self.ignored_in(found, on)?;
        self.left_out(drawn, ignored.as_slice())
    }

    /// Labels that have a file each, as one map.
    fn draw_parts(&self, parts: &[LabelPart<'_>], grid: &Geometry) -> Result<Drawing, Reject> {
        let mut merged = Merged::new(grid)?;
        let mut parts: Vec<&LabelPart<'_>> = parts.iter().collect();
        parts.sort_by_key(|part| part.label);
        let name = |label: u16| self.name_of(label);
        let (mut notes, mut ignored) = (Vec::new(), Vec::new());
        for part in &parts {
            let Some(index) = usize::from(part.label).checked_sub(1) else { continue };
            let values = self.values.get(index).map_or(&[][..], Vec::as_slice);
            let found = imagefile::read_labels(part.file)?;
            let odd = |value: &&u16| **value != 0 && !values.contains(value) && !self.ignored.contains(value);
            if let Some(odd) = found.voxels().iter().find(odd) {
                let name = name(part.label);
                let message =
                    format!("values {values:?} of `{name}` and 0 expected in its file, {odd} found");
                let hint = "name all values that are the label, or mend the file";
                return Err(Reject::new("OTHER_VALUE", message, hint));
            }
            let on = self.on(part.file, grid);
            let drawn = on.draw(&found, &|value| u16::from(values.contains(&value)), &|_| {
                name(part.label).to_owned()
            })?;
            let of_label = |note: Reject| Reject {
                message: format!("`{}`: {}", name(part.label), note.message),
                ..note
            };
            notes.extend(drawn.notes.into_iter().map(of_label));
            merged.add(part.label, &drawn.labels);
            ignored.extend(self.ignored_in(&found, on)?);
        }
        let there = |label: &u16| parts.iter().any(|part| part.label == *label);
        let absent: Vec<u16> = (1..=self.label_names.len() as u16).filter(|label| !there(label)).collect();
        notes.extend(overlaps::told(merged.overlap(), &self.label_names, &self.nested));
        notes.extend(overlaps::told_outside(merged.overlap(), &self.label_names, &self.nested, &absent));
        let drawn = Drawing { notes, absent, ..Drawing::from(merged.labels(grid)?) };
        self.left_out(drawn, &ignored)
    }

    /// Values of a file that nobody declared, with how many voxels have each; none when there are none.
    fn undeclared(&self, found: &LabelMap) -> Option<Reject> {
        const SHOWN: usize = 8;
        let mut counts = vec![0usize; 1 << 16];
        found.voxels().iter().for_each(|value| counts[usize::from(*value)] += 1);
        let odd = |value: &u16| {
            counts[usize::from(*value)] > 0
                && self.label_of(*value) == 0
                && !self.background.contains(value)
                && !self.ignored.contains(value)
        };
        let odd: Vec<u16> = (1..=u16::MAX).filter(odd).collect();
        let listed = |value: &u16| format!("{value} in {} voxels", counts[usize::from(*value)]);
        let named: Vec<String> = odd.iter().take(SHOWN).map(listed).collect();
        let more = odd.len().saturating_sub(SHOWN);
        let more = if more > 0 { format!(", and {more} values more") } else { String::new() };
        let message = || format!("values that `labels` declares expected, found {}{more}", named.join(", "));
        let hint = "they count as background; declare them, or list them in `background` or `ignore`";
        (!odd.is_empty()).then(|| Reject::new("LABEL_VALUE", message(), hint))
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
        self.draw_onto(&imagefile::read_labels(path)?, self.on(path, on.grid))
    }

    fn nested(&self) -> Vec<Vec<u16>> {
        self.nested.clone()
    }
}

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    Ok(Stage::Labels(Arc::new(declared(config)?)))
}

pub(super) fn declared(config: &Config) -> Result<LabelImages, Vec<FieldProblem>> {
    let names = Names::read_labels(config);
    let declared = config.get("labels").and_then(|labels| labels.as_object());
    let (mut label_names, mut regions, mut problems) = (Vec::new(), Vec::new(), Vec::new());
    for (name, values) in declared.into_iter().flatten() {
        let values: Vec<u16> = serde_json::from_value(values.clone()).unwrap_or_default();
        if values.is_empty() {
            let hint = "`[1]`, for voxels of value 1";
            problems.push(FieldProblem::new(&format!("labels.{name}"), "at least one value expected", hint));
        }
        label_names.push(name.clone());
        regions.push(values);
    }
    let listed = |name: &str| -> Vec<u16> {
        serde_json::from_value(config.get(name).cloned().unwrap_or_default()).unwrap_or_default()
    };
    let (background, ignored) = (listed("background"), listed("ignore"));
    for (name, values) in [("background", &background), ("ignore", &ignored)] {
        if let Some(value) = values.iter().find(|value| regions.iter().any(|values| values.contains(value))) {
            let message = format!("values without a label expected, {value} has one");
            problems.push(FieldProblem::new(name, message, ""));
        }
    }
    if let Some(value) = ignored.iter().find(|value| background.contains(value)) {
        let message = format!("values that are no background expected, {value} is listed as such");
        problems.push(FieldProblem::new("ignore", message, "list it in one of the two"));
    }
    // The values of several labels are no region of each other where each label lies in a file of its own.
    let in_files = names.as_ref().is_ok_and(Names::say_labels);
    let nested = if in_files {
        match nested::held(config, &label_names) {
            Ok(nested) => Ok((Vec::new(), nested)),
            Err(found) => {
                problems.extend(found);
                Ok((Vec::new(), Vec::new()))
            }
        }
    } else {
        if config.get("holds").and_then(|holds| holds.as_object()).is_some_and(|holds| !holds.is_empty()) {
            let message =
                "labels with a file each (`{label}` in `files`, or a column `label`) expected beside `holds`";
            let hint = "in one map values say it: `labels = { liver = [1, 2], lesion = [2] }`";
            problems.push(FieldProblem::new("holds", message, hint));
        }
        nested::of_values(&regions)
    };
    let (labels, nested) = nested.unwrap_or_else(|[one, other]| {
        let name = |label: u16| label_names.get(usize::from(label) - 1).map_or("", String::as_str);
        let message = format!(
            "labels of which one holds the other, or none of the other expected; `{}` and `{}` share values, and each \
             has some of its own",
            name(one),
            name(other)
        );
        problems.push(FieldProblem::new("labels", message, "give the shared values a label of their own"));
        (Vec::new(), Vec::new())
    });
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
            nested,
            background,
            ignored,
            by_index: text(config, "grid") == "index",
            values: regions,
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
        let drawn = source.draw_map(&found, &grid).unwrap();
        assert_eq!(drawn.labels.voxels(), [0, 1, 2, 0]);
        assert_eq!(drawn.notes.len(), 1);
        assert!(drawn.notes[0].message.contains("9 in 1 voxels"), "{}", drawn.notes[0]);
        assert_eq!(source.nested(), [vec![2], Vec::new()]);
    }

    #[test]
    fn regions_nest_whatever_their_order() {
        // Whole tumour, core, and enhancing core.
        let regions = json!({ "core": [1, 3], "whole": [1, 2, 3], "enhancing": [3] });
        let nested = source(regions, "patient").unwrap();
        assert_eq!([0, 1, 2, 3].map(|value| nested.label_of(value)), [0, 1, 2, 3]);
        assert_eq!(nested.nested(), [vec![3], vec![1, 3], Vec::new()]);
        assert!(source(json!({ "a": [1], "b": [2] }), "patient").unwrap().nested().is_empty());
        let across = source(json!({ "a": [1, 2], "b": [2, 3] }), "patient").unwrap_err();
        assert!(across[0].message.contains("`a` and `b` share values"), "{}", across[0].message);
    }

    #[test]
    fn labels_with_a_file_each_may_be_parts_of_others() {
        let declare = |files: &str, holds: serde_json::Value| {
            let labels = json!({ "liver": [1], "lesion": [1] });
            let config = json!({ "path": "a", "files": files, "labels": labels, "holds": holds });
            declared(config.as_object().unwrap())
        };
        let each = "{case}/{label}.nii";
        let grid = Geometry::axis_aligned([1, 1, 4], [1.0; 3]);
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, voxels: [u16; 4]| {
            let path = folder.path().join(name);
            let labels = LabelMap::new(grid.clone(), voxels.to_vec()).unwrap();
            tomoflow_connectors::nifti::write_labels(&path, &labels).unwrap();
            path
        };
        let (liver, lesion) = (write("liver.nii", [1, 1, 1, 0]), write("lesion.nii", [0, 0, 1, 1]));
        let parts = [LabelPart { label: 1, file: &liver }, LabelPart { label: 2, file: &lesion }];
        let drawn =
            |holds: serde_json::Value| declare(each, holds).unwrap().draw_parts(&parts, &grid).unwrap();
        let told = drawn(json!({}));
        assert_eq!((told.labels.voxels(), told.notes.len()), (&[1, 1, 2, 2][..], 1));
        assert!(told.notes[0].message.contains("1 of `liver` are `lesion` as well"), "{}", told.notes[0]);
        let held = drawn(json!({ "liver": ["lesion"] }));
        // What a part has beside its whole is told.
        assert_eq!((held.labels.voxels(), held.notes.len()), (&[1, 1, 2, 2][..], 1));
        assert_eq!(held.notes[0].code, "PART_OUTSIDE");
        assert_eq!(declare(each, json!({ "liver": ["lesion"] })).unwrap().nested(), [vec![2], Vec::new()]);
        let wrong = |files, holds| declare(files, holds).unwrap_err()[0].field.clone();
        assert_eq!(wrong("{case}.nii", json!({ "liver": ["lesion"] })), "holds");
        assert_eq!(wrong(each, json!({ "liver": ["cyst"] })), "holds.liver");
    }

    #[test]
    fn values_that_count_as_background_are_not_told() {
        let config = json!({ "path": "a", "files": "{case}.nii", "labels": { "a": [1] }, "background": [2] });
        let source = declared(config.as_object().unwrap()).unwrap();
        let grid = Geometry::axis_aligned([1, 1, 3], [1.0; 3]);
        let notes = |voxels: [u16; 3]| {
            source
                .draw_map(&LabelMap::new(grid.clone(), voxels.to_vec()).unwrap(), &grid)
                .unwrap()
                .notes
                .len()
        };
        assert_eq!([notes([0, 1, 2]), notes([0, 1, 3])], [0, 1]);
        let both = json!({ "path": "a", "files": "{case}.nii", "labels": { "a": [1] }, "background": [1] });
        assert_eq!(declared(both.as_object().unwrap()).unwrap_err()[0].field, "background");
    }

    #[test]
    fn labels_beside_the_scan_are_told_or_refused() {
        let own =
            |z: f64| Geometry { origin_mm: [0.0, 0.0, z], ..Geometry::axis_aligned([4, 1, 1], [1.0; 3]) };
        let source = source(json!({ "a": [1] }), "patient").unwrap();
        let drawn = |z: f64| {
            let found = LabelMap::new(own(z), vec![0, 1, 1, 0]).unwrap();
            source.draw_map(&found, &own(0.0))
        };
        assert!(drawn(1.0).unwrap().notes.is_empty());
        let half = drawn(2.0).unwrap();
        assert_eq!(half.labels.voxels(), [0, 0, 0, 1]);
        assert_eq!(half.notes[0].code, "LABEL_BEYOND_SCAN");
        assert!(half.notes[0].message.contains("1 of 2 voxels"), "{}", half.notes[0]);
        assert_eq!(drawn(3.0).unwrap_err().code, "OFF_GRID");
    }

    #[test]
    fn a_label_between_the_scans_voxels_is_told_beside_one_that_is_met() {
        let source = source(json!({ "liver": [1], "lesion": [2] }), "patient").unwrap();
        let coarse = Geometry::axis_aligned([2, 1, 2], [4.0, 1.0, 1.0]);
        let drawn = |lesion_at: usize| {
            let mut voxels = vec![1; 12];
            voxels[2 * lesion_at] = 2;
            let found = LabelMap::new(Geometry::axis_aligned([6, 1, 2], [1.0; 3]), voxels).unwrap();
            source.draw_map(&found, &coarse).unwrap()
        };
        // Slices of the scan lie at slices 0 and 4 of the map.
        let met = drawn(4);
        assert_eq!((met.labels.voxels(), met.notes.len()), (&[1, 1, 2, 1][..], 0));
        let lost = drawn(1);
        assert_eq!(lost.labels.voxels(), [1; 4]);
        let [note] = &lost.notes[..] else { panic!("one row expected: {:?}", lost.notes) };
        assert_eq!(note.code, "LABEL_VANISHED");
        assert!(
            note.message.starts_with("`lesion`: ") && note.message.contains("1 voxels in the file"),
            "{note}"
        );
    }

    #[test]
    fn headers_are_believed_unless_they_are_not() {
        let found = LabelMap::new(Geometry::axis_aligned([1, 1, 3], [1.0; 3]), vec![0, 1, 1]).unwrap();
        let shifted = Geometry { origin_mm: [1.0, 0.0, 0.0], ..Geometry::axis_aligned([1, 1, 3], [1.0; 3]) };
        let drawn = |grid: &str, on: &Geometry| {
            source(json!({ "tumour": [1] }), grid)
                .unwrap()
                .draw_map(&found, on)
                .map(|drawn| drawn.labels.voxels().to_vec())
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
