//! Losses of a segmentation's logits, and the same ones of maps of the foreground.

use tch::{Kind, Tensor};

use super::NetworkError;
use super::tensors::error::Doing;

mod config;
pub(in crate::networks) mod critics;
mod cross_entropy;
mod dice;
mod dice_ce;
pub(in crate::networks) mod embedding;
mod entropy;
mod focal;
mod generalized_dice;
mod hardness_dice;
mod overlap;
mod sample_weight;

pub use cross_entropy::cross_entropy;
pub use focal::focal;
pub use generalized_dice::{Absent, generalized_dice, generalized_dice_each};
pub use hardness_dice::hardness_dice;
pub use sample_weight::sample_weights;

// The losses that tomoflow brings: settings, fields, documentation and arithmetic of each are in its file.
config::losses! {
    "dice" => Dice: dice::DiceLoss,
    "generalized_dice" => GeneralizedDice: generalized_dice::GeneralizedDiceLoss,
    "hardness_dice" => HardnessDice: hardness_dice::HardnessDiceLoss,
    "cross_entropy" => CrossEntropy: cross_entropy::CrossEntropyLoss,
    "focal" => Focal: focal::FocalLoss,
    "dice_ce" => DiceCe: dice_ce::DiceCeLoss,
}

/// A loss that tomoflow brings, with its settings.
trait SegmentationLoss {
    /// The loss of logits against one channel a class, both `[N, C, D, H, W]`; a number. `weights`, `[C]`, say how much
    /// classes count.
    fn of_logits(
        &self,
        logits: &Tensor,
        truth: &Tensor,
        weights: Option<&Tensor>,
    ) -> Result<Tensor, NetworkError>;

    /// The same loss of a map of the foreground against the foreground at its resolution, both `[N, 1, …]` between
    /// 0 and 1.
    fn of_map(&self, map: &Tensor, target: &Tensor) -> Result<Tensor, NetworkError>;
}

/// The loss of logits against one channel a class, both `[N, C, D, H, W]`; a number.
///
/// # Errors
/// [`NetworkError::Torch`] for tensors of unequal shape, [`NetworkError::Config`] for a loss of a downstream crate.
pub fn of_segmentation(loss: &LossConfig, logits: &Tensor, truth: &Tensor) -> Result<Tensor, NetworkError> {
    of_weighed(loss, logits, truth, None)
}

/// The loss of logits against one channel a class, both `[N, C, D, H, W]`; a number. `weights`, `[C]`, say how much
/// classes count: of an overlap loss the mean over classes is weighed, of an entropy that over voxels by their class.
///
/// # Errors
/// [`NetworkError::Torch`] for tensors of unequal shape, [`NetworkError::Config`] for a loss of a downstream crate.
pub fn of_weighed(
    loss: &LossConfig,
    logits: &Tensor,
    truth: &Tensor,
    weights: Option<&Tensor>,
) -> Result<Tensor, NetworkError> {
    loss.known().map_err(not_ours)?.of_logits(logits, truth, weights)
}

/// The same loss of a map of the foreground against the foreground at its resolution, both `[N, 1, …]` between 0
/// and 1. Overlap losses see the foreground alone; cross entropy and focal loss see two classes, the
/// foreground and the rest.
///
/// # Errors
/// [`NetworkError::Torch`] for tensors of unequal shape, [`NetworkError::Config`] for a loss of a downstream crate.
pub fn of_map(loss: &LossConfig, map: &Tensor, target: &Tensor) -> Result<Tensor, NetworkError> {
    loss.known().map_err(not_ours)?.of_map(map, target)
}

/// The probabilities of classes.
pub(in crate::networks) fn probabilities(logits: &Tensor) -> Result<Tensor, NetworkError> {
    logits.f_softmax(1, None::<Kind>).doing("loss")
}

/// Returns the logarithms of the probabilities of classes.
pub(in crate::networks) fn logarithms(logits: &Tensor) -> Result<Tensor, NetworkError> {
    logits.f_log_softmax(1, None::<Kind>).doing("loss")
}

fn not_ours(name: &str) -> NetworkError {
    let message = format!("`{name}` is not one of tomoflow's: only the crate that registers it can make it");
    NetworkError::Config { field: "loss".to_owned(), message }
}

/// Classes `[N, D, H, W]` (whole numbers below `classes`) as one channel a class.
///
/// # Errors
/// [`NetworkError::Torch`] for a class that there is not.
pub fn one_hot(labels: &Tensor, classes: i64, kind: Kind) -> Result<Tensor, NetworkError> {
    let index = labels.f_to_kind(Kind::Int64)?.f_unsqueeze(1)?;
    let mut shape = index.size();
    if let Some(channels) = shape.get_mut(1) {
        *channels = classes;
    }
    let zeros = Tensor::f_zeros(&shape, (kind, labels.device()))?;
    let ones = index.f_ones_like()?.f_to_kind(kind)?;
    zeros.f_scatter(1, &index, &ones).doing("classes to channels")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_that_there_is_not_is_an_error() {
        let labels = Tensor::from_slice(&[0u8, 2]).view([1, 1, 1, 2]);
        assert!(one_hot(&labels, 2, Kind::Float).is_err());
        assert_eq!(one_hot(&labels, 3, Kind::Float).unwrap().size(), [1, 3, 1, 1, 2]);
    }

    #[test]
    fn empty_and_full_masks_have_a_loss_and_a_gradient() {
        let losses = [
            LossConfig::Dice(DiceLoss {}),
            LossConfig::GeneralizedDice(GeneralizedDiceLoss::default()),
            LossConfig::HardnessDice(HardnessDiceLoss { lambda: 0.6 }),
            LossConfig::CrossEntropy(CrossEntropyLoss {}),
            LossConfig::Focal(FocalLoss { gamma: 0.5, alpha: Some(0.75) }),
            LossConfig::DiceCe(DiceCeLoss { include_background: false }),
        ];
        for loss in losses {
            for class in [0i64, 1] {
                let logits = Tensor::from_slice(&[90f32, -90.0, 0.0, 0.5]).view([1, 2, 1, 1, 2]);
                let logits = logits.set_requires_grad(true);
                let labels = Tensor::from_slice(&[class, class]).view([1, 1, 1, 2]);
                let truth = one_hot(&labels, 2, Kind::Float).unwrap();
                let map = Tensor::from_slice(&[0f32, 1.0]).view([1, 1, 1, 1, 2]).set_requires_grad(true);
                let target = truth.narrow(1, 1, 1);
                let value = of_segmentation(&loss, &logits, &truth).unwrap();
                let value = value + of_map(&loss, &map, &target).unwrap();
                assert!(f64::try_from(&value).unwrap().is_finite(), "{loss:?}, all of class {class}");
                for gradient in Tensor::f_run_backward(&[value], &[&logits, &map], false, false).unwrap() {
                    assert!(bool::try_from(gradient.isfinite().all()).unwrap(), "{loss:?}, {class}");
                }
            }
        }
    }
}
