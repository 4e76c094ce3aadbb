//! What rules over the archive were settled on: it stays, whatever the archive holds later.

use redb::TableDefinition;
use serde::{Deserialize, Serialize};
use tomoflow_connectors::Digest;

use super::sealed::ByDigest;
use super::{Store, StoreError, sealed};
use crate::operators::cases::rule::Settled;

/// A rule's name (`keys::rule`) → a spacing and how many scans it followed from.
pub(super) const SPACINGS: ByDigest = TableDefinition::new("spacings");
/// The same for everything else that rules are settled on, which came later.
pub(super) const SETTLED: ByDigest = TableDefinition::new("settled");

/// What a rule was settled on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pinned {
    /// A spacing, a grid, a mean.
    pub settled: Settled,
    /// How many scans it followed from.
    pub scans: u64,
}

impl Store {
    /// What a rule was settled on.
    ///
    /// # Errors
    /// When the database refuses or a record is damaged.
    pub fn settled(&self, rule: Digest) -> Result<Option<Pinned>, StoreError> {
        let read = self.begin_read()?;
        let record = |table: ByDigest| -> Result<Option<Vec<u8>>, StoreError> {
            match read.open_table(table) {
                Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
                table => Ok(table?.get(&rule.0)?.map(|bytes| bytes.value().to_vec())),
            }
        };
        if let Some(bytes) = record(SETTLED)? {
            return Ok(Some(sealed::unseal("settled", &rule.0, &bytes)?));
        }
        let Some(bytes) = record(SPACINGS)? else { return Ok(None) };
        let (spacing_mm, scans) = sealed::unseal("spacings", &rule.0, &bytes)?;
        Ok(Some(Pinned { settled: Settled::SpacingMm(spacing_mm), scans }))
    }

    /// Rules are settled on these from now on.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn settle(&self, pins: &[(Digest, Pinned)]) -> Result<(), StoreError> {
        let write = self.begin_write()?;
        {
            let (mut spacings, mut others) = (write.open_table(SPACINGS)?, write.open_table(SETTLED)?);
            for (rule, pinned) in pins {
                match pinned.settled {
                    Settled::SpacingMm(spacing_mm) => {
                        let record = sealed::seal("spacings", &rule.0, &(spacing_mm, pinned.scans))?;
                        spacings.insert(&rule.0, record.as_slice())?;
                    }
                    Settled::Grid(_) | Settled::Intensities { .. } => {
                        others.insert(&rule.0, sealed::seal("settled", &rule.0, pinned)?.as_slice())?;
                    }
                }
            }
        }
        Ok(write.commit()?)
    }
}

#[cfg(test)]
mod tests {
    use tomoflow_connectors::Geometry;

    use super::*;
    use crate::operators::cases::declared_grid::DeclaredGrid;

    #[test]
    fn what_is_pinned_outlives_its_store_and_gives_way_to_another() {
        let out = tempfile::tempdir().unwrap();
        let [median, like, other] = [&b"median"[..], b"like", b"other"].map(Digest::of);
        let spacing = |mm| Pinned { settled: Settled::SpacingMm([mm, 0.1 + 0.2, 0.8]), scans: 24 };
        let grid = DeclaredGrid::from(&Geometry::axis_aligned([3, 4, 5], [1.5, 0.7, 0.7]));
        let grid = Pinned { settled: Settled::Grid(grid), scans: 1 };
        let store = Store::open(out.path()).unwrap();
        assert_eq!(store.settled(median).unwrap(), None);
        store.settle(&[(median, spacing(1.5)), (like, grid)]).unwrap();
        drop(store);
        let store = Store::open(out.path()).unwrap();
        assert_eq!(store.settled(median).unwrap(), Some(spacing(1.5)));
        assert_eq!(store.settled(like).unwrap(), Some(grid));
        assert_eq!(store.settled(other).unwrap(), None);
        store.settle(&[(median, spacing(2.0))]).unwrap();
        assert_eq!(store.settled(median).unwrap(), Some(spacing(2.0)));
        // Those who only look see it, and change nothing.
        drop(store);
        let copy = Store::scratch(out.path()).unwrap();
        copy.settle(&[(median, spacing(3.0))]).unwrap();
        drop(copy);
        assert_eq!(Store::open(out.path()).unwrap().settled(median).unwrap(), Some(spacing(2.0)));
    }
}
