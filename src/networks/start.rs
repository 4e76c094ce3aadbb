//! Weights that a training begins with: another model's, or those of a file, as far as names and shapes are the same.

mod names;

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::io::Read;

use tch::Tensor;
use tomoflow_connectors::Digest;

use super::NetworkError;
use super::tensors::file::{self, Imported};
use super::tensors::weights::{Declared, Layout, Weights, begins};
pub use names::Names;

/// The most tensors that a line names.
const NAMED: usize = 8;

/// The names that a network has for the tensors of a file, of which no number is read.
///
/// # Errors
/// [`NetworkError::File`] for what is no safetensors file.
pub fn named_in(bytes: impl Read, what: &str, names: &Names) -> Result<Vec<String>, NetworkError> {
    Ok(file::names(bytes, what)?.iter().map(|name| names.own(name)).collect())
}

/// Weights to begin with, by the names that this network has for them.
pub struct Start {
    /// The source of the weights, in messages: a stage, or a file.
    what: String,
    digest: Digest,
    tensors: BTreeMap<String, Tensor>,
    /// Tensors that had another number of bits, by their type.
    rounded: BTreeMap<String, usize>,
    /// Names of what is no weight: counters of batches, say.
    passed: Vec<String>,
}

/// What of some weights a network took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// The source of the weights: a stage, or a file.
    pub what: String,
    /// The names of tensors that were taken.
    pub loaded: Vec<String>,
    /// Numbers in them, and in all of the network.
    pub numbers: [i64; 2],
    /// The names of the network's tensors that there is none for: they begin as without `start`.
    pub missing: Vec<String>,
    /// Tensors of another shape than the network's, which begin as without `start`: name, expected, found.
    pub mismatched: Vec<(String, Vec<i64>, Vec<i64>)>,
    /// The names of tensors that the network has no place for.
    pub unused: Vec<String>,
    /// Tensors that were brought to 32 bits, by the type that they had.
    pub rounded: BTreeMap<String, usize>,
    /// The names of what is no weight: whole numbers, such as counters of batches.
    pub passed: Vec<String>,
    /// The number of tensors that stay as they are.
    pub frozen: usize,
}

impl Start {
    /// The tensors of a safetensors file.
    ///
    /// # Errors
    /// [`NetworkError::File`] for bytes that are no such file, for numbers that are not finite, and for names that come
    /// to the same, or of which none is meant.
    pub fn read(bytes: &[u8], what: &str, names: &Names) -> Result<Self, NetworkError> {
        let Imported { tensors: found, rounded, passed } = file::import(bytes, what)?;
        let refuse = |message: String, hint: &str| NetworkError::File {
            file: what.to_owned(),
            message,
            hint: hint.to_owned(),
        };
        if let Some(prefix) = names.unmet(found.keys().chain(&passed)) {
            let message = format!("a tensor whose name begins with `{prefix}` expected, none found");
            return Err(refuse(message, "each key of `names` is a prefix of the file's tensor names"));
        }
        let mut tensors = BTreeMap::new();
        for (name, tensor) in found {
            if !tensor.f_isfinite()?.f_all()?.f_double_value(&[])?.eq(&1.0) {
                let message = format!("numbers in 32 bits expected, `{name}` holds some that are not finite");
                return Err(refuse(message, "look at the training or conversion that made the weights"));
            }
            let own = names.own(&name);
            if tensors.insert(own.clone(), tensor).is_some() {
                let message = format!("one tensor for each name expected, two come to `{own}`");
                return Err(refuse(message, "see `names`"));
            }
        }
        let digest = Digest::of_parts([&Digest::of(bytes).0[..], names.said().as_bytes()]);
        Ok(Self { what: what.to_owned(), digest, tensors, rounded, passed })
    }

    /// Returns the digest of the weights' content and of how their names are read.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Returns what a network takes of the weights.
    ///
    /// # Errors
    /// [`NetworkError::File`] where that is nothing.
    pub(in crate::networks) fn compare(&self, layout: &Layout) -> Result<Loaded, NetworkError> {
        let mut loaded = Loaded {
            what: self.what.clone(),
            rounded: self.rounded.clone(),
            passed: self.passed.clone(),
            ..Loaded::default()
        };
        for Declared { name, shape, .. } in layout.declared() {
            let count: i64 = shape.iter().product();
            loaded.numbers[1] += count;
            match self.tensors.get(name).map(Tensor::size) {
                None => loaded.missing.push(name.clone()),
                Some(found) if found == *shape => {
                    loaded.numbers[0] += count;
                    loaded.loaded.push(name.clone());
                }
                Some(found) => loaded.mismatched.push((name.clone(), shape.clone(), found)),
            }
        }
        let own: std::collections::BTreeSet<&String> = layout.declared().map(|tensor| &tensor.name).collect();
        loaded.unused = self.tensors.keys().filter(|name| !own.contains(name)).cloned().collect();
        if loaded.loaded.is_empty() {
            let message = format!(
                "a tensor of a name and shape of the network's expected, none of {} found: the network has {}, the weights \
                 {}",
                self.tensors.len(),
                some(loaded.missing.iter().chain(loaded.mismatched.iter().map(|(name, ..)| name))),
                some(self.tensors.keys()),
            );
            let hint = "the weights are of another architecture, or have other names: see `names` of `start`"
                .to_owned();
            return Err(NetworkError::File { file: self.what.clone(), message, hint });
        }
        Ok(loaded)
    }

