//! Samples of which not every voxel or label counts: the loss of each is that of what counts.

use tch::{Kind, Tensor};

use super::Batch;
use super::minimised::{Total, Whole, nothing, segmentation};
use crate::networks::NetworkError;
use crate::networks::architectures::config::Supervision;
use crate::networks::architectures::unet::{Unet, UnetOutput};
use crate::networks::sample::Sample;
use crate::networks::tensors::scalar::times;
use crate::voxels::ignored::IGNORED_CLASS;

/// The part of a sample that does not count.
pub(super) struct Part<'a> {
    /// Whether nobody labelled some voxels.
    ignores: bool,
    /// Labels that nobody looked for.
    unknown: &'a [u8],
}

impl<'a> Part<'a> {
    /// Finds the part of a sample, where there are so many labels.
    fn of(sample: &'a Sample, labels: usize) -> Self {
        let classes = sample.target.classes().unwrap_or_default();
        let ignores = labels < usize::from(IGNORED_CLASS) && classes.contains(&IGNORED_CLASS);
        Self { ignores, unknown: sample.target.unknown() }
    }

    fn is_whole(&self) -> bool {
        !self.ignores && self.unknown.is_empty()
    }
}

/// Returns what of each sample does not count; none where all of all of them does.
pub(super) fn of_batch<'a>(batch: &Batch<'a>, labels: usize) -> Option<Vec<Part<'a>>> {
    let parts: Vec<Part<'a>> = batch.samples.iter().map(|sample| Part::of(sample, labels)).collect();
    (!parts.iter().all(Part::is_whole)).then_some(parts)
}

/// The voxels of a sample's classes `[1, D, H, W]` that somebody labelled, by their places; none where that is all.
pub(super) fn counting(labels: &Tensor) -> Result<Option<Tensor>, NetworkError> {
    let ignored = is_class(labels, IGNORED_CLASS)?;
    let places = ignored.f_logical_not()?.f_reshape([-1])?.f_nonzero()?.f_reshape([-1])?;
    let all = usize::try_from(places.size().first().copied().unwrap_or(0)).unwrap_or(0) == labels.numel();
    Ok((!all).then_some(places))
}

/// Some voxels of `[1, C, D, H, W]`, as `[1, C, 1, 1, M]`.
pub(super) fn voxels_at(volume: &Tensor, places: &Tensor) -> Result<Tensor, NetworkError> {
    let (channels, count) = (volume.size().get(1).copied().unwrap_or(0), places.numel() as i64);
    let flat = volume.f_reshape([1, channels, -1])?.f_index_select(2, places)?;
    Ok(flat.f_reshape([1, channels, 1, 1, count])?)
}

fn is_class(labels: &Tensor, class: u8) -> Result<Tensor, NetworkError> {
    let class = Tensor::f_from_slice(&[class])?.f_view(())?.f_to_device(labels.device())?;
    Ok(labels.f_eq_tensor(&class.f_to_kind(labels.kind())?)?)
}

