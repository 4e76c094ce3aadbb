//! RTSTRUCT files: what the index keeps of them, and their contours.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use dicom_dictionary_std::tags;
use serde::{Deserialize, Serialize};

use crate::dicom::{Dataset, Head, decimal_strings};
use crate::digest::Parts;
use crate::{Digest, PatientPoint, Reject};

/// How labels lie in their file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Form {
    /// As contours (RTSTRUCT).
    #[default]
    Contours,
    /// As voxels (DICOM SEG).
    Voxels,
}

/// What the index keeps of one file of labels: an RTSTRUCT, or a DICOM SEG.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Outlines {
    /// How they are drawn.
    pub form: Form,
    /// SOPInstanceUID.
    pub sop_uid: String,
    /// PatientID, or empty.
    pub patient_id: String,
    /// The SeriesInstanceUIDs it was drawn on, sorted.
    pub referenced_series: Vec<String>,
    /// The names of its structures (ROIs) or segments, in the file's order.
    pub structures: Vec<String>,
    /// The date and time of its content, so that the newest of several can be told.
    pub date_time: String,
    /// The digest of contours or voxels, names and references.
    pub digest: Digest,
}

/// The structures of one RTSTRUCT file, with their contours.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StructureSet {
    /// In the file's order.
    pub structures: Vec<Structure>,
}

/// One structure (ROI).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Structure {
    /// ROIName.
    pub name: String,
    /// ROINumber.
    pub number: u32,
    /// Its contours, in the file's order.
    pub contours: Vec<Contour>,
}

/// One contour in a plane.
#[derive(Clone, Debug, PartialEq)]
pub struct Contour {
    /// Its geometric type.
    pub kind: ContourKind,
    /// The image it was drawn on, or empty.
    pub sop_uid: String,
    /// Its corners, LPS mm; empty when they are not triples of numbers.
    pub points: Vec<PatientPoint>,
}

/// ContourGeometricType, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContourKind {
    /// CLOSED_PLANAR or CLOSEDPLANAR_XOR: it bounds an area.
    Closed,
    /// POINT, OPEN_PLANAR and the rest: it bounds none.
    Open,
}

/// Reads the contours of an RTSTRUCT file.
///
/// # Errors
/// A [`Reject`] when the file cannot be read (`UNREADABLE`) or holds no structures (`NOT_OUTLINES`).
pub fn read_structures(path: &Path) -> Result<StructureSet, Reject> {
    let bytes = crate::container::read(path)
        .map_err(|error| Reject::new("UNREADABLE", error.to_string(), "check the file's permissions"))?;
    let not_outlines = |found: &str| {
        let message = format!("an RTSTRUCT file expected, {found}");
        Reject::new("NOT_OUTLINES", message, "the file changed meanwhile: run again")
    };
    let head = Head::find(&bytes).map_err(not_outlines)?;
    let dataset = head.dataset();
    if dataset.cut {
        let message = "the file ends inside its contours";
        return Err(Reject::new("TRUNCATED", message, "the copy broke off: fetch the file again"));
    }
    if dataset.get(tags::STRUCTURE_SET_ROI_SEQUENCE).is_none() {
        return Err(not_outlines("no structures found"));
    }
    Ok(structures(&dataset))
}

/// Structures with their contours; a contour sequence for a structure that was never named is dropped,
/// as the standard has it.
fn structures(dataset: &Dataset<'_>) -> StructureSet {
    let mut contours: BTreeMap<u32, Vec<Contour>> = BTreeMap::new();
    for roi in dataset.items(tags::ROI_CONTOUR_SEQUENCE) {
        let Some(number) = roi.count(tags::REFERENCED_ROI_NUMBER) else { continue };
        let found = roi.items(tags::CONTOUR_SEQUENCE).iter().map(contour);
        contours.entry(number).or_default().extend(found);
    }
    let characters = dataset.character_set();
    let structures = dataset.items(tags::STRUCTURE_SET_ROI_SEQUENCE).iter().map(|roi| {
        let number = roi.count(tags::ROI_NUMBER).unwrap_or_default();
        let name = roi.decoded_text(tags::ROI_NAME, characters.as_ref()).unwrap_or_default();
        Structure { name, number, contours: contours.remove(&number).unwrap_or_default() }
    });
    StructureSet { structures: structures.collect() }
}

fn contour(item: &Dataset<'_>) -> Contour {
    let kind = match item.text(tags::CONTOUR_GEOMETRIC_TYPE).as_deref() {
        Some("CLOSED_PLANAR" | "CLOSEDPLANAR_XOR") => ContourKind::Closed,
        _ => ContourKind::Open,
    };
    let image = item.items(tags::CONTOUR_IMAGE_SEQUENCE).first();
    let sop_uid = image.map(|image| image.text_or_empty(tags::REFERENCED_SOP_INSTANCE_UID));
    // Decimal strings whatever the VR says: beyond 65,534 bytes it is UN.
    let numbers = decimal_strings(item.bytes(tags::CONTOUR_DATA).unwrap_or_default());
    let (triples, rest) = numbers.as_chunks::<3>();
    let sound = rest.is_empty() && numbers.iter().all(|number| number.is_finite());
    let points = if sound { triples.iter().map(|&point| PatientPoint(point)).collect() } else { Vec::new() };
    Contour { kind, sop_uid: sop_uid.unwrap_or_default(), points }
}

/// What the index keeps.
pub(crate) fn outlines(dataset: &Dataset<'_>) -> Outlines {
    let text = |tag| dataset.text_or_empty(tag);
    let set = structures(dataset);
    let referenced_series = referenced_series(dataset);
    let digest = digest(&set, &referenced_series);
    Outlines {
        form: Form::Contours,
        sop_uid: text(tags::SOP_INSTANCE_UID),
        patient_id: dataset
            .decoded_text(tags::PATIENT_ID, dataset.character_set().as_ref())
            .unwrap_or_default(),
        referenced_series,
        structures: set.structures.into_iter().map(|structure| structure.name).collect(),
        date_time: text(tags::STRUCTURE_SET_DATE) + &text(tags::STRUCTURE_SET_TIME),
        digest,
    }
}

fn referenced_series(dataset: &Dataset<'_>) -> Vec<String> {
    let frames = dataset.items(tags::REFERENCED_FRAME_OF_REFERENCE_SEQUENCE).iter();
    let studies = frames.flat_map(|frame| frame.items(tags::RT_REFERENCED_STUDY_SEQUENCE));
    let series = studies.flat_map(|study| study.items(tags::RT_REFERENCED_SERIES_SEQUENCE));
    let uids: BTreeSet<_> = series.filter_map(|item| item.text(tags::SERIES_INSTANCE_UID)).collect();
    uids.into_iter().map(Cow::into_owned).collect()
}

/// The digest of what would be drawn.
fn digest(set: &StructureSet, referenced_series: &[String]) -> Digest {
    let mut parts = Parts::default();
    let mut part = |bytes: &[u8]| parts.add(bytes);
    for uid in referenced_series {
        part(uid.as_bytes());
    }
    for structure in &set.structures {
        part(structure.name.as_bytes());
        for contour in &structure.contours {
            part(&[u8::from(contour.kind == ContourKind::Closed)]);
            part(contour.sop_uid.as_bytes());
            let points: Vec<u8> =
                contour.points.iter().flat_map(|point| point.0).flat_map(f64::to_le_bytes).collect();
            part(&points);
        }
    }
    parts.digest()
}
