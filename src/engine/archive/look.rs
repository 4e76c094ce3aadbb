//! Looks at files: which are new, changed or gone since the index was written.

use std::collections::{BTreeMap, HashSet};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rayon::prelude::*;
use tomoflow_connectors::dicom::{FileStat, Record, Walk, is_passed_over};
use tomoflow_connectors::imagefile::ImageFile;
use tomoflow_connectors::{Digest, Reject, container, reading};

use super::super::rows::Input;
use super::accept::Accept;
use super::damaged::Damaged;
use super::{Archive, Change, SourceError};
use crate::executor::work::OutlinesRow;
use crate::store::{Held, Holds, Indexed, Known};

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filed {
    /// The record's digest.
    pub(super) record: Digest,
    /// The record: a grid and a digest, or why there is none.
    pub(super) image: Result<ImageFile, Reject>,
    /// The time when it was changed last, in nanoseconds since 1970.
    pub(super) mtime_ns: i64,
}

/// Files read before what they hold is written to the index: bounds memory, and what a crash costs.
const BATCH: usize = 4096;

/// What a file of another format is to those who ask for DICOM alone.
pub(super) const UNASKED: &str = "NOT_DICOM";

/// What a look found.
#[derive(Debug, Default)]
pub struct Looked {
    /// Series with a file that is new, changed or gone, with the newest change of a file (nanoseconds since
    /// 1970, 0 when none changed since the last run): [`Archive::derive`] says what follows.
    pub series: BTreeMap<String, i64>,
    /// Outlines that came and went, by file.
    pub changes: Vec<(PathBuf, Change)>,
    /// Files read, since they are new or have changed.
    pub read: usize,
}

/// Files to read, and those that are gone.
#[derive(Default)]
pub(super) struct Differences {
    pub(super) changed: Vec<(FileStat, Option<Held>)>,
    pub(super) gone: Vec<Indexed>,
}

/// A folder compared with the index.
#[derive(Default)]
pub(super) struct Compared {
    pub(super) differences: Differences,
    /// Files that are there, or whose folder cannot be looked into.
    files: usize,
    /// Series of files that are as they were, at the first look.
    series: HashSet<String>,
    /// Outlines of files that are as they were.
    outlines: Vec<(PathBuf, Digest)>,
    /// Files of other formats that are as they were, as far as a source asks for them.
    filed: Vec<(FileStat, Digest)>,
    /// Files that are as they were and hold nothing for a pipeline, by code.
    skipped: BTreeMap<String, usize>,
    /// The files among them that were DICOM once.
    damaged: Damaged,
}

impl Archive {
    /// Looks at everything. Only files that changed (path, size, times, inode) are read.
    ///
    /// # Errors
    /// When a folder cannot be read, or a source is suddenly empty although nobody said it may be: an archive that
    /// is not mounted must not look like one whose scans were all deleted.
    pub fn look(&mut self, accept: &Accept) -> Result<Looked, SourceError> {
        let mut looked = Looked::default();
        if !self.loaded {
            self.forget_other_readings()?;
        }
        (self.files, self.skipped, self.told_of, self.damaged) = Default::default();
        // All walks begin first: when one fails nothing has been touched.
        let roots = self.roots();
        let walks = roots.into_iter().map(|root| self.walk(&root).map(|walk| (root, walk)));
        let mut walks: Vec<(PathBuf, Walk)> = walks.collect::<Result<_, SourceError>>()?;
        for (root, walk) in &mut walks {
            let mut known = 0;
            if walk.peek().is_none() && !accept.source(root) {
                self.store.visit_files(root, |_| known += 1)?;
            }
            if known > 0 {
                return Err(SourceError::Empty { path: root.clone(), known });
            }
        }
        let (mut gone, mut new) = (Vec::new(), HashSet::new());
        for (root, walk) in walks {
            let mut found = self.compare(&root, walk)?;
            self.known(&mut found, &mut looked)?;
            new.extend(self.take(&found.differences.changed, &mut looked)?);
            gone.push((root, found.differences.gone));
        }
        // What was renamed is read by now, so that it is not asked about.
        for (root, gone) in gone {
            let (gone, mut kept) = self.withhold(&root, gone, &new, accept)?;
            self.known(&mut kept, &mut looked)?;
            self.lose(gone, &mut looked)?;
        }
        self.gather(&mut looked)?;
        if !self.loaded {
            looked.changes.extend(self.listed());
        }
        self.loaded = true;
        Ok(looked)
    }

