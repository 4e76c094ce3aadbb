//! Spacings that rules over the archive were settled on: they stay, whatever the archive holds later.

use redb::TableDefinition;
use serde::{Deserialize, Serialize};
use tomoflow_connectors::Digest;

use super::{Store, StoreError};

/// A rule's name (`keys::rule`) → what it was settled on.
const SPACINGS: TableDefinition<&[u8; 32], &[u8]> = TableDefinition::new("spacings");

/// What a rule was settled on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PinnedSpacing {
    /// Along `[D, H, W]`, in mm.
    pub spacing_mm: [f64; 3],
    /// How many scans it followed from.
    pub scans: u64,
}

impl Store {
    /// What a rule was settled on.
    ///
    /// # Errors
    /// When the database refuses or a record is damaged.
    pub fn spacing(&self, rule: Digest) -> Result<Option<PinnedSpacing>, StoreError> {
        let read = self.begin_read()?;
        match read.open_table(SPACINGS) {
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            spacings => {
                spacings?.get(&rule.0)?.map(|bytes| Ok(postcard::from_bytes(bytes.value())?)).transpose()
            }
        }
    }

    /// Rules are settled on these from now on.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn pin_spacings(&self, pins: &[(Digest, PinnedSpacing)]) -> Result<(), StoreError> {
        let write = self.begin_write()?;
        {
            let mut spacings = write.open_table(SPACINGS)?;
            for (rule, pinned) in pins {
                spacings.insert(&rule.0, postcard::to_stdvec(pinned)?.as_slice())?;
            }
        }
        Ok(write.commit()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_spacing_outlives_its_store_and_gives_way_to_another() {
        let out = tempfile::tempdir().unwrap();
        let (median, other) = (Digest::of(b"median"), Digest::of(b"other"));
        let pinned = |mm| PinnedSpacing { spacing_mm: [mm, 0.1 + 0.2, 0.8], scans: 24 };
        let store = Store::open(out.path()).unwrap();
        assert_eq!(store.spacing(median).unwrap(), None);
        store.pin_spacings(&[(median, pinned(1.5))]).unwrap();
        drop(store);
        let store = Store::open(out.path()).unwrap();
        assert_eq!(store.spacing(median).unwrap(), Some(pinned(1.5)));
        assert_eq!(store.spacing(other).unwrap(), None);
        store.pin_spacings(&[(median, pinned(2.0))]).unwrap();
        assert_eq!(store.spacing(median).unwrap(), Some(pinned(2.0)));
        // Those who only look see it, and change nothing.
        drop(store);
        let copy = Store::scratch(out.path()).unwrap();
        copy.pin_spacings(&[(median, pinned(3.0))]).unwrap();
        drop(copy);
        assert_eq!(Store::open(out.path()).unwrap().spacing(median).unwrap(), Some(pinned(2.0)));
    }
}
