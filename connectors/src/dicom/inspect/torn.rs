//! Series of one slice that are a stack together: an export gave each slice a series of its own.

use std::collections::BTreeMap;

use postcard::Error;

use super::finding::Finding;
use super::held::HeldSeries;
use crate::dicom::header::instance::Instance;
use crate::dicom::stack::{assemble, joined_series};

/// The least number of slices of a stack: two series of one slice may be anything.
const LEAST: usize = 3;

/// The series of one slice that are one of so many, by SeriesInstanceUID.
#[derive(Default)]
pub(super) struct Torn(BTreeMap<String, usize>);

impl Torn {
    /// Looks for them among series that were read.
    pub(super) fn among(series: &BTreeMap<String, HeldSeries>) -> Result<Self, Error> {
        // Records stay packed: an archive may be torn into as many series as it has files.
        let mut alike: BTreeMap<String, Vec<&HeldSeries>> = BTreeMap::new();
        for held in series.values() {
            if let Some(joined) = held.alone()?.as_ref().and_then(joined_series) {
                alike.entry(joined).or_default().push(held);
            }
        }
        let mut torn = Self::default();
        for group in alike.into_values().filter(|group| group.len() >= LEAST) {
            let slices = group.into_iter().filter_map(|held| held.alone().transpose());
            let slices: Vec<Instance> = slices.collect::<Result<_, _>>()?;
            let all: Vec<&Instance> = slices.iter().collect();
            for part in assemble(&all).into_iter().filter(|part| part.instances.len() >= LEAST) {
                let stack =
                    part.verdict.as_ref().map_or_else(|reject| reject.code == "MISSING_SLICE", |_| true);
                let own = part.instances.iter().filter_map(|index| all.get(*index)).filter(|_| stack);
                let own: Vec<String> = own.map(|instance| instance.series_uid.clone()).collect();
                let count = own.len();
                torn.0.extend(own.into_iter().map(|series| (series, count)));
            }
        }
        Ok(torn)
    }

    /// Notes it of a volume.
    pub(super) fn note(&self, finding: &mut Finding) {
        let Finding::Volume(volume) = finding else { return };
        if let Some(count) = self.0.get(&volume.series_uid) {
            volume.notes.push(format!(
                "SERIES_PER_SLICE: {count} series of one slice are a stack together; `series_per_slice = true` at a \
                 pipeline's source joins them"
            ));
        }
    }
}
