//! The loss of one batch: of a segmentation by classes, regions or heads, and of attention maps beside it.

use tch::{Kind, Tensor};

use super::class_weights::ClassWeights;
use super::regions::Regions;
use crate::networks::activation::Activation;
use crate::networks::architectures::config::{MapLoss, Supervision};
use crate::networks::architectures::unet::{Unet, UnetOutput};
use crate::networks::extensions::{Extensions, OwnLoss};
use crate::networks::losses::{DiceLoss, of_map, of_weighed, one_hot, probabilities, sample_weights};
use crate::networks::tensors::scalar::times;
use crate::networks::{LossConfig, NetworkError};

/// A loss of a segmentation, whoever brings it.
pub(in crate::networks) enum Minimised {
    Known(LossConfig),
    Own(OwnLoss),
}

impl Minimised {
    pub(super) fn new(loss: &LossConfig, extensions: &Extensions) -> Result<Self, NetworkError> {
        Ok(match loss {
            LossConfig::Own(named) => Self::Own(extensions.loss(named)?),
            known => Self::Known(known.clone()),
        })
    }

    fn of_segmentation(
        &self,
        logits: &Tensor,
        truth: &Tensor,
        weights: Option<&Tensor>,
    ) -> Result<Tensor, NetworkError> {
        match self {
            Self::Known(loss) => of_weighed(loss, logits, truth, weights),
            // A loss of another crate is refused beside weights.
            Self::Own(loss) => loss(logits, truth),
        }
    }

    fn of_map(&self, loss: MapLoss, map: &Tensor, target: &Tensor) -> Result<Tensor, NetworkError> {
        match (loss, self) {
            (MapLoss::Segmentation, Self::Known(loss)) => of_map(loss, map, target),
            // A loss of another crate is refused for such maps.
            (MapLoss::Dice, _) | (_, Self::Own(_)) => of_map(&LossConfig::Dice(DiceLoss {}), map, target),
        }
    }
}

/// What is minimised.
pub(in crate::networks) struct Whole<'a> {
    /// The loss of a segmentation, and of maps.
    pub loss: &'a Minimised,
    /// The weight of the maps' own loss.
    pub attention_weight: f64,
    /// The power by which a sample counts the more, the worse it is segmented; 0 for as much as any other.
    pub sample_attention: f64,
    /// Labels that hold others, if they count so.
    pub regions: &'a Regions,
    /// The weights of the losses of heads on coarser levels.
    pub heads: &'a [f64],
    /// What logits are of.
    pub activation: Activation,
    /// The weights of classes.
    pub weights: &'a ClassWeights,
}

/// The loss of one batch.
pub(in crate::networks) struct Total {
    /// Segmentation, and where maps are supervised their loss by weight.
    pub whole: Tensor,
    /// The mean loss of attention maps, where they are supervised.
    pub attention: Option<Tensor>,
    /// The mean weight of samples, where they have one.
    pub weight: Option<Tensor>,
}

/// The loss of one batch.
///
/// # Errors
/// [`NetworkError::Torch`] when the labels do not lie on the output's grid.
pub(in crate::networks) fn total(
    minimised: &Whole<'_>,
    supervision: Option<(&Unet, Supervision)>,
    output: &UnetOutput,
    labels: &Tensor,
) -> Result<Total, NetworkError> {
    let truth = minimised.truth(&output.logits, labels)?;
    let (segmentation, weight) = segmentation(minimised, output, &truth, &[])?;
    let Some((unet, supervision)) = supervision.filter(|_| !output.attention.is_empty()) else {
        return Ok(Total { whole: segmentation, attention: None, weight });
    };
    let logits = &output.logits;
    let foreground = labels.f_to_kind(Kind::Bool)?.f_to_kind(logits.kind())?.f_unsqueeze(1)?;
    let targets = unet.attention_targets(&foreground)?;
    let mut maps = Vec::with_capacity(targets.len());
    for (map, target) in output.attention.iter().zip(&targets) {
        maps.push(minimised.of_map(supervision.loss, map, target)?);
    }
    let attention = Tensor::f_stack(&maps, 0)?.f_mean(None::<Kind>)?;
    let whole = times(&attention, minimised.attention_weight)?.f_add(&segmentation)?;
    Ok(Total { whole, attention: Some(attention), weight })
}

/// The loss of a segmentation, and the mean weight of samples where they have one. Nobody looked for the labels
/// `unknown`, of any of the samples.
pub(super) fn segmentation(
    minimised: &Whole<'_>,
    output: &UnetOutput,
    truth: &Tensor,
    unknown: &[u8],
) -> Result<(Tensor, Option<Tensor>), NetworkError> {
    let (mut segmentation, weight) = match minimised.sample_attention > 0.0 {
        true => weighed(minimised, &output.logits, truth, unknown)?,
        false => (of_all(minimised, &output.logits, truth, unknown)?, None),
    };
    for (logits, weight) in output.auxiliary.iter().zip(minimised.heads) {
        let of_head = of_all(minimised, logits, truth, unknown)?;
        segmentation = segmentation.f_add(&times(&of_head, *weight)?)?;
    }
    Ok((segmentation, weight))
}

