//! What an interrupted training needs to go on as if nothing had happened.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tch::Tensor;
use tomoflow_connectors::{Digest, private};

use super::cast::{Cast, no_model};
use super::optimizer::Optimizer;
use super::rule::Rule;
use super::sums::Sums;
use crate::networks::objectives::Pupil;
use crate::networks::start::{Loaded, Start};
use crate::networks::tensors::file;
use crate::networks::tensors::weights::Weights;
use crate::networks::{Device, Figure, NetworkError};

const FILE: &str = "training.safetensors";
const PARAMETERS: &str = "parameters";
const BUFFERS: &str = "buffers";
/// The model's parameters and buffers in the best epoch.
const BEST: [&str; 2] = ["best.parameters", "best.buffers"];
/// The gradient of the batches since the last step; only where there are such.
const PENDING: &str = "pending";

/// The place of a training between two batches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::networks) struct Progress {
    /// The digest of everything that the result depends on.
    pub digest: Digest,
    /// The number of epochs done.
    pub epoch: u64,
    /// The number of batches of this epoch done.
    pub batch: u64,
    /// The number of steps done.
    pub step: u64,
    /// The sums over this epoch.
    pub sums: Sums,
    /// All figures so far.
    #[serde(with = "exact")]
    pub figures: Vec<Figure>,
    /// Steps in which nothing moved a learner, by its name; those that always moved are not here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rested: BTreeMap<String, u64>,
}

impl Progress {
    /// The greatest validation figure of this name and the first epoch that had it, since which none was better; none
    /// before there was one.
    pub fn best(&self, name: &str) -> Option<(f64, u64)> {
        let named = self.figures.iter().filter(|figure| figure.split == "validation" && figure.name == name);
        named.filter(|figure| figure.value.is_finite()).fold(None, |best: Option<(f64, u64)>, figure| {
            match best {
                Some((value, _)) if value >= figure.value => best,
                _ => Some((figure.value, figure.epoch)),
            }
        })
    }
}

/// Figures with the bits of their values: a decimal number that is read back may differ in the last.
mod exact {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Figure;

    pub fn serialize<S: Serializer>(figures: &[Figure], serializer: S) -> Result<S::Ok, S::Error> {
        let with_bits: Vec<_> = figures.iter().map(|figure| (figure, figure.value.to_bits())).collect();
        with_bits.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Figure>, D::Error> {
        let with_bits = Vec::<(Figure, u64)>::deserialize(deserializer)?;
        Ok(with_bits
            .into_iter()
            .map(|(figure, bits)| Figure { value: f64::from_bits(bits), ..figure })
            .collect())
    }
}

/// The file's header: the progress as text, since that text and all tensors have the digest.
#[derive(Serialize, Deserialize)]
struct Header {
    progress: String,
    content: Digest,
}

/// A learner between two batches.
pub(in crate::networks) struct Trainee {
    pub name: String,
    pub weights: Weights,
    pub optimizer: Optimizer,
    /// The gradient of the batches since the last step, where several make one.
    pub pending: Option<Tensor>,
}

/// A training between two batches.
pub(in crate::networks) struct State {
    pub progress: Progress,
    /// The first is the model.
    pub learners: Vec<Trainee>,
    /// The model's parameters and buffers in the best epoch.
    pub best: (Tensor, Tensor),
}

/// Returns what of given weights a training began with, as figures before its first step.
fn begun(loaded: &Loaded) -> impl Iterator<Item = Figure> + use<> {
    loaded.figures().into_iter().map(|(name, value)| Figure {
        step: 0,
        epoch: 0,
        split: "train".to_owned(),
        name: name.to_owned(),
        value,
    })
}

/// Returns what the names of a learner's tensors begin with: nothing for the first one's, since it was the
/// only one for long.
fn prefix(place: usize, name: &str) -> String {
    if place == 0 { String::new() } else { format!("{name}/") }
}

impl State {
    /// The state before the first step.
    pub fn new(cast: &Cast, start: Option<&Start>) -> Result<Self, NetworkError> {
        let mut learners = Vec::with_capacity(cast.pupils.len());
        for (place, (Pupil { name, layout, .. }, rule)) in (0_u64..).zip(&cast.pupils) {
            // Each begins with numbers of its own.
            let seed = cast.seed.wrapping_add(place);
            let mut weights = Weights::seeded(layout, seed, tch::Kind::Float, cast.device)?;
            if let Some(start) = start.filter(|_| place == 0) {
                start.give(&weights)?;
                weights.freeze(layout, &cast.freeze)?;
            }
            let optimizer = Optimizer::new(&rule.optimizer, weights.flat())?;
            learners.push(Trainee { name: name.clone(), weights, optimizer, pending: None });
        }
        let best = learners.first().ok_or_else(no_model)?.weights.snapshot()?;
        let progress = Progress {
            digest: cast.digest,
            epoch: 0,
            batch: 0,
            step: 0,
            sums: Sums::of(cast.sums.iter().cloned()),
            figures: cast.loaded.iter().flat_map(begun).collect(),
            rested: BTreeMap::new(),
        };
        Ok(Self { progress, learners, best })
    }

