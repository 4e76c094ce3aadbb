//! What a segmentation that we write says of itself, of its segments, and of the scan.

use serde::{Deserialize, Serialize};

use crate::dicom::write::Study;

/// A coded concept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Code {
    /// CodeValue.
    pub value: String,
    /// CodingSchemeDesignator: `SCT`, `DCM`, …
    pub scheme: String,
    /// CodeMeaning.
    pub meaning: String,
}

impl Code {
    /// A concept by value, scheme and meaning.
    pub fn new(value: &str, scheme: &str, meaning: &str) -> Self {
        Self { value: value.to_owned(), scheme: scheme.to_owned(), meaning: meaning.to_owned() }
    }

    /// The concept of tissue.
    pub fn tissue() -> Self {
        Self::new("85756007", "SCT", "Tissue")
    }

    /// The concept of a morphologically abnormal structure: a lesion of whatever kind.
    pub fn abnormal_structure() -> Self {
        Self::new("49755003", "SCT", "Morphologically Abnormal Structure")
    }
}

/// The way a segment was drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Drawn by a person.
    Manual,
    /// Drawn by a person with a program.
    SemiAutomatic {
        /// The name of the program.
        name: String,
        /// The version of the program.
        version: String,
    },
    /// Drawn by a program, a network for one.
    Automatic {
        /// The name of the program.
        name: String,
        /// The version of the program.
        version: String,
    },
}

/// The description of one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentText {
    /// The segment's label in the label map.
    pub label: u16,
    /// SegmentLabel.
    pub name: String,
    /// SegmentedPropertyCategoryCodeSequence.
    pub category: Code,
    /// SegmentedPropertyTypeCodeSequence.
    pub property: Code,
    /// AnatomicRegionSequence: the place in the body.
    pub region: Option<Code>,
    /// The way the segment was drawn.
    pub algorithm: Algorithm,
}

impl SegmentText {
    /// The description of a lesion: an abnormal structure among tissues.
    pub fn new(label: u16, name: &str, algorithm: Algorithm) -> Self {
        let (category, property) = (Code::tissue(), Code::abnormal_structure());
        Self { label, name: name.to_owned(), category, property, region: None, algorithm }
    }
}

/// The image that a slice was segmented from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// SOPInstanceUID.
    pub sop_instance_uid: String,
    /// The frame, from 1 on, of a multi-frame image.
    pub frame: Option<u32>,
}

/// The description of a segmentation, and of the series that it was made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentationHeader {
    /// The study that it belongs to, which is the scan's.
    pub study: Study,
    /// SeriesInstanceUID of the segmentation itself.
    pub series_uid: String,
    /// SeriesNumber.
    pub series_number: i32,
    /// SeriesDescription.
    pub series_description: String,
    /// SOPInstanceUID of the segmentation itself.
    pub sop_instance_uid: String,
    /// ContentLabel, in capitals: `TUMOUR`.
    pub content_label: String,
    /// ContentDate and SeriesDate, `YYYYMMDD`.
    pub date: String,
    /// ContentTime and SeriesTime, `HHMMSS`.
    pub time: String,
    /// Manufacturer of the station or program.
    pub manufacturer: String,
    /// ManufacturerModelName.
    pub model: String,
    /// DeviceSerialNumber.
    pub serial_number: String,
    /// SoftwareVersions.
    pub software: String,
    /// SeriesInstanceUID of the scan.
    pub referenced_series_uid: String,
    /// SOP class of the scan's images.
    pub referenced_sop_class_uid: String,
    /// The image of each slice of the label map, along D; none for a plane between images.
    pub sources: Vec<Option<Source>>,
}

/// The way segments are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// A bit for each voxel of each segment, which nearly every reader knows.
    Binary,
    /// A label for each voxel (Label Map Segmentation Storage, of 2024).
    LabelMap,
}
