//! How a network is trained, where a loss of its logits is not all: as a pipeline declares it.

use serde::{Deserialize, Serialize};

/// How a network is trained.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Strategy {
    /// Beside a critic, and on cases that nobody has drawn.
    Adversarial(AdversarialSettings),
}

impl Strategy {
    /// Whether samples that nobody has drawn take part.
    pub fn asks_for_unlabelled(&self) -> bool {
        let Self::Adversarial(settings) = self;
        settings.asks_for_unlabelled()
    }

    /// Whether a validation has a say in when voxels that nobody drew begin to count.
    pub fn waits_for_validation(&self) -> bool {
        let Self::Adversarial(settings) = self;
        settings.waits_for_validation()
    }

    /// What does not go together in it: a field, and what is wrong with it.
    pub fn problem(&self) -> Option<(&'static str, String)> {
        let Self::Adversarial(settings) = self;
        (settings.critic == CriticKind::Cnn && settings.semi > 0.0).then(|| {
            let message =
                "a critic of voxels expected beside `semi`: one of samples says nothing of a region";
            ("semi", message.to_owned())
        })
    }
}

/// What a critic says something of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CriticKind {
    /// Each voxel.
    Fcn,
    /// A sample.
    Cnn,
}

/// How sure a critic must be for a voxel to count as drawn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Gamma {
    /// So sure.
    Fixed(f64),
    /// As sure as the last validation was bad.
    Word(GammaWord),
}

/// How sure a critic must be, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GammaWord {
    /// 1 minus the Dice of the last validation.
    OneMinusDice,
}

/// Training beside a critic (Nie et al., MICCAI 2018).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdversarialSettings {
    /// What the critic says something of.
    pub critic: CriticKind,
    /// Channels of its first convolution.
    pub critic_width: i64,
    /// Its learning rate; all else of its steps is as the network's.
    pub critic_rate: f64,
    /// The weight of what the network learns from it.
    pub adversarial: f64,
    /// The weight of what the network learns from voxels that nobody drew, where the critic takes them for drawn.
    pub semi: f64,
    /// How sure it must be.
    pub gamma: Gamma,
    /// The share of all steps after which such voxels count.
    pub start: f64,
    /// The mean validation Dice from which on they count.
    pub least_dice: f64,
    /// The validation Dice of each label from which on they count.
    pub least_label_dice: f64,
    /// Whether the network learns from what the critic says of scans that nobody drew, too.
    pub adversarial_unlabelled: bool,
    /// Whether the critic sees what the network makes of them.
    pub critic_unlabelled: bool,
    /// The weight of cross entropy beside the overlap loss of such voxels.
    pub semi_cross_entropy: f64,
}

impl AdversarialSettings {
    fn asks_for_unlabelled(&self) -> bool {
        self.semi > 0.0 || (self.adversarial > 0.0 && self.adversarial_unlabelled) || self.critic_unlabelled
    }

    fn waits_for_validation(&self) -> bool {
        self.semi > 0.0
            && (self.least_dice > 0.0
                || self.least_label_dice > 0.0
                || self.gamma == Gamma::Word(GammaWord::OneMinusDice))
    }
}