    /// The model.
    pub fn model(&self) -> Result<&Weights, NetworkError> {
        self.learners.first().map(|learner| &learner.weights).ok_or_else(no_model)
    }

    /// Takes the model's weights as they are now for the best.
    pub fn keep(&mut self) -> Result<(), NetworkError> {
        self.best = self.model()?.snapshot()?;
        Ok(())
    }

    fn tensors(&self) -> Vec<(String, &Tensor)> {
        let mut named = vec![(BEST[0].to_owned(), &self.best.0), (BEST[1].to_owned(), &self.best.1)];
        for (place, Trainee { name, weights, optimizer, pending }) in self.learners.iter().enumerate() {
            let flat = [(PARAMETERS, weights.flat()), (BUFFERS, weights.flat_buffers())];
            let pending = pending.iter().map(|gradient| (PENDING, gradient));
            let all = flat.into_iter().chain(optimizer.tensors()).chain(pending);
            named.extend(all.map(|(what, tensor)| (prefix(place, name) + what, tensor)));
        }
        named
    }

    /// Writes the checkpoint: the old one stays until the new one is whole.
    pub fn save(&self, folder: &Path) -> Result<(), NetworkError> {
        let near: Result<Vec<_>, NetworkError> = self
            .tensors()
            .into_iter()
            .map(|(name, tensor)| Ok((name, tensor.f_detach()?.f_to_device(tch::Device::Cpu)?)))
            .collect();
        let near = near?;
        let progress = serde_json::to_string(&self.progress).map_err(|error| NetworkError::File {
            file: FILE.to_owned(),
            message: error.to_string(),
            hint: "report this as a fault of tomoflow".to_owned(),
        })?;
        let named = || near.iter().map(|(name, tensor)| (name.as_str(), tensor));
        let content = content(&progress, named())?;
        let bytes = file::write(&Header { progress, content }, named())?;
        let path = folder.join(FILE);
        let partial = folder.join(format!("{FILE}.partial"));
        let failed = |source| NetworkError::Io { path: partial.clone(), source };
        private::folder(folder).map_err(failed)?;
        let mut out = private::create(&partial).map_err(failed)?;
        out.write_all(&bytes).and_then(|()| out.sync_all()).map_err(failed)?;
        fs::rename(&partial, &path).map_err(|source| NetworkError::Io { path, source })
    }

    /// The checkpoint in the folder, if there is one that fits. One that does not fit is not an error: the
    /// training begins anew, and the log says so.
    pub fn load(folder: &Path, cast: &Cast) -> Option<Self> {
        let path = folder.join(FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => return unfit(&path, &error.to_string()),
        };
        match Self::parse(&bytes, &path, cast) {
            Ok(state) if state.progress.digest == cast.digest => Some(state),
            Ok(_) => unfit(&path, "it belongs to a training with other settings"),
            Err(error) => unfit(&path, &error.to_string()),
        }
    }

    fn parse(bytes: &[u8], path: &Path, cast: &Cast) -> Result<Self, NetworkError> {
        let name = path.display().to_string();
        let (header, named) = file::read::<Header>(bytes, &name)?;
        let refuse = |message: String| unreadable(&name, message);
        let header = header.ok_or_else(|| refuse("`progress` expected, none found".to_owned()))?;
        let found = content(&header.progress, named.iter().map(|(name, tensor)| (name.as_str(), tensor)))?;
        if found != header.content {
            return Err(refuse("its content is not what was written".to_owned()));
        }
        let mut progress: Progress =
            serde_json::from_str(&header.progress).map_err(|error| refuse(error.to_string()))?;
        progress.sums = Sums::of(cast.sums.iter().cloned()).filled(progress.sums);
        let mut tensors = Tensors { file: &name, named, device: cast.device };
        let mut learners = Vec::with_capacity(cast.pupils.len());
        for (place, (pupil, rule)) in cast.pupils.iter().enumerate() {
            learners.push(tensors.learner(&prefix(place, &pupil.name), pupil, rule)?);
        }
        if let (Some(model), Some((pupil, _))) = (learners.first_mut(), cast.pupils.first()) {
            model.weights.freeze(&pupil.layout, &cast.freeze)?;
        }
        let model = &learners.first().ok_or_else(no_model)?.weights;
        let (parameters, buffers) = (model.flat().numel(), model.flat_buffers().numel());
        let best = (tensors.take(BEST[0], Some(parameters))?, tensors.take(BEST[1], Some(buffers))?);
        Ok(Self { progress, learners, best })
    }
}

/// The tensors of a checkpoint that are not taken yet.
struct Tensors<'a> {
    file: &'a str,
    named: BTreeMap<String, Tensor>,
    device: Device,
}

