//! Structures and segments whose voxels nobody labelled: they are left out of what was drawn.

use globset::GlobMatcher;
use tomoflow_connectors::rtstruct::{Elsewhere, LeftOut, Outlines, StructureSet};
use tomoflow_connectors::{LabelMap, Reject, dicom_seg, rtstruct};

use super::super::ignore::left_out;
use super::super::patterns::glob;
use super::DrawnSource;
use crate::operators::source::{Drawing, Planes};
use crate::operators::spec::{Config, Default, Field, FieldKind, FieldProblem, Role};

/// The field for what nobody labelled.
pub const IGNORE: Field = Field {
    name: "ignore",
    kind: FieldKind::List { of: &FieldKind::Text, len: None },
    default: Default::Json("[]"),
    role: Role::SemanticLater,
    doc: "The patterns of structures or segments whose voxels nobody labelled: `[\"artefact\", \"*uncertain*\"]`. They are \
          neither background nor any label, and a structure of this list is no label's, whatever patterns it fits. No loss \
          sees the voxels, no sample is put around them, and figures of `evaluate` leave them out of the mask and of the \
          truth; a row `IGNORED` in `rejects` says of each case how many there are. A pattern that no file has a structure \
          for is a row `IGNORED_NOWHERE`.",
};

/// Reads the patterns of what is ignored, beside those of labels.
///
/// # Errors
/// What is wrong with a pattern, or that a label has the same one.
pub(super) fn patterns(
    config: &Config,
    labels: &[(String, Vec<GlobMatcher>)],
) -> Result<Vec<GlobMatcher>, Vec<FieldProblem>> {
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    let declared = config.get(IGNORE.name).and_then(|texts| texts.as_array());
    for text in declared.into_iter().flatten().filter_map(|text| text.as_str()) {
        let same = |(_, patterns): &&(String, Vec<GlobMatcher>)| {
            patterns.iter().any(|pattern| pattern.glob().glob() == text)
        };
        match (labels.iter().find(same), glob(text)) {
            (Some((name, _)), _) => {
                let message = format!("patterns that no label has expected, `{text}` is one of `{name}`");
                let hint = "what is ignored is no label's: name it in one of the two";
                problems.push(FieldProblem::new(IGNORE.name, message, hint));
            }
            (None, Ok(pattern)) => found.push(pattern),
            (None, Err(message)) => problems.push(FieldProblem::new(IGNORE.name, message, "")),
        }
    }
    if problems.is_empty() { Ok(found) } else { Err(problems) }
}

/// What nobody labelled of a scan.
#[derive(Default)]
pub(super) struct Ignored {
    voxels: Option<LabelMap>,
    /// What of it could not be found on the scan.
    notes: Vec<Reject>,
}

impl Ignored {
    /// A drawing without these voxels.
    ///
    /// # Errors
    /// `NOTHING_LABELLED` when nothing is left of it.
    pub fn of(self, mut drawn: Drawing) -> Result<Drawing, Reject> {
        drawn.notes.extend(self.notes);
        left_out(drawn, self.voxels.as_slice(), "lie in structures of `ignore`")
    }
}

impl DrawnSource {
    /// Whether nobody labelled the voxels of a structure or segment.
    pub(super) fn ignores(&self, name: &str) -> bool {
        self.label_of(name).is_none() && self.ignored.iter().any(|pattern| pattern.is_match(name))
    }