    /// Writes into a network's weights what it takes.
    pub(in crate::networks) fn give(&self, weights: &Weights) -> Result<(), NetworkError> {
        for (name, own) in weights.named() {
            let Some(tensor) = self.tensors.get(name).filter(|tensor| tensor.size() == own.size()) else {
                continue;
            };
            tch::no_grad(|| own.shallow_clone().f_copy_(&tensor.f_to_kind(own.kind())?))?;
        }
        Ok(())
    }
}

impl Loaded {
    /// The names of all tensors of the network.
    fn names(&self) -> impl Iterator<Item = &String> {
        self.loaded.iter().chain(&self.missing).chain(self.mismatched.iter().map(|(name, ..)| name))
    }

    /// Returns the same weights, where tensors whose names begin so stay as they are.
    ///
    /// # Errors
    /// [`NetworkError::Config`] for a beginning that no name has, for tensors that were not loaded, and where all are
    /// meant.
    pub(in crate::networks) fn frozen(mut self, prefixes: &[String]) -> Result<Self, NetworkError> {
        let refuse = |message: String| Err(NetworkError::Config { field: "freeze".to_owned(), message });
        if let Some(prefix) =
            prefixes.iter().find(|prefix| !self.names().any(|name| name.starts_with(*prefix)))
        {
            return refuse(format!(
                "a tensor whose name begins with `{prefix}` expected, none found among {}",
                some(self.names())
            ));
        }
        let unloaded: Vec<&String> = self.names().filter(|name| begins(name, prefixes)).collect();
        let count = unloaded.len();
        let unloaded: Vec<&String> =
            unloaded.into_iter().filter(|name| !self.loaded.contains(name)).collect();
        if !unloaded.is_empty() {
            return refuse(format!(
                "weights of {} expected for the tensors that `freeze` names, none for {}",
                self.what,
                some(unloaded.into_iter())
            ));
        }
        if count == self.names().count() {
            return refuse("tensors to learn expected, all stay as they are".to_owned());
        }
        self.frozen = count;
        Ok(self)
    }

    /// Whether each tensor of the network was taken, and each of the weights, as it was.
    pub fn is_whole(&self) -> bool {
        let Self { missing, mismatched, unused, rounded, .. } = self;
        missing.is_empty() && mismatched.is_empty() && unused.is_empty() && rounded.is_empty()
    }

    /// Counts, as figures of a training.
    pub(in crate::networks) fn figures(&self) -> [(&'static str, f64); 5] {
        let count = |names: usize| names as f64;
        [
            ("start.loaded", count(self.loaded.len())),
            ("start.missing", count(self.missing.len())),
            ("start.mismatched", count(self.mismatched.len())),
            ("start.unused", count(self.unused.len())),
            ("start.frozen", count(self.frozen)),
        ]
    }
}

impl fmt::Display for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, loaded, numbers, missing, mismatched, unused, rounded, passed, frozen } = self;
        let all = loaded.len() + missing.len() + mismatched.len();
        let [taken, numbers] = numbers;
        write!(f, "{} of {all} tensors ({taken} of {numbers} numbers) are those of {what}", loaded.len())?;
        if *frozen > 0 {
            write!(f, "; {frozen} stay as they are")?;
        }
        if !missing.is_empty() {
            write!(f, "; {} missing, as without `start`: {}", missing.len(), some(missing.iter()))?;
        }
        if !mismatched.is_empty() {
            let shapes = mismatched
                .iter()
                .map(|(name, expected, found)| format!("{name} ({expected:?} expected, {found:?} found)"));
            let shapes: Vec<String> = shapes.collect();
            write!(f, "; {} of another shape, as without `start`: {}", shapes.len(), some(shapes.iter()))?;
        }
        if !unused.is_empty() {
            write!(f, "; {} unused: {}", unused.len(), some(unused.iter()))?;
        }
        for (kind, count) in rounded {
            write!(f, "; {count} of type {kind}, in 32 bits now")?;
        }
        if !passed.is_empty() {
            write!(f, "; {} passed over, as they hold no floats: {}", passed.len(), some(passed.iter()))?;
        }
        Ok(())
    }
}

/// The first of some names, and how many more there are.
fn some<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let names: Vec<&String> = names.collect();
    let mut text = names.iter().take(NAMED).map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
    if names.is_empty() {
        text.push_str("none");
    }
    if names.len() > NAMED {
        let _ = write!(text, " and {} more", names.len() - NAMED);
    }
    text
}
