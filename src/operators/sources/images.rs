//! The source `images`: scans in files of other formats than DICOM.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tomoflow_connectors::deeplesion::Info;

use super::names::{FILES, Names, Place, TABLE};
use crate::operators::registry::{Entry, Stage};
use crate::operators::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Role, Section, Spec,
};

/// What the type declares.
pub static SPEC: Spec = Spec {
    name: "images",
    section: Section::Sources,
    summary: "Scans of a folder in NIfTI, MetaImage or NRRD, a file each.",
    doc: "A file (`.nii`, `.nii.gz`, `.mha`, `.mhd`, `.nrrd`, `.nhdr`) is a scan, and its case is called as its \
          name or a table says. Grids are taken as the files have them: any orientation, in LPS and mm. Voxels \
          of an `.mhd` or `.nhdr` lie in a file of the same name beside it, so that a change of them is seen. \
          Two files of one case are refused as `SEVERAL_FILES`; a file that cannot be read is a row in \
          `rejects`. A `.zip` or `.tar` is read as a folder.",
    version: 1,
    inputs: &[],
    output: Output::Is(Kind::Scan),
    aspects: Aspects::Both,
    fields: &[PATH, FILES, TABLE, MODALITY],
};

/// The folder of a source of image files.
pub const PATH: Field = Field {
    name: "path",
    kind: FieldKind::Path,
    default: Default::Required,
    role: Role::Operational,
    doc: "The folder, `.zip` or `.tar`, relative to the pipeline file.",
};

/// The modality, which such files do not say.
pub const MODALITY: Field = Field {
    name: "modality",
    kind: FieldKind::Text,
    default: Default::Json("\"\""),
    role: Role::Operational,
    doc: "The modality that tables show, as DICOM would call it: `\"CT\"`.",
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

/// A folder of scans.
#[derive(Clone, Debug)]
pub struct Images {
    /// The folder.
    pub path: PathBuf,
    /// How files make scans.
    pub scans: Scans,
    /// The modality that tables show.
    pub modality: Arc<str>,
}

/// How files make scans.
#[derive(Clone, Debug)]
pub enum Scans {
    /// Each file is one.
    Files(Names),
    /// Slices of DeepLesion: each folder is a series.
    Deeplesion(Arc<Info>),
}

impl Images {
    /// Whose a file is; `None` for one that is not asked for.
    pub fn place(&self, path: &Path) -> Option<Place> {
        let below = path.strip_prefix(&self.path).ok()?;
        match &self.scans {
            Scans::Files(names) => names.place(below),
            Scans::Deeplesion(_) => {
                slice_number(below)?;
                let case = below.parent()?.file_name()?.to_str()?.to_owned();
                let patient = case.split('_').next().unwrap_or(&case).to_owned();
                Some(Place { case, patient })
            }
        }
    }
}

/// The number of a slice of DeepLesion: its name is nothing else.
pub fn slice_number(path: &Path) -> Option<u32> {
    path.file_name()?.to_str()?.strip_suffix(".png")?.parse().ok()
}

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    Ok(Stage::Images(Images {
        path: text(config, "path").into(),
        scans: Scans::Files(Names::read(config)?),
        modality: text(config, "modality").into(),
    }))
}

/// A text of a checked configuration.
pub(super) fn text<'c>(config: &'c Config, field: &str) -> &'c str {
    config.get(field).and_then(|text| text.as_str()).unwrap_or_default()
}
