//! Norms by choice: over the batch, over groups of channels, or none.

use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::mode::Mode;
use crate::networks::NetworkError;
use crate::networks::tensors::weights::{Buffer, Init, Layout, Parameter, Weights};

const EPSILON: f64 = 1e-5;
/// Groups of channels, where there are as many channels.
const GROUPS: i64 = 8;

/// The numbers over which features are brought to one scale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormKind {
    /// The batch.
    #[default]
    Batch,
    /// Groups of channels of one sample: eight, or as many as divide the channels.
    Group,
    /// No numbers: there is no norm.
    None,
}

/// A norm.
pub(in crate::networks) struct Norm {
    scale: Parameter,
    shift: Parameter,
    over: Over,
}

enum Over {
    /// The batch, with running statistics.
    Batch {
        mean: Buffer,
        variance: Buffer,
    },
    /// The batch, always by its own statistics: for a network that never infers.
    ThisBatch,
    Groups(i64),
}

impl Norm {
    /// Makes a norm; none where nothing is to be brought to one scale.
    pub fn new(layout: &mut Layout, name: &str, channels: i64, kind: NormKind) -> Option<Self> {
        let over = match kind {
            NormKind::None => return None,
            NormKind::Batch => Over::Batch {
                mean: layout.buffer(format!("{name}.mean"), &[channels], Init::Constant(0.0)),
                variance: layout.buffer(format!("{name}.variance"), &[channels], Init::Constant(1.0)),
            },
            NormKind::Group => Over::Groups((1..=GROUPS).rev().find(|n| channels % n == 0).unwrap_or(1)),
        };
        Some(Self::over(layout, name, channels, over))
    }

    /// Makes a norm for a network that is only trained: it keeps no statistics.
    pub fn of_this_batch(layout: &mut Layout, name: &str, channels: i64) -> Self {
        Self::over(layout, name, channels, Over::ThisBatch)
    }

    fn over(layout: &mut Layout, name: &str, channels: i64, over: Over) -> Self {
        let mut constant = |part: &str, value| {
            layout.parameter(format!("{name}.{part}"), &[channels], Init::Constant(value))
        };
        let (scale, shift) = (constant("weight", 1.0), constant("bias", 0.0));
        Self { scale, shift, over }
    }

    pub fn forward(&self, weights: &Weights, x: &Tensor, mode: Mode) -> Result<Tensor, NetworkError> {
        let (scale, shift) = (weights.whole(self.scale), weights.whole(self.shift));
        // The variance of one number a channel is not defined: running statistics would turn to NaN.
        let numbers: i64 = x.size().iter().enumerate().filter(|(i, _)| *i != 1).map(|(_, n)| n).product();
        let none = None::<&Tensor>;
        Ok(match &self.over {
            Over::Groups(groups) => x.f_group_norm(*groups, Some(scale), Some(shift), EPSILON, true)?,
            Over::ThisBatch => {
                x.f_batch_norm(Some(scale), Some(shift), none, none, true, 0.0, EPSILON, true)?
            }
            Over::Batch { mean, variance } => {
                let (training, momentum) = match mode {
                    Mode::Train { momentum, .. } => (numbers > 1 && !weights.is_frozen(*mean), momentum),
                    Mode::Infer | Mode::Folded => (false, 0.0),
                };
                let (mean, variance) = (Some(weights.buffer(*mean)), Some(weights.buffer(*variance)));
                x.f_batch_norm(Some(scale), Some(shift), mean, variance, training, momentum, EPSILON, true)?
            }
        })
    }
}
