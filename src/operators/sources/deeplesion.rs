//! The sources `deeplesion` and `deeplesion_boxes`: the data set's slices, and its boxes as labels.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tomoflow_connectors::deeplesion::{Info, read_info};

use super::images::{Images, PATH, Scans, text};
use crate::operators::registry::{Entry, Stage};
use crate::operators::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Role, Section, Spec,
};

const INFO: Field = Field {
    name: "info",
    kind: FieldKind::Path,
    default: Default::Required,
    role: Role::Operational,
    doc: "`DL_info.csv`, as it was published; it is read when a run starts.",
};

/// What the type `deeplesion` declares.
pub static SCANS: Spec = Spec {
    name: "deeplesion",
    section: Section::Sources,
    summary: "Scans of DeepLesion: PNG slices in a folder for each series, with spacings from `DL_info.csv`.",
    doc: "HU = value − 32768. Slices with consecutive numbers are one scan, `[D, H, W]` from the feet up (the \
          data set numbers them from the head down); a series with several runs of them is several scans, \
          `000001_01_01`, `000001_01_01#1`, …. The patient is the folder's first number. A folder that the table \
          does not know is refused as `NOT_IN_TABLE`.",
    version: 1,
    inputs: &[],
    output: Output::Is(Kind::Scan),
    aspects: Aspects::Both,
    fields: &[PATH, INFO],
};

/// What the type `deeplesion_boxes` declares.
pub static BOXES: Spec = Spec {
    name: "deeplesion_boxes",
    section: Section::Sources,
    summary: "Boxes of `DL_info.csv`, as labels of the scans of `deeplesion`.",
    doc: "The box of each lesion on its key slice is label 1, `lesion`: voxels whose centres lie in it. Pixels \
          are counted from 1 in the table. Lesions that its authors call possibly noisy are left out.",
    version: 1,
    inputs: &[],
    output: Output::Is(Kind::Outlines),
    aspects: Aspects::Labels,
    fields: &[INFO],
};

/// The registry's entry of `deeplesion`.
pub const ENTRY: Entry = Entry { spec: &SCANS, build: build_scans };

/// The registry's entry of `deeplesion_boxes`.
pub const BOXES_ENTRY: Entry = Entry { spec: &BOXES, build: build_boxes };

/// Boxes as labels.
#[derive(Clone, Debug)]
pub struct Boxes {
    /// The table.
    pub path: PathBuf,
    /// What it says.
    pub info: Arc<Info>,
}

fn read(config: &Config) -> Result<Arc<Info>, Vec<FieldProblem>> {
    read_info(Path::new(text(config, "info")))
        .map(Arc::new)
        .map_err(|reject| vec![FieldProblem::new("info", reject.message, reject.hint)])
}

fn build_scans(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    Ok(Stage::Images(Images {
        path: text(config, "path").into(),
        scans: Scans::Deeplesion(read(config)?),
        modality: "CT".into(),
    }))
}

fn build_boxes(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    Ok(Stage::Boxes(Boxes { path: text(config, "info").into(), info: read(config)? }))
}
