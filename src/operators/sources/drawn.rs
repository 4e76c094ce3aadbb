//! Labels in files of their own that refer to a series: what their sources have in common.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use globset::GlobMatcher;
use tomoflow_connectors::container::folder_of;
use tomoflow_connectors::rtstruct::{Form, Outlines};
use tomoflow_connectors::{Reject, dicom_seg, rtstruct};

use super::patterns::glob;
use crate::operators::source::{Drawing, LabelSource, LabelsAt, LabelsIn, Planes, vanished};
use crate::operators::spec::{Config, FieldProblem};

/// A folder of labels that refer to series.
#[derive(Clone, Debug)]
pub struct DrawnSource {
    path: PathBuf,
    /// What its files hold.
    form: Form,
    /// The share of a fractional segment from which a voxel belongs to it; 0 to 1.
    threshold: f64,
    /// Label names, from label 1 on, with the patterns of their structures or segments.
    labels: Vec<(String, Vec<GlobMatcher>)>,
}

/// How a structure is asked for by its place in the file.
fn placed(place: usize) -> String {
    format!("#{place}")
}

impl DrawnSource {
    /// Reads `path`, and labels with their patterns from the field `labels`.
    ///
    /// # Errors
    /// What is wrong with the patterns.
    pub fn read(config: &Config, labels: &'static str, form: Form) -> Result<Self, Vec<FieldProblem>> {
        let path = Path::new(config.get("path").and_then(|path| path.as_str()).unwrap_or_default());
        let threshold = config.get("threshold").and_then(serde_json::Value::as_f64).unwrap_or(0.5);
        let labels = patterns(config, labels)?;
        Ok(Self { path: folder_of(path).to_owned(), form, threshold, labels })
    }

    /// What the structure at a place of its file, from 1 on, is to be asked for by: `#1` where that place is asked for,
    /// else its own name.
    pub fn name_of<'a>(&self, place: usize, name: &'a str) -> Cow<'a, str> {
        let placed = placed(place);
        let asked =
            self.labels.iter().flat_map(|(_, patterns)| patterns).any(|one| one.glob().glob() == placed);
        if asked { Cow::Owned(placed) } else { Cow::Borrowed(name) }
    }

    /// The label of a structure or segment, from 1 on; `None` for one that was not asked for.
    ///
    /// A label that asks for a place goes before all others, whose patterns may fit it, too.
    pub fn label_of(&self, name: &str) -> Option<u16> {
        let label = |fits: &dyn Fn(&GlobMatcher) -> bool| {
            self.labels.iter().position(|(_, patterns)| patterns.iter().any(fits))
        };
        let placed = label(&|pattern| name.starts_with('#') && pattern.glob().glob() == name);
        placed.or_else(|| label(&|pattern| pattern.is_match(name))).map(|index| index as u16 + 1)
    }

    /// Outlines, drawn on a grid.
    fn contours(&self, path: &Path, on: &Planes<'_>) -> Result<Drawing, Reject> {
        let mut structures = rtstruct::read_structures(path)?;
        for (place, structure) in (1..).zip(&mut structures.structures) {
            structure.name = self.name_of(place, &structure.name).into_owned();
        }
        let label_of = |name: &str| self.label_of(name);
        let drawn = rtstruct::rasterise_between(&structures, &label_of, on.grid, on.heights)?;
        for told in drawn.told() {
            tracing::warn!("{}: {told}", path.display());
        }
        if let Some(nothing) = drawn.nothing() {
            return Err(nothing);
        }
        let (off_slice, skipped) = (drawn.off_slice, drawn.skipped);
        Ok(Drawing { off_slice, skipped, ..Drawing::from(drawn.labels) })
    }
}

impl LabelSource for DrawnSource {
    fn label_names(&self) -> Vec<String> {
        self.labels.iter().map(|(name, _)| name.clone()).collect()
    }

    fn lies_in(&self) -> LabelsIn<'_> {
        LabelsIn::Objects { root: &self.path, form: self.form }
    }

    fn asks_for(&self, outlines: &Outlines) -> Result<(), Reject> {
        let asked = |(place, name): (usize, &String)| self.label_of(&self.name_of(place, name)).is_some();
        if (1..).zip(&outlines.structures).any(asked) {
            return Ok(());
        }
        let globs = self.labels.iter().flat_map(|(_, patterns)| patterns).map(|one| one.glob().glob());
        let message = format!(
            "a structure or segment named {} expected, the file has {}",
            listed(globs, " or "),
            listed(outlines.structures.iter().map(String::as_str), ", ")
        );
        let hint = "the scan counts as unlabelled; compare the names, `[\"*\"]` fits every one";
        Err(Reject::new("NO_STRUCTURE", message, hint))
    }

    fn draw(&self, labels: &LabelsAt<'_>, on: &Planes<'_>) -> Result<Drawing, Reject> {
        let path = labels.file.ok_or_else(|| vanished(labels.record))?;
        match self.form {
            Form::Contours => self.contours(path, on),
            Form::Voxels => dicom_seg::read_with_threshold(path, self.threshold)?
                .draw_between(|name| self.label_of(name), on.grid, on.heights)
                .map(Drawing::from),
        }
    }
}

/// Names in quotes, the first of many.
fn listed<'a>(names: impl Iterator<Item = &'a str>, between: &str) -> String {
    const SHOWN: usize = 12;
    let mut names: Vec<String> = names.map(|name| format!("{name:?}")).collect();
    if names.is_empty() {
        return "none".to_owned();
    }
    let more = names.len().saturating_sub(SHOWN);
    names.truncate(SHOWN);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    names.join(between) + &rest
}

fn patterns(
    config: &Config,
    field: &'static str,
) -> Result<Vec<(String, Vec<GlobMatcher>)>, Vec<FieldProblem>> {
    let (mut problems, mut labels) = (Vec::new(), Vec::new());
    let declared = config.get(field).and_then(|table| table.as_object());
    for (name, texts) in declared.into_iter().flatten() {
        let place = format!("{field}.{name}");
        let mut patterns = Vec::new();
        for text in texts.as_array().into_iter().flatten().filter_map(|text| text.as_str()) {
            match glob(text) {
                Ok(pattern) => patterns.push(pattern),
                Err(message) => problems.push(FieldProblem::new(&place, message, "")),
            }
        }
        if patterns.is_empty() {
            let hint = "`[\"*\"]` fits every name";
            problems.push(FieldProblem::new(&place, "at least one pattern expected", hint));
        }
        labels.push((name.clone(), patterns));
    }
    if labels.is_empty() {
        let hint = "for example `{ tumour = [\"TV\"] }`";
        problems.push(FieldProblem::new(field, "at least one label expected, none found", hint));
    }
    if problems.is_empty() { Ok(labels) } else { Err(problems) }
}
