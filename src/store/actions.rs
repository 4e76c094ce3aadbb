//! The action cache: what each action's key led to; and which model a recipe keeps.

use redb::{ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};
use tomoflow_connectors::{Digest, points};

use super::outcome::{Outcome, Recorded};
use super::sealed::ByDigest;
use super::{Described, Store, StoreError, kept, sealed};
use crate::operators::models::train::Part;

pub(super) const OUTCOMES: ByDigest = TableDefinition::new("outcomes");
pub(super) const PINS: ByDigest = TableDefinition::new("pins");

/// A failure that the cache keeps, and what it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The action's key.
    pub key: Digest,
    /// The stage that asked for it.
    pub stage: String,
    /// The case, if it is about one.
    pub case: Option<String>,
    /// The name of the failure.
    pub code: String,
}

/// The model that a training recipe keeps although its dataset has changed since.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pin {
    /// The training's action key.
    pub key: Digest,
    /// Which case stood in which part of the split; one that could not be
    /// prepared stood in none, and was seen all the same.
    #[serde(with = "words")]
    pub parts: Vec<(String, Option<Part>)>,
}

/// The parts of a pin as their words; one that stood in none has an empty word.
mod words {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::operators::models::train::Part;

    pub(super) fn serialize<S: Serializer>(
        parts: &[(String, Option<Part>)],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(parts.iter().map(|(case, part)| (case, part.map_or("", Part::name))))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<(String, Option<Part>)>, D::Error> {
        let parts = Vec::<(String, String)>::deserialize(deserializer)?;
        let part = |(case, name): (String, String)| match name.as_str() {
            "" => Ok((case, None)),
            name => match Part::of_name(name) {
                Some(part) => Ok((case, Some(part))),
                None => Err(D::Error::custom(format!("a part of a split expected, `{name}` found"))),
            },
        };
        parts.into_iter().map(part).collect()
    }
}

impl Pin {
    /// Which case stood in which part, those that stood in one.
    pub fn stands(&self) -> impl Iterator<Item = (String, Part)> + use<> {
        self.parts.clone().into_iter().filter_map(|(case, part)| Some((case, part?)))
    }
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
                let recorded = match decode(key, bytes.value()) {
                    Ok(recorded) => recorded,
                    Err(error) => {
                        // Nobody can use it; without it the action is wanted again.
                        tracing::warn!("the outcome of action {} is forgotten: {error}", key.short());
                        return Ok(None);
                    }
                };
                let whole = match &recorded.outcome {
                    Outcome::Ok { artifact, detail, .. } => {
                        self.artifacts.has(*artifact)
                            && detail.is_none_or(|detail| self.artifacts.has(detail))
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
        self.conclude(done, pins, &Described::default())
    }

    /// Records what actions led to, which models are to be kept, and what entered the actions, in one step:
    /// an outcome can always be explained.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn conclude(
        &self,
        done: &[(Digest, Recorded)],
        pins: &[(Digest, Pin)],
        described: &Described,
    ) -> Result<(), StoreError> {
        if done.is_empty() && pins.is_empty() {
            return Ok(());
        }
        let write = self.begin_write()?;
        {
            let mut outcomes = write.open_table(OUTCOMES)?;
            for (key, recorded) in done {
                let record = sealed::mark("outcomes", &key.0, kept::encode(recorded)?);
                outcomes.insert(&key.0, record.as_slice())?;
            }
            let mut table = write.open_table(PINS)?;
            for (recipe, pin) in pins {
                table.insert(&recipe.0, sealed::seal("pins", &recipe.0, pin)?.as_slice())?;
            }
        }
        described.write(&write)?;
        write.commit()?;
        points::pass(points::OUTCOME_RECORDED).map_err(StoreError::io(&self.root))
    }

    /// Failures that the cache keeps.
    ///
    /// # Errors
    /// When the database refuses or a record is damaged.
    pub fn failures(&self) -> Result<Vec<Failure>, StoreError> {
        let mut failures = Vec::new();
        for (key, recorded) in self.all_outcomes()? {
            let Outcome::Failed { code, .. } = recorded.outcome else { continue };
            let made = self.made(key)?;
            let stage = made.as_ref().map_or_else(String::new, |made| made.stage.clone());
            failures.push(Failure { key, stage, case: made.and_then(|made| made.case), code });
        }
        Ok(failures)
    }

