//! The settings of masks that become files.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tomoflow_connectors::dicom_seg::Code;

/// The format that masks are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileFormat {
    /// NIfTI-1, compressed: `.nii.gz`.
    Nifti,
    /// NRRD with segment names, as 3D Slicer has them: `.seg.nrrd`.
    Nrrd,
    /// MetaImage: `.mha`.
    Metaimage,
    /// DICOM SEG with a bit a voxel, which refers to the scan's instances: `.dcm`.
    DicomSeg,
    /// DICOM SEG with a label a voxel, which refers to the scan's instances: `.dcm`.
    DicomLabelmap,
    /// RTSTRUCT: contours along the voxels' borders, which refer to the scan's instances: `.dcm`.
    Rtstruct,
}

impl FileFormat {
    /// Whether it is a DICOM object, which names the patient and refers to the scan.
    pub fn is_dicom(self) -> bool {
        matches!(self, Self::DicomSeg | Self::DicomLabelmap | Self::Rtstruct)
    }
}

/// The meaning of a label, by codes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coded {
    /// SegmentedPropertyCategory.
    pub category: Code,
    /// SegmentedPropertyType.
    pub property: Code,
    /// AnatomicRegion.
    pub region: Option<Code>,
}

/// How masks become files, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    /// The folder.
    pub path: PathBuf,
    /// The format that masks are written in.
    pub format: FileFormat,
    /// Whether scans are written beside them.
    pub scans: bool,
    /// The meanings of labels, by name.
    pub codes: BTreeMap<String, Coded>,
}
