//! Series of images that are labels, to the scans whose voxels are theirs.

use std::sync::Arc;

use tomoflow_connectors::rtstruct::{Form, Instances, Outlines};
use tomoflow_connectors::{Digest, Geometry, Reject};

use super::super::super::label_series::{images, may_be_of, place, series};
use super::super::super::rows::{Conclusion, Desired, ImagesRow};
use super::super::binding::{Bound, Candidate, fill_one_place};
use super::super::strays::refuse_stacks;
use super::super::{Built, Rows};
use super::{ELSEWHERE, Found};
use crate::executor::label_series;
use crate::executor::work::{OutlinesRow, SeriesRow, Verdict};
use crate::operators::registry::Stage;
use crate::operators::source::LabelsIn;
use crate::voxels::within::Within;

impl<'s> Built<'s, '_> {
    /// Takes the series that are a source's labels, and tells why others are none; nothing for a source of other labels.
    pub(in super::super) fn take_label_series(&mut self, index: usize, verdicts: Rows<'s, Verdict>) {
        let Stage::Labels(source) = &self.plan.stages[index].stage else { return };
        let LabelsIn::Series { .. } = source.lies_in() else { return };
        let verdicts = refuse_stacks(verdicts);
        let stage = self.names[index].clone();
        self.outputs.push(verdicts.clone().flat_map(move |verdict| match verdict {
            Verdict::Rejected(key, reject) => {
                let (case, stage) = (Some(key), stage.clone());
                Some(Conclusion::desired(Desired::Reject { case, stage, reject, attempts: 1 }))
            }
            Verdict::Accepted(_) => None,
        }));
        let accepted = verdicts.flat_map(|verdict| verdict.accepted().cloned());
        self.label_series.insert(index, accepted);
    }

    /// Returns series of labels with the scans that they were drawn on, and with those at their place that they were not.
    pub(super) fn of_label_series(
        &self,
        source: usize,
        trusted: bool,
        scans: Rows<'s, Arc<SeriesRow>>,
        images: Rows<'s, Arc<ImagesRow>>,
    ) -> Rows<'s, (Arc<str>, Found)> {
        let placed = move |row: Arc<SeriesRow>| Some((place(&row, trusted)?, row));
        let labels = self.label_series[&source].clone().flat_map(placed);
        let meant = labels.join(scans.flat_map(placed));
        let meant = meant.flat_map(|(_, (labels, scan))| may_be_of(&labels, &scan).then_some((labels, scan)));
        let images = images.map(|row| (row.key.clone(), row)).distinct();
        let keyed = meant.clone().map(|(labels, scan)| (scan.key.clone(), labels));
        let images = keyed.join(images).map(|(_, (labels, images))| (labels, (None, Some(images))));
        let halves = meant.map(|(labels, scan)| (labels, (Some(scan), None))).concat(images);
        let bound = halves.reduce(|labels, halves, output| {
            let halves = || halves.iter().map(|(half, _)| *half);
            let images: Vec<&Arc<ImagesRow>> =
                halves().filter_map(|half: &(_, Option<Arc<ImagesRow>>)| half.1.as_ref()).collect();
            let marks = |key: &str| images.iter().find(|row| &*row.key == key).map(|row| &*row.marks);
            let scans: Vec<Arc<SeriesRow>> = halves().filter_map(|half| half.0.clone()).collect();
            let candidates: Vec<_> = scans.iter().map(|scan| (&**scan, marks(&scan.key))).collect();
            let row = Arc::new(outlines(labels));
            for (scan, bound) in scans.iter().zip(bind(labels, &candidates)) {
                let refused = match bound {
                    Some(Bound::Here { .. }) => None,
                    Some(Bound::Elsewhere(reject)) => Some(reject),
                    None => continue,
                };
                let labels = row.clone();
                let found = Found { labels, apart: false, images: Digest::default(), named: true, refused };
                output.push(((scan.key.clone(), found), 1));
            }
        });
        bound.map(|(_, found)| found)
    }
}

