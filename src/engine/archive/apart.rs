//! Cases of several sources that have one name: each row says which source it is of.

use std::path::PathBuf;
use std::sync::Arc;

use super::{Archive, Origin, Reader};
use crate::executor::work::{SeriesRow, Verdict};
use crate::operators::registry::Stage;

impl Archive {
    /// Adds a note to scans of different files that go by one name; `judged` holds what each reader says of it.
    pub(super) fn tell_apart(&self, series: &str, judged: &mut [Vec<Verdict>]) {
        let several = judged.iter().filter(|verdicts| !verdicts.is_empty()).count() > 1;
        if !several {
            return;
        }
        let others: Vec<Vec<String>> = (0..judged.len())
            .map(|own| {
                let differ = |other: &usize| {
                    self.differ(series, own, *other, judged) && !self.are_channels(own, *other)
                };
                (0..judged.len()).filter(differ).map(|other| self.source(&self.readers[other])).collect()
            })
            .collect();
        for ((verdicts, others), reader) in judged.iter_mut().zip(others).zip(&self.readers) {
            if others.is_empty() {
                continue;
            }
            for verdict in verdicts {
                let Verdict::Accepted(row) = verdict else { continue };
                let note = SeriesRow::same_name(&self.source(reader), &others);
                Arc::make_mut(row).notes.push(note);
            }
        }
    }

    /// Whether two readers have different scans of one name.
    fn differ(&self, series: &str, one: usize, two: usize, judged: &[Vec<Verdict>]) -> bool {
        // Labels are no scan of another source.
        if self.holds_labels(one) || self.holds_labels(two) {
            return false;
        }
        if one == two || judged[one].is_empty() || judged[two].is_empty() {
            return false;
        }
        match (&self.readers[one].origin, &self.readers[two].origin) {
            (Origin::Files, Origin::Files) => {
                let paths = |reader: usize| self.filed[reader].get(series).map(|files| files.keys());
                let plain = |reader| paths(reader).into_iter().flatten().collect::<Vec<&PathBuf>>();
                plain(one) != plain(two)
            }
            // An instance has one name in the whole world: copies of a series are one scan.
            (Origin::Instances(a), Origin::Instances(b)) => {
                let digests = |reader: usize| {
                    let accepted = judged[reader].iter().filter_map(Verdict::accepted);
                    accepted.map(|row| (row.part, row.digest)).collect::<Vec<_>>()
                };
                let (one, two) = (digests(one), digests(two));
                a.source != b.source && !one.is_empty() && !two.is_empty() && one != two
            }
            _ => true,
        }
    }

    /// Whether a stage makes one case of the scans of both: then they are meant to have one name.
    fn are_channels(&self, one: usize, other: usize) -> bool {
        let [one, other] = [one, other].map(|reader| self.readers[reader].stage.place());
        self.plan.stages.iter().any(|stage| {
            let origins = || stage.inputs.iter().map(|&input| self.plan.origin(input));
            matches!(stage.stage, Stage::Channels(_))
                && origins().any(|origin| origin == one)
                && origins().any(|origin| origin == other)
        })
    }

    /// The name of the source that a reader reads.
    pub(super) fn source(&self, reader: &Reader) -> String {
        let stage = match &reader.origin {
            Origin::Instances(instances) => instances.source,
            Origin::Files => reader.stage.place(),
        };
        self.plan.stages[stage].name.clone()
    }
}
