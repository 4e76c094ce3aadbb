//! Which of several scans an object of labels was drawn on: by the images that it names, by the series that it names,
//! and by its frame of reference with its place in space.

use std::collections::BTreeSet;

use tomoflow_connectors::geometry::{dot, norm};
use tomoflow_connectors::rtstruct::Outlines;
use tomoflow_connectors::{Geometry, PatientPoint, Reject, VoxelIndex};

use crate::executor::work::{OutlinesRow, ScanForm, SeriesRow};

/// A scan that an object of labels may be of, with the marks of its images where more than one is in question; sorted.
pub(super) type Candidate<'a> = (&'a SeriesRow, Option<&'a [u64]>);

/// What an object of labels is to a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    /// Its labels, or a part of them, were drawn on the scan.
    Here {
        /// Whether images that are not the scan's are another scan's, so that what names these is not drawn.
        apart: bool,
        /// Whether it names images of the scan.
        named: bool,
    },
    /// It is none of the scan's labels.
    Elsewhere(Reject),
}

/// Returns what an object of labels is to each of the scans that it may be of, in their order.
///
/// Images that it names decide. Where it names none that is known, the series that it names decide, and where it names
/// no series, its frame of reference. Several parts of one series, or several scans of one frame that fill the same
/// place, cannot be told apart then, and it is the labels of none.
pub(super) fn bind(outlines: &Outlines, scans: &[Candidate<'_>]) -> Vec<Bound> {
    let named: Vec<bool> = scans.iter().map(|scan| names_images_of(outlines, *scan)).collect();
    let by_image = named.contains(&true);
    let bound = |(place, scan): (usize, &Candidate<'_>)| {
        if by_image {
            let alone_in_frame = || {
                let frame = &*scan.0.frame_of_reference;
                draws_in(outlines, frame)
                    && !scans.iter().zip(&named).any(|(other, named)| {
                        *named
                            && (other.0.frame_of_reference.is_empty()
                                || *other.0.frame_of_reference == *frame)
                    })
            };
            return match named[place] || alone_in_frame() {
                true => Bound::Here { apart: scans.len() > 1, named: named[place] },
                false => Bound::Elsewhere(elsewhere(outlines)),
            };
        }
        let by_series = !outlines.referenced_series.is_empty();
        let rival = |other: &Candidate<'_>| {
            let same = !by_series || other.0.series_uid() == scan.0.series_uid();
            same && fill_one_place(&(&scan.0.grid).into(), &(&other.0.grid).into())
        };
        let rivals = scans.iter().enumerate().filter(|(other, scan)| *other != place && rival(scan)).count();
        match rivals {
            0 => Bound::Here { apart: false, named: false },
            rivals => Bound::Elsewhere(ambiguous(rivals + 1, by_series)),
        }
    };
    scans.iter().enumerate().map(bound).collect()
}

/// Returns what files of labels, by their names, are to scans of one series: nothing to a scan that a file of
/// its own name has.
///
/// A file with the series' name is of the scan that is left; of several at the same place it is the labels of none.
pub(super) fn by_name(pairs: &[(&OutlinesRow, &SeriesRow)]) -> Vec<Option<Bound>> {
    let own = |(labels, scan): &(&OutlinesRow, &SeriesRow)| {
        let name = scan.own_name();
        name.is_some_and(|name| labels.outlines.referenced_series.contains(&name))
    };
    let named: BTreeSet<&str> = pairs.iter().filter(|pair| own(pair)).map(|(_, scan)| &*scan.key).collect();
    let bound = |pair: &(&OutlinesRow, &SeriesRow)| {
        let (labels, scan) = *pair;
        let here = Bound::Here { apart: false, named: true };
        match (own(pair), named.contains(&*scan.key)) {
            (true, _) => return Some(here),
            (false, true) => return None,
            (false, false) => {}
        }
        let rival = |(of, other): &(&OutlinesRow, &SeriesRow)| {
            *of == labels
                && other.key != scan.key
                && !named.contains(&*other.key)
                && [scan, *other].iter().all(|one| one.form == ScanForm::Instances)
                && fill_one_place(&(&scan.grid).into(), &(&other.grid).into())
        };
        match pairs.iter().filter(|pair| rival(pair)).count() {
            0 => Some(here),
            rivals => Some(Bound::Elsewhere(ambiguous_name(rivals + 1))),
        }
    };
    pairs.iter().map(bound).collect()
}

