//! Files that hold a volume, or a slice of one, whatever their format: NIfTI, MetaImage, NRRD, PNG.
//!
//! What the formats have in common lies here too: streams of voxels, checked before room is made for them.

mod affine;
mod beside;
mod bids;
mod gzip;
mod head;
mod npz;
mod opened;
mod pairs;
mod png;
mod read;
mod scalar;
mod stream;
mod text;
mod write;

pub(crate) use affine::grid;
pub(crate) use beside::beside;
pub use bids::{in_common, is_made};
pub use head::{ImageFigures, ImageHead};
pub(crate) use opened::Opened;
pub use pairs::{Role, pairs};
pub(crate) use read::companions;
pub use read::{
    ImageFile, headers_of, is_array, is_image_file, read_image_file, read_image_head, read_labels, read_scan,
    read_scans,
};
pub(crate) use scalar::{Layout, Scalar};
pub(crate) use stream::{Packing, Stream};
pub(crate) use text::{header_lines, numbers};
pub(crate) use write::{create, label_scalar, put_labels, put_scan, scan_scalar, unfit};

use crate::Reject;

/// The refusal of a header that says something it must not.
pub(crate) fn bad_header(message: impl Into<String>) -> Reject {
    Reject::new("BAD_HEADER", message, "the file may be damaged: write it again from its source")
}

/// The refusal of voxels of a type that no scan or label map has.
pub(crate) fn unsupported_type(found: &str) -> Reject {
    let message = format!("an integer or a float of 8 to 64 bits for each voxel expected, {found} found");
    Reject::new("UNSUPPORTED_PIXEL_FORMAT", message, "colour, complex and vector images are not scans")
}

/// The refusal of a series of volumes in one file.
pub(crate) fn several_volumes(found: &str) -> Reject {
    let message = format!("one volume expected, {found} found");
    let hint = "name its channels at the source, `channels = [\"T1\", \"FLAIR\"]`, or split the file, one volume each";
    Reject::new("SEVERAL_VOLUMES", message, hint)
}

/// A refusal of a file that is read as a label map, which has no channels to name.
pub(crate) fn of_labels(reject: Reject) -> Reject {
    if reject.code != "SEVERAL_VOLUMES" {
        return reject;
    }
    let hint = "a label map is one volume: split the file, one volume each, and give labels that overlap files of their own";
    Reject { hint: hint.to_owned(), ..reject }
}

/// The refusal of voxels written in a way that is not read.
pub(crate) fn unsupported_encoding(found: &str) -> Reject {
    let message = format!("raw or gzip voxels expected, {found} found");
    Reject::new("UNSUPPORTED_ENCODING", message, "write the file again as raw or gzip")
}
