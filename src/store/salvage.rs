//! What is left of a damaged database: records whose own check vouches for them enter a new one. Files are read anew,
//! and actions whose outcome is lost run again.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use redb::{Builder, ReadableDatabase as _};
use serde::Serialize;
use tomoflow_connectors::{Digest, private};

use super::database::{self, Check};
use super::made::{HISTORY, MADE, PARTS};
use super::records::{by_bytes, by_digest};
use super::sealed::{ByBytes, ByDigest};
use super::settled::{SETTLED, SPACINGS};
use super::written::WRITTEN;
use super::{Access, DATABASE, FORMAT, META, StoreError, actions, hold, sealed};

/// Tables whose records are kept, by the name that their checks are made with.
const BY_DIGEST: [(&str, ByDigest); 6] = [
    ("outcomes", actions::OUTCOMES),
    ("pins", actions::PINS),
    ("made", MADE),
    ("spacings", SPACINGS),
    ("settled", SETTLED),
    // Named by their content.
    ("parts", PARTS),
];
const BY_BYTES: [(&str, ByBytes); 2] = [("history", HISTORY), ("written", WRITTEN)];

/// A damaged database may lead in a circle: one that gives nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(10);

/// What came of a damaged database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Salvaged {
    /// What was found wrong with it.
    pub why: String,
    /// The path at which the damaged database lies now.
    pub aside: PathBuf,
    /// Records that were kept, by table.
    pub kept: BTreeMap<String, usize>,
    /// Tables that could not be read to their end.
    pub broken: Vec<String>,
}

/// A record of a table, or the end of one: whether all of it was read.
enum Found {
    Record(&'static str, Vec<u8>, Vec<u8>),
    End(&'static str, bool),
}

/// Holds the database of `out` against its sums and, where it is damaged, puts a new one in its place that holds what
/// is whole. The damaged one stays beside it, under another name.
///
/// # Errors
/// When a run holds the store, or the new database cannot be written.
pub fn salvage(out: &Path) -> Result<Option<Salvaged>, StoreError> {
    let root = out.join("store");
    let path = root.join(DATABASE);
    if !path.is_file() {
        return Ok(None);
    }
    let _alone = hold(&root, Access::Alone)?;
    let why = match database::copy(&path, Check::Always) {
        Ok(_) => return Ok(None),
        Err(StoreError::Corrupt { why, .. }) => why,
        Err(error) => return Err(error),
    };
    let mut salvaged = Salvaged { why, aside: root.join("state.damaged.redb"), ..Salvaged::default() };
    let (send, receive) = mpsc::channel();
    let from = path.clone();
    // A thread that leads in a circle ends with the process.
    std::thread::spawn(move || read_all(&from, &send));
    let staged = root.join("state.salvaged");
    match fs::remove_file(&staged) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(StoreError::io(&staged)(error));
        }
        _ => {}
    }
    private::create(&staged).map_err(StoreError::io(&staged))?;
    {
        let database = Builder::new().create(&staged)?;
        let write = database.begin_write()?;
        write.open_table(META)?.insert("format", FORMAT)?;
        while let Ok(found) = receive.recv_timeout(PATIENCE) {
            match found {
                Found::End(name, true) => _ = salvaged.kept.entry(name.to_owned()).or_default(),
                Found::End(name, false) => salvaged.broken.push(name.to_owned()),
                Found::Record(name, key, bytes) => {
                    *salvaged.kept.entry(name.to_owned()).or_default() += 1;
                    if let Some((_, table)) = BY_DIGEST.iter().find(|(of, _)| *of == name) {
                        let Ok(key) = <&[u8; 32]>::try_from(key.as_slice()) else { continue };
                        write.open_table(*table)?.insert(key, bytes.as_slice())?;
                    } else if let Some((_, table)) = BY_BYTES.iter().find(|(of, _)| *of == name) {
                        write.open_table(*table)?.insert(key.as_slice(), bytes.as_slice())?;
                    }
                }
            }
        }
        write.commit()?;
    }
    let told = |name: &&str| {
        !salvaged.kept.contains_key(*name) && !salvaged.broken.iter().any(|broken| broken == *name)
    };
    let names = BY_DIGEST.iter().map(|(name, _)| *name).chain(BY_BYTES.iter().map(|(name, _)| *name));
    let silent: Vec<String> = names.filter(told).map(str::to_owned).collect();
    salvaged.broken.extend(silent);
    fs::rename(&path, &salvaged.aside).map_err(StoreError::io(&salvaged.aside))?;
    fs::rename(&staged, &path).map_err(StoreError::io(&path))?;
    Ok(Some(salvaged))
}

