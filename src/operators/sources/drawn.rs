//! Labels in files of their own that refer to a series: what their sources have in common.

mod ignore;
#[cfg(test)]
mod shared;
#[cfg(test)]
mod written;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use globset::GlobMatcher;
use tomoflow_connectors::container::folder_of;
use tomoflow_connectors::rtstruct::{Elsewhere, Form, Outlines};
use tomoflow_connectors::{Overlap, Reject, dicom_seg, rtstruct};

pub use self::ignore::IGNORE;
use super::crossing::{self, Shares};
use super::nested::held;
use super::patterns::glob;
use crate::operators::source::{Drawing, DrawnOn, LabelSource, LabelsAt, LabelsIn, Planes, quoted, vanished};
use crate::operators::spec::{Config, Default, Field, FieldKind, FieldProblem, Role};

/// A folder of labels that refer to series.
#[derive(Clone, Debug)]
pub struct DrawnSource {
    path: PathBuf,
    /// The form of what the files hold.
    form: Form,
    /// Whether a structure that an object does not have is an empty one.
    absent_is_empty: bool,
    /// The share of a fractional segment from which a voxel belongs to it; 0 to 1.
    threshold: f64,
    /// Label names, from label 1 on, with the patterns of their structures or segments.
    labels: Vec<(String, Vec<GlobMatcher>)>,
    /// What labels hold, and which may share voxels.
    shares: Shares,
    /// The patterns of structures or segments whose voxels nobody labelled.
    ignored: Vec<GlobMatcher>,
}

/// The field for what a label is of which an object has no structure.
pub const ABSENT: Field = Field {
    name: "absent",
    kind: FieldKind::Choice(&["unknown", "empty"]),
    default: Default::Json("\"unknown\""),
    role: Role::SemanticLater,
    doc: "The meaning of a file without a structure for a label: nobody looked for it (`unknown`, so that \
          the scan is neither trained on nor scored for this label), or it is not there (`empty`).",
};

/// The field for which labels are a part of which.
pub const HOLDS: Field = Field {
    name: "holds",
    kind: FieldKind::Map(&FieldKind::List { of: &FieldKind::Text, len: None }),
    default: Default::Json("{}"),
    role: Role::SemanticLater,
    doc: "The labels that are parts of other labels and are scored with them: `{ liver = [\"lesion\"] }`. \
          For labels that are not listed here a voxel that two structures share belongs to the later label \
          alone, and a row `LABELS_OVERLAP` in `rejects` gives the number of such voxels in each case.",
};

