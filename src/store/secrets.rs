//! The key of the pseudonyms: a file of the store, with a copy in the database, so that neither is lost or changed
//! without a word.

use std::fs;
use std::io;

use redb::TableDefinition;

use super::{Store, StoreError, sealed, write_synced};

/// Small files of the store, by their name, as they were written.
const KEPT: TableDefinition<&str, &[u8]> = TableDefinition::new("kept files");

/// The file's name.
const KEY: &str = "identity.key";

/// What became of a small file of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeptFile {
    /// It is what was written, or nobody knows what was.
    Same,
    /// It is not there.
    Gone,
    /// It holds something else.
    Other,
}

impl Store {
    /// The secret that pseudonyms are made with: 32 random bytes, made once for each store.
    ///
    /// # Errors
    /// When it cannot be read or written, or is not the one that this store's rows were made with.
    pub fn identity_key(&self) -> Result<[u8; 32], StoreError> {
        let path = self.root.join(KEY);
        let key = |bytes: &[u8]| {
            <[u8; 32]>::try_from(bytes).map_err(|_| {
                let message = format!("32 bytes expected, {} found", bytes.len());
                StoreError::io(&path)(io::Error::new(io::ErrorKind::InvalidData, message))
            })
        };
        let file = match fs::read(&path) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(StoreError::io(&path)(error)),
        };
        match (file, self.kept_file(KEY)?) {
            (Some(file), Some(kept)) if file == kept => key(&file),
            (Some(file), None) => {
                let key = key(&file)?;
                self.keep_file(KEY, &file)?;
                Ok(key)
            }
            (file, Some(_)) => Err(StoreError::Key { path, gone: file.is_none() }),
            (None, None) => {
                let key: [u8; 32] = rand::random();
                if !self.scratch {
                    self.put_file(KEY, &key)?;
                }
                Ok(key)
            }
        }
    }

    /// Writes a small file of the store, and keeps what it holds.
    pub(super) fn put_file(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let (staged, path) = (self.root.join("staging").join(name), self.root.join(name));
        write_synced(&staged, bytes).map_err(StoreError::io(&staged))?;
        fs::rename(&staged, &path).map_err(StoreError::io(&path))?;
        self.keep_file(name, bytes)
    }

    /// Keeps what a small file of the store holds, where that is news.
    pub(super) fn keep_file(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        if self.scratch || self.kept_file(name)?.is_some_and(|kept| kept == bytes) {
            return Ok(());
        }
        let write = self.begin_write()?;
        let sealed = sealed::mark("kept files", name.as_bytes(), bytes.to_vec());
        write.open_table(KEPT)?.insert(name, sealed.as_slice())?;
        Ok(write.commit()?)
    }

    /// What a small file of the store held when it was written.
    pub(super) fn kept_file(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let read = self.begin_read()?;
        let kept = match read.open_table(KEPT) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            kept => kept?,
        };
        let Some(bytes) = kept.get(name)? else { return Ok(None) };
        match sealed::unmark("kept files", name.as_bytes(), bytes.value()) {
            (bytes, true) => Ok(Some(bytes.to_vec())),
            _ => Err(StoreError::Damaged(postcard::Error::DeserializeBadEncoding)),
        }
    }

    /// What became of the small files that the store knows, by name.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn kept_files(&self) -> Result<Vec<(&'static str, KeptFile)>, StoreError> {
        let mut found = Vec::new();
        for name in [KEY, super::owner::OWNER] {
            let kept = self.kept_file(name)?;
            let state = match (kept, fs::read(self.root.join(name))) {
                (Some(kept), Ok(now)) if kept != now => KeptFile::Other,
                (None, Ok(now)) if name == KEY && now.len() != 32 => KeptFile::Other,
                (_, Ok(_)) => KeptFile::Same,
                (kept, Err(error)) if error.kind() == io::ErrorKind::NotFound => {
                    // A key that nobody knows and that is not there: nothing was shown under one.
                    if kept.is_some() || name == KEY { KeptFile::Gone } else { KeptFile::Same }
                }
                (_, Err(error)) => return Err(StoreError::io(&self.root.join(name))(error)),
            };
            found.push((name, state));
        }
        Ok(found)
    }

    /// Writes a small file as the store knows it; whether it knows it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn restore_file(&self, name: &str) -> Result<bool, StoreError> {
        let kept = self.kept_file(name)?;
        kept.as_ref().map(|bytes| self.put_file(name, bytes)).transpose()?;
        Ok(kept.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_lost_or_changed_is_an_error_and_comes_back() {
        let out = tempfile::tempdir().unwrap();
        let path = out.path().join("store").join(KEY);
        let store = Store::open(out.path()).unwrap();
        let first = store.identity_key().unwrap();
        assert_eq!(fs::read(&path).unwrap(), first);
        let state =
            |store: &Store| store.kept_files().unwrap().into_iter().find(|file| file.0 == KEY).unwrap().1;
        assert_eq!(state(&store), KeptFile::Same);
        let mut other = first;
        other[9] ^= 4;
        fs::write(&path, other).unwrap();
        assert_eq!(state(&store), KeptFile::Other);
        let error = store.identity_key().unwrap_err().to_string();
        assert!(error.contains("is not the one") && error.contains("verify --mend"), "{error}");
        fs::remove_file(&path).unwrap();
        assert_eq!(state(&store), KeptFile::Gone);
        assert!(store.identity_key().unwrap_err().to_string().contains("is not there"));
        assert!(store.restore_file(KEY).unwrap());
        assert_eq!(store.identity_key().unwrap(), first);
        // A store of an earlier version knows its file alone, and keeps it from then on.
        drop(store);
        fs::remove_file(out.path().join("store/state.redb")).unwrap();
        assert_eq!(Store::open(out.path()).unwrap().identity_key().unwrap(), first);
        fs::remove_file(&path).unwrap();
        assert!(Store::open(out.path()).unwrap().identity_key().is_err());
    }
}
