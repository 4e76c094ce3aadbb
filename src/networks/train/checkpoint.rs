//! What an interrupted training needs to go on as if nothing had happened.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tch::Tensor;
use tomoflow_connectors::Digest;

use super::optimizer::{Optimizer, OptimizerConfig};
use crate::networks::architectures::unet::Unet;
use crate::networks::tensors::file;
use crate::networks::tensors::weights::Weights;
use crate::networks::{Device, Figure, NetworkError};

const FILE: &str = "training.safetensors";
/// The gradient of the batches since the last step; only where there are such.
const PENDING: &str = "pending";

/// Where a training stands between two batches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::networks) struct Progress {
    /// Of everything that the result depends on.
    pub digest: Digest,
    /// Epochs done.
    pub epoch: u64,
    /// Batches of this epoch done.
    pub batch: u64,
    /// Steps done.
    pub step: u64,
    /// Sums over this epoch.
    pub sums: Sums,
    /// All figures so far.
    #[serde(with = "exact")]
    pub figures: Vec<Figure>,
}

/// What an epoch's figures are made from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::networks) struct Sums {
    /// Of each batch's loss.
    #[serde(with = "bits")]
    pub loss: f64,
    /// Of each batch's attention loss.
    #[serde(default, with = "bits")]
    pub attention: f64,
    /// Of each step's gradient, its norm.
    #[serde(with = "bits")]
    pub gradient_norm: f64,
    /// Steps.
    pub steps: u64,
}

