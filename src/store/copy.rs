//! A copy of a database that another process writes to.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::time::Duration;

/// The head of the database, in which both places for a commit lie.
const HEAD: usize = 4096;

/// Copies a database that another process may write to into what `make` makes; `None` where no copy is what one commit
/// left. Pages of a commit stay as they are until the next one, and its place in the head is written last.
pub(super) fn between_commits<T: Read + Write + Seek>(
    state: &Path,
    make: impl Fn() -> io::Result<T>,
) -> io::Result<Option<T>> {
    let head = |from: &mut dyn Read| -> io::Result<[u8; HEAD]> {
        let mut head = [0; HEAD];
        from.read_exact(&mut head)?;
        Ok(head)
    };
    for _ in 0..50 {
        let before = head(&mut File::open(state)?)?;
        let mut copy = make()?;
        io::copy(&mut File::open(state)?, &mut copy)?;
        copy.rewind()?;
        let first = head(&mut copy)?;
        if before == first && before == head(&mut File::open(state)?)? {
            copy.rewind()?;
            return Ok(Some(copy));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use redb::{ReadableDatabase, TableDefinition};

    use super::super::{Store, StoreError};

    /// Whatever moment it comes in, it sees one commit, whole, and a later one than before.
    #[test]
    fn a_glance_beside_commits_sees_one_of_them() {
        const ROWS: TableDefinition<u64, &[u8]> = TableDefinition::new("rows of a test");
        let out = tempfile::tempdir().unwrap();
        let store = Store::open(out.path()).unwrap();
        let commit = |number: u64| {
            let write = store.database.begin_write().unwrap();
            // Every row is that of the commit: rows of two would show.
            for row in 0..200 {
                let bytes = vec![number as u8; 300 + (number as usize * 7 + row as usize) % 500];
                write.open_table(ROWS).unwrap().insert(row, &bytes[..]).unwrap();
            }
            write.commit().unwrap();
        };
        commit(1);
        let done = std::sync::atomic::AtomicBool::new(false);
        let ordering = std::sync::atomic::Ordering::Relaxed;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in (1..).take_while(|_| !done.load(ordering)) {
                    commit(number % 200 + 1);
                    std::thread::sleep(std::time::Duration::from_millis(number % 7 * 5));
                }
            });
            for _ in 0..3 {
                let copy = Store::glance(out.path()).unwrap();
                let read = copy.database.begin_read().unwrap();
                let rows = read.open_table(ROWS).unwrap();
                let first: Vec<u8> = (0..200).map(|row| rows.get(row).unwrap().unwrap().value()[0]).collect();
                assert!(first.iter().all(|number| *number == first[0]), "{first:?}");
            }
            done.store(true, ordering);
        });
        assert!(matches!(Store::scratch(out.path()), Err(StoreError::Held { .. })));
        drop(store);
        Store::glance(out.path()).unwrap();
    }
}