impl Tensors<'_> {
    fn take(&mut self, what: &str, count: Option<usize>) -> Result<Tensor, NetworkError> {
        let missing = || unreadable(self.file, format!("`{what}` expected, none found"));
        let tensor = self.named.remove(what).ok_or_else(missing)?;
        if count.is_some_and(|count| tensor.size() != [count as i64]) {
            let message = format!("`{what}`: {count:?} numbers expected, {:?} found", tensor.size());
            return Err(unreadable(self.file, message));
        }
        Ok(tensor.f_to_device(self.device.0)?)
    }

    fn learner(&mut self, prefix: &str, pupil: &Pupil, rule: &Rule) -> Result<Trainee, NetworkError> {
        let of = |what: &str| format!("{prefix}{what}");
        let (parameters, buffers) = (self.take(&of(PARAMETERS), None)?, self.take(&of(BUFFERS), None)?);
        let weights = Weights::from_flat(&pupil.layout, parameters, buffers)?;
        let count = Some(weights.flat().numel());
        let mut optimizer = Optimizer::new(&rule.optimizer, weights.flat())?;
        for (what, tensor) in optimizer.tensors_mut() {
            *tensor = self.take(&of(what), count)?;
        }
        let waits = self.named.contains_key(&of(PENDING));
        let pending = waits.then(|| self.take(&of(PENDING), count)).transpose()?;
        Ok(Trainee { name: pupil.name.clone(), weights, optimizer, pending })
    }
}

fn unreadable(file: &str, message: String) -> NetworkError {
    let hint = "the training begins anew without it".to_owned();
    NetworkError::File { file: file.to_owned(), message, hint }
}

/// Returns the digest of everything that a checkpoint holds, so that a damaged one is not taken for a state.
fn content<'a>(
    progress: &str,
    tensors: impl Iterator<Item = (&'a str, &'a Tensor)>,
) -> Result<Digest, NetworkError> {
    let mut parts = vec![progress.as_bytes().to_vec()];
    let mut named: Vec<_> = tensors.collect();
    named.sort_by_key(|(name, _)| *name);
    for (name, tensor) in named {
        let numbers = file::floats(tensor)?;
        parts.push(name.as_bytes().to_vec());
        // Each tensor enters by its digest: there is no second copy of all.
        let bytes: Vec<u8> = numbers.iter().flat_map(|value| value.to_le_bytes()).collect();
        parts.push(Digest::of(&bytes).0.to_vec());
    }
    Ok(Digest::of_parts(parts.iter().map(Vec::as_slice)))
}

fn unfit(path: &Path, why: &str) -> Option<State> {
    tracing::warn!(path = %path.display(), why, "checkpoint not used: the training begins anew");
    None
}

/// When the next checkpoint is due.
pub(in crate::networks) struct Saver<'a> {
    folder: &'a Path,
    every: Duration,
    last: Instant,
    cost: Duration,
}

impl<'a> Saver<'a> {
    /// The first is due after `every`.
    pub fn new(folder: &'a Path, every: Duration) -> Self {
        Self { folder, every, last: Instant::now(), cost: Duration::ZERO }
    }

    /// Writes a checkpoint if one is due: as often as asked for, in a twentieth of the time at most; with no
    /// pause asked for, always.
    /// Says how long that took.
    pub fn if_due(&mut self, state: &State) -> Result<Duration, NetworkError> {
        let least = if self.every.is_zero() { Duration::ZERO } else { self.cost.saturating_mul(20) };
        if self.last.elapsed() < self.every.max(least) { Ok(Duration::ZERO) } else { self.now(state) }
    }

    /// Writes one, and says how long that took.
    pub fn now(&mut self, state: &State) -> Result<Duration, NetworkError> {
        let begun = Instant::now();
        state.save(self.folder)?;
        self.cost = begun.elapsed();
        self.last = Instant::now();
        Ok(self.cost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_is_the_first_of_the_greatest_that_are_numbers() {
        let dice = |(epoch, value): (u64, f64)| Figure {
            step: epoch,
            epoch,
            split: "validation".to_owned(),
            name: "dice".to_owned(),
            value,
        };
        let best = |values: &[f64]| {
            let figures = (1..).zip(values.iter().copied()).map(dice).collect();
            let (digest, sums, rested) = (Digest::default(), Sums::default(), BTreeMap::new());
            Progress { digest, epoch: 0, batch: 0, step: 0, sums, figures, rested }.best("dice")
        };
        assert_eq!(best(&[]), None);
        assert_eq!(best(&[f64::NAN, f64::INFINITY]), None);
        assert_eq!(best(&[f64::NAN, 0.2, 0.5, f64::NAN, 0.5, 0.4]), Some((0.5, 3)));
    }
}
