//! DICOM: files to records, records to geometry, pixels to scans.

/// The tags whose values every instance's record keeps, so that a source can filter on them.
pub const FILTER_KEYWORDS: &[&str] = &[
    "BodyPartExamined",
    "ImageType",
    "Manufacturer",
    "ManufacturerModelName",
    "Modality",
    "PatientID",
    "ProtocolName",
    "SequenceName",
    "SeriesDescription",
    "SeriesInstanceUID",
    "SeriesNumber",
    "StudyDate",
    "StudyDescription",
    "StudyInstanceUID",
];
