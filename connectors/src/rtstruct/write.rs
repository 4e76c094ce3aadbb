//! Writing of masks to outlines, and of outlines to files: RT Structure Set Storage, implicit VR little
//! endian.

use std::path::Path;

use dicom_core::value::{DataSetSequence, PrimitiveValue};
use dicom_core::{DataElement, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;

use crate::dicom::deidentify::Deidentify;
use crate::dicom::write::{Study, WriteError, put, put_study, write_object};
use crate::geometry::VoxelIndex;
use crate::volume::LabelMap;

/// The class by which a structure set refers to a study; retired, and still what exports hold.
const DETACHED_STUDY_MANAGEMENT: &str = "1.2.840.10008.3.1.2.3.1";

/// The description of a structure set, and of the series that it was drawn on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StructureSetHeader {
    /// The study that it belongs to, which is the scan's.
    pub study: Study,
    /// SeriesInstanceUID of the structure set itself.
    pub series_uid: String,
    /// SOPInstanceUID of the structure set itself.
    pub sop_instance_uid: String,
    /// StructureSetLabel.
    pub label: String,
    /// StructureSetDate, `YYYYMMDD`.
    pub date: String,
    /// StructureSetTime, `HHMMSS`.
    pub time: String,
    /// Manufacturer of the station where it was drawn.
    pub manufacturer: String,
    /// SeriesInstanceUID of the scan.
    pub referenced_series_uid: String,
    /// SOP class of the scan's slices.
    pub referenced_sop_class_uid: String,
    /// SOPInstanceUID of each slice of the scan.
    pub referenced_instances: Vec<String>,
}

/// A closed planar contour.
#[derive(Clone, Debug, PartialEq)]
pub struct Contour {
    /// The contour's corners in patient space, LPS, mm.
    pub points_mm: Vec<[f64; 3]>,
    /// SOPInstanceUID of the slice that it lies on; empty between slices.
    pub sop_instance_uid: String,
}

/// Writes structures, each a name and its contours, as one RTSTRUCT.
///
/// Contours of one structure on one slice combine by exclusive or. The file is in implicit VR, whose
/// lengths have 32 bits: the coordinates of a large contour do not fit the 16 of an explicit one.
///
/// # Errors
/// [`WriteError`] when the file cannot be written.
pub fn write_structures(
    path: &Path,
    header: &StructureSetHeader,
    structures: &[(String, Vec<Contour>)],
) -> Result<(), WriteError> {
    write_structures_as(path, header, structures, None)
}

/// Writes structures as [`write_structures`], without identity where that is asked for.
///
/// # Errors
/// [`WriteError`] when the file cannot be written.
pub fn write_structures_as(
    path: &Path,
    header: &StructureSetHeader,
    structures: &[(String, Vec<Contour>)],
    deidentify: Option<&Deidentify<'_>>,
) -> Result<(), WriteError> {
    let mut object = InMemDicomObject::new_empty();
    put_study(&mut object, &header.study);
    let texts: [(Tag, VR, &str); 12] = [
        (tags::SOP_CLASS_UID, VR::UI, uids::RT_STRUCTURE_SET_STORAGE),
        (tags::SOP_INSTANCE_UID, VR::UI, &header.sop_instance_uid),
        (tags::MODALITY, VR::CS, "RTSTRUCT"),
        (tags::SERIES_INSTANCE_UID, VR::UI, &header.series_uid),
        (tags::SERIES_NUMBER, VR::IS, "1"),
        (tags::SERIES_DATE, VR::DA, &header.date),
        (tags::SERIES_TIME, VR::TM, &header.time),
        (tags::MANUFACTURER, VR::LO, &header.manufacturer),
        (tags::STRUCTURE_SET_LABEL, VR::SH, &header.label),
        (tags::STRUCTURE_SET_DATE, VR::DA, &header.date),
        (tags::STRUCTURE_SET_TIME, VR::TM, &header.time),
        (tags::APPROVAL_STATUS, VR::CS, "UNAPPROVED"),
    ];
    for (tag, vr, value) in texts {
        put(&mut object, tag, vr, value);
    }
    put_items(&mut object, tags::REFERENCED_FRAME_OF_REFERENCE_SEQUENCE, vec![frame_of_reference(header)]);
    put_rois(&mut object, header, structures);
    if let Some(deidentify) = deidentify {
        object = deidentify.apply(object);
    }
    write_object(path, object, uids::IMPLICIT_VR_LITTLE_ENDIAN)
}

