//! The record of what one file holds.

use std::io;
use std::path::Path;

use dicom_dictionary_std::{tags, uids};
use serde::{Deserialize, Serialize};

use super::dataset::Dataset;
use super::head::{Head, NoHead};
use super::instance::Instance;
use super::keywords::MoreTags;
use super::{image, refuse};
use crate::imagefile::{self, ImageFile};
use crate::rtstruct::Outlines;
use crate::{Reject, container, dicom_seg};

/// The content of one file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Record {
    /// An image.
    Instance(Instance),
    /// Labels of a series (RTSTRUCT, SEG).
    Outlines(Outlines),
    /// A volume, or a slice of one, of another format than DICOM; or the reason why it is none.
    Image(Result<ImageFile, Reject>),
    /// A file with nothing that can be used.
    Skip {
        /// The code of the reason: `EMPTY_FILE`, `NOT_DICOM`, `NO_DATASET`, `TRUNCATED`, `DICOMDIR`,
        /// `NOT_AN_IMAGE`.
        code: String,
    },
    /// A volume or slice as in [`Record::Image`], as a reader beyond these formats read it.
    Read {
        /// The reader's name and version.
        reader: String,
        /// A grid and a digest, or the reason why there is none.
        image: Result<ImageFile, Reject>,
    },
}

impl Record {
    /// The volume of a file of another format than DICOM, and the reader's name, where it was a reader beyond
    /// tomoflow's own.
    pub fn image(&self) -> Option<(Option<&str>, &Result<ImageFile, Reject>)> {
        match self {
            Self::Image(image) => Some((None, image)),
            Self::Read { reader, image } => Some((Some(reader), image)),
            _ => None,
        }
    }
}

/// Reads a file once: its header, its geometry and the digest of its content.
///
/// # Errors
/// Only the system's errors (no permission, vanished). What is wrong inside the file is a record.
pub fn read_record(path: &Path) -> io::Result<Record> {
    read_record_with(path, &MoreTags::default())
}

/// Reads a file as [`read_record`], with the values of more tags.
///
/// # Errors
/// The errors of [`read_record`].
pub fn read_record_with(path: &Path, more: &MoreTags) -> io::Result<Record> {
    match imagefile::read_image_file(path)? {
        Some(image) => Ok(Record::Image(image)),
        None => match container::hold_unless(path, no_dicom)? {
            Ok(record) => Ok(record),
            Err(bytes) => record_of(&bytes, path, more),
        },
    }
}

/// The record of a file whose beginning shows already that it is no DICOM.
pub(crate) fn no_dicom(beginning: &[u8], length: u64) -> Option<Record> {
    match Head::find_in(beginning, length) {
        Err(NoHead::Code(code)) => Some(Record::Skip { code: code.to_owned() }),
        Ok(_) | Err(NoHead::Unknown | NoHead::Unread(_)) => None,
    }
}

/// The record of the bytes of a file that is taken for DICOM, whatever its name; its folder stands in where
/// identifiers are empty.
pub(crate) fn record_of(bytes: &[u8], path: &Path, more: &MoreTags) -> io::Result<Record> {
    let skip = |code: &str| Record::Skip { code: code.to_owned() };
    let head = match Head::find_in(bytes, bytes.len() as u64) {
        Ok(head) => head,
        Err(NoHead::Code(code)) => return Ok(skip(code)),
        Err(NoHead::Unknown) => return Ok(skip("NO_DATASET")),
        Err(NoHead::Unread(error)) => return Err(error),
    };
    let dataset = head.dataset()?;
    Ok(match kind(&head, &dataset, dataset.elements.is_empty()) {
        ObjectKind::Skip(code) => skip(code),
        ObjectKind::Outlines => match crate::rtstruct::record::outlines(&dataset) {
            // The references to a scan, and all contours, lie behind the file's end: no scan is missing, but
            // the rest of these labels.
            cut if dataset.cut
                && cut.referenced_series.is_empty()
                && cut.parts.iter().all(|part| part.drawn == 0) =>
            {
                skip("TRUNCATED")
            }
            outlines => Record::Outlines(outlines),
        },
        ObjectKind::Segments => dicom_seg::outlines(&head, &dataset)
            .map_or_else(|| skip(image::absent(&head, &dataset)), Record::Outlines),
        ObjectKind::Image => match image::read(&head, &dataset) {
            Some(mut image) => {
                more.add(&dataset, &mut image.instance.tags);
                Record::Instance(image.seal(path))
            }
            None => skip(image::absent(&head, &dataset)),
        },
    })
}

/// The kind of a data set, by its class.
pub(crate) enum ObjectKind {
    Skip(&'static str),
    Outlines,
    Segments,
    /// An image, if there are rows and columns.
    Image,
}

pub(crate) fn kind(head: &Head<'_>, dataset: &Dataset<'_>, empty: bool) -> ObjectKind {
    if empty {
        return ObjectKind::Skip(match head.magic {
            true if dataset.cut => "TRUNCATED",
            true => "NO_DATASET",
            false => "NOT_DICOM",
        });
    }
    let directory = head.media_class.as_deref() == Some(uids::MEDIA_STORAGE_DIRECTORY_STORAGE);
    if directory || dataset.get(tags::DIRECTORY_RECORD_SEQUENCE).is_some() {
        return ObjectKind::Skip("DICOMDIR");
    }
    let class = image::sop_class(head, dataset);
    if refuse::is_structure_set(&class) {
        ObjectKind::Outlines
    } else if refuse::is_segmentation(&class) {
        ObjectKind::Segments
    } else if refuse::not_an_image(&class) {
        ObjectKind::Skip("NOT_AN_IMAGE")
    } else {
        ObjectKind::Image
    }
}
