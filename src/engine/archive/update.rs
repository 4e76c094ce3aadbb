//! Looks at single files, where somebody says that they have changed.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use tomoflow_connectors::container;
use tomoflow_connectors::dicom::{FileStat, Walk, is_passed_over};
use tomoflow_connectors::imagefile::headers_of;

use super::look::{Compared, Differences, Looked, UNASKED};
use super::{Archive, SourceError};
use crate::executor::work::{OutlinesRow, Verdict};
use crate::store::{Held, StoreError};

impl Archive {
    /// Looks at files that are said to have changed.
    ///
    /// # Errors
    /// When the index cannot be read or written.
    pub fn update(&mut self, paths: &BTreeSet<PathBuf>) -> Result<Looked, SourceError> {
        let (mut looked, mut differences) = (Looked::default(), Differences::default());
        let roots = self.roots();
        let own: Vec<PathBuf> = roots.iter().flat_map(|root| self.plan.own_below(root)).collect();
        let ours = |path: &Path| {
            roots.iter().any(|root| path.strip_prefix(root).is_ok_and(|below| !is_passed_over(below)))
                && !own.iter().any(|own| path.starts_with(own))
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
                Ok(metadata) => {
                    // Whether a link counts that nobody knows yet, a look at everything says.
                    let linked = metadata.is_symlink().then(|| std::fs::metadata(path));
                    let Ok(metadata) = linked.unwrap_or(Ok(metadata)) else { continue };
                    if !metadata.is_file() || (known.is_none() && path.is_symlink()) {
                        continue;
                    }
                    let stat = FileStat::new(path.clone(), &metadata);
                    if known.as_ref().is_none_or(|known| !known.stat.is_still(&stat)) {
                        differences.changed.push((stat, known.map(|known| known.held)));
                    }
                }
                // It may have been a link to a folder.
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    self.store.visit_files(path, |known| differences.gone.push(known.into()))?;
                }
                Err(_) => {}
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
        self.lose(differences.gone, &mut looked)?;
        self.take(&differences.changed, &mut looked)?;
        self.gather(&mut looked)?;
        Ok(looked)
    }

    /// The files of a series' images, below all roots.
    pub(super) fn files_of_images(&self, series: &str) -> Result<BTreeSet<PathBuf>, StoreError> {
        let mut files = BTreeSet::new();
        for root in self.roots() {
            files.extend(self.store.members(series, &root)?.into_iter().map(|(path, _)| path));
        }
        Ok(files)
    }

    /// The files of a series and of the outlines that refer to it, as far as they are known.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn files_of(&self, series: &str) -> Result<BTreeSet<PathBuf>, SourceError> {
        let mut files = self.files_of_images(series)?;
        let told = self.told.iter().filter_map(|told| told.get(series)).flat_map(|told| told.iter());
        let frames: BTreeSet<&str> = told
            .filter_map(Verdict::accepted)
            .map(|row| &*row.frame_of_reference)
            .filter(|frame| !frame.is_empty())
            .collect();
        let refers = |row: &OutlinesRow| match row.outlines.referenced_series.as_slice() {
            [] => row.outlines.frames.iter().any(|frame| frames.contains(frame.as_str())),
            named => named.iter().any(|uid| uid == series),
        };
        files.extend(self.outlines.iter().filter(|(_, row)| refers(row)).map(|(path, _)| path.clone()));
        let labels = self.filed_labels.iter().filter(|(_, row)| refers(row));
        files.extend(labels.map(|((_, path), _)| path.clone()));
        files.extend(self.parts.of_case(series).cloned());
        files.extend(self.files_of_label_series(series)?);
        let filed = self.filed.iter().filter_map(|cases| cases.get(series));
        files.extend(filed.flat_map(|filed| filed.keys().cloned()));
        Ok(files)
    }

    /// Compares a container with the index; one that is gone has lost all its members.
    fn compare_container(&mut self, path: &Path) -> Result<Compared, SourceError> {
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
}
