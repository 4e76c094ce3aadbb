//! The source `label_images`: label maps in files of other formats than DICOM.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tomoflow_connectors::{Geometry, LabelMap, Reject, imagefile};

mod onto;
#[cfg(test)]
mod shared;
#[cfg(test)]
mod tests;

use self::onto::On;
use super::crossing::{self, CROSSES, Shares};
use super::drawn::HOLDS;
use super::images::{PATH, text};
use super::merged::Merged;
use super::names::{FILES, Names, TABLE};
use super::nested::{self, OfValues};
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
    summary: "Reads the label maps of a folder (NIfTI, MetaImage, NRRD, NumPy), as labels of the scans that \
              their names say.",
    doc: "`labels` names the labels, in order: the first is label 1. Each label lists the values that its \
          voxels have in the files. A value may belong to several labels, as 2 in `{ liver = [1, 2], tumour \
          = [2] }`: a label map then shows the innermost label, and scores count a label's whole region. \
          Labels that share a value without one holding the other cross, and each has all of its values. \
          Values that no label lists are reported for each case (`LABEL_VALUE`). The case that a file's name \
          or the table gives must be that of the scan: the name that `images` gives it, or its \
          SeriesInstanceUID. With `{label}` in `files`, as in `\"{case}/segmentations/{label}.nii.gz\"`, \
          each label has a file of its own, in which the voxels with its values are the label; files of \
          labels that are not listed are not read. Where labels of several files overlap, the last one in \
          `labels` counts, and a row `LABELS_OVERLAP` in `rejects` gives the number of voxels, unless one label is a \
          part of the other (`holds`) or both may have the voxel (`crosses`). A case without a file for a label is unlabelled for it: it has a row \
          `NO_LABEL_FILE` in `rejects`, its figures for that label have the state `not_in_truth`, and no \
          training learns from it. A map on another grid is resampled onto the scan's by the nearest voxel; \
          with `grid = \"index\"` its header is ignored, and voxels are matched by index. NumPy arrays \
          (`.npy`, or `.npz` with one array) have no header and are matched by index, too: whole numbers \
          `[D, H, W]` on the scan's own grid. An array of another shape is refused as `LABEL_SIZE`.",
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
            doc: "The labels by name, each with the values of its voxels in the files: `{ liver = [1, 2], \
                  tumour = [2] }`.",
        },
        Field {
            name: "background",
            kind: FieldKind::List { of: &FieldKind::Integer { min: 1, max: 65_535 }, len: None },
            default: Default::Json("[]"),
            role: Role::SemanticLater,
            doc: "The values that count as background beside 0, so that no row `LABEL_VALUE` reports them: \
                  `[2, 3]`.",
        },
        Field {
            name: "ignore",
            kind: FieldKind::List { of: &FieldKind::Integer { min: 1, max: 65_535 }, len: None },
            default: Default::Json("[]"),
            role: Role::SemanticLater,
            doc: "The values of voxels that nobody labelled: `[255]`. Such voxels are neither background nor \
                  any label: losses leave them out, no sample is centred on them, and `evaluate` leaves them \
                  out of the mask and of the truth. A row `IGNORED` in `rejects` gives their number in each \
                  case.",
        },
        Field {
            doc: "The labels that are parts of other labels and are scored with them, where each label has a \
                  file of its own: `{ liver = [\"lesion\"] }`. In a single map the values of `labels` say \
                  the same: `{ liver = [1, 2], lesion = [2] }`.",
            ..HOLDS
        },
        Field {
            doc: "The labels with a file each that may share voxels though none is a part of the other: `[[\"tumour\", \
                  \"oedema\"]]`. In one map values say it: `{ tumour = [1, 2], oedema = [2, 3] }`. Each is learned with \
                  `activation = \"sigmoid\"` and scored as it was drawn.",
            ..CROSSES
        },
        Field {
            name: "grid",
            kind: FieldKind::Choice(&["patient", "index"]),
            default: Default::Json("\"patient\""),
            role: Role::Semantic,
            doc: "How voxels of a label map are matched to those of the scan: by their position in the \
                  patient, or by their index, for files whose header is known to be wrong. With `index` both \
                  sizes must be equal.",
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
    /// What labels hold, and which share values or voxels.
    shares: Shares,
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
        let names = self.value_names();
        let name = |value: u16| names.get(usize::from(value).wrapping_sub(1)).cloned().unwrap_or_default();
        let mut drawn = on.draw(found, &|value| self.label_of(value), &name, &self.shares)?;
        drawn.notes.extend(self.undeclared(found));
        let ignored = self.ignored_in(found, on)?;
        self.left_out(drawn, ignored.as_slice())
    }

    /// Labels that have a file each, as one map.
    fn draw_parts(&self, parts: &[LabelPart<'_>], grid: &Geometry) -> Result<Drawing, Reject> {
        let mut merged = Merged::over(grid, self.shares.overlap())?;
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
            let drawn = on.draw(
                &found,
                &|value| u16::from(values.contains(&value)),
                &|_| name(part.label).to_owned(),
                &Shares::default(),
            )?;
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
        notes.extend(self.shares.told(merged.overlap(), &self.label_names, &absent));
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
        self.shares.nested().to_vec()
    }

    fn sets(&self) -> Vec<Vec<u16>> {
        self.shares.sets().to_vec()
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
    let in_files = names.as_ref().is_ok_and(Names::say_labels);
    let (labels, shares) = shares_of(config, in_files, &label_names, &regions, &mut problems);
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
            shares,
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

/// The label of each value, and what labels hold and share.
fn shares_of(
    config: &Config,
    in_files: bool,
    label_names: &[String],
    regions: &[Vec<u16>],
    problems: &mut Vec<FieldProblem>,
) -> (Vec<u16>, Shares) {
    // The values of several labels are no region of each other where each label lies in a file of its own.
    if in_files {
        let shares = in_files_of(config, label_names).unwrap_or_else(|found| {
            problems.extend(found);
            Shares::default()
        });
        return (Vec::new(), shares);
    }
    if config.get("holds").and_then(|holds| holds.as_object()).is_some_and(|holds| !holds.is_empty()) {
        let message =
            "labels with a file each (`{label}` in `files`, or a column `label`) expected beside `holds`";
        let hint = "in one map values say it: `labels = { liver = [1, 2], lesion = [2] }`";
        problems.push(FieldProblem::new("holds", message, hint));
    }
    if config.get("crosses").and_then(|lists| lists.as_array()).is_some_and(|lists| !lists.is_empty()) {
        let message =
            "labels with a file each (`{label}` in `files`, or a column `label`) expected beside `crosses`";
        let hint = "in one map values say it: `labels = { tumour = [1, 2], oedema = [2, 3] }`";
        problems.push(FieldProblem::new("crosses", message, hint));
    }
    let OfValues { labels, nested, sets } = nested::of_values(regions);
    if let Some(message) = crossing::unfit(label_names, &sets) {
        problems.push(FieldProblem::new("labels", message, "let fewer labels share values"));
    }
    (labels, Shares::of_map(nested, sets))
}

/// What labels with a file each hold and share.
fn in_files_of(config: &Config, label_names: &[String]) -> Result<Shares, Vec<FieldProblem>> {
    let nested = nested::held(config, label_names)?;
    let sets = crossing::declared(config, label_names, &nested)?;
    Ok(Shares::new(label_names.len(), nested, sets))
}
