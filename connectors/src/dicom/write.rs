//! Writing of slices to files: MR Image Storage, explicit VR little endian.

use std::path::{Path, PathBuf};

use dicom_core::value::PrimitiveValue;
use dicom_core::{DataElement, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};

use crate::geometry::{Geometry, VoxelIndex, cross, dot, norm};
use crate::shown::Shown as _;

/// A file that could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The file system refused.
    #[error("cannot write {}: {source}", path.shown())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The data set has no encoding.
    #[error("cannot encode {}: {source}", path.shown())]
    Encode {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The pixels do not fit the matrix.
    #[error(
        "slice {slice} of a grid [D, H, W] = {size:?} was given {found} pixels\n\
         hint: a slice holds H x W pixels"
    )]
    Pixels {
        /// The place of the slice along D, from 0.
        slice: usize,
        /// The size of the grid.
        size: [usize; 3],
        /// The number of pixels given.
        found: usize,
    },
}

/// The person examined, the time, and the study: what a scan and its outlines have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Study {
    /// PatientID.
    pub patient_id: String,
    /// PatientName, `family^given`.
    pub patient_name: String,
    /// PatientBirthDate, `YYYYMMDD`.
    pub birth_date: String,
    /// PatientSex, `F`, `M` or `O`.
    pub sex: String,
    /// PatientAge, `057Y`.
    pub age: String,
    /// StudyInstanceUID.
    pub uid: String,
    /// StudyID.
    pub id: String,
    /// AccessionNumber.
    pub accession_number: String,
    /// StudyDate, `YYYYMMDD`.
    pub date: String,
    /// StudyTime, `HHMMSS`.
    pub time: String,
    /// StudyDescription.
    pub description: String,
    /// FrameOfReferenceUID.
    pub frame_of_reference_uid: String,
}

/// An MR series: what all its slices have in common.
#[derive(Clone, Debug, PartialEq)]
pub struct MrSeries {
    /// The study that the series belongs to.
    pub study: Study,
    /// SeriesInstanceUID.
    pub uid: String,
    /// SeriesNumber.
    pub number: i32,
    /// SeriesTime (its date is the study's), `HHMMSS`.
    pub time: String,
    /// SeriesDescription.
    pub description: String,
    /// ProtocolName.
    pub protocol: String,
    /// Manufacturer.
    pub manufacturer: String,
    /// ManufacturerModelName.
    pub model: String,
    /// SoftwareVersions.
    pub software: String,
    /// DeviceSerialNumber.
    pub serial_number: String,
    /// MagneticFieldStrength.
    pub field_strength_t: f64,
    /// RepetitionTime.
    pub repetition_time_ms: f64,
    /// EchoTime.
    pub echo_time_ms: f64,
    /// FlipAngle.
    pub flip_angle_deg: f64,
    /// The grid on which the voxels lie.
    pub geometry: Geometry,
    /// RescaleSlope and RescaleIntercept, where the vendor writes them.
    pub rescale: Option<[f64; 2]>,
    /// BitsStored, out of 16 bits allocated.
    pub bits_stored: u16,
    /// WindowCenter and WindowWidth.
    pub window: [f64; 2],
}

/// Stored values, one for each pixel, row by row.
#[derive(Clone, Copy, Debug)]
pub enum Pixels<'a> {
    /// The pixels of PixelRepresentation 0.
    Unsigned(&'a [u16]),
    /// The pixels of PixelRepresentation 1.
    Signed(&'a [i16]),
}

/// The part of a series that one slice has of its own.
#[derive(Clone, Copy, Debug)]
pub struct Slice<'a> {
    /// The slice's place along D, from 0.
    pub index: usize,
    /// InstanceNumber, which need not follow the place.
    pub instance_number: i32,
    /// SOPInstanceUID.
    pub sop_instance_uid: &'a str,
    /// The slice's values.
    pub pixels: Pixels<'a>,
}

