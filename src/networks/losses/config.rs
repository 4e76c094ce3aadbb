//! What training minimises, as a value.

use serde::{Deserialize, Serialize};

use crate::networks::named::Named;

/// What training minimises, from the softmax of the logits. Overlap losses count the background as a class,
/// except [`DiceCe`](Self::DiceCe) as nnU-Net has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum LossConfig {
    /// Soft Dice, the mean over samples and classes.
    Dice,
    /// Soft Dice over all classes at once, each weighed by 1 over its squared volume (Sudre et al. 2017).
    GeneralizedDice,
    /// Soft Dice whose voxels count more the more wrong they are (Wang et al. 2019).
    HardnessDice {
        /// 0 is plain Dice; the paper takes 0.6.
        lambda: f64,
    },
    /// The mean over voxels of the negative log-probability of their class.
    CrossEntropy,
    /// Cross entropy whose voxels count less the surer they are (Lin et al. 2017).
    Focal {
        /// 0 is cross entropy; the paper takes 2.
        gamma: f64,
        /// The weight of foreground, 0 to 1, that of background being the rest; both 1 without it.
        #[serde(default)]
        alpha: Option<f64>,
    },
    /// The sum of soft Dice and cross entropy (nnU-Net).
    DiceCe {
        /// Whether Dice counts the background as a class; nnU-Net's does not.
        include_background: bool,
    },
    /// One of a downstream crate.
    #[serde(untagged)]
    Own(Named),
}
