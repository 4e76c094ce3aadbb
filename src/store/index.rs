//! The instance index: what each file held when it was last read, so that it is not read again.
//!
//! An instance is a row here, not in memory: a file leads to its record, a series to its files, and what a
//! series was judged to be is kept until one of its files changes. An archive of a million instances thus
//! costs the control plane as much as its series do.

mod held;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use redb::{ReadableTable, TableDefinition};
use tomoflow_connectors::dicom::{FileStat, Record};
use tomoflow_connectors::{Digest, points};

use super::{Store, StoreError};

pub use held::{Held, Holds, Indexed, Known};

/// Path → size, time, inode and what the file held; behind it the ctime, which earlier versions did not keep.
const FILES: TableDefinition<&[u8], &[u8]> = TableDefinition::new("files");
/// Series ‖ 0 ‖ record ‖ path: the files of a series, and where a record lies. Outlines have an empty series.
const MEMBERS: TableDefinition<&[u8], ()> = TableDefinition::new("members");
/// The content of a record, by its digest.
const RECORDS: TableDefinition<&[u8; 32], &[u8]> = TableDefinition::new("records");
/// Series ‖ 0 ‖ reader → what the series was judged to be, as long as its files stay.
const VERDICTS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("verdicts");
/// Which instances make a scan, by the list's digest; earlier lists stay, so that they can be compared.
const LISTS: TableDefinition<&[u8; 32], &[u8]> = TableDefinition::new("lists");

/// In the table of numbers: how the files of the index were read.
const READ_AS: &str = "read as";

/// A verdict to keep: series, reader, its bytes.
pub type Judged = (String, Digest, Vec<u8>);

impl Store {
    /// Shows every file of the index below `root` to `visit`, by path (in the order of its bytes).
    ///
    /// # Errors
    /// When the database refuses or a record is damaged.
    pub fn visit_files(&self, root: &Path, mut visit: impl FnMut(Known<'_>)) -> Result<(), StoreError> {
        self.scan_files(root, |known| {
            visit(known);
            true
        })
    }

    /// The same, as long as `visit` says so.
    fn scan_files(&self, root: &Path, mut visit: impl FnMut(Known<'_>) -> bool) -> Result<(), StoreError> {
        let read = self.begin_read()?;
        let files = match read.open_table(FILES) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(()),
            files => files?,
        };
        let prefix = root.as_os_str().as_bytes();
        for row in files.range::<&[u8]>(prefix..)? {
            let (path, entry) = row?;
            let Some(below) = path.value().strip_prefix(prefix) else { break };
            // A path that only begins like it is another one: `/archive-old` does not lie below `/archive`.
            let inside = below.is_empty() || below.starts_with(b"/") || prefix.ends_with(b"/");
            if inside && !visit(Known::new(path.value(), entry.value())?) {
                break;
            }
        }
        Ok(())
    }

    /// Whether a file of the index below `root` is one that is looked for.
    ///
    /// # Errors
    /// When the database refuses or a record is damaged.
    pub fn any_file(
        &self,
        root: &Path,
        mut wanted: impl FnMut(&Known<'_>) -> bool,
    ) -> Result<bool, StoreError> {
        let mut found = false;
        self.scan_files(root, |known| {
            found = wanted(&known);
            !found
        })?;
        Ok(found)
    }

    /// Whether the index knows any file.
    ///
    /// # Errors
    /// When the database refuses or a record is damaged.
    pub fn knows_files(&self) -> Result<bool, StoreError> {
        self.any_file(Path::new("/"), |_| true)
    }

    /// What the index knows of one file.
    ///
    /// # Errors
    /// When the database refuses or a record is damaged.
    pub fn file(&self, path: &Path) -> Result<Option<Indexed>, StoreError> {
        let read = self.begin_read()?;
        let files = match read.open_table(FILES) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            files => files?,
        };
        let key = path.as_os_str().as_bytes();
        files.get(key)?.map(|entry| indexed(key, entry.value())).transpose()
    }

    /// Says how files are read from now on. When they were read in another way before, the index forgets them
    /// all, and they are read anew; what actions led to stays, since keys name content.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn read_as(&self, way: u64) -> Result<(), StoreError> {
        let write = self.begin_write()?;
        {
            let mut meta = write.open_table(super::META)?;
            if meta.get(READ_AS)?.is_some_and(|before| before.value() == way) {
                return Ok(());
            }
            meta.insert(READ_AS, way)?;
        }
        forget(&write)?;
        write.commit()?;
        Ok(())
    }