    /// A walk below a source's folder. What the pipeline itself writes is no input, wherever links lead to it.
    fn walk(&self, root: &Path) -> Result<Walk, SourceError> {
        let walk = Walk::new(root)?.without_places(&self.plan.own_places());
        let walk = match self.names() {
            Some(names) => walk.naming(names),
            None => walk,
        };
        Ok(self.plan.own_below(root).iter().fold(walk, |walk, own| walk.without(own)))
    }

    /// Compares a folder with the index: both are in the order of paths' bytes, so one pass does.
    pub(super) fn compare(&mut self, root: &Path, mut walk: Walk) -> Result<Compared, SourceError> {
        let mut found = Compared::default();
        let mut last = String::new();
        let own = self.plan.own_below(root);
        let (mut restat, mut failed) = (Vec::new(), None);
        let mut next_if = |fits: &dyn Fn(&Path) -> bool| {
            walk.peek().is_some_and(|file| fits(&file.path)).then(|| walk.next()).flatten()
        };
        self.store.visit_files(root, |known| {
            while let Some(new) = next_if(&|path| before(path, known.path)) {
                found.files += 1;
                found.differences.changed.push((new, None));
            }
            match next_if(&|path| path.as_os_str() == known.path.as_os_str()) {
                Some(stat) if known.is(&stat) => {
                    if known.ctime_ns.is_none() {
                        restat.push(Indexed { stat, held: known.holds.into() });
                    }
                    if restat.len() == BATCH {
                        failed = self.store.restat(&std::mem::take(&mut restat)).err();
                    }
                }
                Some(stat) => {
                    found.files += 1;
                    return found.differences.changed.push((stat, Some(known.holds.into())));
                }
                None if is_gone(known.path)
                    || is_passed_over(known.path.strip_prefix(root).unwrap_or(known.path))
                    || own.iter().any(|own| known.path.starts_with(own))
                    || is_linked(root, known.path) =>
                {
                    return found.differences.gone.push(known.into());
                }
                // A file that cannot even be looked at is not a deleted one: its folder may be unreadable.
                None => {}
            }
            if self.misread(&known) {
                found.files += 1;
                let Indexed { stat, held } = known.into();
                return found.differences.changed.push((stat, Some(held)));
            }
            self.still(&known, &mut last, &mut found);
        })?;
        failed.map_or(Ok(()), Err)?;
        self.store.restat(&restat)?;
        let known = found.differences.changed.len();
        found.differences.changed.extend(walk.by_ref().map(|stat| (stat, None)));
        found.files += found.differences.changed.len() - known;
        // A container that was told of was looked at with its folder before.
        if self.roots().contains(root) {
            self.told_of.walked(root, walk);
        }
        Ok(found)
    }

    /// A file is as it was; `last` is the series of the one before.
    pub(super) fn still(&self, known: &Known<'_>, last: &mut String, found: &mut Compared) {
        found.files += 1;
        match known.holds {
            Holds::Image { .. } if self.loaded => {}
            // Files that lie side by side are mostly of one series.
            Holds::Image { series: uid, .. } if uid == last => {}
            Holds::Image { series: uid, .. } => {
                uid.clone_into(last);
                if !found.series.contains(uid) {
                    found.series.insert(uid.to_owned());
                }
            }
            Holds::Outlines { record } => found.outlines.push((known.path.to_owned(), record)),
            Holds::File { record } if self.asks_for(known.path) => {
                if !self.loaded {
                    found.filed.push((Indexed::from(*known).stat, record));
                }
            }
            Holds::File { .. } => count(&mut found.skipped, UNASKED),
            Holds::Nothing { code } => {
                found.damaged.add(known.path, code);
                count(&mut found.skipped, code);
            }
        }
    }

