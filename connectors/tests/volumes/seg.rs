//! What written segmentations say of themselves.

use tomoflow_connectors::dicom::write::Study;
use tomoflow_connectors::dicom_seg::{SegmentationHeader, Source};

/// A header whose slice `n` comes from an image whose UID ends in `.n`.
pub fn header(depth: usize) -> SegmentationHeader {
    let study = Study {
        patient_id: "P1".to_owned(),
        patient_name: "Phantom^One".to_owned(),
        birth_date: "19700101".to_owned(),
        sex: "O".to_owned(),
        age: "055Y".to_owned(),
        uid: "2.25.100".to_owned(),
        id: "1".to_owned(),
        accession_number: "A1".to_owned(),
        date: "20260102".to_owned(),
        time: "101112".to_owned(),
        description: "phantom".to_owned(),
        frame_of_reference_uid: "2.25.101".to_owned(),
    };
    SegmentationHeader {
        study,
        series_uid: "2.25.200".to_owned(),
        series_number: 300,
        series_description: "masks".to_owned(),
        sop_instance_uid: "2.25.201".to_owned(),
        content_label: "MASKS".to_owned(),
        date: "20260103".to_owned(),
        time: "121314".to_owned(),
        manufacturer: "tomoflow".to_owned(),
        model: "tomoflow".to_owned(),
        serial_number: "1".to_owned(),
        software: "0.1.0".to_owned(),
        referenced_series_uid: "2.25.102".to_owned(),
        referenced_sop_class_uid: "1.2.840.10008.5.1.4.1.1.2".to_owned(),
        sources: (0..depth)
            .map(|slice| Some(Source { sop_instance_uid: format!("2.25.9.{slice}"), frame: None }))
            .collect(),
    }
}
