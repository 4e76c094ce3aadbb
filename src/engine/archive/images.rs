//! The images of scans, where labels may be of one or another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tomoflow_connectors::Digest;
use tomoflow_connectors::rtstruct::{Instances, Outlines};

use super::super::rows::{ImagesRow, Input};
use super::{Archive, Change};
use crate::executor::work::{ScanForm, SeriesRow, SliceList, Verdict};
use crate::pipeline::StageId;
use crate::store::StoreError;

/// The rows that were told: by stage and scan, the list of its slices, and their marks.
pub(super) type Imaged = BTreeMap<(StageId, Arc<str>), (Digest, Arc<ImagesRow>)>;

impl Archive {
    /// The images of all scans that some labels may be told apart by, as changes. Of other scans nothing is told: their
    /// labels are theirs, whatever images they name.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn images(&mut self) -> Result<Vec<Change>, StoreError> {
        let wanted = self.in_question();
        let mut changes = Vec::new();
        self.imaged.retain(|(stage, key), (list, row)| {
            let stays = wanted.get(&(*stage, key.clone())).is_some_and(|series| series.list == *list);
            if !stays {
                changes.push((Input::Images(*stage, row.clone()), -1));
            }
            stays
        });
        for ((stage, key), series) in wanted {
            if self.imaged.contains_key(&(stage, key.clone())) {
                continue;
            }
            let Some(bytes) = self.store.list(series.list)? else { continue };
            let slices = SliceList::decode(&bytes)?.slices;
            let marks: BTreeSet<u64> = slices.iter().map(|slice| Instances::mark(&slice.sop_uid)).collect();
            let row = Arc::new(ImagesRow { key: key.clone(), marks: marks.into_iter().collect() });
            changes.push((Input::Images(stage, row.clone()), 1));
            self.imaged.insert((stage, key), (series.list, row));
        }
        Ok(changes)
    }

    /// Returns the rows that were told, for another control plane.
    pub(super) fn imaged_now(&self) -> impl Iterator<Item = Change> {
        self.imaged.iter().map(|((stage, _), (_, row))| (Input::Images(*stage, row.clone()), 1))
    }

    /// Scans that share their labels' series or frame of reference with another scan, or whose labels lie in several
    /// frames.
    fn in_question(&self) -> BTreeMap<(StageId, Arc<str>), Arc<SeriesRow>> {
        let mut found = self.asked_by_label_series();
        let naming =
            || self.outlines.values().map(|row| &row.outlines).filter(|row| row.instances.count() > 0);
        if naming().next().is_none() {
            return found;
        }
        let by_frame = naming().any(|row| row.referenced_series.is_empty());
        for (reader, told) in self.readers.iter().zip(&self.told) {
            let frames = if by_frame { frames(told.values()) } else { BTreeMap::new() };
            for outlines in naming() {
                let scans: Vec<&Arc<SeriesRow>> = match outlines.referenced_series.is_empty() {
                    false => {
                        let series =
                            |uid: &String| told.get(uid.as_str()).into_iter().flat_map(|told| accepted(told));
                        outlines.referenced_series.iter().flat_map(series).collect()
                    }
                    true => in_frames(outlines, &frames),
                };
                if scans.len() > 1 || outlines.frames.len() > 1 {
                    found.extend(
                        scans.into_iter().map(|scan| ((reader.stage, scan.key.clone()), scan.clone())),
                    );
                }
            }
        }
        found
    }
}

/// Returns the accepted scans that are DICOM instances.
fn accepted(verdicts: &[Verdict]) -> impl Iterator<Item = &Arc<SeriesRow>> {
    verdicts.iter().filter_map(Verdict::accepted).filter(|row| row.form == ScanForm::Instances)
}

type Frames<'a> = BTreeMap<&'a str, Vec<&'a Arc<SeriesRow>>>;

fn frames<'a>(told: impl Iterator<Item = &'a Box<[Verdict]>>) -> Frames<'a> {
    let mut frames = Frames::new();
    for scan in told.flat_map(|verdicts| accepted(verdicts)) {
        frames.entry(&scan.frame_of_reference).or_default().push(scan);
    }
    frames
}

fn in_frames<'a>(outlines: &Outlines, frames: &Frames<'a>) -> Vec<&'a Arc<SeriesRow>> {
    let of = |uid: &String| frames.get(uid.as_str()).into_iter().flatten().copied();
    outlines.frames.iter().flat_map(of).collect()
}
