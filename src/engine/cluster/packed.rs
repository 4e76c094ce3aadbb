//! What an action needs to know of the index, so that a process without one can do it.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tomoflow_connectors::dicom::FileStat;
use tomoflow_connectors::{Digest, Reject};

use crate::executor::work::{Action, BoundCase, SeriesRow, SliceList};
use crate::executor::{Context, Lookup, by_images, keys, vanished};
use crate::operators::registry::Stage;

/// A part of the index: the slices of one scan, where its files lie, and transforms that were kept.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Packed {
    slices: Vec<(Digest, SliceList)>,
    places: Vec<(String, Digest, FileStat)>,
    done: Vec<(Digest, Digest)>,
    /// Labels that are a series of images.
    labelled: Vec<(Digest, SeriesRow)>,
}

impl Packed {
    /// Packs what one action needs. What the index does not know is left out: the action fails where it is
    /// done, by name, as it would here.
    pub fn of(context: &Context, action: &Action) -> Self {
        let mut packed = Self::default();
        let Ok(lookup) = context.lookup() else { return packed };
        let Some(case) = action.work.case() else { return packed };
        if action.work.reads_scan() {
            for series in case.scans() {
                packed.scan(&*lookup, series);
            }
            packed.kept(context, &*lookup, case);
        } else if let Some(labels) = &case.labels
            && (case.series.has_planes_between() || by_images(&context.plan, &case.series, labels))
        {
            // Truth is drawn on planes, or between them, and by the images that it names.
            packed.list(&*lookup, &case.series);
        }
        packed.labels(&*lookup, case);
        packed
    }

    /// The files that it names, each by its first place in the list.
    pub fn files(&self) -> impl Iterator<Item = (u32, &FileStat)> {
        let mut seen = BTreeSet::new();
        let files = self.places.iter().map(|(.., file)| file);
        (0..).zip(files).filter(move |(_, file)| seen.insert(&file.path))
    }

    /// A file by its place.
    pub fn file(&self, place: u32) -> Option<&FileStat> {
        self.places.get(place as usize).map(|(.., file)| file)
    }

    /// Transforms that were kept, which an action may start from.
    pub fn kept_artifacts(&self) -> impl Iterator<Item = Digest> {
        self.done.iter().map(|(_, artifact)| *artifact)
    }

    /// Returns the same with files that lie elsewhere: each as it is there, by the path that it has here.
    pub fn moved(mut self, to: &HashMap<PathBuf, FileStat>) -> Self {
        for (.., file) in &mut self.places {
            if let Some(there) = to.get(&file.path) {
                *file = there.clone();
            }
        }
        self
    }

    fn scan(&mut self, lookup: &dyn Lookup, series: &SeriesRow) {
        let Some(records) = self.list(lookup, series) else { return };
        if let Ok(places) = lookup.places(series.held_under(), &records) {
            let named = records.into_iter().zip(places);
            self.places.extend(named.map(|(record, place)| (series.held_under().to_owned(), record, place)));
        }
    }

    /// The slices of a scan, and their records.
    fn list(&mut self, lookup: &dyn Lookup, series: &SeriesRow) -> Option<Vec<Digest>> {
        let list = lookup.slices(series.list).ok()?;
        let records = list.slices.iter().map(|slice| slice.record).collect();
        self.slices.push((series.list, list));
        Some(records)
    }

    fn labels(&mut self, lookup: &dyn Lookup, row: &BoundCase) {
        let Some(labels) = &row.labels else { return };
        if let Ok(series) = lookup.label_series(labels.record) {
            self.scan(lookup, &series);
            self.labelled.push((labels.record, series));
            return;
        }
        let mut records = vec![labels.record];
        // Labels that have a file each are a list of files.
        if let Ok(list) = lookup.slices(labels.record) {
            records = list.slices.iter().map(|slice| slice.record).collect();
            self.slices.push((labels.record, list));
        }
        if let Ok(places) = lookup.places("", &records) {
            let named = records.into_iter().zip(places);
            self.places.extend(named.map(|(record, place)| (String::new(), record, place)));
        }
    }

    fn kept(&mut self, context: &Context, lookup: &dyn Lookup, row: &BoundCase) {
        for (stage, planned) in context.plan.stages.iter().enumerate() {
            if planned.keep && matches!(planned.stage, Stage::Transform(_) | Stage::Channels(_)) {
                let chain = keys::Chain::to(&context.plan, stage);
                // What was done to channels before they were put together may be kept as well.
                let each = row.scans().map(|series| BoundCase::of(series.clone()));
                let rows = each.filter(|_| row.beside.is_some());
                for row in std::iter::once(row.clone()).chain(rows) {
                    let key = keys::prepare(chain.scan(&row), None);
                    self.done.extend(lookup.done(key).map(|artifact| (key, artifact)));
                }
            }
        }
    }
}

impl Lookup for Packed {
    fn slices(&self, list: Digest) -> Result<SliceList, Reject> {
        let found = self.slices.iter().find(|(known, _)| *known == list);
        found.map(|(_, list)| list.clone()).ok_or_else(|| vanished(list))
    }

    fn places(&self, series: &str, records: &[Digest]) -> Result<Vec<FileStat>, Reject> {
        let place = |record: &Digest| {
            let found = self.places.iter().find(|(of, known, _)| of == series && known == record);
            found.map(|(_, _, place)| place.clone()).ok_or_else(|| vanished(*record))
        };
        records.iter().map(place).collect()
    }

    fn label_series(&self, record: Digest) -> Result<SeriesRow, Reject> {
        let found = self.labelled.iter().find(|(known, _)| *known == record);
        found.map(|(_, series)| series.clone()).ok_or_else(|| vanished(record))
    }

    fn done(&self, key: Digest) -> Option<Digest> {
        self.done.iter().find(|(known, _)| *known == key).map(|(_, artifact)| *artifact)
    }
}