/// Returns how a structure is asked for by its place in the file.
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
        let absent_is_empty = config.get("absent").and_then(|absent| absent.as_str()) == Some("empty");
        let names: Vec<String> = labels.iter().map(|(name, _)| name.clone()).collect();
        let nested = held(config, &names)?;
        let sets = crossing::declared(config, &names, &nested)?;
        let shares = Shares::new(names.len(), nested, sets);
        let (path, ignored) = (folder_of(path).to_owned(), ignore::patterns(config, &labels)?);
        Ok(Self { path, form, absent_is_empty, threshold, labels, shares, ignored })
    }

    /// Returns what the structure at a place of its file, from 1 on, is to be asked for by: `#1` where that
    /// place is asked for, else its own name.
    pub fn name_of<'a>(&self, place: usize, name: &'a str) -> Cow<'a, str> {
        let placed = placed(place);
        let patterns = self.labels.iter().flat_map(|(_, patterns)| patterns).chain(&self.ignored);
        let asked = patterns.into_iter().any(|one| one.glob().glob() == placed);
        if asked { Cow::Owned(placed) } else { Cow::Borrowed(name) }
    }

    /// The label of a structure or segment, from 1 on; `None` for one that was not asked for, or that `ignore` names.
    ///
    /// A label that asks for a place goes before all others, whose patterns may fit it, too; then goes `ignore`.
    pub fn label_of(&self, name: &str) -> Option<u16> {
        let label = |fits: &dyn Fn(&GlobMatcher) -> bool| {
            self.labels.iter().position(|(_, patterns)| patterns.iter().any(fits))
        };
        let placed = label(&|pattern| name.starts_with('#') && pattern.glob().glob() == name);
        let named = || match self.ignored.iter().any(|pattern| pattern.is_match(name)) {
            true => None,
            false => label(&|pattern| pattern.is_match(name)),
        };
        placed.or_else(named).map(|index| index as u16 + 1)
    }

    /// Reads outlines and draws them on a grid.
    fn contours(&self, path: &Path, scan: &DrawnOn, on: &Planes<'_>) -> Result<Drawing, Reject> {
        let mut structures = rtstruct::read_structures(path)?;
        for (place, structure) in (1..).zip(&mut structures.structures) {
            structure.name = self.name_of(place, &structure.name).into_owned();
        }
        let label_of = |name: &str| self.label_of(name);
        let asked: BTreeSet<u16> = structures.structures.iter().filter_map(|s| label_of(&s.name)).collect();
        let lost_contours = structures.lost();
        let bare = self.without_contours(&structures);
        let ignored = self.ignored_of(structures.structures.iter().map(|one| one.name.as_str()));
        let elsewhere = structures.keep_on(&scan.frame_of_reference, |uid| scan.whose(uid));
        let here: BTreeSet<u16> = structures.structures.iter().filter_map(|s| label_of(&s.name)).collect();
        let lost = asked.difference(&here).find(|label| !scan.absent.contains(label));
        if let Some((name, _)) = lost.and_then(|label| self.labels.get(usize::from(*label) - 1)) {
            return Err(all_elsewhere(name, &elsewhere));
        }
        let over = self.shares.overlap();
        let drawn = rtstruct::rasterise_over(&structures, &label_of, on.grid, on.heights, over)?;
        if let (Some(lost), Some(label)) = (&lost_contours, bare.intersection(&here).next()) {
            let name = self.labels.get(usize::from(*label) - 1).map_or("", |(name, _)| name.as_str());
            let message = format!("`{name}` has no contours: {}", lost.message);
            return Err(Reject { message, ..lost.clone() });
        }
        if let Some(nothing) = drawn.nothing() {
            return Err(nothing);
        }
        let left_out =
            self.ignored_contours(&structures, &ignored, (lost_contours.as_ref(), &elsewhere), on)?;
        let told = lost_contours.into_iter().chain(drawn.told()).chain(self.vanished(&drawn));
        let notes = told.chain(self.overlaps(&drawn.over, &scan.absent)).collect();
        left_out.of(Drawing { notes, ..Drawing::from(drawn.labels) })
    }
}

impl DrawnSource {
    /// Returns what is told of labels of which contours were drawn, all without a word, and no voxel came of any.
    fn vanished(&self, drawn: &rtstruct::Drawn) -> Vec<Reject> {
        let labels: BTreeSet<u16> = drawn.structures.iter().map(|one| one.label).collect();
        let told = |label: u16| {
            let own = || drawn.structures.iter().filter(|one| one.label == label);
            let contours: usize = own().map(|one| one.drawn).sum();
            let [_, voxels] = drawn.over.outside(label, &[]);
            let silent = own().all(|one| one.told().is_empty());
            let name = self.labels.get(usize::from(label).checked_sub(1)?).map(|(name, _)| name)?;
            let message = format!(
                "`{name}`: a voxel of the scan's grid that shows it expected, none of its {contours} contours holds the \
                 centre of one"
            );
            let hint = "they are smaller than voxels, or undo one another: its truth is empty";
            (contours > 0 && voxels == 0 && silent).then(|| Reject::new("LABEL_VANISHED", message, hint))
        };
        labels.into_iter().filter_map(told).collect()
    }

    /// The labels whose structures are in the file, all of them without contours.
    fn without_contours(&self, set: &rtstruct::StructureSet) -> BTreeSet<u16> {
        let labels = |drawn: bool| -> BTreeSet<u16> {
            let of = set.structures.iter().filter(|one| one.contours.is_empty() != drawn);
            of.filter_map(|one| self.label_of(&one.name)).collect()
        };
        labels(false).difference(&labels(true)).copied().collect()
    }

    /// Returns what is told of a fractional segment that was asked for and lies below the threshold
    /// everywhere.
    fn faint(&self, segment: &dicom_seg::Segment) -> Option<Reject> {
        let asked = self.label_of(&segment.name).is_some() || self.ignores(&segment.name);
        let message = || {
            format!(
                "`{}`: fractions of at least {} expected, none of {} voxels above 0 has one",
                segment.name, self.threshold, segment.faint
            )
        };
        let hint = "nothing of it is drawn; `threshold` says from which fraction a voxel counts";
        (asked && segment.faint > 0).then(|| Reject::new("BELOW_THRESHOLD", message(), hint))
    }

