//! The action cache: what each action's key led to; and which model a recipe keeps.

use redb::TableDefinition;
use serde::{Deserialize, Serialize};
use tomoflow_connectors::{Digest, Reject};

use super::{Store, StoreError};

const OUTCOMES: TableDefinition<&[u8; 32], &[u8]> = TableDefinition::new("outcomes");
const PINS: TableDefinition<&[u8; 32], &[u8]> = TableDefinition::new("pins");

/// What an action led to. A failure is data.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// It left an artifact.
    Ok {
        /// The artifact.
        artifact: Digest,
        /// A second one, about how it came to be (a training's figures).
        detail: Option<Digest>,
    },
    /// It gave nothing, and will not until its input or its code changes.
    Failed {
        /// The name of the failure.
        code: String,
        /// What was expected and found.
        message: String,
        /// A remedy.
        hint: String,
        /// Whether it will be so the next time too: a full disk or a file that could not be read says
        /// nothing about the action, and is not kept in the cache.
        lasting: bool,
    },
}

/// Failures that may be gone at the next try.
const TRANSIENT: &[&str] = &[
    "CANCELLED",
    "CHANGED",
    "DAMAGED_ARTIFACT",
    "DEVICE",
    "FILE_VANISHED",
    "IO",
    "OUT_OF_MEMORY",
    "OVER_BUDGET",
    "PANIC",
    "STORE",
    "UNREADABLE",
];

impl Outcome {
    /// A failure of this name.
    pub fn failed(reject: Reject) -> Self {
        let lasting = !TRANSIENT.contains(&reject.code.as_str());
        Self::Failed { code: reject.code, message: reject.message, hint: reject.hint, lasting }
    }

    /// Whether the cache may keep it.
    pub fn lasts(&self) -> bool {
        !matches!(self, Self::Failed { lasting: false, .. })
    }
}

/// An outcome as the cache keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// What came of it.
    pub outcome: Outcome,
    /// How long it took.
    pub seconds: f64,
}

/// The model that a training recipe keeps although its dataset has changed since.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pin {
    /// The training's action key.
    pub key: Digest,
    /// Which case stood in which part of the split (`train`, `validation`, `test`).
    pub parts: Vec<(String, String)>,
}

impl Store {
    /// What an action led to before, if its artifacts are still there.
    ///
    /// # Errors
    /// When the database refuses or a record is damaged.
    pub fn outcomes(&self, keys: &[Digest]) -> Result<Vec<Option<Recorded>>, StoreError> {
        let read = self.begin_read()?;
        let outcomes = match read.open_table(OUTCOMES) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(vec![None; keys.len()]),
            outcomes => outcomes?,
        };
        keys.iter()
            .map(|key| {
                let Some(bytes) = outcomes.get(&key.0)? else { return Ok(None) };
                let recorded: Recorded = postcard::from_bytes(bytes.value())?;
                let whole = match &recorded.outcome {
                    Outcome::Ok { artifact, detail } => {
                        self.has(*artifact) && detail.is_none_or(|detail| self.has(detail))
                    }
                    Outcome::Failed { .. } => true,
                };
                Ok(whole.then_some(recorded))
            })
            .collect()
    }

    /// Records what actions led to, and which models are to be kept, in one step.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn record(&self, done: &[(Digest, Recorded)], pins: &[(Digest, Pin)]) -> Result<(), StoreError> {
        if done.is_empty() && pins.is_empty() {
            return Ok(());
        }
        let write = self.database.begin_write()?;
        {
            let mut outcomes = write.open_table(OUTCOMES)?;
            for (key, recorded) in done {
                outcomes.insert(&key.0, postcard::to_stdvec(recorded)?.as_slice())?;
            }
            let mut table = write.open_table(PINS)?;
            for (recipe, pin) in pins {
                table.insert(&recipe.0, postcard::to_stdvec(pin)?.as_slice())?;
            }
        }
        write.commit()?;
        Ok(())
    }

    /// The model that a recipe keeps, if its training is still in the cache.
    ///
    /// # Errors
    /// When the database refuses or a record is damaged.
    pub fn pin(&self, recipe: Digest) -> Result<Option<Pin>, StoreError> {
        let read = self.begin_read()?;
        let pins = match read.open_table(PINS) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            pins => pins?,
        };
        let Some(bytes) = pins.get(&recipe.0)? else { return Ok(None) };
        let pin: Pin = postcard::from_bytes(bytes.value())?;
        let known = self.outcomes(&[pin.key])?.pop().flatten();
        Ok(matches!(known, Some(Recorded { outcome: Outcome::Ok { .. }, .. })).then_some(pin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_without_its_artifact_is_forgotten() {
        let out = tempfile::tempdir().unwrap();
        let store = Store::open(out.path()).unwrap();
        let artifact = store.put(b"mask").unwrap();
        let key = Digest::of(b"key");
        let recorded = Recorded { outcome: Outcome::Ok { artifact, detail: None }, seconds: 0.5 };
        store.record(&[(key, recorded.clone())], &[]).unwrap();
        assert_eq!(store.outcomes(&[key]).unwrap(), [Some(recorded)]);
        std::fs::remove_file(store.artifact_path(artifact)).unwrap();
        assert_eq!(store.outcomes(&[key]).unwrap(), [None]);
    }

    #[test]
    fn a_pin_holds_while_its_training_is_known() {
        let out = tempfile::tempdir().unwrap();
        let store = Store::open(out.path()).unwrap();
        let (recipe, key) = (Digest::of(b"recipe"), Digest::of(b"key"));
        let pin = Pin { key, parts: vec![("a".into(), "train".into())] };
        store.record(&[], &[(recipe, pin.clone())]).unwrap();
        assert_eq!(store.pin(recipe).unwrap(), None);
        let artifact = store.put(b"weights").unwrap();
        store
            .record(&[(key, Recorded { outcome: Outcome::Ok { artifact, detail: None }, seconds: 1.0 })], &[])
            .unwrap();
        assert_eq!(store.pin(recipe).unwrap(), Some(pin));
    }
}
