//! Structures and segments in files, for tests.

use std::path::Path;

use tomoflow_connectors::dicom::write::Study;
use tomoflow_connectors::dicom_seg::{Algorithm, SegmentText, SegmentationHeader, Source, write_overlapping};
use tomoflow_connectors::rtstruct::Form;
use tomoflow_connectors::rtstruct::write::{StructureSetHeader, contours, write_structures};
use tomoflow_connectors::{Digest, Geometry, LabelMap, Reject};

use super::DrawnSource;
use crate::operators::source::{Drawing, DrawnOn, LabelSource as _, LabelsAt, Planes};

/// A structure or segment: its name, and its voxels by their places on a grid.
pub type Part<'a> = (&'a str, &'a [usize]);

fn study() -> Study {
    let text = str::to_owned;
    Study {
        patient_id: text("P1"),
        patient_name: text("Phantom^One"),
        birth_date: text("19700101"),
        sex: text("O"),
        age: text("055Y"),
        uid: text("2.25.100"),
        id: text("1"),
        accession_number: text("A1"),
        date: text("20260102"),
        time: text("101112"),
        description: text("phantom"),
        frame_of_reference_uid: text("2.25.101"),
    }
}

fn image(slice: usize) -> String {
    format!("2.25.9.{slice}")
}

/// Writes parts, which may share voxels, in one file; slice `n` of the grid is the image `2.25.9.n`.
pub fn write(form: Form, path: &Path, grid: &Geometry, parts: &[Part<'_>]) {
    match form {
        Form::Contours => write_contours(path, grid, parts),
        Form::Voxels => write_segments(path, grid, parts),
    }
}

fn write_contours(path: &Path, grid: &Geometry, parts: &[Part<'_>]) {
    let images: Vec<String> = (0..grid.size[0]).map(image).collect();
    let header = StructureSetHeader {
        study: study(),
        series_uid: "2.25.300".to_owned(),
        sop_instance_uid: "2.25.301".to_owned(),
        label: "PARTS".to_owned(),
        date: "20260103".to_owned(),
        time: "121314".to_owned(),
        manufacturer: "tomoflow".to_owned(),
        referenced_series_uid: "2.25.102".to_owned(),
        referenced_sop_class_uid: "1.2.840.10008.5.1.4.1.1.2".to_owned(),
        referenced_instances: images.clone(),
    };
    let structure = |(name, voxels): &Part<'_>| {
        let mut labels = LabelMap::zeros(grid.clone());
        voxels.iter().for_each(|at| labels.voxels_mut()[*at] = 1);
        ((*name).to_owned(), contours(&labels, 1, &images))
    };
    let structures: Vec<_> = parts.iter().map(structure).collect();
    write_structures(path, &header, &structures).unwrap();
}

fn write_segments(path: &Path, grid: &Geometry, parts: &[Part<'_>]) {
    let source = |slice| Some(Source { sop_instance_uid: image(slice), frame: None });
    let header = SegmentationHeader {
        study: study(),
        series_uid: "2.25.200".to_owned(),
        series_number: 300,
        series_description: "parts".to_owned(),
        sop_instance_uid: "2.25.201".to_owned(),
        content_label: "PARTS".to_owned(),
        date: "20260103".to_owned(),
        time: "121314".to_owned(),
        manufacturer: "tomoflow".to_owned(),
        model: "tomoflow".to_owned(),
        serial_number: "1".to_owned(),
        software: "0.1.0".to_owned(),
        referenced_series_uid: "2.25.102".to_owned(),
        referenced_sop_class_uid: "1.2.840.10008.5.1.4.1.1.2".to_owned(),
        sources: (0..grid.size[0]).map(source).collect(),
    };
    let mut sets: Vec<Vec<u16>> = Vec::new();
    let mut values = LabelMap::zeros(grid.clone());
    for (at, value) in values.voxels_mut().iter_mut().enumerate() {
        let of = (1..).zip(parts).filter(|(_, (_, voxels))| voxels.contains(&at));
        let set: Vec<u16> = of.map(|(label, _)| label).collect();
        if set.is_empty() {
            continue;
        }
        if !sets.contains(&set) {
            sets.push(set.clone());
        }
        *value = sets.iter().position(|known| *known == set).unwrap() as u16 + 1;
    }
    let text = |(label, (name, _)): (u16, &Part<'_>)| SegmentText::new(label, name, Algorithm::Manual);
    let texts: Vec<SegmentText> = (1..).zip(parts).map(text).collect();
    write_overlapping(path, &header, (&values, &sets), &texts, None).unwrap();
}

/// A source of labels by their patterns, with more fields.
pub fn source(form: Form, labels: serde_json::Value, more: &[(&str, serde_json::Value)]) -> DrawnSource {
    let field = if form == Form::Contours { "structures" } else { "segments" };
    let mut config = serde_json::json!({ "path": "a", field: labels });
    for (name, value) in more {
        config[*name] = value.clone();
    }
    DrawnSource::read(config.as_object().unwrap(), field, form).unwrap()
}

/// Draws a file on a grid, of a scan of which this is known.
pub fn drawn(source: &DrawnSource, path: &Path, grid: &Geometry, scan: &DrawnOn) -> Result<Drawing, Reject> {
    let record = Digest::default();
    let at = LabelsAt { file: Some(path), parts: &[], stack: None, series: "2.25.102", record, scan };
    source.draw(&at, &Planes { grid, heights: &[] })
}
