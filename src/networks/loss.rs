//! Soft Dice, plain or weighted by hardness, and the supervision of attention maps.

use tch::{Kind, Tensor};

use super::NetworkError;
use super::config::LossConfig;
use super::error::Doing;
use super::scalar::{plus, times};
use super::unet::{Output, Unet};

const EPSILON: f64 = 1e-5;

/// `1 - (2 Σ w p g + ε) / (Σ w (p + g) + ε)` with `w = λ|p - g| + (1 - λ)`, the mean over samples and
/// channels of `[N, C, …]`. λ = 0 is plain soft Dice. The weight is part of the gradient.
///
/// # Errors
/// [`NetworkError::Torch`] for tensors of unequal shape.
///
/// # Source
/// Wang et al., MICCAI 2019, arXiv 1906.03906
pub fn hardness_dice(prediction: &Tensor, truth: &Tensor, lambda: f64) -> Result<Tensor, NetworkError> {
    let voxels: Vec<i64> = (2..prediction.dim() as i64).collect();
    let sum = |x: &Tensor| x.f_sum_dim_intlist(voxels.as_slice(), false, None::<Kind>);
    let mut product = prediction.f_mul(truth).doing("loss")?;
    let mut both = prediction.f_add(truth)?;
    if lambda != 0.0 {
        let hardness = prediction.f_sub(truth)?.f_abs()?;
        let weight = plus(&times(&hardness, lambda)?, 1.0 - lambda)?;
        product = product.f_mul(&weight)?;
        both = both.f_mul(&weight)?;
    }
    let above = plus(&times(&sum(&product)?, 2.0)?, EPSILON)?;
    let below = plus(&sum(&both)?, EPSILON)?;
    plus(&times(&above.f_div(&below)?.f_mean(None::<Kind>)?, -1.0)?, 1.0)
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

/// The whole loss of one batch: segmentation, and where maps are supervised their mean loss by weight.
///
/// # Errors
/// [`NetworkError::Torch`] when the labels do not lie on the output's grid.
pub fn total(
    loss: LossConfig,
    attention_weight: f64,
    unet: &Unet,
    output: &Output,
    labels: &Tensor,
) -> Result<Tensor, NetworkError> {
    let logits = &output.logits;
    let classes = logits.size().get(1).copied().unwrap_or(0);
    let truth = one_hot(labels, classes, logits.kind())?;
    let probabilities = logits.f_softmax(1, None::<Kind>)?;
    let segmentation = hardness_dice(&probabilities, &truth, loss.lambda())?;
    if !unet.supervises() || output.attention.is_empty() {
        return Ok(segmentation);
    }
    let foreground = labels.f_to_kind(Kind::Bool)?.f_to_kind(logits.kind())?.f_unsqueeze(1)?;
    let targets = unet.attention_targets(&foreground)?;
    let mut maps = Vec::with_capacity(targets.len());
    for (map, target) in output.attention.iter().zip(&targets) {
        maps.push(hardness_dice(map, target, loss.lambda())?);
    }
    let attention = Tensor::f_stack(&maps, 0)?.f_mean(None::<Kind>)?;
    Ok(times(&attention, attention_weight)?.f_add(&segmentation)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_papers_loss_by_hand() {
        let p = Tensor::from_slice(&[0.1, 0.8, 0.9, 0.2]).view([1, 2, 2]);
        let g = Tensor::from_slice(&[0.0, 1.0, 1.0, 0.0]).view([1, 2, 2]);
        let value = f64::try_from(hardness_dice(&p, &g, 0.6).unwrap()).unwrap();
        assert!((value - 0.153_060_30).abs() < 5e-9, "{value}");
    }

    #[test]
    fn without_hardness_it_is_plain_dice() {
        let p = Tensor::from_slice(&[0.9, 0.2]).view([1, 1, 2]);
        let g = Tensor::from_slice(&[1.0, 0.0]).view([1, 1, 2]);
        let value = f64::try_from(hardness_dice(&p, &g, 0.0).unwrap()).unwrap();
        let expected = 1.0 - (1.8 + 1e-5) / (2.1 + 1e-5);
        assert!((value - expected).abs() < 1e-12, "{value}");
    }

    #[test]
    fn a_class_that_there_is_not_is_an_error() {
        let labels = Tensor::from_slice(&[0u8, 2]).view([1, 1, 1, 2]);
        assert!(one_hot(&labels, 2, Kind::Float).is_err());
        assert_eq!(one_hot(&labels, 3, Kind::Float).unwrap().size(), [1, 3, 1, 1, 2]);
    }
}
