//! Series of labels that are no scan's, and those that are taken for scans as well.

use std::collections::BTreeMap;
use std::sync::Arc;

use tomoflow_connectors::{Geometry, Reject};

use super::super::super::label_series::{images, may_be_of, place, series};
use super::super::super::rows::{AS_SCAN, Remark};
use super::super::Archive;
use super::Told;
use crate::executor::work::{SeriesRow, Verdict};
use crate::pipeline::StageId;
use crate::voxels::within::Within;

/// The scans of each frame of reference, or of each study.
type Scans<'a> = BTreeMap<Arc<str>, Vec<&'a Arc<SeriesRow>>>;

impl Archive {
    /// Returns what is told of series of labels, which are matched with the scans of `readers`.
    pub(super) fn of_label_series(&self, number: StageId, readers: &[usize], trusted: bool) -> Vec<Told> {
        let mut scans = Scans::new();
        for told in readers.iter().filter_map(|reader| self.told.get(*reader)) {
            for scan in told.values().flat_map(|told| told.iter()).filter_map(Verdict::accepted) {
                if let Some(place) = place(scan, trusted) {
                    scans.entry(place).or_default().push(scan);
                }
            }
        }
        let own = self.readers.iter().zip(&self.told).filter(|(reader, _)| reader.stage == number);
        let own = own.flat_map(|(_, told)| told.values()).flat_map(|told| told.iter());
        let mut told = Vec::new();
        for labels in own.filter_map(Verdict::accepted) {
            if let Some((message, hint)) = of_none(labels, &scans, trusted) {
                told.push(Told::new(&labels.key, None, message, hint, labels.key.to_string()));
            }
            told.extend(self.taken_for_scan(labels));
        }
        told
    }

    /// Returns what is told of a series of labels that a source of scans has not left out.
    fn taken_for_scan(&self, labels: &SeriesRow) -> Option<Told> {
        let takes = |reader: &usize| {
            let told = self.told.get(*reader).and_then(|told| told.get(labels.series_uid()));
            !self.holds_labels(*reader)
                && told.is_some_and(|told| told.iter().any(|verdict| verdict.accepted().is_some()))
        };
        let by: Vec<String> = (0..self.readers.len())
            .filter(takes)
            .filter_map(|reader| Some(format!("`{}`", self.source(self.readers.get(reader)?))))
            .collect();
        let message =
            || format!("a series of labels alone expected, {} takes it for a scan as well", by.join(", "));
        let hint = "leave it out there, e.g. `where = { SeriesDescription = \"!*segmentation*\" }`";
        let reject = || Reject::new(AS_SCAN, message(), hint);
        let remark = || Remark { case: Some(labels.key.to_string()), labels: None, reject: reject() };
        (!by.is_empty()).then(|| Told { remark: remark(), name: labels.key.to_string() })
    }
}

/// Returns why a series of labels is no scan's; `None` for one that is.
fn of_none(labels: &SeriesRow, scans: &Scans<'_>, trusted: bool) -> Option<(&'static str, &'static str)> {
    let Some(place) = place(labels, trusted) else {
        let message = "a series of labels with a FrameOfReferenceUID expected, one without found";
        return Some((message, "`frames = \"trusted\"` takes places for those of the study's scans"));
    };
    let mut there = scans.get(&place).into_iter().flatten().filter(|scan| may_be_of(labels, scan)).peekable();
    if there.peek().is_none() {
        return Some(match trusted {
            true => {
                ("a scan in the study of a series of labels expected, none found", "copy the scan as well")
            }
            false => (
                "a scan in the frame of reference of a series of labels expected, none found",
                "copy the scan as well; `frames = \"trusted\"` goes by the study, if the labels' program gave them a \
                 frame of their own",
            ),
        });
    }
    // Images that they name may be of any series: rows of scans tell whose they are.
    let named: Vec<&str> = series(labels).filter(|_| images(labels).next().is_none()).collect();
    let mut there = there.filter(|scan| named.is_empty() || named.contains(&scan.series_uid())).peekable();
    if there.peek().is_none() {
        let message = "a scan of the series that labels say they were made from expected, none found";
        return Some((
            message,
            "copy the scan as well, or see whether it was given another SeriesInstanceUID",
        ));
    }
    let own = Geometry::from(&labels.grid);
    let lies = there.any(|scan| Within::of(&own, &Geometry::from(&scan.grid)).is_some());
    let message = "a scan whose grid has all voxels of a series of labels expected, none found";
    (!lies).then_some((message, "write the labels on the grid of the scan that they were drawn on"))
}
