//! The sink `files`: masks as files for other programs.

mod settings;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use tomoflow_connectors::dicom_seg::Code;

pub use self::settings::{Coded, FileFormat, Files};
use crate::operators::registry::{Entry, Stage};
use crate::operators::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Port, Role, Section, Spec,
};

/// The declaration of the type `files`.
pub static SPEC: Spec = Spec {
    name: "files",
    section: Section::Sinks,
    summary: "Writes masks as NIfTI, NRRD, MetaImage, DICOM SEG or RTSTRUCT, one file for each scan.",
    doc: "The folder always follows the pipeline and the archive: a file is written when its mask is made, \
          replaced when the mask changes, and deleted with its scan; files that the sink did not write stay. \
          A file that somebody changed or removed is written again by the next run, which says so. Masks are \
          on the scan's original grid. DICOM objects refer to the scan's instances and name its patient, so \
          that they need `identifiers = \"clear\"`. A file is named after its case as tables show it, with \
          the stage's name before the ending if the sink has several inputs.",
    version: 1,
    inputs: &[Port { name: "masks", accepts: &[Kind::Masks], many: true }],
    output: Output::Nothing,
    aspects: Aspects::Both,
    fields: &[
        Field {
            name: "path",
            kind: FieldKind::Path,
            default: Default::Required,
            role: Role::Operational,
            doc: "The folder that files are written to, relative to the pipeline file; it is created when it \
                  is absent.",
        },
        Field {
            name: "format",
            kind: FieldKind::Choice(&[
                "nifti",
                "nrrd",
                "metaimage",
                "dicom_seg",
                "dicom_labelmap",
                "rtstruct",
            ]),
            default: Default::Json("\"nifti\""),
            role: Role::Operational,
            doc: "The format of the files: `.nii.gz` (`nifti`), `.seg.nrrd` with names as in 3D Slicer \
                  (`nrrd`), `.mha` (`metaimage`), DICOM SEG with a bit for each voxel of each label \
                  (`dicom_seg`) or with one label for each voxel (`dicom_labelmap`), or `rtstruct`.",
        },
        Field {
            name: "scans",
            kind: FieldKind::Bool,
            default: Default::Json("false"),
            role: Role::Operational,
            doc: "Whether scans are written beside their masks; they are never written as DICOM, since the \
                  archive has them so.",
        },
        Field {
            name: "codes",
            kind: FieldKind::Map(&FieldKind::Table(&[CATEGORY, TYPE, REGION])),
            default: Default::Json("{}"),
            role: Role::Operational,
            doc: "The codes that say what each label is, for DICOM SEG, each as value, scheme and meaning: \
                  `{ tumour = { type = [\"86049000\", \"SCT\", \"Neoplasm, Primary\"], region = \
                  [\"12738006\", \"SCT\", \"Brain\"] } }`. `tomoflow export` takes them from here as well.",
        },
    ],
};

const CODE: FieldKind = FieldKind::List { of: &FieldKind::Text, len: Some(3) };

const CATEGORY: Field = Field {
    name: "category",
    kind: CODE,
    default: Default::Json("[\"49755003\", \"SCT\", \"Morphologically Abnormal Structure\"]"),
    role: Role::Operational,
    doc: "The code of SegmentedPropertyCategory, the kind of structure.",
};

const TYPE: Field = Field {
    name: "type",
    kind: CODE,
    default: Default::Json("[\"52988006\", \"SCT\", \"Lesion\"]"),
    role: Role::Operational,
    doc: "The code of SegmentedPropertyType, the structure itself.",
};

const REGION: Field = Field {
    name: "region",
    kind: CODE,
    default: Default::Absent,
    role: Role::Operational,
    doc: "The code of AnatomicRegion, the region of the body where it lies; when it is left out, none is \
          written.",
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

#[derive(Deserialize)]
struct DeclaredCodes {
    category: [String; 3],
    r#type: [String; 3],
    region: Option<[String; 3]>,
}

#[derive(Deserialize)]
struct Declared {
    path: PathBuf,
    format: FileFormat,
    scans: bool,
    codes: BTreeMap<String, DeclaredCodes>,
}

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    let Declared { path, format, scans, codes: declared } = crate::operators::read_config(config)?;
    let (mut codes, mut problems) = (BTreeMap::new(), Vec::new());
    for (name, DeclaredCodes { category, r#type, region }) in declared {
        let mut code = |field: &str, parts: [String; 3]| {
            // DICOM has room for so many characters: SH, SH and LO.
            let fits = parts
                .iter()
                .zip([16, 16, 64])
                .all(|(part, most)| (1..=most).contains(&part.chars().count()) && !part.contains('\\'));
            if !fits {
                let message = "a value and a scheme of 1 to 16 letters and a meaning of 1 to 64 expected";
                let hint = "for example `[\"86049000\", \"SCT\", \"Neoplasm, Primary\"]`";
                problems.push(FieldProblem::new(&format!("codes.{name}.{field}"), message, hint));
            }
            let [value, scheme, meaning] = parts;
            Code { value, scheme, meaning }
        };
        let category = code("category", category);
        let property = code("type", r#type);
        let region = region.map(|region| code("region", region));
        codes.insert(name, Coded { category, property, region });
    }
    if problems.is_empty() { Ok(Stage::Files(Files { path, format, scans, codes })) } else { Err(problems) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn files(codes: serde_json::Value) -> Result<Files, Vec<FieldProblem>> {
        let config = json!({ "path": "seg", "format": "dicom_labelmap", "scans": false, "codes": codes });
        match build(config.as_object().unwrap())? {
            Stage::Files(files) => Ok(files),
            _ => panic!("expected a sink"),
        }
    }

    #[test]
    fn codes_are_read_and_must_fit() {
        let lesion = json!(["52988006", "SCT", "Lesion"]);
        let codes = json!({ "tumour": { "category": lesion, "type": lesion, "region": null } });
        let files = files(codes).unwrap();
        assert!(files.format.is_dicom());
        assert_eq!(files.codes["tumour"].property, Code::new("52988006", "SCT", "Lesion"));
        let long = json!(["12345678901234567", "SCT", "Lesion"]);
        let codes = json!({ "tumour": { "category": lesion, "type": long, "region": ["", "SCT", "x"] } });
        let fields: Vec<String> =
            self::files(codes).unwrap_err().into_iter().map(|problem| problem.field).collect();
        assert_eq!(fields, ["codes.tumour.type", "codes.tumour.region"]);
    }
}
