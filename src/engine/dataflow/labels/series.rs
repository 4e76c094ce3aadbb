//! Series of images that are labels, to the scans whose voxels are theirs.

use std::sync::Arc;

use tomoflow_connectors::rtstruct::{Form, Outlines};
use tomoflow_connectors::{Digest, Geometry, Reject};

use super::super::super::label_series::{may_be_of, place};
use super::super::super::rows::{Conclusion, Desired};
use super::super::binding::{Bound, fill_one_place};
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
    ) -> Rows<'s, (Arc<str>, Found)> {
        let placed = move |row: Arc<SeriesRow>| Some((place(&row, trusted)?, row));
        let labels = self.label_series[&source].clone().flat_map(placed);
        let meant = labels.join(scans.flat_map(placed));
        let meant = meant.flat_map(|(_, (labels, scan))| may_be_of(&labels, &scan).then_some((labels, scan)));
        let bound = meant.reduce(|labels, scans, output| {
            let scans: Vec<&SeriesRow> = scans.iter().map(|(scan, _)| &***scan).collect();
            let row = Arc::new(outlines(labels));
            for (scan, bound) in scans.iter().zip(bind(labels, &scans)) {
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
/// It was drawn on the scan that has all of its voxels. The same grid goes before one of which it is a part.
fn bind(labels: &SeriesRow, scans: &[&SeriesRow]) -> Vec<Option<Bound>> {
    let own = Geometry::from(&labels.grid);
    let grids: Vec<Geometry> = scans.iter().map(|scan| Geometry::from(&scan.grid)).collect();
    let within: Vec<Option<Within>> = grids.iter().map(|grid| Within::of(&own, grid)).collect();
    let is_whole = |within: &Option<Within>| within.is_some_and(|within| within.is_whole());
    let only_whole = within.iter().any(is_whole);
    let drawn = |within: &Option<Within>| if only_whole { is_whole(within) } else { within.is_some() };
    let count = within.iter().filter(|within| drawn(within)).count();
    let bound = |(grid, within): (&Geometry, &Option<Within>)| match (drawn(within), count) {
        (true, 1) => Some(Bound::Here { apart: false, named: true }),
        (true, several) => Some(Bound::Elsewhere(ambiguous(several))),
        (false, _) if !fill_one_place(&own, grid) => None,
        (false, 0) => Some(Bound::Elsewhere(Within::misfit(&own, grid))),
        (false, _) => Some(Bound::Elsewhere(elsewhere())),
    };
    grids.iter().zip(&within).map(bound).collect()
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
    let message =
        "labels whose voxels are this scan's expected, another scan of the frame of reference has them";
    Reject::new(ELSEWHERE, message, "they are that scan's labels; this one counts as unlabelled")
}

#[cfg(test)]
mod tests {
    use tomoflow_connectors::VoxelIndex;

    use super::*;
    use crate::executor::work::{Grid, ScanForm};

    fn series(key: &str, grid: &Geometry) -> SeriesRow {
        SeriesRow {
            key: key.into(),
            part: 0,
            form: ScanForm::Instances,
            study_uid: "study".into(),
            patient: "p".into(),
            modality: "MR".into(),
            manufacturer: "".into(),
            model_name: "".into(),
            description: "".into(),
            frame_of_reference: "frame".into(),
            grid: Grid::from(grid),
            list: Digest::default(),
            notes: Vec::new(),
            digest: Digest::default(),
        }
    }

    fn slices(first: usize, count: usize) -> Geometry {
        let whole = Geometry::axis_aligned([6, 8, 8], [3.0, 1.0, 1.0]);
        let origin_mm = whole.to_patient(VoxelIndex([first as f64, 0.0, 0.0])).0;
        Geometry { size: [count, 8, 8], origin_mm, ..whole }
    }

    /// `here`, `none`, or the code of the refusal, in small letters.
    fn of(labels: &Geometry, scans: &[Geometry]) -> Vec<String> {
        let scans: Vec<SeriesRow> = scans.iter().map(|grid| series("scan", grid)).collect();
        let word = |bound| match bound {
            Some(Bound::Here { .. }) => "here".to_owned(),
            Some(Bound::Elsewhere(reject)) => reject.code.to_lowercase(),
            None => "none".to_owned(),
        };
        bind(&series("labels", labels), &scans.iter().collect::<Vec<_>>()).into_iter().map(word).collect()
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
        let scan = series("1", &slices(0, 6));
        assert!(may_be_of(&series("2", &slices(0, 6)), &scan));
        assert!(!may_be_of(&scan, &SeriesRow { part: 1, key: "1#1".into(), ..scan.clone() }));
        let other = SeriesRow { patient: "q".into(), ..series("2", &slices(0, 6)) };
        assert!(!may_be_of(&other, &scan));
        assert!(may_be_of(&SeriesRow { patient: "study".into(), ..other }, &scan));
        assert_eq!(
            [place(&scan, false), place(&scan, true)].map(Option::unwrap).map(|at| at.to_string()),
            ["frame", "study"]
        );
        assert_eq!(place(&SeriesRow { frame_of_reference: "".into(), ..scan }, false), None);
    }
}