    /// Whether a file is known as something else than the sources' own readers make of it.
    fn misread(&self, known: &Known<'_>) -> bool {
        !matches!(known.holds, Holds::File { .. }) && !self.reads_as(known.path, None)
    }

    /// Takes in what a look at everything found of files that have not changed.
    pub(super) fn known(&mut self, found: &mut Compared, looked: &mut Looked) -> Result<(), SourceError> {
        self.files += found.files;
        for uid in std::mem::take(&mut found.series) {
            looked.series.entry(uid).or_insert(0);
        }
        for (code, count) in std::mem::take(&mut found.skipped) {
            *self.skipped.entry(code).or_default() += count;
        }
        self.damaged.extend(std::mem::take(&mut found.damaged));
        for (stat, record) in std::mem::take(&mut found.filed) {
            let Some(known) = self.store.records(&[record])?.pop() else { continue };
            match known.image() {
                Some((reader, image)) if self.reads_as(&stat.path, reader) => {
                    let filed = Filed { record, image: image.clone(), mtime_ns: stat.mtime_ns };
                    self.filed_now(&stat.path, Some(&filed), 0, looked);
                }
                _ => found.differences.changed.push((stat, Some(Held::File { record }))),
            }
        }
        for (path, record) in std::mem::take(&mut found.outlines) {
            if !self.outlines.contains_key(&path)
                && let Some(Record::Outlines(read)) = self.store.records(&[record])?.pop()
            {
                self.outlines_now(&path, Some(OutlinesRow { record, outlines: read }), &mut looked.changes);
            }
        }
        Ok(())
    }

    /// Forgets what is gone.
    pub(super) fn lose(&mut self, gone: Vec<Indexed>, looked: &mut Looked) -> Result<(), SourceError> {
        for file in &gone {
            self.forget(&file.stat.path, &file.held, looked);
        }
        let gone: Vec<PathBuf> = gone.into_iter().map(|file| file.stat.path).collect();
        Ok(self.store.reindex(&[], &gone)?)
    }

    /// Reads what changed, and says which series that touches; the records of files under names that are new.
    pub(super) fn take(
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
    fn forget(&mut self, path: &Path, held: &Held, looked: &mut Looked) {
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
    fn outlines_now(&mut self, path: &Path, row: Option<OutlinesRow>, changes: &mut Vec<(PathBuf, Change)>) {
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

/// Counts one file more that holds nothing for a pipeline.
fn count(skipped: &mut BTreeMap<String, usize>, code: &str) {
    match skipped.get_mut(code) {
        Some(count) => *count += 1,
        None => drop(skipped.insert(code.to_owned(), 1)),
    }
}

/// A series has changed at this time, or later.
pub(super) fn touch(looked: &mut Looked, series: &str, at_ns: i64) {
    let newest = looked.series.entry(series.to_owned()).or_insert(at_ns);
    *newest = at_ns.max(*newest);
}

fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

fn before(a: &Path, b: &Path) -> bool {
    a.as_os_str().as_bytes() < b.as_os_str().as_bytes()
}

/// Whether nothing is there. A link that leads nowhere is there: what it led to may not be mounted.
fn is_gone(path: &Path) -> bool {
    if !matches!(container::stat(path), Err(error) if error.kind() == ErrorKind::NotFound) {
        return false;
    }
    let there = path.ancestors().find(|above| std::fs::symlink_metadata(above).is_ok());
    there.is_none_or(Path::exists)
}

/// Whether a path goes through a link below the root, to what is there: a walk would have shown it.
fn is_linked(root: &Path, path: &Path) -> bool {
    path.exists() && path.ancestors().take_while(|above| *above != root).any(Path::is_symlink)
}