    /// The names of those, each once.
    pub(super) fn ignored_of<'a>(&self, names: impl Iterator<Item = &'a str>) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        for name in names.filter(|name| self.ignores(name)) {
            if !found.iter().any(|known| known == name) {
                found.push(name.to_owned());
            }
        }
        found
    }

    /// Draws what is ignored of structures on a scan, of which the file has those of the names `asked`. What `lost` says
    /// may be theirs, and some lie `elsewhere`.
    ///
    /// # Errors
    /// Why one that has contours cannot be drawn: its voxels would count.
    pub(super) fn ignored_contours(
        &self,
        set: &StructureSet,
        asked: &[String],
        (lost, elsewhere): (Option<&Reject>, &Elsewhere),
        on: &Planes<'_>,
    ) -> Result<Ignored, Reject> {
        if asked.is_empty() {
            return Ok(Ignored::default());
        }
        let here = |name: &String| set.structures.iter().any(|one| one.name == *name);
        let bare = |name: &&String| {
            let drawn = |one: &rtstruct::Structure| one.name == **name && !one.contours.is_empty();
            here(name) && !set.structures.iter().any(drawn)
        };
        if let (Some(lost), Some(name)) = (lost, asked.iter().find(bare)) {
            let message = format!("`{name}` has no contours: {}", lost.message);
            return Err(Reject { message, ..lost.clone() });
        }
        let drawn =
            rtstruct::rasterise_between(set, &|name| self.ignores(name).then_some(1), on.grid, on.heights)?;
        // Points bound nothing, and beside the scan there is nothing to leave out.
        let hidden = |one: &&LeftOut| {
            one.drawn == 0 && one.off_slice + one.unreadable + one.unknown_types.values().sum::<usize>() > 0
        };
        let known = |told: &Reject| told.code != "ROI_NUMBER_REPEATED" && told.code != "CONTOUR_BEYOND_SCAN";
        let why = drawn.structures.iter().filter(hidden).flat_map(LeftOut::told).find(known);
        if let Some(why) = why {
            return Err(why);
        }
        let away = asked.iter().filter(|name| !here(name)).map(|name| {
            let message = format!(
                "contours of {name:?}, which `ignore` names, on the scan expected, all of them name images of another \
                 scan, or lie in another frame of reference ({} structures)",
                elsewhere.structures.len()
            );
            Reject::new("DRAWN_ELSEWHERE", message, "nothing is left out for it")
        });
        let notes = away.chain(drawn.told()).collect();
        let voxels = drawn.labels.voxels().iter().any(|voxel| *voxel != 0).then_some(drawn.labels);
        Ok(Ignored { voxels, notes })
    }

    /// Draws what is ignored of segments on a scan.
    ///
    /// # Errors
    /// As [`dicom_seg::Segmentation::draw_telling`], but for segments that all lie beside the scan.
    pub(super) fn ignored_segments(
        &self,
        segments: &dicom_seg::Segmentation,
        on: &Planes<'_>,
    ) -> Result<Ignored, Reject> {
        let names = self.ignored_of(segments.segments().iter().map(|segment| segment.name.as_str()));
        if names.is_empty() {
            return Ok(Ignored::default());
        }
        let number = |name: &str| {
            let place = names.iter().position(|known| known == name)?;
            Some(u16::try_from(place + 1).unwrap_or(u16::MAX))
        };
        let name_of = |label: u16| names.get(usize::from(label).wrapping_sub(1)).cloned().unwrap_or_default();
        let note = |told: Reject| {
            let hint = "voxels of the scan that show it are left out, and no others";
            Reject { message: format!("`ignore`: {}", told.message), hint: hint.to_owned(), ..told }
        };
        match segments.draw_telling(number, on.grid, on.heights) {
            Ok((labels, beside, _)) => {
                let told = beside.told().into_iter().chain(beside.lost(&name_of));
                let voxels = labels.voxels().iter().any(|voxel| *voxel != 0).then_some(labels);
                Ok(Ignored { voxels, notes: told.map(note).collect() })
            }
            Err(reject) if reject.code == "OFF_GRID" => {
                Ok(Ignored { voxels: None, notes: vec![note(reject)] })
            }
            Err(reject) => Err(reject),
        }
    }

    /// Patterns of `ignore` that none of these files has a structure or segment for.
    pub(super) fn ignored_nowhere(&self, objects: &[&Outlines]) -> Vec<Reject> {
        let has = |object: &Outlines, pattern: &GlobMatcher| {
            (1..).zip(&object.structures).any(|(place, name)| pattern.is_match(&*self.name_of(place, name)))
        };
        let nowhere = |pattern: &&GlobMatcher| !objects.iter().any(|object| has(object, pattern));
        let tell = |pattern: &GlobMatcher| {
            let of = match objects.len() {
                1 => "the one file has no".to_owned(),
                files => format!("none of {files} files has a"),
            };
            let pattern = pattern.glob().glob();
            let message =
                format!("{of} structure that `ignore` names {pattern:?}: is its name the right one?");
            Reject::new("IGNORED_NOWHERE", message, "nothing is left out for it")
        };
        let asked: &[GlobMatcher] = if objects.is_empty() { &[] } else { &self.ignored };
        asked.iter().filter(nowhere).map(tell).collect()
    }
}

#[cfg(test)]
mod tests;
