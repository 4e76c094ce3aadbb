//! What an image says that it was made from: other images, and their series.

use std::collections::BTreeSet;
use std::path::Path;

use dicom_dictionary_std::tags;

use super::header::{Dataset, Head};
use crate::{Reject, container, reading};

/// Images that are named, at most: enough to tell one scan from another.
const MOST: usize = 8;

/// The images that an image was made from, as far as it says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MadeFrom {
    /// SeriesInstanceUIDs, ascending.
    pub series: Vec<String>,
    /// The first SOPInstanceUIDs, ascending.
    pub images: Vec<String>,
}

/// Reads which images and series a file says that it was made from (SourceImageSequence, of each frame as well, and
/// ReferencedSeriesSequence).
///
/// # Errors
/// When it cannot be read, or is no DICOM file.
pub fn made_from(path: &Path) -> Result<MadeFrom, Reject> {
    // This runs on a thread that may not wait.
    reading::urgently(|| {
        let bytes = container::hold(path).map_err(|error| reading::refused(&error))?;
        let head = Head::find(&bytes, |code| {
            Reject::new(code, "a DICOM image expected", "the file changed meanwhile: run again")
        })?;
        Ok(named_in(&head.dataset().map_err(|error| reading::refused(&error))?))
    })
}

fn named_in(dataset: &Dataset<'_>) -> MadeFrom {
    let shared = dataset.items(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE);
    let frames = shared.iter().chain(dataset.items(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE));
    let derived = frames.flat_map(|frame| frame.items(tags::DERIVATION_IMAGE_SEQUENCE));
    let sources = std::iter::once(dataset).chain(derived);
    let sources = sources.flat_map(|item| item.items(tags::SOURCE_IMAGE_SEQUENCE));
    let images: BTreeSet<String> =
        sources.map(|item| item.text_or_empty(tags::REFERENCED_SOP_INSTANCE_UID)).collect();
    let series = dataset.items(tags::REFERENCED_SERIES_SEQUENCE).iter();
    let series: BTreeSet<String> = series.map(|item| item.text_or_empty(tags::SERIES_INSTANCE_UID)).collect();
    let said = |uids: BTreeSet<String>| uids.into_iter().filter(|uid| !uid.is_empty());
    MadeFrom { series: said(series).collect(), images: said(images).take(MOST).collect() }
}

#[cfg(test)]
mod tests {
    use dicom_core::value::DataSetSequence;
    use dicom_core::{DataElement, Tag, VR};
    use dicom_dictionary_std::uids;
    use dicom_object::InMemDicomObject;

    use super::*;
    use crate::dicom::write::{put, write_object};

    fn item(tag: Tag, uid: &str) -> InMemDicomObject {
        let mut item = InMemDicomObject::new_empty();
        put(&mut item, tag, VR::UI, uid);
        item
    }

    fn list(object: &mut InMemDicomObject, tag: Tag, items: Vec<InMemDicomObject>) {
        object.put(DataElement::new(tag, VR::SQ, DataSetSequence::from(items)));
    }

    #[test]
    fn images_and_series_are_found_wherever_they_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels.dcm");
        let mut object = item(tags::SOP_INSTANCE_UID, "1.2.3");
        put(&mut object, tags::SOP_CLASS_UID, VR::UI, uids::MR_IMAGE_STORAGE);
        write_object(&path, object.clone(), uids::EXPLICIT_VR_LITTLE_ENDIAN).unwrap();
        assert_eq!(made_from(&path).unwrap(), MadeFrom::default());
        let image = |uid| item(tags::REFERENCED_SOP_INSTANCE_UID, uid);
        list(&mut object, tags::SOURCE_IMAGE_SEQUENCE, vec![image("1.9.2"), image("1.9.2")]);
        list(&mut object, tags::REFERENCED_SERIES_SEQUENCE, vec![item(tags::SERIES_INSTANCE_UID, "1.8")]);
        let (mut derived, mut frame) = (InMemDicomObject::new_empty(), InMemDicomObject::new_empty());
        list(&mut derived, tags::SOURCE_IMAGE_SEQUENCE, vec![image("1.9.1")]);
        list(&mut frame, tags::DERIVATION_IMAGE_SEQUENCE, vec![derived]);
        list(&mut object, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, vec![frame]);
        write_object(&path, object, uids::EXPLICIT_VR_LITTLE_ENDIAN).unwrap();
        let [series, images] = [&["1.8"][..], &["1.9.1", "1.9.2"]]
            .map(|uids| uids.iter().map(|uid| (*uid).to_owned()).collect::<Vec<_>>());
        assert_eq!(made_from(&path).unwrap(), MadeFrom { series, images });
        assert!(made_from(&folder.path().join("gone")).is_err());
    }
}
