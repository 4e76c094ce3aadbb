//! Looks at files: which are new, changed or gone since the index was written.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rayon::prelude::*;
use tomoflow_connectors::dicom::{FileStat, Record, Unseen, Walk};
use tomoflow_connectors::imagefile::headers_of;
use tomoflow_connectors::{Digest, container};

use super::super::rows::Input;
use super::files::Filed;
use super::{Archive, Change, SourceError};
use crate::executor::work::OutlinesRow;
use crate::store::{Held, Holds, Indexed, Known};

/// Files read before what they hold is written to the index: bounds memory, and what a crash costs.
const BATCH: usize = 4096;

/// What a file of another format is to those who ask for DICOM alone.
const UNASKED: &str = "NOT_DICOM";

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
struct Differences {
    changed: Vec<(FileStat, Option<Held>)>,
    gone: Vec<Indexed>,
}

/// A folder compared with the index.
#[derive(Default)]
struct Compared {
    differences: Differences,
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
}

impl Archive {
    /// Looks at everything. Only files that changed (path, size, time, inode) are read.
    ///
    /// # Errors
    /// When a folder cannot be read, or is suddenly empty although nobody said it may be: an archive that is
    /// not mounted must not look like one whose scans were all deleted.
    pub fn look(&mut self, accept_empty: bool) -> Result<Looked, SourceError> {
        let mut looked = Looked::default();
        if !self.loaded {
            self.forget_other_readings()?;
        }
        (self.files, self.skipped) = (0, Default::default());
        // All walks begin first: when one fails nothing has been touched.
        let mut walks: Vec<(PathBuf, Walk)> = self
            .roots()
            .into_iter()
            .map(|root| {
                let walk = Walk::new(&root)?;
                // What the pipeline itself writes is no input.
                let own = self.plan.own_below(&root);
                Ok((root, own.iter().fold(walk, |walk, own| walk.without(own))))
            })
            .collect::<Result<_, SourceError>>()?;
        for (root, walk) in &mut walks {
            let mut known = 0;
            if walk.peek().is_none() && !accept_empty {
                self.store.visit_files(root, |_| known += 1)?;
            }
            if known > 0 {
                return Err(SourceError::Empty { path: root.clone(), known });
            }
        }
        for (root, walk) in walks {
            let mut found = self.compare(&root, walk)?;
            self.known(&mut found, &mut looked)?;
            self.take(found.differences, &mut looked)?;
        }
        self.gather(&mut looked)?;
        if !self.loaded {
            looked.changes.extend(self.listed());
        }
        self.loaded = true;
        Ok(looked)
    }

    /// Looks at files that are said to have changed.
    ///
    /// # Errors
    /// When the index cannot be read or written.
    pub fn update(&mut self, paths: &BTreeSet<PathBuf>) -> Result<Looked, SourceError> {
        let (mut looked, mut differences) = (Looked::default(), Differences::default());
        let roots = self.roots();
        let own: Vec<PathBuf> = roots.iter().flat_map(|root| self.plan.own_below(root)).collect();
        let ours = |path: &Path| {
            roots.iter().any(|root| path.starts_with(root)) && !own.iter().any(|own| path.starts_with(own))
        };
        let headers = paths.iter().flat_map(|path| headers_of(path));
        let paths: BTreeSet<PathBuf> = headers.chain(paths.iter().cloned()).collect();
        for path in paths.iter().filter(|path| ours(path)) {
            if container::is_container(path) && !path.is_dir() {
                let compared = self.compare_container(path)?;
                differences.changed.extend(compared.differences.changed);
                differences.gone.extend(compared.differences.gone);
                continue;
            }
            let known = self.store.file(path)?;
            match std::fs::symlink_metadata(path) {
                Ok(metadata) if metadata.is_file() => {
                    let stat = FileStat::new(path.clone(), &metadata);
                    if known.as_ref().is_none_or(|known| known.stat != stat) {
                        differences.changed.push((stat, known.map(|known| known.held)));
                    }
                }
                Err(error) if error.kind() == ErrorKind::NotFound => differences.gone.extend(known),
                _ => {}
            }
        }
        self.files += differences.changed.iter().filter(|(_, before)| before.is_none()).count();
        self.files = self.files.saturating_sub(differences.gone.len());
        let forgotten =
            differences.changed.iter().filter_map(|(stat, before)| Some((stat, before.as_ref()?)));
        for (stat, held) in forgotten.chain(differences.gone.iter().map(|gone| (&gone.stat, &gone.held))) {
            let code = match held {
                Held::Nothing { code } => code,
                Held::File { .. } if !self.asks_for(&stat.path) => UNASKED,
                _ => continue,
            };
            if let Some(count) = self.skipped.get_mut(code) {
                *count = count.saturating_sub(1);
            }
        }
        self.take(differences, &mut looked)?;
        self.gather(&mut looked)?;
        Ok(looked)
    }