/// Writes one slice of a series as a file with preamble and meta group.
///
/// # Errors
/// [`WriteError`] when the pixels do not fit the geometry, or the file cannot be written.
pub fn write_slice(path: &Path, series: &MrSeries, slice: &Slice) -> Result<(), WriteError> {
    let found = match slice.pixels {
        Pixels::Unsigned(values) => values.len(),
        Pixels::Signed(values) => values.len(),
    };
    let size = series.geometry.size;
    if slice.index >= size[0] || found != size[1] * size[2] {
        return Err(WriteError::Pixels { slice: slice.index, size, found });
    }
    let mut object = InMemDicomObject::new_empty();
    put_study(&mut object, &series.study);
    put_series(&mut object, series);
    put_plane(&mut object, series, slice);
    put_pixels(&mut object, series, slice);
    write_object(path, object, uids::EXPLICIT_VR_LITTLE_ENDIAN)
}

/// Puts one text element.
pub(crate) fn put(object: &mut InMemDicomObject, tag: Tag, vr: VR, value: impl Into<String>) {
    object.put(DataElement::new(tag, vr, PrimitiveValue::from(value.into())));
}

/// Puts what patient, study and frame of reference say.
pub(crate) fn put_study(object: &mut InMemDicomObject, study: &Study) {
    put(object, tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 100");
    put(object, tags::PATIENT_ID, VR::LO, &study.patient_id);
    put(object, tags::PATIENT_NAME, VR::PN, &study.patient_name);
    put(object, tags::PATIENT_BIRTH_DATE, VR::DA, &study.birth_date);
    put(object, tags::PATIENT_SEX, VR::CS, &study.sex);
    put(object, tags::PATIENT_AGE, VR::AS, &study.age);
    put(object, tags::STUDY_INSTANCE_UID, VR::UI, &study.uid);
    put(object, tags::STUDY_ID, VR::SH, &study.id);
    put(object, tags::ACCESSION_NUMBER, VR::SH, &study.accession_number);
    put(object, tags::STUDY_DATE, VR::DA, &study.date);
    put(object, tags::STUDY_TIME, VR::TM, &study.time);
    put(object, tags::STUDY_DESCRIPTION, VR::LO, &study.description);
    put(object, tags::REFERRING_PHYSICIAN_NAME, VR::PN, "");
    put(object, tags::FRAME_OF_REFERENCE_UID, VR::UI, &study.frame_of_reference_uid);
    put(object, tags::POSITION_REFERENCE_INDICATOR, VR::LO, "");
}

fn put_series(object: &mut InMemDicomObject, series: &MrSeries) {
    let spacing = series.geometry.spacing_mm();
    let texts: [(Tag, VR, &str); 27] = [
        (tags::MODALITY, VR::CS, "MR"),
        (tags::IMAGE_TYPE, VR::CS, "ORIGINAL\\PRIMARY\\M\\ND"),
        (tags::SERIES_INSTANCE_UID, VR::UI, &series.uid),
        (tags::SERIES_DATE, VR::DA, &series.study.date),
        (tags::SERIES_TIME, VR::TM, &series.time),
        (tags::ACQUISITION_DATE, VR::DA, &series.study.date),
        (tags::ACQUISITION_TIME, VR::TM, &series.time),
        (tags::CONTENT_DATE, VR::DA, &series.study.date),
        (tags::CONTENT_TIME, VR::TM, &series.time),
        (tags::SERIES_DESCRIPTION, VR::LO, &series.description),
        (tags::PROTOCOL_NAME, VR::LO, &series.protocol),
        (tags::MANUFACTURER, VR::LO, &series.manufacturer),
        (tags::MANUFACTURER_MODEL_NAME, VR::LO, &series.model),
        (tags::SOFTWARE_VERSIONS, VR::LO, &series.software),
        (tags::DEVICE_SERIAL_NUMBER, VR::LO, &series.serial_number),
        (tags::BODY_PART_EXAMINED, VR::CS, "HEAD"),
        (tags::PATIENT_POSITION, VR::CS, "HFS"),
        (tags::SCANNING_SEQUENCE, VR::CS, "SE"),
        (tags::SEQUENCE_VARIANT, VR::CS, "SK\\SP"),
        (tags::SCAN_OPTIONS, VR::CS, "PFP"),
        (tags::MR_ACQUISITION_TYPE, VR::CS, "3D"),
        (tags::SEQUENCE_NAME, VR::SH, "*tse3d1_37"),
        (tags::IMAGED_NUCLEUS, VR::SH, "1H"),
        (tags::NUMBER_OF_AVERAGES, VR::DS, "1"),
        (tags::ECHO_NUMBERS, VR::IS, "1"),
        (tags::ECHO_TRAIN_LENGTH, VR::IS, "37"),
        (tags::IN_PLANE_PHASE_ENCODING_DIRECTION, VR::CS, "ROW"),
    ];
    for (tag, vr, value) in texts {
        put(object, tag, vr, value);
    }
    put(object, tags::SERIES_NUMBER, VR::IS, series.number.to_string());
    put(object, tags::ACQUISITION_NUMBER, VR::IS, "1");
    let decimals = [
        (tags::MAGNETIC_FIELD_STRENGTH, series.field_strength_t),
        (tags::IMAGING_FREQUENCY, series.field_strength_t * 42.577),
        (tags::REPETITION_TIME, series.repetition_time_ms),
        (tags::ECHO_TIME, series.echo_time_ms),
        (tags::FLIP_ANGLE, series.flip_angle_deg),
        (tags::PIXEL_BANDWIDTH, 300.0),
        (tags::PERCENT_SAMPLING, 100.0),
        (tags::PERCENT_PHASE_FIELD_OF_VIEW, 100.0),
        (tags::SLICE_THICKNESS, spacing[0]),
        (tags::SPACING_BETWEEN_SLICES, spacing[0]),
        (tags::WINDOW_CENTER, series.window[0]),
        (tags::WINDOW_WIDTH, series.window[1]),
    ];
    for (tag, value) in decimals {
        put(object, tag, VR::DS, decimal(value));
    }
    if let Some([slope, intercept]) = series.rescale {
        put(object, tags::RESCALE_SLOPE, VR::DS, decimal(slope));
        put(object, tags::RESCALE_INTERCEPT, VR::DS, decimal(intercept));
        put(object, tags::RESCALE_TYPE, VR::LO, "US");
    }
}

fn put_plane(object: &mut InMemDicomObject, series: &MrSeries, slice: &Slice) {
    let geometry = &series.geometry;
    let [_, h, w] = geometry.steps_mm;
    let spacing = geometry.spacing_mm();
    let position = geometry.to_patient(VoxelIndex([slice.index as f64, 0.0, 0.0])).0;
    let unit = |step: [f64; 3]| step.map(|x| x / norm(step).max(f64::MIN_POSITIVE));
    let orientation = [unit(w), unit(h)].concat();
    let normal = cross(unit(w), unit(h));
    put(object, tags::SOP_CLASS_UID, VR::UI, uids::MR_IMAGE_STORAGE);
    put(object, tags::SOP_INSTANCE_UID, VR::UI, slice.sop_instance_uid);
    put(object, tags::INSTANCE_NUMBER, VR::IS, slice.instance_number.to_string());
    put(object, tags::INSTANCE_CREATION_DATE, VR::DA, &series.study.date);
    put(object, tags::INSTANCE_CREATION_TIME, VR::TM, &series.time);
    put(object, tags::IMAGE_POSITION_PATIENT, VR::DS, decimals(&position));
    put(object, tags::IMAGE_ORIENTATION_PATIENT, VR::DS, decimals(&orientation));
    put(object, tags::PIXEL_SPACING, VR::DS, decimals(&[spacing[1], spacing[2]]));
    put(object, tags::SLICE_LOCATION, VR::DS, decimal(dot(normal, position)));
}

fn put_pixels(object: &mut InMemDicomObject, series: &MrSeries, slice: &Slice) {
    let [_, rows, columns] = series.geometry.size;
    let (signed, bytes, extremes) = match slice.pixels {
        Pixels::Unsigned(values) => {
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            let extremes = [values.iter().min(), values.iter().max()].map(|v| v.copied().unwrap_or(0));
            (0u16, bytes, extremes.map(PrimitiveValue::from))
        }
        Pixels::Signed(values) => {
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            let extremes = [values.iter().min(), values.iter().max()].map(|v| v.copied().unwrap_or(0));
            (1u16, bytes, extremes.map(PrimitiveValue::from))
        }
    };
    let words: [(Tag, u16); 7] = [
        (tags::SAMPLES_PER_PIXEL, 1),
        (tags::ROWS, rows as u16),
        (tags::COLUMNS, columns as u16),
        (tags::BITS_ALLOCATED, 16),
        (tags::BITS_STORED, series.bits_stored),
        (tags::HIGH_BIT, series.bits_stored.saturating_sub(1)),
        (tags::PIXEL_REPRESENTATION, signed),
    ];
    for (tag, value) in words {
        object.put(DataElement::new(tag, VR::US, PrimitiveValue::from(value)));
    }
    let [smallest, largest] = extremes;
    let vr = if signed == 1 { VR::SS } else { VR::US };
    object.put(DataElement::new(tags::SMALLEST_IMAGE_PIXEL_VALUE, vr, smallest));
    object.put(DataElement::new(tags::LARGEST_IMAGE_PIXEL_VALUE, vr, largest));
    put(object, tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2");
    let matrix = PrimitiveValue::U16([0, rows as u16, columns as u16, 0].into_iter().collect());
    object.put(DataElement::new(tags::ACQUISITION_MATRIX, VR::US, matrix));
    object.put(DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U8(bytes.into())));
}

/// Encodes an object with its meta group, and writes it in one go.
pub(crate) fn write_object(
    path: &Path,
    object: InMemDicomObject,
    transfer_syntax: &str,
) -> Result<(), WriteError> {
    let encode = |source: Box<dyn std::error::Error + Send + Sync>| WriteError::Encode {
        path: path.to_owned(),
        source,
    };
    let file = object
        .with_meta(FileMetaTableBuilder::new().transfer_syntax(transfer_syntax))
        .map_err(|error| encode(error.into()))?;
    let mut bytes = Vec::new();
    file.write_all(&mut bytes).map_err(|error| encode(error.into()))?;
    std::fs::write(path, bytes).map_err(|source| WriteError::Io { path: path.to_owned(), source })
}

/// A decimal string (DS): as many digits as its 16 characters hold.
pub fn decimal(value: f64) -> String {
    let shortest = format!("{value}");
    if shortest.len() <= 16 {
        return shortest;
    }
    (0..=14)
        .rev()
        .map(|digits| format!("{value:.digits$}"))
        .find(|text| text.len() <= 16)
        .unwrap_or_else(|| format!("{value:.8e}"))
}

/// Several decimal strings.
fn decimals(values: &[f64]) -> String {
    values.iter().map(|&value| decimal(value)).collect::<Vec<_>>().join("\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_strings_keep_to_sixteen_characters() {
        for value in [0.0, 1.5, -0.1, 1.0 / 3.0, -1.0 / 3.0, -123.456_789_012_345_6, 1e-12 / 3.0, -1e20 / 3.0]
        {
            let text = decimal(value);
            assert!(text.len() <= 16, "{text}");
            let back: f64 = text.parse().unwrap();
            assert!((back - value).abs() <= 1e-11 * value.abs().max(1.0) || value.abs() > 1e10, "{text}");
        }
        assert_eq!(decimal(0.4), "0.4");
    }
}