fn ambiguous_name(scans: usize) -> Reject {
    let message = format!(
        "labels named after one scan expected, the series of their name has {scans} scans at the same place"
    );
    let hint = "the scans count as unlabelled; say which one is meant: `#0` after the series' name is the first, `#1` the \
                second, as in `1.2.3#1.nii.gz`";
    Reject::new("LABELS_AMBIGUOUS", message, hint)
}

/// Whether a scan may be meant by an object that names no series: of the same patient, where both say.
pub(super) fn same_patient(row: &OutlinesRow, scan: &SeriesRow) -> bool {
    // A scan without a patient has its study's name instead.
    let unnamed = scan.patient == scan.study_uid;
    row.outlines.patient_id.is_empty() || unnamed || *row.outlines.patient_id == *scan.patient
}

fn names_images_of(outlines: &Outlines, (_, marks): Candidate<'_>) -> bool {
    let Some(marks) = marks else { return false };
    outlines.instances.share_of(|mark| marks.binary_search(&mark).is_ok()).is_some_and(|share| share > 0.0)
}

/// Whether something is drawn in a frame of reference, by the structures' own word.
fn draws_in(outlines: &Outlines, frame: &str) -> bool {
    !frame.is_empty() && (0..outlines.parts.len()).any(|place| outlines.frame_of(place) == frame)
}

fn elsewhere(outlines: &Outlines) -> Reject {
    let message = format!(
        "labels on images of this scan expected, the {} images that they name are another scan's",
        outlines.instances.count()
    );
    let hint = "they are that scan's labels; this one counts as unlabelled";
    Reject::new("DRAWN_ELSEWHERE", message, hint)
}

fn ambiguous(scans: usize, by_series: bool) -> Reject {
    let of = if by_series { "the series that they name" } else { "their frame of reference" };
    let message = format!(
        "labels that name images of one scan expected, they name none that is known, and {of} has {scans} scans \
         at the same place"
    );
    let hint = "the scans count as unlabelled; export the labels again with their contours' images, or leave scans \
                out with `where`";
    Reject::new("LABELS_AMBIGUOUS", message, hint)
}

