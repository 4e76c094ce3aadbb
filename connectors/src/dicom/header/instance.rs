//! One SOP instance: its identity, its geometry, the layout of its pixels, and the digest of it all.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Digest, Real};

/// Values by keyword. Nearly every keyword is one of few, which need no room of their own.
pub type Tags = BTreeMap<Cow<'static, str>, String>;

/// One DICOM SOP instance that holds an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Instance {
    /// SeriesInstanceUID; a surrogate when it is empty (`notes` then holds `EMPTY_UID`).
    pub series_uid: String,
    /// StudyInstanceUID, or empty.
    pub study_uid: String,
    /// SOPInstanceUID; a surrogate when it is empty.
    pub sop_uid: String,
    /// PatientID, or empty.
    pub patient_id: String,
    /// The values of [`FILTER_KEYWORDS`](crate::dicom::FILTER_KEYWORDS) that are present.
    pub tags: Arc<Tags>,
    /// SOPClassUID.
    pub sop_class: String,
    /// FrameOfReferenceUID, or empty.
    pub frame_of_reference: String,
    /// The way the pixels lie in the file.
    pub pixels: PixelFormat,
    /// The place of each frame; one entry for an image of a single frame, a tile each for a mosaic.
    pub frames: Vec<Frame>,
    /// The name of the reason why the pixels cannot become a volume, when that shows in the file alone.
    pub refusal: Option<String>,
    /// The notes on what was put right while reading: `EMPTY_UID`, `NO_PREAMBLE`, …
    pub notes: Vec<String>,
    /// The digest of the pixel bytes as stored, and of the modality look-up table where there is one.
    pub pixel_digest: Digest,
    /// The digest of what decoding depends on: stored pixels, their format, and each frame's rescale. An
    /// edited name, identifier or position leaves it as it is.
    pub content: Digest,
    /// The digest of the content that matters: the values above (but for notes), and the pixels.
    pub digest: Digest,
}

/// The place of one frame in patient space, and what sets it apart from others at the same place.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Frame {
    /// ImagePositionPatient, mm.
    pub position_mm: Option<[Real; 3]>,
    /// ImageOrientationPatient: row cosines, then column cosines.
    pub orientation: Option<[Real; 6]>,
    /// PixelSpacing: between rows, then between columns, mm.
    pub spacing_mm: Option<[Real; 2]>,
    /// SpacingBetweenSlices, mm.
    pub gap_mm: Option<Real>,
    /// SliceThickness, mm.
    pub thickness_mm: Option<Real>,
    /// RescaleSlope and RescaleIntercept.
    pub rescale: [Real; 2],
    /// The values that tell stacks at the same positions apart: keyword to value.
    pub order: Tags,
}

/// The format of the pixels in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PixelFormat {
    /// TransferSyntaxUID.
    pub transfer_syntax: String,
    /// Rows of the stored matrix.
    pub rows: u32,
    /// Columns of the stored matrix.
    pub columns: u32,
    /// BitsAllocated.
    pub bits_allocated: u16,
    /// BitsStored.
    pub bits_stored: u16,
    /// HighBit.
    pub high_bit: u16,
    /// Whether PixelRepresentation says two's complement.
    pub signed: bool,
    /// SamplesPerPixel.
    pub samples: u16,
    /// PhotometricInterpretation.
    pub photometric: String,
    /// Whether the samples are floating point (FloatPixelData, DoubleFloatPixelData).
    pub float: bool,
    /// The number of frames as stored; a mosaic is one.
    pub stored_frames: u32,
    /// The rows and columns of a frame in the volume, fewer than the stored matrix has for a mosaic.
    pub frame_size: [u32; 2],
}
