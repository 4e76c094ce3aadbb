//! Slices that an export gave a series each, where a source says so: they are read as of the series that they make.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tomoflow_connectors::Digest;
use tomoflow_connectors::dicom::{Assembled, Instance, Record, joined_series, scans_of_joined};

use super::super::rows::JOINED;
use super::Archive;
use crate::operators::registry::Stage;
use crate::pipeline::Plan;

/// The folders of the sources that say so.
pub(super) fn roots(plan: &Plan) -> Vec<PathBuf> {
    let root = |stage: &Stage| match stage {
        Stage::Instances(source) if source.series_per_slice() => Some(source.root().to_owned()),
        _ => None,
    };
    let roots: BTreeSet<PathBuf> = plan.stages.iter().filter_map(|stage| root(&stage.stage)).collect();
    roots.into_iter().collect()
}

/// A number for how these folders are read; 0 where there are none.
pub(super) fn reading(roots: &[PathBuf]) -> u64 {
    let paths = roots.iter().map(|root| root.as_os_str().as_encoded_bytes());
    let digest = Digest::of_parts(std::iter::once(b"series per slice".as_slice()).chain(paths));
    let number = digest.0.first_chunk::<8>().map_or(1, |bytes| u64::from_le_bytes(*bytes));
    if roots.is_empty() { 0 } else { number }
}

impl Archive {
    /// A record as the sources that join slices see it: a slice is of the series that it was joined to, and labels, which
    /// name a series that is none any more, are of the images that they name, and of their frame of reference.
    pub(super) fn joined(&self, path: &Path, record: Record) -> Record {
        if self.joined.is_empty() {
            return record;
        }
        match record {
            Record::Instance(mut instance) if self.joined.iter().any(|root| path.starts_with(root)) => {
                if let Some(series) = joined_series(&instance) {
                    instance.series_uid = series;
                }
                Record::Instance(instance)
            }
            Record::Outlines(mut outlines) => {
                outlines.referenced_series.clear();
                Record::Outlines(outlines)
            }
            other => other,
        }
    }
}

/// Whether an instance was read as of another series than its file says.
fn is_joined(instance: &Instance) -> bool {
    instance.tags.get("SeriesInstanceUID").is_some_and(|own| *own != instance.series_uid)
}

/// The instances of a series, by scans that are to be assembled apart: one, unless slices were joined to it.
pub(super) fn scans(instances: Vec<(Instance, Digest)>) -> Vec<Vec<(Instance, Digest)>> {
    if !instances.iter().any(|(instance, _)| is_joined(instance)) {
        return vec![instances];
    }
    let all: Vec<&Instance> = instances.iter().map(|(instance, _)| instance).collect();
    let group = |places: Vec<usize>| places.into_iter().filter_map(|place| instances.get(place).cloned());
    scans_of_joined(&all).into_iter().map(|places| group(places).collect()).collect()
}

/// The note of a scan whose slices were joined, or which has another name than its series.
pub(super) fn note(assembled: &Assembled, instances: &[(Instance, Digest)]) -> Option<String> {
    let slices = assembled.slices.iter().filter_map(|slice| instances.get(slice.instance));
    let slices: Vec<&Instance> = slices.map(|(instance, _)| instance).collect();
    let own: BTreeSet<Option<&String>> =
        slices.iter().map(|instance| instance.tags.get("SeriesInstanceUID")).collect();
    slices.iter().any(|instance| is_joined(instance)).then(|| match own.len() {
        1 => format!("{JOINED}: one series, under a name of its own"),
        several => format!("{JOINED}: {several} series are one scan"),
    })
}