/// Reads what can be read, as it lies: whether a record is whole its own check says.
fn read_all(path: &Path, send: &Sender<Found>) {
    let copied = database::guarded(path, || {
        let copy = tempfile::tempfile_in(path.parent().unwrap_or(Path::new(".")));
        let mut copy = copy.map_err(StoreError::io(path))?;
        let mut source = fs::File::open(path).map_err(StoreError::io(path))?;
        std::io::copy(&mut source, &mut copy).map_err(StoreError::io(path))?;
        Ok(Builder::new().create_with_backend(redb::backends::FileBackend::new(copy)?)?)
    });
    let Ok(database) = copied else { return };
    let read = |name: &'static str,
                work: &mut dyn FnMut(&redb::ReadTransaction) -> Result<(), StoreError>| {
        let whole = database::guarded(path, || work(&database.begin_read()?));
        drop(send.send(Found::End(name, whole.is_ok())));
    };
    let give = |name: &'static str, key: &[u8], bytes: &[u8]| {
        let whole = match name {
            "parts" => Digest::of(bytes).0 == *key,
            _ => sealed::unmark(name, key, bytes).1,
        };
        if whole {
            drop(send.send(Found::Record(name, key.to_vec(), bytes.to_vec())));
        }
    };
    for (name, table) in BY_DIGEST {
        read(name, &mut |read| by_digest(read, table, |key, bytes| give(name, key, bytes)));
    }
    for (name, table) in BY_BYTES {
        read(name, &mut |read| by_bytes(read, table, |key, bytes| give(name, key, bytes)));
    }
    // Closing writes to the copy, which nobody needs; what it says of its damage is known.
    let _ = panic::catch_unwind(AssertUnwindSafe(|| drop(database)));
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::operators::models::train::Part;
    use crate::store::{Outcome, Pin, Recorded, Store};

    #[test]
    fn what_is_whole_of_a_damaged_database_is_kept() {
        let out = tempfile::tempdir().unwrap();
        let store = Store::open(out.path()).unwrap();
        let artifact = store.artifacts().put(b"mask").unwrap();
        let outcome = Outcome::Ok { artifact, detail: None, figures: Arc::default(), notes: Arc::default() };
        let recorded = Recorded { outcome, seconds: 0.25 };
        let keys: Vec<Digest> = (0..400u32).map(|n| Digest::of(&n.to_le_bytes())).collect();
        let done: Vec<_> = keys.iter().map(|key| (*key, recorded.clone())).collect();
        let pin = Pin { key: keys[0], parts: vec![("a".into(), Some(Part::Train))] };
        store.record(&done, &[(keys[1], pin.clone())]).unwrap();
        let key = store.identity_key().unwrap();
        drop(store);
        assert_eq!(salvage(out.path()).unwrap(), None);
        let path = out.path().join("store").join(DATABASE);
        let mut bytes = fs::read(&path).unwrap();
        // Within the record of one outcome.
        let at = bytes.windows(32).position(|window| window == keys[7].0).unwrap();
        bytes[at + 5] ^= 1;
        fs::write(&path, bytes).unwrap();
        let refused = Store::open(out.path()).err().unwrap().to_string();
        assert!(refused.contains("is damaged") && refused.contains("verify --mend"), "{refused}");
        let salvaged = salvage(out.path()).unwrap().unwrap();
        assert!(salvaged.aside.is_file() && salvaged.kept["pins"] == 1, "{salvaged:?}");
        assert!((1..400).contains(&salvaged.kept["outcomes"]), "{salvaged:?}");
        let store = Store::open(out.path()).unwrap();
        assert_eq!(store.outcomes(&[keys[7]]).unwrap(), [None]);
        let kept = store.outcomes(&keys).unwrap().into_iter().flatten().count();
        assert_eq!(kept, salvaged.kept["outcomes"]);
        assert_eq!(store.identity_key().unwrap(), key);
        assert_eq!(store.pins().unwrap(), [pin]);
    }
}