    /// Returns what is told of labels that share voxels, and of parts beyond what holds them.
    fn overlaps(&self, over: &Overlap, absent: &[u16]) -> Vec<Reject> {
        self.shares.told(over, &self.label_names(), absent)
    }
}

impl LabelSource for DrawnSource {
    fn nested(&self) -> Vec<Vec<u16>> {
        self.shares.nested().to_vec()
    }

    fn by_place(&self) -> bool {
        // Structures always were.
        let patterns = self.labels.iter().flat_map(|(_, patterns)| patterns);
        self.form == Form::Voxels && patterns.into_iter().any(|one| one.glob().glob().starts_with('#'))
    }

    fn sets(&self) -> Vec<Vec<u16>> {
        self.shares.sets().to_vec()
    }

    fn unmet_in(&self, objects: &[&Outlines]) -> Vec<Reject> {
        self.ignored_nowhere(objects)
    }

    fn label_names(&self) -> Vec<String> {
        self.labels.iter().map(|(name, _)| name.clone()).collect()
    }

    fn lies_in(&self) -> LabelsIn<'_> {
        LabelsIn::Objects { root: &self.path, form: self.form }
    }

    fn asks_for(&self, outlines: &Outlines, here: &dyn Fn(usize) -> bool) -> Result<Vec<u16>, Reject> {
        if self.absent_is_empty {
            return Ok(Vec::new());
        }
        let label = |(place, name): (usize, &String)| self.label_of(&self.name_of(place + 1, name));
        let named = || outlines.structures.iter().enumerate();
        let found: BTreeSet<u16> = named().filter(|(place, _)| here(*place)).filter_map(label).collect();
        if !found.is_empty() {
            return Ok((1..=self.labels.len() as u16).filter(|label| !found.contains(label)).collect());
        }
        if named().any(|structure| label(structure).is_some()) {
            let message = "structures in the scan's frame of reference expected, those that are asked for lie in another";
            let hint = "they are another scan's labels; this one counts as unlabelled";
            return Err(Reject::new("DRAWN_ELSEWHERE", message, hint));
        }
        let globs = self.labels.iter().flat_map(|(_, patterns)| patterns).map(|one| one.glob().glob());
        let message = format!(
            "a structure or segment named {} expected, the file has {}",
            quoted(globs, " or "),
            quoted(outlines.structures.iter().map(String::as_str), ", ")
        );
        let hint = "the scan counts as unlabelled; compare the names, `[\"*\"]` fits every one";
        Err(Reject::new("NO_STRUCTURE", message, hint))
    }

    fn draw(&self, labels: &LabelsAt<'_>, on: &Planes<'_>) -> Result<Drawing, Reject> {
        let path = labels.file.ok_or_else(|| vanished(labels.record))?;
        match self.form {
            Form::Contours => self.contours(path, labels.scan, on),
            Form::Voxels => {
                let absent = &labels.scan.absent;
                let segments = dicom_seg::read_with_threshold(path, self.threshold)?;
                let segments = segments.renamed(|place, name| self.name_of(place, name).into_owned());
                let over = self.shares.overlap();
                let (labels, beside, over) =
                    segments.draw_over(|name| self.label_of(name), on.grid, on.heights, over)?;
                let (beside, names) = (self.shares.shown(beside, &labels), self.value_names());
                let name_of = |label: u16| {
                    let place = usize::from(label).wrapping_sub(1);
                    names.get(place).cloned().unwrap_or_default()
                };
                let faint = segments.segments().iter().filter_map(|segment| self.faint(segment));
                let told = beside.told().into_iter().chain(beside.lost(&name_of)).chain(faint);
                let notes = told.chain(self.overlaps(&over, absent)).collect();
                self.ignored_segments(&segments, on)?.of(Drawing { notes, ..Drawing::from(labels) })
            }
        }
    }
}

/// Why a label that the file has contours for is not drawn on a scan.
fn all_elsewhere(label: &str, elsewhere: &Elsewhere) -> Reject {
    let message = format!(
        "contours of {label:?} on the scan expected, all of them name images of another scan, or lie in another \
         frame of reference ({} structures)",
        elsewhere.structures.len()
    );
    let hint = "give each scan structures of its own, or ask for the label in a source of its own";
    Reject::new("DRAWN_ELSEWHERE", message, hint)
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
