//! RTSTRUCT files: their structures, and the contours of each.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use dicom_dictionary_std::tags;

use super::kind::ContourKind;
use crate::dicom::{Dataset, Head, decimal_strings};
use crate::{PatientPoint, Reject};

/// The number of contour types beside the standard's that are told by name; more of them are counted under
/// one.
const MOST_TYPES: usize = 8;

/// The structures of one RTSTRUCT file, with their contours.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StructureSet {
    /// The structures, in the file's order.
    pub structures: Vec<Structure>,
    /// The number of contours of a ROINumber that no structure has: they are part of nothing.
    pub nameless: usize,
    /// Whether the file has no list of contours at all, not even an empty one.
    pub unlisted: bool,
}

impl StructureSet {
    /// The refusal for contours that structures may lack; none when all contours are of a structure.
    ///
    /// | code | meaning |
    /// | --- | --- |
    /// | `CONTOUR_NAMELESS` | contours of a ROINumber that no structure has |
    /// | `CONTOURS_MISSING` | the file has no list of contours |
    pub fn lost(&self) -> Option<Reject> {
        if self.unlisted && !self.structures.is_empty() {
            let message = "a list of contours (ROIContourSequence) expected, the file has none";
            let hint = "the copy broke off, or an export left it out: fetch the file again";
            return Some(Reject::new("CONTOURS_MISSING", message, hint));
        }
        let message = || {
            format!(
                "contours of a structure expected, {} have a ReferencedROINumber that no structure has",
                self.nameless
            )
        };
        let hint = "they are not drawn: give each structure the ROINumber of its contours, and export the file again";
        (self.nameless > 0).then(|| Reject::new("CONTOUR_NAMELESS", message(), hint))
    }
}

/// One structure (ROI).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Structure {
    /// ROIName.
    pub name: String,
    /// ROINumber.
    pub number: i64,
    /// The frame of reference that it lies in, or empty.
    pub frame_of_reference: String,
    /// Whether other structures have the number, which must be the structure's own.
    pub shared: Shared,
    /// The structure's contours, in the file's order.
    pub contours: Vec<Contour>,
    /// The number of contours of each type that is not in the standard and bounds no area that is known.
    pub unknown_types: BTreeMap<String, usize>,
}

/// The fate of a ROINumber that several structures have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shared {
    /// The number is this structure's own.
    #[default]
    No,
    /// There are as many groups of contours as structures of the number: each has its own, in the file's order.
    InOrder,
    /// Nobody can tell whose the contours are; the structure has none.
    Ambiguous,
}

/// One contour in a plane.
#[derive(Clone, Debug, PartialEq)]
pub struct Contour {
    /// The contour's geometric type.
    pub kind: ContourKind,
    /// The image that the contour was drawn on, or empty.
    pub sop_uid: String,
    /// The contour's corners, LPS mm; empty when they are not triples of numbers.
    pub points: Vec<PatientPoint>,
}

impl Contour {
    /// Whether the contour bounds no area by its type, or by too few corners; what is unknown or unreadable
    /// is neither.
    pub(super) fn encloses_nothing(&self) -> bool {
        match self.kind {
            ContourKind::Unknown => false,
            ContourKind::Open => true,
            ContourKind::Closed => (1..3).contains(&self.points.len()),
        }
    }

    /// The contour's corners as bytes, by which a contour that is there twice is told.
    pub(super) fn corner_bytes(&self) -> Vec<u8> {
        self.points.iter().flat_map(|point| point.0).flat_map(f64::to_le_bytes).collect()
    }
}

/// Reads the contours of an RTSTRUCT file.
///
/// # Errors
/// A [`Reject`] when the file cannot be read (`UNREADABLE`) or holds no structures (`NOT_OUTLINES`).
pub fn read_structures(path: &Path) -> Result<StructureSet, Reject> {
    let bytes = crate::container::hold(path).map_err(|error| crate::reading::refused(&error))?;
    let not_outlines = |found: &str| {
        let message = format!("an RTSTRUCT file expected, {found}");
        Reject::new("NOT_OUTLINES", message, "the file changed meanwhile: run again")
    };
    let head = Head::find(&bytes, not_outlines)?;
    let dataset = head.dataset().map_err(|error| crate::reading::refused(&error))?;
    if dataset.cut {
        let message = "the file ends inside its contours";
        return Err(Reject::new("TRUNCATED", message, "the copy broke off: fetch the file again"));
    }
    if dataset.get(tags::STRUCTURE_SET_ROI_SEQUENCE).is_none() {
        return Err(not_outlines("no structures found"));
    }
    Ok(structures(&dataset))
}