impl Progress {
    /// The best validation Dice and the first epoch that had it; none before there was one.
    pub fn best(&self) -> Option<(f64, u64)> {
        let dice = self.figures.iter().filter(|figure| figure.split == "validation" && figure.name == "dice");
        dice.filter(|figure| figure.value.is_finite()).fold(None, |best: Option<(f64, u64)>, figure| {
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

/// A number by its bits.
mod bits {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        value.to_bits().serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        u64::deserialize(deserializer).map(f64::from_bits)
    }
}

/// The file's header: the progress as text, since that text and all tensors have the digest.
#[derive(Serialize, Deserialize)]
struct Header {
    progress: String,
    content: Digest,
}

/// A training between two batches.
pub(in crate::networks) struct State {
    pub progress: Progress,
    pub weights: Weights,
    pub optimizer: Optimizer,
    /// The parameters and buffers of the best epoch.
    pub best: (Tensor, Tensor),
    /// The gradient of the batches since the last step, where several make one.
    pub pending: Option<Tensor>,
}

impl State {
    /// The state before the first step.
    pub fn new(
        unet: &Unet,
        optimizer: &OptimizerConfig,
        seed: u64,
        digest: Digest,
        device: Device,
    ) -> Result<Self, NetworkError> {
        let weights = Weights::seeded(unet.layout(), seed, tch::Kind::Float, device)?;
        let optimizer = Optimizer::new(optimizer, weights.flat())?;
        let best = weights.snapshot()?;
        let progress =
            Progress { digest, epoch: 0, batch: 0, step: 0, sums: Sums::default(), figures: Vec::new() };
        Ok(Self { progress, weights, optimizer, best, pending: None })
    }

    /// Takes the weights as they are now for the best.
    pub fn keep(&mut self) -> Result<(), NetworkError> {
        self.best = self.weights.snapshot()?;
        Ok(())
    }

    fn tensors(&self) -> Vec<(&'static str, &Tensor)> {
        let mut named = vec![
            ("parameters", self.weights.flat()),
            ("buffers", self.weights.flat_buffers()),
            ("best.parameters", &self.best.0),
            ("best.buffers", &self.best.1),
        ];
        named.extend(self.optimizer.tensors());
        named.extend(self.pending.as_ref().map(|gradient| (PENDING, gradient)));
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
        let named = || near.iter().map(|(name, tensor)| (*name, tensor));
        let content = content(&progress, named())?;
        let bytes = file::write(&Header { progress, content }, named())?;
        let path = folder.join(FILE);
        let partial = folder.join(format!("{FILE}.partial"));
        let failed = |source| NetworkError::Io { path: partial.clone(), source };
        fs::create_dir_all(folder).map_err(failed)?;
        let mut out = fs::File::create(&partial).map_err(failed)?;
        out.write_all(&bytes).and_then(|()| out.sync_all()).map_err(failed)?;
        fs::rename(&partial, &path).map_err(|source| NetworkError::Io { path, source })
    }

    /// The checkpoint in the folder, if there is one that fits. One that does not fit is not an error: the
    /// training begins anew, and the log says so.
    pub fn load(
        folder: &Path,
        unet: &Unet,
        optimizer: &OptimizerConfig,
        digest: Digest,
        device: Device,
    ) -> Option<Self> {
        let path = folder.join(FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => return unfit(&path, &error.to_string()),
        };
        match Self::parse(&bytes, &path, unet, optimizer, device) {
            Ok(state) if state.progress.digest == digest => Some(state),
            Ok(_) => unfit(&path, "it belongs to a training with other settings"),
            Err(error) => unfit(&path, &error.to_string()),
        }
    }

    fn parse(
        bytes: &[u8],
        path: &Path,
        unet: &Unet,
        optimizer: &OptimizerConfig,
        device: Device,
    ) -> Result<Self, NetworkError> {
        let name = path.display().to_string();
        let refuse = |message: String| NetworkError::File {
            file: name.clone(),
            message,
            hint: "the training begins anew without it".to_owned(),
        };
        let (header, mut named) = file::read::<Header>(bytes, &name)?;
        let header = header.ok_or_else(|| refuse("`progress` expected, none found".to_owned()))?;
        let found = content(&header.progress, named.iter().map(|(name, tensor)| (name.as_str(), tensor)))?;
        if found != header.content {
            return Err(refuse("its content is not what was written".to_owned()));
        }
        let progress = serde_json::from_str(&header.progress).map_err(|error| refuse(error.to_string()))?;
        let pending = named.contains_key(PENDING);
        let mut take = |what: &str, count: Option<usize>| -> Result<Tensor, NetworkError> {
            let missing = || refuse(format!("`{what}` expected, none found"));
            let tensor = named.remove(what).ok_or_else(missing)?;
            if count.is_some_and(|count| tensor.size() != [count as i64]) {
                return Err(refuse(format!(
                    "`{what}`: {count:?} numbers expected, {:?} found",
                    tensor.size()
                )));
            }
            Ok(tensor.f_to_device(device.0)?)
        };
        let weights = Weights::from_flat(unet.layout(), take("parameters", None)?, take("buffers", None)?)?;
        let (parameters, buffers) = (weights.flat().numel(), weights.flat_buffers().numel());
        let best = (take("best.parameters", Some(parameters))?, take("best.buffers", Some(buffers))?);
        let mut optimizer = Optimizer::new(optimizer, weights.flat())?;
        for (name, tensor) in optimizer.tensors_mut() {
            *tensor = take(name, Some(parameters))?;
        }
        let pending = if pending { Some(take(PENDING, Some(parameters))?) } else { None };
        Ok(Self { progress, weights, optimizer, best, pending })
    }
}

/// Of everything that a checkpoint holds, so that a damaged one is no state that never was.
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
        // Of each tensor its digest: no second copy of all.
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
            let sums = Sums::default();
            Progress { digest: Digest::default(), epoch: 0, batch: 0, step: 0, sums, figures }.best()
        };
        assert_eq!(best(&[]), None);
        assert_eq!(best(&[f64::NAN, f64::INFINITY]), None);
        assert_eq!(best(&[f64::NAN, 0.2, 0.5, f64::NAN, 0.5, 0.4]), Some((0.5, 3)));
    }

    #[test]
    fn numbers_come_back_bit_for_bit() {
        let values = [0.1 + 0.2, f64::NAN, f64::NEG_INFINITY, f64::MIN_POSITIVE / 3.0, -0.0];
        for value in values {
            let sums = Sums { loss: value, attention: value, gradient_norm: -value, steps: 7 };
            let text = serde_json::to_string(&sums).unwrap();
            let again: Sums = serde_json::from_str(&text).unwrap();
            assert_eq!(again.loss.to_bits(), value.to_bits());
            assert_eq!(again.gradient_norm.to_bits(), (-value).to_bits());
        }
    }
}
