//! The records of a database as they lie.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use redb::{ReadableDatabase as _, ReadableTable as _, TableDefinition};

/// Keys and values of a table.
pub(super) type Rows = BTreeSet<(Vec<u8>, Vec<u8>)>;

/// All records of a database, read from a copy as they lie.
pub(super) fn records(path: &Path) -> BTreeMap<String, Rows> {
    let copy = tempfile::tempdir().unwrap();
    let copied = copy.path().join("copy");
    fs::copy(path, &copied).unwrap();
    let database = redb::Database::open(&copied).unwrap();
    let read = database.begin_read().unwrap();
    let mut all = BTreeMap::new();
    for name in ["outcomes", "pins", "made", "parts", "records", "lists", "spacings", "settled"] {
        let table: TableDefinition<&[u8; 32], &[u8]> = TableDefinition::new(name);
        let Ok(table) = read.open_table(table) else { continue };
        let rows = table.iter().unwrap().map(|row| row.unwrap());
        all.insert(
            name.to_owned(),
            rows.map(|(key, row)| (key.value().to_vec(), row.value().to_vec())).collect(),
        );
    }
    for name in ["files", "history", "written", "verdicts"] {
        let table: TableDefinition<&[u8], &[u8]> = TableDefinition::new(name);
        let Ok(table) = read.open_table(table) else { continue };
        let rows = table.iter().unwrap().map(|row| row.unwrap());
        all.insert(
            name.to_owned(),
            rows.map(|(key, row)| (key.value().to_vec(), row.value().to_vec())).collect(),
        );
    }
    let members: TableDefinition<&[u8], ()> = TableDefinition::new("members");
    let rows = read.open_table(members).unwrap();
    let rows = rows.iter().unwrap().map(|row| (row.unwrap().0.value().to_vec(), Vec::new()));
    all.insert("members".to_owned(), rows.collect());
    let kept: TableDefinition<&str, &[u8]> = TableDefinition::new("kept files");
    let rows = read.open_table(kept).unwrap();
    let rows = rows.iter().unwrap().map(|row| row.unwrap());
    let rows = rows.map(|(key, row)| (key.value().as_bytes().to_vec(), row.value().to_vec()));
    all.insert("kept files".to_owned(), rows.collect());
    all
}
