//! How a network is trained, and for what: all that a training's result depends on, beside its samples.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::optimizer::OptimizerConfig;
use super::rule::Rule;
use super::schedule::Schedule;
use crate::networks::objectives::strategy::Strategy;
use crate::networks::{Activation, InputView, LossConfig, NetworkSettings, Origin, Precision};

/// How a network is trained; all of it is part of a training's key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainSettings {
    /// The architecture.
    pub network: NetworkSettings,
    /// The loss that is minimised.
    pub loss: LossConfig,
    /// The weight of the attention maps' own loss, where they are supervised.
    pub attention_weight: f64,
    /// The number of passes over the training samples.
    pub epochs: u64,
    /// Steps after which it ends, in place of passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Samples that go through the network together.
    pub batch: usize,
    /// Batches whose gradients make one step, at least 1.
    pub accumulate: usize,
    /// The rule of steps.
    pub optimizer: OptimizerConfig,
    /// The optimizer's, before the schedule.
    pub learning_rate: f64,
    /// The optimizer's.
    pub weight_decay: f64,
    /// How the learning rate goes on.
    pub schedule: Schedule,
    /// Steps after which [`Schedule::Halve`] halves the learning rate; 0 for never.
    pub halve_every: u64,
    /// The greatest norm of a step's gradient, which is scaled down to it; 0 for any.
    pub clip_norm: f64,
    /// Epochs without a better validation Dice after which training stops; 0 for never.
    pub patience: u64,
    /// The number of bits that features have in a step; weights, norms' statistics and the loss keep 32.
    #[serde(default, skip_serializing_if = "Precision::is_default")]
    pub precision: Precision,
    /// The weights that the model has: the last ones, or those of the best epoch.
    pub weights: Keep,
    /// Whether labels that hold others count as regions, each inside against outside.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub regions: bool,
    /// What logits are of: classes that exclude each other, or a head for each label.
    #[serde(default, skip_serializing_if = "Activation::is_default")]
    pub activation: Activation,
    /// The weights of labels in the loss, by name; 1 for those that are not named.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub class_weights: BTreeMap<String, f64>,
    /// What a validation looks at.
    #[serde(default, skip_serializing_if = "Validate::is_default")]
    pub validate: Validate,
    /// The power of what its Dice lacks by which a sample counts the more, the worse it is segmented; 0 for
    /// as much as any other.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub sample_attention: f64,
    /// The strategy, where a loss of logits is not all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// The beginnings of the names of tensors that stay as they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub freeze: Vec<String>,
    /// The seed of the first weights and of the order of samples.
    pub seed: u64,
}

fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

impl TrainSettings {
    /// The rule of a learner that has none of its own.
    pub(in crate::networks) fn rule(&self) -> Rule {
        let Self { optimizer, learning_rate, weight_decay, ref schedule, halve_every, clip_norm, .. } = *self;
        let schedule = schedule.clone();
        Rule { optimizer, learning_rate, weight_decay, schedule, halve_every, clip_norm }
    }
}

/// What a validation looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Validate {
    /// Samples, as training does.
    #[default]
    Samples,
    /// Whole cases, as inference sees them.
    Cases,
}

impl Validate {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The weights that a model has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// The best epoch's by validation Dice, of equal ones the latest; the last one's without validation samples.
    #[default]
    Best,
    /// The last epoch's.
    Last,
}

/// What the data fix: how volumes are shown and which labels come out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// How a volume is shown to the network.
    pub view: InputView,
    /// The names of the labels, from label 1 on.
    pub label_names: Vec<String>,
    /// What the model's card says of the data; nothing is computed from it but how many channels scans have.
    #[serde(default)]
    pub origin: Origin,
}

impl Task {
    /// Channels of the network's input: those that show a slice or a window, for each of a scan's own.
    pub fn in_channels(&self) -> usize {
        self.view.channels() * self.origin.channel_count()
    }
}
