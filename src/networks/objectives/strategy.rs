//! How a network is trained, where a loss of its logits is not all: as a pipeline declares it.

use serde::{Deserialize, Serialize};

/// How a network is trained.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Strategy {
    /// The network is trained beside a critic, and on cases that nobody has drawn.
    Adversarial(AdversarialSettings),
    /// Features of one label lie together, of cases that nobody has drawn as well.
    Embedding(EmbeddingSettings),
    /// The network is trained to agree with the running mean of its own weights.
    MeanTeacher(MeanTeacherSettings),
    /// The network is trained on boxes of one scan that are pasted in another.
    CopyPaste(CopyPasteSettings),
    /// The network is trained on what it is sure of, seen otherwise.
    Unimatch(UnimatchSettings),
}

impl Strategy {
    /// Whether samples that nobody has drawn take part.
    pub fn asks_for_unlabelled(&self) -> bool {
        match self {
            Self::Adversarial(settings) => settings.asks_for_unlabelled(),
            Self::Embedding(settings) => settings.weight > 0.0,
            Self::MeanTeacher(settings) => settings.weight > 0.0,
            Self::CopyPaste(_) | Self::Unimatch(_) => true,
        }
    }

    /// Whether a validation has a say in when voxels that nobody drew begin to count.
    pub fn waits_for_validation(&self) -> bool {
        match self {
            Self::Adversarial(settings) => settings.waits_for_validation(),
            Self::Embedding(_) | Self::MeanTeacher(_) | Self::CopyPaste(_) | Self::Unimatch(_) => false,
        }
    }

    /// Returns what does not go together in it: a field, what is wrong with it, and a remedy.
    pub fn problem(&self) -> Option<(&'static str, String, &'static str)> {
        let Self::Adversarial(settings) = self else { return None };
        (settings.critic == CriticKind::Cnn && settings.semi > 0.0).then(|| {
            let message =
                "a critic of voxels expected beside `semi`: one of whole samples does not judge regions";
            ("semi", message.to_owned(), "let `critic` be \"fcn\", or `semi` 0")
        })
    }

    /// Whether it learns from the features that a network's logits are made from.
    pub fn asks_for_features(&self) -> bool {
        matches!(self, Self::Embedding(_))
    }

    /// Whether it leaves channels of a network out.
    pub fn drops_channels(&self) -> bool {
        matches!(self, Self::Unimatch(_))
    }
}

/// Training on what a network is sure of, seen otherwise (Yang et al., CVPR 2023).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnimatchSettings {
    /// The probability from which on the network is sure of a voxel.
    pub threshold: f64,
    /// The weight of what nobody has drawn.
    pub weight: f64,
    /// The share of all steps after which it counts.
    pub start: f64,
    /// The share of channels that is left out.
    pub drop: f64,
    /// How far intensities are changed.
    pub strength: f64,
}

/// Training whose features of one label lie together (Baur et al., MICCAI 2017).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EmbeddingSettings {
    /// The weight of the features' loss.
    pub weight: f64,
    /// The distance beyond which features of unequal labels are far enough from each other.
    pub margin: f64,
    /// The number of voxels of each class and sample that take part.
    pub voxels: usize,
}

/// Training in agreement with a running mean (Tarvainen and Valpola, NeurIPS 2017).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MeanTeacherSettings {
    /// The share of the mean that stays at each step.
    pub decay: f64,
    /// The weight of agreement, once it has risen.
    pub weight: f64,
    /// The share of all steps over which it rises.
    pub ramp: f64,
    /// The deviation of the noise that samples are shown with.
    pub noise: f64,
}

/// Training on boxes of one scan in another (Bai et al., CVPR 2023).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CopyPasteSettings {
    /// The share of the mean that stays at each step.
    pub decay: f64,
    /// The weight of what nobody has drawn.
    pub weight: f64,
    /// The share of each axis that the box has.
    pub share: f64,
    /// The share of all steps after which mixtures are learned from.
    pub start: f64,
    /// Whether only the largest component of what the teacher finds counts, of each label.
    pub largest_component: bool,
}

/// What a critic judges.
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
    /// A fixed probability.
    Fixed(f64),
    /// A word that says how it follows from the last validation.
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
    /// What the critic judges.
    pub critic: CriticKind,
    /// The channels of the critic's first convolution.
    pub critic_width: i64,
    /// The critic's learning rate; all else of its steps is as the network's.
    pub critic_rate: f64,
    /// The weight of what the network learns from the critic.
    pub adversarial: f64,
    /// The weight of what the network learns from voxels that nobody drew, where the critic takes them for drawn.
    pub semi: f64,
    /// How sure the critic must be.
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
