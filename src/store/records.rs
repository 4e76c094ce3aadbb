//! The database's records, each held against the check that it carries and against those that name it.

use redb::ReadTransaction;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tomoflow_connectors::Digest;

use super::made::{HISTORY, MADE, Made, PARTS, Past};
use super::sealed::{ByBytes, ByDigest};
use super::settled::{SETTLED, SPACINGS};
use super::written::{WRITTEN, Written};
use super::{Pin, Pinned, Store, StoreError, actions, database, index, kept, sealed};

/// What the database's records came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Records {
    /// Records that are whole.
    pub whole: usize,
    /// How many of these an earlier version wrote, without a check of their own.
    pub unchecked: usize,
    /// Records that are not what was written: their table, and the beginning of their key.
    pub damaged: Vec<String>,
}

impl Records {
    fn note(&mut self, table: &str, key: &[u8], whole: Option<bool>) {
        match whole {
            Some(checked) => {
                self.whole += 1;
                self.unchecked += usize::from(!checked);
            }
            None => {
                let key: String = key.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
                self.damaged.push(format!("{table} {key}"));
            }
        }
    }
}

impl Store {
    /// Reads every record.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn check_records(&self) -> Result<Records, StoreError> {
        let path = self.root.join(super::DATABASE);
        database::guarded(&path, || {
            let read = self.begin_read()?;
            let mut records = Records::default();
            by_digest(&read, actions::OUTCOMES, |key, bytes| {
                let (record, checked) = sealed::unmark("outcomes", key, bytes);
                records.note("outcomes", key, kept::decode(record).is_ok().then_some(checked));
            })?;
            marked::<Pin>(&read, "pins", actions::PINS, &mut records)?;
            marked::<Made>(&read, "made", MADE, &mut records)?;
            marked::<([f64; 3], u64)>(&read, "spacings", SPACINGS, &mut records)?;
            marked::<Pinned>(&read, "settled", SETTLED, &mut records)?;
            by_bytes(&read, HISTORY, |key, bytes| {
                records.note("history", key, checked::<Vec<Past>>("history", key, bytes));
            })?;
            by_bytes(&read, WRITTEN, |key, bytes| {
                records.note("written", key, checked::<Written>("written", key, bytes));
            })?;
            by_digest(&read, PARTS, |key, bytes| {
                records.note("parts", key, (Digest::of(bytes).0 == *key).then_some(true));
            })?;
            index::check(&read, &mut |table, key, whole| records.note(table, key, whole))?;
            self.kept_files()?;
            Ok(records)
        })
    }
}

impl Store {
    /// Forgets records that are not what was written, so that what they told of is made again. Damage of the index
    /// forgets all of it: files are read anew.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn forget_damaged(&self) -> Result<(), StoreError> {
        let (digests, keys, index) = {
            let read = self.begin_read()?;
            let (mut digests, mut keys, mut index) = (Vec::new(), Vec::new(), false);
            by_digest(&read, actions::OUTCOMES, |key, bytes| {
                if kept::decode(sealed::unmark("outcomes", key, bytes).0).is_err() {
                    digests.push((actions::OUTCOMES, *key));
                }
            })?;
            damaged::<Pin>(&read, "pins", actions::PINS, &mut digests)?;
            damaged::<Made>(&read, "made", MADE, &mut digests)?;
            damaged::<([f64; 3], u64)>(&read, "spacings", SPACINGS, &mut digests)?;
            damaged::<Pinned>(&read, "settled", SETTLED, &mut digests)?;
            by_digest(&read, PARTS, |key, bytes| {
                if Digest::of(bytes).0 != *key {
                    digests.push((PARTS, *key));
                }
            })?;
            by_bytes(&read, HISTORY, |key, bytes| {
                if checked::<Vec<Past>>("history", key, bytes).is_none() {
                    keys.push((HISTORY, key.to_vec()));
                }
            })?;
            by_bytes(&read, WRITTEN, |key, bytes| {
                if checked::<Written>("written", key, bytes).is_none() {
                    keys.push((WRITTEN, key.to_vec()));
                }
            })?;
            index::check(&read, &mut |_, _, whole| index |= whole.is_none())?;
            (digests, keys, index)
        };
        let write = self.begin_write()?;
        for (table, key) in &digests {
            write.open_table(*table)?.remove(key)?;
        }
        for (table, key) in &keys {
            write.open_table(*table)?.remove(key.as_slice())?;
        }
        if index {
            index::forget(&write)?;
        }
        Ok(write.commit()?)
    }
}

fn damaged<T: DeserializeOwned>(
    read: &ReadTransaction,
    name: &'static str,
    table: ByDigest,
    found: &mut Vec<(ByDigest, [u8; 32])>,
) -> Result<(), StoreError> {
    by_digest(read, table, |key, bytes| {
        if checked::<T>(name, key, bytes).is_none() {
            found.push((table, *key));
        }
    })
}

fn marked<T: DeserializeOwned>(
    read: &ReadTransaction,
    name: &'static str,
    table: ByDigest,
    records: &mut Records,
) -> Result<(), StoreError> {
    by_digest(read, table, |key, bytes| records.note(name, key, checked::<T>(name, key, bytes)))
}

/// Whether a record reads, and if so whether its own check vouches for it.
fn checked<T: DeserializeOwned>(table: &str, key: &[u8], bytes: &[u8]) -> Option<bool> {
    let record = sealed::unseal::<T>(table, key, bytes);
    record.is_ok().then(|| sealed::unmark(table, key, bytes).1)
}

/// Shows every record of a table.
pub(super) fn by_digest(
    read: &ReadTransaction,
    table: ByDigest,
    mut show: impl FnMut(&[u8; 32], &[u8]),
) -> Result<(), StoreError> {
    use redb::ReadableTable as _;
    let table = match read.open_table(table) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(()),
        table => table?,
    };
    for row in table.iter()? {
        let (key, bytes) = row?;
        show(key.value(), bytes.value());
    }
    Ok(())
}

/// The same for keys that are bytes.
pub(super) fn by_bytes(
    read: &ReadTransaction,
    table: ByBytes,
    mut show: impl FnMut(&[u8], &[u8]),
) -> Result<(), StoreError> {
    use redb::ReadableTable as _;
    let table = match read.open_table(table) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(()),
        table => table?,
    };
    for row in table.iter()? {
        let (key, bytes) = row?;
        show(key.value(), bytes.value());
    }
    Ok(())
}