/// Structures with their contours; contours of a number that was never named are left out, as the standard has it.
pub(super) fn structures(dataset: &Dataset<'_>) -> StructureSet {
    let characters = dataset.character_set();
    let named = dataset.items(tags::STRUCTURE_SET_ROI_SEQUENCE);
    let listed = listed_frames(dataset);
    let frame = common_frame(dataset);
    let mut groups: BTreeMap<i64, Vec<&Dataset<'_>>> = BTreeMap::new();
    for roi in dataset.items(tags::ROI_CONTOUR_SEQUENCE) {
        groups.entry(number(roi.number(tags::REFERENCED_ROI_NUMBER))).or_default().push(roi);
    }
    let mut structures: Vec<Structure> = Vec::new();
    let mut of_number: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    for (place, roi) in named.iter().enumerate() {
        let number = number(roi.number(tags::ROI_NUMBER));
        of_number.entry(number).or_default().push(place);
        structures.push(Structure {
            name: roi.decoded_text(tags::ROI_NAME, characters.as_ref()).unwrap_or_default(),
            number,
            frame_of_reference: match roi.text(tags::REFERENCED_FRAME_OF_REFERENCE_UID) {
                // A frame that the file lists nowhere says nothing: an export replaced the others.
                Some(own) if listed.is_empty() || listed.contains(&*own) => own.into_owned(),
                Some(_) => String::new(),
                None => frame.clone(),
            },
            ..Structure::default()
        });
    }
    let mut nameless = groups.remove(&NONE).map_or(0, |lost| contours_of(&lost));
    for (number, places) in of_number {
        let groups = groups.remove(&number).unwrap_or_default();
        let shared = match (places.len(), groups.len()) {
            // There is nothing to mix up without contours.
            (1, _) | (_, 0) => Shared::No,
            (structures, groups) if structures == groups => Shared::InOrder,
            _ => Shared::Ambiguous,
        };
        for (nth, place) in places.into_iter().enumerate() {
            let Some(structure) = structures.get_mut(place) else { continue };
            structure.shared = shared;
            let own = match shared {
                Shared::No => groups.as_slice(),
                Shared::InOrder => groups.get(nth..=nth).unwrap_or_default(),
                Shared::Ambiguous => &[],
            };
            own.iter().for_each(|roi| structure.draw(roi));
        }
    }
    nameless += groups.values().map(|lost| contours_of(lost)).sum::<usize>();
    let unlisted = dataset.get(tags::ROI_CONTOUR_SEQUENCE).is_none();
    StructureSet { structures, nameless, unlisted }
}

fn contours_of(groups: &[&Dataset<'_>]) -> usize {
    groups.iter().map(|roi| roi.items(tags::CONTOUR_SEQUENCE).len()).sum()
}

/// The number that stands for a ROI without one; no program gives it.
const NONE: i64 = i64::MIN;

fn number(found: Option<f64>) -> i64 {
    found.filter(|number| number.fract() == 0.0 && number.abs() < 1e15).map_or(NONE, |number| number as i64)
}

/// The frames of reference that the file says it refers to.
fn listed_frames(dataset: &Dataset<'_>) -> BTreeSet<String> {
    let referenced = dataset.items(tags::REFERENCED_FRAME_OF_REFERENCE_SEQUENCE).iter();
    let uids = referenced.map(|frame| frame.text_or_empty(tags::FRAME_OF_REFERENCE_UID));
    uids.filter(|uid| !uid.is_empty()).collect()
}

/// The frame of reference of structures that name none: the only one that the file refers to, or its own.
fn common_frame(dataset: &Dataset<'_>) -> String {
    let referenced = dataset.items(tags::REFERENCED_FRAME_OF_REFERENCE_SEQUENCE);
    let only = match referenced {
        [only] => only.text(tags::FRAME_OF_REFERENCE_UID),
        _ => None,
    };
    only.or_else(|| dataset.text(tags::FRAME_OF_REFERENCE_UID)).unwrap_or_default().into_owned()
}

impl Structure {
    /// Adds the contours of a group.
    fn draw(&mut self, roi: &Dataset<'_>) {
        for item in roi.items(tags::CONTOUR_SEQUENCE) {
            let found = item.text(tags::CONTOUR_GEOMETRIC_TYPE).unwrap_or_default();
            let contour = contour(item, ContourKind::of(&found));
            if contour.kind == ContourKind::Unknown {
                // A code string has 16 characters; what is longer is told by its beginning.
                let found: String = found.chars().take(16).collect();
                let full = self.unknown_types.len() >= MOST_TYPES && !self.unknown_types.contains_key(&found);
                let name = if full { "others".to_owned() } else { found };
                *self.unknown_types.entry(name).or_default() += 1;
            }
            self.contours.push(contour);
        }
    }
}

fn contour(item: &Dataset<'_>, kind: ContourKind) -> Contour {
    let image = item.items(tags::CONTOUR_IMAGE_SEQUENCE).first();
    let sop_uid = image.map(|image| image.text_or_empty(tags::REFERENCED_SOP_INSTANCE_UID));
    // The corners are read as decimal strings whatever the VR says: beyond 65,534 bytes it is UN.
    let numbers = decimal_strings(item.bytes(tags::CONTOUR_DATA).unwrap_or_default());
    let (triples, rest) = numbers.as_chunks::<3>();
    let sound = rest.is_empty() && numbers.iter().all(|number| number.is_finite());
    let points = if sound { triples.iter().map(|&point| PatientPoint(point)).collect() } else { Vec::new() };
    Contour { kind, sop_uid: sop_uid.unwrap_or_default(), points }
}