fn put_items(object: &mut InMemDicomObject, tag: Tag, items: Vec<InMemDicomObject>) {
    object.put(DataElement::new(tag, VR::SQ, DataSetSequence::from(items)));
}

fn image_reference(class_uid: &str, instance_uid: &str) -> InMemDicomObject {
    let mut item = InMemDicomObject::new_empty();
    put(&mut item, tags::REFERENCED_SOP_CLASS_UID, VR::UI, class_uid);
    put(&mut item, tags::REFERENCED_SOP_INSTANCE_UID, VR::UI, instance_uid);
    item
}

fn frame_of_reference(header: &StructureSetHeader) -> InMemDicomObject {
    let images = header
        .referenced_instances
        .iter()
        .map(|instance| image_reference(&header.referenced_sop_class_uid, instance))
        .collect();
    let mut series = InMemDicomObject::new_empty();
    put(&mut series, tags::SERIES_INSTANCE_UID, VR::UI, &header.referenced_series_uid);
    put_items(&mut series, tags::CONTOUR_IMAGE_SEQUENCE, images);
    let mut study = image_reference(DETACHED_STUDY_MANAGEMENT, &header.study.uid);
    put_items(&mut study, tags::RT_REFERENCED_SERIES_SEQUENCE, vec![series]);
    let mut frame = InMemDicomObject::new_empty();
    put(&mut frame, tags::FRAME_OF_REFERENCE_UID, VR::UI, &header.study.frame_of_reference_uid);
    put_items(&mut frame, tags::RT_REFERENCED_STUDY_SEQUENCE, vec![study]);
    frame
}

fn put_rois(
    object: &mut InMemDicomObject,
    header: &StructureSetHeader,
    structures: &[(String, Vec<Contour>)],
) {
    let colours = ["255\\0\\0", "0\\255\\0", "0\\128\\255", "255\\255\\0"];
    let (mut rois, mut outlines, mut observations) = (Vec::new(), Vec::new(), Vec::new());
    for ((number, (name, contours)), colour) in (1..).zip(structures).zip(colours.iter().cycle()) {
        let number: i32 = number;
        let mut roi = InMemDicomObject::new_empty();
        put(&mut roi, tags::ROI_NUMBER, VR::IS, number.to_string());
        put(&mut roi, tags::REFERENCED_FRAME_OF_REFERENCE_UID, VR::UI, &header.study.frame_of_reference_uid);
        put(&mut roi, tags::ROI_NAME, VR::LO, name);
        put(&mut roi, tags::ROI_GENERATION_ALGORITHM, VR::CS, "MANUAL");
        rois.push(roi);

        let mut outline = InMemDicomObject::new_empty();
        put(&mut outline, tags::ROI_DISPLAY_COLOR, VR::IS, *colour);
        let items = contours.iter().map(|contour| contour_item(header, contour)).collect();
        put_items(&mut outline, tags::CONTOUR_SEQUENCE, items);
        put(&mut outline, tags::REFERENCED_ROI_NUMBER, VR::IS, number.to_string());
        outlines.push(outline);

        let mut observation = InMemDicomObject::new_empty();
        put(&mut observation, tags::OBSERVATION_NUMBER, VR::IS, number.to_string());
        put(&mut observation, tags::REFERENCED_ROI_NUMBER, VR::IS, number.to_string());
        put(
            &mut observation,
            tags::RTROI_INTERPRETED_TYPE,
            VR::CS,
            if number == 1 { "GTV" } else { "ORGAN" },
        );
        put(&mut observation, tags::ROI_INTERPRETER, VR::PN, "");
        observations.push(observation);
    }
    put_items(object, tags::STRUCTURE_SET_ROI_SEQUENCE, rois);
    put_items(object, tags::ROI_CONTOUR_SEQUENCE, outlines);
    put_items(object, tags::RTROI_OBSERVATIONS_SEQUENCE, observations);
}