impl Whole<'_> {
    /// Returns a truth with one channel for each class, beside such logits.
    pub(super) fn truth(&self, logits: &Tensor, labels: &Tensor) -> Result<Tensor, NetworkError> {
        let channels = logits.size().get(1).copied().unwrap_or(0);
        let classes = match self.activation {
            Activation::Softmax => channels,
            // A class of labels that cross is of several heads.
            Activation::Sigmoid => channels.max(self.regions.highest() as i64) + 1,
        };
        one_hot(labels, classes, logits.kind())
    }

    pub(super) fn of_map(
        &self,
        loss: MapLoss,
        map: &Tensor,
        target: &Tensor,
    ) -> Result<Tensor, NetworkError> {
        self.loss.of_map(loss, map, target)
    }
}

/// The loss of samples, by classes, by regions or by heads.
fn of_all(
    minimised: &Whole<'_>,
    logits: &Tensor,
    truth: &Tensor,
    unknown: &[u8],
) -> Result<Tensor, NetworkError> {
    let Whole { loss, regions, weights, .. } = minimised;
    let pairs = match minimised.activation {
        Activation::Sigmoid => regions.of_heads(logits, truth)?,
        Activation::Softmax if regions.is_empty() => {
            let count = logits.size().get(1).copied().unwrap_or(0);
            if unknown.is_empty() {
                let classes: Vec<i64> = if weights.are_alike() { Vec::new() } else { (0..count).collect() };
                let weights = weights.tensor(&classes, logits)?;
                return loss.of_segmentation(logits, truth, weights.as_ref());
            }
            let known = |class: &i64| !unknown.iter().any(|label| i64::from(*label) == *class);
            let kept: Vec<i64> = (0..count).filter(known).collect();
            let [logits, truth] = united(logits, truth, &kept)?;
            let weights = weights.tensor(&kept, &logits)?;
            return loss.of_segmentation(&logits, &truth, weights.as_ref());
        }
        Activation::Softmax => regions.split(logits, truth)?,
    };
    // Nothing is learned of a label that nobody looked for.
    let known =
        (1..).zip(&pairs).filter(|(label, _)| !unknown.iter().any(|other| usize::from(*other) == *label));
    let (mut each, mut sum) = (Vec::with_capacity(pairs.len()), 0.0);
    for (label, [logits, truth]) in known {
        let of_region = loss.of_segmentation(logits, truth, None)?;
        if weights.are_alike() {
            each.push(of_region);
            continue;
        }
        sum += weights.of(label);
        each.push(times(&of_region, weights.of(label))?);
    }
    let Some(first) = each.first() else { return nothing(logits) };
    if weights.are_alike() {
        return Ok(Tensor::f_stack(&each, 0)?.f_mean(None::<Kind>)?);
    }
    if sum == 0.0 {
        return Ok(first.f_zeros_like()?.f_add(&nothing(logits)?)?);
    }
    times(&Tensor::f_stack(&each, 0)?.f_sum(None::<Kind>)?, 1.0 / sum)
}

/// Logits and truth in which the labels that nobody looked for are one class with the background: the softmax of the
/// former is the sum of their probabilities. `kept` are the other classes, the background first.
///
/// # Source
/// Fidon et al., Label-set Loss Functions for Partial Supervision, MICCAI 2021 (the marginal Dice and cross entropy)
fn united(logits: &Tensor, truth: &Tensor, kept: &[i64]) -> Result<[Tensor; 2], NetworkError> {
    let count = logits.size().get(1).copied().unwrap_or(0);
    let first: Vec<i64> = (0..count).filter(|class| *class == 0 || !kept.contains(class)).collect();
    let others: Vec<i64> = kept.iter().copied().filter(|class| *class != 0).collect();
    let of = |tensor: &Tensor, classes: &[i64]| {
        let places = Tensor::f_from_slice(classes)?.f_to_device(tensor.device())?;
        tensor.f_index_select(1, &places)
    };
    let logits = Tensor::f_cat(&[of(logits, &first)?.f_logsumexp([1], true)?, of(logits, &others)?], 1)?;
    let background = of(truth, &first)?.f_sum_dim_intlist([1].as_slice(), true, None::<Kind>)?;
    Ok([logits, Tensor::f_cat(&[background, of(truth, &others)?], 1)?])
}

/// A loss of 0 that moves nothing.
pub(super) fn nothing(logits: &Tensor) -> Result<Tensor, NetworkError> {
    times(&logits.f_sum(None::<Kind>)?, 0.0)
}