    /// Every outcome of the cache, by key.
    ///
    /// # Errors
    /// When the database refuses or a record is damaged.
    pub fn all_outcomes(&self) -> Result<Vec<(Digest, Recorded)>, StoreError> {
        let read = self.begin_read()?;
        let outcomes = match read.open_table(OUTCOMES) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            outcomes => outcomes?,
        };
        outcomes
            .iter()?
            .map(|row| {
                let (key, recorded) = row?;
                let key = Digest(*key.value());
                Ok((key, decode(&key, recorded.value())?))
            })
            .collect()
    }

    /// Forgets what actions led to: they run again when they are wanted.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn forget(&self, keys: &[Digest]) -> Result<(), StoreError> {
        let write = self.begin_write()?;
        {
            let mut outcomes = write.open_table(OUTCOMES)?;
            for key in keys {
                outcomes.remove(&key.0)?;
            }
        }
        Ok(write.commit()?)
    }

    /// Every pin.
    ///
    /// # Errors
    /// When the database refuses or a record is damaged.
    pub fn pins(&self) -> Result<Vec<Pin>, StoreError> {
        let read = self.begin_read()?;
        let pins = match read.open_table(PINS) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            pins => pins?,
        };
        let pin = |(key, pin): (redb::AccessGuard<'_, &[u8; 32]>, redb::AccessGuard<'_, &[u8]>)| {
            sealed::unseal("pins", key.value(), pin.value())
        };
        pins.iter()?.map(|row| pin(row?)).collect()
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
        let pin: Pin = sealed::unseal("pins", &recipe.0, bytes.value())?;
        let known = self.outcomes(&[pin.key])?.pop().flatten();
        Ok(matches!(known, Some(Recorded { outcome: Outcome::Ok { .. }, .. })).then_some(pin))
    }
}

/// An outcome as it lies in the cache.
fn decode(key: &Digest, bytes: &[u8]) -> Result<Recorded, StoreError> {
    Ok(kept::decode(sealed::unmark("outcomes", &key.0, bytes).0)?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tomoflow_connectors::Real;

    use super::*;
    use crate::store::FigureRow;

    #[test]
    fn a_pin_is_written_with_the_words_of_its_parts() {
        let words = ["train", "validation", "test", ""];
        let before: (Digest, Vec<(String, String)>) = (
            Digest::of(b"key"),
            words.iter().map(|part| (format!("in {part}"), (*part).to_owned())).collect(),
        );
        let bytes = postcard::to_stdvec(&before).unwrap();
        let pin: Pin = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(postcard::to_stdvec(&pin).unwrap(), bytes);
        let stands: Vec<(String, Part)> = pin.stands().collect();
        assert_eq!(stands, Part::ALL.map(|part| (format!("in {}", part.name()), part)));
        let unknown = postcard::to_stdvec(&(Digest::of(b"key"), vec![("a", "hold-out")])).unwrap();
        assert!(postcard::from_bytes::<Pin>(&unknown).is_err());
    }

    #[test]
    fn an_outcome_without_its_artifact_is_forgotten() {
        let out = tempfile::tempdir().unwrap();
        let store = Store::open(out.path()).unwrap();
        let artifact = store.artifacts().put(b"mask").unwrap();
        let key = Digest::of(b"key");
        let figure = FigureRow {
            label: "tumour".into(),
            metric: "dice".into(),
            value: Some(Real::new(0.875)),
            unit: "1".into(),
            state: crate::metrics::State::OK,
        };
        let figures = Arc::new([figure.clone(), FigureRow { value: None, ..figure }]);
        let recorded = Recorded {
            outcome: Outcome::Ok { artifact, detail: None, figures, notes: [].into() },
            seconds: 0.5,
        };
        store.record(&[(key, recorded.clone())], &[]).unwrap();
        assert_eq!(store.outcomes(&[key]).unwrap(), [Some(recorded)]);
        std::fs::remove_file(store.artifacts().path(artifact)).unwrap();
        assert_eq!(store.outcomes(&[key]).unwrap(), [None]);
    }

    #[test]
    fn a_pin_holds_while_its_training_is_known() {
        let out = tempfile::tempdir().unwrap();
        let store = Store::open(out.path()).unwrap();
        let (recipe, key) = (Digest::of(b"recipe"), Digest::of(b"key"));
        let pin = Pin { key, parts: vec![("a".into(), Some(Part::Train))] };
        store.record(&[], &[(recipe, pin.clone())]).unwrap();
        assert_eq!(store.pin(recipe).unwrap(), None);
        let artifact = store.artifacts().put(b"weights").unwrap();
        let outcome = Outcome::Ok { artifact, detail: None, figures: [].into(), notes: [].into() };
        store.record(&[(key, Recorded { outcome, seconds: 1.0 })], &[]).unwrap();
        assert_eq!(store.pin(recipe).unwrap(), Some(pin));
    }
}
