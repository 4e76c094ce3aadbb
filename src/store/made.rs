//! How each output came to be: what entered it, and what entered the one before it.

use redb::{ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};
use tomoflow_connectors::{Digest, points};

use super::sealed::{ByBytes, ByDigest};
use super::{Store, StoreError, sealed};

/// An action's key → what entered it.
pub(super) const MADE: ByDigest = TableDefinition::new("made");
/// Stage ‖ 0 ‖ case → the keys that stood there, the newest last.
pub(super) const HISTORY: ByBytes = TableDefinition::new("history");
/// Descriptions by digest: chains of operators with their settings, datasets.
pub(super) const PARTS: ByDigest = TableDefinition::new("parts");

/// So many earlier outputs of a stage and case are remembered.
const REMEMBERED: usize = 16;

/// What entered one action; each digest names a description in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// The stage that asked for it, as it was called then.
    pub stage: String,
    /// The case; none for a training.
    pub case: Option<String>,
    /// The operators that took part and their settings.
    pub recipe: Digest,
    /// The list of the scan's instances.
    pub scan: Option<Digest>,
    /// The record of the outlines.
    pub labels: Option<Digest>,
    /// The mask that it starts from; of several, a digest of theirs.
    pub mask: Option<Digest>,
    /// The model's content.
    pub model: Option<Digest>,
    /// A training's cases.
    pub dataset: Option<Digest>,
    /// When it was done: seconds since 1970.
    pub at: i64,
    /// How long it took, in milliseconds.
    pub milliseconds: u64,
}

/// What stood for a stage and a case, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// The action's key.
    pub key: Digest,
    /// Seconds since 1970.
    pub since: i64,
}

/// A stage, a case (none for a training), and what stood there, the newest last.
pub type History = (String, Option<String>, Vec<Past>);

/// What entered actions, and the descriptions that it names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Described {
    /// What was made, each by its action's key.
    pub made: Vec<(Digest, Made)>,
    /// The parts that these refer to, each by its digest.
    pub parts: Vec<(Digest, Vec<u8>)>,
}

impl Described {
    /// Writes all of it in a transaction of the caller's.
    pub(super) fn write(&self, write: &redb::WriteTransaction) -> Result<(), StoreError> {
        let mut table = write.open_table(MADE)?;
        for (key, made) in &self.made {
            table.insert(&key.0, sealed::seal("made", &key.0, made)?.as_slice())?;
        }
        let mut table = write.open_table(PARTS)?;
        for (digest, bytes) in &self.parts {
            table.insert(&digest.0, bytes.as_slice())?;
        }
        Ok(())
    }
}

impl Store {
    /// What entered an action.
    ///
    /// # Errors
    /// When the database refuses or a record is damaged.
    pub fn made(&self, key: Digest) -> Result<Option<Made>, StoreError> {
        let read = self.begin_read()?;
        match read.open_table(MADE) {
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            made => made?.get(&key.0)?.map(|bytes| sealed::unseal("made", &key.0, bytes.value())).transpose(),
        }
    }

    /// What entered every action that is known, by key.
    ///
    /// # Errors
    /// When the database refuses or a record is damaged.
    pub fn all_made(&self) -> Result<Vec<(Digest, Made)>, StoreError> {
        let read = self.begin_read()?;
        let made = match read.open_table(MADE) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            made => made?,
        };
        made.iter()?
            .map(|row| {
                let (key, made) = row?;
                Ok((Digest(*key.value()), sealed::unseal("made", key.value(), made.value())?))
            })
            .collect()
    }

    /// A description that [`Made`] names.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn part(&self, digest: Digest) -> Result<Option<Vec<u8>>, StoreError> {
        let read = self.begin_read()?;
        match read.open_table(PARTS) {
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            parts => Ok(parts?.get(&digest.0)?.map(|bytes| bytes.value().to_vec())),
        }
    }

    /// What stood for a stage and a case, the newest last.
    ///
    /// # Errors
    /// When the database refuses or a record is damaged.
    pub fn history(&self, stage: &str, case: Option<&str>) -> Result<Vec<Past>, StoreError> {
        let read = self.begin_read()?;
        let history = match read.open_table(HISTORY) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            history => history?,
        };
        let place = place(stage, case);
        let bytes = history.get(place.as_slice())?;
        Ok(bytes
            .map(|bytes| sealed::unseal("history", &place, bytes.value()))
            .transpose()?
            .unwrap_or_default())
    }

    /// All histories: stage, case, and what stood there.
    ///
    /// # Errors
    /// When the database refuses or a record is damaged.
    pub fn histories(&self) -> Result<Vec<History>, StoreError> {
        let read = self.begin_read()?;
        let history = match read.open_table(HISTORY) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            history => history?,
        };
        let mut found = Vec::new();
        for row in history.iter()? {
            let (place, past) = row?;
            let past = sealed::unseal("history", place.value(), past.value())?;
            let place = String::from_utf8_lossy(place.value()).into_owned();
            let (stage, case) = place.split_once('\0').unwrap_or((&place, ""));
            let case = (!case.is_empty()).then(|| case.to_owned());
            found.push((stage.to_owned(), case, past));
        }
        Ok(found)
    }

    /// What stands now for stages and cases; what stands there already is left as it is.
    ///
    /// # Errors
    /// When the database refuses or a record is damaged.
    pub fn keep_history<'a>(
        &self,
        stands: impl Iterator<Item = (&'a str, Option<&'a str>, Digest)>,
        since: i64,
    ) -> Result<(), StoreError> {
        let mut new = Vec::new();
        {
            let read = self.begin_read()?;
            let known = match read.open_table(HISTORY) {
                Err(redb::TableError::TableDoesNotExist(_)) => None,
                known => Some(known?),
            };
            for (stage, case, key) in stands {
                let place = place(stage, case);
                let known = known.as_ref().map(|known| known.get(place.as_slice())).transpose()?.flatten();
                let known = known.map(|bytes| sealed::unseal("history", &place, bytes.value()));
                let mut past: Vec<Past> = known.transpose()?.unwrap_or_default();
                if past.last().is_some_and(|last| last.key == key) {
                    continue;
                }
                past.push(Past { key, since });
                past.drain(..past.len().saturating_sub(REMEMBERED));
                new.push((place, past));
            }
        }
        if new.is_empty() {
            return Ok(());
        }
        let write = self.begin_write()?;
        {
            let mut history = write.open_table(HISTORY)?;
            for (place, past) in new {
                history.insert(place.as_slice(), sealed::seal("history", &place, &past)?.as_slice())?;
            }
        }
        write.commit()?;
        points::pass(points::HISTORY_WRITTEN).map_err(StoreError::io(&self.root))
    }
}

fn place(stage: &str, case: Option<&str>) -> Vec<u8> {
    [stage.as_bytes(), &[0], case.unwrap_or_default().as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_grows_with_what_changes() {
        let out = tempfile::tempdir().unwrap();
        let store = Store::open(out.path()).unwrap();
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        for (key, since) in [(a, 1), (a, 2), (b, 3), (a, 4)] {
            store.keep_history([("net", Some("1.2"), key)].into_iter(), since).unwrap();
        }
        let past: Vec<_> =
            store.history("net", Some("1.2")).unwrap().iter().map(|past| (past.key, past.since)).collect();
        assert_eq!(past, [(a, 1), (b, 3), (a, 4)]);
        assert!(store.history("net", None).unwrap().is_empty());
        assert_eq!(store.histories().unwrap()[0].1.as_deref(), Some("1.2"));
    }
}