/// The mean over samples of each one's loss by its weight, and the mean weight.
fn weighed(
    minimised: &Whole<'_>,
    logits: &Tensor,
    truth: &Tensor,
    unknown: &[u8],
) -> Result<(Tensor, Option<Tensor>), NetworkError> {
    let weights = sample_weights(&probabilities(logits)?, truth, minimised.sample_attention)?;
    let mut each = Vec::new();
    for sample in 0..logits.size().first().copied().unwrap_or(0) {
        let [logits, truth] = [logits, truth].map(|x| x.f_narrow(0, sample, 1));
        each.push(of_all(minimised, &logits?, &truth?, unknown)?);
    }
    let losses = Tensor::f_stack(&each, 0)?.f_mul(&weights)?;
    Ok((losses.f_mean(None::<Kind>)?, Some(weights.f_mean(None::<Kind>)?)))
}

#[cfg(test)]
mod tests {
    use super::super::{class_weights, regions};
    use super::*;

    fn whole<'a>(loss: &'a Minimised, activation: Activation, regions: &'a Regions) -> Whole<'a> {
        let weights = &class_weights::ALIKE;
        Whole { loss, attention_weight: 1.0, sample_attention: 0.0, regions, heads: &[], activation, weights }
    }

    fn entropy() -> Minimised {
        Minimised::Known(LossConfig::CrossEntropy(crate::networks::losses::CrossEntropyLoss {}))
    }

    fn number(tensor: &Tensor) -> f64 {
        f64::try_from(tensor).unwrap()
    }

    #[test]
    fn labels_that_nobody_looked_for_may_be_background() {
        let (loss, none) = (entropy(), &regions::NONE);
        let whole = whole(&loss, Activation::Softmax, none);
        // Two voxels, of background and of label 1; label 2 is unknown.
        let logits = Tensor::from_slice(&[0.2f64, 0.1, 0.3, 0.7, 0.5, 0.2]).log().view([1, 3, 1, 1, 2]);
        let truth = Tensor::from_slice(&[1.0f64, 0.0, 0.0, 1.0, 0.0, 0.0]).view([1, 3, 1, 1, 2]);
        let all = number(&of_all(&whole, &logits, &truth, &[]).unwrap());
        assert!((all + (0.2f64.ln() + 0.7f64.ln()) / 2.0).abs() < 1e-12);
        let partly = number(&of_all(&whole, &logits, &truth, &[2]).unwrap());
        assert!((partly + (0.7f64.ln() + 0.7f64.ln()) / 2.0).abs() < 1e-12, "{partly}");
    }

    #[test]
    fn heads_have_a_binary_loss_each_and_unknown_ones_none() {
        let (loss, regions) = (entropy(), Regions::each(&[vec![2]], 2));
        let whole = whole(&loss, Activation::Sigmoid, &regions);
        let logits = Tensor::from_slice(&[1.0f64, -2.0, 0.5, 3.0]).view([1, 2, 1, 1, 2]);
        // A voxel of background, and one of label 2, which label 1 holds.
        let truth = Tensor::from_slice(&[1.0f64, 0.0, 0.0, 0.0, 0.0, 1.0]).view([1, 3, 1, 1, 2]);
        let logistic = |x: f64| (1.0 + (-x).exp()).ln();
        let first = (logistic(-1.0) + logistic(-2.0)) / 2.0;
        let second = (logistic(-0.5) + logistic(3.0)) / 2.0;
        let all = number(&of_all(&whole, &logits, &truth, &[]).unwrap());
        assert!((all - (first + second) / 2.0).abs() < 1e-12, "{all}");
        let known = number(&of_all(&whole, &logits, &truth, &[1]).unwrap());
        assert!((known - second).abs() < 1e-12, "{known}");
        assert_eq!(number(&of_all(&whole, &logits, &truth, &[1, 2]).unwrap()), 0.0);
        // A voxel of class 3 is inside of both where labels cross.
        let sets = Regions::each(&[vec![3], vec![3]], 2);
        let crossing = Whole { regions: &sets, ..whole };
        let three = Tensor::from_slice(&[1.0f64, -2.0, 0.5, 3.0, 0.0, -1.0]).view([1, 2, 1, 1, 3]);
        let labels = Tensor::from_slice(&[1u8, 3, 2]).view([1, 1, 1, 3]);
        let drawn = crossing.truth(&three, &labels).unwrap();
        assert_eq!(drawn.size(), [1, 4, 1, 1, 3]);
        let each = [1.0, -2.0, -0.5, -3.0, 0.0, -1.0].map(logistic);
        let found = number(&of_all(&crossing, &three, &drawn, &[]).unwrap());
        assert!((found - each.iter().sum::<f64>() / 6.0).abs() < 1e-12, "{found}");
        let names = ["a", "b"].map(str::to_owned);
        let weights = [("b".to_owned(), 3.0)].into_iter().collect();
        let weights = ClassWeights::new(&weights, &names, false).unwrap();
        let weighed = Whole { weights: &weights, regions: &regions, ..crossing };
        let weighed = number(&of_all(&weighed, &logits, &truth, &[]).unwrap());
        assert!((weighed - (first + 3.0 * second) / 4.0).abs() < 1e-12, "{weighed}");
    }
}