fn contour_item(header: &StructureSetHeader, contour: &Contour) -> InMemDicomObject {
    let mut item = InMemDicomObject::new_empty();
    if !contour.sop_instance_uid.is_empty() {
        let image = image_reference(&header.referenced_sop_class_uid, &contour.sop_instance_uid);
        put_items(&mut item, tags::CONTOUR_IMAGE_SEQUENCE, vec![image]);
    }
    put(&mut item, tags::CONTOUR_GEOMETRIC_TYPE, VR::CS, "CLOSED_PLANAR");
    put(&mut item, tags::NUMBER_OF_CONTOUR_POINTS, VR::IS, contour.points_mm.len().to_string());
    // The numbers are rounded to a hundredth of a micrometre: far finer than half a voxel, and short.
    let data: Vec<String> = contour.points_mm.iter().flatten().map(|x| format!("{x:.5}")).collect();
    let data = PrimitiveValue::Strs(data.into());
    item.put(DataElement::new(tags::CONTOUR_DATA, VR::DS, data));
    item
}

/// The contours of one label on each slice of its grid; `sop_instance_uids` are the slices', in order, an
/// empty one for a plane between slices.
pub fn contours(labels: &LabelMap, label: u16, sop_instance_uids: &[String]) -> Vec<Contour> {
    let [depth, _, width] = labels.size();
    (0..depth)
        .zip(sop_instance_uids)
        .flat_map(|(slice, uid)| {
            trace(labels.slice(slice), width, label).into_iter().map(move |polygon| Contour {
                points_mm: polygon
                    .into_iter()
                    .map(|[row, column]| {
                        labels.geometry().to_patient(VoxelIndex([slice as f64, row, column])).0
                    })
                    .collect(),
                sop_instance_uid: uid.clone(),
            })
        })
        .collect()
}

/// The borders of one label in a slice: polygons of `[row, column]` in voxels along the pixels' edges.
///
/// Corners lie halfway between voxel centres, so that an even-odd test at the centres gives the mask
/// back exactly. An outer border and the border of a hole are polygons of their own.
///
/// # Examples
/// ```
/// use tomoflow_connectors::rtstruct::write::trace;
/// let polygons = trace(&[0, 0, 0, 0, 1, 0, 0, 0, 0], 3, 1);
/// assert_eq!(polygons, [[[0.5, 1.5], [1.5, 1.5], [1.5, 0.5], [0.5, 0.5]]]);
/// ```
pub fn trace(slice: &[u16], width: usize, label: u16) -> Vec<Vec<[f64; 2]>> {
    if width == 0 || !slice.contains(&label) {
        return Vec::new();
    }
    let mut edges = Edges::of(slice, width, label);
    let mut polygons = Vec::new();
    for start in 0..edges.leaving.len() {
        while edges.leaving[start] != 0 {
            polygons.push(edges.walk(start));
        }
    }
    polygons
}

/// The edges between a label and the rest by the corner that they leave: one bit a direction (right, down,
/// left, up), the label on the right hand.
struct Edges {
    leaving: Vec<u8>,
    /// The number of corners in a row: one more than pixels.
    corners: usize,
}

impl Edges {
    fn of(slice: &[u16], width: usize, label: u16) -> Self {
        let (height, corners) = (slice.len() / width, width + 1);
        let mut leaving = vec![0u8; (height + 1) * corners];
        let inside = |row: usize, column: usize| {
            row < height && column < width && slice[row * width + column] == label
        };
        for row in 0..height {
            for column in 0..width {
                if !inside(row, column) {
                    continue;
                }
                let corner = row * corners + column;
                // A row or column that wrapped is past the border, and so outside.
                let sides = [
                    (corner, inside(row.wrapping_sub(1), column)),
                    (corner + 1, inside(row, column + 1)),
                    (corner + corners + 1, inside(row + 1, column)),
                    (corner + corners, inside(row, column.wrapping_sub(1))),
                ];
                for (direction, (from, neighbour)) in sides.into_iter().enumerate() {
                    if !neighbour {
                        leaving[from] |= 1 << direction;
                    }
                }
            }
        }
        Self { leaving, corners }
    }