/// Whether two grids have slices in the same directions, and meet: what is drawn on one then fits the other as well.
pub(super) fn fill_one_place(one: &Geometry, other: &Geometry) -> bool {
    let normal = |grid: &Geometry| grid.steps_mm[0];
    let (a, b) = (normal(one), normal(other));
    let along = dot(a, b).abs() / (norm(a) * norm(b)).max(f64::MIN_POSITIVE);
    if along < 0.999 {
        return false;
    }
    let corners = |grid: &Geometry| -> Vec<PatientPoint> {
        let corner = |corner: usize| {
            let last = |axis: usize| grid.size[axis] as f64 - 0.5;
            let at = |axis: usize| if corner >> axis & 1 == 1 { last(axis) } else { -0.5 };
            grid.to_patient(VoxelIndex([0, 1, 2].map(at)))
        };
        (0..8).map(corner).collect()
    };
    // Boxes are apart when an axis of either says so; rounded decimals make none meet.
    let apart = |grid: &Geometry, corners: &[PatientPoint]| {
        let places: Option<Vec<VoxelIndex>> = corners.iter().map(|corner| grid.to_voxel(*corner)).collect();
        let Some(places) = places else { return false };
        (0..3).any(|axis| {
            let all = || places.iter().map(|place| place.0[axis]);
            let (low, high) = (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
            high < -0.49 || low > grid.size[axis] as f64 - 0.51
        })
    };
    !apart(one, &corners(other)) && !apart(other, &corners(one))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tomoflow_connectors::Digest;
    use tomoflow_connectors::rtstruct::{Instances, OutlinePart};

    use super::*;
    use crate::executor::work::Grid;

    fn scan(key: &str, frame: &str, grid: &Geometry) -> SeriesRow {
        SeriesRow {
            key: key.into(),
            part: u32::from(key.contains('#')),
            form: ScanForm::Instances,
            study_uid: "study".into(),
            patient: "p".into(),
            modality: "CT".into(),
            manufacturer: "".into(),
            model_name: "".into(),
            description: "".into(),
            frame_of_reference: frame.into(),
            grid: Grid::from(grid),
            list: Digest::default(),
            notes: Vec::new(),
            digest: Digest::default(),
        }
    }

    fn outlines(series: &[&str], frames: &[&str], images: &[&str]) -> Outlines {
        Outlines {
            referenced_series: series.iter().map(|uid| (*uid).to_owned()).collect(),
            frames: frames.iter().map(|uid| (*uid).to_owned()).collect(),
            parts: (0..frames.len() as u16)
                .map(|frame| OutlinePart { frame: Some(frame), ..OutlinePart::default() })
                .collect(),
            instances: Instances::of(images.iter().copied()),
            ..Outlines::default()
        }
    }

    fn marks(images: &[&str]) -> Vec<u64> {
        let mut marks: Vec<u64> = images.iter().map(|uid| Instances::mark(uid)).collect();
        marks.sort_unstable();
        marks
    }

    /// `h` for labels of the scan, `a` where others' images are set apart, else the code's first letters.
    fn of(outlines: &Outlines, scans: &[(SeriesRow, &[&str])]) -> Vec<String> {
        let marks: Vec<Vec<u64>> = scans.iter().map(|(_, images)| marks(images)).collect();
        let scans: Vec<Candidate<'_>> =
            scans.iter().zip(&marks).map(|((scan, _), marks)| (scan, Some(&**marks))).collect();
        let word = |bound| match bound {
            Bound::Here { apart: false, .. } => "here".to_owned(),
            Bound::Here { apart: true, .. } => "apart".to_owned(),
            Bound::Elsewhere(reject) => reject.code.to_lowercase(),
        };
        bind(outlines, &scans).into_iter().map(word).collect()
    }

    fn cube() -> Geometry {
        Geometry::axis_aligned([4, 8, 8], [1.0; 3])
    }

    #[test]
    fn a_file_named_after_a_series_of_two_scans_is_of_the_one_that_is_left() {
        let file = |name: &str| OutlinesRow {
            record: Digest::of(name.as_bytes()),
            outlines: outlines(&[name], &[], &[]),
        };
        let [whole, first, second] = ["s", "s#0", "s#1"].map(file);
        let scans = [scan("s", "f", &cube()), scan("s#1", "f", &cube())];
        let of = |pairs: &[(&OutlinesRow, &SeriesRow)]| -> Vec<String> {
            let word = |bound| match bound {
                Some(Bound::Here { .. }) => "here".to_owned(),
                Some(Bound::Elsewhere(reject)) => reject.code,
                None => "none".to_owned(),
            };
            by_name(pairs).into_iter().map(word).collect()
        };
        let [a, b] = [&scans[0], &scans[1]];
        assert_eq!(of(&[(&whole, a), (&whole, b)]), ["LABELS_AMBIGUOUS"; 2]);
        assert_eq!(of(&[(&whole, a)]), ["here"]);
        assert_eq!(of(&[(&second, b), (&whole, a), (&whole, b)]), ["here", "here", "none"]);
        assert_eq!(of(&[(&first, a), (&second, b)]), ["here"; 2]);
        // Parts at other places, and cases that are no series, are labelled as they were.
        let below = Geometry { origin_mm: [0.0, 0.0, 100.0], ..cube() };
        let apart = scan("s#1", "f", &below);
        assert_eq!(of(&[(&whole, a), (&whole, &apart)]), ["here"; 2]);
        let slices = scans.clone().map(|scan| SeriesRow { form: ScanForm::Slices, ..scan });
        assert_eq!(of(&[(&whole, &slices[0]), (&whole, &slices[1])]), ["here"; 2]);
    }

    #[test]
    fn images_decide_between_the_phases_of_a_series() {
        let phases =
            || [(scan("s", "f", &cube()), &["1", "2"][..]), (scan("s#1", "f", &cube()), &["3", "4"])];
        assert_eq!(of(&outlines(&["s"], &["f"], &["3", "4"]), &phases()), ["drawn_elsewhere", "apart"]);
        assert_eq!(of(&outlines(&["s"], &["f"], &["1", "3"]), &phases()), ["apart", "apart"]);
        // Nothing says which scan is meant.
        for unknown in [&[][..], &["old"]] {
            assert_eq!(of(&outlines(&["s"], &["f"], unknown), &phases()), ["labels_ambiguous"; 2]);
        }
        // Old images of a whole series are no obstacle.
        assert_eq!(of(&outlines(&["s"], &["f"], &["old"]), &phases()[..1]), ["here"]);
    }

    #[test]
    fn two_series_that_are_named_have_their_labels_each() {
        let days = || [(scan("a", "f", &cube()), &["1"][..]), (scan("b", "g", &cube()), &["2"])];
        assert_eq!(of(&outlines(&["a", "b"], &["f", "g"], &["1", "2"]), &days()), ["apart"; 2]);
        // Labels without images are bound by their frame of reference, unless nothing is drawn in it.
        assert_eq!(of(&outlines(&["a", "b"], &["f", "g"], &["1"]), &days()), ["apart"; 2]);
        assert_eq!(of(&outlines(&["a", "b"], &["f"], &["1"]), &days()), ["apart", "drawn_elsewhere"]);
        assert_eq!(of(&outlines(&["a", "b"], &["f", "g"], &[]), &days()), ["here"; 2]);
    }

    #[test]
    fn without_a_series_the_place_in_a_frame_decides() {
        let at = |z: f64| Geometry { origin_mm: [0.0, 0.0, z], ..cube() };
        let one = (scan("a", "f", &cube()), &["1"][..]);
        let same = (scan("b", "f", &at(2.0)), &["2"][..]);
        let below = (scan("c", "f", &at(4.0)), &["3"][..]);
        let turned = Geometry { steps_mm: [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]], ..cube() };
        let across = (scan("d", "f", &turned), &["4"][..]);
        let nameless = |images: &[&str]| outlines(&[], &["f"], images);
        assert_eq!(of(&nameless(&[]), &[one.clone(), same.clone()]), ["labels_ambiguous"; 2]);
        assert_eq!(of(&nameless(&[]), &[one.clone(), below, across]), ["here"; 3]);
        assert_eq!(of(&nameless(&["2"]), &[one, same]), ["drawn_elsewhere", "apart"]);
    }

    #[test]
    fn another_patients_scan_is_none_of_theirs() {
        let row = |patient: &str| OutlinesRow {
            record: Digest::default(),
            outlines: Outlines { patient_id: patient.to_owned(), ..Outlines::default() },
        };
        let scan = Arc::new(scan("a", "f", &cube()));
        assert_eq!(["p", "", "q"].map(|patient| same_patient(&row(patient), &scan)), [true, true, false]);
        let unnamed = SeriesRow { patient: "study".into(), ..(*scan).clone() };
        assert!(same_patient(&row("q"), &unnamed));
    }
}
