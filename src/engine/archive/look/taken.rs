//! What is read of files, and what it takes the place of.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rayon::prelude::*;
use tomoflow_connectors::dicom::{FileStat, Record};
use tomoflow_connectors::{Digest, reading};

use super::{BATCH, Filed, Looked, UNASKED, count, touch};
use crate::engine::archive::{Archive, Change, SourceError};
use crate::engine::rows::Input;
use crate::executor::work::OutlinesRow;
use crate::store::Held;

impl Archive {
    /// Reads what changed, and says which series that touches; the records of files under names that are new.
    pub(in crate::engine::archive) fn take(
        &mut self,
        changed: &[(FileStat, Option<Held>)],
        looked: &mut Looked,
    ) -> Result<Vec<Digest>, SourceError> {
        let (mut unread, mut new) = (0, Vec::new());
        // Nothing can have had another name at a first look.
        let renamed = self.loaded || self.store.knows_files()?;
        for batch in batches(changed) {
            let read: Vec<_> = batch.par_iter().map(|(stat, _)| self.read(&stat.path)).collect();
            let mut records = Vec::with_capacity(read.len());
            for (result, (stat, before)) in read.into_iter().zip(batch) {
                // What found no room in memory beside others is read alone.
                let result = match result {
                    Err(error) if reading::is_busy(&error) => self.read(&stat.path),
                    result => result,
                };
                let record = match result {
                    Ok(record) => record,
                    Err(error) => {
                        self.told_of.unread(&stat.path, &error);
                        unread += 1;
                        continue;
                    }
                };
                self.told_of.read(&stat.path);
                match before {
                    Some(before) => self.forget(&stat.path, before, looked),
                    None => new.extend(renamed.then(|| Held::of(&record).record()).flatten()),
                }
                self.admit(stat, &record, looked);
                records.push((stat.clone(), record));
            }
            looked.read += records.len();
            self.store.reindex(&records, &[])?;
        }
        if unread > 0 {
            tracing::warn!("{unread} files could not be read; they are tried again at the next look");
        }
        Ok(new)
    }

    /// Forgets what a file held until now: it no longer counts.
    pub(super) fn forget(&mut self, path: &Path, held: &Held, looked: &mut Looked) {
        match held {
            // A file that goes, or is another now, is a change of this moment.
            Held::Image { series, .. } => touch(looked, series, now_ns()),
            Held::Outlines { .. } => self.outlines_now(path, None, &mut looked.changes),
            Held::File { .. } => self.filed_now(path, None, now_ns(), looked),
            Held::Nothing { .. } => self.damaged.remove(path),
        }
    }

    fn admit(&mut self, stat: &FileStat, record: &Record, looked: &mut Looked) {
        match record {
            Record::Instance(instance) => touch(looked, &instance.series_uid, stat.mtime_ns),
            Record::Outlines(outlines) => {
                let Held::Outlines { record } = Held::of(record) else { return };
                let row = OutlinesRow { record, outlines: outlines.clone() };
                self.outlines_now(&stat.path, Some(row), &mut looked.changes);
            }
            Record::Image(_) | Record::Read { .. } if !self.asks_for(&stat.path) => {
                count(&mut self.skipped, UNASKED);
            }
            Record::Image(image) | Record::Read { image, .. } => {
                let Held::File { record } = Held::of(record) else { return };
                self.filed_now(
                    &stat.path,
                    Some(&Filed { record, image: image.clone(), mtime_ns: stat.mtime_ns }),
                    stat.mtime_ns,
                    looked,
                );
            }
            Record::Skip { code } => {
                self.damaged.add(&stat.path, code);
                count(&mut self.skipped, code);
            }
        }
    }

    /// The outlines in a file are these now.
    pub(super) fn outlines_now(
        &mut self,
        path: &Path,
        row: Option<OutlinesRow>,
        changes: &mut Vec<(PathBuf, Change)>,
    ) {
        let row = row.map(Arc::new);
        let before = match &row {
            Some(row) => self.outlines.insert(path.to_owned(), row.clone()),
            None => self.outlines.remove(path),
        };
        if before == row {
            return;
        }
        for (stage, form, _) in self.outlined.iter().filter(|(_, _, root)| path.starts_with(root)) {
            let ours = |row: &&Arc<OutlinesRow>| row.outlines.form == *form;
            let change = |row: &Arc<OutlinesRow>, diff| {
                (path.to_owned(), (Input::Outlines(*stage, row.clone()), diff))
            };
            changes.extend(before.iter().filter(ours).map(|row| change(row, -1)));
            changes.extend(row.iter().filter(ours).map(|row| change(row, 1)));
        }
    }
}

/// Files that are read before what they hold is written: so many, and of so many bytes that what is kept of them, which
/// is never more, has room.
fn batches<T>(mut files: &[(FileStat, T)]) -> impl Iterator<Item = &[(FileStat, T)]> {
    let most = reading::allowed();
    std::iter::from_fn(move || {
        let mut bytes = 0u64;
        let fits = |(file, _): &&(FileStat, T)| {
            bytes = bytes.saturating_add(file.size);
            bytes <= most
        };
        let count = files.iter().take(BATCH).take_while(fits).count().max(1);
        let (batch, rest) = files.split_at_checked(count)?;
        files = rest;
        Some(batch)
    })
}

fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