    /// Follows the edges from a corner until they close, and takes them away.
    fn walk(&mut self, start: usize) -> Vec<[f64; 2]> {
        let mut polygon = Vec::new();
        let mut at = start;
        let mut heading = self.leaving[at].trailing_zeros() as usize;
        let first = heading;
        loop {
            self.leaving[at] &= !(1 << heading);
            at = match heading {
                0 => at + 1,
                1 => at + self.corners,
                2 => at - 1,
                _ => at - self.corners,
            };
            // The right turn stays with the same pixel where two pixels touch at a corner alone. The first
            // edge is taken already, and ends the walk.
            let next = [1, 0, 3]
                .map(|turn| (heading + turn) % 4)
                .into_iter()
                .find(|&d| self.leaving[at] >> d & 1 == 1 || (at == start && d == first))
                .unwrap_or(first);
            if next != heading {
                polygon.push(self.corner(at));
            }
            if at == start && next == first {
                return polygon;
            }
            heading = next;
        }
    }

    fn corner(&self, at: usize) -> [f64; 2] {
        [(at / self.corners) as f64 - 0.5, (at % self.corners) as f64 - 0.5]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Geometry;
    use proptest::prelude::*;

    /// Fills polygons even-odd at the voxel centres, over all of them.
    fn fill(polygons: &[Vec<[f64; 2]>], height: usize, width: usize) -> Vec<u16> {
        let inside = |row: f64, column: f64| {
            let crossings = polygons.iter().map(|polygon| {
                (0..polygon.len())
                    .filter(|&i| {
                        let ([r0, c0], [r1, c1]) = (polygon[i], polygon[(i + 1) % polygon.len()]);
                        (r0 > row) != (r1 > row) && column < c0 + (row - r0) / (r1 - r0) * (c1 - c0)
                    })
                    .count()
            });
            crossings.sum::<usize>() % 2 == 1
        };
        (0..height * width).map(|i| u16::from(inside((i / width) as f64, (i % width) as f64))).collect()
    }

    #[test]
    fn pixels_that_touch_at_a_corner_are_two_polygons() {
        assert_eq!(trace(&[1, 0, 0, 1], 2, 1).len(), 2);
        assert_eq!(trace(&[0, 1, 1, 0], 2, 1).len(), 2);
    }

    #[test]
    fn a_ring_is_a_border_and_a_hole() {
        let polygons = trace(&[1, 1, 1, 1, 0, 1, 1, 1, 1], 3, 1);
        assert_eq!(polygons.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4]);
    }

    #[test]
    fn contours_name_their_slice() {
        let geometry = Geometry::axis_aligned([2, 2, 2], [2.0, 1.0, 1.0]);
        let labels = LabelMap::new(geometry, vec![0, 0, 0, 0, 0, 0, 0, 3]).unwrap();
        let found = contours(&labels, 3, &["a".to_owned(), "b".to_owned()]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].sop_instance_uid, "b");
        assert!(found[0].points_mm.contains(&[0.5, 0.5, 2.0]));
    }

    proptest! {
        #[test]
        fn even_odd_gives_any_mask_back(
            width in 1usize..12,
            pixels in proptest::collection::vec(0u16..2, 1..120),
        ) {
            let height = pixels.len() / width;
            let mask = &pixels[..height * width];
            let polygons = trace(mask, width, 1);
            prop_assert_eq!(fill(&polygons, height, width), mask);
            for polygon in &polygons {
                let mut corners: Vec<_> = polygon.iter().map(|c| c.map(f64::to_bits)).collect();
                corners.sort_unstable();
                corners.dedup();
                // The border of a hole may touch itself, an outer one does not need to.
                prop_assert!(corners.len() >= 4);
            }
        }
    }
}