    /// Takes in what was read, and forgets files that are gone, in one step. The verdicts of series that
    /// this touches are forgotten with it.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn reindex(&self, read: &[(FileStat, Record)], gone: &[PathBuf]) -> Result<(), StoreError> {
        if read.is_empty() && gone.is_empty() {
            return Ok(());
        }
        let write = self.begin_write()?;
        {
            let mut tables = Tables {
                files: write.open_table(FILES)?,
                members: write.open_table(MEMBERS)?,
                records: write.open_table(RECORDS)?,
                verdicts: write.open_table(VERDICTS)?,
            };
            for path in gone {
                if let Some(held) = tables.held(path)? {
                    tables.forget(path, &held)?;
                    tables.files.remove(path.as_os_str().as_bytes())?;
                }
            }
            for (stat, record) in read {
                tables.keep(stat, record)?;
            }
        }
        write.commit()?;
        points::pass(points::INDEX_WRITTEN).map_err(StoreError::io(&self.root))
    }

    /// Keeps what the system says of files that are known, and are what they were.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn restat(&self, files: &[Indexed]) -> Result<(), StoreError> {
        if files.is_empty() {
            return Ok(());
        }
        let mut write = self.begin_write()?;
        // A crash costs doing it again.
        write.set_durability(redb::Durability::None)?;
        {
            let mut table = write.open_table(FILES)?;
            for Indexed { stat, held } in files {
                table.insert(stat.path.as_os_str().as_bytes(), entry(stat, held)?.as_slice())?;
            }
        }
        Ok(write.commit()?)
    }

    /// The files of a series below `root`, each with its record's digest, by record.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn members(&self, series: &str, root: &Path) -> Result<Vec<(PathBuf, Digest)>, StoreError> {
        let read = self.begin_read()?;
        let members = match read.open_table(MEMBERS) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            members => members?,
        };
        let prefix = series_prefix(series);
        let mut found = Vec::new();
        for row in members.range::<&[u8]>(prefix.as_slice()..)? {
            let (key, ()) = row.map(|(key, _)| (key, ()))?;
            let Some(rest) = key.value().strip_prefix(prefix.as_slice()) else { break };
            let Some((record, path)) = rest.split_first_chunk::<32>() else { continue };
            let path = PathBuf::from(OsStr::from_bytes(path));
            if path.starts_with(root) {
                found.push((path, Digest(*record)));
            }
        }
        Ok(found)
    }

    /// Records by their digests; those that are gone are left out.
    ///
    /// # Errors
    /// When the database refuses or a record is damaged.
    pub fn records(&self, digests: &[Digest]) -> Result<Vec<Record>, StoreError> {
        let read = self.begin_read()?;
        let records = match read.open_table(RECORDS) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            records => records?,
        };
        let mut found = Vec::with_capacity(digests.len());
        for digest in digests {
            if let Some(bytes) = records.get(&digest.0)? {
                if Digest::of(bytes.value()) != *digest {
                    return Err(StoreError::Damaged(postcard::Error::DeserializeBadEncoding));
                }
                found.push(postcard::from_bytes(bytes.value())?);
            }
        }
        Ok(found)
    }

    /// Where a record of a series lies (of no series: outlines).
    ///
    /// # Errors
    /// When the database refuses or a record is damaged.
    pub fn places(&self, series: &str, records: &[Digest]) -> Result<Vec<Option<FileStat>>, StoreError> {
        let read = self.begin_read()?;
        let (members, files) = match (read.open_table(MEMBERS), read.open_table(FILES)) {
            (Err(redb::TableError::TableDoesNotExist(_)), _) => return Ok(vec![None; records.len()]),
            (members, files) => (members?, files?),
        };
        let place = |record: &Digest| {
            let prefix = member(series, *record);
            let Some(row) = members.range::<&[u8]>(prefix.as_slice()..)?.next() else { return Ok(None) };
            let (key, _) = row?;
            let Some(path) = key.value().strip_prefix(prefix.as_slice()) else { return Ok(None) };
            files.get(path)?.map(|entry| Ok(indexed(path, entry.value())?.stat)).transpose()
        };
        records.iter().map(place).collect()
    }

    /// What series were judged to be by a reader, as long as none of their files has changed since.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn verdicts(&self, series: &[String], reader: Digest) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let read = self.begin_read()?;
        let verdicts = match read.open_table(VERDICTS) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(vec![None; series.len()]),
            verdicts => verdicts?,
        };
        let get = |series: &String| {
            Ok(verdicts.get(member(series, reader).as_slice())?.map(|bytes| bytes.value().to_vec()))
        };
        series.iter().map(get).collect()
    }

    /// Keeps verdicts, and the lists of instances that they name, in one step.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn judge(&self, judged: &[Judged], lists: &[(Digest, Vec<u8>)]) -> Result<(), StoreError> {
        if judged.is_empty() && lists.is_empty() {
            return Ok(());
        }
        let mut write = self.begin_write()?;
        // It follows from the index alone: a crash costs judging again, and no change waits for the disk. All
        // that names these lists is written later, and the disk gets both then.
        write.set_durability(redb::Durability::None)?;
        {
            let mut verdicts = write.open_table(VERDICTS)?;
            for (series, reader, bytes) in judged {
                verdicts.insert(member(series, *reader).as_slice(), bytes.as_slice())?;
            }
            let mut table = write.open_table(LISTS)?;
            for (digest, bytes) in lists {
                table.insert(&digest.0, bytes.as_slice())?;
            }
        }
        write.commit()?;
        points::pass(points::SERIES_WRITTEN).map_err(StoreError::io(&self.root))
    }

    /// A list of instances, or any other description that was kept by its digest.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn list(&self, digest: Digest) -> Result<Option<Vec<u8>>, StoreError> {
        let read = self.begin_read()?;
        match read.open_table(LISTS) {
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            lists => Ok(lists?.get(&digest.0)?.map(|bytes| bytes.value().to_vec())),
        }
    }
}

