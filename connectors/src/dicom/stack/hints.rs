//! The remedies: what a user can do about each refusal.

use crate::Reject;

/// A refusal with the remedy that goes with its code.
pub(crate) fn reject(code: &str, message: impl Into<String>) -> Reject {
    Reject::new(code, message, hint(code))
}

fn hint(code: &str) -> &'static str {
    match code {
        "TRUNCATED" => "the copy broke off: fetch the instance again",
        "NO_PIXEL_DATA" => "the file has a header and no pixels: fetch the instance again",
        "UID_CONFLICT" => "one of the copies was changed: keep the one that is right",
        "DUPLICATE_POSITION_AMBIGUOUS" => "several acquisitions share one series: separate them by hand",
        "ALTERNATING_SLICES" => {
            "two acquisitions share one series, and no stack of either is whole: separate them, or leave one out with \
             `where`"
        }
        "NOT_A_VOLUME_TIME_SERIES" => "one slice watched over time, as in bolus tracking, is no volume",
        "MIXED_MATRIX" | "MIXED_ORIENTATION" | "MIXED_FRAME_OF_REFERENCE" | "LOCALIZER" => {
            "scouts and single planes beside a stack are left out"
        }
        "DRIFTING_GEOMETRY" => {
            "a volume has one pixel spacing and one orientation: export the series again, or resample it"
        }
        "MIXED_PATIENTS" => "two series were given one UID: give each its own, or leave one out with `where`",
        "FRAME_COUNT" => {
            "NumberOfFrames says fewer frames than are described one by one: export the file again"
        }
        "COLOUR" | "SECONDARY_CAPTURE" | "PROJECTION" => "not a slice of a volume; exclude it with `where`",
        "NO_GEOMETRY" => "position, orientation and pixel spacing are needed; the image has not all of them",
        "BAD_GEOMETRY" => "orientation must be two perpendicular unit vectors, and spacing positive",
        "MOSAIC_NO_CSA" => "the number of tiles is in the private CSA header, which was removed",
        "UNSUPPORTED_TRANSFER_SYNTAX" => {
            "convert it to Explicit VR Little Endian, for example with gdcmconv --raw"
        }
        "UNSUPPORTED_PIXEL_FORMAT" => "8, 16 or 32 bits, or floating point, can be read",
        "MODALITY_LUT" => {
            "the modality look-up table has too few entries, or goes with floating-point pixels"
        }
        "BAD_RESCALE" => {
            "RescaleSlope and RescaleIntercept must be numbers, and a slope of 0 makes all voxels alike: mend the tags"
        }
        "IMPLAUSIBLE_SIZE" => "the header claims far more pixels or frames than the file explains",
        "SINGLE_SLICE" => "a volume needs at least two slices, or a slice thickness",
        _ => "",
    }
}
