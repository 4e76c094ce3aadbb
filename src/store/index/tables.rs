//! The tables of the index while they are written: what a file held before goes as what it holds comes.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use redb::ReadableTable;
use tomoflow_connectors::dicom::{FileStat, Record};

use super::{Held, entry, indexed, series_prefix};
use crate::store::StoreError;

pub(super) struct Tables<'t> {
    pub(super) files: redb::Table<'t, &'static [u8], &'static [u8]>,
    pub(super) members: redb::Table<'t, &'static [u8], ()>,
    pub(super) records: redb::Table<'t, &'static [u8; 32], &'static [u8]>,
    pub(super) verdicts: redb::Table<'t, &'static [u8], &'static [u8]>,
}

impl Tables<'_> {
    pub(super) fn held(&self, path: &Path) -> Result<Option<Held>, StoreError> {
        let key = path.as_os_str().as_bytes();
        let Some(entry) = self.files.get(key)? else { return Ok(None) };
        Ok(Some(indexed(key, entry.value())?.held))
    }

    pub(super) fn keep(&mut self, stat: &FileStat, record: &Record) -> Result<(), StoreError> {
        let held = Held::of(record);
        let before = self.held(&stat.path)?;
        let path = stat.path.as_os_str().as_bytes();
        self.files.insert(path, entry(stat, &held)?.as_slice())?;
        if before.as_ref() == Some(&held) {
            // A verdict may depend on what no record keeps, which may be another in a file that was written anew.
            return self.unjudge(&held);
        }
        if let Some(before) = before {
            self.forget(&stat.path, &before)?;
        }
        if let (Some(mut key), Some(digest)) = (held.member(), held.record()) {
            key.extend(path);
            self.members.insert(key.as_slice(), ())?;
            if self.records.get(&digest.0)?.is_none() {
                self.records.insert(&digest.0, postcard::to_stdvec(record)?.as_slice())?;
            }
        }
        self.unjudge(&held)
    }

    /// Removes what a file held; the record goes with the last file that holds it.
    pub(super) fn forget(&mut self, path: &Path, held: &Held) -> Result<(), StoreError> {
        if let (Some(prefix), Some(digest)) = (held.member(), held.record()) {
            let mut key = prefix.clone();
            key.extend(path.as_os_str().as_bytes());
            self.members.remove(key.as_slice())?;
            let next = self.members.range::<&[u8]>(prefix.as_slice()..)?.next().transpose()?;
            if !next.is_some_and(|(key, _)| key.value().starts_with(&prefix)) {
                self.records.remove(&digest.0)?;
            }
        }
        self.unjudge(held)
    }

    /// What a series was judged to be no longer holds.
    fn unjudge(&mut self, held: &Held) -> Result<(), StoreError> {
        let Held::Image { series, .. } = held else { return Ok(()) };
        let prefix = series_prefix(series);
        let mut outdated = Vec::new();
        for row in self.verdicts.range::<&[u8]>(prefix.as_slice()..)? {
            let key = row?.0.value().to_vec();
            if !key.starts_with(&prefix) {
                break;
            }
            outdated.push(key);
        }
        for key in outdated {
            self.verdicts.remove(key.as_slice())?;
        }
        Ok(())
    }
}
