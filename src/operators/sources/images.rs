//! The source `images`: scans in files of other formats than DICOM.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tomoflow_connectors::{Geometry, Reject, Scan, imagefile};

use super::names::{FILES, Names, TABLE};
use crate::operators::registry::{Entry, Stage};
use crate::operators::source::{CaseFile, Claim, FileSource, FoundScan, ScanSource, SliceFile, Unmet};
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
          `rejects`. A `.zip` or `.tar` is read as a folder. Links are followed, under their own names; one to \
          another scan of the source does not count again. Two sources may have cases of one name: each counts, \
          and a note in `cases` names its source.",
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
    doc: "The folder, `.zip` or `.tar` that holds the files, relative to the pipeline file.",
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
struct Images {
    path: PathBuf,
    names: Names,
    modality: Arc<str>,
}

impl FileSource for Images {
    fn root(&self) -> &Path {
        &self.path
    }

    fn claim(&self, path: &Path) -> Option<Claim> {
        self.names.place(path.strip_prefix(&self.path).ok()?)
    }

    fn unmet(&self, there: &[&Path], of: usize) -> Vec<Unmet> {
        let below = there.iter().filter_map(|path| path.strip_prefix(&self.path).ok());
        self.names.unmet(below, of)
    }
}

impl ScanSource for Images {
    /// One file, one scan.
    fn judge(&self, _case: &str, files: &[CaseFile<'_>]) -> Vec<Result<FoundScan, Reject>> {
        vec![FoundScan::of_one_file(files, self.modality.clone())]
    }

    fn load(&self, grid: &Geometry, slices: &[SliceFile]) -> Result<Scan, Reject> {
        let [file] = slices else {
            let hint = "it is looked for again at the next run";
            return Err(Reject::new("FILE_VANISHED", "one file expected", hint));
        };
        let scan = imagefile::read_scan(&file.path)?;
        if scan.geometry() != grid {
            let message = "a scan on the grid that was indexed expected, another found";
            return Err(Reject::new("CHANGED", message, "it is read anew at the next run"));
        }
        Ok(scan)
    }
}

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    Ok(Stage::Scans(Arc::new(Images {
        path: text(config, "path").into(),
        names: Names::read(config)?,
        modality: text(config, "modality").into(),
    })))
}

/// A text of a checked configuration.
pub(super) fn text<'c>(config: &'c Config, field: &str) -> &'c str {
    config.get(field).and_then(|text| text.as_str()).unwrap_or_default()
}
