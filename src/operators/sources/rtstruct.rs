//! The source `rtstruct`: outlines in a folder, which refer to a series.

use std::sync::Arc;

use tomoflow_connectors::rtstruct::Form;

use super::crossing::CROSSES;
use super::dicom::PATH;
use super::drawn::{ABSENT, DrawnSource, HOLDS, IGNORE};
use crate::operators::registry::{Entry, Stage};
use crate::operators::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Role, Section, Spec,
};

/// The declaration of the type `rtstruct`.
pub static SPEC: Spec = Spec {
    name: "rtstruct",
    section: Section::Sources,
    summary: "Reads the outlines (RTSTRUCT) of a folder, as labels of the series that they refer to.",
    doc: "`structures` names the labels, in order: the first is label 1. Each label has one or more \
          patterns, which the names of its structures (ROIs) must match; `#1` is the first structure of a \
          file, whatever its name. Contours of one structure on a slice combine by exclusive or, so that a \
          contour inside another is a hole. Where labels overlap, the later one wins, unless they may share voxels (`crosses`).",
    version: 1,
    inputs: &[],
    output: Output::Is(Kind::Outlines),
    aspects: Aspects::Labels,
    fields: &[
        PATH,
        Field {
            name: "structures",
            kind: FieldKind::Map(&FieldKind::List { of: &FieldKind::Text, len: None }),
            default: Default::Required,
            role: Role::Semantic,
            doc: "The labels by name, each with the patterns that its structures' names must match: `{ \
                  tumour = [\"TV\", \"*schwannoma*\"] }`.",
        },
        ABSENT,
        HOLDS,
        CROSSES,
        IGNORE,
    ],
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    Ok(Stage::Labels(Arc::new(DrawnSource::read(config, "structures", Form::Contours)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::source::LabelSource;
    use serde_json::json;

    fn source(config: &serde_json::Value) -> DrawnSource {
        DrawnSource::read(config.as_object().unwrap(), "structures", Form::Contours).unwrap()
    }

    #[test]
    fn labels_follow_the_order_of_the_file() {
        let config =
            json!({ "path": "a", "structures": { "tumour": ["TV", "*schwannoma*"], "cochlea": ["C*"] } });
        let source = source(&config);
        assert_eq!(source.label_of("left Schwannoma"), Some(1));
        assert_eq!(source.label_of("cochlea L"), Some(2));
        assert_eq!(source.label_of("skin"), None);
        assert_eq!(source.label_names(), ["tumour", "cochlea"]);
    }

    #[test]
    fn a_place_goes_before_a_name() {
        let config = json!({ "path": "a", "structures": { "cochlea": ["*"], "tumour": ["#1"] } });
        let source = source(&config);
        assert_eq!([source.name_of(1, "AN"), source.name_of(2, "AN")], ["#1", "AN"]);
        assert_eq!([source.label_of("#1"), source.label_of("AN")], [Some(2), Some(1)]);
    }

    #[test]
    fn a_label_without_patterns_is_refused() {
        let config = json!({ "path": "a", "structures": { "tumour": [] } });
        assert_eq!(build(config.as_object().unwrap()).err().unwrap()[0].field, "structures.tumour");
    }
}
