//! Series of images that are labels: read as scans are, and told as none.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use tomoflow_connectors::Geometry;

use super::super::label_series::{images, may_be_of, place};
use super::{Archive, Origin};
use crate::executor::work::{ScanForm, SeriesRow, Verdict};
use crate::operators::registry::Stage;
use crate::operators::source::{InstanceSource, LabelsIn};
use crate::pipeline::StageId;
use crate::store::StoreError;
use crate::voxels::within::Within;

/// The instances that a source has, of scans or of labels; `None` for a source of something else.
pub(super) fn instances_of(stage: &Stage) -> Option<&dyn InstanceSource> {
    match stage {
        Stage::Instances(source) => Some(&**source),
        Stage::Labels(source) => match source.lies_in() {
            LabelsIn::Series { instances, .. } => Some(instances),
            _ => None,
        },
        _ => None,
    }
}

/// Whether the labels of a stage are series that are trusted to lie where they say throughout a study; `None` for any other
/// stage.
pub(super) fn trusted(stage: &Stage) -> Option<bool> {
    match stage {
        Stage::Labels(source) => match source.lies_in() {
            LabelsIn::Series { trusted, .. } => Some(trusted),
            _ => None,
        },
        _ => None,
    }
}

impl Archive {
    /// Whether the series of a reader are labels, and no scans.
    pub(super) fn holds_labels(&self, reader: usize) -> bool {
        self.trusts(reader).is_some()
    }

    /// Whether the labels of a reader are trusted to lie where they say throughout a study; `None` for a reader of scans.
    fn trusts(&self, reader: usize) -> Option<bool> {
        match &self.readers.get(reader)?.origin {
            Origin::Instances(instances) => instances.labels,
            Origin::Files => None,
        }
    }

    /// The scans that some series of labels may be told apart by: of those in one place, where labels name images.
    pub(super) fn asked_by_label_series(&self) -> BTreeMap<(StageId, Arc<str>), Arc<SeriesRow>> {
        let mut found = BTreeMap::new();
        let accepted = |reader: usize| {
            let told = self.told.get(reader).into_iter().flat_map(BTreeMap::values);
            told.flat_map(|told| told.iter()).filter_map(Verdict::accepted)
        };
        for reader in 0..self.readers.len() {
            let Some(trusted) = self.trusts(reader) else { continue };
            let naming = accepted(reader).filter(|labels| images(labels).next().is_some());
            let places: BTreeSet<Arc<str>> = naming.filter_map(|labels| place(labels, trusted)).collect();
            if places.is_empty() {
                continue;
            }
            for (number, of) in
                self.readers.iter().enumerate().filter(|(number, _)| !self.holds_labels(*number))
            {
                let mut scans: BTreeMap<Arc<str>, Vec<&Arc<SeriesRow>>> = BTreeMap::new();
                for scan in accepted(number).filter(|scan| scan.form == ScanForm::Instances) {
                    if let Some(place) = place(scan, trusted).filter(|place| places.contains(place)) {
                        scans.entry(place).or_default().push(scan);
                    }
                }
                let several = scans.into_values().filter(|scans| scans.len() > 1).flatten();
                found.extend(several.map(|scan| ((of.stage, scan.key.clone()), scan.clone())));
            }
        }
        found
    }

    /// The files of series of labels that lie on scans of a series.
    pub(super) fn files_of_label_series(&self, series: &str) -> Result<BTreeSet<PathBuf>, StoreError> {
        let mut files = BTreeSet::new();
        let readers = || self.told.iter().enumerate();
        let scans = readers().filter(|(reader, _)| !self.holds_labels(*reader));
        let scans = scans.filter_map(|(_, told)| told.get(series)).flat_map(|told| told.iter());
        let scans: Vec<_> = scans.filter_map(Verdict::accepted).collect();
        for (reader, told) in readers() {
            let Some(trusted) = self.trusts(reader).filter(|_| !scans.is_empty()) else { continue };
            for row in told.values().flat_map(|told| told.iter()).filter_map(Verdict::accepted) {
                let lies_on = |scan: &&Arc<SeriesRow>| {
                    may_be_of(row, scan)
                        && place(row, trusted).is_some_and(|at| place(scan, trusted) == Some(at))
                        && Within::of(&Geometry::from(&row.grid), &Geometry::from(&scan.grid)).is_some()
                };
                if scans.iter().any(lies_on) {
                    files.extend(self.files_of_images(row.series_uid())?);
                }
            }
        }
        Ok(files)
    }
}