    /// The files of a series and of the outlines that refer to it, as far as they are known.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn files_of(&self, series: &str) -> Result<BTreeSet<PathBuf>, SourceError> {
        let mut files = BTreeSet::new();
        for root in self.roots() {
            files.extend(self.store.members(series, &root)?.into_iter().map(|(path, _)| path));
        }
        let refers = |row: &OutlinesRow| row.outlines.referenced_series.iter().any(|uid| uid == series);
        files.extend(self.outlines.iter().filter(|(_, row)| refers(row)).map(|(path, _)| path.clone()));
        let labels = self.filed_labels.iter().filter(|(_, row)| refers(row));
        files.extend(labels.map(|((_, path), _)| path.clone()));
        files.extend(self.parts.of_case(series).cloned());
        let filed = self.filed.iter().filter_map(|cases| cases.get(series));
        files.extend(filed.flat_map(|filed| filed.keys().cloned()));
        Ok(files)
    }

    /// Compares a container with the index; one that is gone has lost all its members.
    fn compare_container(&self, path: &Path) -> Result<Compared, SourceError> {
        match Walk::new(path) {
            Ok(walk) => self.compare(path, walk),
            Err(error) if error.source.kind() == ErrorKind::NotFound => {
                let mut compared = Compared::default();
                self.store.visit_files(path, |known| compared.differences.gone.push(known.into()))?;
                Ok(compared)
            }
            // Perhaps it is still being written: it is told again then.
            Err(error) => {
                tracing::warn!("{error}; what was known of it stays");
                Ok(Compared::default())
            }
        }
    }

    /// Compares a folder with the index: both are in the order of paths' bytes, so one pass does.
    fn compare(&self, root: &Path, mut walk: Walk) -> Result<Compared, SourceError> {
        let mut found = Compared::default();
        let mut last = String::new();
        let own = self.plan.own_below(root);
        let mut next_if = |fits: &dyn Fn(&Path) -> bool| {
            walk.peek().is_some_and(|file| fits(&file.path)).then(|| walk.next()).flatten()
        };
        self.store.visit_files(root, |known| {
            while let Some(new) = next_if(&|path| before(path, known.path)) {
                found.files += 1;
                found.differences.changed.push((new, None));
            }
            match next_if(&|path| path.as_os_str() == known.path.as_os_str()) {
                Some(stat) if known.is(&stat) => {}
                Some(stat) => {
                    found.files += 1;
                    return found.differences.changed.push((stat, Some(known.holds.into())));
                }
                // A file that cannot even be looked at is not a deleted one: its folder may be unreadable.
                None if is_gone(known.path) || own.iter().any(|own| known.path.starts_with(own)) => {
                    return found.differences.gone.push(known.into());
                }
                None => {}
            }
            found.files += 1;
            if self.misread(&known) {
                let Indexed { stat, held } = known.into();
                return found.differences.changed.push((stat, Some(held)));
            }
            match known.holds {
                Holds::Image { .. } if self.loaded => {}
                // Files that lie side by side are mostly of one series.
                Holds::Image { series: uid, .. } if uid == last => {}
                Holds::Image { series: uid, .. } => {
                    uid.clone_into(&mut last);
                    if !found.series.contains(uid) {
                        found.series.insert(uid.to_owned());
                    }
                }
                Holds::Outlines { record } => found.outlines.push((known.path.to_owned(), record)),
                Holds::File { record } if self.asks_for(known.path) => {
                    if !self.loaded {
                        found.filed.push((Indexed::from(known).stat, record));
                    }
                }
                Holds::File { .. } => count(&mut found.skipped, UNASKED),
                Holds::Nothing { code } => count(&mut found.skipped, code),
            }
        })?;
        let known = found.differences.changed.len();
        found.differences.changed.extend(walk.by_ref().map(|stat| (stat, None)));
        found.files += found.differences.changed.len() - known;
        unseen(&walk.notes());
        Ok(found)
    }

    /// Whether a file is known as something else than the sources' own readers make of it.
    fn misread(&self, known: &Known<'_>) -> bool {
        !matches!(known.holds, Holds::File { .. }) && !self.reads_as(known.path, None)
    }

    /// What a look at everything found of files that have not changed.
    fn known(&mut self, found: &mut Compared, looked: &mut Looked) -> Result<(), SourceError> {
        self.files += found.files;
        for uid in std::mem::take(&mut found.series) {
            looked.series.entry(uid).or_insert(0);
        }
        for (code, count) in std::mem::take(&mut found.skipped) {
            *self.skipped.entry(code).or_default() += count;
        }
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

    /// Reads what changed, forgets what is gone, and says which series that touches.
    fn take(&mut self, differences: Differences, looked: &mut Looked) -> Result<(), SourceError> {
        let Differences { changed, gone } = differences;
        for file in &gone {
            self.forget(&file.stat.path, &file.held, looked);
        }
        let gone: Vec<PathBuf> = gone.into_iter().map(|file| file.stat.path).collect();
        self.store.reindex(&[], &gone)?;
        let mut unread = 0;
        for batch in changed.chunks(BATCH) {
            let read: Vec<_> = batch
                .par_iter()
                .map(|(stat, before)| self.read(&stat.path).map(|record| (stat.clone(), record, before)))
                .collect();
            let mut records = Vec::with_capacity(read.len());
            for result in read {
                let Ok((stat, record, before)) = result else {
                    unread += 1;
                    continue;
                };
                if let Some(before) = before {
                    self.forget(&stat.path, before, looked);
                }
                self.admit(&stat, &record, looked);
                records.push((stat, record));
            }
            looked.read += records.len();
            self.store.reindex(&records, &[])?;
        }
        if unread > 0 {
            tracing::warn!("{unread} files could not be read; they are tried again at the next look");
        }
        Ok(())
    }

    /// What a file held until now no longer counts.
    fn forget(&mut self, path: &Path, held: &Held, looked: &mut Looked) {
        match held {
            // A file that goes, or is another now, is a change of this moment.
            Held::Image { series, .. } => touch(looked, series, now_ns()),
            Held::Outlines { .. } => self.outlines_now(path, None, &mut looked.changes),
            Held::File { .. } => self.filed_now(path, None, now_ns(), looked),
            Held::Nothing { .. } => {}
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
            Record::Skip { code } => count(&mut self.skipped, code),
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

/// Says that something could not be looked at.
fn unseen(notes: &[Unseen]) {
    if notes.is_empty() {
        return;
    }
    // Paths may hold names: they are for those who ask for them.
    tracing::warn!(
        "{} folders or files of an archive could not be read; what was known of them stays",
        notes.len()
    );
    notes.iter().for_each(|note| tracing::debug!("{note}"));
}

/// One file more that holds nothing for a pipeline.
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

fn is_gone(path: &Path) -> bool {
    matches!(container::stat(path), Err(error) if error.kind() == ErrorKind::NotFound)
}
