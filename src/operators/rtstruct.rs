//! The source `rtstruct`: outlines in a folder, which refer to a series.

use std::path::PathBuf;

use globset::GlobMatcher;

use super::registry::{Entry, Stage};
use super::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Role, Section, Spec,
};

/// What the type declares.
pub static SPEC: Spec = Spec {
    name: "rtstruct",
    section: Section::Sources,
    summary: "Outlines (RTSTRUCT) of a folder, as labels of the series that they refer to.",
    doc: "`structures` names the labels, in order: the first is label 1. Each has one or more patterns for \
          the names of its structures (ROIs). Contours of one structure on a slice combine by exclusive or, \
          so that a contour inside another is a hole; where labels overlap, the later one wins.",
    version: 1,
    inputs: &[],
    output: Output::Is(Kind::Outlines),
    aspects: Aspects::Labels,
    fields: &[
        Field {
            name: "path",
            kind: FieldKind::Path,
            default: Default::Required,
            role: Role::Operational,
            doc: "The folder, relative to the pipeline file.",
        },
        Field {
            name: "structures",
            kind: FieldKind::Map(&FieldKind::List { of: &FieldKind::Text, len: None }),
            default: Default::Required,
            role: Role::Semantic,
            doc: "Labels and the patterns of their structures' names: `{ tumour = [\"TV\", \"*schwannoma*\"] }`.",
        },
    ],
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

/// A folder of outlines.
#[derive(Clone, Debug)]
pub struct RtstructSource {
    /// The folder.
    pub path: PathBuf,
    /// Label names, from label 1 on, with the patterns of their structures.
    pub structures: Vec<(String, Vec<GlobMatcher>)>,
}

impl RtstructSource {
    /// The label of a structure's name, from 1 on; `None` for one that was not asked for.
    pub fn label_of(&self, structure: &str) -> Option<u16> {
        self.structures
            .iter()
            .position(|(_, patterns)| patterns.iter().any(|pattern| pattern.is_match(structure)))
            .map(|index| index as u16 + 1)
    }

    /// Label names, from label 1 on.
    pub fn label_names(&self) -> Vec<String> {
        self.structures.iter().map(|(name, _)| name.clone()).collect()
    }
}

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    let path = config.get("path").and_then(|path| path.as_str()).unwrap_or_default().into();
    let mut problems = Vec::new();
    let mut structures = Vec::new();
    let declared = config.get("structures").and_then(|table| table.as_object());
    for (name, texts) in declared.into_iter().flatten() {
        let field = format!("structures.{name}");
        let mut patterns = Vec::new();
        for text in texts.as_array().into_iter().flatten().filter_map(|text| text.as_str()) {
            match super::patterns::glob(text) {
                Ok(pattern) => patterns.push(pattern),
                Err(message) => problems.push(FieldProblem::new(&field, message, "")),
            }
        }
        if patterns.is_empty() {
            problems.push(FieldProblem::new(
                &field,
                "at least one pattern expected",
                "`[\"*\"]` fits every structure",
            ));
        }
        structures.push((name.clone(), patterns));
    }
    if structures.is_empty() {
        problems.push(FieldProblem::new(
            "structures",
            "at least one label expected, none found",
            "for example `{ tumour = [\"TV\"] }`",
        ));
    }
    if problems.is_empty() { Ok(Stage::Rtstruct(RtstructSource { path, structures })) } else { Err(problems) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn labels_follow_the_order_of_the_file() {
        let config =
            json!({ "path": "a", "structures": { "tumour": ["TV", "*schwannoma*"], "cochlea": ["C*"] } });
        let Ok(Stage::Rtstruct(source)) = build(config.as_object().unwrap()) else {
            panic!("expected a source")
        };
        assert_eq!(source.label_of("left Schwannoma"), Some(1));
        assert_eq!(source.label_of("cochlea L"), Some(2));
        assert_eq!(source.label_of("skin"), None);
        assert_eq!(source.label_names(), ["tumour", "cochlea"]);
    }

    #[test]
    fn a_label_without_patterns_is_refused() {
        let config = json!({ "path": "a", "structures": { "tumour": [] } });
        assert_eq!(build(config.as_object().unwrap()).err().unwrap()[0].field, "structures.tumour");
    }
}
