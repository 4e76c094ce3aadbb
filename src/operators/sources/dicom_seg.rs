//! The source `dicom_seg`: segmentations (DICOM SEG) in a folder, which refer to a series.

use std::sync::Arc;

use tomoflow_connectors::rtstruct::Form;

use super::crossing::CROSSES;
use super::dicom::PATH;
use super::drawn::{ABSENT, DrawnSource, HOLDS, IGNORE};
use crate::operators::registry::{Entry, Stage};
use crate::operators::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Role, Section, Spec,
};

/// The declaration of the type `dicom_seg`.
pub static SPEC: Spec = Spec {
    name: "dicom_seg",
    section: Section::Sources,
    summary: "Reads the segmentations (DICOM SEG) of a folder, as labels of the series that they refer to.",
    doc: "`segments` names the labels, in order: the first is label 1. Each label has one or more patterns, \
          which the SegmentLabel of its segments must match; `#1` is the first segment of a file, whatever its name. Binary, fractional and label-map objects are \
          read. Frames are assigned to slices by position, so that a slice without a frame is empty. A \
          segmentation on another grid than the scan's is resampled onto it by the nearest voxel. Where \
          labels overlap, the later one wins, unless they may share voxels (`crosses`).",
    version: 1,
    inputs: &[],
    output: Output::Is(Kind::Outlines),
    aspects: Aspects::Labels,
    fields: &[
        PATH,
        Field {
            name: "segments",
            kind: FieldKind::Map(&FieldKind::List { of: &FieldKind::Text, len: None }),
            default: Default::Required,
            role: Role::Semantic,
            doc: "The labels by name, each with the patterns that its segments' SegmentLabel must match: `{ \
                  liver = [\"Liver*\"] }`.",
        },
        Field {
            name: "threshold",
            kind: FieldKind::Number { min: 0.0, max: 1.0, unit: "" },
            default: Default::Json("0.5"),
            role: Role::Semantic,
            doc: "The value of a fractional segment from which on a voxel belongs to it, as a share of the \
                  greatest.",
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
    Ok(Stage::Labels(Arc::new(DrawnSource::read(config, "segments", Form::Voxels)?)))
}
