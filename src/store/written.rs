//! Files that were written for others, as they were then: what somebody changed since is put back.

use std::ffi::OsStr;
use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use redb::TableDefinition;
use serde::{Deserialize, Serialize};
use tomoflow_connectors::Digest;

use super::sealed::ByBytes;
use super::{Store, StoreError, sealed};

/// Path → the file as it was written.
pub(super) const WRITTEN: ByBytes = TableDefinition::new("written");

/// A file as it was when it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    size: u64,
    mtime_ns: i64,
    ctime_ns: i64,
    /// Its content; none of a file that an earlier version wrote.
    digest: Option<Digest>,
}

/// What became of a file since it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Since {
    /// It is as it was.
    Same,
    /// Its content is what it was; what the system says of it is not.
    Touched(Written),
    /// It has another content.
    Edited,
    /// It is not there.
    Gone,
}

impl Written {
    /// A file that was written just now.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn now(path: &Path) -> io::Result<Self> {
        let digest = content(path)?;
        Ok(Self { digest: Some(digest), ..Self::seen(&std::fs::metadata(path)?) })
    }

    /// A file of which nobody knows how it was written.
    ///
    /// # Errors
    /// What the system says.
    pub fn found(path: &Path) -> io::Result<Self> {
        Ok(Self::seen(&std::fs::metadata(path)?))
    }

    fn seen(metadata: &Metadata) -> Self {
        let ns = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
        Self {
            size: metadata.size(),
            mtime_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
            ctime_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
            digest: None,
        }
    }

    /// What became of it. Its content is read where the system tells of a change, or `always`.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn since(&self, path: &Path, always: bool) -> io::Result<Since> {
        let metadata = match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_file() => metadata,
            Ok(_) => return Ok(Since::Gone),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Since::Gone),
            Err(error) => return Err(error),
        };
        let now = Self { digest: self.digest, ..Self::seen(&metadata) };
        if now == *self && !always {
            return Ok(Since::Same);
        }
        if now.size != self.size {
            return Ok(Since::Edited);
        }
        match self.digest {
            Some(digest) if content(path)? != digest => Ok(Since::Edited),
            _ if now == *self => Ok(Since::Same),
            Some(_) => Ok(Since::Touched(now)),
            // Nobody knows what it held.
            None => Ok(Since::Edited),
        }
    }
}

/// The digest of a file's content, read piece by piece: what was written may be larger than memory.
fn content(path: &Path) -> io::Result<Digest> {
    Digest::of_stream(std::fs::File::open(path)?)
}

impl Store {
    /// Files as they were written, as far as that is known.
    ///
    /// # Errors
    /// When the database refuses or a record is damaged.
    pub fn written(&self, paths: &[PathBuf]) -> Result<Vec<Option<Written>>, StoreError> {
        let read = self.begin_read()?;
        let written = match read.open_table(WRITTEN) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(vec![None; paths.len()]),
            written => written?,
        };
        let get = |path: &PathBuf| {
            let key = path.as_os_str().as_bytes();
            written.get(key)?.map(|bytes| sealed::unseal("written", key, bytes.value())).transpose()
        };
        paths.iter().map(get).collect()
    }

    /// The files below a folder that are known as they were written.
    ///
    /// # Errors
    /// When the database refuses or a record is damaged.
    pub fn written_below(&self, folder: &Path) -> Result<Vec<(PathBuf, Written)>, StoreError> {
        let read = self.begin_read()?;
        let written = match read.open_table(WRITTEN) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            written => written?,
        };
        let prefix = [folder.as_os_str().as_bytes(), b"/"].concat();
        let mut found = Vec::new();
        for row in written.range::<&[u8]>(prefix.as_slice()..)? {
            let (path, written) = row?;
            if !path.value().starts_with(&prefix) {
                break;
            }
            let written = sealed::unseal("written", path.value(), written.value())?;
            found.push((PathBuf::from(OsStr::from_bytes(path.value())), written));
        }
        Ok(found)
    }

    /// The files of a name that are known as they were written, wherever they lie.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn written_as(&self, name: &str) -> Result<Vec<PathBuf>, StoreError> {
        let read = self.begin_read()?;
        let written = match read.open_table(WRITTEN) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            written => written?,
        };
        let mut found = Vec::new();
        for row in written.range::<&[u8]>(..)? {
            let (path, _) = row?;
            let path = Path::new(OsStr::from_bytes(path.value()));
            if path.file_name().is_some_and(|of| of == name) {
                found.push(path.to_owned());
            }
        }
        Ok(found)
    }

    /// Keeps how files were written; one without is forgotten.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn keep_written(&self, files: &[(PathBuf, Option<Written>)]) -> Result<(), StoreError> {
        if files.is_empty() {
            return Ok(());
        }
        let mut write = self.begin_write()?;
        // A crash costs writing such a file once more.
        write.set_durability(redb::Durability::None)?;
        {
            let mut table = write.open_table(WRITTEN)?;
            for (path, written) in files {
                let key = path.as_os_str().as_bytes();
                match written {
                    Some(written) => {
                        drop(table.insert(key, sealed::seal("written", key, written)?.as_slice())?)
                    }
                    None => drop(table.remove(key)?),
                }
            }
        }
        Ok(write.commit()?)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_change_is_seen_however_it_is_hidden() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mask");
        fs::write(&path, "as it was").unwrap();
        let written = Written::now(&path).unwrap();
        assert_eq!(written.since(&path, true).unwrap(), Since::Same);
        // Other rights, or written again as it was: the content is.
        fs::write(&path, "as it was").unwrap();
        let Since::Touched(written) = written.since(&path, false).unwrap() else {
            panic!("touched expected")
        };
        assert_eq!(written.since(&path, false).unwrap(), Since::Same);
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(&path, "as it is.").unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        assert_eq!(written.since(&path, false).unwrap(), Since::Edited);
        fs::write(&path, "").unwrap();
        assert_eq!(written.since(&path, false).unwrap(), Since::Edited);
        fs::remove_file(&path).unwrap();
        assert_eq!(written.since(&path, false).unwrap(), Since::Gone);
    }

    #[test]
    fn what_is_kept_is_found_and_forgotten() {
        let out = tempfile::tempdir().unwrap();
        let store = Store::open(out.path()).unwrap();
        let path = out.path().join("mask");
        fs::write(&path, "x").unwrap();
        let paths = [path.clone(), out.path().join("other")];
        assert_eq!(store.written(&paths).unwrap(), [None, None]);
        let written = Written::now(&path).unwrap();
        store.keep_written(&[(path.clone(), Some(written.clone()))]).unwrap();
        assert_eq!(store.written(&paths).unwrap(), [Some(written), None]);
        assert_eq!(store.written_as("mask").unwrap(), std::slice::from_ref(&path));
        assert!(store.written_as("other").unwrap().is_empty());
        store.keep_written(&[(path, None)]).unwrap();
        assert_eq!(store.written(&paths).unwrap(), [None, None]);
    }
}
