//! The source `dicom`: instances in a folder, filtered by tags.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use tomoflow_connectors::container::folder_of;
use tomoflow_connectors::dicom::{FILTER_KEYWORDS, Tags, can_be_kept};

use super::patterns::Patterns;
use crate::operators::registry::{Entry, Stage};
use crate::operators::source::InstanceSource;
use crate::operators::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Role, Section, Spec,
};

/// The declaration of the type `dicom`.
pub static SPEC: Spec = Spec {
    name: "dicom",
    section: Section::Sources,
    summary: "Reads the DICOM instances of a folder and all folders below it.",
    doc: "Every file is looked at, whatever its name; files that are not DICOM are counted and skipped. \
          Links to files and folders are followed, and a file that several links lead to counts once. A file \
          whose path, size, times and inode are unchanged is not read again. A `.zip` or `.tar` is read as a \
          folder, without unpacking it; a DICOMDIR stands for the folder in which it lies.\n\n\
          With `where` only instances whose tags match its patterns are kept. A pattern is a text with `*` \
          and `?` as in file names, in which upper and lower case are alike, or a range of numbers: \
          `\"0.5..2\"`, `\"..3\"` or `\"20190101..\"`. A `!` before a pattern keeps what does not match it; \
          a list matches if any of its patterns does, and a tag with several values if any of them does. Any \
          tag at the top of a data set can be named by its keyword; a keyword that was never used before \
          makes the next run read all files once more.\n\n\
          `series_per_slice` is for exports that gave each slice a SeriesInstanceUID of its own. Slices of one \
          study, patient, modality and description then form one series. It is split by frames of reference, \
          orientations and matrices, by SeriesNumber unless each slice has another one, and in all the ways in \
          which a series is split; series of several slices stay apart. The name of such a scan is made of what \
          its slices have in common, and it has a note (`SERIES_PER_SLICE`). Labels find it by the images that \
          they name and by their frame of reference. When the option is set, the files of the folder are read \
          anew, for all sources of it.",
    version: 1,
    inputs: &[],
    output: Output::Is(Kind::Instances),
    aspects: Aspects::Both,
    fields: &[
        PATH,
        Field {
            name: "where",
            kind: FieldKind::Map(&FieldKind::Either(&[
                FieldKind::Text,
                FieldKind::List { of: &FieldKind::Text, len: None },
            ])),
            default: Default::Json("{}"),
            role: Role::Operational,
            doc: "The patterns that an instance must match, all of them, by DICOM keyword: `{ Modality = \
                  \"MR\", SeriesDescription = \"!*scout*\" }`.",
        },
        Field {
            name: "series_per_slice",
            kind: FieldKind::Bool,
            default: Default::Json("false"),
            role: Role::SemanticLater,
            doc: "Whether each slice has a series of its own, so that slices are joined by what else they have in common.",
        },
    ],
};

/// The folder of a source of DICOM files.
pub const PATH: Field = Field {
    name: "path",
    kind: FieldKind::Path,
    default: Default::Required,
    role: Role::Operational,
    doc: "The folder, `.zip`, `.tar` or DICOMDIR that holds the files, relative to the pipeline file.",
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

/// A folder of instances.
#[derive(Clone, Debug)]
pub struct DicomSource {
    path: PathBuf,
    filters: Vec<(String, Patterns)>,
    series_per_slice: bool,
}

impl InstanceSource for DicomSource {
    fn root(&self) -> &Path {
        &self.path
    }

    fn keywords(&self) -> Vec<&str> {
        self.filters.iter().map(|(keyword, _)| keyword.as_str()).collect()
    }

    /// Whether the tags fit every pattern.
    fn keeps(&self, tags: &Tags) -> bool {
        self.filters
            .iter()
            .all(|(keyword, patterns)| patterns.fit(tags.get(keyword.as_str()).map_or("", String::as_str)))
    }

    fn series_per_slice(&self) -> bool {
        self.series_per_slice
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
struct Declared {
    path: PathBuf,
    r#where: BTreeMap<String, OneOrMany>,
    #[serde(default)]
    series_per_slice: bool,
}

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    let declared: Declared = crate::operators::read_config(config)?;
    let mut problems = Vec::new();
    let mut filters = Vec::new();
    for (keyword, wanted) in declared.r#where {
        if !can_be_kept(&keyword) {
            problems.push(FieldProblem::new(
                &format!("where.{keyword}"),
                format!("`{keyword}` is not a tag that can be filtered on"),
                format!(
                    "a keyword of the DICOM standard is expected, such as {}",
                    FILTER_KEYWORDS.join(", ")
                ),
            ));
            continue;
        }
        let texts = match wanted {
            OneOrMany::One(text) => vec![text],
            OneOrMany::Many(texts) => texts,
        };
        match Patterns::parse(texts.iter().map(String::as_str)) {
            Ok(patterns) => filters.push((keyword, patterns)),
            Err(message) => problems.push(FieldProblem::new(
                &format!("where.{keyword}"),
                message,
                "`*`, `?` and `[a-z]` have a meaning, `[*]` is a literal asterisk; `0.5..2` is a range",
            )),
        }
    }
    if problems.is_empty() {
        let path = folder_of(&declared.path).to_owned();
        let series_per_slice = declared.series_per_slice;
        Ok(Stage::Instances(Arc::new(DicomSource { path, filters, series_per_slice })))
    } else {
        Err(problems)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn source(filter: serde_json::Value) -> Result<Stage, Vec<FieldProblem>> {
        let config = json!({ "path": "archive", "where": filter });
        build(config.as_object().unwrap())
    }

    #[test]
    fn filters_are_patterns_and_lists_of_them() {
        let Ok(Stage::Instances(source)) =
            source(json!({ "Modality": ["MR", "CT"], "SeriesDescription": "*T2*" }))
        else {
            panic!("expected a source");
        };
        let tags = |modality: &str, description: &str| {
            BTreeMap::from([
                ("Modality".into(), modality.to_owned()),
                ("SeriesDescription".into(), description.to_owned()),
            ])
        };
        assert!(source.keeps(&tags("MR", "ax t2_space")));
        assert!(!source.keeps(&tags("MR", "ax t1")));
        assert!(!source.keeps(&tags("PT", "t2")));
    }

    #[test]
    fn unknown_tags_and_bad_patterns_are_named() {
        let problems = source(json!({ "Modalty": "MR", "Modality": "[" })).err().unwrap();
        assert_eq!(problems.len(), 2);
    }
}