/// What is told of a record: its table, its key, and whether it is whole; `None` where it has no check of its own.
pub(super) type Shown<'a> = dyn FnMut(&str, &[u8], Option<bool>) + 'a;

/// Shows every record of the index: its table, its key, and whether it is whole and has a check of its own. What a file
/// held must be found as a record, and the file among the members of its series, and the other way round.
pub(super) fn check(read: &redb::ReadTransaction, show: &mut Shown<'_>) -> Result<(), StoreError> {
    let (files, members, records) =
        match (read.open_table(FILES), read.open_table(MEMBERS), read.open_table(RECORDS)) {
            (Err(redb::TableError::TableDoesNotExist(_)), ..) => return Ok(()),
            (files, members, records) => (files?, members?, records?),
        };
    for row in files.iter()? {
        let (path, entry) = row?;
        let path = path.value();
        let Ok(known) = Known::new(path, entry.value()) else {
            show("files", path, None);
            continue;
        };
        let held = Held::from(known.holds);
        let named = match (held.member(), held.record()) {
            (Some(mut key), Some(record)) => {
                key.extend(path);
                members.get(key.as_slice())?.is_some() && records.get(&record.0)?.is_some()
            }
            _ => true,
        };
        show("files", path, named.then_some(true));
    }
    for row in members.iter()? {
        let key = row?.0;
        let path = key.value().iter().position(|byte| *byte == 0).and_then(|end| key.value().get(end + 33..));
        let known = match path {
            Some(path) => files.get(path)?.is_some(),
            None => false,
        };
        show("members", key.value(), known.then_some(true));
    }
    for row in records.iter()? {
        let (digest, bytes) = row?;
        show("records", digest.value(), (Digest::of(bytes.value()).0 == *digest.value()).then_some(true));
    }
    Ok(())
}

/// Forgets every file: all are read anew.
pub(super) fn forget(write: &redb::WriteTransaction) -> Result<(), StoreError> {
    write.delete_table(FILES)?;
    write.delete_table(MEMBERS)?;
    write.delete_table(RECORDS)?;
    write.delete_table(VERDICTS)?;
    Ok(())
}

struct Tables<'t> {
    files: redb::Table<'t, &'static [u8], &'static [u8]>,
    members: redb::Table<'t, &'static [u8], ()>,
    records: redb::Table<'t, &'static [u8; 32], &'static [u8]>,
    verdicts: redb::Table<'t, &'static [u8], &'static [u8]>,
}

impl Tables<'_> {
    fn held(&self, path: &Path) -> Result<Option<Held>, StoreError> {
        let key = path.as_os_str().as_bytes();
        let Some(entry) = self.files.get(key)? else { return Ok(None) };
        Ok(Some(indexed(key, entry.value())?.held))
    }

    fn keep(&mut self, stat: &FileStat, record: &Record) -> Result<(), StoreError> {
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
    fn forget(&mut self, path: &Path, held: &Held) -> Result<(), StoreError> {
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

fn entry(stat: &FileStat, held: &Held) -> Result<Vec<u8>, StoreError> {
    let mut entry = postcard::to_stdvec(&(stat.size, stat.mtime_ns, stat.inode, held))?;
    if let Some(ctime_ns) = stat.ctime_ns {
        entry.extend(postcard::to_stdvec(&ctime_ns)?);
    }
    Ok(entry)
}

fn indexed(path: &[u8], entry: &[u8]) -> Result<Indexed, StoreError> {
    Ok(Known::new(path, entry)?.into())
}

/// A UID never holds a zero byte, so no series is the beginning of another.
fn series_prefix(series: &str) -> Vec<u8> {
    let mut key = series.replace('\0', " ").into_bytes();
    key.push(0);
    key
}

fn member(series: &str, digest: Digest) -> Vec<u8> {
    let mut key = series_prefix(series);
    key.extend(digest.0);
    key
}
