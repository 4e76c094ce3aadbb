//! What an interrupted training needs to go on as if nothing had happened.

use std::fs;
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tch::Tensor;
use tomoflow_connectors::Digest;

use super::adam::Adam;
use super::unet::Unet;
use super::weights::Weights;
use super::{Device, Figure, NetworkError, file};

const FILE: &str = "training.safetensors";
const TENSORS: [&str; 6] =
    ["parameters", "buffers", "adam.mean", "adam.square", "best.parameters", "best.buffers"];

/// Where a training stands between two epochs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// Of everything that the result depends on.
    pub digest: Digest,
    /// Epochs done.
    pub epoch: u64,
    /// Steps done.
    pub step: u64,
    /// All figures so far.
    #[serde(with = "exact")]
    pub figures: Vec<Figure>,
}

impl Progress {
    /// The best validation Dice and the first epoch that had it; none before there was one.
    pub fn best(&self) -> Option<(f64, u64)> {
        let dice = self.figures.iter().filter(|figure| figure.split == "validation" && figure.name == "dice");
        dice.fold(None, |best: Option<(f64, u64)>, figure| match best {
            Some((value, _)) if value >= figure.value => best,
            _ => Some((figure.value, figure.epoch)),
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

/// A training between two epochs.
pub(super) struct State {
    pub progress: Progress,
    pub weights: Weights,
    pub adam: Adam,
    /// The parameters and buffers to return.
    pub best: (Tensor, Tensor),
}

impl State {
    /// The state before the first step.
    pub fn new(unet: &Unet, seed: u64, digest: Digest, device: Device) -> Result<Self, NetworkError> {
        let weights = Weights::seeded(unet.layout(), seed, tch::Kind::Float, device)?;
        let adam = Adam::new(weights.flat())?;
        let best = weights.snapshot()?;
        let progress = Progress { digest, epoch: 0, step: 0, figures: Vec::new() };
        Ok(Self { progress, weights, adam, best })
    }

    /// Takes the weights as they are now for the best.
    pub fn keep(&mut self) -> Result<(), NetworkError> {
        self.best = self.weights.snapshot()?;
        Ok(())
    }

    /// Writes the checkpoint: the old one stays until the new one is whole.
    pub fn save(&self, folder: &Path) -> Result<(), NetworkError> {
        let tensors = [
            self.weights.flat(),
            self.weights.flat_buffers(),
            &self.adam.mean,
            &self.adam.square,
            &self.best.0,
            &self.best.1,
        ];
        let bytes = file::write(&self.progress, TENSORS.into_iter().zip(tensors))?;
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
    pub fn load(folder: &Path, unet: &Unet, digest: Digest, device: Device) -> Option<Self> {
        let path = folder.join(FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => return unfit(&path, &error.to_string()),
        };
        match Self::parse(&bytes, &path, unet, device) {
            Ok(state) if state.progress.digest == digest => Some(state),
            Ok(_) => unfit(&path, "it belongs to a training with other settings"),
            Err(error) => unfit(&path, &error.to_string()),
        }
    }

    fn parse(bytes: &[u8], path: &Path, unet: &Unet, device: Device) -> Result<Self, NetworkError> {
        let name = path.display().to_string();
        let (progress, mut named) = file::read::<Progress>(bytes, &name)?;
        let missing = |what: &str| NetworkError::File {
            file: name.clone(),
            message: format!("`{what}` expected, none found"),
            hint: "the training begins anew without it".to_owned(),
        };
        let progress = progress.ok_or_else(|| missing("progress"))?;
        let mut take = |what: &str| -> Result<Tensor, NetworkError> {
            Ok(named.remove(what).ok_or_else(|| missing(what))?.f_to_device(device.0)?)
        };
        let [parameters, buffers, mean, square, best, best_buffers] = TENSORS.map(&mut take);
        let weights = Weights::from_flat(unet.layout(), parameters?, buffers?)?;
        let adam = Adam { mean: mean?, square: square? };
        let best = (best?, best_buffers?);
        for (what, like, tensor) in [
            ("adam.mean", weights.flat(), &adam.mean),
            ("adam.square", weights.flat(), &adam.square),
            ("best.parameters", weights.flat(), &best.0),
            ("best.buffers", weights.flat_buffers(), &best.1),
        ] {
            if like.size() != tensor.size() {
                return Err(NetworkError::Shape {
                    what: what.to_owned(),
                    expected: format!("{:?}", like.size()),
                    found: format!("{:?}", tensor.size()),
                });
            }
        }
        Ok(Self { progress, weights, adam, best })
    }
}

fn unfit(path: &Path, why: &str) -> Option<State> {
    tracing::warn!(path = %path.display(), why, "checkpoint not used: the training begins anew");
    None
}