/// A series of labels as other labels are known.
fn outlines(labels: &SeriesRow) -> OutlinesRow {
    let outlines = Outlines {
        form: Form::Voxels,
        sop_uid: labels.key.to_string(),
        digest: labels.digest,
        ..Outlines::default()
    };
    OutlinesRow { record: label_series::kept(labels).0, outlines }
}

/// Returns what a series of labels is to each of the scans that share its frame of reference, in their order: nothing to
/// one at another place.
///
/// The images that it names decide which scans are in question; where it names none that is known, the series that it
/// names; where it names no series, all are. Of these it was drawn on the one that has all of its voxels. The same grid goes
/// before one of which it is a part.
fn bind(labels: &SeriesRow, scans: &[Candidate<'_>]) -> Vec<Option<Bound>> {
    let own = Geometry::from(&labels.grid);
    let grids: Vec<Geometry> = scans.iter().map(|(scan, _)| Geometry::from(&scan.grid)).collect();
    let asked = named(labels, scans);
    let within: Vec<Option<Within>> =
        grids.iter().zip(&asked).map(|(grid, asked)| Within::of(&own, grid).filter(|_| *asked)).collect();
    let is_whole = |within: &Option<Within>| within.is_some_and(|within| within.is_whole());
    let only_whole = within.iter().any(is_whole);
    let drawn = |within: &Option<Within>| if only_whole { is_whole(within) } else { within.is_some() };
    let count = within.iter().filter(|within| drawn(within)).count();
    let bound = |((grid, within), asked): ((&Geometry, &Option<Within>), &bool)| match (drawn(within), count)
    {
        (true, 1) => Some(Bound::Here { apart: false, named: true }),
        (true, several) => Some(Bound::Elsewhere(ambiguous(several))),
        (false, _) if !fill_one_place(&own, grid) => None,
        (false, 0) if *asked => Some(Bound::Elsewhere(Within::misfit(&own, grid))),
        (false, _) => Some(Bound::Elsewhere(elsewhere())),
    };
    grids.iter().zip(&within).zip(&asked).map(bound).collect()
}

/// Returns which of several scans labels may be of, by what they say that they were made from.
fn named(labels: &SeriesRow, scans: &[Candidate<'_>]) -> Vec<bool> {
    let marks: Vec<u64> = images(labels).map(Instances::mark).collect();
    let holds = |own: &[u64]| marks.iter().any(|mark| own.binary_search(mark).is_ok());
    let by_image: Vec<bool> = scans.iter().map(|(_, own)| own.is_some_and(holds)).collect();
    if by_image.contains(&true) {
        return by_image;
    }
    let named: Vec<&str> = series(labels).collect();
    scans.iter().map(|(scan, _)| named.is_empty() || named.contains(&scan.series_uid())).collect()
}

fn ambiguous(scans: usize) -> Reject {
    let message = format!(
        "labels whose voxels are one scan's expected, {scans} scans of their frame of reference have all of them"
    );
    let hint = "the scans count as unlabelled; leave the others out with `where` of the source of scans, or make them \
                channels of one case";
    Reject::new("LABELS_AMBIGUOUS", message, hint)
}

fn elsewhere() -> Reject {
    let message = "labels of this scan expected, those at its place are another scan's, by what they were made from or by their \
                   voxels";
    Reject::new(ELSEWHERE, message, "they are that scan's labels; this one counts as unlabelled")
}

#[cfg(test)]
mod tests {
    use tomoflow_connectors::VoxelIndex;
    use tomoflow_connectors::dicom::MadeFrom;

    use super::super::super::super::label_series::notes_of;
    use super::*;

    fn row(key: &str, grid: &Geometry) -> SeriesRow {
        SeriesRow { frame_of_reference: "frame".into(), ..SeriesRow::sample(key, grid) }
    }

    fn slices(first: usize, count: usize) -> Geometry {
        let whole = Geometry::axis_aligned([6, 8, 8], [3.0, 1.0, 1.0]);
        let origin_mm = whole.to_patient(VoxelIndex([first as f64, 0.0, 0.0])).0;
        Geometry { size: [count, 8, 8], origin_mm, ..whole }
    }

    /// `here`, `none`, or the code of the refusal, in small letters.
    fn of(labels: &Geometry, scans: &[Geometry]) -> Vec<String> {
        let scans: Vec<SeriesRow> = scans.iter().map(|grid| row("scan", grid)).collect();
        words(&row("labels", labels), &scans.iter().map(|scan| (scan, None)).collect::<Vec<_>>())
    }

    fn words(labels: &SeriesRow, scans: &[Candidate<'_>]) -> Vec<String> {
        let word = |bound| match bound {
            Some(Bound::Here { .. }) => "here".to_owned(),
            Some(Bound::Elsewhere(reject)) => reject.code.to_lowercase(),
            None => "none".to_owned(),
        };
        bind(labels, scans).into_iter().map(word).collect()
    }

    #[test]
    fn what_labels_were_made_from_decides_between_scans_on_one_grid() {
        let (a, b) = (row("1.1", &slices(0, 6)), row("1.2", &slices(0, 6)));
        let marks = |uid: &str| vec![Instances::mark(uid)];
        let (of_a, of_b) = (marks("9.1"), marks("9.2"));
        let scans: [Candidate<'_>; 2] = [(&a, Some(&of_a)), (&b, Some(&of_b))];
        let made = |series: &[&str], images: &[&str]| {
            let all = |uids: &[&str]| uids.iter().map(|uid| (*uid).to_owned()).collect::<Vec<String>>();
            let from = MadeFrom { series: all(series), images: all(images) };
            let labels = row("1.3", &slices(0, 6));
            words(&SeriesRow { notes: notes_of(&from).collect(), ..labels }, &scans)
        };
        assert_eq!(made(&[], &[]), ["labels_ambiguous"; 2]);
        assert_eq!(made(&["1.1"], &["9.2"]), ["drawn_elsewhere", "here"]);
        assert_eq!(made(&["1.1"], &["9.7"]), ["here", "drawn_elsewhere"]);
        // Images that nobody knows say nothing, a series that is not there says that it is another's.
        assert_eq!(made(&[], &["9.7"]), ["labels_ambiguous"; 2]);
        assert_eq!(made(&["1.7"], &[]), ["drawn_elsewhere"; 2]);
    }

    #[test]
    fn labels_are_of_the_scan_that_has_all_of_their_voxels() {
        assert_eq!(of(&slices(0, 6), &[slices(0, 6)]), ["here"]);
        assert_eq!(of(&slices(2, 3), &[slices(0, 6)]), ["here"]);
        assert_eq!(of(&slices(2, 3), &[slices(0, 6), slices(2, 3)]), ["drawn_elsewhere", "here"]);
        assert_eq!(of(&slices(0, 6), &[slices(0, 6), slices(0, 6)]), ["labels_ambiguous"; 2]);
        assert_eq!(of(&slices(0, 6), &[slices(0, 3)]), ["label_grid"]);
        let finer = Geometry::axis_aligned([6, 16, 16], [3.0, 0.5, 0.5]);
        assert_eq!(of(&finer, &[slices(0, 6), finer.clone()]), ["drawn_elsewhere", "here"]);
        assert_eq!(of(&finer, &[slices(0, 6)]), ["label_grid"]);
        // Beyond the labels, and across them.
        let upright =
            Geometry { steps_mm: [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]], ..finer.clone() };
        assert_eq!(of(&slices(0, 2), &[slices(4, 2), upright]), ["none"; 2]);
    }

    #[test]
    fn a_series_is_not_its_own_scan_and_no_other_patients() {
        let scan = row("1", &slices(0, 6));
        assert!(may_be_of(&row("2", &slices(0, 6)), &scan));
        assert!(!may_be_of(&scan, &SeriesRow { part: 1, key: "1#1".into(), ..scan.clone() }));
        let other = SeriesRow { patient: "q".into(), ..row("2", &slices(0, 6)) };
        assert!(!may_be_of(&other, &scan));
        assert!(may_be_of(&SeriesRow { patient: "study".into(), ..other }, &scan));
        assert_eq!(
            [place(&scan, false), place(&scan, true)].map(Option::unwrap).map(|at| at.to_string()),
            ["frame", "study"]
        );
        assert_eq!(place(&SeriesRow { frame_of_reference: "".into(), ..scan }, false), None);
    }
}
