//! Records that carry a check: a mark behind their bytes, so that a bit that turned is seen by whoever reads them.
//!
//! Earlier versions wrote records without one, and read those that have one: they read no further than the record.

use redb::TableDefinition;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tomoflow_connectors::Digest;

use super::StoreError;

/// A table whose keys are digests.
pub(super) type ByDigest = TableDefinition<'static, &'static [u8; 32], &'static [u8]>;
/// A table whose keys are bytes.
pub(super) type ByBytes = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// Bytes of a mark.
const MARK: usize = 16;

/// A record of a table, with its mark.
pub(super) fn seal<T: Serialize>(table: &str, key: &[u8], record: &T) -> Result<Vec<u8>, StoreError> {
    Ok(mark(table, key, postcard::to_stdvec(record)?))
}

/// Bytes of a record, with their mark.
pub(super) fn mark(table: &str, key: &[u8], mut bytes: Vec<u8>) -> Vec<u8> {
    let mark = mark_of(table, key, &bytes);
    bytes.extend(mark);
    bytes
}

/// The bytes of a record, and whether a mark vouches for them. Bytes without one are of an earlier version, or damaged:
/// they must then be the record to the last byte.
pub(super) fn unmark<'a>(table: &str, key: &[u8], bytes: &'a [u8]) -> (&'a [u8], bool) {
    match bytes.split_last_chunk::<MARK>() {
        Some((record, mark)) if *mark == mark_of(table, key, record) => (record, true),
        _ => (bytes, false),
    }
}

/// A record, if it is whole.
pub(super) fn unseal<T: DeserializeOwned>(table: &str, key: &[u8], bytes: &[u8]) -> Result<T, StoreError> {
    let (record, _) = unmark(table, key, bytes);
    match postcard::take_from_bytes(record)? {
        (record, []) => Ok(record),
        _ => Err(StoreError::Damaged(postcard::Error::DeserializeBadEncoding)),
    }
}

fn mark_of(table: &str, key: &[u8], record: &[u8]) -> [u8; MARK] {
    let digest = Digest::of_parts([table.as_bytes(), key, record]);
    let mut mark = [0; MARK];
    mark.copy_from_slice(&digest.0[..MARK]);
    // Never a part of a text, so that no text whose length is damaged takes it in.
    mark[0] = 0xff;
    mark
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turned_bit_is_seen_wherever_it_is() {
        let record = (7u64, vec![("tumour".to_owned(), 0.875f64)], "träge".to_owned());
        let sealed = seal("outcomes", b"key", &record).unwrap();
        let read = |bytes: &[u8]| unseal::<(u64, Vec<(String, f64)>, String)>("outcomes", b"key", bytes);
        assert_eq!(read(&sealed).unwrap(), record);
        for bit in 0..sealed.len() * 8 {
            let mut bytes = sealed.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&bytes).is_err(), "bit {bit}");
        }
        // A record of another key, one of another table, and one as an earlier version wrote it.
        assert!(unseal::<(u64, Vec<(String, f64)>, String)>("outcomes", b"kez", &sealed).is_err());
        assert!(unseal::<(u64, Vec<(String, f64)>, String)>("made", b"key", &sealed).is_err());
        assert_eq!(read(&sealed[..sealed.len() - MARK]).unwrap(), record);
        // An earlier version reads on no further than the record.
        assert_eq!(postcard::from_bytes::<(u64, Vec<(String, f64)>, String)>(&sealed).unwrap(), record);
    }
}