/// The loss of a batch: the mean over samples, each of its voxels and labels that count; a sample without any has no
/// say.
pub(super) fn total(
    minimised: &Whole<'_>,
    supervision: Option<(&Unet, Supervision)>,
    output: &UnetOutput,
    labels: &Tensor,
    parts: &[Part<'_>],
) -> Result<Total, NetworkError> {
    let (mut wholes, mut maps, mut weights) = (Vec::new(), Vec::new(), Vec::new());
    for (sample, part) in (0..).zip(parts) {
        let one = |x: &Tensor| x.f_narrow(0, sample, 1);
        let labels = one(labels)?;
        let all = UnetOutput {
            logits: one(&output.logits)?,
            attention: output.attention.iter().map(one).collect::<Result<_, _>>()?,
            auxiliary: output.auxiliary.iter().map(one).collect::<Result<_, _>>()?,
        };
        let Some((whole, attention, weight)) = of_sample(minimised, supervision, all, &labels, part)? else {
            continue;
        };
        wholes.push(whole);
        maps.extend(attention);
        weights.extend(weight);
    }
    if wholes.is_empty() {
        return Ok(Total { whole: nothing(&output.logits)?, attention: None, weight: None });
    }
    let mean = |each: &[Tensor]| {
        (!each.is_empty()).then(|| Tensor::f_stack(each, 0)?.f_mean(None::<Kind>)).transpose()
    };
    let whole = Tensor::f_stack(&wholes, 0)?.f_mean(None::<Kind>)?;
    Ok(Total { whole, attention: mean(&maps)?, weight: mean(&weights)? })
}

/// The whole loss of a sample, that of its maps and its weight; none where nothing of it counts.
#[expect(clippy::type_complexity, reason = "three numbers, named where they are used")]
fn of_sample(
    minimised: &Whole<'_>,
    supervision: Option<(&Unet, Supervision)>,
    all: UnetOutput,
    labels: &Tensor,
    part: &Part<'_>,
) -> Result<Option<(Tensor, Option<Tensor>, Option<Tensor>)>, NetworkError> {
    let places = if part.ignores { counting(labels)? } else { None };
    if places.as_ref().is_some_and(|places| places.numel() == 0) {
        return Ok(None);
    }
    let (counted, kept) = match &places {
        Some(places) => {
            let of = |x: &Tensor| voxels_at(x, places);
            let counted = UnetOutput {
                logits: of(&all.logits)?,
                attention: Vec::new(),
                auxiliary: all.auxiliary.iter().map(of).collect::<Result<_, _>>()?,
            };
            (counted, of(&labels.f_unsqueeze(1)?)?.f_squeeze_dim(1)?)
        }
        None => {
            let UnetOutput { logits, auxiliary, .. } = &all;
            let auxiliary = auxiliary.iter().map(Tensor::shallow_clone).collect();
            (
                UnetOutput { logits: logits.shallow_clone(), attention: Vec::new(), auxiliary },
                labels.shallow_clone(),
            )
        }
    };
    let truth = minimised.truth(&counted.logits, &kept)?;
    let (mut whole, weight) = segmentation(minimised, &counted, &truth, part.unknown)?;
    let attention = match supervision.filter(|_| !all.attention.is_empty()) {
        Some((unet, supervision)) => of_maps(minimised, unet, supervision, &all.attention, labels, part)?,
        None => None,
    };
    if let Some(attention) = &attention {
        whole = times(attention, minimised.attention_weight)?.f_add(&whole)?;
    }
    Ok(Some((whole, attention, weight)))
}

/// The mean loss of a sample's maps, each where all voxels below it are known; none where none is.
fn of_maps(
    minimised: &Whole<'_>,
    unet: &Unet,
    supervision: Supervision,
    maps: &[Tensor],
    labels: &Tensor,
    part: &Part<'_>,
) -> Result<Option<Tensor>, NetworkError> {
    let Some(kind) = maps.first().map(Tensor::kind) else { return Ok(None) };
    let ignored = is_class(labels, IGNORED_CLASS)?;
    let drawn = labels.f_to_kind(Kind::Bool)?.f_logical_and(&ignored.f_logical_not()?)?;
    // Background may be what nobody looked for.
    let unsure = match part.unknown.is_empty() {
        true => ignored,
        false => drawn.f_logical_not()?,
    };
    let targets = |voxels: &Tensor| unet.attention_targets(&voxels.f_to_kind(kind)?.f_unsqueeze(1)?);
    let (wanted, unsure) = (targets(&drawn)?, targets(&unsure)?);
    let mut losses = Vec::new();
    for ((map, target), unsure) in maps.iter().zip(&wanted).zip(&unsure) {
        let sure = unsure.f_eq_tensor(&unsure.f_zeros_like()?)?;
        let places = sure.f_reshape([-1])?.f_nonzero()?.f_reshape([-1])?;
        if places.numel() > 0 {
            let (map, target) = (voxels_at(map, &places)?, voxels_at(target, &places)?);
            losses.push(minimised.of_map(supervision.loss, &map, &target)?);
        }
    }
    Ok((!losses.is_empty()).then(|| Tensor::f_stack(&losses, 0)?.f_mean(None::<Kind>)).transpose()?)
}

#[cfg(test)]
mod tests {
    use super::super::class_weights::ALIKE;
    use super::super::minimised::Minimised;
    use super::super::regions::{NONE, Regions};
    use super::*;
    use crate::networks::losses::{CrossEntropyLoss, DiceLoss};
    use crate::networks::sample::Target;
    use crate::networks::{Activation, Device, LossConfig};

    const HIDDEN: u8 = IGNORED_CLASS;

    fn sample(target: Target) -> Sample {
        Sample { input: vec![0.0; 4], shape: [1, 1, 2, 2], target }
    }

    /// The loss of logits `[N, C, 1, 2, 2]` of samples with these targets, and its gradient.
    fn loss(
        minimised: &Minimised,
        (activation, regions): (Activation, &Regions),
        logits: &Tensor,
        targets: Vec<Target>,
    ) -> (f64, Vec<f64>) {
        let samples: Vec<Sample> = targets.into_iter().map(sample).collect();
        let batch = Batch::new(&samples, Kind::Float, Device::CPU).unwrap();
        let whole = Whole {
            loss: minimised,
            attention_weight: 1.0,
            sample_attention: 0.0,
            regions,
            heads: &[],
            activation,
            weights: &ALIKE,
        };
        let logits = logits.copy().set_requires_grad(true);
        let output =
            UnetOutput { logits: logits.shallow_clone(), attention: Vec::new(), auxiliary: Vec::new() };
        let labels = batch.classes().unwrap();
        let parts = of_batch(&batch, 2).unwrap();
        let value = total(&whole, None, &output, &labels, &parts).unwrap().whole;
        let gradient = Tensor::f_run_backward(&[&value], &[&logits], false, false).unwrap();
        let gradient = Vec::try_from(gradient[0].to_kind(Kind::Double).view([-1])).unwrap();
        (f64::try_from(&value).unwrap(), gradient)
    }

    /// Three classes of four voxels: probabilities whose logarithms are logits.
    fn logits() -> Tensor {
        let p = [0.2, 0.5, 0.1, 0.6, 0.7, 0.3, 0.2, 0.1, 0.1, 0.2, 0.7, 0.3f64];
        Tensor::from_slice(&p).log().view([1, 3, 1, 2, 2])
    }

    #[test]
    fn voxels_that_nobody_labelled_move_nothing() {
        let entropy = Minimised::Known(LossConfig::CrossEntropy(CrossEntropyLoss {}));
        let softmax = (Activation::Softmax, &NONE);
        let (value, gradient) =
            loss(&entropy, softmax, &logits(), vec![Target::Classes(vec![1, 0, HIDDEN, HIDDEN])]);
        assert!((value + (0.7f64.ln() + 0.5f64.ln()) / 2.0).abs() < 1e-12, "{value}");
        let of_voxel = |voxel: usize| (0..3).all(|class| gradient[class * 4 + voxel] == 0.0);
        assert_eq!([0, 1, 2, 3].map(of_voxel), [false, false, true, true]);
        // Overlap losses see the same voxels: 1 minus the mean soft Dice of three classes, of two voxels.
        let dice = Minimised::Known(LossConfig::Dice(DiceLoss {}));
        let (value, _) = loss(&dice, softmax, &logits(), vec![Target::Classes(vec![1, 0, HIDDEN, HIDDEN])]);
        let one = |both: f64, sum: f64| 1.0 - (2.0 * both + 1e-5) / (sum + 1e-5);
        let expected = (one(0.5, 0.7 + 1.0) + one(0.7, 1.0 + 1.0) + one(0.0, 0.3)) / 3.0;
        assert!((value - expected).abs() < 1e-12, "{value} for {expected}");
    }

    #[test]
    fn a_sample_without_anything_labelled_has_no_say() {
        let entropy = Minimised::Known(LossConfig::CrossEntropy(CrossEntropyLoss {}));
        let two = Tensor::cat(&[logits(), logits()], 0);
        let hidden = || Target::Classes(vec![HIDDEN; 4]);
        let softmax = (Activation::Softmax, &NONE);
        let (value, gradient) =
            loss(&entropy, softmax, &two, vec![hidden(), Target::Classes(vec![1, 0, 2, 0])]);
        let expected = -(0.7f64.ln() + 0.5f64.ln() + 0.7f64.ln() + 0.6f64.ln()) / 4.0;
        assert!((value - expected).abs() < 1e-12, "{value}");
        assert!(gradient[..12].iter().all(|slope| *slope == 0.0));
        let (value, gradient) = loss(&entropy, softmax, &two, vec![hidden(), hidden()]);
        assert!(value == 0.0 && gradient.iter().all(|slope| *slope == 0.0));
    }

    #[test]
    fn what_nobody_looked_for_is_not_learned_to_be_absent() {
        let entropy = Minimised::Known(LossConfig::CrossEntropy(CrossEntropyLoss {}));
        let partly = |classes: Vec<u8>| Target::Partly { classes, unknown: [2].into() };
        let softmax = (Activation::Softmax, &NONE);
        let (value, _) = loss(&entropy, softmax, &logits(), vec![partly(vec![1, 0, 0, HIDDEN])]);
        let expected = -(0.7f64.ln() + 0.7f64.ln() + 0.8f64.ln()) / 3.0;
        assert!((value - expected).abs() < 1e-12, "{value} for {expected}");
        // Of a network with heads, the head of the unknown label has no gradient.
        let heads = Tensor::from_slice(&[1.0f64, -1.0, 0.5, 0.0, 2.0, 3.0, 1.0, 0.0]).view([1, 2, 1, 2, 2]);
        let regions = Regions::each(&[], 2);
        let sigmoid = (Activation::Sigmoid, &regions);
        let (value, gradient) = loss(&entropy, sigmoid, &heads, vec![partly(vec![1, 0, 0, 1])]);
        let logistic = |x: f64| (1.0 + (-x).exp()).ln();
        let expected = (logistic(1.0) + logistic(1.0) + logistic(-0.5) + logistic(0.0)) / 4.0;
        assert!((value - expected).abs() < 1e-12, "{value} for {expected}");
        assert!(gradient[..3].iter().all(|slope| *slope != 0.0));
        assert!(gradient[4..].iter().all(|slope| *slope == 0.0));
    }
}
