//! Looks at files: which are new, changed or gone since the index was written.

mod taken;

use std::collections::{BTreeMap, HashSet};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use tomoflow_connectors::dicom::{FileStat, Record, Walk, is_passed_over};
use tomoflow_connectors::imagefile::ImageFile;
use tomoflow_connectors::{Digest, Reject, container};

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
