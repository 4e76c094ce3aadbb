//! Labels that have a file each: all such files of a case are one set of labels.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tomoflow_connectors::Digest;
use tomoflow_connectors::rtstruct::Outlines;

use super::super::rows::Input;
use super::look::Filed;
use super::look::Looked;
use super::{Archive, Change};
use crate::executor::work::{OutlinesRow, SliceList, SliceRow};
use crate::operators::registry::Stage;
use crate::operators::source::labels_of;
use crate::pipeline::StageId;
use crate::store::StoreError;

/// A stage and a case.
type Key = (StageId, String);

/// The files of labels that have one each.
#[derive(Default)]
pub(super) struct Parts {
    files: BTreeMap<Key, BTreeMap<PathBuf, LabelFile>>,
    /// The rows that the control plane was told of each case.
    told: BTreeMap<Key, Vec<Arc<OutlinesRow>>>,
    /// Cases with a file that came, changed or went.
    changed: BTreeSet<Key>,
}

/// The file of one label.
struct LabelFile {
    label: u16,
    /// Its name below the source's folder.
    below: String,
    filed: Filed,
}

impl Parts {
    /// A file of a label holds this now.
    pub(super) fn filed_now(
        &mut self,
        key: Key,
        label: u16,
        path: &Path,
        below: &Path,
        filed: Option<&Filed>,
    ) {
        let files = self.files.entry(key.clone()).or_default();
        match filed.cloned() {
            Some(filed) => {
                let below = below.to_string_lossy().into_owned();
                files.insert(path.to_owned(), LabelFile { label, below, filed });
            }
            None => drop(files.remove(path)),
        }
        if files.is_empty() {
            self.files.remove(&key);
        }
        self.changed.insert(key);
    }

    /// The cases of a stage: their files, and the labels that these hold.
    pub(super) fn of(&self, stage: StageId) -> impl Iterator<Item = (&str, BTreeSet<u16>)> {
        let own = self.files.range((stage, String::new())..).take_while(move |((of, _), _)| *of == stage);
        own.map(|((_, case), files)| (case.as_str(), files.values().map(|part| part.label).collect()))
    }

    /// The paths of a stage's files.
    pub(super) fn paths(&self, stage: StageId) -> impl Iterator<Item = &PathBuf> {
        let own = self.files.range((stage, String::new())..).take_while(move |((of, _), _)| *of == stage);
        own.flat_map(|(_, files)| files.keys())
    }

    /// The files of a case, whichever stage reads them.
    pub(super) fn of_case<'a>(&'a self, case: &'a str) -> impl Iterator<Item = &'a PathBuf> {
        let own = self.files.iter().filter(move |((_, of), _)| of == case);
        own.flat_map(|(_, files)| files.keys())
    }

    /// Returns all that the control plane was told.
    pub(super) fn everything(&self) -> impl Iterator<Item = Change> {
        let rows = self.told.iter().flat_map(|((stage, _), rows)| rows.iter().map(|row| (*stage, row)));
        rows.map(|(stage, row)| (Input::Outlines(stage, row.clone()), 1))
    }
}

impl Archive {
    /// Returns what follows from files of labels that came, changed or went.
    pub(super) fn gather(&mut self, looked: &mut Looked) -> Result<(), StoreError> {
        let mut lists = Vec::new();
        for key in std::mem::take(&mut self.parts.changed) {
            let (stage, case) = &key;
            let Some(Stage::Labels(source)) = self.plan.stages.get(stage.place()).map(|stage| &stage.stage)
            else {
                continue;
            };
            let names = source.label_names();
            let rows = self.parts.files.get(&key).map_or_else(Vec::new, |files| {
                let (sets, several) = sets(files.values());
                let sets = sets.into_iter();
                sets.map(|parts| row(case, &names, &parts, &several, &mut lists)).collect()
            });
            let before = self.parts.told.remove(&key).unwrap_or_default();
            if before != rows {
                // All changes of a case have one name, so that they come in order.
                let name = PathBuf::from(format!("labels of {} {case}", stage.place()));
                let change = |row: &Arc<OutlinesRow>, diff| {
                    (name.clone(), (Input::Outlines(*stage, row.clone()), diff))
                };
                looked.changes.extend(before.iter().map(|row| change(row, -1)));
                looked.changes.extend(rows.iter().map(|row| change(row, 1)));
            }
            if !rows.is_empty() {
                self.parts.told.insert(key, rows);
            }
        }
        self.store.judge(&[], &lists)
    }
}

/// The sets of labels that files make: one, or where a label has several files as many as that, the newest first; and
/// the labels that have several.
fn sets<'a>(parts: impl Iterator<Item = &'a LabelFile>) -> (Vec<Vec<&'a LabelFile>>, BTreeSet<u16>) {
    let mut labels: BTreeMap<u16, Vec<&LabelFile>> = BTreeMap::new();
    for part in parts {
        labels.entry(part.label).or_default().push(part);
    }
    for files in labels.values_mut() {
        files.sort_by(|a, b| (b.filed.mtime_ns, &a.below).cmp(&(a.filed.mtime_ns, &b.below)));
    }
    let most = labels.values().map(Vec::len).max().unwrap_or(0);
    let set = |number: usize| {
        labels.values().filter_map(|files| files.get(number.min(files.len() - 1)).copied()).collect()
    };
    let several = labels.iter().filter(|(_, files)| files.len() > 1).map(|(label, _)| *label).collect();
    ((0..most).map(set).collect(), several)
}

/// A set of labels, and the list of its files, which is kept by its digest.
fn row(
    case: &str,
    names: &[String],
    parts: &[&LabelFile],
    several: &BTreeSet<u16>,
    lists: &mut Vec<(Digest, Vec<u8>)>,
) -> Arc<OutlinesRow> {
    // What cannot be read is refused when it is drawn, with its own reason.
    let content =
        |part: &LabelFile| part.filed.image.as_ref().map_or(part.filed.record, |image| image.digest);
    let name = |part: &LabelFile| usize::from(part.label).checked_sub(1).and_then(|label| names.get(label));
    let slices = parts.iter().map(|part| SliceRow {
        record: part.filed.record,
        content: content(part),
        frame: part.label.into(),
        sop_uid: part.below.clone(),
    });
    let list = SliceList { slices: slices.collect(), heights: Vec::new() }.encode();
    let record = Digest::of(&list);
    lists.push((record, list));
    let digests: Vec<(&str, Digest)> =
        parts.iter().map(|part| (name(part).map_or("", String::as_str), content(part))).collect();
    let held = digests.iter().flat_map(|(name, content)| [name.as_bytes(), content.0.as_slice()]);
    let digest = Digest::of_parts(std::iter::once(b"a file a label".as_slice()).chain(held));
    // The folders of the files whose labels occur several times: they tell sets apart.
    let own = parts.iter().filter(|part| several.contains(&part.label)).map(|part| part.below.as_str());
    let outlines = Outlines {
        sop_uid: own.collect::<Vec<_>>().join(" + "),
        // The newer one of sets that differ in one file comes last by this.
        date_time: parts.iter().map(|part| format!("{:020}", part.filed.mtime_ns.max(0))).collect(),
        structures: parts.iter().filter_map(|part| name(part)).cloned().collect(),
        ..labels_of(case.to_owned(), digest)
    };
    Arc::new(OutlinesRow { record, outlines })
}
